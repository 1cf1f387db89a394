"""Steps on a Ray cluster: its processes do them, in the order and with the outcomes of a local run.

    this process (the plan, the terminal) -> actors of Ray, each with its processors and its share of a GPU -> the store

Nothing of a result passes through Ray: steps read and write the store, which all machines see. A lost machine costs the steps that it was
working on, and they are done again elsewhere.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dp2bench.core.errors import Dp2benchError
from dp2bench.core.machine import limit_threads
from dp2bench.core.provenance import package_versions
from dp2bench.core.results import Failure
from dp2bench.engine.executor import News, Observer, StepOutcome, carry_out, run_step
from dp2bench.engine.imports import code_version
from dp2bench.engine.plan import RUNNER
from dp2bench.engine.step import Step
from dp2bench.engine.store import Store, open_store

ATTEMPTS = 4
"""Processes or machines that a step may lose before it counts as failed: it may be what kills them."""
ASK_AFTER = 0.5
"""Seconds between questions of how far a step is."""


def identity() -> dict[str, Any]:
    """What must be the same on all machines, for a step's key says what was computed and with what."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return {"python": python, "code": code_version((RUNNER,)), "packages": package_versions()}


def _ray() -> Any:
    # They are read when Ray is imported. It would report to its makers, and warns of a change that does not concern us.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as error:
        raise Dp2benchError(
            "--executor ray needs Ray, which is not installed.", 'pip install "dp2bench[ray]".'
        ) from error
    return ray


class RayExecutor:
    """An `Executor` on a Ray cluster; a context that is connected to it.

    Args:
        store: where finished steps lie; every machine must see it: a shared folder, or a URL.
        address: of the cluster: ``auto`` for the one that this machine belongs to, ``local`` for a new one on this machine alone.
        workers: steps at once; as many as the cluster has room for where None.
        threads: processors of each.
        gpu_share: GPUs of each, such as 0.5; 0 for none.

    Raises:
        Dp2benchError: Ray is not installed, or there is no cluster.

    """

    def __init__(
        self,
        store: Store,
        address: str = "auto",
        workers: int | None = None,
        threads: int = 1,
        gpu_share: float = 0.0,
    ) -> None:
        self.store, self.workers, self.threads, self.gpu_share = store, workers, threads, gpu_share
        self._ray = _ray()
        self._connect(address)

    def _connect(self, address: str) -> None:
        try:
            self._ray.init(address=address, log_to_driver=True, logging_level="ERROR")
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise Dp2benchError(
                f"There is no Ray cluster at {address} ({error}).",
                "Start one with `ray start --head`, give its address, or use --address local for this machine alone.",
            ) from error

    def __enter__(self) -> RayExecutor:
        return self

    def __exit__(self, *_: object) -> None:
        self._ray.shutdown()

    def device(self, wanted: str) -> str:
        """The torch device of steps: what is wanted, or for ``auto`` a GPU where the cluster has one."""
        if wanted != "auto":
            return wanted
        return "cuda" if self._ray.cluster_resources().get("GPU") else "cpu"

    def run(self, steps: Sequence[Step], observer: Observer) -> dict[str, StepOutcome]:
        """See `Executor.run`."""
        room = self._room()
        crew = _Actors(
            self._ray, self.store, self.workers or room, self.threads, self.gpu_share, no_more_than=len(steps)
        )
        return carry_out(steps, self.store, observer, crew)

    def _room(self) -> int:
        """How many processes of ours the cluster has room for.

        Raises:
            Dp2benchError: for none.

        """
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        room = sum(self._room_on(node) for node in nodes)
        if not room:
            gpu = f" and {self.gpu_share:g} GPU" if self.gpu_share else ""
            raise Dp2benchError(
                f"No machine of the cluster has {self.threads} processors{gpu}: {self._ray.cluster_resources()}.",
                "Ask for less with --threads and --gpu-share, or add machines.",
            )
        return room

    def _room_on(self, resources: Mapping[str, float]) -> int:
        room = int(resources.get("CPU", 0) // self.threads)
        return min(room, int(resources.get("GPU", 0) / self.gpu_share + 1e-9)) if self.gpu_share > 0 else room


class StepWorker:
    """An actor: a process that does one step at a time, and can be asked how far it is. Models that it has loaded it keeps.

    Args:
        store: place of the store.
        threads: to compute on.
        path: where modules are looked for besides.

    """

    def __init__(self, store: str, threads: int, path: Sequence[str]) -> None:
        limit_threads(threads)
        sys.path += [folder for folder in path if folder not in sys.path]
        import cv2

        from dp2bench.core.memory import keep_freed_memory

        keep_freed_memory()
        cv2.setNumThreads(threads)
        self._store, self._threads, self._done = open_store(store), threads, (0, 0)

    def ready(self) -> dict[str, Any]:
        """See `identity`."""
        return identity()

    def run(self, step: Step) -> StepOutcome:
        """Do it."""
        self._done = (0, 0)
        limit_threads(self._threads)  # in this thread too
        return run_step(step, self._store, self._told)

    def _told(self, done: int, total: int) -> None:
        self._done = (done, total)

    def progress(self) -> tuple[int, int]:
        """How much of the step is done, of how much."""
        return self._done


@dataclass
class _Hand:
    """An actor as we see it: it starts until ``ready`` is answered, waits where there is no step, and works otherwise."""

    actor: Any
    ready: Any
    started: bool = False
    step: Step | None = None
    begun: float = 0.0
    answer: Any = None
    asked: Any = None

    @property
    def waits(self) -> bool:
        return self.started and self.step is None


class _Actors:
    """A `Crew` on a cluster."""

    def __init__(
        self, ray: Any, store: Store, workers: int, threads: int, gpu_share: float, *, no_more_than: int
    ) -> None:
        self._ray, self._store, self._threads = ray, store, threads
        self._made = ray.remote(StepWorker).options(
            num_cpus=threads, num_gpus=gpu_share or None, max_concurrency=2, max_restarts=0
        )
        self._identity = identity()
        self._lost: Counter[str] = Counter()
        self._again: list[Step] = []
        self._failed_starts = 0
        self._hands = [self._hire() for _ in range(min(workers, no_more_than))]

    def _hire(self) -> _Hand:
        path = [os.getcwd(), *filter(None, sys.path)]  # noqa: PTH109 - where plug-ins are looked for too
        actor = self._made.remote(self._store.place, self._threads, path)
        return _Hand(actor, actor.ready.remote())

    def has_room(self) -> bool:
        return sum(hand.waits for hand in self._hands) > len(self._again)

    def begin(self, step: Step) -> None:
        hand = next(hand for hand in self._hands if hand.waits)
        hand.step, hand.begun, hand.asked = step, time.perf_counter(), None
        hand.answer = hand.actor.run.options(name=step.title).remote(
            step
        )  # the name is what Ray's dashboard shows

    def listen(self) -> list[tuple[str, News]]:
        while self._again and any(hand.waits for hand in self._hands):
            self.begin(self._again.pop(0))
        expected = {h.ready: h for h in self._hands if not h.started}
        expected |= {h.answer: h for h in self._hands if h.step is not None}
        told, _ = self._ray.wait([*expected], num_returns=1, timeout=ASK_AFTER)
        heard = [news for answer in told for news in self._heard(expected[answer], answer)]
        return heard or list(self._progress())

    def _heard(self, hand: _Hand, answer: Any) -> Iterator[tuple[str, News]]:
        try:
            said = self._ray.get(answer)
        except self._ray.exceptions.RayError as error:
            yield from self._gone(hand, error)
            return
        if hand.started:
            assert hand.step is not None
            step, hand.step = hand.step, None
            yield step.key, said
            return
        self._check_same(said)
        hand.started, self._failed_starts = True, 0

    def _gone(self, hand: _Hand, error: Exception) -> Iterator[tuple[str, News]]:
        """Another in the place of one whose process or machine is gone. Its step waits for it."""
        self._hands.remove(hand)
        self._hands.append(self._hire())
        step = hand.step
        if step is None:
            self._failed_starts += 1
            if self._failed_starts >= ATTEMPTS:
                raise Dp2benchError(
                    f"The cluster's processes do not start: {_last_line(error)}",
                    "Install dp2bench on every machine, in the same environment.",
                )
            return
        self._lost[step.key] += 1
        if self._lost[step.key] < ATTEMPTS:
            self._again.append(step)
            return
        why = f"{ATTEMPTS} processes of this step were lost, the last one so: {_last_line(error)} If memory ran out, use fewer --workers."
        failure = Failure(step=step.title, kind="WorkerDied", message=why)
        yield step.key, StepOutcome(step, time.perf_counter() - hand.begun, failure=failure)

    def _check_same(self, theirs: Mapping[str, Any]) -> None:
        different = [name for name, value in self._identity.items() if theirs[name] != value]
        if different:
            ours, other = ({name: who[name] for name in different} for who in (self._identity, theirs))
            raise Dp2benchError(
                f"A machine of the cluster has another {' and other '.join(different)}: {other} there, {ours} here.",
                "Install the same dp2bench, with the same packages, on every machine: a container image, or a shared environment.",
            )

    def _progress(self) -> Iterator[tuple[str, News]]:
        """What actors said since they were asked; then they are asked again."""
        for hand in self._hands:
            if hand.step is None:
                continue
            if hand.asked is not None and self._ray.wait([hand.asked], timeout=0)[0]:
                with contextlib.suppress(
                    self._ray.exceptions.RayError
                ):  # whoever is gone is found out by its answer
                    done, total = self._ray.get(hand.asked)
                    if total:
                        yield hand.step.key, (done, total)
                hand.asked = None
            if hand.asked is None:
                hand.asked = hand.actor.progress.remote()

    def stop(self) -> None:
        for hand in self._hands:
            self._ray.kill(hand.actor)


def _last_line(error: Exception) -> str:
    return next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), repr(error))
