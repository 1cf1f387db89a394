"""Published numbers to hold a run against, and those that are absent, with the reason."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
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
    those that must have been ``given`` at all; the ``method`` and the ``task`` where it is not just anyone's.
    """

    score: str = Field(min_length=1)
    method: str = ""
    task: str = ""
    arguments: dict[str, str | int | float | bool] = Field(default_factory=dict)
    given: tuple[str, ...] = Field(default=(), strict=False)


class Control(_Closed):
    """A published number. ``value`` and ``tolerance`` are in ``unit``; ``reason`` says why it is reproducible or is not, and where
    the tolerance comes from. Without ``measured_as`` it is the score named like ``metric``, of a task with this ``model``.
    """

    model: str
    dataset: str
    metric: str
    unit: Literal["percent", "s", "number"] = "percent"
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
    """Cells of a published table whose numbers are not recorded here.

    Attributes:
        cells: what the table is called; who brings its numbers calls it so too.
        rows: of the table; with the label of the method that each is, where suites have it.
        columns: of the table; with the name of the score that each is.
        dataset: of the results.
        task: of the results.
        source: where the numbers are printed.
        reason: why they are not here.

    """

    cells: str = Field(min_length=1)
    rows: dict[str, str] = Field(default_factory=dict)
    columns: dict[str, str] = Field(default_factory=dict)
    dataset: str = ""
    task: str = ""
    source: Source
    reason: str = Field(min_length=1)


class Filled(_Closed):
    """The numbers of a published table that somebody brings, in percent or as they are printed.

    Attributes:
        cells: the name of one of the tables that are absent here.
        source: where the numbers are printed.
        tolerance: within which a measured one agrees.
        unit: of the numbers.
        values: by the table's rows and columns; not every cell need be there.

    """

    cells: str = Field(min_length=1)
    source: Source
    tolerance: float = Field(gt=0)
    unit: Literal["percent", "s", "number"] = "percent"
    values: dict[str, dict[str, float]] = Field(min_length=1)

    @model_validator(mode="after")
    def _at_most_all(self) -> Filled:
        most = max((v for row in self.values.values() for v in row.values()), default=0.0)
        if self.unit == "percent" and most > 100:
            raise ValueError(f"{most} percent is more than everything: say `unit: number`")
        return self

    def controls(self, table: Absent) -> list[Control]:
        """A number for each cell; ReportError names a row or column that the table lacks."""
        columns = {column for row in self.values.values() for column in row}
        for kind, said, known in (("row", set(self.values), table.rows), ("column", columns, table.columns)):
            if strange := sorted(said - set(known)):
                raise ReportError(
                    f"The table {self.cells!r} has no {kind} {', '.join(strange)}.",
                    f"It has: {', '.join(known)}.",
                )
        return [
            Control(
                model=row,
                dataset=table.dataset,
                metric=column,
                unit=self.unit,
                value=value,
                tolerance=self.tolerance,
                source=self.source,
                reproducible=True,
                reason="brought with --expected",
                measured_as=MeasuredAs(score=table.columns[column], method=table.rows[row], task=table.task),
            )
            for row, cells in self.values.items()
            for column, value in cells.items()
        ]


class Expected(_Closed):
    """A file of published numbers: at least one number, or a table that is absent or filled."""

    protocol: str
    controls: tuple[Control, ...] = Field(default=(), strict=False)
    absent: tuple[Absent, ...] = Field(default=(), strict=False)
    tables: tuple[Filled, ...] = Field(default=(), strict=False)

    @model_validator(mode="after")
    def _says_something(self) -> Expected:
        if not self.controls and not self.absent and not self.tables:
            raise ValueError("neither controls nor absent or filled tables")
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


def read_expected(path: Path) -> Expected:
    """A file of published numbers that somebody brings; ReportError names file, line and key."""
    return parse_expected(yaml_model.read_text(path, ReportError), str(path))


def tables() -> dict[str, Absent]:
    """The published tables whose numbers are absent here, by name; see `Filled`."""
    return {table.cells: table for name in expected_names() for table in load_expected(name).absent}


def fill(brought: Sequence[Path]) -> tuple[list[Control], set[str]]:
    """The numbers of files that somebody brings, and the names of the tables that are no longer absent.

    Raises:
        ReportError: a file does not validate, or names a table, row or column that is not known.

    """
    known = tables()
    numbers: list[Control] = []
    filled: set[str] = set()
    for path in brought:
        file = read_expected(path)
        numbers += file.controls
        for table in file.tables:
            if table.cells not in known:
                raise ReportError(
                    f"{path}: there is no table {table.cells!r}.", f"There are: {'; '.join(known)}."
                )
            numbers += table.controls(known[table.cells])
            filled.add(table.cells)
    return numbers, filled
