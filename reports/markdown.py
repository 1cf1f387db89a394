"""Tables as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from dp2bench.core.results import Result
from dp2bench.reports import tables
from dp2bench.reports.groups import groups


def cell(text: str) -> str:
    """Text that stays text in a Markdown table."""
    text = " ".join(text.split())
    for char, safe in (
        ("\\", "\\\\"),
        ("&", "&amp;"),
        ("<", "&lt;"),
        ("|", "\\|"),
        ("*", "\\*"),
        ("_", "\\_"),
        ("`", "\\`"),
    ):
        text = text.replace(char, safe)
    return text


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; whatever the cells hold stays text."""
    return "\n".join(_table(header, rows)) + "\n"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = ["| " + " | ".join(map(cell, header)) + " |"]
    lines.append("|" + "|".join([":--"] + ["--:"] * (len(header) - 1)) + "|")
    for row in rows:
        padded = [*row, *[""] * (len(header) - len(row))]
        lines.append("| " + " | ".join(map(cell, padded)) + " |")
    return lines


def overview(results: Sequence[Result], runs: Sequence[str] = ()) -> str:
    """One Markdown table of methods x (privacy, utility, quality, coverage, cost)."""
    columns, rows = tables.overview(results, runs)
    header = [
        "method",
        *(f"{c.kind}: {t}" for c, t in zip(columns, tables.overview_titles(columns), strict=True)),
    ]
    cells = [
        [label, *(tables.overview_cell(c, r) for c, r in zip(columns, row, strict=True))]
        for label, row in rows
    ]
    note = f"{tables.NOTES} ↓ ↑: lower or higher is better."
    return "\n".join([*_table(header, cells), "", cell(note)]) + "\n"


def scores(
    results: Sequence[Result],
    command: str = "",
    names: Sequence[str] | None = None,
    runs: Sequence[str] = (),
) -> str:
    """A Markdown table for each dataset and task, with footer. ``names`` picks the scores; by default the
    main ones.
    """
    parts = []
    for group in groups(results, runs):
        lines = [f"### {cell(group.dataset)}: {cell(group.name)}", ""]
        lines += _table(*tables.grid(group, names))
        lines += ["", cell(tables.NOTES), ""]
        lines += [f"- {cell(line)}" for line in tables.footer(group, command)]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)
