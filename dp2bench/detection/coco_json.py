"""People from a COCO annotation file, by the picture's file name: detections of another program, or labels."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as rle

from dp2bench.core.contracts import ComponentMeta
from dp2bench.core.errors import DatasetError
from dp2bench.core.types import Category, Image, People, Sample, SurfaceMap
from dp2bench.detection.matching import fill_boxes

_FORMAT = "https://cocodataset.org/#format-data"


_FACE = "face"


class CocoFile:
    """Replays the people in a COCO JSON with ``images``, ``annotations`` and ``categories``.

    Beside COCO's own keys an annotation may have those that `saving.CocoWriter` writes: ``face`` (x, y, width, height, or null),
    ``surface`` and ``track_id``. A picture is looked up by its path within the dataset, then by its bare name where that is unique in the file. One
    that the file does not list is an error; one that it lists without annotations shows nobody.

    Args:
        path: the JSON.
        category: name of the category that is people; a file without categories holds nothing else. Where the file also has a
            category ``face``, its annotations are faces of nobody else's.
        score_threshold: annotations with a lower ``score`` are left out.
        crowds: whether a region of several people (``iscrowd``) counts, as one person.

    """

    def __init__(
        self,
        *,
        path: str | Path | None = None,
        category: str = "person",
        score_threshold: float = 0.0,
        crowds: bool = True,
    ) -> None:
        if path is None or not Path(path).expanduser().is_file():
            raise DatasetError(
                f"The detector 'coco-json' needs a file of annotations, and there is {'none' if path is None else f'no {path}'}.",
                "Pass the path of a COCO JSON as the detector's argument `path`.",
            )
        self.path = Path(path).expanduser()
        content = self.path.read_bytes()
        self.meta = ComponentMeta("coco-json", f"2-{hashlib.sha256(content).hexdigest()[:16]}")
        try:
            self._read(json.loads(content), category, score_threshold, crowds=crowds)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DatasetError(
                f"{self.path} is not a COCO annotation file: {type(error).__name__}: {error}.",
                f"It needs `images` with id and file_name, and `annotations` with image_id and bbox; see {_FORMAT}.",
            ) from error

    def _read(self, data: Mapping[str, Any], category: str, score_threshold: float, *, crowds: bool) -> None:
        kinds = data.get("categories")
        wanted = None if kinds is None else {c["id"] for c in kinds if c["name"] in {category, _FACE}}
        self._face_kinds = {c["id"] for c in kinds or () if c["name"] == _FACE}
        if wanted is not None and not wanted:
            raise DatasetError(
                f"{self.path} has no category {category!r}.",
                f"Pass `category`, one of: {', '.join(sorted(str(c['name']) for c in kinds or ()))}.",
            )
        self._images: dict[str, Mapping[str, Any]] = {i["file_name"]: i for i in data["images"]}
        by_name = defaultdict(list)
        for name in self._images:
            by_name[PurePosixPath(name).name].append(name)
        self._alone = {bare: full[0] for bare, full in by_name.items() if len(full) == 1}
        self._annotations: dict[Any, list[Mapping[str, Any]]] = defaultdict(list)
        for row in data["annotations"]:
            _ = len(
                row["bbox"]
            )  # a file that is cut short or of another format shows here, not at some later picture
            kind = wanted is None or row.get("category_id") in wanted
            if kind and row.get("score", 1.0) >= score_threshold and (crowds or not row.get("iscrowd")):
                self._annotations[row["image_id"]].append(row)

    def detect(self, images: Sequence[Image], samples: Sequence[Sample]) -> list[People]:
        """The people of each picture, in the file's order."""
        return [self._people(image, sample) for image, sample in zip(images, samples, strict=True)]

    def _people(self, image: Image, sample: Sample) -> People:
        name = PurePosixPath(sample.id).name
        entry = self._images.get(sample.id) or self._images.get(self._alone.get(name, ""))
        if entry is None:
            raise DatasetError(
                f"{self.path} does not list the picture {sample.id}.",
                "Add it to `images` (without annotations if it shows nobody): nobody is overlooked silently.",
            )
        size = image.shape[:2]
        stated = (entry.get("height", size[0]), entry.get("width", size[1]))
        if stated != size:
            raise DatasetError(
                f"{self.path} was made for {sample.id} at {stated[1]}x{stated[0]} pixels, and the picture has {size[1]}x{size[0]}.",
                "Use the annotations of these pictures.",
            )
        rows = self._annotations.get(entry["id"], [])
        if not rows:
            return People.none()
        boxes = _corners([row["bbox"] for row in rows])
        given: dict[str, Any] = {"scores": [row.get("score", 1.0) for row in rows]}
        alone = np.array([row.get("category_id") in self._face_kinds for row in rows])
        if any(row.get("segmentation") for row in rows):
            masks = fill_boxes(boxes, size)
            for i, row in enumerate(rows):
                if row.get("segmentation"):
                    masks[i] = self._mask(row["segmentation"], size, sample)
            given["masks"] = masks
        if any(row.get("keypoints") for row in rows):
            absent = [0] * 51
            given["keypoints"] = np.array(
                [row.get("keypoints") or absent for row in rows], np.float32
            ).reshape(-1, 17, 3)
        if alone.any() or any("face" in row for row in rows):
            absent_face = [np.nan] * 4
            given["faces"] = _corners([row.get("face") or absent_face for row in rows])
            given["faces"][alone] = boxes[alone]
        if any("track_id" in row for row in rows):
            given["track_ids"] = np.array([row.get("track_id", -1) for row in rows], np.int64)
        surfaces = [self._surface(row.get("surface"), sample) for row in rows]
        kinds = [Category.PERSON if s is None else Category.PERSON_WITH_SURFACE for s in surfaces]
        categories = np.where(alone, np.int8(Category.FACE), np.array(kinds, np.int8))
        return People.of(boxes, surfaces=surfaces, categories=categories, **given)

    def _surface(self, stored: Any, sample: Sample) -> SurfaceMap | None:
        try:
            return None if stored is None else unpack_surface(stored)
        except (ValueError, KeyError, TypeError, zlib.error) as error:
            raise DatasetError(
                f"{self.path}: a surface of {sample.id} cannot be read: {error}.",
                "Delete the key `surface` of the annotation, or make the file anew with `dp2bench detect`.",
            ) from error

    def _mask(self, segmentation: Any, size: tuple[int, int], sample: Sample) -> NDArray[np.bool_]:
        """(H, W) of polygons [[x, y, ...], ...] or of a run-length encoding, packed or not."""
        try:
            if isinstance(segmentation, list):
                packed = rle.merge(rle.frPyObjects([p for p in segmentation if len(p) >= 6], *size))
            elif isinstance(segmentation["counts"], list):
                packed = rle.frPyObjects(segmentation, *segmentation["size"])
            else:
                packed = segmentation
            mask = np.asarray(rle.decode(packed), np.bool_)
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise DatasetError(
                f"{self.path}: a segmentation of {sample.id} is neither polygons nor a run-length encoding.",
                f"See {_FORMAT}.",
            ) from error
        if mask.shape != size:
            raise DatasetError(
                f"{self.path}: a mask of {sample.id} has {mask.shape[1]}x{mask.shape[0]} pixels, the picture {size[1]}x{size[0]}.",
                "Use the annotations of these pictures.",
            )
        return mask


def pack_surface(surface: SurfaceMap) -> dict[str, Any]:
    """A surface as JSON: the vertex ids as base64 of zlib of little-endian int32."""
    ids = np.ascontiguousarray(surface.vertices, "<i4")
    packed = base64.b64encode(zlib.compress(ids.tobytes(), 6)).decode()
    return {
        "template": surface.template,
        "box": surface.box.tolist(),
        "size": list(ids.shape),
        "vertices": packed,
    }


def unpack_surface(stored: Mapping[str, Any]) -> SurfaceMap:
    """What `pack_surface` packed."""
    height, width = stored["size"]
    # No more than the picture of a declared size can hold is ever unpacked.
    data = zlib.decompressobj().decompress(base64.b64decode(stored["vertices"]), 4 * height * width)
    ids = np.frombuffer(data, "<i4").astype(np.int32).reshape(height, width)
    return SurfaceMap(str(stored["template"]), np.array(stored["box"], np.int32).reshape(4), ids)


def _corners(rows: Sequence[Sequence[float]]) -> NDArray[np.float32]:
    """(N, 4) xyxy from x, y, width, height; summed in double precision, so that what was written from float32 comes back."""
    boxes = np.array(rows, np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return boxes.astype(np.float32)
