"""Where the demonstration keeps pictures while somebody looks at them."""

from __future__ import annotations

import shutil
import threading

from dp2bench.core.temporary import TemporaryFolder

PREFIX = "dp2bench-demo-"


class PrivateFolder(TemporaryFolder):
    """The only place where the demonstration writes; emptied when its last page is closed, gone when the program ends."""

    def __init__(self) -> None:
        super().__init__(PREFIX)
        self._open: set[str] = set()
        self._changing = threading.Lock()

    def enter(self, visitor: str) -> None:
        """Somebody opens the page."""
        with self._changing:
            self._open.add(visitor)

    def leave(self, visitor: str) -> None:
        """Somebody closes the page."""
        with self._changing:
            self._open.discard(visitor)
            if not self._open:
                for path in self.path.iterdir():
                    shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
