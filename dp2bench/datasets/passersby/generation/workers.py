"""The processes that render chunks of a dataset, and can be killed at any time."""

from __future__ import annotations

import contextlib
import queue
import threading
import traceback
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from dp2bench.core.errors import DatasetError
from dp2bench.core.machine import default_workers
from dp2bench.core.workers import Channel, Worker, WorkerDied
from dp2bench.datasets.passersby.generation.builder import DatasetBuilder
from dp2bench.datasets.passersby.generation.chunks import chunk_file, pack_arrays, write_whole


def _make(worker: Worker, builder: DatasetBuilder[Any], size: str, parts: Path, chunk: int) -> None:
    """Have a worker make a chunk."""
    try:
        worker.send((type(builder), size, parts, chunk))
        failed = worker.receive()
    except WorkerDied:
        failed = f"it ended with exit status {worker.process.wait()}"
    if failed:
        raise DatasetError(
            f"A worker that renders pictures failed: {failed}",
            "Run the command again: it goes on where it stopped.",
        )


def _work(channel: Channel) -> None:
    """The worker's side of `_make`."""
    while True:
        kind, size, parts, k = channel.receive()
        try:
            builder, chunks = _planned(kind, size)
            write_whole(chunk_file(parts, k), pack_arrays(builder.make_chunk(chunks[k])))
            failed = ""
        except Exception:  # noqa: BLE001 - whatever it is, the parent reports it
            failed = traceback.format_exc(limit=-3)
        channel.send(failed)


@lru_cache(maxsize=1)
def _planned(kind: type[DatasetBuilder[Any]], size: str) -> tuple[DatasetBuilder[Any], list[list[Any]]]:
    """A builder and its plan, which of a large size takes longer than a chunk."""
    builder = kind()
    return builder, builder.plan(size)


_idle: list[Worker] | None = None
"""The workers that wait for the next dataset; None outside of `shared_workers`."""
_most: int | None = None
"""Workers at once, at most; None for those that the machine has room for."""


@contextlib.contextmanager
def shared_workers(most: int | None = None) -> Iterator[None]:
    """Datasets made in here one after the other share their workers, whose start takes longer than a `smoke` size; so many at ``most``."""
    global _idle, _most
    outer, (_idle, _most) = (_idle, _most), ([], most)
    try:
        yield
    finally:
        for worker in _idle:
            worker.stop(now=False)
        _idle, _most = outer


def make_chunks(builder: DatasetBuilder[Any], size: str, parts: Path, chunks: list[int]) -> Iterator[int]:
    """Make chunks of a plan, by their numbers, in the folder ``parts``; yields each number when its file is there."""
    if not chunks:
        return
    todo: queue.SimpleQueue[int] = queue.SimpleQueue()
    results: queue.SimpleQueue[int | BaseException] = queue.SimpleQueue()
    for k in chunks:
        todo.put(k)
    idle = _idle
    workers = min(_most or default_workers(), len(chunks))
    pool = [idle.pop() if idle else Worker(_work) for _ in range(workers)]

    def feed(worker: Worker) -> None:
        try:
            while True:
                k = todo.get_nowait()
                _make(worker, builder, size, parts, k)
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
