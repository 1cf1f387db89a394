"""Progress on the terminal: steps done, pictures a second, time left."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import (
    Progress as Bars,
)
from rich.text import Text

from dp2bench.cli.terminal import tell
from dp2bench.core.printable import printable

if TYPE_CHECKING:
    from dp2bench.core.contracts import Progress
    from dp2bench.engine.executor import StepOutcome
    from dp2bench.engine.step import Step


class _Speed(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(
            f"{speed:.1f}/s" if speed and task.fields.get("inner") else "", style="progress.data.speed"
        )


def _short(title: str) -> str:
    shown = printable(title)
    return escape(shown if len(shown) < 40 else shown[:39] + "…")


class TerminalObserver:
    """Bars where there is a terminal, one line a step where there is none (CI logs)."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(bar_width=16),
            MofNCompleteColumn(),
            _Speed(),
            TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.inner = self.bars.add_task("", inner=True, visible=False)
        self.running: dict[str, TaskID] = {}
        self.reused = 0

    def __enter__(self) -> TerminalObserver:
        self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bars.stop()

    def progress(self, title: str) -> Progress:
        """A bar under this title."""
        self.bars.reset(self.inner, description=_short(title), visible=True, total=None)
        return self._to(self.inner)

    def _to(self, bar: TaskID) -> Progress:
        def report(done: int, total: int) -> None:
            self.bars.update(bar, completed=done, total=total)

        return report

    def begin(self, step: Step) -> Progress:
        """See `Observer.begin`."""
        if not self.console.is_terminal:
            tell(self.console, step.title, label="…")
        self.bars.update(self.inner, visible=False)
        bar = self.bars.add_task(_short(step.title), inner=True, total=None)
        self.running[step.key] = bar
        return self._to(bar)

    def end(self, outcome: StepOutcome) -> None:
        """See `Observer.end`."""
        if outcome.step.key in self.running:
            self.bars.remove_task(self.running.pop(outcome.step.key))
        if outcome.cached:
            self.reused += 1
        elif outcome.skipped:
            tell(self.console, f"{outcome.step.title}: skipped", label="–", style="yellow")
        elif outcome.failure:
            tell(self.console, f"{outcome.step.title}: {outcome.failure.message}", label="✗", style="red")
        else:
            tell(self.console, f"{outcome.step.title} {outcome.seconds:.1f} s", label="✓", style="green")
