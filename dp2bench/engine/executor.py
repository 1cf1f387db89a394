"""Who carries steps out. Local now; anything that can ship a Step and see the store's folder can take its place."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from dp2bench.core.contracts import Progress
from dp2bench.core.errors import Dp2benchError, disk_error
from dp2bench.core.results import Failure
from dp2bench.engine.plan import Step
from dp2bench.engine.steps import KINDS
from dp2bench.engine.store import Store


@dataclass(frozen=True)
class Outcome:
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

    def end(self, outcome: Outcome) -> None:
        """A step ended."""
        ...


class Executor(Protocol):
    """Carries steps out in an order that respects their needs; a failure stops only what depends on it."""

    def run(self, steps: Sequence[Step], observer: Observer) -> dict[str, Outcome]:
        """Outcome by key."""
        ...


class LocalExecutor:
    """One step after another in this process; the steps use the processors themselves."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def run(self, steps: Sequence[Step], observer: Observer) -> dict[str, Outcome]:
        """See `Executor.run`."""
        outcomes: dict[str, Outcome] = {}
        for step in steps:
            outcome = self._one(step, outcomes, observer.begin)
            outcomes[step.key] = outcome
            observer.end(outcome)
        return outcomes

    def _one(self, step: Step, outcomes: dict[str, Outcome], begin: Callable[[Step], Progress]) -> Outcome:
        broken = next((outcomes[k] for k in step.needs.values() if outcomes[k].failure), None)
        if broken is not None:
            return Outcome(step, 0.0, failure=broken.failure, skipped=True)
        if self.store.has(step.key):
            return Outcome(step, 0.0, cached=True)
        progress = begin(step)
        start = time.perf_counter()
        try:
            with self.store.working(step.key) as out:
                if not self.store.has(step.key):
                    KINDS[step.kind](
                        step, {role: self.store.path(key) for role, key in step.needs.items()}, out, progress
                    )
        except Exception as error:  # noqa: BLE001 - a step may fail in any way; the rest of the run goes on
            told = (
                disk_error(error, error.filename or self.store.root) if isinstance(error, OSError) else error
            )
            message = str(told) if isinstance(told, Dp2benchError) else f"{type(error).__name__}: {error}"
            failure = Failure(step=step.title, kind=type(error).__name__, message=message)
            return Outcome(step, time.perf_counter() - start, failure=failure, details=traceback.format_exc())
        return Outcome(step, time.perf_counter() - start)
