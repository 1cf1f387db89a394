"""Tables as LaTeX (booktabs)."""

from __future__ import annotations

from collections.abc import Sequence

from dp2bench.core.results import Result
from dp2bench.reports import tables
from dp2bench.reports.groups import KINDS, groups

_SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}":
    r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "|":
    r"\textbar{}",
    '"': r"\textquotedbl{}", "–": "--", "…": r"\ldots{}", "→": r"$\to$", "↓": r"$\downarrow$", "↑": r"$\uparrow$", "±": r"$\pm$", "µ": r"$\mu$",
    "²": r"\textsuperscript{2}", "[": "{[}", "]": "{]}",
}  # fmt: skip


def escape(text: str) -> str:
    """Text as LaTeX prints it. Brackets are wrapped: after a row's end they would be read as its argument."""
    return "".join(_SPECIAL.get(char, char) for char in " ".join(text.split()))


def _rows(header_width: int, rows: Sequence[Sequence[str]]) -> list[str]:
    lines = []
    for row in rows:
        if len(row) == header_width:
            lines.append(" & ".join(map(escape, row)) + r" \\")
        else:
            reason = rf"\multicolumn{{{header_width - 1}}}{{l@{{}}}}{{{escape(row[1])}}}"
            lines.append(rf"{escape(row[0])} & {reason} \\")
    return lines


def _notes(columns: int, lines: Sequence[str]) -> list[str]:
    span = rf"\multicolumn{{{columns}}}{{@{{}}p{{0.95\linewidth}}@{{}}}}"
    return [rf"{span}{{\footnotesize {escape(line)}}} \\" for line in lines]


def overview(results: Sequence[Result], runs: Sequence[str] = ()) -> str:
    """One booktabs ``tabular`` of methods x (privacy, utility, quality, coverage, cost), the kinds above their columns."""
    columns, rows = tables.overview(results, runs)
    kinds = [(kind, sum(c.kind == kind for c in columns)) for kind in KINDS]
    spans, rules, at = [""], [], 2
    for kind, width in kinds:
        if width:
            spans.append(rf"\multicolumn{{{width}}}{{c}}{{{kind}}}")
            rules.append(rf"\cmidrule(lr){{{at}-{at + width - 1}}}")
            at += width
    cells = [
        [label, *(tables.overview_cell(c, r) for c, r in zip(columns, row, strict=True))]
        for label, row in rows
    ]
    return "\n".join(
        [
            r"\begin{tabular}{@{}l" + "r" * len(columns) + "@{}}",
            r"\toprule",
            " & ".join(spans) + r" \\",
            " ".join(rules),
            " & ".join(["method", *map(escape, tables.overview_titles(columns))]) + r" \\",
            r"\midrule",
            *_rows(len(columns) + 1, cells),
            r"\bottomrule",
            *_notes(len(columns) + 1, [tables.NOTES]),
            r"\end{tabular}",
            "",
        ]
    )


def scores(
    results: Sequence[Result],
    command: str = "",
    names: Sequence[str] | None = None,
    runs: Sequence[str] = (),
) -> str:
    """A booktabs ``tabular`` for each dataset and task, to be put into a ``table``; needs ``the booktabs
    package``.
    """
    parts = []
    for group in groups(results, runs):
        header, rows = tables.grid(group, names)
        columns = len(header)
        lines = [r"\begin{tabular}{@{}l" + "r" * (columns - 1) + "@{}}", r"\toprule"]
        lines += [" & ".join(map(escape, header)) + r" \\", r"\midrule"]
        lines += [*_rows(columns, rows), r"\bottomrule"]
        lines += _notes(
            columns, [f"{group.dataset}: {group.name}. {tables.NOTES}", *tables.footer(group, command)]
        )
        lines.append(r"\end{tabular}")
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)
