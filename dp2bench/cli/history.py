"""dp2bench history, history import, history export."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from dp2bench.engine.history import History, Point

app = typer.Typer(context_settings={"help_option_names": ["-h", "--help"]}, rich_markup_mode="rich")

Location = Annotated[
    str | None,
    typer.Option(
        "--history",
        help="A PostgreSQL URL or an SQLite file. [default: $DP2BENCH_HISTORY, or a file in the user's data folder]",
        show_default=False,
    ),
]


@contextlib.contextmanager
def _open(location: str | None) -> Iterator[History]:
    from dp2bench.core.errors import Dp2benchError
    from dp2bench.engine import history

    location = location or history.default_location()
    if location == history.OFF:
        raise Dp2benchError(
            "The history is switched off by DP2BENCH_HISTORY.", "Name one with --history, or unset it."
        )
    opened = history.History(location)
    try:
        yield opened
    finally:
        opened.close()


@app.callback(invoke_without_command=True)
def history(
    context: typer.Context,
    task: Annotated[str | None, typer.Option("--task", "-t", help="Only this task.")] = None,
    method: Annotated[str | None, typer.Option("--method", "-m", help="Only this method.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Only this dataset.")] = None,
    metric: Annotated[
        str | None, typer.Option(help="A score, e.g. clear-anonymized.mAP. [default: each task's main score]")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the scores over time here (.svg, .pdf or .png).")
    ] = None,
    location: Location = None,
) -> None:
    """Print a score over time, with its commit and coverage. Every `dp2bench run` records its results.

    A name may hold *, e.g. --method 'pixelate-*'.

    Example: dp2bench history --task market1501-reid --method blur --plot blur.svg
    """
    if context.invoked_subcommand is not None:
        return
    from rich.console import Console
    from rich.text import Text

    from dp2bench.core.errors import Dp2benchError

    with _open(location) as opened:
        points = opened.points(task=task, method=method, dataset=dataset, score=metric)
        if not points:
            raise Dp2benchError(
                f"The history {opened.name} holds no such score.",
                "Look at the names in `dp2bench history` without filters; `dp2bench run` and `dp2bench history import` record.",
            )
    console = Console()
    for line in _tables(points):
        console.print(line)
    if plot is not None:
        from dp2bench.reports.history_plot import draw

        draw(points, plot)
        console.print(Text(str(plot)), soft_wrap=True)


def _tables(points: Sequence[Point]) -> Iterator[object]:
    """One table for each dataset, task, score and method, so that a row fits into 80 columns."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    series = dict.fromkeys((p.dataset, p.task, p.score, p.method) for p in points)
    for names in series:
        dataset, task, score, method = names
        same = [p for p in points if (p.dataset, p.task, p.score, p.method) == names]
        unit = "percent" if same[0].unit == "fraction" else same[0].unit
        title = Text(f"{method} · {dataset}: {task} · {score} ({unit})", style="bold")
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")
        for name in ("recorded (UTC)", "commit", "dp2bench", "value", "anonymized"):
            table.add_column(name, justify="right" if name in ("value", "anonymized") else "left")
        for point in same:
            covered = f"{point.anonymized:,} of {point.people:,}" if point.people else "unknown"
            cells = (f"{point.recorded_at:%Y-%m-%d %H:%M}", point.commit, point.dp2bench or "–", _value(point), covered)  # fmt: skip
            table.add_row(*map(Text, cells))
        yield table


def _value(point: Point) -> str:
    from dp2bench.reports.texts import NO_COVERAGE

    if not point.clear_only and not point.people:
        return NO_COVERAGE
    scale = 100 if point.unit == "fraction" else 1
    interval = (
        "" if point.interval is None else " [{:.4g}, {:.4g}]".format(*(scale * v for v in point.interval))
    )
    return f"{scale * point.value:.4g}{interval}"


@app.command("import")
def import_(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH...", help="Run folders, result files, or an exported folder."),
    ],
    location: Location = None,
) -> None:
    """Record result files that lie around; those that are there already stay as they are.

    Example: dp2bench history import dp2bench-runs/mini
    """
    from dp2bench.core.errors import Dp2benchError

    if absent := [path for path in paths if not path.exists()]:
        raise Dp2benchError(f"There is no {absent[0]}.", "Name run folders or result files.")
    with _open(location) as opened:
        found, added = opened.import_(paths)
    typer.echo(f"{found} result files, {added} of them new")


@app.command("export")
def export(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the result files go.")],
    location: Location = None,
) -> None:
    """Write every recorded result's file, byte for byte; `dp2bench history import FOLDER` takes them back with their times.

    Example: dp2bench history export results/
    """
    with _open(location) as opened:
        count = opened.export(folder)
    typer.echo(f"{count} result files in {folder}")
