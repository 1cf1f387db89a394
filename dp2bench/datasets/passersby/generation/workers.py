"""The processes that render chunks of a dataset, and can be killed at any time."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import queue
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from dp2bench.core.errors import DatasetError
from dp2bench.datasets.passersby.generation.builder import DatasetBuilder
from dp2bench.datasets.passersby.generation.chunks import chunk_file, pack_arrays, write_whole


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

    def make(self, builder: DatasetBuilder[Any], size: str, parts: Path, chunk: int) -> None:
        stdin, stdout = self._pipes()
        kind = type(builder)
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
        module, kind, size, parts, k = json.loads(line)
        try:
            builder, chunks = _planned(module, kind, size)
            write_whole(chunk_file(Path(parts), k), pack_arrays(builder.make_chunk(chunks[k])))
            answer = "ok"
        except Exception:  # noqa: BLE001 - whatever it is, the parent reports it
            answer = json.dumps(traceback.format_exc(limit=-3))
        sys.stdout.write(answer + "\n")
        sys.stdout.flush()


@lru_cache(maxsize=1)
def _planned(module: str, kind: str, size: str) -> tuple[DatasetBuilder[Any], list[list[Any]]]:
    """A builder and its plan, which of a large size takes longer than a chunk."""
    builder: DatasetBuilder[Any] = getattr(importlib.import_module(module), kind)()
    return builder, builder.plan(size)


_idle: list[_Worker] | None = None
"""The workers that wait for the next dataset; None outside of `shared_workers`."""


@contextlib.contextmanager
def shared_workers() -> Iterator[None]:
    """Datasets made in here one after the other share their workers, whose start takes longer than a `smoke` size."""
    global _idle  # noqa: PLW0603 - one of a process, as the processes it holds
    outer, _idle = _idle, []
    try:
        yield
    finally:
        for worker in _idle:
            worker.stop(now=False)
        _idle = outer


def make_chunks(
    builder: DatasetBuilder[Any], size: str, parts: Path, chunks: list[int], workers: int
) -> Iterator[int]:
    """Make chunks of a plan, by their numbers, in the folder ``parts``; yields each number when its file is there."""
    if not chunks:
        return
    todo: queue.SimpleQueue[int] = queue.SimpleQueue()
    results: queue.SimpleQueue[int | BaseException] = queue.SimpleQueue()
    for k in chunks:
        todo.put(k)
    idle = _idle
    pool = [idle.pop() if idle else _Worker() for _ in range(min(workers, len(chunks)))]

    def feed(worker: _Worker) -> None:
        try:
            while True:
                k = todo.get_nowait()
                worker.make(builder, size, parts, k)
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
        if finished and idle is not None:
            idle.extend(pool)
        else:
            for worker in pool:
                worker.stop(now=not finished)
