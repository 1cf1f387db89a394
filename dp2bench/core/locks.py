"""Locks, which the system frees when their process dies. Where there are none (Windows, some disks), nobody is kept out."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from dp2bench.core.errors import Dp2benchError, writing


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


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Have a folder, which is made, for this program.

    Raises:
        Dp2benchError: another program has it, or it cannot be made.

    """
    with writing(folder):
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


def wait_for(path: Path) -> IO[str]:
    """The file of a lock, locked; to be closed, and to be deleted first if at all. Whoever waited for one that was deleted waits for the
    one that has its name now.

    Raises:
        OSError: the file cannot be written.

    """
    while True:
        file = path.open("w")
        _wait(file.fileno())
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()


def _wait(handle: int) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        return
    with contextlib.suppress(OSError):  # a disk without locks
        fcntl.flock(handle, fcntl.LOCK_EX)
