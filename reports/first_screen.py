"""What a reader sees first: the same people under every method, a verdict in words, and the scores that say why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dp2bench.core.results import Result, Score
from dp2bench.reports import pictures, tables, texts
from dp2bench.reports.groups import KINDS, Group, groups, headline, known_people, printable, told_apart
from dp2bench.reports.load import Report
from dp2bench.reports.pictures import Embedded

HEIGHT = 64
"""Of the pictures, in the page's pixels."""
_WIDTH = 200
"""Of all of a method's pictures together, at most."""
_MOST = 6
_BUDGET = 400_000
GIVEN = "annotations"
"""The detector that is handed the people, so that nobody is missed."""
_HIDES = "Hides identity"
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
    whose = told_apart([(c.title, g) for c, (g, _) in zip(columns, scored, strict=True)])
    columns = [Column(c.title + more, c.name, c.kind) for c, more in zip(columns, whose, strict=True)]
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
            verdict(_private(label, first, gathered), _covered(label, first, gathered)),
            sheets.get(label, ()),
            tuple(column[i] for column in cells),
        )
        for i, label in enumerate(labels)
    ]
    return FirstScreen(columns, rows, originals)


def verdict(private: Sequence[Result], covered: Result | None) -> str:
    """What a method does for the privacy of people, in words.

    Args:
        private: its privacy results, that of the headline first.
        covered: the result that counts its people; None where none does.

    """
    said = [_of_identity(private[0])] if private else []
    if said and said[0].startswith(_HIDES):
        said += [
            f"But {r.spec.task} reaches {_amount(r, r.main)}, beyond chance."
            for r in private[1:]
            if r.status == "ok" and r.main is not None and printable(r, r.main) and _above_chance(r.main)
        ]
    return " ".join([*said, *_of_people(private, covered)])


def _of_people(private: Sequence[Result], covered: Result | None) -> list[str]:
    """Who is covered and who is left; of another dataset than the headline's it is said."""
    coverage = covered.coverage if covered is not None else None
    if covered is None or coverage is None or not known_people(coverage):
        return []
    elsewhere = private and private[0].spec.dataset != covered.spec.dataset
    where = f" on {covered.spec.dataset}" if elsewhere or not private else ""
    if covered.spec.detector == GIVEN:
        known = known_people(coverage)
        if coverage.failed_open:
            return [f"{coverage.failed_open:,} of {known:,} people{where} are left as they are."]
        return [f"All {known:,} people{where}, whose places were given, are covered."]
    said = [f"{coverage.missed:,} of {coverage.found:,} people found{where} are left as they are."]
    if coverage.undetected is None:
        return [*said, "Nobody knows who was not found."]
    return [*said, f"{coverage.undetected:,} of those annotated were never found."]


def _of_identity(result: Result) -> str:
    if result.status != "ok":
        return texts.failure_text(result)
    score = result.main
    if score is None or not printable(result, score):
        return "Its privacy is not known: nobody was counted."
    attacker = f"the worst attacker ({score.by})" if score.by else f"the attacker of {result.spec.task}"
    if score.chance is not None and not _above_chance(score):
        return f"{_HIDES}: {attacker} reaches {_amount(result, score)}, no more than chance."
    if score.lift is not None:
        word = next((word for least, word in _WORDS if score.lift >= least), "Hides nearly all")
        left = (
            "as much as on clear pictures"
            if score.lift >= 1
            else f"{100 * score.lift:.0f} % of that on clear pictures"
        )
        return f"{word}: {attacker} reaches {_amount(result, score)}, {left}{_first_answers(result, score)}."
    if score.chance:
        times = score.value / score.chance
        return f"{attacker.capitalize()} reaches {_amount(result, score)}, {times:.1f} times chance{_first_answers(result, score)}."
    return f"{attacker.capitalize()} reaches {_amount(result, score)}{_first_answers(result, score)}."


def _amount(result: Result, score: Score | None) -> str:
    """The score with what it is, for it is no share of people: ``9.4 % mAP``."""
    assert score is not None
    unit = result.metric(score).unit
    return texts.format_number(score.value, unit) + (" % " if unit == "fraction" else " ") + score.metric


def _first_answers(result: Result, score: Score) -> str:
    """How many queries have their person among the first answers, by the same attacker; the most answers that were counted."""
    ranks = [
        s for s in result.scores if s.scenario == score.scenario and s.subset == score.subset and _rank(s)
    ]
    if not ranks:
        return ""
    widest = max(ranks, key=_rank)
    chance = "" if widest.chance is None else f" (by chance {100 * widest.chance:.0f} %)"
    return f"; {100 * widest.value:.0f} % are among its first {_rank(widest)} answers{chance}"


def _rank(score: Score) -> int:
    """10 of ``rank-10``; 0 of other metrics."""
    name, _, number = score.metric.partition("-")
    return int(number) if name == "rank" and number.isdecimal() else 0


def _above_chance(score: Score) -> bool:
    """Whether the score is beyond what an attacker who knows nothing gets."""
    if score.chance_high is not None:  # a p value of few permutations is never small
        return score.value > score.chance_high
    if score.p_value is not None:
        return score.p_value <= 0.025
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
    if result is None or coverage is None or not (known := known_people(coverage)):
        return Cell(texts.DASH)
    note = f"{result.spec.dataset}, found by {result.spec.detector}"
    if result.spec.detector == GIVEN:
        return Cell(
            f"{coverage.failed_open:,}",
            f"of {known:,}",
            coverage.failed_open,
            coverage.failed_open / known,
            note,
        )
    below = f"{coverage.found:,} found" + (", and who was not" if coverage.undetected is None else "")
    return Cell(f"{coverage.failed_open:,}", below, coverage.failed_open, None, note)


def _of(group: Group | None, label: str) -> Result | None:
    return None if group is None else dict(zip(group.labels, group.results, strict=True)).get(label)


def _private(label: str, first: Group | None, gathered: Sequence[Group]) -> list[Result]:
    """A method's privacy results, that of the headline first."""
    others = [g for g in gathered if g.kind == "privacy" and g is not first]
    return [r for g in (first, *others) if (r := _of(g, label)) is not None]


def _covered(label: str, first: Group | None, gathered: Sequence[Group]) -> Result | None:
    """The result whose people stand for the method: that of the headline; where it has none, the first that counts any."""
    if (own := _of(first, label)) is not None:
        return own
    results = [r for g in gathered if (r := _of(g, label)) is not None]
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
