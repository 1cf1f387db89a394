"""The types that travel between the parts: pictures, people, and what became of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from enum import IntEnum
from pathlib import Path
from typing import Any, NamedTuple, NewType

import numpy as np
from numpy.typing import NDArray

from dp2bench.core.errors import Dp2benchError

Image = NDArray[np.uint8]
"""A picture: (H, W, 3) RGB, 0..255."""

SampleId = NewType("SampleId", str)
"""A picture's name within its dataset: the path relative to the split's folder, with forward slashes."""


class Category(IntEnum):
    """What a detection offers a generator (DeepPrivacy2, section 3.1)."""

    FACE = 0
    PERSON = 1
    PERSON_WITH_SURFACE = 2


@dataclass(frozen=True)
class SurfaceMap:
    """Which vertex of a template body each pixel of a person shows.

    Attributes:
        template: name of the vertex numbering, e.g. ``smpl-27554`` or ``passersby-13380``; each has an embedding table.
        box: (4,) int32, xyxy pixels in the picture that ``vertices`` covers.
        vertices: (h, w) int32 vertex ids, -1 where the pixel shows no body surface.

    """

    template: str
    box: NDArray[np.int32]
    vertices: NDArray[np.int32]


@dataclass(frozen=True)
class People:
    """N people of one picture as parallel arrays.

    Attributes:
        boxes: (N, 4) float32, xyxy pixels.
        masks: (N, H, W) bool, or None when only boxes are known.
        keypoints: (N, 17, 3) float32 in COCO order, x, y, visibility (0 absent, 1 hidden, 2 visible).
        faces: (N, 4) float32 xyxy, NaN rows where no face was found.
        surfaces: one SurfaceMap or None a person.
        categories: (N,) int8 of Category.
        scores: (N,) float32 in [0, 1].
        track_ids: (N,) int64 of a video's tracks.
        image_size: (H, W) of the picture. Masks tell it; without masks whoever finds the people says it, and None means unknown.

    """

    boxes: NDArray[np.float32]
    masks: NDArray[np.bool_] | None = None
    keypoints: NDArray[np.float32] | None = None
    faces: NDArray[np.float32] | None = None
    surfaces: tuple[SurfaceMap | None, ...] = ()
    categories: NDArray[np.int8] = field(default_factory=lambda: np.zeros(0, np.int8))
    scores: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    track_ids: NDArray[np.int64] | None = None
    image_size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        n = len(self.boxes)
        shapes = {
            "boxes": (n, 4),
            "categories": (n,),
            "scores": (n,),
            "keypoints": (n, 17, 3),
            "faces": (n, 4),
            "track_ids": (n,),
        }
        for name, shape in shapes.items():
            value = getattr(self, name)
            if value is not None and value.shape != shape:
                raise ValueError(f"People.{name} has shape {value.shape}, expected {shape} for {n} people")
        if self.masks is not None and (
            self.masks.ndim != 3 or len(self.masks) != n or self.masks.dtype != np.bool_
        ):
            raise ValueError(
                f"People.masks must be bool of shape ({n}, H, W), got {self.masks.dtype} {self.masks.shape}"
            )
        if self.masks is not None:
            self.check_image_size((self.masks.shape[1], self.masks.shape[2]))
            object.__setattr__(self, "image_size", (self.masks.shape[1], self.masks.shape[2]))
        if len(self.surfaces) != n:
            raise ValueError(f"People.surfaces has {len(self.surfaces)} entries for {n} people")

    def __len__(self) -> int:
        return len(self.boxes)

    @staticmethod
    def none(image_size: tuple[int, int] | None = None) -> People:
        """A picture without people."""
        return People(boxes=np.zeros((0, 4), np.float32), image_size=image_size)

    def check_image_size(self, image_size: tuple[int, int]) -> None:
        """Raise a Dp2benchError where these are known to be people of a picture of another (H, W)."""
        if self.image_size is not None and self.image_size != tuple(image_size):
            (h, w), (height, width) = self.image_size, image_size
            raise Dp2benchError(
                f"People of a picture of {w}x{h} pixels do not belong to one of {width}x{height}.",
                "Take the detections of these pictures, at this size.",
            )

    @staticmethod
    def of(boxes: Any, **given: Any) -> People:
        """People from boxes, with every array not given filled in by its default (score 1, category from what is known)."""
        boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
        n = len(boxes)
        surfaces = tuple(given.pop("surfaces", (None,) * n))
        categories = given.pop("categories", None)
        if categories is None:
            categories = [Category.PERSON if s is None else Category.PERSON_WITH_SURFACE for s in surfaces]
        scores = given.pop("scores", None)
        return People(
            boxes=boxes,
            surfaces=surfaces,
            categories=np.asarray(categories, np.int8).reshape(n),
            scores=np.ones(n, np.float32) if scores is None else np.asarray(scores, np.float32),
            **given,
        )

    def take(self, indices: Sequence[int] | NDArray[np.intp]) -> People:
        """The people at these indices, in this order."""
        indices = np.asarray(indices, np.intp)
        picked: dict[str, Any] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name == "image_size":
                picked[f.name] = value
            elif f.name == "surfaces":
                picked[f.name] = tuple(value[i] for i in indices)
            else:
                picked[f.name] = None if value is None else value[indices]
        return replace(self, **picked)


def fill_boxes(boxes: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.bool_]:
    """(N, H, W): the pixels that each of (N, 4) boxes touches."""
    out = np.zeros((len(boxes), *size), np.bool_)
    low = np.maximum(np.floor(boxes[:, :2]), 0).astype(np.int64)
    high = np.maximum(np.ceil(boxes[:, 2:]), 0).astype(np.int64)
    for mask, (x0, y0), (x1, y1) in zip(out, low, high, strict=True):
        mask[y0:y1, x0:x1] = True
    return out


class Missed(NamedTuple):
    """A person who was found and is still recognisable in the output."""

    person: int
    reason: str


class Anonymized(NamedTuple):
    """What an anonymizer returns for one picture.

    Attributes:
        image: (H, W, 3) uint8, same size as the input.
        changed: (H, W) bool, the pixels the method was free to replace.
        missed: people who were found and left, with the reason: nobody is left in the picture silently.

    """

    image: Image
    changed: NDArray[np.bool_]
    missed: tuple[Missed, ...] = ()

    def _repr_png_(self) -> bytes:
        """The picture, for notebooks."""
        import cv2

        return bytes(cv2.imencode(".png", np.ascontiguousarray(self.image[..., ::-1]))[1].tobytes())


@dataclass(frozen=True)
class Sample:
    """One picture of a dataset.

    Attributes:
        id: unique within the split; becomes the file's name when the dataset is rewritten.
        path: the picture's file; where it lies in an archive or a video, that file and the name within (see `Dataset.read`).
        labels: what the dataset knows of it (``identity``, ``camera``, ...).

    """

    id: SampleId
    path: Path
    labels: Mapping[str, Any] = field(default_factory=dict)


def page_ids(name: str, pages: int) -> list[SampleId]:
    """Ids of the pages of a file: its name, where there is one; else ``scan.tif/00000000``, ``scan.tif/00000001``, …."""
    return [SampleId(name)] if pages == 1 else [SampleId(f"{name}/{page:08d}") for page in range(pages)]


@dataclass(frozen=True)
class CropBatch:
    """B crops around people, resized to one size, for an Inpainter.

    Attributes:
        images: (B, h, w, 3) uint8 RGB. Holes are grey (127) unless the method declares that it sees them.
        masks: (B, h, w) bool, True where the pixel is to be synthesised.
        outside: (B, h, w) bool, True where the crop reaches out of the picture (padding).
        surfaces: (B, h, w) int32 vertex ids, -1 where unknown, or None.
        templates: the vertex numbering of each crop, None where there is no surface.
        keypoints: (B, 17, 3) float32 in crop pixels, or None.

    """

    images: NDArray[np.uint8]
    masks: NDArray[np.bool_]
    outside: NDArray[np.bool_]
    surfaces: NDArray[np.int32] | None = None
    templates: tuple[str | None, ...] = ()
    keypoints: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.images)

    def row(self, i: int) -> CropBatch:
        """A copy of one crop as a batch of one."""

        def one(values: NDArray[Any] | None) -> Any:
            return None if values is None else values[i : i + 1].copy()

        return CropBatch(
            one(self.images),
            one(self.masks),
            one(self.outside),
            one(self.surfaces),
            self.templates[i : i + 1],
            one(self.keypoints),
        )

    @staticmethod
    def join(rows: Sequence[tuple[CropBatch, int]]) -> CropBatch:
        """Single crops of several batches, of one size, as one batch. Keypoints are known of all of them or of none."""

        def joined(values: Sequence[NDArray[Any] | None]) -> Any:
            known = next((v for v in values if v is not None), None)
            if known is None:
                return None
            return np.stack([np.full_like(known, -1) if v is None else v for v in values])

        def column(name: str) -> list[NDArray[Any] | None]:
            arrays = [(getattr(batch, name), i) for batch, i in rows]
            return [None if values is None else values[i] for values, i in arrays]

        keypoints = column("keypoints")
        if any(k is None for k in keypoints) and any(k is not None for k in keypoints):
            raise ValueError("crops with keypoints and crops without cannot be one batch")
        return CropBatch(
            joined(column("images")),
            joined(column("masks")),
            joined(column("outside")),
            joined(column("surfaces")),
            tuple(batch.templates[i] if batch.templates else None for batch, i in rows),
            joined(keypoints),
        )
