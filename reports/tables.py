"""Tables of results, as header and cells: no privacy score without its coverage, interval and chance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dp2bench.core.results import Result, Score
from dp2bench.reports.groups import KINDS, Group, groups, printable
from dp2bench.reports.texts import (
    DASH,
    arrow,
    failure_text,
    format_chance,
    format_coverage,
    format_score,
    with_unit,
)

if TYPE_CHECKING:
    import pandas as pd

NOTES = (
    "Fractions in percent; [95 % bootstrap interval]; chance: an attacker who knows nothing; "
    "people: anonymized/known, and how many failed open (still recognisable)."
)


@dataclass(frozen=True, eq=False)
class Column:
    """A column of the overview: the main score of a dataset and task, or (without a score) the people of a dataset."""

    kind: str
    title: str
    dataset: str
    score: Score | None
    group: Group


def words(group: Group, name: str) -> str:
    """A score as a title: in the words of its task, with the subset and the unit; its name where the words are long."""
    result, score = group.first(name)
    metric = result.metric(score)
    title = metric.title if 0 < len(metric.title) <= 40 else score.metric
    unit = "" if metric.unit == "distance" else with_unit("", metric)
    return (f"{title}, {score.subset}" if score.subset else title) + unit


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
        return DASH
    if result.status != "ok":
        return result.status
    if column.score is None:
        return format_coverage(result.coverage)
    score = result.find(column.score.name)
    return DASH if score is None else format_score(result, score)


def overview_titles(columns: Sequence[Column]) -> list[str]:
    """Title of each column, with the direction of its score."""
    return [
        c.title if c.score is None else f"{c.title} {arrow(c.group.metric(c.score.name))}" for c in columns
    ]


def frame(results: Sequence[Result], runs: Sequence[str] = ()) -> pd.DataFrame:
    """Method x score as numbers. What is missing, failed, or lacks its coverage is NaN.

    With several datasets or tasks the rows are indexed by dataset, task and method, otherwise by method.
    """
    import pandas as pd

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
            row.append(DASH if score is None else format_score(result, score))
            if group.chance_of(name):
                row.append(format_chance(result, score))
        rows.append([*row, format_coverage(result.coverage)])
    return header, rows
