"""Take a dataset, find its people, anonymize them, count who is left."""

from __future__ import annotations

import json
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dp2bench.core.contracts import Anonymizer, Dataset, Detector, Progress, no_progress
from dp2bench.core.errors import Dp2benchError, PictureError, writing
from dp2bench.core.files import TEMPORARY, flush_to_disk, link_or_copy, write_bytes
from dp2bench.core.hashing import content_sha256
from dp2bench.core.paths import UNFINISHED, check_distinct
from dp2bench.core.people_io import save_people
from dp2bench.core.types import Image, Missed, People, Sample, SampleId
from dp2bench.datasets.folder import Folder
from dp2bench.datasets.video import ENCODERS
from dp2bench.metrics.changes import unchanged_people
from dp2bench.pipelines.stream import (
    Before,
    Done,
    File,
    Part,
    Stream,
    altering,
    anonymize_files,
    count_pictures,
    detect_files,
    files_of,
    found_by,
    unfound_people,
)

if TYPE_CHECKING:
    from dp2bench.core.results import Coverage

DOUBTFUL = 0.45
"""Score under which a detection is doubtful. A picture whose best person scores less is unlike what its detector learned from."""
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
    total, done = count_pictures(dataset, splits, part), 0

    def found(split: str) -> Iterator[tuple[SampleId, People]]:
        nonlocal done
        for file in detect_files(dataset, files_of(dataset, [split], part), find):
            if file.error is not None and not isinstance(file.error, PictureError):
                raise file.error
            if file.error is None:
                for sample, people in zip(file.file.samples, file.people, strict=True):
                    yield sample.id, people
            done += len(file.file.samples)
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
    """How many of those found score less than `DOUBTFUL`."""
    unlike: dict[SampleId, float] = field(default_factory=dict)
    """The best score of each picture with people in which nobody was found without doubt."""
    lost: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Names of the files that have not all their originals have, by what."""
    defects: list[Exception] = field(default_factory=list)
    """Unexpected errors of a method or detector, each in a picture that is left out."""

    def look(self, sample: SampleId, scores: Sequence[float]) -> None:
        """Note how certain the detections of one picture are."""
        self.doubtful += sum(score < DOUBTFUL for score in scores)
        if scores and (best := max(scores)) < DOUBTFUL:
            self.unlike[sample] = best

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

    def add(self, split: str, sample: SampleId, row: Mapping[str, Any]) -> None:
        """Note one picture by its row of `Done.rows`."""
        missed = [Missed(person, reason) for person, reason in row["missed"]]
        self.count(split, sample, row["found"], missed)
        self.look(sample, row["scores"])
        if row["undetected"] is not None:
            self.undetected = (self.undetected or 0) + row["undetected"]

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


class ResumeLog:
    """The pictures of a folder that are finished, so that the same command goes on where it was stopped, however it was.

    It lies in the folder until that is whole: a line for the settings, and a line a file with the sha256 of its original.

    Args:
        folder: where the anonymized pictures go.
        settings: whatever changes the outcome; a journal of other settings is not gone on from.

    Raises:
        Dp2benchError: the folder holds files, and they are not the beginning of this.

    """

    NAME = UNFINISHED

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self._path = folder / self.NAME
        self._folder = folder
        self._lines: dict[str, dict[str, Any]] = {}
        self._head = json.dumps(dict(settings), sort_keys=True, default=str)
        if self._path.exists():
            first, *lines = self._path.read_text("utf-8", "replace").split("\n")
            if first != self._head:
                raise Dp2benchError(
                    f"The folder {folder} was begun with other settings and is not finished.",
                    "Give the command it was begun with, or choose a new folder.",
                )
            for line in lines[:-1]:  # one that has no end was being written when the run was killed
                try:
                    row = json.loads(line)
                except ValueError:  # so was this one, when the machine lost its power
                    continue
                self._lines[row["id"]] = row
        elif folder.is_dir() and any(not path.name.startswith(TEMPORARY) for path in folder.iterdir()):
            raise Dp2benchError(
                f"The folder {folder} is not empty.",
                "Choose a new folder, so that nothing of an earlier run is mixed in.",
            )

    def __len__(self) -> int:
        return len(self._lines)

    def begin(self) -> None:
        """Lay the journal into the folder, before anything else is, and take away what a killed run was writing."""
        with writing(self._path):
            self._folder.mkdir(parents=True, exist_ok=True)
            remove_unfinished(self._folder)
            lines = (self._head, *map(json.dumps, self._lines.values()))
            write_bytes(self._path, "".join(f"{line}\n" for line in lines).encode())

    def finished(self, name: str, original: Path, target: Path | None) -> dict[str, Any] | None:
        """What was noted of a file that is finished and whose original is what it was then; else None."""
        row = self._lines.get(name)
        if row is None or target is None or not target.exists() or row["sha256"] != content_sha256(original):
            return None
        return row

    def finish(self, name: str, sha256: str, target: Path | None, **noted: Any) -> None:
        """Note that the anonymized version of a file is written; what is noted is on the disk, also after a loss of power.

        Args:
            name: of the file.
            sha256: of its original.
            target: what was written; None where it is on the disk already.
            noted: about it.

        """
        if target is not None:
            flush_to_disk(target)
        row = {"id": name, "sha256": sha256, **noted}
        with writing(self._path), self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def withdraw(self) -> None:
        """Leave nothing behind where nothing was written."""
        if not self._lines and {p.name for p in self._folder.iterdir()} == {self.NAME}:
            self._path.unlink()
            self._folder.rmdir()

    def close(self) -> None:
        """The folder is whole."""
        self._path.unlink(missing_ok=True)


def remove_unfinished(folder: Path) -> None:
    """Delete what a killed run was writing to: files that nobody else knows."""
    for path in folder.rglob(f"{TEMPORARY}????????"):
        path.unlink(missing_ok=True)


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

    The pages of a file come together, or, where one of them fails, not at all. What is written already, by the stream or by an earlier
    run of the ``journal`` of ``out``, is counted and comes as None.
    """

    def before(file: File) -> Mapping[str, Any] | None:
        assert journal is not None
        assert out is not None
        first = file.samples[0]
        return journal.finished(file.name, first.path, dataset.written(out, file.split, first))

    total, done = count_pictures(dataset, splits, part), 0
    for one in stream(files_of(dataset, splits, part), before if journal is not None else None):
        split, samples = one.file
        done += len(samples)
        progress(done, total)
        if one.error is not None:
            counter.leave_out(samples[0].path, one.error)
            continue
        for k, (sample, row) in enumerate(zip(samples, one.rows, strict=True)):
            counter.add(split, sample.id, row)
            yield split, sample.id, one.images[k] if one.images else None
        for what in one.lost:
            counter.lost[what].append(samples[0].labels.get("file", samples[0].id))
        if journal is not None and not one.before:
            journal.finish(one.file.name, one.sha256, None, pages=one.rows, lost=one.lost)
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
    splits = dataset.meta.splits
    check_distinct((f"{split}/{sample.id}" for split in splits for sample in dataset.samples(split)), out)
    counter = CoverageCounter()
    folder = out
    if journal is not None:
        journal.begin()
    elif not resumable(dataset, out):
        folder = out.with_name(f".{out.name}.partial")
        shutil.rmtree(folder, ignore_errors=True)

    find = found_by(detector.for_dataset(dataset))

    def here(files: Iterable[File], before: Before | None) -> Iterator[Done]:
        return anonymize_files(
            dataset,
            files,
            find,
            method,
            seed,
            out=folder,
            before=before,
            hashed=before is not None,
            preview=preview,
        )

    stream = here if in_workers is None else in_workers(folder)
    pictures = anonymized_pictures(dataset, splits, stream, counter, progress, journal, folder)
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
    if folder != out:
        if out.is_dir():  # empty, or it would have been refused
            out.rmdir()
        folder.replace(out)
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
    total, done = count_pictures(dataset, splits), 0

    def written() -> Iterator[tuple[str, SampleId, Image | None]]:
        nonlocal done
        for file in files_of(dataset, splits):
            done += len(file.samples)
            progress(done, total)
            target = dataset.written(out, file.split, file.samples[0])
            if target is not None and target.exists():
                for sample in file.samples:
                    yield file.split, sample.id, None

    dataset.rewrite(out, written())


def video_target(path: Path) -> Path:
    """Where the anonymized version of a folder's video goes: its own name, with ``.mkv`` added where the format is not written."""
    return path if path.suffix.lower() in ENCODERS else path.with_name(path.name + ".mkv")


def check_names(folder: Folder, out: Path) -> None:
    """Raises Dp2benchError where two files of a folder would be written to one, before anything is."""
    names = [folder.written(out, "all", s) for s in folder.samples("all") if not s.labels.get("page")]
    for video in folder.listing.videos:
        target = video_target(out / video.relative_to(folder.root))
        names += [target, target.with_name(target.name + ".json")]
    check_distinct((str(name.relative_to(out)) for name in names if name != out), out)


def resumable(dataset: Dataset, out: Path) -> bool:
    """Whether each picture of a dataset is written to a file of its own, so that a `ResumeLog` can say which are finished."""
    first = next(((s, split) for split in dataset.meta.splits for s in dataset.samples(split)), None)
    return first is not None and dataset.written(out, first[1], first[0]) is not None
