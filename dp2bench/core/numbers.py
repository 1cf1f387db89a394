"""Numbers that a user gives as a plug-in's arguments: YAML and the command line may bring a text instead."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any


def check_whole(name: str, value: Any, least: int = 1) -> None:
    """A ValueError that names argument and value, unless it is a whole number of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, not {value!r}")


def check_range(name: str, value: Any, least: float, most: float) -> None:
    """A ValueError that names argument and value, unless it is a number in ``least`` .. ``most``."""
    if isinstance(value, bool) or not isinstance(value, Real) or not least <= float(value) <= most:
        raise ValueError(f"{name} must lie in {least}..{most}, not {value!r}")
