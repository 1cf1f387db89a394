"""Directions that came with the package, for its own generators. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from dp2bench.core.errors import Dp2benchError

if TYPE_CHECKING:
    from torch import Tensor

    from dp2bench.deepprivacy2.generator_weights import GeneratorFile

_COLOURS = (
    "red", "blue", "white", "black", "green", "yellow", "grey", "orange", "purple", "brown", "pink",
)  # fmt: skip
VALUES: Mapping[str, tuple[str, ...]] = {
    "upper": _COLOURS,
    "lower": _COLOURS,
    "hair": ("black", "brown", "blond", "grey", "red"),
    "sleeves": ("long", "short"),
    "hat": ("no", "yes"),
    "bag": ("no", "yes"),
    "skirt": ("no", "yes"),
}
"""Attributes that can be edited without text, and their values."""
EMBEDDED = "mini-edits"
"""Name of the embedded file: tensors by ``generator/attribute=value``."""


def check_name(text: str) -> None:
    """Raise a Dp2benchError where ``attribute=value`` has an unknown attribute or value; any other text passes."""
    attribute, equals, value = text.partition("=")
    if not equals:
        return
    if attribute not in VALUES:
        raise Dp2benchError(
            f"There is no attribute {attribute!r} to edit.", f"Take one of: {', '.join(VALUES)}; or a text."
        )
    if value not in VALUES[attribute]:
        raise Dp2benchError(
            f"There is no {attribute} {value!r}.", f"Take one of: {', '.join(VALUES[attribute])}."
        )


def known() -> list[str]:
    """``generator/attribute=value`` of every embedded direction."""
    from safetensors import safe_open

    from dp2bench.weights import embedded as shipped

    path = shipped.paths().get(EMBEDDED)
    if path is None:
        return []
    with safe_open(path, framework="numpy") as file:
        return sorted(file.keys())


def embedded(generator: GeneratorFile, name: str) -> Tensor | None:
    """The embedded direction (L, C) of an embedded generator, or None."""
    from dp2bench.weights import embedded as shipped

    paths = shipped.paths()
    if EMBEDDED not in paths or paths.get(generator.name) != generator.path:
        return None
    from safetensors import safe_open

    with safe_open(paths[EMBEDDED], framework="pt") as file:
        key = f"{generator.name}/{name}"
        return file.get_tensor(key).float() if key in file.keys() else None  # noqa: SIM118 - no mapping
