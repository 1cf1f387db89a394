"""Pictures on their way: read ahead, detected in groups, filled together, written behind. In order, and in bounded memory.

    files -> read (a thread) -> detect (groups of pictures) -> fill (batches across pictures) -> write (a thread) -> `Done`

Each stage asks the one before it for the next file, so that nothing runs further ahead than `AHEAD` files or `BYTES` bytes. What is
written does not depend on who was in a group or a batch. A file that fails is `Done` with its error, and the others go on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from contextvars import copy_context
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from dp2bench.core.altered import pictures_altered_by
from dp2bench.core.contracts import Anonymizer, Dataset, Detector, Scope
from dp2bench.core.errors import Dp2benchError, writing
from dp2bench.core.files import flush_to_disk
from dp2bench.core.hashing import Content, content_of
from dp2bench.core.images import write_image
from dp2bench.core.seeds import derive_seed
from dp2bench.core.types import Anonymized, Image, Missed, People, Sample
from dp2bench.inpainting.filling import Pending, fill_together, nothing_to_fill, requests_of
from dp2bench.metrics.changes import unchanged_people

GROUP = 16
"""Pictures handed to a detector at once, at most."""
AHEAD = 16
"""Files that are read before they are needed, and that wait to be written, at most."""
BYTES = 8 << 20
"""Of pixels in a group, of those that are read ahead, and of those that wait to be written, at most; a single file may be larger."""
Find = Callable[[str, Sequence[Image], Sequence[Sample]], Sequence[People]]
"""Split, pictures and samples to the people of each."""
T = TypeVar("T")
R = TypeVar("R")
Row = Mapping[str, Any]
"""What is counted of a page: people ``found``, how many of them are ``doubtful``, ``unlike`` (the best score, where all are; else None),
(person, reason) of those ``missed``, annotated people ``undetected``. Most rows are the same, so that a journal is read fast.
"""
DOUBTFUL = 0.45
"""Score under which a detection is doubtful. A picture whose best person scores less is unlike what its detector learned from."""
Stream = Callable[[Iterable["File"], bool], Iterator["Done"]]
"""Files on their way, with `Done.original` or without."""


class File(NamedTuple):
    """The pictures of one file: its pages, or the only one."""

    split: str
    samples: tuple[Sample, ...]

    @property
    def name(self) -> str:
        """As `Dataset.places` calls it."""
        return str(self.samples[0].labels.get("file", self.samples[0].id))


Part = tuple[int, int] | None
"""First file and the one after the last, of the files that one speaks of; None for all."""


def files_of(dataset: Dataset, splits: Iterable[str], part: Part = None) -> Iterator[File]:
    """The files of these splits, in order."""
    before = 0
    for split in splits:
        files = dataset.files(split)
        start, end = (0, len(files)) if part is None else (max(0, part[0] - before), part[1] - before)
        for k in range(len(files))[start : max(start, end)]:
            yield File(split, files[k])
        before += len(files)


def count_files(dataset: Dataset, splits: Iterable[str], part: Part = None) -> int:
    """How many there are, without opening any."""
    total = sum(len(dataset.files(split)) for split in splits)
    return total if part is None else len(range(total)[slice(*part)])


@dataclass(frozen=True)
class Done:
    """What became of a file.

    Attributes:
        file: which.
        error: why it was left out; None where it was not.
        original: what it held; None where nobody asked.
        images: of its pages, clear or anonymized; empty where they are written.
        sizes: (H, W) of its pages.
        people: of its pages.
        undetected: annotated people of each page whom nobody found; None where there are no annotations.
        rows: of its pages.
        lost: what the written file has not.

    """

    file: File
    error: Exception | None = None
    original: Content | None = None
    images: tuple[Image, ...] = ()
    sizes: tuple[tuple[int, int], ...] = ()
    people: tuple[People, ...] = ()
    undetected: tuple[int | None, ...] = ()
    rows: tuple[Row, ...] = ()
    lost: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of its pixels."""
        return sum(3 * height * width for height, width in self.sizes)


def map_ahead(function: Callable[[T], R], items: Iterable[T], size: Callable[[R], int]) -> Iterator[R]:
    """``function`` of each item in order, computed by a thread before it is asked for.

    Args:
        function: called in the context of who asks.
        items: asked for in the caller's thread.
        size: bytes of a result; `AHEAD` and `BYTES` say how far ahead the thread goes.

    """
    pool, running, most = ThreadPoolExecutor(1), deque[Future[R]](), 1
    try:
        for item in items:
            running.append(pool.submit(copy_context().run, function, item))
            while running and (len(running) > most or running[0].done()):
                result = running.popleft().result()
                most = max(1, min(AHEAD, BYTES // max(1, size(result))))
                yield result
        while running:
            yield running.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def read_files(dataset: Dataset, files: Iterable[File], *, hashed: bool = False) -> Iterator[Done]:
    """Read files ahead; ``hashed`` with `Done.original`."""

    def read(file: File) -> Done:
        try:
            # before it is read: it may be written to meanwhile
            original = _content_of(file.samples[0].path) if hashed else None
            images = tuple(dataset.read(sample) for sample in file.samples)
        except Exception as error:  # noqa: BLE001 - told by who asks, in order
            return Done(file, error)
        sizes = tuple((image.shape[0], image.shape[1]) for image in images)
        return Done(file, original=original, images=images, sizes=sizes)

    return map_ahead(read, files, lambda done: done.size)


def _content_of(path: Path) -> Content:
    try:
        return content_of(path)
    except OSError:  # who reads it says what is wrong
        return Content("", "")


def find_people(find: Find, files: Iterable[Done]) -> Iterator[Done]:
    """Detect the people in files that are read, in groups of pictures."""
    group: list[Done] = []
    for file in files:
        if group and group[0].file.split != file.file.split:
            yield from _found(find, group)
            group = []
        group.append(file)
        if sum(len(f.images) for f in group) >= GROUP or sum(f.size for f in group) >= BYTES:
            yield from _found(find, group)
            group = []
    if group:
        yield from _found(find, group)


def _found(find: Find, group: list[Done]) -> Iterator[Done]:
    """Files of one split with their people; after a failure one by one."""
    readable = [file for file in group if file.error is None]
    images = [image for file in readable for image in file.images]
    samples = [sample for file in readable for sample in file.file.samples]
    try:
        found = list(find(group[0].file.split, images, samples)) if images else []
        if len(found) != len(images):  # whose people are whose cannot be told
            raise Dp2benchError(
                f"The detector gave people of {len(found)} pictures for {len(images)} ({group[0].file.samples[0].path}).",
                "A detector must answer for every picture; `detect` has a defect.",
            )
    except Exception as error:  # noqa: BLE001 - a third party's detector may raise anything
        if len(group) == 1:
            yield replace(group[0], error=error, images=())
        else:
            for file in group:
                yield from _found(find, [file])
        return
    people = iter(found)
    for file in group:
        yield replace(file, people=tuple(islice(people, len(file.images))))


def found_by(detector: Detector) -> Find:
    """Who looks into the pictures of a stream."""
    return lambda _, images, samples: detector.detect(images, samples)


def found_before(people: Mapping[str, Mapping[str, People]]) -> Find:
    """Whom somebody found in the same pictures before."""
    return lambda split, _, samples: [people[split][sample.id] for sample in samples]


def detect_files(
    dataset: Dataset, files: Iterable[File], find: Find, *, preview: Path | None = None
) -> Iterator[Done]:
    """Files with their people, in order; ``preview`` is a folder for pictures with the people drawn in."""
    for file in find_people(find, read_files(dataset, files)):
        if preview is not None and file.error is None:
            from dp2bench.detection.preview import draw_people, preview_path

            for sample, image, people in zip(file.file.samples, file.images, file.people, strict=True):
                write_image(preview_path(preview, sample.id), draw_people(image, people))
        yield replace(file, images=())


def altering(method: Anonymizer) -> AbstractContextManager[Any]:
    """Pictures written within say how the method altered them; those of a method that changes nothing say nothing."""
    meta = method.meta
    if meta.scope == "none":
        return nullcontext()
    return pictures_altered_by(meta.name, synthesised=bool(meta.weights))


def anonymize_files(
    dataset: Dataset,
    files: Iterable[File],
    find: Find,
    method: Anonymizer,
    run_seed: int,
    *,
    out: Path | None = None,
    hashed: bool = False,
    preview: Path | None = None,
) -> Iterator[Done]:
    """Anonymize files, in order.

    Args:
        dataset: of the files.
        files: which; asked for in the caller's thread.
        find: who finds the people.
        method: who replaces them.
        run_seed: of random methods.
        out: where `Dataset.write` puts them; where the dataset does not write file by file, or None: they come as images.
        hashed: with `Done.original`.
        preview: folder for pictures of before and after.

    Yields:
        Each file. An error that is no `Dp2benchError` is a defect of a detector or method.

    """
    found = find_people(find, read_files(dataset, files, hashed=hashed))

    def counted() -> Iterator[Done]:
        """How many people are annotated and were not found; here, for a dataset's annotations are asked for in one thread."""
        for file in found:
            try:
                known = [dataset.people(sample) for sample in file.file.samples[: len(file.images)]]
                pairs = zip(known, file.people, strict=True)
                undetected = tuple(None if k is None else unfound_people(k, people) for k, people in pairs)
                yield replace(file, undetected=undetected)
            except Exception as error:  # noqa: BLE001 - told by who asks, in order
                yield replace(file, error=error, images=())

    def finish(made: tuple[Done, list[Anonymized]]) -> Done:
        file, pages = made
        try:
            return _finish(file, pages, dataset, method, out, preview)
        except Exception as error:  # noqa: BLE001 - told by who asks, in order
            return Done(file.file, error)

    return map_ahead(finish, _filled(counted(), method, run_seed), lambda done: done.size)


def _filled(
    files: Iterable[Done], method: Anonymizer, run_seed: int
) -> Iterator[tuple[Done, list[Anonymized]]]:
    """Each file with its pages as the method made them; none where there is an error."""

    def pages() -> Iterator[Pending[Done]]:
        for file in files:
            if file.error is not None:
                yield Pending(file, nothing_to_fill(), 0)
                continue
            for image, people, sample in zip(file.images, file.people, file.file.samples, strict=True):
                masks = 0 if people.masks is None else people.masks.nbytes
                seed = derive_seed(run_seed, file.file.split, sample.id)
                yield Pending(file, requests_of(method, image, people, seed), 2 * image.nbytes + masks)

    made: list[Anonymized | Exception] = []
    for file, outcome in fill_together(pages()):
        made.append(outcome)
        if len(made) >= len(file.images):  # of a file with an error one comes, for its place
            errors = [page for page in made if isinstance(page, Exception)]
            good = [page for page in made if not isinstance(page, Exception)]
            yield (replace(file, error=errors[0]), []) if errors else (file, good)
            made = []


def _finish(
    file: Done,
    pages: Sequence[Anonymized],
    dataset: Dataset,
    method: Anonymizer,
    out: Path | None,
    preview: Path | None,
) -> Done:
    """See who is left, and write."""
    if file.error is not None:
        return replace(file, images=(), people=())
    split, samples = file.file
    rows: list[Row] = []
    for k, (sample, page) in enumerate(zip(samples, pages, strict=True)):
        image, people = file.images[k], file.people[k]
        if page.image.shape != image.shape or page.image.dtype != np.uint8:
            raise Dp2benchError(
                f"The method {method.meta.name} returned {page.image.dtype} {page.image.shape} for {sample.path}, "
                f"a picture of {image.shape}.",
                "A method must keep size and type; `anonymize` has a defect.",
            )
        missed = all_missed(image, page, people, method.meta.scope)
        scores = people.scores.tolist()
        rows.append(
            {
                "found": len(people),
                "doubtful": sum(score < DOUBTFUL for score in scores),
                "unlike": best if (best := max(scores, default=1.0)) < DOUBTFUL else None,
                "missed": [(m.person, m.reason) for m in missed],
                "undetected": file.undetected[k],
            }
        )
        if preview is not None:
            from dp2bench.detection.preview import before_and_after, preview_path

            reasons = {m.person: m.reason for m in missed}
            shown = before_and_after(image, people, page.image, reasons)
            write_image(preview_path(preview, sample.id), shown)
    done = Done(file.file, original=file.original, sizes=file.sizes, rows=tuple(rows))
    images = tuple(page.image for page in pages)
    target = None if out is None else dataset.written(out, split, samples[0])
    if out is None or target is None:
        return replace(done, images=images)
    lost = dataset.write(out, split, samples, images)
    if file.original is not None:  # a journal will note it
        with writing(target):
            flush_to_disk(target)
    return replace(done, lost=lost)


def all_missed(image: Image, result: Anonymized, people: People, scope: Scope) -> list[Missed]:
    """Whom the method says it left, and whoever looks as before whatever it says: coverage is measured, not believed."""
    said = {m.person: m for m in result.missed}
    seen = {m.person: m for m in unchanged_people(image, result.image, people, faces=scope == "face")}
    return [(seen | said)[i] for i in sorted(seen | said)]


def unfound_people(annotated: People, found: People) -> int:
    """Annotated people of whose box less than half lies in any single found box: nobody will anonymize them."""
    if not len(annotated):
        return 0
    if not len(found):
        return len(annotated)
    a, f = annotated.boxes[:, None], found.boxes[None]
    size = np.clip(np.minimum(a[..., 2:], f[..., 2:]) - np.maximum(a[..., :2], f[..., :2]), 0, None)
    area = np.maximum((a[..., 2] - a[..., 0]) * (a[..., 3] - a[..., 1]), 1e-6)
    return int(((size[..., 0] * size[..., 1] / area).max(1) < 0.5).sum())
