"""dp2bench report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, e.g. dp2bench-runs/mini.")],
    out: Annotated[
        Path | None, typer.Option(help="Where the report goes. [default: RUN/report]", show_default=False)
    ] = None,
) -> None:
    """Write a run's tables (Markdown, CSV, LaTeX), the figure of identity left, and the contact sheet of the same people."""
    from rich.console import Console

    from dp2bench.reports.load import load_run
    from dp2bench.reports.report import print_table, write_report

    console = Console()
    written = write_report(run, out)
    loaded = load_run(run)
    print_table(loaded.results, console, loaded.command)
    for path in written:
        console.print(str(path), highlight=False, soft_wrap=True)
