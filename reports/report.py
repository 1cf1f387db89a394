"""Write a run's report, and print its table on a terminal."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dp2bench.core.errors import writing
from dp2bench.core.results import Result
from dp2bench.reports import (
    cache,
    charts,
    csv_file,
    figures,
    latex,
    markdown,
    paper,
    published_comparison,
    tables,
    texts,
)
from dp2bench.reports.groups import groups, known_people
from dp2bench.reports.load import Report, ReportError, load_report

FORMATS: Mapping[str, str] = {
    "md": "tables as Markdown, with the figures",
    "csv": "every score, a line each, unrounded",
    "tex": "LaTeX tables (booktabs)",
    "html": "one page with everything, to open in a browser; loads nothing from the network",
    "paper": "for a publication: tables in the published layout (LaTeX), a paragraph on methods, BibTeX, licences",
    "figures": "PDF and SVG for print, and PNG of identity left and of the same people under every method",
}
"""What a report can be written as."""


def write_report(
    runs: Path | Sequence[Path],
    out: Path | None = None,
    formats: Collection[str] = tuple(FORMATS),
    expected: Sequence[Path] = (),
) -> list[Path]:
    """Write the report of a run's folder, or one of several; the files written.

    Equal results give equal bytes. A figure without anything to draw is left out; of ``identity-left`` and ``contact-sheet``,
    to which report.md points, an older one is deleted.

    Args:
        runs: the runs' folders.
        out: where to write; ``RUN/report`` of the first run by default.
        formats: of `FORMATS`.
        expected: files of published numbers to hold beside ours.

    """
    folders = [runs] if isinstance(runs, Path) else list(runs)
    report = load_report(folders, expected)
    out = folders[0] / "report" if out is None else out
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ReportError(f"{out} cannot be made: {error.strerror}.", "Choose another with --out.") from error
    contents = cache.remembered(cache.key_of(report, formats), lambda: _contents(report, formats))
    written = []
    for name, content in sorted(contents.items(), key=lambda item: ("/" in item[0], item[0])):
        if content is None:
            (out / name).unlink(missing_ok=True)
            continue
        with writing(out / name):
            (out / name).parent.mkdir(exist_ok=True)
            (out / name).write_bytes(content)
        written.append(out / name)
    return written


def _contents(report: Report, formats: Collection[str]) -> dict[str, bytes | None]:
    """The report's files by name; None for one that has nothing to show."""
    contents: dict[str, bytes | None] = {}
    if "figures" in formats:
        contents |= _figures(report)
    if "md" in formats:
        contents["report.md"] = _markdown(report, {k for k, v in contents.items() if v is not None}).encode()
    if "csv" in formats:
        contents["report.csv"] = csv_file.scores(report.results, report.command, report.names).encode()
    if "tex" in formats:
        contents["report.tex"] = _latex(report).encode()
    if "paper" in formats:
        contents |= {f"paper/{name}": text.encode() for name, text in paper.files(report).items()}
    if "html" in formats:
        from dp2bench.reports.page import render

        contents["report.html"] = render(report).encode()
    return contents


def _figures(report: Report) -> dict[str, bytes | None]:
    identity = figures.identity_left(report)
    found = {f"identity-left.{kind}": identity.get(kind) for kind in ("png", "pdf", "svg")}
    # a sheet holds the people of one run; those of several are on the page
    found["contact-sheet.png"] = figures.contact_sheet(report.runs[0]) if len(report.runs) == 1 else None
    for chart in charts.of_report(report):
        found |= {f"figures/{chart.name}.{kind}": data for kind, data in figures.vector(chart).items()}
    return found


def _markdown(report: Report, drawn: Collection[str]) -> str:
    results, names, command = report.results, report.names, report.command
    gathered = groups(results, names)
    text = [
        f"# Report: {report.title}\n",
        *([f"{markdown.cell(report.description)}\n"] if report.description else []),
    ]
    if len(gathered) > 1:
        text += ["## Overview\n", markdown.overview(results, names)]
    text += ["## Main scores\n", markdown.scores(results, command, runs=names)]
    if "identity-left.png" in drawn:
        text.append("## Identity left\n\n![Identity left under every method](identity-left.png)\n")
    if "contact-sheet.png" in drawn:
        text.append("## The same people under every method\n\n![Contact sheet](contact-sheet.png)\n")
    numbers = [
        number for number in published_comparison.published(results, report.expected)[0] if number.ours
    ]
    if numbers:
        text += [
            "## Published numbers\n",
            markdown.table(published_comparison.HEADER, published_comparison.rows(numbers)),
        ]
    more = [g for g in gathered if set(g.main_names) != set(g.score_names)]
    if more:
        text.append("## All scores\n")
        text += [
            markdown.scores(g.results, command, g.score_names, [names[i] for i in g.indices]) for g in more
        ]
    return "\n".join(text)


def _latex(report: Report) -> str:
    gathered = groups(report.results, report.names)
    parts = ["% Needs \\usepackage{booktabs}; put each tabular into a table.\n"]
    if len(gathered) > 1:
        parts.append(latex.overview(report.results, report.names))
    parts.append(latex.scores(report.results, report.command, runs=report.names))
    return "\n".join(parts)


def print_table(
    results: Sequence[Result], console: Console, command: str = "", runs: Sequence[str] = ()
) -> None:
    """Print the main scores, one table a score: interval, chance and coverage side by side fit into 80
    columns.
    """
    for group in groups(results, runs):
        names = [n for n in group.main_names if not group.clear_only(n)] or list(group.main_names)
        for name in names or [""]:
            title = f"{group.dataset}: {group.name}" + (
                f", {texts.with_unit(name, group.metric(name))}" if name else ""
            )
            table = Table(
                title=Text(title), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1)
            )
            table.add_column("method", overflow="fold", min_width=12)
            table.add_column("score [95 %]", justify="right", overflow="fold", max_width=30)
            guessed = group.chance_of(name)
            if guessed:
                table.add_column("chance", justify="right", no_wrap=True)
            table.add_column("anonymized", justify="right", no_wrap=True)
            table.add_column("open", justify="right", no_wrap=True)
            unknown = False
            for label, result in zip(group.labels, group.results, strict=True):
                if result.status != "ok":
                    kind = "" if result.error is None else f": {result.error.kind}"
                    table.add_row(Text(label), Text(result.status + kind, style="red"))
                    continue
                score = result.find(name)
                coverage = result.coverage
                cells = ["–", "–"]
                if score is not None:
                    cells[0] = texts.format_score(result, score)
                people = "–"
                if coverage is not None and coverage.share is not None:
                    people = f"{coverage.anonymized}/{known_people(coverage)}"
                    cells[1] = f"{coverage.failed_open}{'+?' if coverage.undetected is None else ''}"
                    unknown |= coverage.undetected is None
                chance = [texts.format_chance(result, score)] if guessed else []
                table.add_row(*map(Text, (label, cells[0], *chance, people, cells[1])))
            console.print(table)
            if unknown:
                console.print(
                    Text("+?: no ground truth says how many people were not found at all", style="dim")
                )
        for label, result in zip(group.labels, group.results, strict=True):
            if result.status != "ok":
                console.print(Text(f"{label}: {texts.failure_text(result)}", style="red"))
        lines = ["open: people who failed open, still recognisable", *tables.footer(group, command)]
        console.print(Text("\n".join(lines), style="dim"))
