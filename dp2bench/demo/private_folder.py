"""Where the demonstration keeps pictures while somebody looks at them."""

from __future__ import annotations

import shutil
import threading

from dp2bench.core.temporary import TemporaryFolder

PREFIX = "dp2bench-demo-"


_EVERY = 0.5
"""Seconds between looks for what was written after the last page was closed."""


class PrivateFolder(TemporaryFolder):
    """The only place where the demonstration writes; emptied when its last page is closed, gone when the program ends."""

    def __init__(self) -> None:
        super().__init__(PREFIX)
        self._open: set[str] = set()
        self._abandoned = False
        self._changing = threading.Lock()
        self._removed = threading.Event()
        threading.Thread(target=self._stay_empty, daemon=True).start()

    def enter(self, visitor: str) -> None:
        """Somebody opens the page."""
        with self._changing:
            self._open.add(visitor)
            self._abandoned = False

    def leave(self, visitor: str) -> None:
        """Somebody closes the page."""
        with self._changing:
            self._open.discard(visitor)
            self._abandoned = not self._open
            self._empty_if_abandoned()

    def remove(self) -> None:
        """Nobody comes any more."""
        self._removed.set()
        super().remove()

    def _stay_empty(self) -> None:
        """Somebody may close the page while what they asked for is computed; it is written then."""
        while not self._removed.wait(_EVERY):
            with self._changing:
                self._empty_if_abandoned()

    def _empty_if_abandoned(self) -> None:
        if not self._abandoned or not self.path.is_dir():
            return
        for path in self.path.iterdir():
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
