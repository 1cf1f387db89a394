"""Suites: YAML files that say what is measured. Errors point at line and key."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

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
    """A method, or in its place ``folder``: the dataset's folder as another tool anonymized it, with the same file names."""

    name: str = ""
    folder: str | None = None

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


def names() -> list[str]:
    """The suites that ship with the package."""
    return sorted(
        f.name.removesuffix(".yaml")
        for f in resources.files("dp2bench.suites").iterdir()
        if f.name.endswith(".yaml")
    )


def load(name_or_path: str) -> Suite:
    """A shipped suite by name, or a YAML file by path.

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
    return yaml_model.parse(Suite, text, where, SuiteError)
