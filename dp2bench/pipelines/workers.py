"""Streams of pictures in several processes: each makes its own dataset, detector and method once, and takes the next file when it can."""

from __future__ import annotations

import pickle
import queue
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dp2bench.core import registry
from dp2bench.core.contracts import Anonymizer, Dataset, Detector
from dp2bench.core.credentials import Credentials, signing_with
from dp2bench.core.errors import Dp2benchError
from dp2bench.core.workers import Channel, Worker, WorkerDied
from dp2bench.pipelines.stream import (
    Done,
    File,
    Stream,
    altering,
    anonymize_files,
    detect_files,
    found_by,
)


@dataclass(frozen=True)
class Component:
    """A plug-in as plain data, so that every process can make its own."""

    kind: registry.Kind
    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def make(self) -> Any:
        """The plug-in."""
        return registry.create(self.kind, self.name, self.arguments)


@dataclass(frozen=True)
class Job:
    """What is done with the pictures of a dataset, as plain data.

    Attributes:
        dataset: the pictures.
        detector: who finds the people.
        method: who replaces them; None where they are only to be found.
        watermark: key of the mark in what is replaced; None for none.
        credentials: what written files are signed with; None for nothing.
        seed: of random methods.
        out: see `anonymize_files`.
        preview: folder for pictures with the people drawn in.

    """

    dataset: Component
    detector: Component
    method: Component | None = None
    watermark: str | None = field(default=None, repr=False)
    credentials: Credentials | None = field(default=None, repr=False)
    seed: int = 0
    out: Path | None = None
    preview: Path | None = None

    def make_method(self) -> Anonymizer:
        """Who replaces people."""
        assert self.method is not None
        method: Anonymizer = self.method.make()
        if self.watermark is None:
            return method
        from dp2bench.inpainting.watermark import Watermarked

        return Watermarked(method, self.watermark)

    def stream(self, files: Iterable[File], *, hashed: bool) -> Iterator[Done]:
        """Do it, in this process."""
        dataset: Dataset = self.dataset.make()
        detector: Detector = self.detector.make()
        find = found_by(detector.for_dataset(dataset))
        if self.method is None:
            yield from detect_files(dataset, files, find, preview=self.preview)
            return
        method = self.make_method()
        with signing_with(self.credentials), altering(method):
            yield from anonymize_files(
                dataset, files, find, method, self.seed, out=self.out, hashed=hashed, preview=self.preview
            )


def in_workers(job: Job, workers: int, threads: int) -> Stream:
    """The stream of a job in so many processes of so many threads, file by file to whoever is free; what comes is in order."""

    def stream(files: Iterable[File], hashed: bool = False) -> Iterator[Done]:
        source = _Source(files, hashed=hashed)
        pool: list[Worker] = []
        finished = False
        try:
            for number in range(workers):
                pool.append(Worker(_serve, threads, number))
                threading.Thread(target=_feed, args=(pool[-1], job, source), daemon=True).start()
            yield from source.results(workers)
            finished = True
        finally:
            for worker in pool:
                worker.stop(now=not finished)

    return stream


class _Source:
    """The files, each handed to one worker, and their results in order."""

    def __init__(self, files: Iterable[File], *, hashed: bool) -> None:
        self._files, self.hashed = enumerate(files), hashed
        self._taking = threading.Lock()
        self.done: queue.SimpleQueue[tuple[int, Done] | BaseException | None] = queue.SimpleQueue()

    def take(self) -> tuple[int, File] | None:
        """The next file, with its number."""
        with self._taking:
            return next(self._files, None)

    def results(self, workers: int) -> Iterator[Done]:
        """Every file in order, until all workers have ended."""
        early: dict[int, Done] = {}
        number = 0
        while workers:
            result = self.done.get()
            if isinstance(result, BaseException):
                raise result
            if result is None:
                workers -= 1
                continue
            early[result[0]] = result[1]
            while number in early:
                yield early.pop(number)
                number += 1


def _feed(worker: Worker, job: Job, source: _Source) -> None:
    """Give a worker files, and take what it made of them, in the thread that listens to it."""
    given: deque[tuple[int, File]] = deque()
    try:
        worker.send((job, source.hashed))
        while (message := worker.receive()) is not None:
            if isinstance(message, Done):
                source.done.put((given.popleft()[0], message))
            elif isinstance(message, BaseException):
                raise message
            else:
                taken = source.take()
                if taken is not None:
                    given.append(taken)
                worker.send(None if taken is None else taken[1])
        if given:  # nobody would learn what became of them
            raise RuntimeError(f"a worker ended without a word of {_names(given)}")
        source.done.put(None)
    except WorkerDied:
        advice = "Run the same command again" + (": it goes on where it stopped." if job.method else ".")
        source.done.put(worker.died(_names(given) or "its start", advice))
    except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
        source.done.put(error)


def _names(given: Iterable[tuple[int, File]]) -> str:
    return ", ".join(file.samples[0].id for _, file in given)


def _serve(channel: Channel) -> None:
    """The worker's side of `_feed`: asks for a file, tells what became of one, None at the end, or why it cannot work."""
    job, hashed = channel.receive()

    def files() -> Iterator[File]:
        while True:
            channel.send(_NEXT)
            file = channel.receive()
            if file is None:
                return
            yield file

    try:
        for done in job.stream(files(), hashed=hashed):
            channel.send(done if done.error is None else replace(done, error=_portable(done.error)))
    except WorkerDied:
        raise
    except Exception as error:  # noqa: BLE001 - told by the one that we work for
        channel.send(_portable(error))
    channel.send(None)


_NEXT = "next"


def _portable(error: Exception) -> Exception:
    """The error, or one that says the same, where it does not survive the way to another process."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    except Exception:  # noqa: BLE001 - an error may be of any make
        if isinstance(error, Dp2benchError):
            return Dp2benchError(error.problem, error.remedy)
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
