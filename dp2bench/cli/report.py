"""dp2bench report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...", help="Folders of runs, e.g. dp2bench-runs/mini; several are compared."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="Where the report goes. [default: report/ in the first RUN]", show_default=False),
    ] = None,
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            "-f",
            help="md, csv, tex, html, paper or figures; may be repeated. [default: all of them]",
            show_default=False,
        ),
    ] = None,
    expected: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="YAML",
            help="Published numbers to hold beside ours: cells of a paper's tables; may be repeated.",
            show_default=False,
        ),
    ] = None,
    everything: Annotated[
        bool,
        typer.Option(
            "--all", help="Print every table, not only the overview; the files always hold them all."
        ),
    ] = False,
) -> None:
    """Write the report of one run, or of several side by side.

    html is a page to open in a browser: tables that sort, privacy against use,
    curves, before and after, whom the attacker found, coverage, and how to
    reproduce it. It needs no network. md, csv and tex (booktabs) are tables to
    paste; figures are PDF and SVG for print; paper has the published tables'
    layout, a paragraph on methods, BibTeX and licences.

    One run: dp2bench report dp2bench-runs/mini

    Two, as a page: dp2bench report last-night tonight --out nightly -f html
    """
    from rich.console import Console

    from dp2bench.cli.terminal import tell
    from dp2bench.core.errors import Dp2benchError
    from dp2bench.reports.load import load_report
    from dp2bench.reports.report import FORMATS, print_table, write_report
    from dp2bench.reports.terminal import print_overview

    unknown = sorted(set(formats or ()) - FORMATS.keys())
    if unknown:
        raise Dp2benchError(
            f"There is no format {', '.join(unknown)}.",
            "Choose of: " + "; ".join(f"{name} ({what})" for name, what in FORMATS.items()) + ".",
        )
    console = Console()
    written = write_report(runs, out, formats or tuple(FORMATS), expected or ())
    loaded = load_report(runs)
    if everything:
        print_table(loaded.results, console, loaded.command, loaded.names)
    print_overview(loaded.results, console, loaded.names)
    for path in written:
        tell(console, str(path))
