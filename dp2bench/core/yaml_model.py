"""YAML files that people write, validated by a pydantic model; errors point at file, line and key."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from dp2bench.core.errors import Dp2benchError

Model = TypeVar("Model", bound=BaseModel)


def read_text(path: Path, error: type[Dp2benchError]) -> str:
    """A file's text; ``error`` names the file where it cannot be read."""
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as cause:
        raise error(f"{path} cannot be read: {cause}.", "Give a UTF-8 YAML file.") from cause


def parse(model: type[Model], text: str, where: str, error: type[Dp2benchError]) -> Model:
    """The model that a YAML text describes.

    Args:
        model: what it must fit.
        text: the YAML.
        where: the file's name, for messages.
        error: what to raise, a line for each problem: ``where:line: key: problem``.

    """
    try:
        node, data = yaml.compose(text, Loader=yaml.SafeLoader), yaml.safe_load(text)
    except yaml.YAMLError as cause:
        mark = getattr(cause, "problem_mark", None)
        raise error(
            f"{where}:{mark.line + 1 if mark else 1}: not valid YAML: {getattr(cause, 'problem', cause)}.",
            "Mend the line.",
        ) from cause
    try:
        return model.model_validate(data)
    except ValidationError as cause:
        lines = []
        for problem in cause.errors():
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
