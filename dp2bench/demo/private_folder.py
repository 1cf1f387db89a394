"""Where the demonstration keeps pictures while somebody looks at them."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from pathlib import Path

PREFIX = "dp2bench-demo-"


class PrivateFolder:
    """The only place where the demonstration writes; emptied when its last page is closed, gone when the program ends.

    Attributes:
        path: for its owner alone.

    """

    def __init__(self) -> None:
        _remove_left_behind()
        self.path = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
        self._open: set[str] = set()
        self._lock = threading.Lock()

    def enter(self, visitor: str) -> None:
        """Somebody opens the page."""
        with self._lock:
            self._open.add(visitor)

    def leave(self, visitor: str) -> None:
        """Somebody closes the page."""
        with self._lock:
            self._open.discard(visitor)
            if not self._open:
                for path in self.path.iterdir():
                    shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)

    def remove(self) -> None:
        """Nobody comes any more."""
        shutil.rmtree(self.path, ignore_errors=True)


def _remove_left_behind() -> None:
    """Folders of demonstrations that were killed."""
    if os.name != "posix":  # elsewhere asking for a process may end it
        return
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        number = path.name.removeprefix(PREFIX).partition("-")[0]
        if path.is_dir() and number.isdecimal() and not _runs(int(number)):
            shutil.rmtree(path, ignore_errors=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True
