"""From people to regions to crops (DeepPrivacy2, section 3.1)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from dp2bench.core.contracts import FaceCrop
from dp2bench.core.types import Image, Missed, People, SurfaceMap
from dp2bench.inpainting.crop_boxes import SMALLEST_CROP, body_crop_box, face_crop_box, keeps

GREY = 127
"""Mid-grey: what stands for masked pixels."""
DILATION = 0.02
"""Radius of the mask's dilation as a share of sqrt(h * w) of the crop."""
NO_FACE = "no face found"
OUTSIDE = "outside the picture"
UNDER_A_PIXEL = "a box smaller than a pixel"
TOO_SMALL = "crop smaller than 32x32 pixels"


@dataclass(frozen=True)
class Region:
    """What is replaced of one person.

    Attributes:
        person: index into People.
        body: (x0, y0, x1, y1) tight box of the mask or the face, inside the picture.
        box: (x0, y0, x1, y1) crop in the picture; may reach out of it.
        window: ``box`` clipped to the picture.
        mask: (h, w) uint8 of the window, 1 where the picture is replaced.
        crop_mask: (h, w) uint8 of the crop at crop size, 1 where it is synthesised.
        inside: rows and columns of the crop that lie in the picture: y0, y1, x0, x1.
        pixels: covered pixels of the picture, the order of pasting.

    """

    person: int
    body: tuple[int, int, int, int]
    box: tuple[int, int, int, int]
    window: tuple[int, int, int, int]
    mask: NDArray[np.uint8]
    crop_mask: NDArray[np.uint8]
    inside: tuple[int, int, int, int]
    pixels: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns of the window in the picture."""
        x0, y0, x1, y1 = self.window
        return slice(y0, y1), slice(x0, x1)

    def outside(self) -> NDArray[np.bool_]:
        """(h, w) bool of the crop, True in the padding."""
        out = np.ones(self.crop_mask.shape, np.bool_)
        y0, y1, x0, x1 = self.inside
        out[y0:y1, x0:x1] = False
        return out


class CropPlan(NamedTuple):
    """Regions in ascending order of covered pixels, those too small for a generator, and who has no
    region.
    """

    regions: list[Region]
    small: list[Region]
    missed: list[Missed]


def plan_crops(
    people: People,
    image_size: tuple[int, int],
    scope: Literal["body", "face"],
    crop_size: tuple[int, int],
    *,
    smallest: int = SMALLEST_CROP,
    face_crop: FaceCrop = "fdf256",
) -> CropPlan:
    """Where each person is cut out and what of the crop is replaced.

    Args:
        people: N people; without masks, or with an empty one, a person's box is the mask. Somebody whose box has no pixel's size is
            missed: nobody is so small, so the box is wrong.
        image_size: (H, W).
        scope: ``body``: the dilated mask; ``face``: the face box, without dilation.
        crop_size: (h, w) of the crops.
        smallest: crop area in pixels under which a body goes to ``small``.
        face_crop: definition of the crop around a face.

    Raises:
        Dp2benchError: the people are of a picture of another size.

    """
    people.check_image_size(image_size)
    regions: list[Region] = []
    small: list[Region] = []
    missed: list[Missed] = []
    for i in range(len(people)):
        if scope == "face":
            if people.faces is None or not np.isfinite(people.faces[i]).all():
                missed.append(Missed(i, NO_FACE))
                continue
            rectangle = people.faces[i]
        else:
            rectangle = people.boxes[i]
        body = _whole_pixels(rectangle, image_size)
        mask: NDArray[np.uint8] | None = None
        if scope == "body" and people.masks is not None:
            whole = people.masks[i].view(np.uint8)
            x, y, w, h = bounds(whole)
            if w:
                body, mask = (x, y, x + w, y + h), whole[y : y + h, x : x + w]
        if mask is None and (rectangle[2:] - rectangle[:2] < 1).any():
            missed.append(Missed(i, UNDER_A_PIXEL))
            continue
        if body is None:
            missed.append(Missed(i, OUTSIDE))
            continue
        region = _region(i, body, mask, image_size, scope=scope, crop_size=crop_size, face_crop=face_crop)
        (regions if scope == "face" or keeps(region.box, smallest) else small).append(region)
    regions.sort(key=lambda r: (r.pixels, r.person))
    small.sort(key=lambda r: (r.pixels, r.person))
    return CropPlan(regions, small, missed)


def extract_crop(
    image: Image,
    region: Region,
    *,
    scope: Literal["body", "face"] = "body",
    blank: bool = False,
    fast_resize: bool = False,
) -> NDArray[np.uint8]:
    """The crop of a region, (h, w, 3) uint8 at crop size, black in the padding.

    A body that is enlarged is enlarged by nearest neighbour, as the networks were trained; a face by bicubic
    interpolation. What shrinks is averaged over areas.

    Args:
        image: (H, W, 3).
        region: where.
        scope: whose interpolation.
        fast_resize: shrink as `halve_then_bilinear` does, for fills that blur what they get anyway.
        blank: set the mask to grey before interpolating, so that nothing of it reaches the crop.

    """
    window = image[region.slices]
    if blank:
        window = window.copy()
        blank_out(window, region.mask)
    h, w = region.crop_mask.shape
    x0, y0, x1, y1 = region.box
    padded = pad(window, region)
    if (y1 - y0, x1 - x0) == (h, w):
        crop = padded if padded is not window else window.copy()
    elif y1 - y0 <= h and x1 - x0 <= w:
        how = cv2.INTER_NEAREST if scope == "body" else cv2.INTER_CUBIC
        crop = cv2.resize(padded, (w, h), interpolation=how)
    elif fast_resize:
        crop = halve_then_bilinear(padded, w, h)
    else:
        crop = cv2.resize(padded, (w, h), interpolation=cv2.INTER_AREA)
    if blank:
        crop = np.asarray(crop, np.uint8)
        blank_out(crop, region.crop_mask)
    return np.asarray(crop, np.uint8)


def extract_mask(mask: NDArray[np.uint8], region: Region) -> NDArray[np.uint8]:
    """(H, W) uint8 mask at crop size, every marked pixel kept and nothing marked in the padding."""
    crop = _shrink_mask(pad(mask[region.slices], region), region.crop_mask.shape, exact=True)
    return _only_inside(crop, region.inside)


def put(target: NDArray[np.uint8], source: NDArray[np.uint8], mask: NDArray[np.uint8]) -> None:
    """Copy ``source`` to ``target`` where ``mask`` is not 0; all of one height and width."""
    done = cv2.copyTo(source, mask, target)
    # Where OpenCV cannot write to the array itself, it returns another one.
    if not np.shares_memory(done, target):
        target[...] = done


def blank_out(target: NDArray[np.uint8], mask: NDArray[np.uint8]) -> None:
    """Set (h, w, 3) ``target`` to grey where (h, w) ``mask`` is not 0."""
    put(target, np.full(target.shape, GREY, np.uint8), mask)


def bounds(mask: NDArray[np.uint8]) -> tuple[int, int, int, int]:
    """x, y, width, height of the rectangle around what is not 0; all 0 where there is nothing."""
    x, y, w, h = cv2.boundingRect(mask)
    return int(x), int(y), int(w), int(h)


def keypoints_in_crop(keypoints: NDArray[np.float32], region: Region) -> NDArray[np.float32]:
    """(17, 3) keypoints in crop pixels; those outside the crop become absent."""
    h, w = region.crop_mask.shape
    x0, y0, x1, y1 = region.box
    out = keypoints.astype(np.float32)
    out[:, 0] = (out[:, 0] - x0) * np.float32(w / (x1 - x0))
    out[:, 1] = (out[:, 1] - y0) * np.float32(h / (y1 - y0))
    out[(out[:, 0] < 0) | (out[:, 0] > w) | (out[:, 1] < 0) | (out[:, 1] > h), 2] = 0
    return out


def surface_in_crop(surface: SurfaceMap | None, region: Region) -> NDArray[np.int32]:
    """(h, w) vertex ids of the crop, -1 where unknown or not replaced."""
    h, w = region.crop_mask.shape
    out = np.full((h, w), -1, np.int32)
    if surface is None:
        return out
    x0, y0, x1, y1 = region.box
    rows = y0 + np.arange(h) * (y1 - y0) // h - int(surface.box[1])
    cols = x0 + np.arange(w) * (x1 - x0) // w - int(surface.box[0])
    r = (rows >= 0) & (rows < surface.vertices.shape[0])
    c = (cols >= 0) & (cols < surface.vertices.shape[1])
    out[np.ix_(r, c)] = surface.vertices[np.ix_(rows[r], cols[c])]
    out[region.crop_mask == 0] = -1
    return out


def dilation_radius(crop_size: tuple[int, int]) -> int:
    """Radius in crop pixels of the disk that widens a mask."""
    return int(DILATION * math.sqrt(crop_size[0] * crop_size[1]))


@lru_cache(maxsize=64)
def disk(radius: int) -> NDArray[np.uint8]:
    """(2r+1, 2r+1) uint8, 1 within a distance of ``radius`` of the middle."""
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    return np.asarray(x * x + y * y <= radius * radius, np.uint8)


def _region(
    person: int,
    body: tuple[int, int, int, int],
    mask: NDArray[np.uint8] | None,
    image_size: tuple[int, int],
    *,
    scope: Literal["body", "face"],
    crop_size: tuple[int, int],
    face_crop: FaceCrop,
) -> Region:
    """The region of a person whose mask covers ``body`` (all of it where ``mask`` is None)."""
    x0, y0, x1, y1 = body
    pixels = (x1 - x0) * (y1 - y0) if mask is None else cv2.countNonZero(mask)
    if scope == "face":
        made = face_crop_box(body, image_size, face_crop)
        # Tiny faces: rounding in the definition can leave the crop smaller than the face.
        made[:2], made[2:] = np.minimum(made[:2], (x0, y0)), np.maximum(made[2:], (x1, y1))
    else:
        made = body_crop_box(body, image_size, pixels, aspect=crop_size[0] / crop_size[1])
    bx0, by0, bx1, by1 = box = (int(made[0]), int(made[1]), int(made[2]), int(made[3]))
    wx0, wy0, wx1, wy1 = window = (max(bx0, 0), max(by0, 0), min(bx1, image_size[1]), min(by1, image_size[0]))
    bh, bw = by1 - by0, bx1 - bx0
    h, w = crop_size
    sy, sx = h / bh, w / bw
    inside = (
        math.floor((wy0 - by0) * sy),
        min(h, math.ceil((wy1 - by0) * sy)),
        math.floor((wx0 - bx0) * sx),
        min(w, math.ceil((wx1 - bx0) * sx)),
    )
    if scope == "face":
        crop_mask = np.zeros(crop_size, np.uint8)
        top, bottom = math.floor((y0 - by0) * sy), math.ceil((y1 - by0) * sy)
        left, right = math.floor((x0 - bx0) * sx), math.ceil((x1 - bx0) * sx)
        crop_mask[top:bottom, left:right] = 1
        window_mask = np.zeros((wy1 - wy0, wx1 - wx0), np.uint8)
        window_mask[y0 - wy0 : y1 - wy0, x0 - wx0 : x1 - wx0] = 1
    else:
        placed = np.zeros((bh, bw), np.uint8)
        placed[y0 - by0 : y1 - by0, x0 - bx0 : x1 - bx0] = 1 if mask is None else mask
        radius = dilation_radius(crop_size)
        crop_mask = _shrink_mask(placed, crop_size, exact=radius == 0)
        if radius:
            crop_mask = np.asarray(cv2.dilate(crop_mask, disk(radius)), np.uint8)
        crop_mask = _only_inside(crop_mask, inside)
        back = cv2.resize(crop_mask, (bw, bh), interpolation=cv2.INTER_NEAREST)
        window_mask = np.ascontiguousarray(back[wy0 - by0 : wy1 - by0, wx0 - bx0 : wx1 - bx0])
        # Holds but for the last bit of a division; a person's own pixel is never kept.
        cv2.bitwise_or(window_mask, placed[wy0 - by0 : wy1 - by0, wx0 - bx0 : wx1 - bx0].copy(), window_mask)
    return Region(person, body, box, window, window_mask, crop_mask, inside, pixels)


def _whole_pixels(box: NDArray[np.float32], image_size: tuple[int, int]) -> tuple[int, int, int, int] | None:
    """A box rounded outwards and clipped to the picture, or None where nothing is left."""
    if not np.isfinite(box).all():
        return None
    x0, y0 = max(0, math.floor(box[0])), max(0, math.floor(box[1]))
    x1, y1 = min(image_size[1], math.ceil(box[2])), min(image_size[0], math.ceil(box[3]))
    return (x0, y0, x1, y1) if x1 > x0 and y1 > y0 else None


def pad(window: NDArray[np.uint8], region: Region) -> NDArray[np.uint8]:
    """A window of the picture, padded with 0 to its crop box; the window itself where nothing is to pad."""
    if region.window == region.box:
        return window
    x0, y0, x1, y1 = region.box
    wx0, wy0, wx1, wy1 = region.window
    out = np.zeros((y1 - y0, x1 - x0, *window.shape[2:]), np.uint8)
    out[wy0 - y0 : wy1 - y0, wx0 - x0 : wx1 - x0] = window
    return out


def _shrink_mask(mask: NDArray[np.uint8], size: tuple[int, ...], *, exact: bool) -> NDArray[np.uint8]:
    """Nearest neighbour, after a maximum over what lies between two samples, so that thin parts are not
    lost.
    """
    (bh, bw), (h, w) = mask.shape, size[:2]
    if exact or bh > h or bw > w:
        kernel = np.ones((math.ceil(bh / h) + 1, math.ceil(bw / w) + 1), np.uint8)
        mask = np.asarray(cv2.dilate(mask, kernel, anchor=(0, 0)), np.uint8)
    return np.asarray(cv2.resize(mask, (w, h), interpolation=cv2.INTER_NEAREST), np.uint8)


def halve_then_bilinear(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Resize by means of 2x2 pixels while at least twice too large, then bilinearly: every pixel counts."""
    h, w = image.shape[:2]
    while h >= 2 * height and w >= 2 * width and h % 2 == w % 2 == 0:
        h, w = h // 2, w // 2
        image = np.asarray(cv2.resize(image, (w, h), interpolation=cv2.INTER_AREA), np.uint8)
    how = cv2.INTER_LINEAR if h < 2 * height and w < 2 * width else cv2.INTER_AREA
    return np.asarray(cv2.resize(image, (width, height), interpolation=how), np.uint8)


def _only_inside(crop: NDArray[np.uint8], inside: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    y0, y1, x0, x1 = inside
    crop[:y0], crop[y1:], crop[:, :x0], crop[:, x1:] = 0, 0, 0, 0
    return crop
