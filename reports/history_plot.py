"""Scores over time, with the commit each was measured at."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

from dp2bench.reports.load import ReportError


class TimedScore(Protocol):
    """What a point of the figure must know; `value` and `interval` in `unit`."""

    @property
    def recorded_at(self) -> datetime: ...
    @property
    def method(self) -> str: ...
    @property
    def dataset(self) -> str: ...
    @property
    def task(self) -> str: ...
    @property
    def score(self) -> str: ...
    @property
    def clear_only(self) -> bool: ...
    @property
    def value(self) -> float: ...
    @property
    def unit(self) -> str: ...
    @property
    def interval(self) -> tuple[float, float] | None: ...
    @property
    def people(self) -> int | None: ...
    @property
    def anonymized(self) -> int | None: ...
    @property
    def commit(self) -> str: ...


def draw(points: Sequence[TimedScore], path: Path) -> None:
    """One panel for each dataset, task and score, one line for each method; the axis names commits, evenly spaced.

    Points are in the order given. Scores of anonymized pictures without a coverage are left out, as everywhere; a coverage below
    100 % stands at its point.

    Raises:
        ReportError: nothing is left to draw, or the file cannot be written.

    """
    from matplotlib.figure import Figure

    shown = [p for p in points if p.people or p.clear_only]
    panels = list(dict.fromkeys((p.dataset, p.task, p.score) for p in shown))
    if not panels:
        raise ReportError("No score here has a coverage, so there is nothing to draw.", "Repeat the runs.")
    figure = Figure(figsize=(7.2, 2.9 * len(panels)), layout="constrained")
    for axes, names in zip(figure.subplots(len(panels), squeeze=False)[:, 0], panels, strict=True):
        panel = [p for p in shown if (p.dataset, p.task, p.score) == names]
        scale, unit = (100, "%") if panel[0].unit == "fraction" else (1, panel[0].unit)
        moments = sorted({(p.recorded_at.replace(second=0, microsecond=0), p.commit) for p in panel})
        place = {moment: i for i, moment in enumerate(moments)}
        for method, marker in zip(dict.fromkeys(p.method for p in panel), "osD^vP*Xpdh<>" * 9, strict=False):
            own = [p for p in panel if p.method == method]
            x = [place[p.recorded_at.replace(second=0, microsecond=0), p.commit] for p in own]
            y = [scale * p.value for p in own]
            line = axes.plot(x, y, marker=marker, markersize=4, linewidth=1, label=method)[0]
            for i, value, p in zip(x, y, own, strict=True):
                if p.interval is not None:
                    axes.vlines(
                        i, *(scale * v for v in p.interval), color=line.get_color(), linewidth=1, alpha=0.6
                    )
                if p.people and p.anonymized is not None and p.anonymized < p.people and not p.clear_only:
                    note = f"{100 * p.anonymized / p.people:.0f} % covered"
                    axes.annotate(note, (i, value), (4, 4), textcoords="offset points", fontsize=6)
        step = max(1, len(moments) // 12)
        axes.set_xticks(
            range(0, len(moments), step),
            [f"{t:%m-%d}\n{commit}" for t, commit in moments[::step]],
            fontsize=6,
        )
        axes.set_title(f"{names[0]}: {names[1]}", fontsize=8, loc="left")
        axes.set_ylabel(f"{names[2]} [{unit}]", fontsize=7)
        axes.tick_params(axis="y", labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(fontsize=6, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise ReportError(f"{path} cannot be written: {error}.", "End it with .svg, .pdf or .png.") from error
