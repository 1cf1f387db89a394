"""Take a dataset, find its people, anonymize them, count who is left."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dp2bench.core.altered import pictures_altered_by
from dp2bench.core.contracts import Anonymizer, Dataset, Detector, Progress, Scope, no_progress
from dp2bench.core.errors import Dp2benchError, PictureError, writing
from dp2bench.core.files import TEMPORARY, flush_to_disk, write_bytes
from dp2bench.core.hashing import content_sha256
from dp2bench.core.paths import check_distinct
from dp2bench.core.people_io import save_people
from dp2bench.core.seeds import derive_seed
from dp2bench.core.types import Anonymized, Image, Missed, People, Sample, SampleId
from dp2bench.datasets.folder import Folder
from dp2bench.datasets.video import ENCODERS
from dp2bench.metrics.changes import unchanged_people

if TYPE_CHECKING:
    from dp2bench.core.results import Coverage

CHUNK = 16
"""Pictures handed to a detector at once."""
DOUBTFUL = 0.45
"""Score under which a detection is doubtful. A picture whose best person scores less is unlike what its detector learned from."""


def detect(
    dataset: Dataset,
    detector: Detector,
    splits: Sequence[str],
    out: Path,
    progress: Progress = no_progress,
) -> None:
    """People of every readable picture, one file a split. Unreadable pictures are left out here and counted by `anonymize`."""
    finder = detector.for_dataset(dataset)
    total, done = sum(len(dataset.samples(s)) for s in splits), 0

    def found(samples: Sequence[Sample]) -> Iterator[tuple[SampleId, People]]:
        nonlocal done
        for start in range(0, len(samples), CHUNK):
            images: list[Image] = []
            readable: list[Sample] = []
            for sample in samples[start : start + CHUNK]:
                try:
                    images.append(dataset.read(sample))
                    readable.append(sample)
                except PictureError:
                    continue
            for sample, people in zip(readable, finder.detect(images, readable), strict=True):
                yield sample.id, people
            done += len(samples[start : start + CHUNK])
            progress(done, total)

    for split in splits:
        save_people(out / f"{split}.npz", found(dataset.samples(split)))


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


def altering(method: Anonymizer) -> AbstractContextManager[Any]:
    """Pictures written within say how the method altered them; those of a method that changes nothing say nothing."""
    meta = method.meta
    if meta.scope == "none":
        return nullcontext()
    return pictures_altered_by(meta.name, synthesised=bool(meta.weights))


class ResumeLog:
    """The pictures of a folder that are finished, so that the same command goes on where it was stopped, however it was.

    It lies in the folder until that is whole: a line for the settings, and a line a file with the sha256 of its original.

    Args:
        folder: where the anonymized pictures go.
        settings: whatever changes the outcome; a journal of other settings is not gone on from.

    Raises:
        Dp2benchError: the folder holds files, and they are not the beginning of this.

    """

    NAME = ".dp2bench-unfinished.jsonl"

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

    def finish(self, name: str, original: Path, target: Path | None, **noted: Any) -> None:
        """Note that the anonymized version of a file is written; what is noted is on the disk, also after a loss of power.

        Of a file that was refused when it should have been written nothing is noted.
        """
        if target is not None:
            if not target.exists():
                return
            flush_to_disk(target)
        row = {"id": name, "sha256": content_sha256(original), **noted}
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


def anonymized_pictures(
    dataset: Dataset,
    people: Mapping[str, Mapping[str, People]],
    method: Anonymizer,
    run_seed: int,
    counter: CoverageCounter,
    progress: Progress = no_progress,
    journal: ResumeLog | None = None,
    out: Path | None = None,
) -> Iterator[tuple[str, SampleId, Image | None]]:
    """Each readable picture of the splits in ``people``, anonymized. One that cannot be read is counted and never copied through.

    The pages of a file come together, or, where one of them cannot be read, not at all. What the ``journal`` says is finished in ``out``
    is counted and None.
    """
    total, done = sum(len(dataset.samples(s)) for s in people), 0
    for split in people:
        for file in _files(dataset.samples(split)):
            done += len(file)
            progress(done, total)
            name = f"{split}/{file[0].id}"
            if journal is not None and out is not None:
                before = journal.finished(name, file[0].path, dataset.written(out, split, file[0]))
                if before is not None:
                    for sample, row in zip(file, before["pages"], strict=True):
                        _count(counter, split, sample, row)
                        yield split, sample.id, None
                    continue
            try:
                pages = [
                    _anonymize_sample(dataset, people[split], method, run_seed, split, sample)
                    for sample in file
                ]
            except PictureError as error:
                counter.unreadable.append(str(error))
                continue
            for sample, page in zip(file, pages, strict=True):
                _count(counter, split, sample, page.row)
                yield split, sample.id, page.image
            if journal is not None:  # whoever asks for the next picture has written this one
                target = None if out is None else dataset.written(out, split, file[0])
                journal.finish(name, file[0].path, target, pages=[page.row for page in pages])


class _Page(NamedTuple):
    image: Image
    row: dict[str, Any]
    """What is counted: people found, who of them was missed, annotated people whom nobody found."""


def _files(samples: Sequence[Sample]) -> Iterator[list[Sample]]:
    """The pages of each file together; a sample that is no page is alone."""
    start = 0
    while start < len(samples):
        pages = samples[start].labels.get("pages", 1)
        yield list(samples[start : start + pages])
        start += pages


def _anonymize_sample(
    dataset: Dataset,
    people: Mapping[str, People],
    method: Anonymizer,
    run_seed: int,
    split: str,
    sample: Sample,
) -> _Page:
    image = dataset.read(sample)
    found = people[sample.id]
    result = method.anonymize(image, found, seed=derive_seed(run_seed, split, sample.id))
    if result.image.shape != image.shape or result.image.dtype != np.uint8:
        raise Dp2benchError(
            f"The method {method.meta.name} returned {result.image.dtype} {result.image.shape} for {sample.path}, a picture of {image.shape}.",
            "A method must keep size and type; `anonymize` has a defect.",
        )
    annotated = dataset.people(sample)
    missed = [(m.person, m.reason) for m in all_missed(image, result, found, method.meta.scope)]
    undetected = None if annotated is None else unfound_people(annotated, found)
    row = {"found": len(found), "missed": missed, "undetected": undetected, "scores": found.scores.tolist()}
    return _Page(result.image, row)


def _count(counter: CoverageCounter, split: str, sample: Sample, row: Mapping[str, Any]) -> None:
    counter.count(
        split, sample.id, row["found"], [Missed(person, reason) for person, reason in row["missed"]]
    )
    counter.look(sample.id, row["scores"])
    if row["undetected"] is not None:
        counter.undetected = (counter.undetected or 0) + row["undetected"]


def all_missed(image: Image, result: Anonymized, people: People, scope: Scope) -> list[Missed]:
    """Whom the method says it left, and whoever looks as before whatever it says: coverage is measured, not believed."""
    said = {m.person: m for m in result.missed}
    seen = {m.person: m for m in unchanged_people(image, result.image, people, faces=scope == "face")}
    return [(seen | said)[i] for i in sorted(seen | said)]


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
) -> CoverageCounter:
    """Detect and anonymize picture by picture, for those who want the pictures and no benchmark.

    With a ``journal`` it goes on where it was stopped (see `Dataset.written`); who called closes it. Without one, a folder is made
    beside ``out`` and becomes it when it is whole.
    """
    splits = dataset.meta.splits
    check_distinct((f"{split}/{sample.id}" for split in splits for sample in dataset.samples(split)), out)
    finder = detector.for_dataset(dataset)

    class _Found(Mapping[str, People]):
        def __init__(self, split: str) -> None:
            self.samples = {s.id: s for s in dataset.samples(split)}

        def __getitem__(self, name: str) -> People:
            sample = self.samples[SampleId(name)]
            return finder.detect([dataset.read(sample)], [sample])[0]

        def __iter__(self) -> Iterator[str]:
            return iter(self.samples)

        def __len__(self) -> int:
            return len(self.samples)

    counter = CoverageCounter()
    people = {s: _Found(s) for s in splits}
    folder = out
    if journal is not None:
        journal.begin()
    elif not resumable(dataset, out):
        folder = out.with_name(f".{out.name}.partial")
        shutil.rmtree(folder, ignore_errors=True)
    pictures = anonymized_pictures(dataset, people, method, seed, counter, progress, journal, out)
    try:
        with altering(method):
            dataset.rewrite(folder, pictures)
    except Dp2benchError:
        if journal is not None:
            journal.withdraw()
        raise
    if folder != out:
        if out.is_dir():  # empty, or it would have been refused
            out.rmdir()
        folder.replace(out)
    return counter


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
