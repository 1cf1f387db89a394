"""Cityscapes: street scenes from a car, every pixel labelled (Cordts et al., CVPR 2016)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, FiniteFloat, ValidationError

from dp2bench.core.contracts import Dataset, DatasetMeta
from dp2bench.core.errors import AnnotationError, DatasetError
from dp2bench.core.files import link_or_copy
from dp2bench.core.images import is_picture_name, write_image
from dp2bench.core.picture_header import check_upright, read_header
from dp2bench.core.types import Image, People, Sample, SampleId
from dp2bench.datasets.missing import format_missing

SPLITS = ("train", "val")

PEOPLE = (24, 25)
"""Label ids of person and rider."""

PEOPLE_NAMES = ("person", "rider", "persongroup", "ridergroup")
"""Labels of people in the polygons."""

WITH_INSTANCES = range(24, 34)
"""Label ids whose objects are told apart: an instance's id is a thousand of its label and a number."""

LABELS = range(34)
"""Label ids of Cityscapes; license plates have -1, which is 255 in ``labelIds``."""

GROUND_TRUTH = ("labelIds.png", "instanceIds.png", "color.png", "polygons.json")
"""Files of gtFine for each picture."""

_PICTURES = ("leftImg8bit", "leftImg8bit_blurred")
_NAME = re.compile(r"(.+)_(\d{6})_(\d{6})_(leftImg8bit(?:_blurred)?)\.png")
_GET_IT = (
    "Download leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip from https://www.cityscapes-dataset.com/downloads "
    "(after registering), unpack them into one folder, and give that folder."
)


_NO_LABEL = 255
_LABEL_OF = np.full(1 << 16, _NO_LABEL, np.uint8)
for _label in LABELS:
    _LABEL_OF[_label] = _label
for _label in WITH_INSTANCES:
    _LABEL_OF[1000 * _label : 1000 * (_label + 1)] = _label

_Coordinate = Annotated[FiniteFloat, Field(ge=-1e6, le=1e6)]


class _Object(BaseModel):
    label: str
    polygon: list[tuple[_Coordinate, _Coordinate]]
    deleted: bool = False


class Polygons(BaseModel):
    """What is read of a ``gtFine_polygons.json``: the objects from back to front."""

    imgHeight: Annotated[int, Field(ge=1, le=65536)]  # noqa: N815 - the file's names
    imgWidth: Annotated[int, Field(ge=1, le=65536)]  # noqa: N815
    objects: list[_Object]


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
            download="leftImg8bit 11 GB, gtFine 241 MB",
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
            paths = [p for p in folder.rglob("*") if is_picture_name(p) and p.is_file()]
            self._samples[split] = tuple(
                sorted((_sample(path, folder) for path in paths), key=lambda sample: sample.id)
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
        ids = self._instances(sample)
        present = [int(v) for v in np.unique(ids)]
        mine = [v for v in present if (v if v < 1000 else v // 1000) in PEOPLE]
        masks = np.zeros((len(mine), *ids.shape), bool)
        boxes = np.zeros((len(mine), 4), np.float32)
        for i, value in enumerate(mine):
            masks[i] = ids == value
            rows, columns = np.flatnonzero(masks[i].any(1)), np.flatnonzero(masks[i].any(0))
            boxes[i] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
        return People.of(boxes, masks=masks)

    def _instances(self, sample: Sample) -> NDArray[np.unsignedinteger[Any]]:
        """(H, W) instance ids, once the other files have said the same of people.

        Raises:
            AnnotationError: names the files that contradict each other or the picture.

        """
        path = self.ground_truth(sample, "instanceIds.png")
        ids = _read_ids(path)
        header = read_header(sample.path)
        check_upright(header, sample.path, path, (ids.shape[0], ids.shape[1]))
        labels = _LABEL_OF[ids]
        if (labels == _NO_LABEL).any():
            raise AnnotationError(
                f"{path} holds the value {int(ids[labels == _NO_LABEL][0])}, which is no instance id of Cityscapes.",
                "Use the official file of 16 bits, with label ids (not train ids), and copy it without conversion.",
            )
        people = _are_people(labels)
        others = [(self.ground_truth(sample, kind), read) for kind, read in _READ_PEOPLE.items()]
        for other, read in others:
            if not other.is_file():
                continue
            theirs = read(other)
            if theirs.shape != people.shape:
                raise AnnotationError(
                    f"{other} is of {theirs.shape[1]}x{theirs.shape[0]} pixels, and {path.name} of {people.shape[1]}x{people.shape[0]}.",
                    "Use files of the same picture.",
                )
            if (place := _contradiction(theirs, people, ids)) is not None:
                x, y, says = place
                raise AnnotationError(
                    f"{path} and {other.name} contradict each other at x={x}, y={y}: {other.name if says else path.name} shows a person there, "
                    f"{path.name if says else other.name} none.",
                    "Use the official files of this picture, unconverted: label ids, not train ids, and 16 bits for instances.",
                )
        return ids

    def verify(self) -> None:
        """Check folders, that the labels of every picture are there and agree, and (official) their number.

        Raises:
            DatasetError: says what is missing and where to get it.

        """
        absent = [str(p) for p in (self.pictures, self.labels) if not p.is_dir()]
        if absent:
            raise DatasetError(f"{self.meta.name} at {self.root} lacks {', '.join(absent)}.", _GET_IT)
        gone: list[str] = []
        wrong: list[str] = []
        for split in SPLITS:
            samples = self.samples(split)
            if not samples:
                raise DatasetError(f"{self.pictures / split} holds no pictures.", _GET_IT)
            files = [self.ground_truth(sample, kind) for sample in samples for kind in GROUND_TRUTH]
            gone += [str(path.relative_to(self.labels.parent)) for path in files if not path.is_file()]
            if not self.official or self.expected_counts is None:
                continue
            there = {sample.id.removesuffix("_leftImg8bit.png") for sample in samples}
            for path in sorted((self.labels / split).glob("*/*_gtFine_polygons.json")):
                stem = f"{path.parent.name}/{path.name.removesuffix('_gtFine_polygons.json')}"
                if stem not in there:
                    gone.append(f"{self.pictures.name}/{split}/{stem}_{self.pictures.name}.png")
            if len(samples) != self.expected_counts[split]:
                wrong.append(
                    f"{self.pictures / split} holds {len(samples):,} pictures instead of {self.expected_counts[split]:,}"
                )
        if gone:
            wrong.append(
                f"{self.meta.name} at {self.root} lacks {len(gone):,} files: {format_missing(gone, self.meta.name)}"
            )
        if wrong:
            raise DatasetError("; ".join(wrong) + ".", _GET_IT)
        with ThreadPoolExecutor() as pool:
            for split in SPLITS:
                for _ in pool.map(self._instances, self.samples(split)):
                    pass

    def written(self, out: Path, split: str, sample: Sample) -> Path:
        """See `Dataset.written`."""
        return out / "leftImg8bit" / split / sample.id

    def rewrite(self, out: Path, images: Iterable[tuple[str, SampleId, Image | None]]) -> Cityscapes:
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
            if image is not None:
                write_image(out / "leftImg8bit" / split / sample_id, image)
            for kind in GROUND_TRUTH:
                source = self.ground_truth(known[split][sample_id], kind)
                if source.is_file():
                    link_or_copy(source, out / source.relative_to(self.labels.parent))
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


def _read_ids(path: Path) -> NDArray[np.unsignedinteger[Any]]:
    """(H, W) of a greyscale PNG."""
    if not path.is_file():
        raise DatasetError(f"{path} is missing.", _GET_IT)
    try:
        ids = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise AnnotationError(f"{path} cannot be read: {' '.join(str(error).split())}.", _GET_IT) from error
    if ids is None:
        raise AnnotationError(f"{path} is damaged, or no picture.", _GET_IT)
    if ids.ndim != 2 or ids.dtype.kind != "u":
        raise AnnotationError(f"{path} is a picture of colours, not of ids.", _GET_IT)
    return np.asarray(ids)


def _are_people(labels: NDArray[Any]) -> NDArray[np.bool_]:
    return np.asarray((labels == PEOPLE[0]) | (labels == PEOPLE[1]), np.bool_)


def _people_of_labels(path: Path) -> NDArray[np.bool_]:
    """(H, W) where ``labelIds`` shows people."""
    labels = _read_ids(path)
    strange = (labels >= len(LABELS)) & (labels != 255)
    if strange.any():
        raise AnnotationError(
            f"{path} holds the value {int(labels[strange][0])}, which is no label id of Cityscapes.",
            "Use the official file, with label ids (not train ids), and copy it without conversion.",
        )
    return _are_people(labels)


def _people_of_polygons(path: Path) -> NDArray[np.bool_]:
    """(H, W) where the polygons show people: painted in turn, as the official labels are made of them."""
    try:
        content = Polygons.model_validate(json.loads(path.read_bytes()))
    except (OSError, ValueError, RecursionError) as error:
        said = str(error)
        if isinstance(error, ValidationError):
            first = error.errors(include_url=False)[0]
            said = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise AnnotationError(f"{path} is no file of Cityscapes' polygons: {said}.", _GET_IT) from error
    out = np.zeros((content.imgHeight, content.imgWidth), np.uint8)
    for thing in content.objects:
        # A license plate has no instance; what it lies on stays.
        if not thing.deleted and len(thing.polygon) > 2 and thing.label != "license plate":
            points = np.round(np.array(thing.polygon)).astype(np.int32)
            cv2.fillPoly(out, [points], int(thing.label in PEOPLE_NAMES))
    return out.astype(np.bool_)


_READ_PEOPLE = {"labelIds.png": _people_of_labels, "polygons.json": _people_of_polygons}


def _contradiction(
    theirs: NDArray[np.bool_], mine: NDArray[np.bool_], ids: NDArray[np.unsignedinteger[Any]]
) -> tuple[int, int, bool] | None:
    """x, y where one of two sources shows people and the other does not, and whether ``theirs`` is the one that does; else None.

    At the edges of people two pixels do not count: outlines are drawn in different ways. Of what ``mine`` alone shows, only most of an
    instance counts: a license plate in front of a rider is drawn in one source and not in the other.
    """
    if np.array_equal(theirs, mine):
        return None
    only = theirs & ~mine
    if only.any():
        _, parts = cv2.connectedComponents(theirs.view(np.uint8), connectivity=8)
        touched = np.zeros(int(parts.max()) + 1, np.bool_)
        touched[parts[mine]] = True
        for places in (_solid(only, 3), _solid(only & ~touched[parts], 2)):
            if len(places):
                y, x = places[0].tolist()
                return x, y, True
    alone = mine & ~theirs
    for value in np.unique(ids[alone]).tolist() if len(_solid(alone, 3)) else ():
        whole = ids == value
        if 2 * np.count_nonzero(whole & alone) > np.count_nonzero(whole) and len(
            places := _solid(whole & alone, 3)
        ):
            y, x = places[0].tolist()
            return x, y, False
    return None


def _solid(mask: NDArray[np.bool_], side: int) -> NDArray[np.intp]:
    """(K, 2) y, x of squares of so many pixels that a mask covers."""
    eroded = cv2.erode(mask.view(np.uint8), np.ones((side, side), np.uint8), borderValue=0)
    if not cv2.countNonZero(eroded):  # many times as fast as looking where
        return np.zeros((0, 2), np.intp)
    return np.argwhere(eroded)


def _sample(path: Path, folder: Path) -> Sample:
    match = _NAME.fullmatch(path.name)
    if match is None or path.parent != folder / match[1]:
        raise DatasetError(
            f"The name of {path} breaks Cityscapes' pattern <city>/<city>_<sequence>_<frame>_leftImg8bit.png "
            "(e.g. aachen/aachen_000000_000019_leftImg8bit.png).",
            "Rename the file or remove it from the dataset.",
        )
    city, sequence, frame, kind = match.groups()
    name = f"{city}/{path.name.removesuffix(f'_{kind}.png')}_leftImg8bit.png"
    return Sample(SampleId(name), path, {"city": city, "sequence": int(sequence), "frame": int(frame)})
