"""Published numbers to hold a run against, and those that are absent, with the reason."""

from __future__ import annotations

from importlib import resources
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from dp2bench.core import yaml_model
from dp2bench.reports.load import ReportError


class _Closed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Source(_Closed):
    """Where a number is printed."""

    document: str = Field(min_length=1)
    table: str = Field(min_length=1)


class MeasuredAs(_Closed):
    """The score of a result that measures a published number: its name, the arguments that its task must have had, and the names of
    those that must have been ``given`` at all.
    """

    score: str = Field(min_length=1)
    arguments: dict[str, str | int | float | bool]
    given: tuple[str, ...] = Field(default=(), strict=False)


class Control(_Closed):
    """A published number. ``value`` and ``tolerance`` are in ``unit``; ``reason`` says why it is reproducible or is not, and where
    the tolerance comes from. Without ``measured_as`` it is the score named like ``metric``, of a task with this ``model``.
    """

    model: str
    dataset: str
    metric: str
    unit: Literal["percent", "s"] = "percent"
    value: float = Field(ge=0)
    tolerance: float = Field(gt=0)
    source: Source
    reproducible: bool
    reason: str = Field(min_length=1)
    measured_as: MeasuredAs | None = None

    @model_validator(mode="after")
    def _at_most_all(self) -> Control:
        if self.unit == "percent" and self.value > 100:
            raise ValueError(f"{self.value} percent is more than everything")
        return self

    def agrees(self, measured: float) -> bool:
        """Whether a measured value lies within the tolerance: a fraction (0..1) where the unit is percent, else in the unit."""
        return (
            abs((100 * measured if self.unit == "percent" else measured) - self.value)
            <= self.tolerance + 1e-9
        )


class Absent(_Closed):
    """Cells of a published table whose numbers are not recorded here; `rows` and `columns` as far as they are known."""

    cells: str = Field(min_length=1)
    rows: tuple[str, ...] = Field(default=(), strict=False)
    columns: tuple[str, ...] = Field(default=(), strict=False)
    source: Source
    reason: str = Field(min_length=1)


class Expected(_Closed):
    """A file of published numbers: at least one number, or one that is absent."""

    protocol: str
    controls: tuple[Control, ...] = Field(default=(), strict=False)
    absent: tuple[Absent, ...] = Field(default=(), strict=False)

    @model_validator(mode="after")
    def _says_something(self) -> Expected:
        if not self.controls and not self.absent:
            raise ValueError("neither controls nor absent cells")
        return self

    def control(self, model: str, metric: str, dataset: str = "market1501") -> Control:
        """The number for this model; KeyError names the models there are."""
        for control in self.controls:
            if (control.model, control.metric, control.dataset) == (model, metric, dataset):
                return control
        known = sorted({c.model for c in self.controls})
        raise KeyError(f"no published {metric} of {model!r} on {dataset!r}; there are {known}")


def parse_expected(text: str, name: str = "expected") -> Expected:
    """Validate a file of published numbers; ReportError points at line and key."""
    return yaml_model.parse(Expected, text, name, ReportError)


def expected_names() -> list[str]:
    """The files of published numbers that come with the package."""
    folder = resources.files("dp2bench.reports") / "expected"
    return sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml"))


def load_expected(name: str = "reid") -> Expected:
    """The published numbers of that name."""
    if name not in expected_names():
        raise ReportError(
            f"There are no published numbers called {name!r}.", f"There are: {', '.join(expected_names())}."
        )
    file = resources.files("dp2bench.reports") / "expected" / f"{name}.yaml"
    return parse_expected(file.read_text(encoding="utf-8"), f"{name}.yaml")
