"""Cityscapes: street scenes from a car, every pixel labelled (Cordts et al., CVPR 2016)."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np

from dp2bench.core.contracts import Dataset, DatasetMeta
from dp2bench.core.errors import DatasetError
from dp2bench.core.images import write_image
from dp2bench.core.types import Image, People, Sample, SampleId
from dp2bench.datasets.missing import format_missing

SPLITS = ("train", "val")

PEOPLE = (24, 25)
"""Label ids of person and rider."""

GROUND_TRUTH = ("labelIds.png", "instanceIds.png", "color.png", "polygons.json")
"""Files of gtFine for each picture."""

_PICTURES = ("leftImg8bit", "leftImg8bit_blurred")
_NAME = re.compile(r"(.+)_(\d{6})_(\d{6})_(leftImg8bit(?:_blurred)?)\.png")
_GET_IT = (
    "Download leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip from https://www.cityscapes-dataset.com/downloads "
    "(after registering), unpack them into one folder, and give that folder."
)


class Cityscapes(Dataset):
    """Cityscapes in its official layout; the splits with published labels, ``train`` and ``val``.

    Labels of a sample: ``city``, ``sequence``, ``frame``. Ids are ``<city>/<name>_leftImg8bit.png``, also for the official
    ``leftImg8bit_blurred``, so that the two can be compared.

    Args:
        root: the folder that holds ``leftImg8bit`` and ``gtFine``, or one that holds ``cityscapes``; ``leftImg8bit_blurred``
            is taken where it is given itself or where there is no ``leftImg8bit``.
        official: whether `verify` compares the number of pictures with the published one.

    """

    layout: ClassVar[str] = "cityscapes"
    needs_root: ClassVar[bool] = True
    expected_counts: ClassVar[Mapping[str, int] | None] = {"train": 2_975, "val": 500}
    """Published number of pictures a split; None to check none."""

    def __init__(self, root: Path, *, official: bool = True) -> None:
        self.meta = DatasetMeta(
            name="cityscapes",
            version="2016",
            licence="Cityscapes terms of use: research only, no redistribution",
            splits=SPLITS,
            homepage="https://www.cityscapes-dataset.com",
            description="3,475 street scenes of 2048 x 1024 pixels with instance labels",
        )
        root = Path(root).expanduser()
        places = [(place, place / name) for place in (root, root / "cityscapes") for name in _PICTURES]
        if root.name in _PICTURES:
            places.insert(0, (root.parent, root))
        self.root, self.pictures = next((p for p in places if p[1].is_dir()), (root, root / _PICTURES[0]))
        self.labels = self.root / "gtFine"
        self.official = official
        self._samples: dict[str, tuple[Sample, ...]] = {}

    def samples(self, split: str) -> Sequence[Sample]:
        """The pictures of ``train`` or ``val``, sorted by city and name."""
        if split not in SPLITS:
            raise DatasetError(
                f"{self.meta.name} has no split {split!r}.", f"Choose one of {', '.join(SPLITS)}."
            )
        if split not in self._samples:
            folder = self.pictures / split
            if not folder.is_dir():
                raise DatasetError(f"{self.meta.name} lacks the folder {folder}.", _GET_IT)
            paths = [p for p in folder.glob("*/*.png") if not p.name.startswith(".")]
            self._samples[split] = tuple(
                sorted((_sample(path) for path in paths), key=lambda sample: sample.id)
            )
        return self._samples[split]

    def ground_truth(self, sample: Sample, kind: str) -> Path:
        """The file of `GROUND_TRUTH` that belongs to a sample."""
        split = sample.path.parent.parent.name
        stem = sample.id.removesuffix("_leftImg8bit.png")
        return self.labels / split / f"{stem}_gtFine_{kind}"

    def people(self, sample: Sample) -> People:
        """Persons and riders (without their bicycles) by instance.

        A group that the annotators could not tell apart (``persongroup``, ``ridergroup``) is one entry: it holds people, so
        it must not stay visible; the official evaluation ignores it.
        """
        path = self.ground_truth(sample, "instanceIds.png")
        ids = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if ids is None or ids.ndim != 2:
            raise DatasetError(f"{path} is missing or no picture of instance ids.", _GET_IT)
        present = [int(v) for v in np.unique(ids)]
        mine = [v for v in present if (v if v < 1000 else v // 1000) in PEOPLE]
        masks = np.zeros((len(mine), *ids.shape), bool)
        boxes = np.zeros((len(mine), 4), np.float32)
        for i, value in enumerate(mine):
            masks[i] = ids == value
            rows, columns = np.flatnonzero(masks[i].any(1)), np.flatnonzero(masks[i].any(0))
            boxes[i] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
        return People.of(boxes, masks=masks)

    def verify(self) -> None:
        """Check folders, labels of every picture and (official) their number.

        Raises:
            DatasetError: says what is missing and where to get it.

        """
        absent = [str(p) for p in (self.pictures, self.labels) if not p.is_dir()]
        if absent:
            raise DatasetError(f"{self.meta.name} at {self.root} lacks {', '.join(absent)}.", _GET_IT)
        gone: list[str] = []
        wrong: list[str] = []
        for split in SPLITS:
            found = self.samples(split)
            if not found:
                raise DatasetError(f"{self.pictures / split} holds no pictures.", _GET_IT)
            files = [self.ground_truth(sample, kind) for sample in found for kind in GROUND_TRUTH]
            gone += [str(path.relative_to(self.labels.parent)) for path in files if not path.is_file()]
            if not self.official or self.expected_counts is None:
                continue
            there = {sample.id.removesuffix("_leftImg8bit.png") for sample in found}
            for path in sorted((self.labels / split).glob("*/*_gtFine_polygons.json")):
                stem = f"{path.parent.name}/{path.name.removesuffix('_gtFine_polygons.json')}"
                if stem not in there:
                    gone.append(f"{self.pictures.name}/{split}/{stem}_{self.pictures.name}.png")
            if len(found) != self.expected_counts[split]:
                wrong.append(
                    f"{self.pictures / split} holds {len(found):,} pictures instead of {self.expected_counts[split]:,}"
                )
        if gone:
            wrong.append(
                f"{self.meta.name} at {self.root} lacks {len(gone):,} files: {format_missing(gone, self.meta.name)}"
            )
        if wrong:
            raise DatasetError("; ".join(wrong) + ".", _GET_IT)

    def rewrite(self, out: Path, images: Iterable[tuple[str, SampleId, Image]]) -> Cityscapes:
        """A copy with these pictures as ``leftImg8bit`` and their ``gtFine`` (hard links where the disk allows, else copies).

        Raises:
            DatasetError: a picture is not one of this dataset, or ``out`` holds pictures that were not handed over.

        """
        out = Path(out)
        if out.resolve() == self.root.resolve():
            raise DatasetError(f"{out} is the dataset itself.", "Write the copy to another folder.")
        handed: dict[str, set[str]] = {split: set() for split in SPLITS}
        known: dict[str, dict[str, Sample]] = {}
        for split in SPLITS:
            for folder in ("leftImg8bit", "gtFine"):
                (out / folder / split).mkdir(parents=True, exist_ok=True)
        for split, sample_id, image in images:
            if split not in known:
                known[split] = {sample.id: sample for sample in self.samples(split)}
            if sample_id not in known[split]:
                raise DatasetError(
                    f"{self.meta.name} has no picture {sample_id} in {split}.",
                    "Hand over ids of its samples.",
                )
            write_image(out / "leftImg8bit" / split / sample_id, image)
            for kind in GROUND_TRUTH:
                source = self.ground_truth(known[split][sample_id], kind)
                if source.is_file():
                    _link(source, out / source.relative_to(self.labels.parent))
            handed[split].add(sample_id)
        copy = self.open(out)
        for split in SPLITS:
            strange = sorted({sample.id for sample in copy.samples(split)} - handed[split])
            if strange:
                raise DatasetError(
                    f"{out / 'leftImg8bit' / split} holds {len(strange)} pictures of something else, e.g. {strange[0]}.",
                    "Write the copy to an empty folder.",
                )
        return copy

    def open(self, root: Path) -> Cityscapes:
        """The dataset at another root, of any number of pictures; where that has no ``gtFine``, it is that of this one."""
        opened = Cityscapes(root, official=False)
        opened.meta = self.meta
        if not opened.labels.is_dir():
            opened.labels = self.labels
        return opened


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        os.link(source, target)
        return
    shutil.copyfile(source, target)


def _sample(path: Path) -> Sample:
    match = _NAME.fullmatch(path.name)
    if match is None or match[1] != path.parent.name:
        raise DatasetError(
            f"The name of {path} breaks Cityscapes' pattern <city>/<city>_<sequence>_<frame>_leftImg8bit.png "
            "(e.g. aachen/aachen_000000_000019_leftImg8bit.png).",
            "Rename the file or remove it from the dataset.",
        )
    city, sequence, frame, kind = match.groups()
    name = f"{city}/{path.name.removesuffix(f'_{kind}.png')}_leftImg8bit.png"
    return Sample(SampleId(name), path, {"city": city, "sequence": int(sequence), "frame": int(frame)})
