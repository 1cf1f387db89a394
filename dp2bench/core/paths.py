"""Where things are kept on this machine, and names that are one on some file systems."""

from __future__ import annotations

import json
import os
import tempfile
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from dp2bench.core.errors import Dp2benchError


def cache_root() -> Path:
    """``$DP2BENCH_CACHE``, or the user's cache folder."""
    import platformdirs

    return Path(os.environ.get("DP2BENCH_CACHE") or platformdirs.user_cache_dir("dp2bench"))


UNFINISHED = ".dp2bench-unfinished.jsonl"
"""In a folder that `dp2bench anonymize` has not finished: a line for the settings, and a line a finished file."""


def begun_with(folder: Path) -> dict[str, Any]:
    """The settings that an unfinished folder was begun with; none where it is no such folder."""
    try:
        with (folder / UNFINISHED).open(encoding="utf-8") as file:
            settings = json.loads(file.readline())
    except (OSError, ValueError):
        return {}
    return settings if isinstance(settings, dict) else {}


def twins(names: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of names, with folders, that differ in nothing, in case, or in the normalisation of Unicode alone.

    Of names that can be gone through again only numbers are held: there may be millions.
    """
    import numpy as np

    if isinstance(names, Iterator):
        names = list(names)
    numbers = np.fromiter((hash(_without_case(name)) for name in names), np.int64)
    numbers.sort()
    again = set(numbers[1:][numbers[1:] == numbers[:-1]].tolist())
    if not again:
        return []
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        key = _without_case(name)
        if hash(key) in again:
            groups[key].append(name)
    return [(group[0], other) for group in groups.values() for other in group[1:]]


def _without_case(name: str) -> str:
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def check_distinct(names: Iterable[str], folder: Path) -> None:
    """Whether files of these names, written below a folder, would all be there.

    Raises:
        Dp2benchError: two names are one on the folder's file system.

    """
    pairs = twins(names)
    for first, second in pairs:
        if first == second or _one_file(first, second, folder):
            raise Dp2benchError(
                f"{folder} cannot hold both {first} and {second}: their names are one there, and the later would overwrite the earlier.",
                "Rename one of the two, or choose a folder on a file system that tells them apart.",
            )


def _one_file(first: str, second: str, folder: Path) -> bool:
    """Whether two names are of one file on the file system of a folder, or of the nearest one above that is there."""
    there = next((p for p in (folder, *folder.parents) if p.is_dir()), Path())
    try:
        with tempfile.TemporaryDirectory(prefix=".dp2bench-", dir=there) as place:
            for name in (first, second):
                path = Path(place, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
            return len([p for p in Path(place).rglob("*") if p.is_file()]) < 2
    except OSError:  # whoever writes there says what is wrong
        return False
