"""Where to cut: the crop around a body or a face, in exact integers (DeepPrivacy2, section 3.1 and its
released settings).

Boxes are xyxy pixels, exclusive at the far end; sizes are (height, width). Crops may reach out of the
picture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dp2bench.core.contracts import FaceCrop

BODY_ASPECT = 288 / 160
SMALLEST_CROP = 32 * 32
"""Area in pixels under which the released settings drop a person."""

_Box = Sequence[Any] | NDArray[Any]


def body_crop_box(
    box: _Box,
    image_size: tuple[int, int],
    mask_pixels: int,
    *,
    aspect: float = BODY_ASPECT,
    expansion: float = 0.1,
    background: float = 0.3,
) -> NDArray[np.int64]:
    """The crop of a person: a margin, then the aspect ratio, then enough background.

    Args:
        box: (4,) tight box of the person's mask, inside the picture, at least one pixel wide and high.
        image_size: (H, W) of the picture.
        mask_pixels: pixels of the person's mask.
        aspect: height over width of the crop.
        expansion: pixels added to each axis, as a share of sqrt(box area); never beyond the picture's own
            size.
        background: least share of the crop that is not the person.

    Returns:
        (4,) int64. A crop that would leave the picture on one side is moved inwards as far as the other side
        allows.

    """
    x0, y0, x1, y1 = (int(v) for v in box)
    height, width = image_size
    margin = int(math.sqrt((x1 - x0) * (y1 - y0)) * expansion)
    x0, x1 = resize_span(x0, x1, min(x1 - x0 + margin, width), width)
    y0, y1 = resize_span(y0, y1, min(y1 - y0 + margin, height), height)
    w, h = x1 - x0, y1 - y0
    if h / w < aspect:
        y0, y1 = resize_span(y0, y1, int(w * aspect), height)
    elif h / w > aspect:
        x0, x1 = resize_span(x0, x1, int(h / aspect), width)
    w, h = x1 - x0, y1 - y0
    # Single precision: the reference integers come from it, and rounding up makes the last bit count.
    pixels = np.float32(mask_pixels)
    if np.float32(1) - pixels / np.float32(w * h) <= np.float32(background):
        scale = np.sqrt(pixels / np.float32(1 - background) / np.float32(w * h))
        x0, x1 = resize_span(x0, x1, math.ceil(scale * np.float32(w)), width)
        y0, y1 = resize_span(y0, y1, math.ceil(scale * np.float32(h)), height)
    return np.array([x0, y0, x1, y1], np.int64)


def keeps(box: _Box, smallest: int = SMALLEST_CROP) -> bool:
    """Whether a crop box is large enough (area in pixels) for a generator."""
    x0, y0, x1, y1 = (int(v) for v in box)
    return (x1 - x0) * (y1 - y0) >= smallest


def face_crop_box(box: _Box, image_size: tuple[int, int], kind: FaceCrop = "fdf256") -> NDArray[np.int64]:
    """The square crop of a face.

    ``fdf256``: centred on the face, longer side plus 40 %, may leave the picture. ``fdf128`` (the older data
    set): made square and enlarged by 35 % on every side within the picture; where that cannot work, centred
    plus 70 %.

    Args:
        box: (4,) the face.
        image_size: (H, W) of the picture.
        kind: whose definition.

    Returns:
        (4,) int64.

    """
    x0, y0, x1, y1 = (float(v) for v in box)
    if kind == "fdf256":
        return _centred_square(x0, y0, x1, y1, 0.4)
    inside = _square_inside((x0, y0, x1, y1), image_size, 0.35)
    return _centred_square(x0, y0, x1, y1, 0.7) if inside is None else inside


def resize_span(low: int, high: int, size: int, limit: int) -> tuple[int, int]:
    """[low, high) at a new size about its middle, moved towards [0, limit) where only one end sticks out."""
    low -= (size - (high - low)) // 2
    high = low + size
    if low < 0 and high < limit:
        move = min(-low, limit - high)
    elif high > limit and low > 0:
        move = -min(high - limit, low)
    else:
        move = 0
    return low + move, high + move


def _centred_square(x0: float, y0: float, x1: float, y1: float, extra: float) -> NDArray[np.int64]:
    half = max(x1 - x0, y1 - y0) * (1 + extra) // 2
    x, y = int(x0) + (x1 - x0) // 2, int(y0) + (y1 - y0) // 2
    return np.array([x - half, y - half, x + half, y + half]).astype(np.int64)


def _square_inside(
    box: tuple[float, float, float, float], image_size: tuple[int, int], extra: float
) -> NDArray[np.int64] | None:
    height, width = image_size
    x0, y0, x1, y1 = box
    w, h = x1 - x0, y1 - y0
    side = max(w, h)
    if side > min(height, width):
        return None
    if w != h:
        if h < w:
            y0 = max(0.0, y0 - (w - h) // 2)
        else:
            x0 = max(0.0, x0 - (h - w) // 2)
        x0, y0 = min(x0, width - side), min(y0, height - side)
    if x0 < 0 or y0 < 0 or x0 + side > width or y0 + side > height:
        return None
    # Half of what each side of the picture leaves, in floor division as the reference has it.
    grow = min(int(side * extra), (height - side) // 2, (width - side) // 2)
    if grow > 0:
        side += 2 * grow
        x0 = min(max(0.0, x0 - grow), width - side)
        y0 = min(max(0.0, y0 - grow), height - side)
    left, top, side = int(x0), int(y0), int(side)
    return np.array([left, top, left + side, top + side], np.int64)
