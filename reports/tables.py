"""Tables of results: no privacy score without its coverage, interval and chance."""

from __future__ import annotations

import csv as csv_module
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from dp2bench.core.results import Coverage, Metric, Result, Score, canonical_json

NO_COVERAGE = "no coverage"
KINDS = ("privacy", "utility", "quality", "coverage", "cost")
"""Kinds of tasks, in the order in which tables show them."""
_DASH = "–"


def kind_of(result: Result) -> str:
    """What the result's task measures: one of `KINDS`.

    A result that does not say counts as one of privacy, for which the rules of printing are the strictest; results from before
    kinds were kept are all of re-identification.
    """
    kind = result.provenance.task.get("kind") if result.provenance is not None else None
    return kind if kind in KINDS else "privacy"


def known_people(coverage: Coverage) -> int:
    """People the dataset or the detector knows of."""
    return coverage.found + (coverage.undetected or 0)


def printable(result: Result, score: Score) -> bool:
    """Whether the score may be shown: a privacy score needs a coverage of at least one known person."""
    return (
        kind_of(result) != "privacy"
        or result.clear_only(score)
        or (result.coverage is not None and known_people(result.coverage) > 0)
    )


def format_number(value: float, unit: str) -> str:
    """Fractions in percent with one digit, everything else with four digits that matter."""
    return f"{100 * value:.1f}" if unit == "fraction" else f"{value:.4g}"


def with_unit(name: str, metric: Metric) -> str:
    """``KID``, ``runtime (s)``: a score's name with its unit, unless it is a fraction or has none."""
    return name if metric.unit in ("fraction", "", "1") else f"{name} ({metric.unit})"


def format_score(result: Result, score: Score) -> str:
    """``12.3 [10.1, 14.6]`` (fractions in percent), or ``no coverage``."""
    if not printable(result, score):
        return NO_COVERAGE
    unit = result.metric(score).unit
    text = format_number(score.value, unit)
    if score.ci95 is not None:
        return f"{text} [{format_number(score.ci95[0], unit)}, {format_number(score.ci95[1], unit)}]"
    return f"{text} [no interval]" if kind_of(result) == "privacy" and not result.clear_only(score) else text


def format_chance(result: Result, score: Score | None) -> str:
    """What an attacker who knows nothing gets, in the score's unit."""
    if score is None or score.chance is None:
        return _DASH
    return format_number(score.chance, result.metric(score).unit)


def format_coverage(coverage: Coverage | None) -> str:
    """``99.0 % (812/820), 8 open``: anonymized of the known people, and how many failed open.

    Without ground truth nobody knows how many people were not found, and the text says so.
    """
    if coverage is None or coverage.share is None:
        return NO_COVERAGE
    # 99.96 % is not "100.0 %": only a full count may print as full
    known = known_people(coverage)
    share = 1000 * coverage.anonymized // known / 10
    unknown = " (undetected unknown)" if coverage.undetected is None else ""
    return f"{share:.1f} % ({coverage.anonymized}/{known}), {coverage.failed_open} open{unknown}"


def failure_text(result: Result, limit: int = 160) -> str:
    """``error: ...`` or ``skipped: ...`` in one line."""
    text: str = result.status
    if result.error is not None:
        text = " ".join(f"{result.status}: {result.error.kind}: {result.error.message}".split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


@dataclass(frozen=True)
class Group:
    """Results that may stand in one table: one dataset and one task. ``labels`` tell the methods apart."""

    dataset: str
    task: str
    results: tuple[Result, ...]
    labels: tuple[str, ...]
    indices: tuple[int, ...] = ()
    """Where each result stands in the sequence that was grouped."""
    settings: str = ""
    """The settings that tell it from other groups of the same dataset and task; empty where there is no other."""

    @property
    def name(self) -> str:
        """The task, with the settings that tell it from others of that name."""
        return f"{self.task} ({self.settings})" if self.settings else self.task

    @property
    def kind(self) -> str:
        """What the task measures: one of `KINDS`."""
        return next((kind_of(r) for r in self.results if r.provenance is not None), "privacy")

    @property
    def main_score(self) -> Score | None:
        """The main score of the first result that has one: its name, metric and scenario are those of all."""
        return next((r.main for r in self.results if r.main is not None), None)

    @property
    def score_names(self) -> tuple[str, ...]:
        """All names, in order of first appearance."""
        return tuple(dict.fromkeys(score.name for result in self.results for score in result.scores))

    @property
    def main_names(self) -> tuple[str, ...]:
        """The columns that the task declares, or its main metric under every scenario; every name where there is neither."""
        declared = next((r.columns for r in self.results if r.columns), ())
        if declared:
            return tuple(name for name in declared if name in self.score_names)
        main = self.main_score
        if main is None:
            return self.score_names
        return tuple(
            name
            for name in self.score_names
            if (score := self.first(name)[1]).metric == main.metric and score.subset == main.subset
        )

    def first(self, name: str) -> tuple[Result, Score]:
        """The first result that has the score; KeyError where none has."""
        for result in self.results:
            if (score := result.find(name)) is not None:
                return result, score
        raise KeyError(name)

    def metric(self, name: str) -> Metric:
        """Unit and direction of the score of that name."""
        result, score = self.first(name)
        return result.metric(score)

    def clear_only(self, name: str) -> bool:
        """Whether the score of that name says nothing of anonymized pictures."""
        result, score = self.first(name)
        return result.clear_only(score)

    def chance_of(self, name: str) -> bool:
        """Whether any result knows this score's chance."""
        return any((s := result.find(name)) is not None and s.chance is not None for result in self.results)


def _labels(results: Sequence[Result], runs: Sequence[str]) -> tuple[str, ...]:
    labels = [r.spec.method for r in results]
    for longer in (
        lambda r, run: r.spec.method + run,
        lambda r, run: f"{r.spec.method}{_arguments(r)}{run}",
        lambda r, run: f"{r.spec.method}{_arguments(r)} @{r.spec.detector}{run}",
        lambda r, run: f"{r.spec.method}{_arguments(r)} @{r.spec.detector} #{r.run_id[:8]}{run}",
    ):
        twice = {label for label in labels if labels.count(label) > 1}
        labels = [
            longer(r, f" ({run})" if len(set(runs)) > 1 else "") if label in twice else label
            for r, run, label in zip(results, runs, labels, strict=True)
        ]
    return tuple(labels)


def _arguments(result: Result) -> str:
    arguments = result.spec.method_arguments
    return (
        f"({', '.join(f'{k}={canonical_json(v)}' for k, v in sorted(arguments.items()))})"
        if arguments
        else ""
    )


def groups(results: Sequence[Result], runs: Sequence[str] = ()) -> tuple[Group, ...]:
    """Results by dataset and task, everything in order of first appearance.

    Args:
        results: of one or several runs.
        runs: name of each result's run, put behind a method that several runs have.

    """
    found: dict[tuple[str, str, str], list[int]] = {}
    for i, result in enumerate(results):
        spec = result.spec
        found.setdefault(
            (spec.dataset, spec.task, canonical_json([spec.dataset_arguments, spec.task_arguments])), []
        ).append(i)
    gathered = []
    for (dataset, task, _), members in found.items():
        chosen = [results[i] for i in members]
        labels = _labels(chosen, [runs[i] if runs else "" for i in members])
        others = [results[m[0]] for (d, t, _), m in found.items() if (d, t) == (dataset, task)]
        settings = _settings(chosen[0], others)
        gathered.append(Group(dataset, task, tuple(chosen), labels, tuple(members), settings))
    return tuple(gathered)


def _settings(result: Result, others: Sequence[Result]) -> str:
    """The settings of dataset and task that not all of these have alike: ``epochs=40``."""

    def given(r: Result) -> dict[str, str]:
        arguments = {**r.spec.dataset_arguments, **r.spec.task_arguments}
        return {key: canonical_json(value) for key, value in arguments.items()}

    mine, all_of_them = given(result), [given(other) for other in others]
    keys = sorted({key for one in all_of_them for key in one})
    differ = [key for key in keys if len({one.get(key) for one in all_of_them}) > 1]
    return ", ".join(f"{key}={mine.get(key, 'default')}" for key in differ)


@dataclass(frozen=True, eq=False)
class Column:
    """A column of the overview: the main score of a dataset and task, or (without a score) the people of a dataset."""

    kind: str
    title: str
    dataset: str
    score: Score | None
    group: Group


def overview(
    results: Sequence[Result], runs: Sequence[str] = ()
) -> tuple[list[Column], list[tuple[str, list[Result | None]]]]:
    """Methods x kinds: a column for each dataset and task with its main score, by kind; under ``coverage`` also the people.

    Returns:
        The columns, and a row for each method: its label and its result under each column, None where it has none.

    """
    gathered = sorted(groups(results, runs), key=lambda g: KINDS.index(g.kind))
    columns = [
        Column(g.kind, f"{g.dataset}: {with_unit(main.name, g.metric(main.name))}", g.dataset, main, g)
        for g in gathered
        if (main := g.main_score) is not None
    ]
    people: dict[str, Group] = {}
    for g in gathered:
        if any(r.coverage is not None for r in g.results):
            people.setdefault(g.dataset, g)
    columns += [Column("coverage", f"{d}: people anonymized", d, None, g) for d, g in people.items()]
    columns.sort(key=lambda c: KINDS.index(c.kind))
    titles = [c.title for c in columns]
    columns = [
        replace(c, title=f"{c.title}, {c.group.name}") if titles.count(c.title) > 1 else c for c in columns
    ]
    labels = dict.fromkeys(label for g in groups(results, runs) for label in g.labels)
    return columns, [
        (label, [dict(zip(c.group.labels, c.group.results, strict=True)).get(label) for c in columns])
        for label in labels
    ]


def overview_cell(column: Column, result: Result | None) -> str:
    """What the overview says of a method under a column."""
    if result is None:
        return _DASH
    if result.status != "ok":
        return result.status
    if column.score is None:
        return format_coverage(result.coverage)
    score = result.find(column.score.name)
    return _DASH if score is None else format_score(result, score)


def arrow(metric: Metric) -> str:
    """``↑`` where a higher value is better, ``↓`` where a lower one is."""
    return "↑" if metric.higher_is_better else "↓"


def overview_titles(columns: Sequence[Column]) -> list[str]:
    """Title of each column, with the direction of its score."""
    return [
        c.title if c.score is None else f"{c.title} {arrow(c.group.metric(c.score.name))}" for c in columns
    ]


def frame(results: Sequence[Result], runs: Sequence[str] = ()) -> pd.DataFrame:
    """Method x score as numbers. What is missing, failed, or lacks its coverage is NaN.

    With several datasets or tasks the rows are indexed by dataset, task and method, otherwise by method.
    """
    gathered = groups(results, runs)
    names = list(dict.fromkeys(name for group in gathered for name in group.score_names))
    index, rows = [], []
    for group in gathered:
        for label, result in zip(group.labels, group.results, strict=True):
            scores = [result.find(name) for name in names]
            index.append((group.dataset, group.name, label))
            rows.append(
                [
                    s.value if s is not None and result.status == "ok" and printable(result, s) else math.nan
                    for s in scores
                ]
            )
    rows_of: pd.Index = pd.MultiIndex.from_tuples(index, names=["dataset", "task", "method"])
    if len(gathered) == 1:
        rows_of = rows_of.droplevel(["dataset", "task"])
    table: pd.DataFrame = pd.DataFrame(rows, columns=names, index=rows_of, dtype=float)
    return table


def footer(group: Group, command: str = "") -> list[str]:
    """n, seeds, dataset with version, command: what a reader needs to repeat the table."""
    counts: dict[str, set[int]] = {}
    for result in group.results:
        for score in result.scores:
            counts.setdefault(score.name, set()).add(score.n)
    distinct = {n for ns in counts.values() for n in ns}
    if len(distinct) == 1:
        n = f"n = {distinct.pop()}"
    else:
        n = "n: " + (
            ", ".join(f"{name} {'/'.join(map(str, sorted(ns)))}" for name, ns in counts.items()) or "none"
        )
    seeds = sorted({r.spec.seeds for r in group.results})
    versions = dict.fromkeys(
        f"{r.provenance.dataset_version} ({r.provenance.dataset_fingerprint[:12]})"
        for r in group.results
        if r.provenance is not None
    )
    lines = [
        n,
        "seeds: " + " / ".join(", ".join(map(str, s)) or "none" for s in seeds),
        f"dataset: {group.dataset}, version " + (" / ".join(versions) or "unknown"),
    ]
    if len(versions) > 1:
        lines.append(
            "WARNING: the rows were computed on different versions of the dataset and do not compare"
        )
    lines.append(f"command: {command or 'not recorded'}")
    return lines


NOTES = (
    "Fractions in percent; [95 % bootstrap interval]; chance: an attacker who knows nothing; "
    "people: anonymized/known, and how many failed open (still recognisable)."
)


def grid(group: Group, names: Sequence[str] | None = None) -> tuple[list[str], list[list[str]]]:
    """Header and cells of a table: each score followed by its chance, coverage last. A failed row has two
    cells only.
    """
    names = group.main_names if names is None else names
    header = ["method"]
    for name in names:
        title = with_unit(name, group.metric(name))
        header += [title, "chance"] if group.chance_of(name) else [title]
    header.append("people")
    rows = []
    for label, result in zip(group.labels, group.results, strict=True):
        if result.status != "ok":
            rows.append([label, failure_text(result)])
            continue
        row = [label]
        for name in names:
            score = result.find(name)
            row.append(_DASH if score is None else format_score(result, score))
            if group.chance_of(name):
                row.append(format_chance(result, score))
        rows.append([*row, format_coverage(result.coverage)])
    return header, rows


def _markdown_cell(text: str) -> str:
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


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; whatever the cells hold stays text."""
    return "\n".join(_markdown_table(header, rows)) + "\n"


def _markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = ["| " + " | ".join(map(_markdown_cell, header)) + " |"]
    lines.append("|" + "|".join([":--"] + ["--:"] * (len(header) - 1)) + "|")
    for row in rows:
        padded = [*row, *[""] * (len(header) - len(row))]
        lines.append("| " + " | ".join(map(_markdown_cell, padded)) + " |")
    return lines


def markdown_overview(results: Sequence[Result], runs: Sequence[str] = ()) -> str:
    """One Markdown table of methods x (privacy, utility, quality, coverage, cost)."""
    columns, rows = overview(results, runs)
    header = ["method", *(f"{c.kind}: {t}" for c, t in zip(columns, overview_titles(columns), strict=True))]
    cells = [
        [label, *(overview_cell(c, r) for c, r in zip(columns, row, strict=True))] for label, row in rows
    ]
    note = f"{NOTES} ↓ ↑: lower or higher is better."
    return "\n".join([*_markdown_table(header, cells), "", _markdown_cell(note)]) + "\n"


def markdown(
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
        lines = [f"### {_markdown_cell(group.dataset)}: {_markdown_cell(group.name)}", ""]
        lines += _markdown_table(*grid(group, names))
        lines += ["", _markdown_cell(NOTES), ""]
        lines += [f"- {_markdown_cell(line)}" for line in footer(group, command)]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


CSV_COLUMNS = (
    "dataset", "dataset_version", "task", "settings", "kind", "method", "run", "status", "score", "value", "ci95_low", "ci95_high",
    "chance", "unit",
    "higher_is_better", "n", "seeds", "anonymized", "known", "failed_open", "undetected", "note", "command", "scenario", "metric", "subset",
    "chance_high", "p_value", "lift",
)  # fmt: skip


def csv(results: Sequence[Result], command: str = "", runs: Sequence[str] = ()) -> str:
    """All scores, a line each, as unrounded numbers. A failed result is a line with its reason under
    ``note``.
    """
    stream = io.StringIO()
    writer = csv_module.DictWriter(stream, CSV_COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for group in groups(results, runs):
        for index, label, result in zip(group.indices, group.labels, group.results, strict=True):
            base: dict[str, object] = {
                "dataset": group.dataset,
                "dataset_version": result.provenance.dataset_version if result.provenance else "",
                "task": group.task,
                "settings": group.settings,
                "kind": group.kind,
                "method": label,
                "run": runs[index] if runs else "",
                "status": result.status,
                "seeds": " ".join(map(str, result.spec.seeds)),
                "command": command,
            }
            if result.coverage is not None:
                base |= {
                    "anonymized": result.coverage.anonymized,
                    "known": known_people(result.coverage),
                    "failed_open": result.coverage.failed_open,
                    "undetected": "unknown"
                    if result.coverage.undetected is None
                    else result.coverage.undetected,
                }
            if result.status != "ok":
                writer.writerow(base | {"note": failure_text(result)})
                continue
            for score in result.scores:
                metric = result.metric(score)
                row = base | {
                    "score": score.name,
                    "scenario": score.scenario,
                    "metric": score.metric,
                    "subset": score.subset,
                    "unit": metric.unit,
                    "higher_is_better": metric.higher_is_better,
                    "n": score.n,
                }
                if printable(result, score):
                    low, high = score.ci95 or ("", "")
                    told = ("chance", "chance_high", "p_value", "lift")
                    known = {key: v for key in told if (v := getattr(score, key)) is not None}
                    row |= {"value": score.value, "ci95_low": low, "ci95_high": high, **known}
                else:
                    row["note"] = NO_COVERAGE
                writer.writerow(row)
    return stream.getvalue()


_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}":
    r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "|":
    r"\textbar{}",
    '"': r"\textquotedbl{}", "–": "--", "…": r"\ldots{}", "→": r"$\to$", "↓": r"$\downarrow$", "↑": r"$\uparrow$", "±": r"$\pm$", "µ": r"$\mu$",
    "²": r"\textsuperscript{2}", "[": "{[}", "]": "{]}",
}  # fmt: skip


def latex_escape(text: str) -> str:
    """Text as LaTeX prints it. Brackets are wrapped: after a row's end they would be read as its argument."""
    return "".join(_LATEX.get(char, char) for char in " ".join(text.split()))


def _latex_rows(header_width: int, rows: Sequence[Sequence[str]]) -> list[str]:
    lines = []
    for row in rows:
        if len(row) == header_width:
            lines.append(" & ".join(map(latex_escape, row)) + r" \\")
        else:
            reason = rf"\multicolumn{{{header_width - 1}}}{{l@{{}}}}{{{latex_escape(row[1])}}}"
            lines.append(rf"{latex_escape(row[0])} & {reason} \\")
    return lines


def _latex_notes(columns: int, lines: Sequence[str]) -> list[str]:
    span = rf"\multicolumn{{{columns}}}{{@{{}}p{{0.95\linewidth}}@{{}}}}"
    return [rf"{span}{{\footnotesize {latex_escape(line)}}} \\" for line in lines]


def latex_overview(results: Sequence[Result], runs: Sequence[str] = ()) -> str:
    """One booktabs ``tabular`` of methods x (privacy, utility, quality, coverage, cost), the kinds above their columns."""
    columns, rows = overview(results, runs)
    kinds = [(kind, sum(c.kind == kind for c in columns)) for kind in KINDS]
    spans, rules, at = [""], [], 2
    for kind, width in kinds:
        if width:
            spans.append(rf"\multicolumn{{{width}}}{{c}}{{{kind}}}")
            rules.append(rf"\cmidrule(lr){{{at}-{at + width - 1}}}")
            at += width
    cells = [
        [label, *(overview_cell(c, r) for c, r in zip(columns, row, strict=True))] for label, row in rows
    ]
    return "\n".join(
        [
            r"\begin{tabular}{@{}l" + "r" * len(columns) + "@{}}",
            r"\toprule",
            " & ".join(spans) + r" \\",
            " ".join(rules),
            " & ".join(["method", *map(latex_escape, overview_titles(columns))]) + r" \\",
            r"\midrule",
            *_latex_rows(len(columns) + 1, cells),
            r"\bottomrule",
            *_latex_notes(len(columns) + 1, [NOTES]),
            r"\end{tabular}",
            "",
        ]
    )


def latex(
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
        header, rows = grid(group, names)
        columns = len(header)
        lines = [r"\begin{tabular}{@{}l" + "r" * (columns - 1) + "@{}}", r"\toprule"]
        lines += [" & ".join(map(latex_escape, header)) + r" \\", r"\midrule"]
        lines += [*_latex_rows(columns, rows), r"\bottomrule"]
        lines += _latex_notes(columns, [f"{group.dataset}: {group.name}. {NOTES}", *footer(group, command)])
        lines.append(r"\end{tabular}")
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)
