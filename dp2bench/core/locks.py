"""Folders that one program has for itself. The system frees a lock when its process dies."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dp2bench.core.errors import Dp2benchError


def lock(folder: Path) -> int | None:
    """A handle to close; None where the system has no such locks (Windows).

    Raises:
        BlockingIOError: another program has it.
        OSError: the folder cannot be opened.

    """
    try:
        import fcntl
    except ImportError:
        return None
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise
    except OSError:  # a disk without locks
        os.close(handle)
        return None
    return handle


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Have a folder, which is made, for this program.

    Raises:
        Dp2benchError: another program has it.

    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        handle = lock(folder)
    except BlockingIOError:
        raise Dp2benchError(
            f"Another program is writing to {folder}.", "Wait until it has ended, or choose another folder."
        ) from None
    try:
        yield
    finally:
        if handle is not None:
            os.close(handle)
