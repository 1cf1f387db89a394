"""Compare two runs so that noise passes and a leak does not, and accept a run as the one to compare with."""

from __future__ import annotations

import hashlib
import json
import math
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree as ET

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dp2bench.core.errors import Dp2benchError
from dp2bench.core.results import Coverage, Result, Score, canonical_json
from dp2bench.reports.load import Run, load_run
from dp2bench.reports.tables import _markdown_cell, failure_text, needs_coverage

Verdict = Literal["ok", "better", "worse", "missing", "changed"]
ACCEPTED = "accepted.json"
_COMMENT_LIMIT = 60_000
_Z95 = 1.959964
_EPSILON = 1e-12


class GateError(Dp2benchError):
    """Runs, a policy or a folder that cannot be used for a comparison."""


class Policy(BaseModel):
    """What counts as worse.

    Patterns are those of file names (``*``, ``?``, ``[...]``). One with a slash is matched against ``method/dataset/task/score``,
    one without against the score's name. Of several tolerances the first in the file that matches is taken.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    schema_version: Literal[1] = 1
    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    tolerance: float = Field(default=0.01, ge=0)
    tolerances: Mapping[str, float] = Field(default_factory=dict)
    ignore: tuple[str, ...] = ()
    paired_seeds: bool = False

    def tolerance_of(self, key: str, unit: str) -> float:
        """The tolerance of a score, in its unit. ``tolerance`` is a fraction and says nothing about other units: theirs is 0."""
        for pattern, value in self.tolerances.items():
            if matches(pattern, key):
                return value
        return self.tolerance if unit == "fraction" else 0.0


def matches(pattern: str, key: str) -> bool:
    """Whether a policy's pattern means the score ``method/dataset/task/score``."""
    return fnmatchcase(key if "/" in pattern else key.rpartition("/")[2], pattern)


def load_policy(path: Path | None) -> Policy:
    """A policy file, or the defaults. GateError names the key that is wrong."""
    if path is None:
        return Policy()
    try:
        value = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise GateError(f"The policy {path} cannot be read: {error}.", "Give a UTF-8 YAML file.") from error
    except yaml.YAMLError as error:
        raise GateError(f"{path} is not YAML: {error}.", "Correct the syntax.") from error
    if value is None:
        value = {}
    if not isinstance(value, dict):
        raise GateError(f"{path} holds a {type(value).__name__}, not keys and values.", "See docs/gate.md.")
    try:
        policy = Policy.model_validate(value)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'top level'}: {e['msg']}" for e in error.errors()
        )
        raise GateError(f"{path}: {problems}.", f"Keys: {', '.join(Policy.model_fields)}.") from error
    negative = [pattern for pattern, v in policy.tolerances.items() if v < 0]
    if negative:
        raise GateError(f"{path}: tolerances.{negative[0]}: must not be negative.", "Give 0 or more.")
    return policy


@dataclass(frozen=True)
class Row:
    """One thing compared. ``difference`` is HEAD minus BASE; ``interval`` is the one the verdict was taken from; both in the
    score's unit.
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

    @property
    def failed(self) -> bool:
        """Whether this row alone fails the comparison."""
        return self.verdict not in ("ok", "better")

    @property
    def key(self) -> str:
        """``method/dataset/task/score``."""
        return "/".join((self.method, self.dataset, self.task, self.score))

    @property
    def cells(self) -> tuple[str, ...]:
        """The row as text; fractions in percent."""
        interval = "–"
        if self.interval is not None:
            interval = f"[{self._text(self.interval[0], True)}, {self._text(self.interval[1], True)}]"
        return (
            self.method, f"{self.dataset}: {self.task}", self.score, self._text(self.base), self._text(self.head),
            self._text(self.difference, True), interval, self._text(self.tolerance), self.verdict, self.note,
        )  # fmt: skip

    def _text(self, value: float | None, signed: bool = False) -> str:
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


def _seed_variance(base: Score, head: Score, paired: bool) -> tuple[float, int]:
    """Variance of the difference that other seeds would make, and its degrees of freedom; (0, 0) where no run has two seeds."""
    b, h = np.array(base.per_seed), np.array(head.per_seed)
    if paired and len(b) == len(h) > 1:
        return float(np.var(h - b, ddof=1) / len(b)), len(b) - 1
    freedom = max(len(b) - 1, 0) + max(len(h) - 1, 0)
    if not freedom:
        return 0.0, 0
    # pooled, so that many seeds on one side speak for a single seed on the other
    squares = sum(float(((x - x.mean()) ** 2).sum()) for x in (b, h) if len(x))
    return squares / freedom * (1 / max(len(b), 1) + 1 / max(len(h), 1)), freedom


def margin(base: Score, head: Score, level: float, paired: bool = False) -> float | None:
    """How far two equal methods come apart by chance, one-sided at ``level``; None where neither interval nor seeds say it.

    Variances of units (from the intervals) and of seeds add up. The quantile is Student's with Welch-Satterthwaite degrees of
    freedom: the spread of two or three seeds is itself a guess, and a normal quantile would trust it.
    """
    from scipy import stats

    parts = [
        (((s.ci95[1] - s.ci95[0]) / 2 / _Z95) ** 2, max(s.n - 1, 1))
        for s in (base, head)
        if s.ci95 is not None
    ]
    # one known interval stands for both: the same units were measured
    parts *= 2 if len(parts) == 1 else 1
    seeds = _seed_variance(base, head, paired)
    parts += [seeds] if seeds[1] else []
    if not parts:
        return None
    variance = sum(v for v, _ in parts)
    if variance == 0:
        return 0.0
    freedom = variance**2 / sum(v**2 / f for v, f in parts)
    return float(stats.t.ppf(1 - level, freedom)) * math.sqrt(variance)


def _usable(score: Score) -> str:
    """Why a score says nothing, or an empty string."""
    numbers = (score.value, *(score.ci95 or ()), *score.per_seed)
    if not all(map(math.isfinite, numbers)):
        return "interval or seeds hold NaN or infinity"
    if score.ci95 is not None and score.ci95[0] > score.ci95[1]:
        return "the interval is upside down"
    return "" if score.n else "nothing was measured (n = 0)"


def _names(result: Result) -> tuple[str, str, str]:
    return result.spec.method, result.spec.dataset, result.spec.task


def _by_name(run: Run, which: str) -> dict[tuple[str, str, str], Result]:
    found: dict[tuple[str, str, str], Result] = {}
    for result in run.results:
        names = _names(result)
        if names in found:
            raise GateError(
                f"{which} {run.folder} holds {'/'.join(names)} more than once.", "Give each method a `label`."
            )
        doubled = [
            s.name for i, s in enumerate(result.scores) if s.name in {t.name for t in result.scores[:i]}
        ]
        if doubled:
            raise GateError(
                f"{which} {run.folder}: {'/'.join(names)} has the score {doubled[0]} twice.",
                "Repeat the run.",
            )
        found[names] = result
    return found


def _changes(base: Result, head: Result) -> list[str]:
    """Why the scores of two results must not be compared."""
    found = [
        f"{field}: {canonical_json(old)} → {canonical_json(new)}"
        for field in ("dataset_arguments", "task_arguments", "detector", "main_score")
        if canonical_json(old := getattr(base if field == "main_score" else base.spec, field))
        != canonical_json(new := getattr(head if field == "main_score" else head.spec, field))
    ]
    if base.provenance is None or head.provenance is None:
        return [*found, "no provenance in " + ("BASE" if base.provenance is None else "HEAD")]
    return found + [
        f"{field}: {canonical_json(old)} → {canonical_json(new)}"
        for field in ("dataset_version", "dataset_fingerprint", "arguments_passed", "arguments_effective")
        if canonical_json(old := getattr(base.provenance, field))
        != canonical_json(new := getattr(head.provenance, field))
    ]


def _coverage_rows(names: tuple[str, str, str], base: Coverage | None, head: Coverage | None) -> list[Row]:
    """Coverage is counted, not sampled: any step back fails, without tolerance."""
    if head is None or head.share is None:
        return [Row(*names, "coverage", "missing", "HEAD does not say who was anonymised")]
    if base is None or base.share is None:
        return [Row(*names, "coverage", "changed", "BASE does not say who was anonymised")]
    if base.unfound is not None and head.unfound is None:
        return [Row(*names, "coverage", "missing", "HEAD does not say how many people were not found")]
    if base.pictures != head.pictures:
        return [Row(*names, "coverage", "changed", f"{base.pictures} pictures → {head.pictures}")]

    def row(name: str, old: float, new: float, more_is_better: bool, why: str, unit: str = "people") -> Row:
        gain = (new - old) if more_is_better else (old - new)
        verdict: Verdict = "worse" if gain < -_EPSILON else "better" if gain > _EPSILON else "ok"
        return Row(
            *names,
            f"coverage.{name}",
            verdict,
            why if gain < -_EPSILON else "",
            old,
            new,
            new - old,
            None,
            0.0,
            unit,
        )

    if base.unfound is None and head.unfound is not None:
        # those nobody counted before would look like a step back
        base = base.model_copy(update={"unfound": head.unfound})
    rows = [
        row(
            "share",
            base.share or 0.0,
            head.share,
            True,
            "a smaller share of people is anonymised",
            "fraction",
        ),
        row("failed-open", base.failed_open, head.failed_open, False, "more people stay recognisable"),
    ]
    if head.unfound is None:
        # without ground truth a detector that finds fewer people leaves the share as it was
        rows.append(row("anonymised", base.anonymised, head.anonymised, True, "fewer people are anonymised"))
    if head.unreadable != base.unreadable:
        rows.append(
            row(
                "unreadable",
                base.unreadable,
                head.unreadable,
                False,
                "more pictures are left out",
                "pictures",
            )
        )
    return rows


def _score_row(names: tuple[str, str, str], base: Score, head: Score | None) -> Row:
    """The row before the test: the margin needs to know how many tests there are."""
    row = Row(*names, base.name, "ok", "", base.value, unit=base.unit)
    if head is None:
        return replace(row, verdict="missing", note="HEAD lacks the score")
    if why := _usable(head):
        return replace(row, verdict="missing", note=f"HEAD: {why}")
    if why := _usable(base):
        return replace(row, verdict="changed", note=f"BASE: {why}")
    row = replace(row, head=head.value, difference=head.value - base.value)
    for field in ("unit", "higher_is_better", "n"):
        old, new = getattr(base, field), getattr(head, field)
        if old != new:
            return replace(row, verdict="changed", note=f"{field}: {old} → {new}")
    return row


def _judge(row: Row, base: Score, head: Score, level: float, policy: Policy, paired: bool) -> Row:
    difference = head.value - base.value
    tolerance = policy.tolerance_of(row.key, base.unit)
    noise = margin(base, head, level, paired)
    row = replace(
        row,
        tolerance=tolerance,
        interval=None if noise is None else (difference - noise, difference + noise),
        note="no interval" if noise is None else "",
    )
    harm = -difference if base.higher_is_better else difference
    beyond = abs(difference) > tolerance + _EPSILON
    if not beyond or (noise is not None and abs(difference) <= noise):
        return replace(row, note="beyond the tolerance, within the noise" if beyond else row.note)
    if not needs_coverage(row.score):
        return replace(
            row, verdict="changed", note="scored on clear pictures alone: the attacker or model changed"
        )
    return replace(row, verdict="worse" if harm > 0 else "better")


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
    pending: dict[int, tuple[Score, Score, bool]] = {}
    ignored: list[str] = []
    keys: list[str] = []
    tests = 0
    for names, b in old.items():
        keys += ["/".join((*names, s.name)) for s in b.scores]
        h = new.get(names)
        if h is None:
            rows.append(Row(*names, "result", "missing", "HEAD lacks the result"))
            continue
        if h.status == "error" or (h.status == "skipped" and b.status == "ok"):
            rows.append(Row(*names, "result", "missing", f"HEAD: {failure_text(h)}"))
            continue
        if b.status != "ok":
            notes.append(f"Not compared: {'/'.join(names)} is {b.status} in BASE and {h.status} in HEAD.")
            continue
        changes = _changes(b, h)
        if changes:
            rows.append(Row(*names, "result", "changed", "; ".join(changes)))
            continue
        if canonical_json(b.spec.method_arguments) != canonical_json(h.spec.method_arguments):
            notes.append(
                f"Arguments of {'/'.join(names)}: {canonical_json(b.spec.method_arguments)} → "
                f"{canonical_json(h.spec.method_arguments)}."
            )
        if b.coverage or h.coverage or any(needs_coverage(s.name) for s in b.scores):
            rows += _coverage_rows(names, b.coverage, h.coverage)
        theirs = {s.name: s for s in h.scores}
        for score in b.scores:
            key = "/".join((*names, score.name))
            if any(matches(pattern, key) for pattern in policy.ignore):
                ignored.append(key)
                continue
            row = _score_row(names, score, theirs.get(score.name))
            if not row.failed:
                pending[len(rows)] = (
                    score, theirs[score.name], policy.paired_seeds and b.spec.seeds == h.spec.seeds,
                )  # fmt: skip
                # what may move neither way is tested twice
                tests += 1 if needs_coverage(score.name) else 2
            rows.append(row)
        if fresh := [s for s in theirs if s not in {t.name for t in b.scores}]:
            notes.append(f"New in HEAD, not compared: {', '.join(fresh)} of {'/'.join(names)}.")
    for names, h in new.items():
        if names not in old and h.status == "error":
            rows.append(Row(*names, "result", "missing", f"HEAD: {failure_text(h)}"))
        elif names not in old:
            notes.append(f"New in HEAD, not compared: {'/'.join(names)}.")
    for i, (b_score, h_score, paired) in pending.items():
        rows[i] = _judge(rows[i], b_score, h_score, policy.alpha / tests, policy, paired)
    if not pending and not any(row.failed for row in rows):
        raise GateError(
            f"No score of {base.folder} could be compared with {head.folder}.",
            "Compare with a run that has finished, and look at the policy's `ignore`.",
        )
    if ignored:
        notes.append(f"Ignored by the policy: {', '.join(ignored)}.")
    notes += [
        f"The policy's pattern {pattern!r} matches no score of BASE."
        for pattern in (*policy.tolerances, *policy.ignore)
        if not any(matches(pattern, key) for key in keys)
    ]
    if any(max(len(b.per_seed), len(h.per_seed)) < 2 for b, h, _ in pending.values()):
        notes.append("With one seed in both runs, nothing says how much another training changes a score.")
    return Comparison(tuple(rows), tuple(notes), policy.alpha, tests)


def _table(rows: Sequence[Row]) -> str:
    lines = ["| " + " | ".join(HEADER) + " |", "|:--|:--|:--|--:|--:|--:|--:|--:|:--|:--|"]
    for row in rows:
        cells = [_markdown_cell(c) for c in row.cells]
        cells[8] = f"**{cells[8]}**" if row.failed else cells[8]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def markdown(comparison: Comparison) -> str:
    """A pull request's comment: what failed on top, everything else folded away."""
    parts = [f"## Privacy comparison {comparison.summary}"]
    if comparison.failures:
        parts.append(_table(comparison.failures))
    parts += [
        _markdown_cell(comparison.explanation),
        "\n".join(f"- {_markdown_cell(n)}" for n in comparison.notes),
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


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _read_accepted(folder: Path) -> dict[str, Any]:
    path = folder / ACCEPTED
    try:
        value = json.loads(path.read_text("utf-8"))
        files, history = value["files"], value["history"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise GateError(f"{path} cannot be used: {error}.", "Accept the run again.") from error
    if not isinstance(files, dict) or not isinstance(history, list):
        raise GateError(f"{path} is not what `dp2bench accept` writes.", "Accept the run again.")
    return {"files": files, "history": history}


def load_compared(folder: Path) -> Run:
    """A run's folder, or an accepted one, whose files must be those that were accepted."""
    run = load_run(folder)
    if (folder / ACCEPTED).exists():
        files = _read_accepted(folder)["files"]
        listed = {"run.json", *json.loads((folder / "run.json").read_text("utf-8"))["results"]}
        for name in sorted(listed | files.keys()):
            if not (folder / name).is_file() or files.get(name) != _sha256(folder / name):
                raise GateError(
                    f"{folder / name} is not the file that was accepted.",
                    "Restore it, or accept a run with a reason.",
                )
    return run


def accept(run: Path, golden: Path, reason: str) -> list[Path]:
    """Copy a run's results to ``golden``, to be compared with from now on; the files written.

    ``accepted.json`` there holds the reason, those before it, and the sha256 of every file.

    Raises:
        GateError: no reason, a run with failures, or a folder that holds something else.

    """
    reason = " ".join(reason.split())
    if not reason:
        raise GateError("There is no reason.", 'Say why these numbers are right: --reason "...".')
    loaded = load_compared(run)
    if bad := [r for r in loaded.results if r.status != "ok"]:
        raise GateError(
            f"{'/'.join(_names(bad[0]))} in {run} is {bad[0].status}: {failure_text(bad[0])}",
            "Accept a run without failures.",
        )
    # an accepted run that cannot be compared with itself would fail every gate after it
    if failures := compare(loaded, loaded).failures:
        raise GateError(f"{run}: {failures[0].key}: {failures[0].note}.", "Repeat the run.")
    root, target = run.resolve(), golden.resolve()
    if root == target or root in target.parents or target in root.parents:
        raise GateError(f"{golden} and {run} lie inside one another.", "Choose another folder.")
    history: list[Any] = []
    if golden.exists():
        if not golden.is_dir() or (any(golden.iterdir()) and not (golden / ACCEPTED).is_file()):
            raise GateError(f"{golden} holds something else than accepted results.", "Choose another folder.")
        history = _read_accepted(golden)["history"] if (golden / ACCEPTED).is_file() else []
    index = json.loads((run / "run.json").read_text("utf-8"))
    index["results"] = [
        (run / item).resolve().relative_to(root).as_posix() for item in index["results"]
    ]  # fmt: skip
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # beside the target, so that the exchange is a rename
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as scratch:
            fresh = Path(scratch) / "new"
            fresh.mkdir()
            for item in index["results"]:
                (fresh / item).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(root / item, fresh / item)
            text = json.dumps(index, sort_keys=True, indent=2, ensure_ascii=False) + "\n"
            (fresh / "run.json").write_text(text, "utf-8")
            names = ["run.json", *index["results"]]
            accepted = {
                "schema_version": 1, "reason": reason, "history": [*history, reason],
                "files": {name: _sha256(fresh / name) for name in names},
            }  # fmt: skip
            text = json.dumps(accepted, sort_keys=True, indent=2, ensure_ascii=False) + "\n"
            (fresh / ACCEPTED).write_text(text, "utf-8")
            previous = Path(scratch) / "old"
            if target.exists():
                target.rename(previous)
            try:
                fresh.rename(target)
            except OSError:
                # what stays in the scratch folder is deleted with it
                if previous.exists():
                    previous.rename(target)
                raise
    except OSError as error:
        raise GateError(f"{golden} cannot be written: {error}.", "Choose another folder.") from error
    return [golden / name for name in (ACCEPTED, *names)]
