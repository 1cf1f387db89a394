"""Suites: YAML files that say what is measured. Errors point at line and key."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from dp2bench.core import yaml_model
from dp2bench.core.errors import SuiteError
from dp2bench.core.results import canonical_json


class _Closed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Component(_Closed):
    """A plug-in and its arguments; a bare name stands for a plug-in with its defaults. ``label`` names it in results."""

    name: str
    arguments: Mapping[str, Any] = Field(default_factory=dict)
    label: str = ""

    @model_validator(mode="before")
    @classmethod
    def _bare_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @field_validator("arguments")
    @classmethod
    def _plain(cls, value: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            canonical_json(value)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"arguments must be finite numbers, texts, lists and mappings ({error})"
            ) from error
        return value

    @property
    def _usual_label(self) -> str:
        return self.name.replace(":", ".").replace("/", "_")

    @model_validator(mode="after")
    def _default_label(self) -> Component:
        if not self.label:
            object.__setattr__(self, "label", self._usual_label)
        if not self.label.replace("-", "").replace("_", "").replace(".", "").isalnum():
            raise ValueError(
                f"label {self.label!r} becomes a folder's name: use letters, digits, '.', '_' and '-'"
            )
        return self


class MethodChoice(Component):
    """A method, or in its place ``folder``: the dataset's folder as another tool anonymized it, with the same file names.

    ``detector`` is its own in this suite, in place of the suite's.
    """

    name: str = ""
    folder: str | None = None
    detector: Component | None = None

    @model_validator(mode="after")
    def _method_or_folder(self) -> MethodChoice:
        if bool(self.name) == bool(self.folder):
            raise ValueError(
                "give either the `name` of a method or the `folder` that another tool anonymized"
            )
        if self.folder and self.arguments:
            raise ValueError("a folder takes no arguments: its pictures are made")
        return self

    @property
    def _usual_label(self) -> str:
        return super()._usual_label if self.folder is None else label_of(Path(self.folder))


def label_of(folder: Path) -> str:
    """A label for a folder: its name, with a hyphen for what a label may not have."""
    name = unicodedata.normalize("NFC", folder.resolve().name)
    label = re.sub(r"[^\w.-]+", "-", name).strip("-.")
    return label if any(c.isalnum() for c in label) else "anonymized"


class TaskChoice(Component):
    """A task, and what of the suite it runs on: some of its datasets and methods (by label) and seeds, or all where nothing is said."""

    datasets: tuple[str, ...] | None = Field(default=None, min_length=1)
    methods: tuple[str, ...] | None = Field(default=None, min_length=1)
    seeds: tuple[int, ...] | None = Field(default=None, min_length=1)

    def takes(self, dataset: str, method: str) -> bool:
        """Whether it runs on the dataset and the method of these labels."""
        return (self.datasets is None or dataset in self.datasets) and (
            self.methods is None or method in self.methods
        )


class Suite(_Closed):
    """What a run does: every method on every dataset under every task that can read it, for every seed."""

    schema_version: Literal[1] = 1
    name: str
    description: str = ""
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1)
    detector: Component = Component(name="annotations")
    datasets: tuple[Component, ...] = Field(min_length=1)
    methods: tuple[MethodChoice, ...] = Field(min_length=1)
    tasks: tuple[TaskChoice, ...] = Field(min_length=1)

    @property
    def parts(self) -> tuple[Suite, ...]:
        """Itself; see `SuiteSet`."""
        return (self,)

    @field_validator("datasets", "methods", "tasks")
    @classmethod
    def _unique_labels(cls, value: tuple[Component, ...]) -> tuple[Component, ...]:
        labels = [c.label for c in value]
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} stands here more than once; give each its own `label`")
        return value

    @field_validator("tasks")
    @classmethod
    def _of_this_suite(cls, value: tuple[TaskChoice, ...], info: ValidationInfo) -> tuple[TaskChoice, ...]:
        for task in value:
            for kind in ("datasets", "methods", "seeds"):
                if (wanted := getattr(task, kind)) is None or kind not in info.data:
                    continue
                there = [getattr(c, "label", c) for c in info.data[kind]]
                strange = [w for w in wanted if w not in there]
                if strange:
                    raise ValueError(
                        f"{task.label} names {kind} that the suite lacks: {', '.join(map(str, strange))}; "
                        f"it has {', '.join(map(str, there))}"
                    )
        return value

    @field_validator("seeds")
    @classmethod
    def _unique_seeds(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(value)) != len(value) or min(value) < 0:
            raise ValueError("seeds must be different non-negative integers")
        return value


def rows(
    suite: Suite, layout: Callable[[Component], str], layouts: Callable[[TaskChoice], Sequence[str]]
) -> Iterator[tuple[Component, MethodChoice, TaskChoice]]:
    """Every row of the suite's table, in its order: dataset, method and task, where the task takes both and reads the layout.

    Args:
        suite: whose rows.
        layout: of a dataset.
        layouts: that a task reads.

    """
    for data in suite.datasets:
        for method in suite.methods:
            for task in suite.tasks:
                if task.takes(data.label, method.label) and layout(data) in layouts(task):
                    yield data, method, task


class SuiteSet(_Closed):
    """Suites, by name or path, that one command runs into one folder: each has a detector and methods of its own."""

    schema_version: Literal[1] = 1
    name: str
    description: str = ""
    suites: tuple[Suite, ...] = Field(min_length=1)

    @field_validator("suites", mode="before")
    @classmethod
    def _loaded(cls, value: Any) -> Any:
        if not isinstance(value, (list, tuple)):
            raise ValueError("give a list of suites, by name or path")
        parts = [load(part) if isinstance(part, str) else part for part in value]
        if nested := [part.name for part in parts if isinstance(part, SuiteSet)]:
            raise ValueError(f"{', '.join(nested)} stands for several suites itself: name those")
        return parts

    @model_validator(mode="after")
    def _each_dataset_once(self) -> SuiteSet:
        labels = [d.label for part in self.suites for d in part.datasets]
        if twice := sorted({label for label in labels if labels.count(label) > 1}):
            raise ValueError(f"the dataset {', '.join(twice)} stands in more than one of the suites")
        return self

    @property
    def parts(self) -> tuple[Suite, ...]:
        """The suites that it stands for."""
        return self.suites


AnySuite = Suite | SuiteSet


class _Extension(_Closed):
    """A suite that says what differs from another."""

    schema_version: Literal[1] = 1
    name: str
    extends: str
    description: str = ""
    seeds: tuple[int, ...] | None = None
    detector: Component | None = None
    datasets: tuple[Component, ...] | None = None
    methods: tuple[MethodChoice, ...] | None = None
    tasks: tuple[TaskChoice, ...] | None = None

    def extended(self, where: str) -> Suite:
        base = load(self.extends)
        if not isinstance(base, Suite):
            raise SuiteError(
                f"{where}: {self.extends} stands for several suites.", "Extend one of them, by its name."
            )
        own = {
            k: v for k in type(self).model_fields if k != "extends" and (v := getattr(self, k)) is not None
        }
        try:
            return Suite.model_validate({**dict(base), **own})
        except ValidationError as error:
            said = "; ".join(e["msg"].removeprefix("Value error, ") for e in error.errors())
            raise SuiteError(
                f"{where}: {said}.", f"It extends {self.extends}: change both to fit."
            ) from error


def names() -> list[str]:
    """The suites that ship with the package."""
    return sorted(
        f.name.removesuffix(".yaml")
        for f in resources.files("dp2bench.suites").iterdir()
        if f.name.endswith(".yaml")
    )


def load(name_or_path: str) -> AnySuite:
    """A shipped suite by name, or a YAML file by path. One that ``extends`` another says only what differs from it.

    Raises:
        SuiteError: no such suite, not YAML, or keys and values that do not validate: each with line and key.

    """
    if name_or_path in names():
        where, text = (
            f"suite {name_or_path}",
            (resources.files("dp2bench.suites") / f"{name_or_path}.yaml").read_text("utf-8"),
        )
    else:
        path = Path(name_or_path)
        if not path.is_file():
            raise SuiteError(
                f"There is no suite called {name_or_path!r} and no such file.",
                f"Shipped suites: {', '.join(names())}; or give the path of a YAML file.",
            )
        where, text = str(path), yaml_model.read_text(path, SuiteError)
    keys = yaml_model.keys(text)
    if "extends" in keys:
        return yaml_model.parse(_Extension, text, where, SuiteError).extended(where)
    if "suites" in keys:
        return yaml_model.parse(SuiteSet, text, where, SuiteError)
    return yaml_model.parse(Suite, text, where, SuiteError)
