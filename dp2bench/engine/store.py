"""Finished steps by content key: a folder appears whole or not at all, however a run ends."""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from dp2bench.core.errors import Dp2benchError, writing
from dp2bench.core.paths import cache_root


class Store:
    """Outputs of steps under ``root``."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or cache_root()

    def path(self, key: str) -> Path:
        """Where the finished step lies, or will."""
        return self.root / "steps" / key[:2] / key

    def has(self, key: str) -> bool:
        """Whether the step is finished."""
        return self.path(key).is_dir()

    @contextlib.contextmanager
    def working(self, key: str) -> Iterator[Path]:
        """A folder to do a step in, kept after a kill so that the step may go on from there; moved into place on success.

        One process at a time works on a key; another waits and then finds it finished (the folder yielded is thrown away).
        """
        work = self.root / "work" / key
        try:
            work.parent.mkdir(parents=True, exist_ok=True)
            lock = (work.parent / f"{key}.lock").open("w")
        except OSError as error:
            raise Dp2benchError(
                f"The cache folder {self.root} cannot be written: {error.strerror}.",
                "Free some space, or point DP2BENCH_CACHE at a folder you may write to.",
            ) from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            work.mkdir(exist_ok=True)
            yield work
            if self.has(key):
                shutil.rmtree(work)
            else:
                self.path(key).parent.mkdir(parents=True, exist_ok=True)
                work.rename(self.path(key))
            Path(lock.name).unlink(missing_ok=True)


class Journal:
    """``journal.jsonl`` of a run: each step that was finished or found finished, with its wall time."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, **entry: object) -> None:
        """Append one line, whole."""
        with writing(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry, sort_keys=True) + "\n")
