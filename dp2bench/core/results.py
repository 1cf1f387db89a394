"""Scores and results: versioned, closed (`extra="forbid"`), the same bytes for the same work."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from dp2bench.core.errors import ResultError

SCHEMA_VERSION = 1


class _Closed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Score(_Closed):
    """One number.

    ``value`` is the mean over seeds, ``per_seed`` the single values; ``n`` is the number of units (queries, pictures) behind it;
    ``ci95`` a bootstrap interval over those units; ``chance`` the same number for an attacker or model that knows nothing.
    """

    name: str
    value: float
    unit: str = "fraction"
    higher_is_better: bool
    n: int = Field(ge=0)
    chance: float | None = None
    ci95: tuple[float, float] | None = None
    per_seed: tuple[float, ...] = ()

    @field_validator("value", "chance")
    @classmethod
    def _finite(cls, value: float | None) -> float | None:
        if value is not None and not math.isfinite(value):
            raise ValueError("a score must be finite; report a failure instead of NaN or infinity")
        return value


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

    schema_version: Literal[1] = 1
    run_id: str
    spec: ResultSpec
    status: Literal["ok", "error", "skipped"]
    main_score: str | None = None
    scores: tuple[Score, ...] = ()
    coverage: Coverage | None = None
    provenance: Provenance | None = None
    error: Failure | None = None

    def score(self, name: str) -> Score:
        """The score of that name; KeyError names those there are."""
        for score in self.scores:
            if score.name == name:
                return score
        raise KeyError(f"no score {name!r}; there are {[s.name for s in self.scores]}")

    def to_json(self) -> str:
        """Canonical text: sorted keys, two spaces, newline at the end."""
        return (
            json.dumps(
                self.model_dump(mode="json"), sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False
            )
            + "\n"
        )


_UPGRADES: Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""From a schema version to the next. Version 1 is the first; its samples lie in tests/data/results and stay readable."""


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
        if not isinstance(version, int) or version not in _UPGRADES:
            raise ResultError(
                f"{where} has schema version {version!r}; this dp2bench reads 1 to {SCHEMA_VERSION}.",
                "Read it with the dp2bench that wrote it, or repeat the run.",
            )
        value = _UPGRADES[version](value)
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
