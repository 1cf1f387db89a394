"""Folders among the system's temporary ones that only their owner can read, and that end with the program, at the latest when it runs again."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from dp2bench.core.locks import lock


class TemporaryFolder:
    """A folder of one process; what killed ones left of the same prefix is deleted.

    Args:
        prefix: how its name begins.

    Attributes:
        path: for its owner alone.

    """

    def __init__(self, prefix: str) -> None:
        _remove_left_behind(prefix)
        made = Path(tempfile.mkdtemp(prefix=f"new-{prefix}"))
        self._lock = lock(made)
        # Under its name it is never without a lock: others would delete it.
        self.path = made.rename(made.with_name(made.name.removeprefix("new-")))

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *_: object) -> None:
        self.remove()

    def remove(self) -> None:
        """Delete it."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _remove_left_behind(prefix: str) -> None:
    for path in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        try:
            handle = lock(path)
        except OSError:  # in use, or somebody else's
            continue
        if handle is not None:
            shutil.rmtree(path, ignore_errors=True)
            os.close(handle)
