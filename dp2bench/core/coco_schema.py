"""The rows of a COCO annotation file, as pydantic validates them.

The format is https://cocodataset.org/#format-data; an annotation may also have ``score``, ``face`` (x, y, width, height, or null),
``surface``, ``track_id`` and ``rotation``.
"""

from __future__ import annotations

import base64
import math
import zlib
from typing import Annotated, Any

import numpy as np
from pydantic import (
    AliasChoices,
    AliasPath,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    PlainValidator,
)

from dp2bench.core.errors import AnnotationError
from dp2bench.core.types import SurfaceMap

FARTHEST = 1e6
"""Pixels from the picture's corner that any coordinate may have."""


def identifier(value: Any) -> Any:
    """An id as it counts: numbers stay numbers and texts texts: "1" is not 1. A whole float is its number."""
    if isinstance(value, bool) or not isinstance(value, int | str | float):
        raise ValueError("should be a number or a text")
    if isinstance(value, float):
        if not value.is_integer():
            raise ValueError("should be a whole number or a text")
        return int(value)
    return value


def _unless_unknown(value: Any) -> Any:
    """-1 is how the VGG Image Annotator says that it does not know a size."""
    return None if value == -1 else value


def _file_name(value: Any) -> str:
    """Also of letters that are none: names on a disk need not be UTF-8, which pydantic's texts are."""
    if not isinstance(value, str) or not value:
        raise ValueError("should be a name")
    return value


def _degrees(value: Any) -> float:
    """An angle; 0 for what is none: people may give their attributes any name."""
    try:
        angle = float(value)
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return angle if math.isfinite(angle) else 0.0


Identifier = Annotated[int | str, BeforeValidator(identifier)]
Number = Annotated[FiniteFloat, Field(ge=-FARTHEST, le=FARTHEST)]
Side = Annotated[int, Field(ge=1, le=FARTHEST)]
Box = tuple[Number, Number, Number, Number]
Corners = tuple[float, float, float, float]


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True)


class ImageRow(_Row):
    """An entry of ``images``."""

    id: Identifier
    file_name: Annotated[str, PlainValidator(_file_name)]
    width: Annotated[Side | None, BeforeValidator(_unless_unknown)] = None
    height: Annotated[Side | None, BeforeValidator(_unless_unknown)] = None

    @property
    def size(self) -> tuple[int, int] | None:
        """(H, W), or None where the file does not say."""
        return None if self.height is None or self.width is None else (self.height, self.width)


class CategoryRow(_Row):
    """An entry of ``categories``."""

    id: Identifier
    name: str
    supercategory: str | None = None


class RunLengths(_Row):
    """A mask as lengths of runs down the columns, as a list or packed to a text."""

    size: tuple[Side, Side]
    counts: list[Annotated[int, Field(ge=0)]] | str


class Surface(_Row):
    """A `SurfaceMap` as JSON: the vertex ids as base64 of zlib of little-endian int32."""

    template: str
    box: tuple[int, int, int, int]
    size: tuple[Annotated[int, Field(ge=0, le=65536)], Annotated[int, Field(ge=0, le=65536)]]
    vertices: str


class AnnotationRow(_Row):
    """An entry of ``annotations``."""

    id: Identifier | None = None
    image_id: Identifier
    category_id: Identifier | None = None
    bbox: Box
    area: Number | None = None
    segmentation: list[list[Number]] | RunLengths | None = None
    keypoints: list[Number] | None = None
    iscrowd: bool | None = False
    score: Annotated[FiniteFloat, Field(ge=0, le=1)] | None = None
    face: Box | None = None
    surface: Surface | None = None
    track_id: Annotated[int, Field(ge=-1, le=2**62)] | None = None
    rotation: Annotated[float, BeforeValidator(_degrees)] = Field(
        0.0, validation_alias=AliasChoices("rotation", AliasPath("attributes", "rotation"))
    )
    """Degrees by which the box was turned about its middle; CVAT exports it as an attribute beside the box before it was turned."""

    @property
    def corners(self) -> Corners:
        """x0, y0, x1, y1 of the box; of one that is turned, around it as it is drawn and as it is not."""
        x0, y0, x1, y1 = corners(self.bbox)
        if self.rotation % 180 and not self.segmentation:
            angle, (_, _, w, h) = math.radians(self.rotation), self.bbox
            across = (abs(w * math.cos(angle)) + abs(h * math.sin(angle)) - w) / 2
            down = (abs(w * math.sin(angle)) + abs(h * math.cos(angle)) - h) / 2
            x0, x1 = min(x0, x0 - across), max(x1, x1 + across)
            y0, y1 = min(y0, y0 - down), max(y1, y1 + down)
        return x0, y0, x1, y1

    @property
    def polygons(self) -> list[list[float]]:
        """The polygons that have an area; a point or a line between them has none."""
        some = self.segmentation if isinstance(self.segmentation, list) else []
        return [polygon for polygon in some if len(polygon) >= 6]


class IdentifiedRow(_Row):
    """Of an annotation, what it belongs to."""

    image_id: Identifier
    category_id: Identifier


class Identifiers(_Row):
    """Of a file, which annotations belong to what."""

    categories: list[CategoryRow]
    annotations: list[IdentifiedRow]


def corners(box: Box) -> Corners:
    """x0, y0, x1, y1 of x, y, width, height; summed in double precision, so that what was written from float32 comes back."""
    x, y, w, h = box
    return x, y, x + w, y + h


def pack_surface(surface: SurfaceMap) -> dict[str, Any]:
    """A surface as JSON; see `Surface`."""
    ids = np.ascontiguousarray(surface.vertices, "<i4")
    packed = base64.b64encode(zlib.compress(ids.tobytes(), 6)).decode()
    return {
        "template": surface.template,
        "box": surface.box.tolist(),
        "size": list(ids.shape),
        "vertices": packed,
    }


def unpack_surface(stored: Surface, where: str) -> SurfaceMap:
    """What `pack_surface` packed; ``where`` is how errors call it."""
    height, width = stored.size
    try:
        # No more than the picture of a declared size can hold is ever unpacked.
        data = zlib.decompressobj().decompress(base64.b64decode(stored.vertices), max(1, 4 * height * width))
        ids = np.frombuffer(data, "<i4").astype(np.int32).reshape(height, width)
        if ids.min(initial=0) < -1:
            raise ValueError("there are vertices below -1")
        box = np.array(stored.box, np.int32)
    except (ValueError, OverflowError, zlib.error) as error:
        raise AnnotationError(
            f"{where} has a surface that cannot be read: {error}.",
            "Delete the key `surface` of the annotation, or make the file anew with `dp2bench detect`.",
        ) from error
    return SurfaceMap(stored.template, box, ids)
