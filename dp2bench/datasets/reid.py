"""What the datasets of re-identification share: boxes of people, each of an identity and a camera."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, TypeVar

from dp2bench.core.contracts import Dataset, DatasetMeta
from dp2bench.core.errors import DatasetError
from dp2bench.core.images import is_picture_name, write_image
from dp2bench.core.types import Image, Sample, SampleId

JUNK = -1
"""Identity of gallery pictures that count neither as right nor as wrong."""
DISTRACTOR = 0
"""Identity of gallery pictures that show nobody of the query."""
TEST_IDENTITIES = 10_000
"""After which the identities of query and gallery begin, where a dataset numbers those of training and test apart."""
FOLDERS = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}
"""Folder of each split, as Market-1501 names them and many after it."""
Self = TypeVar("Self", bound="ReidDataset")


class ReidDataset(Dataset):
    """Pictures of ``train``, ``query`` and ``gallery``. Labels of a sample: at least ``identity`` and ``camera``.

    Identities are numbers above `DISTRACTOR`; the same number is the same person in every split.

    Args:
        meta: of the dataset.
        root: that holds its folders.
        official: whether `verify` compares the number of pictures and identities with the published ones.

    """

    needs_root: ClassVar[bool] = True
    get_it: str
    """What errors tell people to do who lack a part of it."""
    expected_counts: ClassVar[Mapping[str, tuple[int, int]] | None] = None
    """Published number of files and of identities (without junk and distractors) a split; None to check neither."""

    def __init__(self, meta: DatasetMeta, root: Path, *, official: bool) -> None:
        self.meta, self.root, self.official = meta, root, official
        self._samples: dict[str, tuple[Sample, ...]] = {}

    @abstractmethod
    def folders(self) -> Sequence[str]:
        """Folders of pictures below the root."""

    @abstractmethod
    def label_files(self) -> Sequence[str]:
        """Files below the root that say who is who, where names of pictures do not."""

    @abstractmethod
    def _read(self, split: str) -> Iterable[Sample]:
        """The samples of a known split, sorted by name."""

    @abstractmethod
    def written(self, out: Path, split: str, sample: Sample) -> Path:
        """See `Dataset.written`."""

    def samples(self, split: str) -> Sequence[Sample]:
        """The pictures of a split sorted by name, junk included."""
        if split not in self.meta.splits:
            raise DatasetError(
                f"{self.meta.name} has no split {split!r}.", f"Choose one of {', '.join(self.meta.splits)}."
            )
        if split not in self._samples:
            self._samples[split] = tuple(self._read(split))
        return self._samples[split]

    def pictures_in(self, folder: str) -> list[str]:
        """Names of the pictures in one of `folders`, however deep, relative to it and sorted.

        Raises:
            DatasetError: there is no such folder.

        """
        whole = self.root / folder
        if not whole.is_dir():
            raise DatasetError(f"{self.meta.name} lacks the folder {whole}.", self.get_it)
        return sorted(
            Path(place, name).relative_to(whole).as_posix()
            for place, _, names in os.walk(whole)
            for name in names
            if is_picture_name(Path(name))
        )

    def verify(self) -> None:
        """Check folders, names, queries without an answer and, for the official dataset, counts.

        Raises:
            DatasetError: says what is missing and where to get it.

        """
        named = f"{self.meta.name} at {self.root}"
        absent = [folder for folder in self.folders() if not (self.root / folder).is_dir()]
        absent += [file for file in self.label_files() if not (self.root / file).is_file()]
        if absent:
            raise DatasetError(f"{named} lacks {', '.join(absent)}.", self.get_it)
        if empty := [split for split in self.meta.splits if not self.samples(split)]:
            raise DatasetError(
                f"{named} has no pictures in {', '.join(map(self._place, empty))}.", self.get_it
            )
        if self.official and (problems := self._miscounted()):
            raise DatasetError(f"{named} is not complete: {'; '.join(problems)}.", self.get_it)
        if unanswered := self._unanswered():
            shown = ", ".join(f"{identity:04d}" for identity in unanswered[:10])
            raise DatasetError(
                f"{named}: {len(unanswered)} query identities have no picture of another "
                f"camera in {self._place('gallery')}: {shown}{', ...' if len(unanswered) > 10 else ''}.",
                f"Add their gallery pictures or remove their queries. {self.get_it}",
            )

    def _place(self, split: str) -> str:
        """What people call a split: its folder, or its list."""
        return split

    def _counted(self, split: str) -> Sequence[Sample]:
        """The samples that published numbers count."""
        return self.samples(split)

    def _expected(self) -> Mapping[str, tuple[int, int]]:
        """Published number of files and of identities a split."""
        return self.expected_counts or {}

    def _miscounted(self) -> list[str]:
        problems = []
        for split, (files, people) in self._expected().items():
            samples = self._counted(split)
            identities = {s.labels["identity"] for s in samples} - {JUNK, DISTRACTOR}
            if (len(samples), len(identities)) != (files, people):
                problems.append(
                    f"{self._place(split)} has {len(samples):,} pictures of {len(identities):,} identities "
                    f"instead of {files:,} of {people:,}"
                )
        return problems

    def _unanswered(self) -> list[int]:
        cameras: dict[int, set[int]] = {}
        for sample in self.samples("gallery"):
            cameras.setdefault(sample.labels["identity"], set()).add(sample.labels["camera"])
        asked, answered = set(), set()
        for sample in self.samples("query"):
            identity = sample.labels["identity"]
            asked.add(identity)
            if cameras.get(identity, set()) - {sample.labels["camera"]}:
                answered.add(identity)
        return sorted(asked - answered)

    def rewrite(self: Self, out: Path, images: Iterable[tuple[str, SampleId, Image | None]]) -> Self:
        """A copy with these pictures: same folders, names and labels; what is not handed over is left out.

        Raises:
            DatasetError: a picture is not one of this dataset, or ``out`` holds pictures that were not handed over.

        """
        out = Path(out)
        if out.resolve() == self.root.resolve():
            raise DatasetError(f"{out} is the dataset itself.", "Write the copy to another folder.")
        for folder in self.folders():
            (out / folder).mkdir(parents=True, exist_ok=True)
        self._write_labels(out)
        known: dict[str, dict[SampleId, Sample]] = {}
        handed: set[Path] = set()
        for split, sample_id, image in images:
            if split not in known:
                known[split] = {sample.id: sample for sample in self.samples(split)}
            if sample_id not in known[split]:
                raise DatasetError(
                    f"{self.meta.name} has no picture {sample_id} in {split}.",
                    "Hand over ids of its samples.",
                )
            path = self.written(out, split, known[split][sample_id])
            if image is not None:
                write_image(path, image)
            handed.add(path)
        copy = self.open(out)
        for folder in self.folders():
            there = {out / folder / name for name in copy.pictures_in(folder)}
            if strange := sorted(str(path.relative_to(out / folder)) for path in there - handed):
                raise DatasetError(
                    f"{out / folder} holds {len(strange)} pictures of something else, e.g. {strange[0]}.",
                    "Write the copy to an empty folder.",
                )
        return copy

    def _write_labels(self, out: Path) -> None:
        """Put what `label_files` say into a copy."""

    @abstractmethod
    def open(self: Self, root: Path) -> Self:
        """The dataset at another root, of any number of pictures."""


class BoundingBoxFolders(ReidDataset):
    """A flat folder for each split, with identity and camera in the names of the pictures."""

    def folders(self) -> Sequence[str]:
        """See `ReidDataset.folders`."""
        return tuple(FOLDERS.values())

    def label_files(self) -> Sequence[str]:
        """See `ReidDataset.label_files`: names say everything."""
        return ()

    @abstractmethod
    def labels(self, path: Path) -> Mapping[str, int]:
        """What the name of a picture says. Raises DatasetError for a name of another pattern."""

    def _place(self, split: str) -> str:
        return FOLDERS[split]

    def _read(self, split: str) -> Iterable[Sample]:
        folder = self.root / FOLDERS[split]
        for name in self.pictures_in(FOLDERS[split]):
            if "/" in name:
                raise DatasetError(
                    f"{folder / name} lies in a folder of its own, and {self.meta.name} has all pictures of a split in {folder}.",
                    "Move the pictures there, or remove the folder.",
                )
            yield Sample(SampleId(name), folder / name, self.labels(folder / name))

    def written(self, out: Path, split: str, sample: Sample) -> Path:
        """See `Dataset.written`."""
        return out / FOLDERS[split] / sample.id


def below(root: Path, *names: str, holds: Sequence[str]) -> Path:
    """The first of these folders that holds any of the others: the root, or one of the names below it; else the root."""
    root = Path(root).expanduser()
    places = [root, *(root / name for name in names)]
    return next((p for p in places if any((p / f).exists() for f in holds)), root)
