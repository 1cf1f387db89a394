"""What a reader sees first: the same people under every method, a verdict in words, and the scores that say why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dp2bench.core.results import Result, Score
from dp2bench.reports import pictures, tables, texts
from dp2bench.reports.groups import KINDS, Group, groups, headline, known_people, printable
from dp2bench.reports.load import Report
from dp2bench.reports.pictures import Embedded

HEIGHT = 64
"""Of the pictures, in the page's pixels."""
_WIDTH = 200
"""Of all of a method's pictures together, at most."""
_MOST = 6
_BUDGET = 400_000
_WORDS = ((0.9, "Hides nothing"), (0.5, "Hides little"), (0.2, "Hides a part"), (0.05, "Hides most"))
"""From which lift on what is said; less is nearly all."""


@dataclass(frozen=True)
class Column:
    """Title in words, the score's name for whoever asks, and the kind of the task."""

    title: str
    name: str
    kind: str


@dataclass(frozen=True)
class Cell:
    """A number, what stands below it, what it sorts by, and the share of a bar behind it, 0 to 1; None for no bar."""

    text: str
    below: str = ""
    sort: float | str = ""
    bar: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Row:
    """A method: verdict, pictures (None where there is none), and a cell for each column."""

    label: str
    verdict: str
    pictures: tuple[Embedded | None, ...]
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class FirstScreen:
    """The table; ``originals`` are the pictures of `Row.pictures` before."""

    columns: Sequence[Column]
    rows: Sequence[Row]
    originals: tuple[Embedded | None, ...]


def first_screen(report: Report) -> FirstScreen:
    """Main scores of every method, those of privacy first, and who they are about."""
    gathered = sorted(groups(report.results, report.names), key=lambda g: KINDS.index(g.kind))
    first = headline(gathered)
    scored = [(g, name) for g in gathered if g is first for name in _columns(g)]
    # one privacy and one count of people stand for all: the others have their sections
    more = [g for g in gathered if g.kind not in ("privacy", "coverage")]
    scored += [(g, g.main_score.name) for g in more if g.main_score is not None]
    columns = [_column(g, name) for g, name in scored]
    repeated = {c.title for c in columns if [d.title for d in columns].count(c.title) > 1}
    columns = [
        Column(f"{c.title}, {g.name}", c.name, c.kind) if c.title in repeated else c
        for c, (g, _) in zip(columns, scored, strict=True)
    ]
    labels = list(dict.fromkeys(label for g in gathered for label in g.labels))
    cells = [_scores_of(g, name, labels) for g, name in scored]
    if any(r.coverage is not None for r in report.results):
        columns.append(
            Column(
                "people left as they are ↓",
                "found and left, or never found: as recognisable as before",
                "coverage",
            )
        )
        cells.append([_people(_covered(label, first, gathered)) for label in labels])
    originals, sheets = _people_of(report, labels, first)
    rows = [
        Row(
            label,
            verdict(_of(first, label), _covered(label, first, gathered)),
            sheets.get(label, ()),
            tuple(column[i] for column in cells),
        )
        for i, label in enumerate(labels)
    ]
    return FirstScreen(columns, rows, originals)


def verdict(private: Result | None, covered: Result | None) -> str:
    """What a method does for the privacy of people, in words; ``covered`` is a result that counts them."""
    said = [_of_identity(private)]
    coverage = covered.coverage if covered is not None else None
    if coverage is not None and (known := known_people(coverage)):
        left, unknown = coverage.failed_open, coverage.undetected is None
        if left:
            said.append(f"{left:,} of {known:,} people are left as they are.")
        elif unknown:
            said.append("Nobody knows who was not found.")
        else:
            said.append(f"All {known:,} people are covered.")
    return " ".join(filter(None, said))


def _of_identity(result: Result | None) -> str:
    if result is None:
        return ""
    if result.status != "ok":
        return texts.failure_text(result)
    score = result.main
    if score is None or not printable(result, score):
        return "Its privacy is not known: nobody was counted."
    attacker = f"the worst attacker ({score.by})" if score.by else "the attacker"
    unit = result.metric(score).unit
    found = texts.format_number(score.value, unit) + (" %" if unit == "fraction" else "")
    if score.chance is not None and not _above_chance(score):
        return f"Hides identity: {attacker} finds {found}, no more than chance."
    if score.lift is not None:
        word = next((word for least, word in _WORDS if score.lift >= least), "Hides nearly all")
        left = f"{100 * score.lift:.0f} % of the identity in clear pictures"
        return f"{word}: {attacker} finds {found}, {left}."
    if score.chance:
        times = score.value / score.chance
        return f"{attacker.capitalize()} finds {found}, {times:.1f} times chance."
    return f"{attacker.capitalize()} finds {found}."


def _above_chance(score: Score) -> bool:
    """Whether the score is beyond what an attacker who knows nothing gets."""
    if score.p_value is not None:
        return score.p_value <= 0.025
    if score.chance_high is not None:
        return score.value > score.chance_high
    assert score.chance is not None
    return (score.ci95[0] if score.ci95 is not None else score.value) > score.chance


def _columns(group: Group) -> list[str]:
    """The main score, and what else the task declares that is no scenario of an attack that ranks people."""
    main = group.main_score
    assert main is not None
    return [
        main.name,
        *(n for n in group.main_names if not (s := group.first(n)[1]).scenario and s.metric != main.metric),
    ]


def _column(group: Group, name: str) -> Column:
    metric = group.metric(name)
    return Column(
        f"{tables.words(group, name)} {texts.arrow(metric)}",
        f"{group.dataset}: {group.name}, {name}. {metric.description}".strip(),
        group.kind,
    )


def _scores_of(group: Group, name: str, labels: Sequence[str]) -> list[Cell]:
    found: list[tuple[Result, Score] | None] = []
    for label in labels:
        result = _of(group, label)
        score = result.find(name) if result is not None and result.status == "ok" else None
        found.append(
            None if result is None or score is None or not printable(result, score) else (result, score)
        )
    most = max((abs(score.value) for row in found if row is not None for score in [row[1]]), default=0.0)
    cells = []
    for label, row in zip(labels, found, strict=True):
        if row is None:
            cells.append(_absent(_of(group, label)))
            continue
        result, score = row
        unit = result.metric(score).unit
        below = (
            [] if score.ci95 is None else [f"[{', '.join(texts.format_number(v, unit) for v in score.ci95)}]"]
        )
        if score.chance is not None:
            below.append(f"chance {texts.format_number(score.chance, unit)}")
        whole = 1.0 if unit == "fraction" else most
        bar = min(1.0, max(0.0, score.value / whole)) if whole else 0.0
        note = f"by {score.by}" if score.by else ""
        cells.append(Cell(texts.format_number(score.value, unit), " · ".join(below), score.value, bar, note))
    return cells


def _absent(result: Result | None) -> Cell:
    if result is None:
        return Cell(texts.DASH)
    if result.status != "ok":
        return Cell(
            texts.ABSENT if result.status == "skipped" else result.status, note=texts.failure_text(result)
        )
    return Cell(texts.NO_COVERAGE if result.coverage is None else texts.DASH)


def _people(result: Result | None) -> Cell:
    coverage = result.coverage if result is not None else None
    if coverage is None or not (known := known_people(coverage)):
        return Cell(texts.DASH)
    below = f"of {known:,}" + (", and who was not found" if coverage.undetected is None else "")
    return Cell(f"{coverage.failed_open:,}", below, coverage.failed_open, coverage.failed_open / known)


def _of(group: Group | None, label: str) -> Result | None:
    return None if group is None else dict(zip(group.labels, group.results, strict=True)).get(label)


def _covered(label: str, first: Group | None, gathered: Sequence[Group]) -> Result | None:
    """The result whose people stand for the method: that of the headline, or else the first that counts any."""
    results = [r for g in (first, *gathered) if g is not None and (r := _of(g, label)) is not None]
    return next((r for r in results if r.coverage is not None), None)


def _people_of(
    report: Report, labels: Sequence[str], first: Group | None
) -> tuple[tuple[Embedded | None, ...], dict[str, tuple[Embedded | None, ...]]]:
    """Pictures of the same few people before, and under each method; none where several runs are compared, which have their own."""
    if len(report.runs) > 1:
        return (), {}
    sides = pictures.side_by_side(report.runs[0], report.run_names[0], people=_MOST, budget=_BUDGET)
    sides.sort(key=lambda side: first is None or side.dataset != first.dataset)
    if not sides:
        return (), {}
    side = sides[0]
    n = min(len(side.names), max(1, int(_WIDTH / (HEIGHT * side.ratio))))
    rows = {label: row[:n] for label, row in side.rows.items()}
    originals = rows.get("clear", ())
    return originals, {label: rows[label] for label in labels if label in rows}
