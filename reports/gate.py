"""Compare two runs so that noise passes and a leak does not."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal
from xml.etree import ElementTree as ET

from dp2bench.core.results import Coverage, Result, Score, canonical_json
from dp2bench.reports import markdown as markdown_tables
from dp2bench.reports.groups import kind_of
from dp2bench.reports.load import Artifacts, Run
from dp2bench.reports.policy import GateError, Policy, matches
from dp2bench.reports.texts import failure_text
from dp2bench.reports.variance import Pair, Variance, margin, seed_variances, strength_shift, unit_variance

Verdict = Literal["ok", "better", "worse", "missing", "changed"]
Names = tuple[str, str, str]
_COMMENT_LIMIT = 60_000
_EPSILON = 1e-12


@dataclass(frozen=True)
class Row:
    """One thing compared. ``difference`` is HEAD minus BASE; ``interval`` is the one the verdict was taken from, around the
    difference less what the attackers' strength explains; both in the score's unit.
    """

    method: str
    dataset: str
    task: str
    score: str
    verdict: Verdict
    note: str = ""
    base: float | None = None
    head: float | None = None
    difference: float | None = None
    interval: tuple[float, float] | None = None
    tolerance: float | None = None
    unit: str = "fraction"
    clear_only: bool = False
    """Scored on clear pictures alone."""

    @property
    def failed(self) -> bool:
        """Whether this row alone fails the comparison."""
        return self.verdict not in ("ok", "better")

    @property
    def result(self) -> str:
        """``method/dataset/task``."""
        return "/".join((self.method, self.dataset, self.task))

    @property
    def key(self) -> str:
        """``method/dataset/task/score``."""
        return f"{self.result}/{self.score}"

    @property
    def cells(self) -> tuple[str, ...]:
        """The row as text; fractions in percent."""
        interval = "–"
        if self.interval is not None:
            interval = f"[{self.text(self.interval[0], True)}, {self.text(self.interval[1], True)}]"
        return (
            self.method, f"{self.dataset}: {self.task}", self.score, self.text(self.base), self.text(self.head),
            self.text(self.difference, True), interval, self.text(self.tolerance), self.verdict, self.note,
        )  # fmt: skip

    def text(self, value: float | None, signed: bool = False) -> str:
        """A value in the row's unit; fractions in percent."""
        if value is None:
            return "–"
        sign = "+" if signed else ""
        return f"{100 * value:{sign}.2f}" if self.unit == "fraction" else f"{value:{sign}.4g}"


HEADER = (
    "method", "dataset: task", "score", "base", "head", "difference", "interval", "tolerance", "verdict", "why",
)  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """All rows in BASE's order, what a reader should know besides, and how many tests share ``alpha``."""

    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    alpha: float
    tests: int

    @property
    def failures(self) -> tuple[Row, ...]:
        """The rows that fail it."""
        return tuple(row for row in self.rows if row.failed)

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return not self.failures

    @property
    def summary(self) -> str:
        """One line."""
        counts = {
            v: sum(r.verdict == v for r in self.rows) for v in dict.fromkeys(r.verdict for r in self.rows)
        }
        return (
            ("passed" if self.passed else "FAILED") + ": " + ", ".join(f"{n} {v}" for v, n in counts.items())
        )

    @property
    def explanation(self) -> str:
        """How to read the rows."""
        return (
            "Fractions in percent; difference: head minus base. Worse: beyond the tolerance, and 0 outside the interval "
            f"(one-sided {100 * (1 - self.alpha):g} % over all {self.tests} tests together, Bonferroni)."
        )


def _usable(score: Score) -> str:
    """Why a score says nothing, or an empty string."""
    numbers = (score.value, *(score.ci95 or ()), *score.per_seed)
    if not all(map(math.isfinite, numbers)):
        return "interval or seeds hold NaN or infinity"
    if score.ci95 is not None and score.ci95[0] > score.ci95[1]:
        return "the interval is upside down"
    return "" if score.n else "nothing was measured (n = 0)"


@dataclass(frozen=True)
class _Side:
    """One run's result and where its single units lie."""

    result: Result
    evidence: Artifacts | None

    def units(self, score: str) -> Mapping[str, float]:
        found = self.evidence.units().get(score) if self.evidence else None
        return found if isinstance(found, dict) else {}


def _names(result: Result) -> Names:
    return result.spec.method, result.spec.dataset, result.spec.task


def _by_name(run: Run, which: str) -> dict[Names, _Side]:
    found: dict[Names, _Side] = {}
    evidence = [Artifacts(p, r.spec.seeds) for p, r in zip(run.paths, run.results, strict=bool(run.paths))]
    for i, result in enumerate(run.results):
        names, scores = _names(result), [s.name for s in result.scores]
        if names in found:
            raise GateError(
                f"{which} {run.folder} holds {'/'.join(names)} more than once.", "Give each method a `label`."
            )
        if doubled := [name for name in scores if scores.count(name) > 1]:
            raise GateError(
                f"{which} {run.folder}: {'/'.join(names)} has the score {doubled[0]} twice.",
                "Repeat the run.",
            )
        found[names] = _Side(result, evidence[i] if evidence else None)
    return found


def _changes(base: Result, head: Result) -> list[str]:
    """Why the scores of two results must not be compared."""
    if base.provenance is None or head.provenance is None:
        return ["no provenance in " + ("BASE" if base.provenance is None else "HEAD")]
    pairs = [
        *(
            (f, getattr(base.spec, f), getattr(head.spec, f))
            for f in ("dataset_arguments", "task_arguments", "detector")
        ),
        ("main_score", base.main_score, head.main_score),
        *(
            (f, getattr(base.provenance, f), getattr(head.provenance, f))
            for f in ("dataset_version", "dataset_fingerprint", "arguments_passed", "arguments_effective")
        ),
    ]
    old_version, new_version = (p.task.get("version") for p in (base.provenance, head.provenance))
    if None not in (old_version, new_version):  # results from before tasks were kept say nothing
        pairs.append(("task version", old_version, new_version))
    texts = ((name, canonical_json(old), canonical_json(new)) for name, old, new in pairs)
    return [f"{name}: {old} → {new}" for name, old, new in texts if old != new]


def _coverage_rows(names: Names, base: Coverage | None, head: Coverage | None) -> list[Row]:
    """Coverage is counted, not sampled: any step back fails, without tolerance."""
    if head is None or head.share is None:
        return [Row(*names, "coverage", "missing", "HEAD does not say who was anonymized")]
    if base is None or base.share is None:
        return [Row(*names, "coverage", "changed", "BASE does not say who was anonymized")]
    if base.undetected is not None and head.undetected is None:
        return [Row(*names, "coverage", "missing", "HEAD does not say how many people were not found")]
    if base.pictures != head.pictures:
        return [Row(*names, "coverage", "changed", f"{base.pictures} pictures → {head.pictures}")]
    if base.undetected is None and head.undetected is not None:
        # those nobody counted before would look like a step back
        base = base.model_copy(update={"undetected": head.undetected})

    def row(name: str, old: float, new: float, sign: int, why: str, unit: str) -> Row:
        gain = sign * (new - old)
        verdict: Verdict = "worse" if gain < -_EPSILON else "better" if gain > _EPSILON else "ok"
        note = why if verdict == "worse" else ""
        return Row(*names, f"coverage.{name}", verdict, note, old, new, new - old, None, 0.0, unit)

    rows = [
        row(
            "share",
            base.share or 0.0,
            head.share or 0.0,
            1,
            "a smaller share of people is anonymized",
            "fraction",
        ),
        row("failed-open", base.failed_open, head.failed_open, -1, "more people stay recognisable", "people"),
    ]
    if head.undetected is None:
        # without ground truth a detector that finds fewer people leaves the share as it was
        rows.append(
            row("anonymized", base.anonymized, head.anonymized, 1, "fewer people are anonymized", "people")
        )
    if head.unreadable != base.unreadable:
        rows.append(
            row("unreadable", base.unreadable, head.unreadable, -1, "more pictures are left out", "pictures")
        )
    return rows


def _score_row(names: Names, score: Score, base: Result, head: Result) -> Row:
    """The row before the test: the margin needs to know how many tests there are."""
    old = base.metric(score)
    row = Row(*names, score.name, "ok", "", score.value, unit=old.unit, clear_only=base.clear_only(score))
    now = head.find(score.name)
    if now is None:
        return replace(row, verdict="missing", note="HEAD lacks the score")
    if why := _usable(now):
        return replace(row, verdict="missing", note=f"HEAD: {why}")
    if why := _usable(score):
        return replace(row, verdict="changed", note=f"BASE: {why}")
    row = replace(row, head=now.value, difference=now.value - score.value)
    new = head.metric(now)
    for field, before, after in (
        ("unit", old.unit, new.unit),
        ("higher_is_better", old.higher_is_better, new.higher_is_better),
        ("n", score.n, now.n),
    ):
        if before != after:
            return replace(row, verdict="changed", note=f"{field}: {before} → {after}")
    return row


def _judge(row: Row, pair: Pair, seeds: Variance | None, level: float, policy: Policy) -> Row:
    tolerance = policy.tolerance_of(row.result, row.score, row.unit, pair.base.value, _reach(pair.base))
    # with one seed each, luck and strength cannot be told apart
    shift = strength_shift(pair) if seeds is not None else 0.0
    difference = pair.head.value - pair.base.value - shift
    noise = margin([unit_variance(pair), seeds], level)
    interval = None if noise is None else (difference - noise, difference + noise)
    row = replace(row, tolerance=tolerance, interval=interval, note="no interval" if noise is None else "")
    if abs(difference) <= tolerance + _EPSILON:
        return row
    strength = f"{row.text(shift, signed=True)} put down to the attackers" if shift else row.note
    if noise is not None and abs(difference) <= noise:
        return replace(
            row, note="; ".join(filter(None, ("beyond the tolerance, within the noise", strength)))
        )
    if row.clear_only:
        return replace(
            row, verdict="changed", note="scored on clear pictures alone: the attacker or model changed"
        )
    verdict: Verdict = "better" if (difference > 0) == pair.metric.higher_is_better else "worse"
    return replace(row, verdict=verdict, note=strength)


def _reach(score: Score) -> float | None:
    """How far the score on clear pictures lies above chance, from lift and value; None where the lift says nothing of it."""
    if score.lift is None or score.chance is None or abs(score.lift) < _EPSILON:
        return None
    reach = (score.value - score.chance) / score.lift
    return reach if reach > 0 else None


def _tests(pairs: Iterable[tuple[Row, Pair]]) -> int:
    """How many tests share ``alpha``. Scores of clear pictures may move neither way, which takes two; copies of them, one for each
    method, count once.
    """
    scored = [(row, pair) for row, pair in pairs]
    clear = {(r.dataset, r.task, r.score, p.base, p.head) for r, p in scored if r.clear_only}
    return 2 * len(clear) + sum(not row.clear_only for row, _ in scored)


def compare(base: Run, head: Run, policy: Policy | None = None) -> Comparison:
    """Every score of BASE against HEAD.

    Bonferroni rather than Holm: a row's interval is then exactly what decides its verdict, whatever the other rows say. Scores of
    clear pictures alone are the yardstick: they may move neither way, since a weaker attacker makes every method look private.

    Raises:
        GateError: a result stands in a run twice, or no score of BASE could be compared and nothing else failed.

    """
    policy = policy or Policy()
    old, new = _by_name(base, "BASE"), _by_name(head, "HEAD")
    rows: list[Row] = []
    notes: list[str] = []
    pending: dict[int, Pair] = {}
    ignored: list[str] = []
    for names, b in old.items():
        h = new.get(names)
        if h is None:
            rows.append(Row(*names, "result", "missing", "HEAD lacks the result"))
        elif h.result.status == "error" or (h.result.status == "skipped" and b.result.status == "ok"):
            rows.append(Row(*names, "result", "missing", f"HEAD: {failure_text(h.result)}"))
        elif b.result.status != "ok":
            notes.append(
                f"Not compared: {'/'.join(names)} is {b.result.status} in BASE and {h.result.status} in HEAD."
            )
        elif changes := _changes(b.result, h.result):
            rows.append(Row(*names, "result", "changed", "; ".join(changes)))
        else:
            _compare_result(names, b, h, policy, rows, pending, notes, ignored)
    for names, h in new.items():
        if names not in old and h.result.status == "error":
            rows.append(Row(*names, "result", "missing", f"HEAD: {failure_text(h.result)}"))
        elif names not in old:
            notes.append(f"New in HEAD, not compared: {'/'.join(names)}.")
    if not pending and not any(row.failed for row in rows):
        raise GateError(
            f"No score of {base.folder} could be compared with {head.folder}.",
            "Compare with a run that has finished, and look at the policy's `ignore`.",
        )
    tests = _tests((rows[i], pair) for i, pair in pending.items())
    alike: dict[Names, list[int]] = {}
    for i in pending:
        alike.setdefault((rows[i].dataset, rows[i].task, rows[i].score), []).append(i)
    for indices in alike.values():
        seeds = seed_variances([pending[i] for i in indices])
        for i, spread in zip(indices, seeds, strict=True):
            rows[i] = _judge(rows[i], pending[i], spread, policy.alpha / tests, policy)
    if ignored:
        notes.append(f"Ignored by the policy: {', '.join(ignored)}.")
    known = [("/".join(names), s.name) for names, side in old.items() for s in side.result.scores]
    notes += [
        f"The policy's pattern {pattern!r} matches no score of BASE."
        for pattern in (*policy.tolerances, *policy.ignore)
        if not any(matches(pattern, result, score) for result, score in known)
    ]
    if any(max(len(p.base.per_seed), len(p.head.per_seed)) < 2 for p in pending.values()):
        notes.append("With one seed in both runs, nothing says how much another training changes a score.")
    return Comparison(tuple(rows), tuple(notes), policy.alpha, tests)


def _compare_result(
    names: Names,
    base: _Side,
    head: _Side,
    policy: Policy,
    rows: list[Row],
    pending: dict[int, Pair],
    notes: list[str],
    ignored: list[str],
) -> None:
    """Add the rows of a result that may be compared; ``pending`` are the scores that are still to be judged."""
    b, h, key = base.result, head.result, "/".join(names)
    old, new = canonical_json(b.spec.method_arguments), canonical_json(h.spec.method_arguments)
    if old != new:
        notes.append(f"Arguments of {key}: {old} → {new}.")
    needed = kind_of(b) == "privacy" and any(not b.clear_only(s) for s in b.scores)
    if b.coverage or h.coverage or needed:
        rows += _coverage_rows(names, b.coverage, h.coverage)
    for score in b.scores:
        if any(matches(pattern, key, score.name) for pattern in policy.ignore):
            ignored.append(f"{key}/{score.name}")
            continue
        row = _score_row(names, score, b, h)
        now = h.find(score.name)
        if not row.failed and now is not None:
            pending[len(rows)] = Pair(
                score, now, b.metric(score), base.units(score.name), head.units(score.name),
                policy.paired_seeds and b.spec.seeds == h.spec.seeds, b.control(score), h.control(now),
            )  # fmt: skip
        rows.append(row)
    if fresh := [s.name for s in h.scores if b.find(s.name) is None]:
        notes.append(f"New in HEAD, not compared: {', '.join(fresh)} of {key}.")


def _table(rows: Sequence[Row]) -> str:
    lines = ["| " + " | ".join(HEADER) + " |", "|:--|:--|:--|--:|--:|--:|--:|--:|:--|:--|"]
    for row in rows:
        cells = [markdown_tables.cell(c) for c in row.cells]
        cells[8] = f"**{cells[8]}**" if row.failed else cells[8]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def markdown(comparison: Comparison) -> str:
    """A pull request's comment: what failed on top, everything else folded away."""
    parts = [f"## Privacy comparison {comparison.summary}"]
    if comparison.failures:
        parts.append(_table(comparison.failures))
    parts += [
        markdown_tables.cell(comparison.explanation),
        "\n".join(f"- {markdown_tables.cell(n)}" for n in comparison.notes),
    ]
    rest = f"<details><summary>All {len(comparison.rows)} rows</summary>\n\n{_table(comparison.rows)}\n\n</details>"
    if sum(map(len, parts)) + len(rest) > _COMMENT_LIMIT:
        rest = f"{len(comparison.rows)} rows; too many for a comment."
    return "\n\n".join(part for part in [*parts, rest] if part) + "\n"


def _xml(text: str) -> str:
    # characters XML 1.0 has no way to write, and lone surrogates that UTF-8 has none for
    return re.sub(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "?", text)


def junit(comparison: Comparison) -> bytes:
    """A test case for each row, a suite for each dataset and task."""

    def counts(rows: Sequence[Row]) -> dict[str, str]:
        return {
            "tests": str(len(rows)), "failures": str(sum(r.failed for r in rows)), "errors": "0", "skipped": "0",
            "time": "0",
        }  # fmt: skip

    root = ET.Element("testsuites", {"name": "dp2bench compare", **counts(comparison.rows)})
    for dataset, task in dict.fromkeys((r.dataset, r.task) for r in comparison.rows):
        rows = [r for r in comparison.rows if (r.dataset, r.task) == (dataset, task)]
        suite = ET.SubElement(root, "testsuite", {"name": _xml(f"{dataset}: {task}"), **counts(rows)})
        for row in rows:
            name = {"classname": _xml(f"{dataset}.{task}.{row.method}"), "name": _xml(row.score), "time": "0"}
            case = ET.SubElement(suite, "testcase", name)
            text = _xml("\n".join(f"{k}: {v}" for k, v in zip(HEADER, row.cells, strict=True)))
            if row.failed:
                message = {"type": row.verdict, "message": _xml(f"{row.verdict}: {row.note or row.cells[5]}")}
                ET.SubElement(case, "failure", message).text = text
            else:
                ET.SubElement(case, "system-out").text = text
    ET.indent(root)
    return bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"
