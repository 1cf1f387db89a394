"""Names of pictures in files of annotations."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable
from urllib.parse import unquote


class PictureNames:
    """Names of pictures in a file, to be found by a picture's path within a dataset.

    The same name is found first; then one in another normalisation of Unicode or with backslashes; then one in another case or with
    escapes of URLs. Folders that only one of the two has in front do not count. A name that fits several is not found.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._exact = set(names)
        self._levels: list[tuple[Callable[[str], str], dict[str, list[tuple[str, str]]]]] = []
        for level in (_plain_path, loose_name):
            by_bare = defaultdict(list)
            for name in self._exact:
                by_bare[level(name).rpartition("/")[2]].append((level(name), name))
            self._levels.append((level, by_bare))

    def find(self, name: str) -> str | None:
        """The name in the file, or None where there is none, or more than one, that fits."""
        if name in self._exact:
            return name
        for level, by_bare in self._levels:
            path = level(name)
            near = by_bare.get(path.rpartition("/")[2], ())
            equal = [there for key, there in near if key == path]
            ends = [
                there
                for key, there in near
                if f"/{key}".endswith(f"/{path}") or f"/{path}".endswith(f"/{key}")
            ]
            for some in (equal, ends):
                if some:
                    return some[0] if len(some) == 1 else None
        return None


def _plain_path(name: str) -> str:
    return unicodedata.normalize("NFC", name).replace("\\", "/").removeprefix("./").lstrip("/")


def loose_name(name: str) -> str:
    """A name without what differs between programs and machines: normalization, separators, escapes, case."""
    return _plain_path(unquote(_plain_path(name))).casefold()
