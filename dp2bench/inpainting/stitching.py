"""From crops back into the picture, one person after the other (DeepPrivacy2, section 3.3)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from dp2bench.core.contracts import LinearOperator
from dp2bench.core.types import Image
from dp2bench.inpainting.crops import Region, blank_out, bounds, halve_then_bilinear, put


def non_overlapping_batches(regions: Sequence[Region]) -> list[list[Region]]:
    """Regions grouped so that a group after a group gives the picture that one region after another gives.

    A region reads and writes only its window. It is put one layer above every earlier region whose window
    overlaps, so within a layer nobody reads what another writes, and overlapping regions keep their order.
    """
    windows = np.array([r.window for r in regions], np.int64).reshape(-1, 4)
    level = np.zeros(len(regions), np.int64)
    out: list[list[Region]] = []
    for i, region in enumerate(regions):
        if i:
            w, before = windows[i], windows[:i]
            touch = (np.maximum(before[:, :2], w[:2]) < np.minimum(before[:, 2:], w[2:])).all(axis=1)
            level[i] = (level[:i] + 1)[touch].max(initial=0)
        if level[i] == len(out):
            out.append([])
        out[level[i]].append(region)
    return out


def paste(
    image: Image,
    region: Region,
    fill: NDArray[np.uint8],
    *,
    fast_resize: bool = False,
    feather: float = 0.0,
    unknown: NDArray[np.bool_] | None = None,
) -> None:
    """Put a filled crop, (h, w, 3) uint8, into the mask of ``image``; no other pixel is touched.

    A crop grows by bicubic interpolation, or bilinear where ``fast_resize`` says that it is smooth. One that shrinks is halved
    by means of 2x2 pixels while at least twice too large, then interpolated bilinearly: every pixel counts, as with an
    average over areas, which takes ten times as long.

    Args:
        image: (H, W, 3), changed in place.
        region: where.
        fill: the crop.
        fast_resize: it is smooth.
        feather: width of a soft edge (`soften`), as a share of the square root of the box's area.
        unknown: (H, W), pixels besides the mask that a soft edge must not read.

    """
    x0, y0, x1, y1 = region.box
    wx0, wy0, wx1, wy1 = region.window
    h, w = region.crop_mask.shape
    if (y1 - y0, x1 - x0) != (h, w):
        if not fast_resize and (x1 - x0 > w or y1 - y0 > h):
            fill = np.asarray(cv2.resize(fill, (x1 - x0, y1 - y0), interpolation=cv2.INTER_CUBIC), np.uint8)
        else:
            fill = halve_then_bilinear(fill, x1 - x0, y1 - y0)
    made = np.ascontiguousarray(fill[wy0 - y0 : wy1 - y0, wx0 - x0 : wx1 - x0])
    if feather:
        blocked = region.mask if unknown is None else region.mask | unknown[region.slices]
        width = feather * math.sqrt((x1 - x0) * (y1 - y0))
        made = soften(made, image[region.slices], region.mask, blocked, width)
    put(image[region.slices], made, region.mask)


def soften(
    fill: NDArray[np.uint8],
    image: NDArray[np.uint8],
    mask: NDArray[np.uint8],
    blocked: NDArray[np.uint8],
    width: float,
) -> NDArray[np.uint8]:
    """A fill that starts at the rim of its mask as the nearest known pixel and becomes itself over ``width`` pixels.

    The edge lies inside the mask, so that known pixels stay as they are, and blends with known pixels alone: nothing of what
    was in the mask comes through, as it would if the fill faded into the original.

    Args:
        fill: (h, w, 3) uint8 of the window.
        image: (h, w, 3) uint8, read where ``blocked`` is 0.
        mask: (h, w) uint8, 1 where the fill is used.
        blocked: (h, w) uint8, at least the mask: what must not be read.
        width: of the edge, in pixels.

    """
    if blocked.all():
        return fill
    distance, nearest = cv2.distanceTransformWithLabels(
        blocked, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    edge = (mask != 0) & (distance < width)
    colours = np.zeros((int(nearest.max()) + 1, 3), np.uint8)
    colours[nearest[blocked == 0]] = image[blocked == 0]
    share = (distance[edge] / np.float32(width))[:, None]
    out: NDArray[np.uint8] = fill.copy()
    out[edge] = np.rint(share * fill[edge] + (1 - share) * colours[nearest[edge]]).astype(np.uint8)
    return out


def apply_operator(
    image: Image, region: Region, operator: LinearOperator, scope: Literal["body", "face"]
) -> None:
    """Fill the mask of an enlarged region with a separable linear filter of its crop, without making the crop.

    Enlarging, filtering and shrinking back are one matrix for the rows and one for the columns. Equal to `cutting.extract_crop`, the
    filter and `paste` but for the rounding and clipping in between (4 grey levels).

    Args:
        image: (H, W, 3), changed in place.
        region: one whose box is not larger than its crop.
        operator: crop length -> (length, length) float32 of the filter along one axis; hashable.
        scope: whose interpolation.

    """
    x0, y0, x1, y1 = region.box
    wx0, wy0, wx1, wy1 = region.window
    h, w = region.crop_mask.shape
    x, y, width, height = bounds(region.mask)
    top, left = wy0 - y0, wx0 - x0
    # The columns of the padding, which is black, are left out.
    rows = _through_crop(operator, h, y1 - y0, scope)[top + y : top + y + height, top : wy1 - y0]
    cols = _through_crop(operator, w, x1 - x0, scope)[left + x : left + x + width, left : wx1 - x0]
    window = image[region.slices]
    n = len(window)
    wide = cols @ cv2.transpose(window).reshape(-1, n * 3).astype(np.float32)
    tall = rows @ cv2.transpose(wide.reshape(width, n, 3)).reshape(n, width * 3)
    made = cv2.convertScaleAbs(np.maximum(tall, 0)).reshape(height, width, 3)
    mask = np.ascontiguousarray(region.mask[y : y + height, x : x + width])
    put(window[y : y + height, x : x + width], made, mask)


@lru_cache(maxsize=512)  # all sizes of a 288x160 crop: 37 MB
def _through_crop(
    operator: LinearOperator, length: int, size: int, scope: Literal["body", "face"]
) -> NDArray[np.float32]:
    """(size, size) float32: enlarge to ``length``, filter, average back."""
    how = cv2.INTER_NEAREST if scope == "body" else cv2.INTER_CUBIC
    up = cv2.resize(np.eye(size, dtype=np.float32), (size, length), interpolation=how)
    down = cv2.resize(np.eye(length, dtype=np.float32), (length, size), interpolation=cv2.INTER_AREA)
    return np.asarray(down @ operator(length) @ up, np.float32)


def fill_grey(image: Image, region: Region) -> None:
    """Fill the mask of a region with grey."""
    blank_out(image[region.slices], region.mask)


def mark(changed: NDArray[np.bool_], region: Region) -> None:
    """Mark the masked pixels of a region in (H, W)."""
    window = changed[region.slices]
    window |= region.mask.view(np.bool_)
