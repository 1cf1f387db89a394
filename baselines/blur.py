"""Gaussian blur (DeepPrivacy2, section 5): the paper's on crops of one size, and one at picture level."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from dp2bench.baselines.image_level import ImageLevel, Window
from dp2bench.core.contracts import Inpainter, InpainterTraits, MethodMeta
from dp2bench.core.seeds import Seed
from dp2bench.core.types import CropBatch, Image
from dp2bench.inpainting.anonymizer import Fallback, InpaintingAnonymizer
from dp2bench.inpainting.crops import Region


def _blur_matrix(length: int, sigma: float) -> NDArray[np.float32]:
    """(length, length) float32 of the crop's blur along one axis."""
    kernel = cv2.getGaussianKernel(int(sigma * 3), sigma, cv2.CV_32F)
    one = np.ones((1, 1), np.float32)
    eye = np.eye(length, dtype=np.float32)
    blurred = cv2.sepFilter2D(eye, cv2.CV_32F, one, kernel, borderType=cv2.BORDER_REFLECT_101)
    return np.asarray(blurred, np.float32)


@dataclass
class BlurFill(Inpainter):
    """Gaussian blur of the crop: sigma 7, kernel min(21, width) made odd, border mirrored about the edge
    pixel.
    """

    meta: MethodMeta
    crop_size: tuple[int, int]
    sigma: float = 7.0

    def __post_init__(self) -> None:
        # In a crop that is narrower than the kernel, the kernel depends on the crop's width.
        one_kernel = min(self.crop_size) >= int(self.sigma * 3)
        self.traits = InpainterTraits(
            low_frequency=True,
            uses_conditions=False,
            linear_operator=partial(_blur_matrix, sigma=self.sigma) if one_kernel else None,
        )

    def inpaint(self, crops: CropBatch, *, seeds: Sequence[Seed]) -> NDArray[np.uint8]:
        """(B, h, w, 3) uint8: the whole crops, blurred."""
        # OpenCV takes odd kernels only; torchvision, the reference, refuses even ones.
        size = min(int(self.sigma * 3), crops.images.shape[2])
        size -= 1 - size % 2
        # OpenCV's own Gaussian rounds its weights to 1/256: off by a grey level, and slower.
        kernel = cv2.getGaussianKernel(size, self.sigma, cv2.CV_32F)
        out = np.empty_like(crops.images)
        for image, made in zip(crops.images, out, strict=True):
            made[...] = cv2.sepFilter2D(image, cv2.CV_8U, kernel, kernel, borderType=cv2.BORDER_REFLECT_101)
        return out


def blur_body(*, fallback: Fallback = "mask-out") -> InpaintingAnonymizer:
    """The paper's blur of people, on 288x160 crops."""
    meta = MethodMeta("blur", description="Gaussian blur of every person (sigma 7 on a 288x160 crop).")
    return InpaintingAnonymizer(BlurFill(meta, (288, 160)), fallback=fallback)


def blur_face() -> InpaintingAnonymizer:
    """The paper's blur of faces, on 256x256 crops."""
    meta = MethodMeta(
        "blur-face", scope="face", description="Gaussian blur of every face (sigma 7 on a 256x256 crop)."
    )
    return InpaintingAnonymizer(BlurFill(meta, (256, 256)))


def blur_image(*, strength: float = 0.1) -> ImageLevel:
    """Blur at picture level.

    Sigma is ``strength`` times sqrt(area) of the person's box, in pixels of the picture. Above 4 pixels the
    picture is first averaged over blocks that keep sigma at 2 or more blocks, blurred by what remains of the
    variance, and enlarged bilinearly: within 3 grey levels of the full filter at a fraction of its cost.
    """
    if not strength > 0:
        raise ValueError(f"strength of blur-image must be positive, got {strength}")
    meta = MethodMeta(
        "blur-image",
        description="Gaussian blur of every person, sigma a tenth of the square root of the box's area.",
    )

    def effect(image: Image, region: Region, window: Window) -> NDArray[np.uint8]:
        bx0, by0, bx1, by1 = region.body
        return blur_window(image, window, strength * math.sqrt((bx1 - bx0) * (by1 - by0)))

    return ImageLevel(meta, effect)


def blur_window(image: Image, window: Window, sigma: float) -> NDArray[np.uint8]:
    """The window (x0, y0, x1, y1) of a picture, blurred with a standard deviation of ``sigma`` pixels; (h, w,
    3).
    """
    x0, y0, x1, y1 = window
    reach = math.ceil(3 * sigma)
    left, top = max(0, x0 - reach), max(0, y0 - reach)
    part = image[top : min(image.shape[0], y1 + reach), left : min(image.shape[1], x1 + reach)]
    h, w = part.shape[:2]
    block = max(1, int(sigma / 2))
    if block == 1:
        full = cv2.GaussianBlur(part, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101)
    else:
        rows, cols = math.ceil(h / block), math.ceil(w / block)
        below, right = rows * block - h, cols * block - w
        part = np.asarray(cv2.copyMakeBorder(part, 0, below, 0, right, cv2.BORDER_REPLICATE), np.uint8)
        coarse = cv2.resize(part, (cols, rows), interpolation=cv2.INTER_AREA)
        # A block's mean has variance (b^2 - 1) / 12, bilinear enlargement about b^2 / 6.
        left_over = math.sqrt(max(sigma**2 - (block**2 - 1) / 12 - block**2 / 6, 0.25)) / block
        coarse = cv2.GaussianBlur(coarse, (0, 0), left_over, borderType=cv2.BORDER_REFLECT_101)
        full = cv2.resize(coarse, (cols * block, rows * block), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(full[y0 - top : y1 - top, x0 - left : x1 - left], np.uint8)
