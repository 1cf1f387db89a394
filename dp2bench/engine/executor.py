"""Who carries steps out: this process, or a crew of processes, here (`LocalExecutor`) or on a cluster (`ray_executor`)."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Protocol

from dp2bench.core.contracts import Progress
from dp2bench.core.errors import Dp2benchError, disk_error
from dp2bench.core.machine import THREADS
from dp2bench.core.memory import keep_freed_memory
from dp2bench.core.results import Failure
from dp2bench.engine.step import Step
from dp2bench.engine.steps import STEP_RUNNERS
from dp2bench.engine.store import Store


@dataclass(frozen=True)
class StepOutcome:
    """How a step ended. ``failure`` is None when its folder is in the store; ``cached`` when it already was."""

    step: Step
    seconds: float
    cached: bool = False
    failure: Failure | None = None
    skipped: bool = False
    details: str = ""


class Observer(Protocol):
    """Told as steps begin, work and end."""

    def begin(self, step: Step) -> Progress:
        """A step starts; returns what it reports its progress to."""
        ...

    def end(self, outcome: StepOutcome) -> None:
        """A step ended."""
        ...


class Executor(Protocol):
    """Carries steps out in an order that respects their needs; a failure stops only what depends on it."""

    def run(self, steps: Sequence[Step], observer: Observer) -> dict[str, StepOutcome]:
        """Outcome by key."""
        ...


News = StepOutcome | tuple[int, int]
"""That a step ended, or how much is done of how much."""


class Crew(Protocol):
    """Processes that carry out steps, each one at a time, and tell how it goes."""

    def has_room(self) -> bool:
        """Whether somebody waits for a step."""
        ...

    def begin(self, step: Step) -> None:
        """Give a step to somebody who waits."""
        ...

    def listen(self) -> Sequence[tuple[str, News]]:
        """What there is to tell, by the key of the step. Waits a while for it, also for somebody who is not ready for a step yet."""
        ...

    def stop(self) -> None:
        """End the processes, whatever they do."""
        ...


def carry_out(steps: Sequence[Step], store: Store, observer: Observer, crew: Crew) -> dict[str, StepOutcome]:
    """Have a crew do the steps that are not in the store, each when what it needs is there. No more are handed out than are worked on."""
    outcomes: dict[str, StepOutcome] = {}
    waiting, running = critical_path_order(steps), dict[str, tuple[Step, Progress]]()
    to_do: set[str] = set()
    try:
        while len(outcomes) < len(steps):
            for step in tuple(waiting):
                if not all(key in outcomes for key in step.needs.values()):
                    continue
                if step.key not in to_do:
                    known = _known(step, store, outcomes)
                    if known is not None:
                        outcomes[step.key] = known
                        waiting.remove(step)
                        observer.end(known)
                        continue
                    to_do.add(step.key)
                alone = step.exclusive or any(other.exclusive for other, _ in running.values())
                if crew.has_room() and not (running and alone):
                    running[step.key] = step, observer.begin(step)
                    waiting.remove(step)
                    crew.begin(step)
            for key, news in crew.listen() if running or to_do - outcomes.keys() else ():
                step, progress = running[key]
                if isinstance(news, StepOutcome):
                    del running[key]
                    outcomes[key] = news
                    observer.end(news)
                else:
                    progress(*news)
    finally:
        crew.stop()
    return outcomes


def _known(step: Step, store: Store, outcomes: Mapping[str, StepOutcome]) -> StepOutcome | None:
    """How the step ends without being done."""
    broken = next((outcomes[k] for k in step.needs.values() if outcomes[k].failure), None)
    if broken is not None:
        return StepOutcome(step, 0.0, failure=broken.failure, skipped=True)
    return StepOutcome(step, 0.0, cached=True) if store.has(step.key) else None


def run_step(step: Step, store: Store, progress: Progress) -> StepOutcome:
    """Carry out one step here and now."""
    start = time.perf_counter()
    try:
        with store.working(step.key) as out:
            if not store.has(step.key):
                needs = {role: store.folder(key) for role, key in step.needs.items()}
                STEP_RUNNERS[step.kind](step, needs, out, progress)
    except Exception as error:  # noqa: BLE001 - a step may fail in any way; the rest of the run goes on
        told = disk_error(error, error.filename or store.root) if isinstance(error, OSError) else error
        message = str(told) if isinstance(told, Dp2benchError) else f"{type(error).__name__}: {error}"
        failure = Failure(step=step.title, kind=type(error).__name__, message=message)
        return StepOutcome(step, time.perf_counter() - start, failure=failure, details=traceback.format_exc())
    return StepOutcome(step, time.perf_counter() - start)


class LocalExecutor:
    """Steps on this machine: one after the other in this process, or several at once in processes of their own.

    Args:
        store: where finished steps lie.
        workers: steps at once. Many steps use one processor whatever they are given, so that two at once on one thread each
            take less time than one after the other on two. A step that measures time (`Step.exclusive`) has the machine to itself.

    """

    def __init__(self, store: Store, workers: int = 1) -> None:
        self.store, self.workers = store, workers

    def run(self, steps: Sequence[Step], observer: Observer) -> dict[str, StepOutcome]:
        """See `Executor.run`."""
        if self.workers > 1 and sum(not self.store.has(step.key) for step in steps) > 1:
            crew = _Processes(self.store, self.workers, steps[0].payload["threads"])
            return carry_out(steps, self.store, observer, crew)
        outcomes: dict[str, StepOutcome] = {}
        for step in steps:
            outcome = _known(step, self.store, outcomes) or run_step(step, self.store, observer.begin(step))
            outcomes[step.key] = outcome
            observer.end(outcome)
        return outcomes


COST = {"train": 8.0, "anonymize": 2.0}
"""How long kinds of steps take beside the others, roughly."""


def critical_path_order(steps: Sequence[Step]) -> list[Step]:
    """Steps in the order of what waits for them: first those that begin the longest chain, so that no worker ends up alone with it."""
    after: dict[str, float] = {}
    urgency: dict[str, float] = {}
    for step in reversed(steps):  # needs come before what needs them
        urgency[step.key] = COST.get(step.kind, 1.0) + after.get(step.key, 0.0)
        for key in step.needs.values():
            after[key] = max(after.get(key, 0.0), urgency[step.key])
    return sorted(steps, key=lambda step: -urgency[step.key])


class _Processes:
    """A `Crew` on this machine."""

    def __init__(self, store: Store, workers: int, threads: int) -> None:
        self._store, self._threads = store, threads
        self._busy: list[_Worker] = []
        self._idle = [_Worker(store, threads) for _ in range(workers)]

    def has_room(self) -> bool:
        return bool(self._idle)

    def begin(self, step: Step) -> None:
        worker = self._idle.pop()
        worker.begin(step)
        self._busy.append(worker)

    def listen(self) -> list[tuple[str, News]]:
        told = wait([w.pipe for w in self._busy])
        heard = []
        for worker in [w for w in self._busy if w.pipe in told]:
            news = worker.listen()
            heard.append((worker.step.key, news))
            if isinstance(news, StepOutcome):
                self._busy.remove(worker)
                self._idle.append(
                    worker if worker.process.is_alive() else _Worker(self._store, self._threads)
                )
        return heard

    def stop(self) -> None:
        for worker in self._idle + self._busy:
            worker.process.terminate()


class _Worker:
    """A process that does one step at a time and tells its progress."""

    step: Step

    def __init__(self, store: Store, threads: int) -> None:
        # A fork would copy torch's threads in whatever state they are.
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, store, threads))
        with _environment(dict.fromkeys(THREADS, str(threads))):
            self.process.start()
        theirs.close()

    def begin(self, step: Step) -> None:
        self.step, self.started = step, time.perf_counter()
        with contextlib.suppress(OSError):  # it died while idle: `listen` finds out
            self.pipe.send(step)

    def listen(self) -> News:
        """Take one message."""
        try:
            news: News = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join()
            failure = Failure(
                step=self.step.title,
                kind="WorkerDied",
                message=f"The process of this step ended with code {self.process.exitcode}; if memory ran out, use --workers 1.",
            )
            return StepOutcome(self.step, time.perf_counter() - self.started, failure=failure)
        return news


@contextlib.contextmanager
def _environment(changed: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in changed}
    os.environ.update(changed)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _serve(pipe: Connection, store: Store, threads: int) -> None:
    """What a `_Worker`'s process does, until it is ended or the run is gone."""
    # Ctrl-C goes to all of the terminal's processes; the run ends us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_the_run, daemon=True).start()
    last = 0.0

    def progress(done: int, total: int) -> None:
        nonlocal last
        if done == total or time.monotonic() - last > 0.1:
            last = time.monotonic()
            pipe.send((done, total))

    import cv2
    import torch

    keep_freed_memory()
    cv2.setNumThreads(threads)
    torch.set_num_threads(threads)
    while True:
        pipe.send(run_step(pipe.recv(), store, progress))


def _die_with_the_run() -> None:
    run = multiprocessing.parent_process()
    if run is not None:
        run.join()
    os._exit(1)
