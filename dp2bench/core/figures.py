"""What a report shows of a task besides tables: declared by the task, kept in its results, drawn by reports that know no task.

A task declares its figures in `TaskMeta.figures` and writes the data of each into the file it names, with `write_data`:

    >>> from dp2bench.core.figures import Curve, Curves
    >>> Curves(title="Recall", file="recall.json", x="rank", y="found").kind
    'curves'
    >>> Curve(x=(1, 2), y=(0.5, 0.75)).y
    (0.5, 0.75)
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class _Closed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _inside(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name:
        raise ValueError(f"{name!r} lies outside the task's artefacts")
    return name


class _Figure(_Closed):
    """Attributes:
    title: heading.
    caption: what is seen and how to read it, in plain sentences.

    """

    title: str = Field(min_length=1)
    caption: str = ""


class _OfFile(_Figure):
    """Attributes:
    file: name in `RunContext.artefacts`.

    """

    file: str = Field(min_length=1)

    @model_validator(mode="after")
    def _stays_inside(self) -> _OfFile:
        _inside(self.file)
        return self


class Curves(_OfFile):
    """A line for each method, in a panel for each scenario; the file holds {panel: `Curve`}, and seeds are averaged.

    Attributes:
        x: title of the horizontal axis.
        y: title of the vertical axis.
        unit: of y; a ``fraction`` is shown in percent, from 0 to 100.
        x_range: the part of the axis that is shown; all of it by default.
        table_at: places on the x axis whose values stand in the table of numbers.

    """

    kind: Literal["curves"] = "curves"
    x: str
    y: str
    unit: str = "fraction"
    x_range: tuple[float, float] | None = None
    table_at: tuple[float, ...] = ()


class Histograms(_OfFile):
    """How two or more groups of values are spread, for each method, in a panel for each scenario; the file holds {panel: `Histogram`}.

    Seeds have scales of their own: the first is shown.

    Attributes:
        x: title of the horizontal axis.
        of: what is counted, as in ``pairs``.

    """

    kind: Literal["histograms"] = "histograms"
    x: str
    of: str


class PeopleSheet(_OfFile):
    """Pictures with the answers that came first, for each method; the file holds {panel: [`Sighting`]}, and the first seed is shown."""

    kind: Literal["people"] = "people"


class Picture(_OfFile):
    """A picture that the task itself has drawn (PNG, JPEG or WebP), for each method; the first seed is shown."""

    kind: Literal["picture"] = "picture"


class Subsets(_Figure):
    """Scores of several subsets side by side; it needs no file.

    Attributes:
        metrics: whose scores.
        subsets: in their order; those of the scores, in the order of appearance, by default. Scores of all units stand in front.
        x: what the subsets are, as in ``size of the person``.

    """

    kind: Literal["subsets"] = "subsets"
    metrics: tuple[str, ...]
    subsets: tuple[str, ...] = ()
    x: str = ""


Figure = Annotated[Curves | Histograms | PeopleSheet | Picture | Subsets, Field(discriminator="kind")]
"""Any of them, told apart by ``kind``."""


class Curve(_Closed):
    """One line: N places and values, and what knowing nothing gives at each."""

    x: tuple[float, ...] = Field(min_length=1)
    y: tuple[float, ...]
    chance: tuple[float, ...] | None = None

    @model_validator(mode="after")
    def _same_length(self) -> Curve:
        if any(len(values) != len(self.x) for values in (self.y, self.chance or self.x)):
            raise ValueError("x, y and chance must have the same length")
        return self


class Histogram(_Closed):
    """N + 1 edges of bins, and N counts for each group."""

    edges: tuple[float, ...] = Field(min_length=2)
    counts: Mapping[str, tuple[Annotated[float, Field(ge=0)], ...]]

    @model_validator(mode="after")
    def _one_less(self) -> Histogram:
        if any(len(counts) != len(self.edges) - 1 for counts in self.counts.values()):
            raise ValueError("there must be one count less than edges")
        return self


class Answer(_Closed):
    """A picture that somebody was taken for; ``right`` says whether it shows the same person."""

    picture: str
    label: str
    right: bool

    @model_validator(mode="after")
    def _stays_inside(self) -> Answer:
        _inside(self.picture)
        return self


class Sighting(_Closed):
    """A picture of a person, what to say of it, and the answers that came first. Pictures are files of the artefacts."""

    picture: str
    label: str
    answers: tuple[Answer, ...] = ()

    @model_validator(mode="after")
    def _stays_inside(self) -> Sighting:
        _inside(self.picture)
        return self


def write_data(
    path: Path, panels: Mapping[str, Curve] | Mapping[str, Histogram] | Mapping[str, Sequence[Sighting]]
) -> None:
    """Write a figure's data, by panel: the name of the scenario, or of whatever else the panels are."""
    plain = {
        name: data.model_dump(mode="json", exclude_none=True)
        if isinstance(data, BaseModel)
        else [one.model_dump(mode="json") for one in data]
        for name, data in panels.items()
    }
    path.write_text(json.dumps(plain, allow_nan=False) + "\n", "utf-8")
