"""dp2bench compare and dp2bench accept."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def compare(
    base: Annotated[
        Path,
        typer.Argument(metavar="BASE", help="The run to compare with: a run's folder or an accepted one."),
    ],
    head: Annotated[Path, typer.Argument(metavar="HEAD", help="The run to judge.")],
    policy: Annotated[
        Path | None,
        typer.Option(
            help="Tolerances, scores to ignore, alpha (YAML). [default: 1 point]", show_default=False
        ),
    ] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write a pull request's comment here.")] = None,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML here.")] = None,
) -> None:
    """Compare two runs: noise passes, a leak fails.

    Exit code 1 when a score is worse beyond tolerance and noise, something is missing, fewer people are anonymized, or dataset or
    task changed; 2 when the input cannot be used.

    Example: dp2bench compare accepted dp2bench-runs/mini --markdown comment.md
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from dp2bench.reports import gate
    from dp2bench.reports.accepted_run import load_compared
    from dp2bench.reports.policy import GateError, load_policy

    rules = load_policy(policy)
    comparison = gate.compare(load_compared(base), load_compared(head), rules)
    for path, content in (
        (markdown, gate.markdown(comparison).encode()),
        (junit, gate.junit(comparison)),
    ):
        if path is not None:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            except OSError as error:
                raise GateError(f"{path} cannot be written: {error}.", "Choose another file.") from error
    console = Console()
    moved = [row for row in comparison.rows if row.verdict != "ok"]
    if moved:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for name in ("score", "base → head", "difference", "verdict"):
            table.add_column(name, overflow="fold")
        for row in moved:
            cells = row.cells
            table.add_row(
                Text(row.key),
                Text(f"{cells[3]} → {cells[4]}"),
                Text(f"{cells[5]} {cells[6]}"),
                Text(f"{row.verdict}{': ' if row.note else ''}{row.note}", style="red" if row.failed else ""),
            )
        console.print(table)
    for note in (comparison.explanation, *comparison.notes):
        console.print(Text(note, style="dim"))
    console.print(Text(comparison.summary, style="green" if comparison.passed else "red"))
    if not comparison.passed:
        raise typer.Exit(1)


def accept(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.")],
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Where the accepted results lie; replaced.")
    ],
    reason: Annotated[str, typer.Option(help="Why these numbers are right. Kept beside them.")],
) -> None:
    """Accept a run's results as those to compare with.

    Example: dp2bench accept dp2bench-runs/mini accepted --reason "Larger blocks, by design"
    """
    from rich.console import Console

    from dp2bench.reports import accepted_run

    for path in accepted_run.accept(run, folder, reason):
        Console().print(str(path), highlight=False, soft_wrap=True, markup=False)
