"""YAML files that people write, validated by a pydantic model; errors point at file, line and key."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from dp2bench.core.errors import Dp2benchError

_SHOWN = 20
Model = TypeVar("Model", bound=BaseModel)


def read_text(path: Path, error: type[Dp2benchError]) -> str:
    """A file's text; ``error`` names the file where it cannot be read."""
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as cause:
        raise error(f"{path} cannot be read: {cause}.", "Give a UTF-8 YAML file.") from cause


MOST_VALUES = 100_000
"""Values that a file may hold, each alias counted with all that it stands for: a few lines can stand for billions."""


class _Loader(yaml.SafeLoader):
    """Refuses a key that is there twice: YAML's last one would win without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if (key.tag, key.value) in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key.value!r} is there twice", key.start_mark
                    )
                seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep)


def load(text: str) -> tuple[yaml.Node | None, Any]:
    """The nodes (with their lines) and the value of a YAML text.

    Raises:
        yaml.YAMLError: it is no YAML, has a key twice, holds more than `MOST_VALUES` values, an alias within what it stands for, or a
            value that does not exist, like the 30th of February.

    """
    try:
        node = yaml.compose(text, Loader=_Loader)
        if node is not None and _size(node, {}) > MOST_VALUES:
            raise yaml.YAMLError(f"it holds more than {MOST_VALUES:,} values")
        return node, yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except RecursionError as error:
        raise yaml.YAMLError("it is nested too deeply") from error
    except (ValueError, TypeError, OverflowError) as error:  # e.g. a date that no calendar has
        raise yaml.YAMLError(" ".join(str(error).split())) from error


def keys(text: str) -> frozenset[str]:
    """Of the mapping that a YAML text is; none where it is something else or no YAML."""
    try:
        _, data = load(text)
    except yaml.YAMLError:
        return frozenset()
    return frozenset(map(str, data)) if isinstance(data, Mapping) else frozenset()


def _size(node: yaml.Node, known: dict[int, int]) -> int:
    """Values under a node, its aliases expanded."""
    if id(node) in known:
        if not known[id(node)]:
            raise yaml.YAMLError("an alias stands for something that it is part of")
        return known[id(node)]
    known[id(node)] = 0  # being counted
    inner: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        inner = [n for pair in node.value for n in pair]
    elif isinstance(node, yaml.SequenceNode):
        inner = node.value
    known[id(node)] = 1 + sum(_size(n, known) for n in inner)
    return known[id(node)]


def parse(model: type[Model], text: str, where: str, error: type[Dp2benchError]) -> Model:
    """The model that a YAML text describes.

    Args:
        model: what it must fit.
        text: the YAML.
        where: the file's name, for messages.
        error: what to raise, a line for each problem: ``where:line: key: problem``.

    """
    try:
        node, data = load(text)
    except yaml.YAMLError as cause:
        mark = getattr(cause, "problem_mark", None)
        raise error(
            f"{where}:{mark.line + 1 if mark else 1}: not valid YAML: {getattr(cause, 'problem', cause)}.",
            "Mend the line.",
        ) from cause
    try:
        return model.model_validate(data)
    except RecursionError as cause:
        raise error(f"{where}:1: it is nested too deeply.", "Mend the file.") from cause
    except ValidationError as cause:
        lines = []
        for problem in cause.errors()[:_SHOWN]:
            key = ".".join(str(part) for part in problem["loc"]) or "(top)"
            said = "unknown key" if problem["type"] == "extra_forbidden" else problem["msg"].removeprefix("Value error, ")  # fmt: skip
            lines.append(f"{where}:{_line_of(node, problem['loc'])}: {key}: {said}")
        raise error("\n".join(lines), "Known keys: " + ", ".join(model.model_fields) + ".") from cause


def shipped_recipes(package: str) -> dict[str, str]:
    """Text of every YAML file in a package's folder ``recipes``, by name."""
    folder = resources.files(package) / "recipes"
    return {p.name[:-5]: p.read_text("utf-8") for p in folder.iterdir() if p.name.endswith(".yaml")}


def load_recipe(
    model: type[Model], source: str | Path, package: str, overrides: Mapping[str, Any] | None = None
) -> Model:
    """The recipe of a YAML file, or one of those that a package ships, by name.

    Args:
        model: what it must fit.
        source: path or name.
        package: whose folder ``recipes`` is looked into.
        overrides: values in place of the file's, by key.

    Raises:
        Dp2benchError: no such file or name, no YAML, or an unknown key or bad value, which it names.

    """
    known = shipped_recipes(package)
    name = str(source)
    if name not in known and not Path(source).is_file():
        raise Dp2benchError(
            f"There is no recipe {source}.",
            f"Give the path of a YAML file or one of: {', '.join(sorted(known))}.",
        )
    text = known[name] if name in known else read_text(Path(source), Dp2benchError)
    recipe = parse(model, text, name, Dp2benchError)
    try:
        return model.model_validate({**recipe.model_dump(), **(overrides or {})})
    except ValidationError as cause:
        first = cause.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise Dp2benchError(f"{key}: {first['msg']}.", f"Change this setting of {source}.") from cause


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
