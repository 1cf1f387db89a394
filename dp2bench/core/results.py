"""Scores and results: versioned, closed (`extra="forbid"`), the same bytes for the same work."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

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

    ``found`` = ``anonymised`` + ``missed``. ``unfound`` are annotated people no detection covers (None without ground truth):
    they failed open, like the ``missed``. ``unreadable`` counts files that are no picture; they are not in the output.
    """

    pictures: int = Field(ge=0)
    found: int = Field(ge=0)
    anonymised: int = Field(ge=0)
    missed: int = Field(ge=0)
    missed_reasons: Mapping[str, int] = Field(default_factory=dict)
    pictures_without_detection: int = Field(ge=0)
    unfound: int | None = None
    unreadable: int = Field(default=0, ge=0)

    @property
    def failed_open(self) -> int:
        """People who are recognisable in the output as far as anybody can tell: found and missed, or never found."""
        return self.missed + (self.unfound or 0)

    @property
    def share(self) -> float | None:
        """Anonymised people of all people known, or None where nobody is known."""
        known = self.found + (self.unfound or 0)
        return self.anonymised / known if known else None


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
