"""Suites: YAML files that say what is measured. Errors point at line and key."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

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

    @model_validator(mode="after")
    def _default_label(self) -> Component:
        if not self.label:
            object.__setattr__(self, "label", self.name.replace(":", ".").replace("/", "_"))
        if not self.label.replace("-", "").replace("_", "").replace(".", "").isalnum():
            raise ValueError(
                f"label {self.label!r} becomes a folder's name: use letters, digits, '.', '_' and '-'"
            )
        return self


class Suite(_Closed):
    """What a run does: every method on every dataset under every task, for every seed."""

    schema_version: Literal[1] = 1
    name: str
    description: str = ""
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1)
    detector: Component = Component(name="annotations")
    datasets: tuple[Component, ...] = Field(min_length=1)
    methods: tuple[Component, ...] = Field(min_length=1)
    tasks: tuple[Component, ...] = Field(min_length=1)

    @field_validator("datasets", "methods", "tasks")
    @classmethod
    def _unique_labels(cls, value: tuple[Component, ...]) -> tuple[Component, ...]:
        labels = [c.label for c in value]
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} stands here more than once; give each its own `label`")
        return value

    @field_validator("seeds")
    @classmethod
    def _unique_seeds(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(value)) != len(value) or min(value) < 0:
            raise ValueError("seeds must be different non-negative integers")
        return value


def _line_of(node: yaml.Node | None, path: tuple[int | str, ...]) -> int:
    """The line (from 1) of the deepest node on a path that exists."""
    line = 1 if node is None else node.start_mark.line + 1
    for key in path:
        if isinstance(node, yaml.MappingNode):
            pair = next(((k, v) for k, v in node.value if k.value == str(key)), None)
            if pair is None:
                break
            line, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
            node = node.value[key]
            line = node.start_mark.line + 1
    return line


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
        where = str(path)
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SuiteError(f"{path} cannot be read: {error}.", "Give a UTF-8 YAML file.") from error
    try:
        node, data = yaml.compose(text, Loader=yaml.SafeLoader), yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise SuiteError(
            f"{where}:{mark.line + 1 if mark else 1}: not valid YAML: {getattr(error, 'problem', error)}.",
            "Mend the line.",
        ) from error
    try:
        return Suite.model_validate(data)
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            loc = problem["loc"]
            key = ".".join(str(part) for part in loc) or "(top)"
            text_ = (
                "unknown key"
                if problem["type"] == "extra_forbidden"
                else problem["msg"].removeprefix("Value error, ")
            )
            lines.append(f"{where}:{_line_of(node, loc)}: {key}: {text_}")
        raise SuiteError("\n".join(lines), "Known keys: " + ", ".join(Suite.model_fields) + ".") from error
