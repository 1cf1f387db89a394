"""COCO 2017: people in everyday pictures, with masks and 17 keypoints (Lin et al., ECCV 2014)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from dp2bench.core.coco_file import CocoAnnotations, people_per_image
from dp2bench.core.coco_schema import ImageRow
from dp2bench.core.contracts import Dataset, DatasetMeta
from dp2bench.core.errors import AnnotationError, DatasetError
from dp2bench.core.files import copy_file
from dp2bench.core.images import is_picture_name, write_image
from dp2bench.core.picture_header import read_header
from dp2bench.core.picture_names import PictureNames
from dp2bench.core.types import Image, People, Sample, SampleId, fill_boxes
from dp2bench.datasets.missing import format_missing

FOLDERS = {"train": "train2017", "val": "val2017"}
"""Folder of each split; its annotations are ``annotations/person_keypoints_<folder>.json`` and ``instances_<folder>.json``."""

PERSON = 1
"""Category id of people in the official files, which every evaluator takes for granted."""

_GET_IT = (
    "Download train2017.zip, val2017.zip and annotations_trainval2017.zip from https://cocodataset.org/#download, "
    "unpack them into one folder, and give that folder."
)


class Coco(Dataset):
    """COCO 2017 in its official layout.

    Labels of a sample: ``image_id``, ``width``, ``height``.

    Args:
        root: the folder that holds ``train2017``, ``val2017`` and ``annotations``, or one that holds ``coco``.
        pictures: ``people`` for the pictures with an annotated person, ``all`` for every picture.
        official: whether `verify` wants every picture that the annotations list, in the published numbers.

    """

    layout: ClassVar[str] = "coco"
    needs_root: ClassVar[bool] = True
    expected_counts: ClassVar[Mapping[str, int] | None] = {"train": 118_287, "val": 5_000}
    """Published number of pictures a split; None to check none."""

    def __init__(
        self, root: Path, pictures: Literal["people", "all"] = "people", *, official: bool = True
    ) -> None:
        if pictures not in ("people", "all"):
            raise DatasetError(f"coco has no pictures {pictures!r}.", "Choose 'people' or 'all'.")
        self.meta = DatasetMeta(
            name="coco",
            version="2017",
            licence="annotations CC-BY-4.0; each picture its own Flickr licence",
            splits=tuple(FOLDERS),
            homepage="https://cocodataset.org",
            download="train2017 18 GB, val2017 1 GB, annotations 241 MB",
            description="123,287 pictures with 273,469 people, of whom 156,165 have keypoints",
        )
        root = Path(root).expanduser()
        self.root = next((p for p in (root, root / "coco") if (p / "annotations").is_dir()), root)
        self.annotations = self.root / "annotations"
        self.pictures = pictures
        self.official = official
        self._samples: dict[str, tuple[Sample, ...]] = {}
        self._files: dict[str, CocoAnnotations] = {}

    def _json(self, kind: str, split: str) -> Path:
        if split not in FOLDERS:
            raise DatasetError(
                f"{self.meta.name} has no split {split!r}.", f"Choose one of {', '.join(FOLDERS)}."
            )
        return self.annotations / f"{kind}_{FOLDERS[split]}.json"

    def file(self, split: str) -> CocoAnnotations:
        """The people of a split. Raises DatasetError for an unknown split, or a file that is missing, broken or contradicts itself."""
        path = self._json("person_keypoints", split)
        if split not in self._files:
            if not path.is_file():
                raise DatasetError(f"{self.meta.name} lacks the file {path}.", _GET_IT)
            self._files[split] = CocoAnnotations(path)
        return self._files[split]

    @property
    def doubts(self) -> tuple[str, ...]:
        """Where the files are not what the official ones are, though they can be read: a word for whoever looks at the result."""
        files = [self.file(split) for split in FOLDERS]
        return tuple(
            f"{file.path}: people are the annotations of category {file.taken}; in the official files they are 'person' (id {PERSON})."
            for file in files
            if file.categories != ((PERSON, "person"),)
        )

    def samples(self, split: str) -> Sequence[Sample]:
        """The pictures of ``train`` or ``val`` that are there, sorted by name."""
        if split not in self._samples:
            self._samples[split] = tuple(
                Sample(
                    SampleId(name),
                    self.root / FOLDERS[split] / name,
                    {"image_id": image.id, "width": image.width, "height": image.height},
                )
                for name, image in sorted(self._listed(split).items())
                if self._wanted(split, image)
            )
        return self._samples[split]

    def _pictures(self, split: str) -> list[str]:
        """Names of the files in a split's folder."""
        folder = self.root / FOLDERS[split]
        if not folder.is_dir():
            raise DatasetError(f"{self.meta.name} lacks the folder {folder}.", _GET_IT)
        return [
            Path(place, name).relative_to(folder).as_posix()
            for place, _, names in os.walk(folder)
            for name in names
            if not name.startswith(".")
        ]

    def _listed(self, split: str) -> dict[str, ImageRow]:
        """The pictures that are there, by name, and what the annotations call each."""
        file = self.file(split)
        there = self._pictures(split)
        exact = set(there)
        loose = PictureNames(there)
        by_name: dict[str, ImageRow] = {}
        for image in file.images:
            name = image.file_name if image.file_name in exact else loose.find(image.file_name)
            if name is None:
                continue
            if name in by_name:
                raise AnnotationError(
                    f"{file.path} has two entries for the picture {name}, {by_name[name].file_name} and {image.file_name}.",
                    "Keep one of them, and the annotations of both under it.",
                )
            if image.size is None:
                raise AnnotationError(
                    f"{file.path} does not say width and height of {image.file_name}.",
                    "Add them to its entry in `images`.",
                )
            by_name[name] = image
        return by_name

    def _wanted(self, split: str, image: ImageRow) -> bool:
        return self.pictures == "all" or bool(self.file(split).rows(image))

    def people(self, sample: Sample) -> People:
        """The annotated people of a picture, in the order of the annotations; a box stands in for a mask that is not there.

        A crowd (``iscrowd``) is one entry without keypoints: the region holds people, so it must not stay visible. The field's
        evaluators ignore detections in it, and its trainers leave it out; they read that in the JSON, which is never changed.
        """
        split = next(
            (s for s, folder in FOLDERS.items() if (self.root / folder) in sample.path.parents), None
        )
        if split is None:
            raise DatasetError(
                f"{sample.path} is in none of the folders {', '.join(FOLDERS.values())}.",
                "Ask for samples of this dataset.",
            )
        return people_of(self.file(split), sample)

    def verify(self) -> None:
        """Check folders, annotations and (official) that every listed picture is there.

        Raises:
            DatasetError: says what is missing and where to get it.

        """
        absent = [
            str(path.relative_to(self.root) if path.is_relative_to(self.root) else path)
            for split in FOLDERS
            for path in (
                self.root / FOLDERS[split],
                self._json("person_keypoints", split),
                self._json("instances", split),
            )
            if not path.exists()
        ]
        if absent:
            raise DatasetError(f"{self.meta.name} at {self.root} lacks {', '.join(absent)}.", _GET_IT)
        gone: list[str] = []
        for split, folder in FOLDERS.items():
            listed = self._listed(split)
            self._check_pictures(split, listed)
            if self.official:
                file, names = self.file(split), {image.file_name for image in listed.values()}
                gone += [
                    f"{folder}/{image.file_name}"
                    for image in file.images
                    if image.file_name not in names and self._wanted(split, image)
                ]
        if gone:
            raise DatasetError(
                f"{self.meta.name} at {self.root} lacks {len(gone):,} pictures: {format_missing(sorted(gone), self.meta.name)}.",
                _GET_IT,
            )
        for split in FOLDERS if self.official else ():
            count = len(self.file(split).images)
            if self.expected_counts is not None and count != self.expected_counts[split]:
                raise DatasetError(
                    f"{self._json('person_keypoints', split)} lists {count:,} pictures instead of {self.expected_counts[split]:,}.",
                    _GET_IT,
                )

    def _check_pictures(self, split: str, listed: Mapping[str, ImageRow]) -> None:
        """Whether the pictures of a split and both files of annotations belong together."""
        file, folder = self.file(split), self.root / FOLDERS[split]
        strange = sorted(
            name for name in self._pictures(split) if is_picture_name(name) and name not in listed
        )
        if strange:
            raise AnnotationError(
                f"{file.path} does not list {len(strange)} of the pictures in {folder}: {format_missing(strange, self.meta.name)}.{file.like(strange[0])}",
                "Add them to `images` (without annotations if they show nobody), or remove them: nobody is overlooked silently.",
            )
        if not listed:
            raise DatasetError(f"{folder} holds no picture.", _GET_IT)
        if not any(file.rows(image) for image in listed.values()):
            raise AnnotationError(
                f"{file.path} names {file.people_named} people (category {file.taken}), and none in the {len(listed)} pictures of {folder}.",
                "Use the annotations of these pictures, and a category of people in them.",
            )
        for name, image in listed.items():
            file.check(image, read_header(folder / name))
        instances = self._json("instances", split)
        mine = {image.id: len(file.rows(image)) for image in file.images}
        theirs = people_per_image(instances)
        for image in file.images:
            if mine[image.id] != theirs.get(image.id, 0):
                raise AnnotationError(
                    f"{file.path} names {mine[image.id]} people in {image.file_name}, and {instances.name} {theirs.get(image.id, 0)}.",
                    "Use files that were made from the same annotations.",
                )

    def written(self, out: Path, split: str, sample: Sample) -> Path:
        """See `Dataset.written`."""
        return out / FOLDERS[split] / sample.id

    def rewrite(self, out: Path, images: Iterable[tuple[str, SampleId, Image | None]]) -> Coco:
        """A copy with these pictures: same names, the JSON files byte for byte; what is not handed over is left out.

        JPEG files are written with quality 95 and without chroma subsampling.

        Raises:
            DatasetError: a picture is not one of this dataset, or ``out`` holds pictures that were not handed over.

        """
        out = Path(out)
        if out.resolve() == self.root.resolve():
            raise DatasetError(f"{out} is the dataset itself.", "Write the copy to another folder.")
        (out / "annotations").mkdir(parents=True, exist_ok=True)
        handed: dict[str, set[str]] = {split: set() for split in FOLDERS}
        known: dict[str, set[str]] = {}
        for split, folder in FOLDERS.items():
            (out / folder).mkdir(exist_ok=True)
            for kind in ("person_keypoints", "instances"):
                source = self._json(kind, split)
                if source.is_file():
                    copy_file(source, out / "annotations" / source.name)
        for split, sample_id, image in images:
            if split not in known:
                known[split] = {sample.id for sample in self.samples(split)}
            if sample_id not in known[split]:
                raise DatasetError(
                    f"{self.meta.name} has no picture {sample_id} in {split}.",
                    "Hand over ids of its samples.",
                )
            if image is not None:
                write_image(out / FOLDERS[split] / sample_id, image)
            handed[split].add(sample_id)
        copy = self.open(out)
        for split, folder in FOLDERS.items():
            strange = sorted(set(copy._pictures(split)) - handed[split])
            if strange:
                raise DatasetError(
                    f"{out / folder} holds {len(strange)} files of something else, e.g. {strange[0]}.",
                    "Write the copy to an empty folder.",
                )
        return copy

    def open(self, root: Path) -> Coco:
        """The dataset at another root; where that has no ``annotations``, they are those of this one."""
        opened = Coco(root, self.pictures, official=False)
        opened.meta = self.meta
        if not opened.annotations.is_dir():
            opened.annotations = self.annotations
        return opened


def people_of(file: CocoAnnotations, sample: Sample) -> People:
    """The people whom a file names in a picture, whose labels have ``image_id``, ``width`` and ``height``; a crowd has no keypoints."""
    image = file.by_id(sample.labels["image_id"])
    size = (sample.labels["height"], sample.labels["width"])
    file.check(image, read_header(sample.path))
    people, rows = file.people(image, size), file.rows(image)
    keypoints = np.zeros((len(rows), 17, 3), np.float32)
    if people.keypoints is not None:
        keypoints[:] = people.keypoints
        keypoints[[bool(row.iscrowd) for row in rows]] = 0
    masks = fill_boxes(people.boxes, size) if people.masks is None else people.masks
    return People.of(people.boxes, masks=masks, keypoints=keypoints)
