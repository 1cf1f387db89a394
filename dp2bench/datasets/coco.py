"""COCO 2017: people in everyday pictures, with masks and 17 keypoints (Lin et al., ECCV 2014)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from dp2bench.core.contracts import Dataset, DatasetMeta
from dp2bench.core.errors import DatasetError
from dp2bench.core.images import write_image
from dp2bench.core.types import Image, People, Sample, SampleId
from dp2bench.datasets.missing import format_missing

FOLDERS = {"train": "train2017", "val": "val2017"}
"""Folder of each split; its annotations are ``annotations/person_keypoints_<folder>.json`` and ``instances_<folder>.json``."""

PERSON = 1
"""Category id of people."""

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
            description="123,287 pictures with 273,469 people, of whom 156,165 have keypoints",
        )
        root = Path(root).expanduser()
        self.root = next((p for p in (root, root / "coco") if (p / "annotations").is_dir()), root)
        self.annotations = self.root / "annotations"
        self.pictures = pictures
        self.official = official
        self._samples: dict[str, tuple[Sample, ...]] = {}
        self._people: dict[str, dict[int, list[dict[str, Any]]]] = {}
        self._images: dict[str, list[dict[str, Any]]] = {}

    def _json(self, kind: str, split: str) -> Path:
        if split not in FOLDERS:
            raise DatasetError(
                f"{self.meta.name} has no split {split!r}.", f"Choose one of {', '.join(FOLDERS)}."
            )
        return self.annotations / f"{kind}_{FOLDERS[split]}.json"

    def _load(self, split: str) -> None:
        if split in self._images:
            return
        path = self._json("person_keypoints", split)
        try:
            data = json.loads(path.read_bytes())
            images = [
                {k: image[k] for k in ("id", "file_name", "width", "height")} for image in data["images"]
            ]
            people: dict[int, list[dict[str, Any]]] = {}
            for row in data["annotations"]:
                if row["category_id"] == PERSON:
                    kept = {k: row.get(k) for k in ("bbox", "segmentation", "keypoints", "iscrowd")}
                    people.setdefault(row["image_id"], []).append(kept)
        except FileNotFoundError:
            raise DatasetError(f"{self.meta.name} lacks the file {path}.", _GET_IT) from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DatasetError(
                f"{path} is not a file of COCO annotations: {type(error).__name__} {error}.", _GET_IT
            ) from error
        self._images[split], self._people[split] = images, people

    def samples(self, split: str) -> Sequence[Sample]:
        """The pictures of ``train`` or ``val`` that are there, sorted by name."""
        if split not in self._samples:
            self._load(split)
            folder = self.root / FOLDERS[split]
            if not folder.is_dir():
                raise DatasetError(f"{self.meta.name} lacks the folder {folder}.", _GET_IT)
            there = {p.name for p in folder.iterdir()}
            self._samples[split] = tuple(
                Sample(
                    SampleId(image["file_name"]),
                    folder / image["file_name"],
                    {"image_id": image["id"], "width": image["width"], "height": image["height"]},
                )
                for image in self._wanted(split)
                if image["file_name"] in there
            )
        return self._samples[split]

    def _wanted(self, split: str) -> list[dict[str, Any]]:
        images = self._images[split]
        if self.pictures == "people":
            images = [image for image in images if image["id"] in self._people[split]]
        return sorted(images, key=lambda image: str(image["file_name"]))

    def people(self, sample: Sample) -> People:
        """The annotated people of a picture, in the order of the annotations.

        A crowd (``iscrowd``) is one entry without keypoints: the region holds people, so it must not stay visible. The field's
        evaluators ignore detections in it, and its trainers leave it out; they read that in the JSON, which is never changed.
        """
        split = next((s for s, folder in FOLDERS.items() if sample.path.parent.name == folder), None)
        if split is None:
            raise DatasetError(
                f"{sample.path} is in none of the folders {', '.join(FOLDERS.values())}.",
                "Ask for samples of this dataset.",
            )
        self._load(split)
        rows = self._people[split].get(sample.labels["image_id"], [])
        height, width = sample.labels["height"], sample.labels["width"]
        boxes = np.array([row["bbox"] for row in rows], np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        masks = np.zeros((len(rows), height, width), bool)
        keypoints = np.zeros((len(rows), 17, 3), np.float32)
        for i, row in enumerate(rows):
            masks[i] = decode_mask(row["segmentation"], height, width)
            if row["keypoints"] and not row["iscrowd"]:
                keypoints[i] = np.array(row["keypoints"], np.float32).reshape(17, 3)
        return People.of(boxes, masks=masks, keypoints=keypoints)

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
            there = {sample.id for sample in self.samples(split)}
            if not there:
                raise DatasetError(f"{self.root / folder} holds no picture of {self.meta.name}.", _GET_IT)
            names = [str(i["file_name"]) for i in self._wanted(split)] if self.official else []
            gone += [f"{folder}/{name}" for name in names if name not in there]
        if gone:
            raise DatasetError(
                f"{self.meta.name} at {self.root} lacks {len(gone):,} pictures: {format_missing(gone, self.meta.name)}.",
                _GET_IT,
            )
        for split in FOLDERS if self.official else ():
            listed = len(self._images[split])
            if self.expected_counts is not None and listed != self.expected_counts[split]:
                raise DatasetError(
                    f"{self._json('person_keypoints', split)} lists {listed:,} pictures instead of {self.expected_counts[split]:,}.",
                    _GET_IT,
                )

    def rewrite(self, out: Path, images: Iterable[tuple[str, SampleId, Image]]) -> Coco:
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
                    shutil.copyfile(source, out / "annotations" / source.name)
        for split, sample_id, image in images:
            if split not in known:
                known[split] = {sample.id for sample in self.samples(split)}
            if sample_id not in known[split]:
                raise DatasetError(
                    f"{self.meta.name} has no picture {sample_id} in {split}.",
                    "Hand over ids of its samples.",
                )
            write_image(out / FOLDERS[split] / sample_id, image)
            handed[split].add(sample_id)
        for split, folder in FOLDERS.items():
            strange = sorted({p.name for p in (out / folder).iterdir()} - handed[split])
            if strange:
                raise DatasetError(
                    f"{out / folder} holds {len(strange)} files of something else, e.g. {strange[0]}.",
                    "Write the copy to an empty folder.",
                )
        return self.open(out)

    def open(self, root: Path) -> Coco:
        """The dataset at another root; where that has no ``annotations``, they are those of this one."""
        opened = Coco(root, self.pictures, official=False)
        opened.meta = self.meta
        if not opened.annotations.is_dir():
            opened.annotations = self.annotations
        return opened


def decode_mask(segmentation: Any, height: int, width: int) -> NDArray[np.bool_]:
    """(height, width) bool from COCO's three forms: polygons, uncompressed or compressed run lengths."""
    from pycocotools import mask

    if not segmentation:
        return np.zeros((height, width), bool)
    if isinstance(segmentation, list):
        runs = mask.merge(mask.frPyObjects(segmentation, height, width))
    elif isinstance(segmentation["counts"], list):
        runs = mask.frPyObjects(segmentation, height, width)
    else:
        runs = segmentation
    decoded: NDArray[np.bool_] = mask.decode(runs).astype(bool)
    return decoded
