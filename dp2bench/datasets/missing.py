"""Which files of a dataset are not there, named one by one."""

from __future__ import annotations

from collections.abc import Sequence

from dp2bench.core.paths import cache_root

SHOWN = 10


def format_missing(files: Sequence[str], dataset: str) -> str:
    """The files, for a message: all of a few; of many the first ones, and where the whole list was written.

    Args:
        files: names relative to the dataset's folder.
        dataset: its name, which becomes that of the list.

    """
    if len(files) <= SHOWN:
        return ", ".join(files)
    shown = f"{', '.join(files[:SHOWN])}, ..."
    path = cache_root() / "missing" / f"{dataset}.txt"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{name}\n" for name in files), "utf-8")
    except OSError:
        return shown
    return f"{shown} (all of them: {path})"
