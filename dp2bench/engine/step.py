"""What a plan is made of: steps, and the cells of the table that they fill."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dp2bench.core import registry
from dp2bench.core.contracts import Anonymizer, Dataset
from dp2bench.core.errors import SuiteError
from dp2bench.engine.folder_source import FolderSource
from dp2bench.engine.suite import Component, MethodChoice


@dataclass(frozen=True)
class Step:
    """One unit of work: plain data, so that any executor can ship it to a worker.

    ``needs`` are the keys of the steps whose folders it reads, by role; ``payload`` is everything else it is told.
    ``exclusive``: it measures time, so that nothing else should run beside it.
    """

    kind: str
    title: str
    key: str
    needs: Mapping[str, str] = field(default_factory=dict)
    payload: Mapping[str, Any] = field(default_factory=dict)
    exclusive: bool = False


@dataclass(frozen=True)
class Cell:
    """One result of the table: its components and the evaluation steps by seed; ``licences`` of the detector's weights by name."""

    dataset: Component
    method: MethodChoice
    task: Component
    detector: str
    anonymized: Mapping[int, str]
    evaluations: Mapping[int, str]
    licences: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """Steps in an order that respects their needs, and the cells they fill."""

    steps: tuple[Step, ...]
    cells: tuple[Cell, ...]
    fingerprints: Mapping[str, str]


def make_dataset(component: Component, data_root: Path | None) -> Dataset:
    """The dataset of a suite; one that the user must bring takes its root from ``--data-root`` when the suite names none."""
    arguments = dict(component.arguments)
    if registry.needs_root(component.name) and "root" not in arguments:
        if data_root is None:
            raise SuiteError(
                f"The dataset {component.name} must be brought by you.",
                "Say where it lies with --data-root, or `root:` under its arguments.",
            )
        arguments["root"] = data_root
    if "root" in arguments:
        arguments["root"] = Path(arguments["root"])
    dataset: Dataset = registry.create("datasets", component.name, arguments)
    return dataset


def make_method(choice: MethodChoice) -> Anonymizer | FolderSource:
    """The method of a suite, or the pictures that stand in its place."""
    if choice.folder is not None:
        return FolderSource(Path(choice.folder))
    method: Anonymizer = registry.create("methods", choice.name, choice.arguments)
    return method
