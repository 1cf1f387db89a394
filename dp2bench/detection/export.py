"""Detections as files that people edit: COCO JSON, PNG masks of ids, and pictures to look at."""

from __future__ import annotations

import copy
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage
from PIL.PngImagePlugin import PngInfo
from pycocotools import mask as rle

from dp2bench.core.coco_file import UPRIGHT
from dp2bench.core.coco_schema import pack_surface
from dp2bench.core.contracts import ComponentMeta, Dataset, Detector
from dp2bench.core.errors import AnnotationError, DatasetError
from dp2bench.core.images import MAX_PIXELS
from dp2bench.core.paths import twins
from dp2bench.core.picture_header import check_upright, read_header
from dp2bench.core.picture_names import PictureNames
from dp2bench.core.types import Category, Image, People, Sample, SampleId
from dp2bench.detection.matching import masks_of

if TYPE_CHECKING:
    from types import TracebackType

CATEGORIES = ({"id": 1, "name": "person"}, {"id": 2, "name": "face"})
_MOST_PEOPLE = 1000
_MISSED = (255, 0, 0)
"""The colour of who is not anonymized."""
_ID_FORMATS = {"1", "L", "P", "I", "I;16", "I;16B", "RGB"}


class CocoWriter:
    """Writes a COCO JSON picture by picture, without holding the annotations; `coco_json.CocoFile` gives back equal people.

    The file is there when it is whole. It says that its boxes are of the pictures as they are seen (`coco_file.UPRIGHT`).
    Annotations have further keys: ``face`` (x, y, width, height, or null), ``surface``,
    ``track_id``.

    Args:
        path: of the JSON.
        info: stored under ``info``: which detector, with what settings.

    """

    def __init__(self, path: Path, info: dict[str, Any]) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._partial = path.with_name(path.name + ".partial")
        self._file = self._partial.open("w", encoding="utf-8")
        self._images: list[str] = []
        self._next = 1
        head = json.dumps({"info": info | UPRIGHT, "categories": CATEGORIES}, indent=1)
        self._file.write(head[:-2] + ',\n "annotations": [')

    def add(self, name: str, people: People, size: tuple[int, int]) -> None:
        """The people of a picture of (H, W) pixels; ``name`` is its path within the dataset."""
        number = len(self._images) + 1
        self._images.append(
            json.dumps({"id": number, "file_name": name, "height": size[0], "width": size[1]})
        )
        for i in range(len(people)):
            row = _annotation(people, i) | {"id": self._next, "image_id": number}
            self._file.write((",\n  " if self._next > 1 else "\n  ") + json.dumps(row))
            self._next += 1

    def __enter__(self) -> CocoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._file.write('\n ],\n "images": [\n  ' + ",\n  ".join(self._images) + "\n ]\n}\n")
        self._file.close()
        if kind is None:
            os.replace(self._partial, self.path)
        else:
            self._partial.unlink(missing_ok=True)


def _annotation(people: People, i: int) -> dict[str, Any]:
    box = _xywh(people.boxes[i])
    row: dict[str, Any] = {
        "category_id": 2 if people.categories[i] == Category.FACE else 1,
        "bbox": box,
        "area": box[2] * box[3],
        "iscrowd": 0,
        "score": float(people.scores[i]),
    }
    if people.masks is not None:
        packed = rle.encode(np.asfortranarray(people.masks[i], np.uint8))
        row["segmentation"] = {"size": packed["size"], "counts": packed["counts"].decode()}
        row["area"] = int(people.masks[i].sum())
    if people.keypoints is not None:
        row["keypoints"] = [float(v) for v in people.keypoints[i].ravel()]
        row["num_keypoints"] = int((people.keypoints[i, :, 2] > 0).sum())
    if people.faces is not None:
        face = people.faces[i]
        row["face"] = _xywh(face) if np.isfinite(face).all() else None
    surface = people.surfaces[i]
    if surface is not None:
        row["surface"] = pack_surface(surface)
    if people.track_ids is not None:
        row["track_id"] = int(people.track_ids[i])
    return row


def _xywh(box: NDArray[np.float32]) -> list[float]:
    # Differences of float32 in double precision are exact, so that adding them up gives the corners again.
    x0, y0, x1, y1 = (float(v) for v in box)
    return [x0, y0, x1 - x0, y1 - y0]


def id_mask(people: People, size: tuple[int, int]) -> NDArray[np.uint16]:
    """(H, W): 0 where nobody is, else the person's index plus one; where people overlap, the smaller one.

    Tracked people get their track's id plus one, so that a colour stays with a person.
    """
    masks = masks_of(people, size)
    out = np.zeros(size, np.uint16)
    names = np.arange(len(people)) if people.track_ids is None else people.track_ids
    if len(names) and names.max() >= np.iinfo(np.uint16).max:
        raise DatasetError(
            f"A PNG of ids holds at most {np.iinfo(np.uint16).max} people.", "Write a .json instead."
        )
    for i in sorted(range(len(people)), key=lambda i: -int(masks[i].sum())):
        out[masks[i]] = names[i] + 1
    return out


def write_id_mask(path: Path, people: People, size: tuple[int, int]) -> None:
    """`id_mask` as a PNG of 8 bits, or 16 where that is not enough."""
    ids = id_mask(people, size)
    path.parent.mkdir(parents=True, exist_ok=True)
    told = PngInfo()
    for key, value in UPRIGHT.items():
        told.add_text(key, value)
    PILImage.fromarray(ids.astype(np.uint8) if ids.max(initial=0) < 256 else ids).save(path, pnginfo=told)


def id_mask_name(sample_id: str, style: Literal["short", "full"] = "short") -> str:
    """The PNG of a picture: of ``a/b.jpg`` it is ``a/b.png``, or ``a/b.jpg.png`` in full."""
    path = PurePosixPath(sample_id)
    return (path.with_suffix(".png") if style == "short" else path.with_name(path.name + ".png")).as_posix()


def id_mask_style(sample_ids: Sequence[str]) -> Literal["short", "full"]:
    """``short`` where that gives every picture a PNG of its own, on any file system."""
    return "full" if twins(id_mask_name(name) for name in sample_ids) else "short"


class IdMasks(Detector):
    """Replays people from a folder of PNGs whose pixels are people's ids, 0 where nobody is.

    The PNG of ``a/b.jpg`` is ``a/b.jpg.png`` where that is there, else ``a/b.png``. Read are 1, 8 and 16 bits, palettes (the index
    counts) and RGB as in COCO's panoptic format (R + 256 G + 65536 B). A PNG shows each pixel as one person's only: what another hides
    of a person is not in their mask.

    Args:
        path: the folder.
        faces: the masks show faces, each a detection of its own, rather than persons.

    """

    uses_annotations = True
    people_named = 0
    """How many people are known to be in masks, of whatever picture."""

    def __init__(self, *, path: str | Path | None = None, faces: bool = False) -> None:
        if path is None or not Path(path).expanduser().is_dir():
            raise DatasetError(
                f"The detector 'png-masks' needs a folder of masks, and there is {'none' if path is None else f'no {path}'}.",
                "Pass the folder's path as the detector's argument `path`.",
            )
        self.path = Path(path).expanduser()
        self.faces = faces
        digest = hashlib.sha256(b"faces" if faces else b"")
        self._files = sorted(p for p in self.path.rglob("*") if p.suffix.lower() == ".png" and p.is_file())
        self._names = PictureNames(file.relative_to(self.path).as_posix() for file in self._files)
        for file in self._files:
            digest.update(os.fsencode(f"{file.relative_to(self.path).as_posix()}\0"))
            digest.update(hashlib.sha256(file.read_bytes()).digest())
        self.meta = ComponentMeta("png-masks", f"2-{digest.hexdigest()[:16]}")
        self._dataset: Dataset | None = None

    def for_dataset(self, dataset: Dataset) -> IdMasks:
        """The same detector, once the mask of every picture of the dataset has been read.

        Raises:
            AnnotationError: a picture has no mask or one that does not fit, two pictures share one, or nobody is in these masks
                and somebody in others of the folder.

        """
        if self._dataset is dataset:
            return self
        taken: dict[Path, SampleId] = {}
        anybody = False
        splits = dataset.meta.splits
        for split in splits:
            for sample in dataset.samples(split):
                path = self._mask_of(sample)
                if path is None and len(splits) > 1:
                    continue  # see `CocoFile.for_dataset`
                ids = self._ids(sample)
                assert path is not None
                if path in taken:
                    raise AnnotationError(
                        f"{path} would be the mask of two pictures, {taken[path]} and {sample.id}.",
                        f"Name the masks in full: {id_mask_name(taken[path], 'full')} and {id_mask_name(sample.id, 'full')}.",
                    )
                taken[path] = sample.id
                anybody = anybody or bool(ids.any())
        others = [file for file in self._files if file not in taken]
        if taken and not anybody and any(read_ids(file, "").any() for file in others):
            raise AnnotationError(
                f"The masks of {len(taken)} pictures in {self.path} show nobody, and {len(others)} masks there belong to no picture.",
                "Give each mask its picture's name and folder.",
            )
        bound = copy.copy(self)
        bound._dataset = dataset
        return bound

    def detect(self, images: Sequence[Image], samples: Sequence[Sample]) -> list[People]:
        """The people of each picture, in ascending order of their ids."""
        return [self._people(image, sample) for image, sample in zip(images, samples, strict=True)]

    def _mask_of(self, sample: Sample) -> Path | None:
        for style in ("full", "short"):
            name = self._names.find(id_mask_name(sample.id, style))
            if name is not None:
                return self.path / name
        return None

    def _ids(self, sample: Sample) -> NDArray[np.int64]:
        """(H, W) ids, which fit the header of the picture."""
        path = self._mask_of(sample)
        if path is None:
            raise AnnotationError(
                f"There is no mask {self.path / id_mask_name(sample.id)} for the picture {sample.id}.",
                "Add it (all zeros if the picture shows nobody): nobody is overlooked silently.",
            )
        ids = read_ids(path, sample.id)
        if ids.any():
            values = len(np.unique(ids))
            if values > _MOST_PEOPLE:
                raise AnnotationError(
                    f"{path} has {values:,} different values: it looks like a picture, not like ids of people.",
                    "Give every pixel of a person one value, without blending at the edges.",
                )
            height, width = ids.shape
            check_upright(read_header(sample.path), sample.id, path, (height, width), declared=_upright(path))
        return ids

    def _people(self, image: Image, sample: Sample) -> People:
        ids = self._ids(sample)
        if ids.shape != image.shape[:2]:
            raise AnnotationError(
                f"{self._mask_of(sample)} has {ids.shape[1]}x{ids.shape[0]} pixels, and the picture {sample.id} has {image.shape[1]}x{image.shape[0]}.",
                "Use the masks of these pictures.",
            )
        names = [int(n) for n in np.unique(ids) if n]
        if not names:
            return People.none((image.shape[0], image.shape[1]))
        masks = np.stack([ids == n for n in names])
        boxes = []
        for mask in masks:
            x, y, w, h = cv2.boundingRect(mask.view(np.uint8))
            boxes.append([x, y, x + w, y + h])
        if self.faces:
            faces = np.array(boxes, np.float32)
            return People.of(boxes, masks=masks, faces=faces, categories=[Category.FACE] * len(boxes))
        return People.of(boxes, masks=masks)


def _upright(path: Path) -> bool:
    """Whether a PNG of ours says that it is of the picture as it is seen."""
    try:
        with PILImage.open(path) as picture:
            return all(picture.info.get(key) == value for key, value in UPRIGHT.items())
    except (OSError, ValueError, SyntaxError):
        return False


def read_ids(path: Path, wanted_for: str) -> NDArray[np.int64]:
    """(H, W) ids of a PNG. Raises AnnotationError for one that is missing, damaged, or of a kind that is no mask."""
    try:
        with PILImage.open(path) as picture:
            picture.verify()  # checksums: Pillow decodes a damaged PNG without a word
        with PILImage.open(path) as picture:
            if picture.mode not in _ID_FORMATS:
                raise AnnotationError(
                    f"{path} is a picture of the kind {picture.mode}, which holds no ids.",
                    "Use greyscale of 8 or 16 bits, a palette, or RGB as in COCO's panoptic format.",
                )
            if picture.width * picture.height > MAX_PIXELS:
                raise AnnotationError(
                    f"{path} declares {picture.width}x{picture.height} pixels.", "Make it again."
                )
            ids = np.asarray(picture).astype(np.int64)
    except FileNotFoundError:
        raise AnnotationError(
            f"There is no mask {path} for the picture {wanted_for}.",
            "Add it (all zeros if the picture shows nobody): nobody is overlooked silently.",
        ) from None
    except AnnotationError:
        raise
    except Exception as error:  # decoders raise anything on damaged files
        raise AnnotationError(
            f"The mask {path} cannot be read: {error}.", "Copy or make it again."
        ) from error
    if ids.ndim == 3:
        ids = ids @ np.array([1, 256, 65536], np.int64)
    return np.asarray(ids, np.int64)
