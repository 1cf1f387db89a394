"""Write a run's report, and print its table on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dp2bench.core.results import Result
from dp2bench.reports import figures, tables
from dp2bench.reports.load import load_run

FILES = (
    "report.md",
    "report.csv",
    "report.tex",
    "identity-left.png",
    "identity-left.pdf",
    "contact-sheet.png",
)


def write_report(run: Path, out: Path | None = None) -> list[Path]:
    """Write tables, figure and contact sheet of the run's folder; the files written, in the order of
    ``FILES``.

    Equal results give equal bytes. A figure without anything to draw is left out, and an older one of that
    name deleted.

    Args:
        run: the run's folder.
        out: where to write; ``RUN/report`` by default.

    """
    loaded = load_run(run)
    out = run / "report" if out is None else out
    out.mkdir(parents=True, exist_ok=True)
    figure = figures.identity_left(loaded)
    contents: dict[str, bytes | None] = {
        "report.csv": tables.csv(loaded.results, loaded.command).encode(),
        "report.tex": tables.latex(loaded.results, loaded.command).encode(),
        "identity-left.png": figure.get("png"),
        "identity-left.pdf": figure.get("pdf"),
        "contact-sheet.png": figures.contact_sheet(loaded),
    }
    text = [
        f"# Report: {loaded.suite or 'run'}\n",
        "## Main scores\n",
        tables.markdown(loaded.results, loaded.command),
    ]
    if contents["identity-left.png"] is not None:
        text.append("## Identity left\n\n![Identity left under every method](identity-left.png)\n")
    if contents["contact-sheet.png"] is not None:
        text.append("## The same people under every method\n\n![Contact sheet](contact-sheet.png)\n")
    if any(set(g.main_names) != set(g.score_names) for g in tables.groups(loaded.results)):
        text.append("## All scores\n")
        text += [
            tables.markdown(g.results, loaded.command, g.score_names)
            for g in tables.groups(loaded.results)
            if set(g.main_names) != set(g.score_names)
        ]
    contents["report.md"] = "\n".join(text).encode()
    written = []
    for name in FILES:
        content = contents[name]
        if content is None:
            (out / name).unlink(missing_ok=True)
            continue
        (out / name).write_bytes(content)
        written.append(out / name)
    return written


def print_table(results: Sequence[Result], console: Console, command: str = "") -> None:
    """Print the main scores, one table a score: interval, chance and coverage side by side fit into 80
    columns.
    """
    for group in tables.groups(results):
        names = [n for n in group.main_names if tables.needs_coverage(n)] or list(group.main_names)
        for name in names or [""]:
            title = f"{group.dataset}: {group.task}" + (f", {name}" if name else "")
            table = Table(
                title=Text(title), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1)
            )
            table.add_column("method", overflow="fold", min_width=12)
            table.add_column("score [95 %]", justify="right", overflow="fold", max_width=30)
            table.add_column("chance", justify="right", no_wrap=True)
            table.add_column("anonymised", justify="right", no_wrap=True)
            table.add_column("open", justify="right", no_wrap=True)
            unknown = False
            for label, result in zip(group.labels, group.results, strict=True):
                if result.status != "ok":
                    kind = "" if result.error is None else f": {result.error.kind}"
                    table.add_row(Text(label), Text(result.status + kind, style="red"))
                    continue
                score = tables.find_score(result, name)
                coverage = result.coverage
                cells = ["–", "–"]
                if score is not None:
                    cells[0] = tables.format_score(result, score)
                people = "–"
                if coverage is not None and coverage.share is not None:
                    people = f"{coverage.anonymised}/{tables.known_people(coverage)}"
                    cells[1] = f"{coverage.failed_open}{'+?' if coverage.unfound is None else ''}"
                    unknown |= coverage.unfound is None
                table.add_row(*map(Text, (label, cells[0], tables.format_chance(score), people, cells[1])))
            console.print(table)
            if unknown:
                console.print(
                    Text("+?: no ground truth says how many people were not found at all", style="dim")
                )
        for label, result in zip(group.labels, group.results, strict=True):
            if result.status != "ok":
                console.print(Text(f"{label}: {tables.failure_text(result)}", style="red"))
        lines = ["open: people who failed open, still recognisable", *tables.footer(group, command)]
        console.print(Text("\n".join(lines), style="dim"))
