"""Take a dataset, find its people, anonymize them, count who is left."""

from __future__ import annotations

import shutil
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dp2bench.core.contracts import Anonymizer, Dataset, Detector, Progress, no_progress
from dp2bench.core.errors import Dp2benchError, PictureError
from dp2bench.core.files import link_or_copy
from dp2bench.core.lazy import Again
from dp2bench.core.locks import alone_in
from dp2bench.core.paths import check_distinct
from dp2bench.core.people_io import save_people
from dp2bench.core.types import Image, Missed, People, Sample, SampleId, page_ids
from dp2bench.datasets.folder import Folder
from dp2bench.datasets.video import ENCODERS
from dp2bench.metrics.changes import unchanged_people
from dp2bench.pipelines.resume_log import ResumeLog, remove_unfinished
from dp2bench.pipelines.stream import (
    Done,
    File,
    Part,
    Row,
    Stream,
    altering,
    anonymize_files,
    count_files,
    detect_files,
    files_of,
    found_by,
    unfound_people,
)

if TYPE_CHECKING:
    from dp2bench.core.results import Coverage

FAILURES = 8
"""Files in which a method or detector may fail unexpectedly, one after the other from the first: then it has a defect, and the run ends."""


def detect(
    dataset: Dataset,
    detector: Detector,
    splits: Sequence[str],
    out: Path,
    progress: Progress = no_progress,
    part: Part = None,
) -> None:
    """People of every readable picture, one file a split. Unreadable pictures are left out here and counted by `anonymize`."""
    find = found_by(detector.for_dataset(dataset))
    total, done = count_files(dataset, splits, part), 0

    def found(split: str) -> Iterator[tuple[SampleId, People]]:
        nonlocal done
        for file in detect_files(dataset, files_of(dataset, [split], part), find):
            if file.error is not None and not isinstance(file.error, PictureError):
                raise file.error
            if file.error is None:
                for sample, people in zip(file.file.samples, file.people, strict=True):
                    yield sample.id, people
            done += 1
            progress(done, total)

    for split in splits:
        save_people(out / f"{split}.npz", found(split))


@dataclass
class CoverageCounter:
    """Counts what became of people while pictures go by; `coverage` is the sum."""

    pictures: int = 0
    found: int = 0
    missed: Counter[str] = field(default_factory=Counter)
    empty: int = 0
    undetected: int | None = None
    unreadable: list[str] = field(default_factory=list)
    left: dict[str, dict[str, dict[int, str]]] = field(default_factory=dict)
    """Who was found and left: reason by person index, by split and sample id."""
    doubtful: int = 0
    """How many of those found are doubtful."""
    unlike: dict[SampleId, float] = field(default_factory=dict)
    """The best score of each picture with people in which nobody was found without doubt."""
    lost: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Names of the files that have not all their originals have, by what."""
    defects: list[Exception] = field(default_factory=list)
    """Unexpected errors of a method or detector, each in a picture that is left out."""

    def count(self, split: str, sample: SampleId, found: int, missed: Iterable[Missed] = ()) -> None:
        """Note one picture, how many people were found in it, and who of them was left."""
        self.pictures += 1
        self.found += found
        self.empty += found == 0
        self.leave(split, sample, missed)

    def leave(self, split: str, sample: SampleId, missed: Iterable[Missed]) -> None:
        """Note the people of one picture who were found and left."""
        reasons = {m.person: m.reason for m in missed}
        if reasons:
            self.missed.update(reasons.values())
            self.left.setdefault(split, {})[sample] = reasons

    def add(self, split: str, name: str, rows: Sequence[Row], lost: Sequence[str]) -> list[SampleId]:
        """Note the pages of a file by `Done.rows` and `Done.lost`; their ids."""
        pages = page_ids(name, len(rows))
        for k, row in enumerate(rows):
            found = row["found"]
            self.pictures += 1
            self.found += found
            if not found:
                self.empty += 1
            if row["missed"]:
                self.leave(split, pages[k], [Missed(*who) for who in row["missed"]])
            if row["doubtful"]:
                self.doubtful += row["doubtful"]
            if row["unlike"] is not None:
                self.unlike[pages[k]] = row["unlike"]
            if row["undetected"] is not None:
                self.undetected = (self.undetected or 0) + row["undetected"]
        for what in lost:
            self.lost[what].append(name)
        return pages

    def leave_out(self, path: Path, error: Exception) -> None:
        """Note a file that failed. Raises the error where it would be the same in every file."""
        if isinstance(error, PictureError):
            self.unreadable.append(str(error))
            return
        if isinstance(error, Dp2benchError):
            raise error
        self.defects.append(error)
        self.unreadable.append(f"The picture {path} is left out: {type(error).__name__}: {error}.")
        if len(self.defects) == FAILURES:
            self.check_any()

    def check_any(self) -> None:
        """Raises an unexpected error where there were such and no picture came through: then it is no matter of single pictures."""
        if self.defects and not self.pictures:
            raise self.defects[0]

    def noted(self) -> dict[str, Any]:
        """All that was counted, as JSON."""
        return {name: value for name, value in vars(self).items() if name != "defects"}

    def include(self, noted: Mapping[str, Any]) -> None:
        """Add what another one `noted`."""
        for name in ("pictures", "found", "empty", "doubtful"):
            setattr(self, name, getattr(self, name) + noted[name])
        if noted["undetected"] is not None:
            self.undetected = (self.undetected or 0) + noted["undetected"]
        self.missed.update(noted["missed"])
        self.unreadable += noted["unreadable"]
        self.unlike.update(noted["unlike"])
        for split, pictures in noted["left"].items():
            for sample, people in pictures.items():
                self.left.setdefault(split, {})[sample] = {int(i): why for i, why in people.items()}
        for what, names in noted["lost"].items():
            self.lost[what] += names

    def coverage(self) -> Coverage:
        """The counts as they are printed beside scores."""
        from dp2bench.core.results import Coverage

        missed = sum(self.missed.values())
        return Coverage(
            pictures=self.pictures,
            found=self.found,
            anonymized=self.found - missed,
            missed=missed,
            missed_reasons=dict(sorted(self.missed.items())),
            pictures_without_detection=self.empty,
            undetected=self.undetected,
            unreadable=len(self.unreadable),
        )


def anonymized_pictures(
    dataset: Dataset,
    splits: Sequence[str],
    stream: Stream,
    counter: CoverageCounter,
    progress: Progress = no_progress,
    journal: ResumeLog | None = None,
    out: Path | None = None,
    part: Part = None,
) -> Generator[tuple[str, SampleId, Image | None]]:
    """Each readable picture of these splits, anonymized, for `Dataset.rewrite`. One that fails is counted and never copied through.

    The pages of a file come together, or, where one of them fails, not at all. What is written already is counted and comes as None:
    first what an earlier run of the ``journal`` of ``out`` finished, then what the stream writes.
    """
    total, done = count_files(dataset, splits, part), 0
    files = files_of(dataset, splits, part)
    if journal is not None and len(journal):
        assert out is not None
        left = {split: array("Q") for split in splits}
        for split in splits:
            for k, (name, original, copy) in enumerate(dataset.places(out, split)):
                noted = journal.finished(f"{split}/{name}", original, copy)
                if noted is None:
                    left[split].append(k)
                    continue
                done += 1
                if not done % 1000:
                    progress(done, total)
                for page in counter.add(split, name, noted["pages"], noted["lost"]):
                    yield split, page, None
        every = {split: dataset.files(split) for split in splits}
        files = (File(split, every[split][k]) for split in splits for k in left[split])
    for one in stream(files, journal is not None):
        split, samples = one.file
        done += 1
        progress(done, total)
        if one.error is not None:
            counter.leave_out(samples[0].path, one.error)
            continue
        for k, page in enumerate(counter.add(split, one.file.name, one.rows, one.lost)):
            yield split, page, one.images[k] if one.images else None
        if journal is not None:
            assert one.original is not None
            journal.finish(f"{split}/{one.file.name}", one.original, None, pages=one.rows, lost=one.lost)
    counter.check_any()


def measured_coverage(
    clear: Dataset,
    anonymized: Dataset,
    people: Mapping[str, Mapping[str, People]],
    progress: Progress = no_progress,
) -> CoverageCounter:
    """Coverage of a folder that another tool made, in the splits of ``people``: by looking, as `unchanged_people` does."""
    counter = CoverageCounter()
    for split in people:
        others: dict[SampleId, Sample] = {s.id: s for s in anonymized.samples(split)}
        samples = clear.samples(split)
        for done, sample in enumerate(samples, 1):
            progress(done, len(samples))
            if sample.id not in others:
                continue
            try:
                before, after = clear.read(sample), anonymized.read(others[sample.id])
            except PictureError as error:
                counter.unreadable.append(str(error))
                continue
            found = people[split][sample.id]
            found.check_image_size((before.shape[0], before.shape[1]))
            counter.count(split, sample.id, len(found))
            if before.shape != after.shape:
                other = "the anonymized picture has another size"
                counter.leave(split, sample.id, [Missed(i, other) for i in range(len(found))])
                continue
            counter.leave(split, sample.id, unchanged_people(before, after, found))
            annotated = clear.people(sample)
            if annotated is not None:
                counter.undetected = (counter.undetected or 0) + unfound_people(annotated, found)
    return counter


def anonymize_dataset(
    dataset: Dataset,
    detector: Detector,
    method: Anonymizer,
    out: Path,
    seed: int,
    progress: Progress = no_progress,
    journal: ResumeLog | None = None,
    preview: Path | None = None,
    in_workers: Callable[[Path], Stream] | None = None,
) -> CoverageCounter:
    """Detect and anonymize, for those who want the pictures and no benchmark.

    With a ``journal`` it goes on where it was stopped (see `Dataset.written`); who called closes it. Without one, a folder is made
    beside ``out`` and becomes it when it is whole.

    Args:
        dataset: the pictures.
        detector: who finds the people.
        method: who replaces them.
        out: where the copy goes.
        seed: of random methods.
        progress: told of each file.
        journal: of ``out``.
        preview: folder for pictures of before and after.
        in_workers: the stream to a folder that does the same in other processes; None to do it in this one.

    """
    check_names(dataset, out)
    if journal is not None:
        with alone_in(out):
            journal.begin()
            return _written(dataset, detector, method, out, seed, progress, journal, preview, in_workers)
    if resumable(dataset, out):
        return _written(dataset, detector, method, out, seed, progress, None, preview, in_workers)
    folder = out.with_name(f".{out.name}.partial")
    with alone_in(folder):
        for left in folder.iterdir():  # of a killed run
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        counter = _written(dataset, detector, method, folder, seed, progress, None, preview, in_workers)
        if out.is_dir():  # empty, or it would have been refused
            out.rmdir()
        folder.replace(out)
    return counter


def _written(
    dataset: Dataset,
    detector: Detector,
    method: Anonymizer,
    folder: Path,
    seed: int,
    progress: Progress,
    journal: ResumeLog | None,
    preview: Path | None,
    in_workers: Callable[[Path], Stream] | None,
) -> CoverageCounter:
    """The work of `anonymize_dataset` on a folder that it has for itself."""
    counter = CoverageCounter()
    find = found_by(detector.for_dataset(dataset))

    def here(files: Iterable[File], hashed: bool) -> Iterator[Done]:
        return anonymize_files(dataset, files, find, method, seed, out=folder, hashed=hashed, preview=preview)

    stream = here if in_workers is None else in_workers(folder)
    pictures = anonymized_pictures(dataset, dataset.meta.splits, stream, counter, progress, journal, folder)
    try:
        with altering(method):
            dataset.rewrite(folder, pictures)
    except BaseException as error:
        pictures.close()  # ends the workers
        if journal is not None and in_workers is not None:
            remove_unfinished(folder)
        if journal is not None and isinstance(error, Dp2benchError):
            journal.withdraw()
        raise
    return counter


def joined_copy(
    dataset: Dataset,
    splits: Sequence[str],
    parts: Sequence[Path],
    out: Path,
    progress: Progress = no_progress,
) -> None:
    """Put the pictures of ``parts`` together as the copy that `Dataset.rewrite` makes of them all; hard links where the disk allows."""
    for part in parts:
        for source in part.rglob("*"):
            if source.is_file():
                link_or_copy(source, out / source.relative_to(part))
    total, done = count_files(dataset, splits), 0

    def written() -> Iterator[tuple[str, SampleId, Image | None]]:
        nonlocal done
        for file in files_of(dataset, splits):
            done += 1
            progress(done, total)
            target = dataset.written(out, file.split, file.samples[0])
            if target is not None and target.exists():
                for sample in file.samples:
                    yield file.split, sample.id, None

    dataset.rewrite(out, written())


def video_target(path: Path) -> Path:
    """Where the anonymized version of a folder's video goes: its own name, with ``.mkv`` added where the format is not written."""
    return path if path.suffix.lower() in ENCODERS else path.with_name(path.name + ".mkv")


def check_names(dataset: Dataset, out: Path) -> None:
    """Raises Dp2benchError where two files of a dataset or folder would be written to one, before anything is."""

    def names() -> Iterator[str]:
        if not isinstance(dataset, Folder):
            for split in dataset.meta.splits:
                yield from (f"{split}/{name}" for name, _, _ in dataset.places(out, split))
            return
        yield from dataset.listing.pictures.names()
        for name in dataset.listing.videos.names():
            target = video_target(Path(name)).as_posix()
            yield from (target, f"{target}.json")

    check_distinct(Again(names), out)


def resumable(dataset: Dataset, out: Path) -> bool:
    """Whether each picture of a dataset is written to a file of its own, so that a `ResumeLog` can say which are finished."""
    places = (place for split in dataset.meta.splits for place in dataset.places(out, split))
    first = next(places, None)
    return first is not None and first[2] is not None
