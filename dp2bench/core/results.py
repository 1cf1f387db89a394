"""Scores and results: versioned, closed (`extra="forbid"`), the same bytes for the same work."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from dp2bench.core.errors import ResultError
from dp2bench.core.figures import Figure
from dp2bench.core.upgrades import UPGRADES

SCHEMA_VERSION = 2
CLUSTER = "::"
"""In a unit's id, what parts the cluster it belongs to (an identity) from its name: ``129::0129_c1s1_000001_00.jpg``."""


class _Closed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Metric(_Closed):
    """What a task measures, declared once by the task and kept in its results.

    Attributes:
        higher_is_better: direction, from the point of view of whoever anonymizes: a recognised person is a worse score.
        unit: ``fraction`` (0 to 1, printed in percent) or the unit's name, as in ``s``, ``MiB``, ``distance``.
        title: what tables call it, as in ``mean average precision``; its own name where empty.
        description: one sentence for readers of a report.

    """

    higher_is_better: bool
    unit: str = "fraction"
    title: str = ""
    description: str = ""


class Scenario(_Closed):
    """A condition under which metrics are taken, declared by the task.

    Attributes:
        description: one sentence for readers of a report.
        clear_only: it touches clear pictures alone, so that its scores say nothing of a method: they are printed without coverage, and
            a comparison wants them unchanged.
        control: the scenario in which the very same trained attacker meets clear pictures; a comparison takes off what a stronger or
            weaker attacker explains. Empty where there is none.

    """

    description: str = ""
    clear_only: bool = False
    control: str = ""


class Score(_Closed):
    """One number: a metric, under a scenario, of a subset.

    Attributes:
        metric: one of those that the task declares, which say unit and direction.
        scenario: one of those that the task declares, as in ``clear-anonymized``; empty where there is one alone.
        subset: of the units, as in ``small`` or ``rider``; empty for all of them.
        value: in the metric's unit, the mean over seeds.
        n: number of units (queries, pictures, people) behind it.
        chance: what an attacker or model that knows nothing gets, in the metric's unit.
        chance_high: 97.5 % quantile of what it gets.
        p_value: probability that it gets a value at least as extreme.
        lift: (value - chance) / (value on clear pictures - chance): 0 at chance, 1 where nothing is lost.
        ci95: 95 % interval over units, in the metric's unit.
        per_seed: the value of each seed.
        by: whose score it is, where the best of several attackers is reported; empty elsewhere.

    """

    metric: str = Field(min_length=1)
    scenario: str = ""
    subset: str = ""
    value: float
    n: int = Field(ge=0)
    chance: float | None = None
    chance_high: float | None = None
    p_value: float | None = Field(default=None, ge=0, le=1)
    lift: float | None = None
    ci95: tuple[float, float] | None = None
    per_seed: tuple[float, ...] = ()
    by: str = ""

    @property
    def name(self) -> str:
        """``scenario.metric.subset`` without those that are empty: what suites, policies and published numbers call it."""
        return score_name(self.metric, self.scenario, self.subset)

    @field_validator("value", "chance", "chance_high", "lift")
    @classmethod
    def _finite(cls, value: float | None) -> float | None:
        if value is not None and not math.isfinite(value):
            raise ValueError("a score must be finite; report a failure instead of NaN or infinity")
        return value


def score_name(metric: str, scenario: str = "", subset: str = "") -> str:
    """See `Score.name`."""
    return ".".join(filter(None, (scenario, metric, subset)))


class Coverage(_Closed):
    """What became of the people of a dataset.

    ``found`` = ``anonymized`` + ``missed``. ``undetected`` are annotated people no detection covers (None without ground truth):
    they failed open, like the ``missed``. ``unreadable`` counts files that are no picture; they are not in the output.
    """

    pictures: int = Field(ge=0)
    found: int = Field(ge=0)
    anonymized: int = Field(ge=0)
    missed: int = Field(ge=0)
    missed_reasons: Mapping[str, int] = Field(default_factory=dict)
    pictures_without_detection: int = Field(ge=0)
    undetected: int | None = None
    unreadable: int = Field(default=0, ge=0)

    @staticmethod
    def of_parts(parts: Sequence[Coverage]) -> Coverage:
        """Of a dataset that was done in parts."""
        reasons: Counter[str] = Counter()
        for part in parts:
            reasons.update(part.missed_reasons)
        undetected = [part.undetected for part in parts if part.undetected is not None]
        whole = ("pictures", "found", "anonymized", "missed", "pictures_without_detection", "unreadable")
        return Coverage(
            **{name: sum(getattr(part, name) for part in parts) for name in whole},
            missed_reasons=dict(sorted(reasons.items())),
            undetected=sum(undetected) if undetected else None,
        )

    @property
    def failed_open(self) -> int:
        """People who are recognisable in the output as far as anybody can tell: found and missed, or never found."""
        return self.missed + (self.undetected or 0)

    @property
    def share(self) -> float | None:
        """Anonymized people of all people known, or None where nobody is known."""
        known = self.found + (self.undetected or 0)
        return self.anonymized / known if known else None


class Provenance(_Closed):
    """Where a number comes from. Wall times live in the run's journal, so that equal work gives equal bytes."""

    dp2bench: str
    git_commit: str | None
    git_dirty: bool | None
    python: str
    platform: str
    packages: Mapping[str, str]
    device: str
    threads: int
    dataset_version: str
    dataset_fingerprint: str
    weights: Mapping[str, str] = Field(default_factory=dict)
    licences: Mapping[str, str] = Field(default_factory=dict)
    """Of the dataset and the weights, by name; empty in results that were written before it was kept."""
    arguments_passed: Mapping[str, Any] = Field(default_factory=dict)
    arguments_effective: Mapping[str, Any] = Field(default_factory=dict)
    method: Mapping[str, Any] = Field(default_factory=dict)
    task: Mapping[str, Any] = Field(default_factory=dict)
    """Name, version, kind and reference; empty in results that were written before it was kept."""
    seeds: tuple[int, ...] = ()
    steps: tuple[str, ...] = ()


class Failure(_Closed):
    """Why a result is not there."""

    step: str
    kind: str
    message: str


class ResultSpec(_Closed):
    """What was asked for; its canonical JSON names the run."""

    method: str
    method_arguments: Mapping[str, Any] = Field(default_factory=dict)
    dataset: str
    dataset_arguments: Mapping[str, Any] = Field(default_factory=dict)
    task: str
    task_arguments: Mapping[str, Any] = Field(default_factory=dict)
    detector: str
    seeds: tuple[int, ...]


class Result(_Closed):
    """One method on one dataset under one task: the file that outlives the code that made it."""

    schema_version: Literal[2] = 2
    run_id: str
    spec: ResultSpec
    status: Literal["ok", "error", "skipped"]
    main_score: str | None = None
    """`Score.name` of the one that stands for all."""
    scores: tuple[Score, ...] = ()
    metrics: Mapping[str, Metric] = Field(default_factory=dict)
    """Of the scores, as the task declares them."""
    scenarios: Mapping[str, Scenario] = Field(default_factory=dict)
    """Of the scores, as the task declares them; one that is not here counts as one of anonymized pictures."""
    columns: tuple[str, ...] = ()
    """Names of the scores in the main table, as the task declares them. Where empty, the main metric under every scenario."""
    figures: tuple[Figure, ...] = ()
    """What a report shows besides tables, as the task declares it."""
    coverage: Coverage | None = None
    provenance: Provenance | None = None
    error: Failure | None = None

    @model_validator(mode="after")
    def _declared(self) -> Result:
        for score in self.scores:
            if score.metric not in self.metrics:
                raise ValueError(f"the metric {score.metric!r} of {score.name!r} is not declared")
        return self

    def find(self, name: str) -> Score | None:
        """The score of that name, or None."""
        return next((score for score in self.scores if score.name == name), None)

    def score(self, name: str) -> Score:
        """The score of that name; KeyError names those there are."""
        score = self.find(name)
        if score is None:
            raise KeyError(f"no score {name!r}; there are {[s.name for s in self.scores]}")
        return score

    @property
    def main(self) -> Score | None:
        """The main score, or None where it was not measured."""
        return None if self.main_score is None else self.find(self.main_score)

    def metric(self, score: Score) -> Metric:
        """Unit and direction of a score."""
        return self.metrics[score.metric]

    def clear_only(self, score: Score) -> bool:
        """Whether a score says nothing of anonymized pictures; only a declared scenario says so, the safe side."""
        return score.scenario in self.scenarios and self.scenarios[score.scenario].clear_only

    def control(self, score: Score) -> Score | None:
        """What the same attacker scores on clear pictures, by the main metric, which has the least noise; None where nothing says it."""
        main, scenario = self.main, self.scenarios.get(score.scenario)
        if main is None or scenario is None or not scenario.control:
            return None
        return self.find(score_name(main.metric, scenario.control, main.subset))

    def to_json(self) -> str:
        """Canonical text: sorted keys, two spaces, newline at the end."""
        return (
            json.dumps(
                self.model_dump(mode="json"), sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False
            )
            + "\n"
        )


def read_result(text: bytes, where: str) -> Result:
    """A result file's bytes, of this schema version or an older one.

    Raises:
        ResultError: names ``where``, and the key that is wrong.

    """
    try:
        value = json.loads(text)
    except ValueError as error:  # broken JSON and broken UTF-8
        raise ResultError(
            f"{where} is not JSON: {error}.", "Delete the file and repeat the run; it fills the gap."
        ) from error
    if not isinstance(value, dict):
        raise ResultError(f"{where} holds a {type(value).__name__}, not an object.", "Repeat the run.")
    while (version := value.get("schema_version")) != SCHEMA_VERSION:
        if not isinstance(version, int) or version not in UPGRADES:
            raise ResultError(
                f"{where} has schema version {version!r}; this dp2bench reads 1 to {SCHEMA_VERSION}.",
                "Read it with the dp2bench that wrote it, or repeat the run.",
            )
        value = UPGRADES[version](value)
    try:
        return Result.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "top level"
        raise ResultError(f"{where} is not a result: {key}: {first['msg']}.", "Repeat the run.") from error


def canonical_json(value: Any) -> str:
    """Compact JSON with sorted keys, the form that is hashed."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=_plain
    )


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise TypeError(f"{type(value).__name__} cannot be part of a specification: {value!r}")


def content_key(value: Any) -> str:
    """sha256 of the canonical JSON, hexadecimal."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()
