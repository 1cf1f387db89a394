"""Take a dataset, find its people, anonymize them, count who is left."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dp2bench.core.contracts import Anonymizer, Dataset, Detector, Progress, Scope, no_progress
from dp2bench.core.errors import Dp2benchError, PictureError, writing
from dp2bench.core.hashing import content_sha256
from dp2bench.core.paths import check_distinct
from dp2bench.core.people_io import save_people
from dp2bench.core.results import Coverage
from dp2bench.core.seeds import derive_seed
from dp2bench.core.types import Anonymized, Image, Missed, People, Sample, SampleId
from dp2bench.metrics.changes import unchanged_people

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

    def look(self, sample: SampleId, people: People) -> None:
        """Note how certain the detections of one picture are."""
        self.doubtful += int((people.scores < DOUBTFUL).sum())
        if len(people) and (best := float(people.scores.max())) < DOUBTFUL:
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
    """The pictures of a folder that are finished, so that the same command goes on where it was stopped.

    It lies in the folder until that is whole: a line for the settings, and a line a picture with the sha256 of its original.

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
        head = json.dumps(dict(settings), sort_keys=True, default=str)
        if self._path.exists():
            first, *lines = self._path.read_text("utf-8").split("\n")
            if first != head:
                raise Dp2benchError(
                    f"The folder {folder} was begun with other settings and is not finished.",
                    "Give the command it was begun with, or choose a new folder.",
                )
            for line in lines[:-1]:  # one that has no end was being written when the run was killed
                row = json.loads(line)
                self._lines[row["id"]] = row
        elif folder.is_dir() and any(folder.iterdir()):
            raise Dp2benchError(
                f"The folder {folder} is not empty.",
                "Choose a new folder, so that nothing of an earlier run is mixed in.",
            )
        self._head = head

    def __len__(self) -> int:
        return len(self._lines)

    def finished(self, sample: Sample) -> tuple[int, list[Missed]] | None:
        """People found and left in a picture that is finished and whose original is what it was then; else None."""
        row = self._lines.get(sample.id)
        if (
            row is None
            or not (self._folder / sample.id).exists()
            or row["sha256"] != content_sha256(sample.path)
        ):
            return None
        return row["found"], [Missed(person, reason) for person, reason in row["missed"]]

    def finish(self, sample: Sample, found: int, missed: Iterable[Missed]) -> None:
        """Note that a picture's anonymized version is written."""
        left = [(m.person, m.reason) for m in missed]
        row = {"id": sample.id, "sha256": content_sha256(sample.path), "found": found, "missed": left}
        with writing(self._path):
            if self._head:  # written anew, without the half of a line that a killed run may have left
                lines = (self._head, *map(json.dumps, self._lines.values()))
                self._path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
                self._head = ""
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")

    def close(self) -> None:
        """The folder is whole."""
        self._path.unlink(missing_ok=True)


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
) -> Iterator[tuple[str, SampleId, Image]]:
    """Each readable picture of the splits in ``people``, anonymized. One that cannot be read is counted and never copied through.

    What the ``journal`` has from an earlier run is counted and left out.
    """
    total, done = sum(len(dataset.samples(s)) for s in people), 0
    for split in people:
        for sample in dataset.samples(split):
            done += 1
            progress(done, total)
            if journal is not None and (before := journal.finished(sample)) is not None:
                counter.count(split, sample.id, *before)
                continue
            try:
                image = dataset.read(sample)
            except PictureError as error:
                counter.unreadable.append(str(error))
                continue
            found = people[split][sample.id]
            result = method.anonymize(image, found, seed=derive_seed(run_seed, split, sample.id))
            if result.image.shape != image.shape or result.image.dtype != np.uint8:
                raise Dp2benchError(
                    f"The method {method.meta.name} returned {result.image.dtype} {result.image.shape} for {sample.path}, a picture of {image.shape}.",
                    "A method must keep size and type; `anonymize` has a defect.",
                )
            missed = _all_missed(image, result, found, method.meta.scope)
            counter.count(split, sample.id, len(found), missed)
            counter.look(sample.id, found)
            annotated = dataset.people(sample)
            if annotated is not None:
                counter.undetected = (counter.undetected or 0) + unfound_people(annotated, found)
            yield split, sample.id, result.image
            if journal is not None:  # whoever asks for the next picture has written this one
                journal.finish(sample, len(found), missed)


def _all_missed(image: Image, result: Anonymized, people: People, scope: Scope) -> list[Missed]:
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

    With a ``journal``, for datasets whose pictures are files of their own and nothing else, it goes on where it was stopped.
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
    dataset.rewrite(
        out,
        anonymized_pictures(
            dataset, {s: _Found(s) for s in splits}, method, seed, counter, progress, journal
        ),
    )
    if journal is not None:
        journal.close()
    return counter
