"""Finished steps by content key: a folder appears whole or not at all, however a run ends."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import shutil
from collections.abc import Iterator
from functools import lru_cache
from importlib import resources
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


PACKAGES_OF = {
    "detect": ("core", "datasets", "deepprivacy2"),
    "anonymize": ("core", "datasets", "deepprivacy2", "baselines"),
    "train": ("core", "datasets", "metrics", "attacks", "downstream", "tasks"),
    "evaluate": ("core", "datasets", "metrics", "attacks", "downstream", "tasks"),
}
"""Which of our packages a kind of step runs, by the direction of the imports."""

ENGINE = ("anonymize.py", "ready_made.py", "steps.py")
"""What every step runs of the engine itself; the rest of it only plans, carries out and keeps."""


@lru_cache
def code_version(kind: str) -> str:
    """sha256 over the sources that a kind of step runs, so that changed code never meets an old cache."""
    digest = hashlib.sha256()
    for package in PACKAGES_OF[kind]:
        root = Path(str(resources.files(f"dp2bench.{package}")))
        for source in sorted(root.rglob("*.py")):
            digest.update(f"{package}/{source.relative_to(root).as_posix()}\0".encode() + source.read_bytes())
    engine = Path(str(resources.files("dp2bench.engine")))
    for name in ENGINE:
        digest.update(f"engine/{name}\0".encode() + (engine / name).read_bytes())
    return digest.hexdigest()


def plugin_source(plugin: object) -> str:
    """sha256 over the package a third party's plug-in comes from ('' for ours, which `code_version` covers)."""
    module = type(plugin).__module__
    if module.startswith("dp2bench."):
        return ""
    import importlib

    file = getattr(importlib.import_module(module.partition(".")[0]), "__file__", None)
    if file is None:
        return ""
    path = Path(file)
    sources = sorted(path.parent.rglob("*.py")) if path.name == "__init__.py" else [path]
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
