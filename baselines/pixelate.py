"""Pixelation (DeepPrivacy2, section 5): the paper's smooth resize of the crop, and blocks in the picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import cv2
import numpy as np
from numpy.typing import NDArray

from dp2bench.baselines.image_level import ImageLevel, Window
from dp2bench.core.contracts import Inpainter, InpainterTraits, MethodMeta
from dp2bench.core.seeds import Seed
from dp2bench.core.types import CropBatch, Image
from dp2bench.inpainting.anonymizer import Fallback, InpaintingAnonymizer
from dp2bench.inpainting.crops import Region


@lru_cache(maxsize=64)
def bilinear(size: int, to: int) -> NDArray[np.float32]:
    """(to, size) float32 weights of linear interpolation whose first and last samples are those of the
    input.
    """
    at = np.linspace(0, size - 1, to) if to > 1 else np.zeros(1)
    low = np.minimum(at.astype(np.int64), size - 1)
    high = np.minimum(low + 1, size - 1)
    out = np.zeros((to, size), np.float32)
    np.add.at(out, (np.arange(to), low), 1 - (at - low))
    np.add.at(out, (np.arange(to), high), at - low)
    return out


@lru_cache(maxsize=64)
def _taps(size: int, to: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The 2 * to samples that a reduction reads, and (to, 2 * to) weights."""
    weights = bilinear(size, to)
    low = (
        np.minimum(np.linspace(0, size - 1, to).astype(np.int64), size - 2)
        if size > 1
        else np.zeros(to, np.int64)
    )
    index = np.stack([low, np.minimum(low + 1, size - 1)], axis=1).reshape(-1)
    picked = np.zeros((to, 2 * to), np.float32)
    for i in range(to):
        picked[i, 2 * i] = weights[i, index[2 * i]]
        picked[i, 2 * i + 1] = weights[i, index[2 * i + 1]] if index[2 * i + 1] != index[2 * i] else 0
    return index, picked


def _pixelate_matrix(length: int, blocks: int) -> NDArray[np.float32]:
    return np.asarray(bilinear(blocks, length) @ bilinear(length, blocks), np.float32)


@dataclass
class PixelateFill(Inpainter):
    """Bilinear resize of the whole crop to ``blocks`` x ``blocks`` and back, corners aligned, without
    averaging.
    """

    meta: MethodMeta
    crop_size: tuple[int, int]
    blocks: int

    def __post_init__(self) -> None:
        self.traits = InpainterTraits(
            low_frequency=True,
            uses_conditions=False,
            linear_operator=partial(_pixelate_matrix, blocks=self.blocks),
        )

    def inpaint(self, crops: CropBatch, *, seeds: Sequence[Seed]) -> NDArray[np.uint8]:
        """(B, h, w, 3) uint8: the whole crops, pixelated."""
        n = self.blocks
        h, w = crops.images.shape[1:3]
        (rows, down_y), (cols, down_x) = _taps(h, n), _taps(w, n)
        up_y, up_x = bilinear(n, h), bilinear(n, w)
        out = np.empty_like(crops.images)
        for image, made in zip(crops.images, out, strict=True):
            seen = image[rows[:, None], cols].astype(np.float32).transpose(2, 0, 1)
            small = down_y @ seen @ down_x.T
            wide = (small @ up_x.T).transpose(1, 2, 0).reshape(n, w * 3)
            made[...] = cv2.convertScaleAbs(up_y @ np.ascontiguousarray(wide)).reshape(h, w, 3)
        return out


def _crop_level(
    name: str, blocks: int, *, face: bool, fallback: Fallback = "mask-out"
) -> InpaintingAnonymizer:
    what, size = ("face", (256, 256)) if face else ("person", (288, 160))
    meta = MethodMeta(
        name,
        scope="face" if face else "body",
        description=f"Bilinear resize of every {what}'s {size[0]}x{size[1]} crop to {blocks}x{blocks}, back.",
    )
    return InpaintingAnonymizer(PixelateFill(meta, size, blocks), fallback=fallback)


def _image_level(name: str, blocks: int) -> ImageLevel:
    meta = MethodMeta(
        name,
        description=f"Block means, {blocks} blocks across the shorter side of every person's box, of 2 pixels or more.",
    )

    def effect(image: Image, region: Region, window: Window) -> NDArray[np.uint8]:
        x0, y0, x1, y1 = region.body
        # Blocks of one pixel would leave somebody of fewer pixels than blocks as he was.
        return block_means(image, window, max(2, math.ceil(min(x1 - x0, y1 - y0) / blocks)))

    return ImageLevel(meta, effect)


def block_means(image: Image, window: Window, block: int) -> NDArray[np.uint8]:
    """The window (x0, y0, x1, y1) of a picture in blocks of ``block`` pixels from its top left corner, (h, w,
    3).

    Blocks that the picture cuts off repeat its last row or column, so that a mean never covers fewer pixels.
    """
    x0, y0, x1, y1 = window
    rows, cols = math.ceil((y1 - y0) / block), math.ceil((x1 - x0) / block)
    part = image[y0 : y0 + rows * block, x0 : x0 + cols * block]
    below, right = rows * block - part.shape[0], cols * block - part.shape[1]
    if below or right:
        part = np.asarray(cv2.copyMakeBorder(part, 0, below, 0, right, cv2.BORDER_REPLICATE), np.uint8)
    means = cv2.resize(part, (cols, rows), interpolation=cv2.INTER_AREA)
    full = cv2.resize(means, (cols * block, rows * block), interpolation=cv2.INTER_NEAREST)
    return np.ascontiguousarray(full[: y1 - y0, : x1 - x0], np.uint8)


def pixelate_8_body(*, fallback: Fallback = "mask-out") -> InpaintingAnonymizer:
    """The paper's 8x8 pixelation of people."""
    return _crop_level("pixelate-8", 8, face=False, fallback=fallback)


def pixelate_8_face() -> InpaintingAnonymizer:
    """The paper's 8x8 pixelation of faces."""
    return _crop_level("pixelate-8-face", 8, face=True)


def pixelate_8_image() -> ImageLevel:
    """Eight blocks of means across each person's box."""
    return _image_level("pixelate-8-image", 8)


def pixelate_16_body(*, fallback: Fallback = "mask-out") -> InpaintingAnonymizer:
    """The paper's 16x16 pixelation of people."""
    return _crop_level("pixelate-16", 16, face=False, fallback=fallback)


def pixelate_16_face() -> InpaintingAnonymizer:
    """The paper's 16x16 pixelation of faces."""
    return _crop_level("pixelate-16-face", 16, face=True)


def pixelate_16_image() -> ImageLevel:
    """Sixteen blocks of means across each person's box."""
    return _image_level("pixelate-16-image", 16)
