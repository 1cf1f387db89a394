"""Making a dataset: a plan in chunks, worker processes that can be killed at any time, and a folder that appears whole."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import json
import logging
import os
import queue
import shutil
import subprocess
import sys
import threading
import traceback
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, ClassVar, Generic, TypeVar

import numpy as np
import platformdirs
from numpy.typing import NDArray

from dp2bench.core.contracts import Progress, no_progress
from dp2bench.core.errors import DatasetError
from dp2bench.datasets.passersby.generation import labels

_log = logging.getLogger(__name__)

Item = TypeVar("Item")
Arrays = Mapping[str, NDArray[Any]]


class Recipe(ABC, Generic[Item]):
    """How one dataset is made. Has no state: workers construct their own, without arguments."""

    name: ClassVar[str]
    """The dataset's name, e.g. ``passersby-reid``."""
    version: ClassVar[str]
    """Of this dataset alone; changes when its pixels or labels do, and only then."""
    sizes: ClassVar[Mapping[str, Any]]
    """What a size holds, by its name."""

    @abstractmethod
    def plan(self, size: str) -> list[list[Item]]:
        """What is to be made, in chunks that are made together; the same list every time."""

    @abstractmethod
    def make_chunk(self, chunk: list[Item]) -> Arrays:
        """The arrays of a chunk, none of them of objects; depends on the chunk alone."""

    @abstractmethod
    def assemble(self, size: str, parts: Iterator[Arrays], root: Path) -> None:
        """Write the dataset to the empty folder ``root`` from its chunks, in the plan's order, one in memory at a time."""


class Made:
    """One size of a dataset that is made in the cache, ``$DP2BENCH_CACHE``, on first use.

    Args:
        recipe: how it is made.
        size: one of the recipe's sizes; None for that of the dataset at ``given``, else ``mini``.
        given: a folder that may be such a dataset.

    Attributes:
        version: the recipe's version and size.
        root: where the untouched dataset is, or will be.

    Raises:
        DatasetError: there is no such size.

    """

    def __init__(self, recipe: Recipe[Any], size: str | None, given: Path | None = None) -> None:
        if size is None:
            size = _size_at(given) or "mini"
        if size not in recipe.sizes:
            raise DatasetError(
                f"{recipe.name} has no size {size!r}.", f"Choose one of {', '.join(recipe.sizes)}."
            )
        self.recipe, self.size = recipe, size
        self.version = f"{recipe.version}-{size}"
        cache = Path(os.environ.get("DP2BENCH_CACHE") or platformdirs.user_cache_dir("dp2bench"))
        self.root = cache / "datasets" / f"{recipe.name}-{self.version}"

    def prepare(self, progress: Progress = no_progress) -> None:
        """Make it unless it is there, calling ``progress(done, total)`` with items of the plan."""
        if not self.root.exists():
            make(self.recipe, self.size, self.root, progress)

    def verify(self) -> None:
        """Compare every file with the manifest, making the dataset first where it is not there. A warning is logged where labels are
        not those of other machines.

        Raises:
            DatasetError: names the first file that is missing, changed or too many.

        """
        self.prepare()
        remedy = f"Delete the folder {self.root}; it is made again on the next use."
        try:
            manifest = json.loads((self.root / "manifest.json").read_text())
            expected = manifest["sha256"]
        except (OSError, ValueError, KeyError) as error:
            raise DatasetError(f"The manifest of {self.root} cannot be read ({error}).", remedy) from error
        holds = repr(self.recipe.sizes[self.size])
        if (made := manifest.get("holds", holds)) != holds:
            raise DatasetError(
                f"{self.root} was made when {self.size} was {made}; now it is {holds}.", remedy
            )
        there = {p.relative_to(self.root).as_posix() for p in self.root.rglob("*") if p.is_file()}
        if extra := sorted(there - set(expected) - {"manifest.json"}):
            raise DatasetError(
                f"{len(extra)} files do not belong to {self.recipe.name}, the first is {self.root / extra[0]}.",
                remedy,
            )
        for name, digest in expected.items():
            path = self.root / name
            if not path.is_file():
                raise DatasetError(f"{path} is missing.", remedy)
            if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
                raise DatasetError(f"{path} is not as it was made: its sha256 differs.", remedy)
        if own := self.own_labels():
            _log.warning(
                "Labels of %s are not those that other machines make: %s. Scores on it do not compare with theirs. Another version "
                "of NumPy, OpenCV or Numba may be the cause, or changed code; please report it with what `dp2bench doctor` says.",
                self.root.name,
                ", ".join(own),
            )

    def own_labels(self) -> list[str]:
        """Kinds of labels that are not those of other machines, whose hashes come with the package for small sizes; of an untouched
        dataset.
        """
        if self.root.name not in labels.shipped():
            return []
        path = self.root / "manifest.json"
        manifest = json.loads(path.read_text())
        if "labels" not in manifest:  # made by an earlier version of the package; hashing takes seconds
            manifest["labels"] = labels.kind_hashes(self.root)
            with contextlib.suppress(OSError):
                _write(path, json.dumps(manifest, indent=1).encode())
        return labels.differing(self.root.name, manifest["labels"])


def _size_at(root: Path | None) -> str | None:
    """The size that a dataset's manifest names, None where there is no manifest."""
    try:
        return None if root is None else str(json.loads((Path(root) / "manifest.json").read_text())["size"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def pack(arrays: Arrays) -> bytes:
    """An .npz file as bytes."""
    out = io.BytesIO()
    np.savez(out, **arrays)  # type: ignore[arg-type,unused-ignore]
    return out.getvalue()


def join(blobs: Sequence[bytes]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Blobs end to end as one array, and the N + 1 places where they start and end; `cut` is its inverse."""
    return np.frombuffer(b"".join(blobs), np.uint8), np.cumsum([0, *map(len, blobs)])


def cut(joined: NDArray[np.uint8], places: NDArray[np.int64]) -> list[bytes]:
    """The blobs that were joined."""
    whole = joined.tobytes()
    return [whole[a:b] for a, b in zip(places[:-1].tolist(), places[1:].tolist(), strict=True)]


def _write(where: Path, data: bytes) -> None:
    unfinished = where.with_name(f"{where.name}.{os.getpid()}.tmp")
    unfinished.write_bytes(data)
    unfinished.replace(where)


def _read(part: Path) -> Arrays:
    with np.load(part, allow_pickle=False) as data:
        return {name: data[name] for name in data.files}


def _readable(part: Path) -> bool:
    try:
        _read(part)
    except (OSError, ValueError, zipfile.BadZipFile):
        return False
    return True


class _Worker:
    """A process of ours that makes chunks until its standard input ends, be it because we were killed."""

    def __init__(self) -> None:
        single = dict.fromkeys(
            ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
        )
        path = os.pathsep.join(p for p in sys.path if p)
        # A child of our own rather than multiprocessing: that would run the caller's main script again.
        self.process = subprocess.Popen(  # noqa: S603 - our own module
            # Without the folder that it is started in: a checkout there would be taken for the installed package.
            [
                sys.executable,
                "-c",
                f"import sys; sys.path = [*filter(None, sys.path)]; from {__name__} import _work; _work()",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **single, "PYTHONPATH": path},
        )

    def make(self, recipe: Recipe[Any], size: str, parts: Path, chunk: int) -> None:
        stdin, stdout = self._pipes()
        kind = type(recipe)
        try:
            stdin.write(json.dumps([kind.__module__, kind.__qualname__, size, str(parts), chunk]) + "\n")
            stdin.flush()
            answer = stdout.readline()
        except OSError:
            answer = ""
        if answer.strip() != "ok":
            said = json.loads(answer) if answer else f"it ended with exit status {self.process.wait()}"
            raise DatasetError(
                f"A worker that renders pictures failed: {said}",
                "Run the command again: it goes on where it stopped.",
            )

    def _pipes(self) -> tuple[IO[str], IO[str]]:
        if self.process.stdin is None or self.process.stdout is None:
            raise RuntimeError("the worker was started without pipes")
        return self.process.stdin, self.process.stdout

    def stop(self, *, now: bool) -> None:
        if now:
            self.process.kill()
        stdin, stdout = self._pipes()
        with contextlib.suppress(OSError):
            stdin.close()
        self.process.wait()
        stdout.close()


def _work() -> None:
    """The worker's side of `_Worker`."""
    import cv2

    cv2.setNumThreads(1)
    for line in sys.stdin:
        module, recipe, size, parts, k = json.loads(line)
        try:
            cook, chunks = _planned(module, recipe, size)
            _write(_part(Path(parts), k), pack(cook.make_chunk(chunks[k])))
            answer = "ok"
        except Exception:  # noqa: BLE001 - whatever it is, the parent reports it
            answer = json.dumps(traceback.format_exc(limit=-3))
        sys.stdout.write(answer + "\n")
        sys.stdout.flush()


@lru_cache(maxsize=1)
def _planned(module: str, recipe: str, size: str) -> tuple[Recipe[Any], list[list[Any]]]:
    """A recipe and its plan, which of a large size takes longer than a chunk."""
    kind: type[Recipe[Any]] = getattr(importlib.import_module(module), recipe)
    cook = kind()
    return cook, cook.plan(size)


_crew: list[_Worker] | None = None
"""The workers that wait for the next dataset; None outside of `crew`."""


@contextlib.contextmanager
def crew() -> Iterator[None]:
    """Datasets made in here one after the other share their workers, whose start takes longer than a `smoke` size."""
    global _crew  # noqa: PLW0603 - one of a process, as the processes it holds
    outer, _crew = _crew, []
    try:
        yield
    finally:
        for worker in _crew:
            worker.stop(now=False)
        _crew = outer


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Hold a lock file, so that two processes do not make the same dataset; freed by the system when we die."""
    with lock.open("a") as held:
        if sys.platform != "win32":
            import fcntl

            fcntl.flock(held, fcntl.LOCK_EX)
        yield


def _part(parts: Path, chunk: int) -> Path:
    return parts / f"{chunk:05d}.npz"


def make(recipe: Recipe[Any], size: str, root: Path, progress: Progress, workers: int = 2) -> None:
    """Make a size at ``root`` unless it is there; goes on where an earlier attempt was killed."""
    root.parent.mkdir(parents=True, exist_ok=True)
    with _alone(root.with_name(f"{root.name}.lock")):
        if root.exists():
            return
        partial = root.with_name(f"{root.name}.partial")
        parts = partial / "parts"
        parts.mkdir(parents=True, exist_ok=True)
        for unfinished in parts.glob("*.tmp"):
            unfinished.unlink()
        chunks = recipe.plan(size)
        total = sum(map(len, chunks))
        missing = [k for k in range(len(chunks)) if not _readable(_part(parts, k))]
        done = total - sum(len(chunks[k]) for k in missing)
        progress(done, total)
        for k in _made(recipe, size, parts, missing, workers):
            done += len(chunks[k])
            progress(done, total)
        whole = partial / "whole"
        shutil.rmtree(whole, ignore_errors=True)
        whole.mkdir()
        recipe.assemble(size, (_read(_part(parts, k)) for k in range(len(chunks))), whole)
        _sign(recipe, size, whole)
        whole.rename(root)
        shutil.rmtree(partial)


def _sign(recipe: Recipe[Any], size: str, root: Path) -> None:
    """Write the manifest: which dataset this is, what its size holds, and the sha256 of every file and of what its labels say."""
    files = sorted(p for p in root.rglob("*") if p.is_file())
    hashes = {p.relative_to(root).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
    manifest = {
        "dataset": recipe.name,
        "version": recipe.version,
        "size": size,
        "holds": repr(recipe.sizes[size]),
        **({"labels": labels.kind_hashes(root)} if size in labels.SIZES else {}),
        "sha256": dict(sorted(hashes.items())),
    }
    (root / "manifest.json").write_text(json.dumps(manifest, indent=1))


def _made(recipe: Recipe[Any], size: str, parts: Path, chunks: list[int], workers: int) -> Iterator[int]:
    """Chunks as they are finished by worker processes."""
    if not chunks:
        return
    todo: queue.SimpleQueue[int] = queue.SimpleQueue()
    results: queue.SimpleQueue[int | BaseException] = queue.SimpleQueue()
    for k in chunks:
        todo.put(k)
    waiting = _crew
    pool = [waiting.pop() if waiting else _Worker() for _ in range(min(workers, len(chunks)))]

    def feed(worker: _Worker) -> None:
        try:
            while True:
                k = todo.get_nowait()
                worker.make(recipe, size, parts, k)
                results.put(k)
        except queue.Empty:
            pass
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            results.put(error)

    threads = [threading.Thread(target=feed, args=(w,), daemon=True) for w in pool]
    finished = False
    try:
        for thread in threads:
            thread.start()
        for _ in chunks:
            result = results.get()
            if isinstance(result, BaseException):
                raise result
            yield result
        finished = True
    finally:
        if finished and waiting is not None:
            waiting.extend(pool)
        else:
            for worker in pool:
                worker.stop(now=not finished)
