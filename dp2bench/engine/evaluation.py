"""The suite that scores one folder that any tool anonymized, beside its control."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dp2bench.core import registry
from dp2bench.core.errors import Dp2benchError
from dp2bench.engine.suite import Component, MethodChoice, Suite, TaskChoice, label_of

CONTROL = "identity"
"""The method whose row the anonymized folder is compared with."""


def suite_of_folders(
    clear: Path,
    anonymized: Path,
    *,
    task: str = "market1501-reid",
    arguments: Mapping[str, Any] | None = None,
    dataset: str = "market1501",
    detector: str = "full-image",
    seeds: Sequence[int] = (0,),
    label: str | None = None,
) -> Suite:
    """A task on a dataset's folder and on the same folder anonymized by another tool.

    Args:
        clear: the dataset's folder with the original pictures.
        anonymized: the same folder, anonymized, with the same file names.
        task: name of a task, or ``package.module:Class``.
        arguments: settings of the task.
        dataset: how to read the folders.
        detector: who finds the people that should be anonymized, for the coverage.
        seeds: of the task, different numbers from 0 on.
        label: the method's name in the table; the anonymized folder's name where None.

    Raises:
        Dp2benchError: a folder is not there, or a name or a setting cannot be.

    """
    for folder in (clear, anonymized):
        if not folder.is_dir():
            raise Dp2benchError(f"The folder {folder} is not there.", "Give the dataset's folder.")
    if label is not None and label.casefold() == CONTROL:
        raise Dp2benchError(
            f"The label {label} is the name of the control, the clear pictures.", "Choose another label."
        )
    data = {"root": str(clear.resolve()), **of_any_number(dataset)}
    try:
        return Suite(
            name="evaluate",
            seeds=tuple(seeds),
            detector=Component(name=detector),
            datasets=(Component(name=dataset, arguments=data),),
            tasks=(TaskChoice(name=task, arguments=dict(arguments or {})),),
            methods=(
                MethodChoice(name=CONTROL),
                MethodChoice(folder=str(anonymized.resolve()), label=label or _label(anonymized)),
            ),
        )
    except ValidationError as error:
        said = "; ".join(problem["msg"].removeprefix("Value error, ") for problem in error.errors())
        raise Dp2benchError(
            f"This cannot be evaluated: {said}.",
            "Correct task, dataset, detector, label, seeds or the task's settings, whichever is named.",
        ) from error


def of_any_number(dataset: str) -> dict[str, Any]:
    """The argument by which a dataset is content with fewer pictures than were published; none where it does not count them."""
    counts = "official" in inspect.signature(registry.load("datasets", dataset)).parameters
    return {"official": False} if counts else {}


def _label(folder: Path) -> str:
    """The folder's own label, but never that of the control."""
    label = label_of(folder)
    return f"{label}-anonymized" if label.casefold() == CONTROL else label
