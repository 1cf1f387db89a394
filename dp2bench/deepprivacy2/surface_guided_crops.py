"""Crops and stitching as Surface Guided GANs' published code has them (full_body_anonymization).

They differ from `dp2bench.inpainting`: the crop is 10 % larger a side than the mask's own box, everybody is filled from the
original picture, and a pixel once written stays, in the order of the detector's scores: first what people cover, then borders.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from dp2bench.core.types import Image
from dp2bench.inpainting.crop_boxes import BODY_ASPECT, resize_span
from dp2bench.inpainting.crops import disk

MARGIN = 1.1
BACKGROUND = 0.3
SMALLEST = 32 * 32
"""Area in pixels of the tight box under which a person is left, as published."""


@dataclass(frozen=True)
class GuidedCrop:
    """One person cut out for the network.

    Attributes:
        box: (x0, y0, x1, y1) of the crop in the picture; may reach out of it.
        image: (1, 3, h, w) float32 in -1..1, the hole not yet removed.
        surface: (1, 1, h, w) float32, 1 where the person's surface is (E_mask).
        hole: (1, 1, h, w) float32, 1 where the network synthesises: the dilated surface.

    """

    box: tuple[int, int, int, int]
    image: Tensor
    surface: Tensor
    hole: Tensor


def tight_box(mask: NDArray[np.bool_], box: Sequence[int]) -> tuple[int, int, int, int]:
    """The box of what is marked, one pixel wider at the far ends where the detector's box allows, as published.

    Args:
        mask: (h, w) of the detector's box; something is marked.
        box: the detector's, xyxy pixels.

    """
    x0, y0, x1, y1 = (int(v) for v in box)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return (
        x0 + int(columns[0]),
        y0 + int(rows[0]),
        min(x0 + int(columns[-1]) + 2, x1),
        min(y0 + int(rows[-1]) + 2, y1),
    )


def crop_box(
    tight: Sequence[int], image_size: tuple[int, int], mask_pixels: int, *, aspect: float = BODY_ASPECT
) -> tuple[int, int, int, int]:
    """The crop of a tight box: a margin, then the aspect ratio, then enough background.

    Args:
        tight: xyxy pixels, see `tight_box`.
        image_size: (H, W).
        mask_pixels: pixels of the person's mask.
        aspect: height over width.

    """
    x0, y0, x1, y1 = (int(v) for v in tight)
    height, width = image_size
    x0, x1 = resize_span(x0, x1, min(int((x1 - x0) * MARGIN), width), width)
    y0, y1 = resize_span(y0, y1, min(int((y1 - y0) * MARGIN), height), height)
    w, h = x1 - x0, y1 - y0
    if h / w < aspect:
        y0, y1 = resize_span(y0, y1, int(w * aspect), height)
    elif h / w > aspect:
        x0, x1 = resize_span(x0, x1, int(h / aspect), width)
    w, h = x1 - x0, y1 - y0
    least = mask_pixels / (1 - BACKGROUND)
    if w * h < least:
        scale = math.sqrt(least / (w * h))
        x0, x1 = resize_span(x0, x1, int(w * scale), width)
        y0, y1 = resize_span(y0, y1, int(h * scale), height)
    return x0, y0, x1, y1


def keeps(tight: Sequence[int]) -> bool:
    """Whether the published code fills a person of this tight box."""
    return int(tight[2] - tight[0]) * int(tight[3] - tight[1]) >= SMALLEST


def dilation_radius(pixels: int) -> int:
    """Radius of the disk that widens a mask of this many pixels at crop size."""
    return max(1, math.ceil(8 * math.sqrt(pixels / 65536)))


def place(values: Tensor, box: Sequence[int], crop: Sequence[int]) -> Tensor:
    """(1, C, h, w) values of a box, in its crop's frame: cut where they stick out, 0 elsewhere."""
    out = values.new_zeros(1, values.shape[1], int(crop[3] - crop[1]), int(crop[2] - crop[0]))
    x0, y0 = max(box[0], crop[0]), max(box[1], crop[1])
    x1, y1 = min(box[2], crop[2]), min(box[3], crop[3])
    if x1 > x0 and y1 > y0:
        out[..., y0 - crop[1] : y1 - crop[1], x0 - crop[0] : x1 - crop[0]] = values[
            ..., y0 - box[1] : y1 - box[1], x0 - box[0] : x1 - box[0]
        ]
    return out


def resize(values: Tensor, size: tuple[int, int]) -> Tensor:
    """Antialiased bilinear interpolation of (B, C, h, w)."""
    return F.interpolate(values, size, mode="bilinear", align_corners=False, antialias=True)


def cut(
    image: Image,
    mask: NDArray[np.bool_],
    box: Sequence[int],
    crop: tuple[int, int, int, int],
    size: tuple[int, int],
) -> GuidedCrop:
    """One person's crop.

    Args:
        image: (H, W, 3).
        mask: (h, w) of the detector's box, the person's surface.
        box: the detector's, xyxy pixels.
        crop: see `crop_box`.
        size: (h, w) of the network's crops.

    """
    whole = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    placed = place(whole, (0, 0, image.shape[1], image.shape[0]), crop)
    picture = resize(placed, size) / 127.5 - 1
    person = place(torch.from_numpy(mask)[None, None].float(), box, crop)
    surface = F.interpolate(person, size, mode="nearest")
    radius = dilation_radius(int(surface.sum()))
    wide = cv2.dilate(surface[0, 0].numpy().astype(np.uint8), disk(radius))
    hole = torch.from_numpy(np.asarray(wide, np.float32))[None, None]
    return GuidedCrop(crop, picture, surface, hole)


def stitch(
    image: Image, crops: Sequence[GuidedCrop], fills: Sequence[NDArray[np.uint8]]
) -> tuple[Image, NDArray[np.bool_]]:
    """Put every person's fill into the picture; a pixel once written stays.

    Args:
        image: (H, W, 3).
        crops: in the order of the detector.
        fills: (h, w, 3) of each crop.

    Returns:
        The picture and what was written, (H, W) bool.

    """
    out, written = image.copy(), np.zeros(image.shape[:2], np.bool_)
    enlarged = []
    for crop, fill in zip(crops, fills, strict=True):
        size = (crop.box[3] - crop.box[1], crop.box[2] - crop.box[0])
        picture = resize(torch.from_numpy(fill).permute(2, 0, 1)[None].float(), size)
        surface, hole = (resize(m, size)[0, 0].numpy() > 0 for m in (crop.surface, crop.hole))
        pixels = picture[0].permute(1, 2, 0).round().clamp(0, 255).byte().numpy()
        enlarged.append((crop.box, pixels, surface, hole & ~surface))
    for which in (2, 3):
        for part in enlarged:
            _write(out, written, part[0], part[1], cast("NDArray[np.bool_]", part[which]))
    return out, written


def _write(
    image: Image,
    written: NDArray[np.bool_],
    box: tuple[int, int, int, int],
    pixels: NDArray[Any],
    mask: NDArray[np.bool_],
) -> None:
    """Copy what lies in the picture and was not written before."""
    height, width = written.shape
    x0, y0, x1, y1 = max(box[0], 0), max(box[1], 0), min(box[2], width), min(box[3], height)
    here = (slice(y0, y1), slice(x0, x1))
    there = (slice(y0 - box[1], y1 - box[1]), slice(x0 - box[0], x1 - box[0]))
    new = mask[there] & ~written[here]
    image[here][new] = pixels[there][new]
    written[here] |= new
