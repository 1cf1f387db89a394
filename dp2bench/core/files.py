"""Files that are written whole or not at all, whatever stops the program or the machine."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

from dp2bench.core.errors import writing

TEMPORARY = ".dp2b"
"""How the names of files that are being written begin; what a killed run leaves of them can be deleted."""


def write_bytes(path: Path, data: bytes, what: str = "") -> None:
    """Write a whole file: a reader sees the old one or the new one, never a part. Missing folders are made.

    Args:
        path: of the file.
        data: its content.
        what: how errors call it; by default its path.

    Raises:
        Dp2benchError: it cannot be written; the old file is then still there.

    """
    with writing(what or path):
        _whole(path, lambda temporary: temporary.write_bytes(data))


def copy_file(source: Path, target: Path) -> None:
    """Copy a file's content as `write_bytes` writes. Raises Dp2benchError."""
    with writing(target):
        _whole(target, lambda temporary: shutil.copyfile(source, temporary))


def link_or_copy(source: Path, target: Path) -> None:
    """Make ``target`` a hard link to ``source`` or, where the disk allows none, a copy. Raises Dp2benchError."""

    def make(temporary: Path) -> object:
        try:
            os.link(source, temporary)
        except OSError:
            return shutil.copyfile(source, temporary)
        return None

    if target.exists() and target.samefile(source):  # renaming one link to another leaves both
        return
    with writing(target):
        _whole(target, make)


def _whole(path: Path, make: Callable[[Path], object]) -> None:
    # As long as the shortest hidden name gets: the temporary name is never the one that is too long.
    temporary = path.parent / f"{TEMPORARY}{uuid.uuid4().hex[:8]}"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        make(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def flush_to_disk(path: Path) -> None:
    """Wait until a file's content is on the disk: without, a machine that loses its power may keep the name and lose the content."""
    handle = os.open(path, os.O_RDWR)  # Windows flushes only what may be written
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
