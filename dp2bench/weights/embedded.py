"""The weights that come with the package, by name; ``embedded.json`` holds the sha256 of each."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from dp2bench.core.errors import Dp2benchError
from dp2bench.weights.digests import sha256

FOLDER = Path(__file__).parent / "files"


@cache
def manifest() -> dict[str, dict[str, Any]]:
    """What is known of each file that the package brings, by name."""
    told: dict[str, dict[str, Any]] = json.loads(
        resources.files(__package__).joinpath("embedded.json").read_text(encoding="utf-8")
    )
    return told


def path(name: str) -> Path:
    """The file of embedded weights."""
    return FOLDER / f"{name}.safetensors"


def paths() -> dict[str, Path]:
    """Every embedded file by name."""
    return {name: path(name) for name in manifest()}


def verify(name: str) -> str:
    """Compare an embedded file with the sha256 that the package names; one line that says so.

    Raises:
        Dp2benchError: it is not there, or not the file that dp2bench ships.

    """
    file = path(name)
    if not file.is_file():
        raise Dp2benchError(f"There is no file {file}.", "Reinstall dp2bench.")
    if sha256(file) != manifest()[name]["sha256"]:
        raise Dp2benchError(
            f"{file} is not the file that dp2bench ships: its sha256 differs.", "Reinstall dp2bench."
        )
    return "matches the sha256 of the file that dp2bench ships"
