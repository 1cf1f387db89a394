"""Pictures that tasks declare, as the page shows them under each method: people with the answers that came first, and drawings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dp2bench.core.figures import PeopleSheet, Picture, Sighting
from dp2bench.reports import pictures
from dp2bench.reports.figure_charts import ordered_panels
from dp2bench.reports.groups import Group
from dp2bench.reports.load import Artifacts
from dp2bench.reports.pictures import Embedded

PEOPLE = 4
"""Shown of each method."""


@dataclass(frozen=True)
class Shown:
    """A picture, None where it cannot be read, and what is said of it."""

    picture: Embedded | None
    label: str
    right: bool = False


@dataclass(frozen=True)
class Row:
    """One method's part of a sheet: people with their answers, or a drawing.

    Attributes:
        method: its label.
        panel: the scenario; empty where there is one alone.
        people: each with the answers that came first.
        drawing: the picture that the task has drawn.

    """

    method: str
    panel: str = ""
    people: Sequence[tuple[Shown, Sequence[Shown]]] = ()
    drawing: Embedded | None = None


@dataclass(frozen=True)
class Sheet:
    """One declared figure, a row for each method that left something and may be shown."""

    title: str
    caption: str
    rows: Sequence[Row]


def sheets(group: Group, evidence: Sequence[Artifacts], budget: int) -> list[Sheet]:
    """The sheets of a group, of the first seed; ``budget`` is how many bytes their pictures may take together."""
    wanted = [f for f in group.figures if isinstance(f, PeopleSheet | Picture)]
    made = []
    for figure in wanted:
        share = budget // len(wanted)
        people = isinstance(figure, PeopleSheet)
        if rows := (_people if people else _drawings)(group, figure.file, evidence, share):
            made.append(Sheet(figure.title, f"{figure.caption} First seed.".strip(), rows))
    return made


def _people(group: Group, file: str, evidence: Sequence[Artifacts], budget: int) -> list[Row]:
    chosen: list[tuple[str, str, Path, Sequence[Sighting]]] = []
    for i in group.shown:
        for path, panels in zip(evidence[i].files(file)[:1], evidence[i].sightings(file)[:1], strict=True):
            # the scenario of the main score alone: every further one is the same people again
            first = ordered_panels(group, (name for name, people in panels.items() if people))[:1]
            chosen += [(group.labels[i], name, _root(path, file), panels[name][:PEOPLE]) for name in first]
    names = [
        root / name
        for _, _, root, people in chosen
        for person in people
        for name in (person.picture, *(answer.picture for answer in person.answers))
    ]
    embedded = pictures.embed(names, budget)
    return [
        Row(
            method,
            panel,
            [
                (
                    Shown(embedded[root / person.picture], person.label),
                    [Shown(embedded[root / a.picture], a.label, a.right) for a in person.answers],
                )
                for person in people
            ],
        )
        for method, panel, root, people in chosen
    ]


def _drawings(group: Group, file: str, evidence: Sequence[Artifacts], budget: int) -> list[Row]:
    found = [(group.labels[i], path) for i in group.shown for path in evidence[i].files(file)[:1]]
    embedded = pictures.embed([path for _, path in found], budget)
    return [Row(method, drawing=embedded[path]) for method, path in found if embedded[path] is not None]


def _root(path: Path, name: str) -> Path:
    """The folder of the artefacts, in which a figure's file of that name lies at ``path``."""
    return path.parents[len(Path(name).parts) - 1]
