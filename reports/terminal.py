"""What a run ends with on a terminal: one table of 80 columns, a line a method."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dp2bench.core.results import Result
from dp2bench.reports import tables, texts
from dp2bench.reports.groups import Group, groups, headline, known_people, printable, told_apart

OTHERS = ("utility", "quality")
"""Kinds of tasks whose main scores stand beside the privacy."""


def print_overview(results: Sequence[Result], console: Console, runs: Sequence[str] = ()) -> None:
    """Print a line for each method: how much identity its worst attacker finds, beside chance and lift, who that is, the main score
    of every other task, and how many people failed open.
    """
    gathered = groups(results, runs)
    first = headline(gathered)
    others = [g for g in gathered if g.kind in OTHERS and g.main_score is not None]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=0)
    table.add_column("method", overflow="fold")
    named = lifted = False
    if first is not None:
        scores = [r.main for r in first.results if r.main is not None]
        named, lifted = any(s.by for s in scores), any(s.lift is not None for s in scores)
        table.add_column("identity left [95 %]", justify="right")
        table.add_column("lift" if lifted else "chance", justify="right", no_wrap=True)
        if named:
            table.add_column("worst attacker")
    titles = [_title(g) for g in others]
    for title, whose in zip(titles, told_apart(list(zip(titles, others, strict=True))), strict=True):
        table.add_column(title + whose, justify="right")
    table.add_column("open", justify="right", no_wrap=True)
    unknown = False
    for label in dict.fromkeys(label for g in gathered for label in g.labels):
        cells = [label]
        found = _of(first, label)
        if first is not None:
            cells += _privacy(found, lifted, named)
        cells += [_main(_of(g, label)) for g in others]
        cells.append(_open(found or next((r for g in gathered if (r := _of(g, label))), None)))
        unknown |= cells[-1].endswith("?")
        table.add_row(*map(Text, cells))
    console.print(table)
    notes = ["In percent where no unit is named."]
    if first is not None and first.main_score is not None:
        notes[0] = (
            f"Identity left: {first.metric(first.main_score.name).title or first.main_score.name} on {first.dataset}, in percent."
        )
    if lifted:
        chances = [s.chance for s in scores if s.chance is not None]
        by_chance = f" Chance: {100 * min(chances):.1f} to {100 * max(chances):.1f}." if chances else ""
        notes.append(
            f"Lift: share of what the best attacker finds in clear pictures that is left.{by_chance}"
        )
    notes.append(
        "Open: people who failed open, still recognisable"
        + ("; ? where nobody knows who was not found." if unknown else ".")
    )
    notes += [
        f"{label}, {group.task}: {texts.failure_text(result)}"
        for group in gathered
        for label, result in zip(group.labels, group.results, strict=True)
        if result.status != "ok"
    ]
    console.print(Text("\n".join(notes), style="dim"))


def _title(group: Group) -> str:
    assert group.main_score is not None
    metric = group.metric(group.main_score.name)
    return f"{tables.words(group, group.main_score.name)} {texts.arrow(metric)}"  # broken at spaces


def _of(group: Group | None, label: str) -> Result | None:
    return None if group is None else dict(zip(group.labels, group.results, strict=True)).get(label)


def _privacy(result: Result | None, lifted: bool, named: bool) -> list[str]:
    score = result.main if result is not None else None
    if result is None or score is None or not printable(result, score):
        said = texts.DASH if result is None else result.status if result.status != "ok" else texts.NO_COVERAGE
        return [said, *[texts.DASH] * (1 + named)]
    value = texts.format_number(score.value, result.metric(score).unit)
    if score.ci95 is not None:
        low, high = (100 * v for v in score.ci95)
        digits = 0 if high >= 10 else 1
        value += f" [{low:.{digits}f}, {high:.{digits}f}]"
    beside = texts.format_chance(result, score)
    if lifted:
        beside = texts.DASH if score.lift is None else f"{100 * score.lift:.0f} %"
    return [value, beside, score.by] if named else [value, beside]


def _main(result: Result | None) -> str:
    if result is None:
        return texts.DASH
    if result.status != "ok" or result.main is None:
        return result.status
    unit = result.metric(result.main).unit
    return (
        f"{100 * result.main.value:.1f}"
        if unit == "fraction"
        else f"{result.main.value:.{3 if abs(result.main.value) < 10 else 1}f}"
    )


def _open(result: Result | None) -> str:
    coverage = result.coverage if result is not None else None
    if coverage is None or not known_people(coverage):
        return texts.DASH
    return f"{coverage.failed_open}{'?' if coverage.undetected is None else ''}"
