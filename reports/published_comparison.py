"""Published numbers with ours beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dp2bench.core.results import Result, Score
from dp2bench.reports.published import Absent, Control, expected_names, fill, load_expected
from dp2bench.reports.texts import format_score


@dataclass(frozen=True)
class Comparison:
    """A published number and what was measured for it: one score for each result that measured the same thing."""

    control: Control
    ours: tuple[tuple[Result, Score], ...]

    @property
    def text(self) -> str:
        """Ours, and whether it lies within the published tolerance."""
        said = dict.fromkeys(
            f"{format_score(r, s)}, {'agrees' if self.control.agrees(s.value) else 'differs'}"
            for r, s in self.ours
        )
        return "; ".join(said) or "not measured"


def _ours(control: Control, result: Result) -> Score | None:
    """The score that measures what the control does: on clear pictures, on its dataset, with its model."""
    if result.status != "ok" or result.provenance is None or result.spec.dataset != control.dataset:
        return None
    told = result.provenance.arguments_effective
    if control.measured_as is not None:
        wanted = control.measured_as
        if wanted.method not in {"", result.spec.method} or wanted.task not in {"", result.spec.task}:
            return None
        as_asked = all(told.get(key) == value for key, value in wanted.arguments.items())
        whole = all(told.get(key) for key in wanted.given)
        return result.find(wanted.score) if as_asked and whole else None
    if told.get("model") != control.model:
        return None
    same = [s for s in result.scores if s.metric == control.metric and not s.subset]
    on_clear = next((s for s in same if result.clear_only(s)), None)
    if on_clear is None and result.spec.method_arguments.get("plugin") == "identity":
        return next((s for s in same if not s.scenario), None)
    return on_clear


def published(
    results: Sequence[Result], brought: Sequence[Path] = ()
) -> tuple[list[Comparison], list[Absent]]:
    """Every published number that comes with the package or is brought, with ours beside it, and the cells that nobody has filled in."""
    files = [load_expected(name) for name in expected_names()]
    more, filled = fill(brought)
    numbers = [
        Comparison(control, tuple((r, s) for r in results if (s := _ours(control, r)) is not None))
        for control in (*(c for file in files for c in file.controls), *more)
    ]
    return numbers, [a for file in files for a in file.absent if a.cells not in filled]


HEADER = ("model", "dataset", "metric", "published", "ours", "source", "reproducible")


def rows(numbers: Sequence[Comparison]) -> list[list[str]]:
    """A row for each, under `HEADER`."""
    return [
        [
            c.model,
            c.dataset,
            c.metric,
            f"{c.value:g} ± {c.tolerance:g}" + (f" {c.unit}" if c.unit == "s" else ""),
            number.text,
            f"{c.source.document}: {c.source.table}",
            f"{'yes' if c.reproducible else 'no'}: {c.reason}",
        ]
        for number in numbers
        for c in [number.control]
    ]
