"""What a publication needs of a run: tables in the published layout, a paragraph on methods, references, licences."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from importlib import resources
from typing import Any

import yaml

from dp2bench.core.results import Metric, Result, Score
from dp2bench.reports.latex import escape
from dp2bench.reports.load import Report
from dp2bench.reports.published import Absent, Control, fill, tables
from dp2bench.reports.texts import failure_text


def files(report: Report) -> dict[str, str]:
    """Contents by name: a ``.tex`` for each published table that the run has rows of, ``methods.tex``, ``references.bib``, ``licences.md``."""
    brought, _ = fill(report.expected)
    found = {
        f"{_slug(table.cells)}.tex": _table(table, mine, brought)
        for table in tables().values()
        if table.dataset
        and (
            mine := [
                r for r in report.results if (r.spec.dataset, r.spec.task) == (table.dataset, table.task)
            ]
        )
    }
    keys = _cited(report.results)
    found["methods.tex"] = _methods(report, keys)
    if report.description:
        found = {name: f"% {escape(report.description)}\n{text}" for name, text in found.items()}
    found["references.bib"] = _references(keys)
    found["licences.md"] = _licences(report.results)
    return found


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _table(table: Absent, results: Sequence[Result], brought: Sequence[Control]) -> str:
    """A booktabs ``tabular``: the table's rows and columns, ours and, where somebody brought it, the published number behind it."""
    published = {
        (c.measured_as.method, c.measured_as.score): c
        for c in brought
        if c.measured_as is not None and (c.measured_as.task, c.dataset) == (table.task, table.dataset)
    }
    by_method = {r.spec.method: r for r in results}
    lines = [
        f"% {table.cells}. In parentheses: {'as published' if published else 'nothing, since no published number was brought (--expected)'}.",
        r"\begin{tabular}{@{}l" + "r" * len(table.columns) + "@{}}",
        r"\toprule",
        " & ".join(["", *(_title(column, score, results) for column, score in table.columns.items())])
        + r" \\",
        r"\midrule",
    ]
    notes = []
    for row, method in table.rows.items():
        result = by_method.get(method)
        cells = []
        for score in table.columns.values():
            measured = None if result is None or result.status != "ok" else result.find(score)
            number = (
                "--" if measured is None or result is None else _number(measured, result.metric(measured))
            )
            known = published.get((method, score))
            cells.append(number + (f" ({known.value:g})" if known is not None else ""))
        if result is None:
            notes.append(f"{row}: not in this run.")
        elif result.status != "ok":
            notes.append(f"{row}: {failure_text(result)}")
        lines.append(" & ".join([escape(row), *cells]) + r" \\")
    lines.append(r"\bottomrule")
    span = rf"\multicolumn{{{len(table.columns) + 1}}}{{@{{}}p{{0.95\linewidth}}@{{}}}}"
    lines += [rf"{span}{{\footnotesize {escape(note)}}} \\" for note in notes]
    return "\n".join([*lines, r"\end{tabular}", ""])


def _title(column: str, score: str, results: Sequence[Result]) -> str:
    found = next(((r, s) for r in results if (s := r.find(score)) is not None), None)
    if found is None:
        return escape(column)
    return escape(column) + (
        r" $\uparrow$" if found[0].metric(found[1]).higher_is_better else r" $\downarrow$"
    )


def _number(score: Score, metric: Metric) -> str:
    return f"{100 * score.value:.1f}" if metric.unit == "fraction" else f"{score.value:.3g}"


def _words(result: Result) -> set[str]:
    """Everything in a result that `citations.yaml` may know."""
    spec = result.spec
    plugin = spec.method_arguments.get("plugin")
    told = {} if result.provenance is None else result.provenance.arguments_effective
    words = [spec.dataset, spec.method, spec.detector, spec.task, plugin, told.get("model")]
    return {str(word) for word in (*words, *(s.metric for s in result.scores)) if word}


def _cited(results: Iterable[Result]) -> list[str]:
    known: dict[str, list[str]] = yaml.safe_load(_read("citations.yaml"))
    words = {word for result in results if result.status == "ok" for word in _words(result)}
    return sorted({key for word in words for key in known.get(word, [])})


def _references(keys: Sequence[str]) -> str:
    entries = re.split(r"\n(?=@)", _read("references.bib").strip() + "\n")
    return "\n".join(entry for entry in entries if re.match(r"@\w+\{([^,]+),", entry)[1] in keys)  # type: ignore[index]


def _methods(report: Report, keys: Sequence[str]) -> str:
    """A paragraph that names what was run, with versions and seeds."""
    done = [r for r in report.results if r.provenance is not None]
    if not done:
        return "% Nothing of this run was finished.\n"
    first = done[0].provenance
    assert first is not None
    data = sorted({f"{r.spec.dataset} ({r.provenance.dataset_version})" for r in done if r.provenance})
    shown = ("torch", "torchvision", "torchreid", "torch-fidelity", "pycocotools", "cityscapesscripts")
    packages = [f"{name} {first.packages[name]}" for name in shown if name in first.packages]
    seeds = sorted({seed for r in done for seed in r.spec.seeds})
    tasks = sorted(
        {f"{r.spec.task} {r.provenance.task.get('version', '')}".strip() for r in done if r.provenance}
    )
    commit = f", commit {first.git_commit[:12]}" if first.git_commit else ""
    dirty = " with uncommitted changes" if first.git_dirty else ""
    text = (
        f"Anonymization and evaluation were done with dp2bench {first.dp2bench}{commit}{dirty} on {_list(data)}. "
        f"Methods: {_list(sorted({r.spec.method for r in done}))}. People were found by {_list(sorted({r.spec.detector for r in done}))}. "
        f"Tasks (with their versions): {_list(tasks)}. {'Seeds' if len(seeds) > 1 else 'Seed'}: {', '.join(map(str, seeds))}. "
        f"Software: Python {first.python}, {_list(packages)}; device: {first.device}."
    )
    return f"{escape(text)}\n" + (rf"\nocite{{{','.join(keys)}}}" + "\n" if keys else "")


def _list(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1]))) if words else "nothing"


def _licences(results: Sequence[Result]) -> str:
    found: dict[str, Any] = {}
    for result in results:
        if result.provenance is not None:
            found |= result.provenance.licences
    rows = [f"| {name} | {licence} |" for name, licence in sorted(found.items())]
    return "\n".join(["# Licences of data and weights", "", "| what | licence |", "|:--|:--|", *rows, ""])


def _read(name: str) -> str:
    return (resources.files("dp2bench.reports") / "templates" / name).read_text("utf-8")
