"""Published numbers to hold a run against, and those that are absent, with the reason."""

from __future__ import annotations

from importlib import resources
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dp2bench.reports.load import ReportError


class _Closed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Source(_Closed):
    """Where a number is printed."""

    document: str = Field(min_length=1)
    table: str = Field(min_length=1)


class Control(_Closed):
    """A published number. ``value`` and ``tolerance`` are in percent; ``reason`` says why it is
    reproducible or is not.
    """

    model: str
    dataset: str
    metric: str
    value: float = Field(ge=0, le=100)
    tolerance: float = Field(gt=0)
    source: Source
    reproducible: bool
    reason: str = Field(min_length=1)

    def agrees(self, fraction: float) -> bool:
        """Whether a measured fraction (0..1) lies within the tolerance."""
        return abs(100 * fraction - self.value) <= self.tolerance + 1e-9


class Absent(_Closed):
    """A published cell whose number is not recorded here."""

    cells: str = Field(min_length=1)
    source: Source
    reason: str = Field(min_length=1)


class Expected(_Closed):
    """A file of published numbers."""

    protocol: str
    controls: tuple[Control, ...] = Field(strict=False)
    absent: tuple[Absent, ...] = Field(default=(), strict=False)

    def control(self, model: str, metric: str, dataset: str = "market1501") -> Control:
        """The number for this model; KeyError names the models there are."""
        for control in self.controls:
            if (control.model, control.metric, control.dataset) == (model, metric, dataset):
                return control
        known = sorted({c.model for c in self.controls})
        raise KeyError(f"no published {metric} of {model!r} on {dataset!r}; there are {known}")


def parse_expected(text: str, name: str = "expected") -> Expected:
    """Validate a file of published numbers; ReportError points at the key."""
    try:
        value: Any = yaml.safe_load(text)
        return Expected.model_validate(value)
    except yaml.YAMLError as error:
        raise ReportError(f"{name} is not YAML: {error}.", "Correct the file.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "top level"
        raise ReportError(f"{name}: {where}: {first['msg']}.", "Correct the key.") from error


def load_expected(name: str = "reid") -> Expected:
    """The published numbers that come with the package."""
    file = resources.files("dp2bench.reports") / "expected" / f"{name}.yaml"
    if not file.is_file():
        raise ReportError(f"There are no published numbers called {name!r}.", "Use `reid`.")
    return parse_expected(file.read_text(encoding="utf-8"), f"{name}.yaml")
