"""Sheets to look at: the crops of a dataset with what is known of them, and what a generator makes of crops."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dp2bench.core import templates
from dp2bench.core.contracts import MethodMeta
from dp2bench.core.errors import Dp2benchError
from dp2bench.core.seeds import derive_seed
from dp2bench.core.types import CropBatch, Image
from dp2bench.datasets.crops import Crop, Crops
from dp2bench.deepprivacy2 import editing, generator_weights
from dp2bench.deepprivacy2.generator_weights import GeneratorFile, Role
from dp2bench.deepprivacy2.inpainter import GeneratorInpainter, Truncation
from dp2bench.deepprivacy2.surface_guided import SurfaceGuidedInpainter
from dp2bench.inpainting.crops import GREY

TALLEST = 288
"""Pixels of a crop's height in a sheet at most."""
_WITHOUT_SURFACE = (230, 230, 230)


def spread(n: int, count: int) -> list[int]:
    """``count`` of n indices, evenly spread, all of them where there are fewer."""
    return [int(i) for i in np.linspace(0, n - 1, min(count, n))] if n else []


def dataset_sheet(crops: Crops, count: int) -> Image:
    """A column a crop: the picture with its keypoints, what a generator sees, and the surface where there is one."""
    picked = _picked(crops, count)
    rows = [[with_keypoints(c) for c in picked], [masked(c) for c in picked]]
    if crops.template is not None and any(c.vertices is not None for c in picked):
        rows.append([surface(c, crops.template) for c in picked])
    return _grid(rows)


def generator_sheet(
    inpainter: GeneratorInpainter, crops: Crops, count: int, *, samples: int = 3, seed: int = 0
) -> Image:
    """A column a crop: the picture, what the generator sees, and what it makes by several seeds."""
    picked = _picked(crops, count)
    batch = as_batch(picked, crops.template, inpainter.crop_size)
    originals = [cv2.resize(c.image, inpainter.crop_size[::-1], interpolation=cv2.INTER_AREA) for c in picked]
    rows: list[Sequence[Image]] = [[np.asarray(o, np.uint8) for o in originals], list(batch.images)]
    for sample in range(samples):
        seeds = [derive_seed(seed, "sheet", sample, i) for i in range(len(batch))]
        rows.append(list(inpainter.inpaint(batch, seeds=seeds)))
    return _grid(rows)


def inpainter_of(
    weights: str | Path,
    *,
    truncation: Truncation = "none",
    psi: float | None = None,
    edits: Sequence[str] = (),
    strength: float = editing.STRENGTH,
) -> GeneratorInpainter:
    """Any generator, by the name or path of its weights.

    Args:
        weights: see `generator_weights.resolve`.
        truncation: see `GeneratorInpainter`.
        psi: see `GeneratorInpainter`.
        edits: see `editing.resolve`.
        strength: of edits that bring none.

    Raises:
        Dp2benchError: no such weights, or no direction for an edit.

    """
    role: Role = next(
        (r for r, name in generator_weights.OFFICIAL.items() if name == str(weights)), "body-cse"
    )
    file = generator_weights.describe(generator_weights.resolve(weights, role))
    kind = SurfaceGuidedInpainter if file.role == "surface-guided" else GeneratorInpainter
    made = kind(file, MethodMeta("sheet", uses_masked_pixels=False), truncation=truncation, psi=psi)
    if edits:
        found, missing = editing.resolve(edits, strength, file)
        if missing:
            raise editing.missing_directions(missing, [file])
        made.edits = tuple(found)
    return made


def check_fits(file: GeneratorFile, crops: Crops, dataset: str) -> None:
    """Raises Dp2benchError where a generator cannot be told what it needs of these crops."""
    first = crops[0]
    what = ""
    if file.role == "keypoint-guided" and len(first.keypoints) != 17:
        what = "17 keypoints of bodies"
    if file.role == "face-keypoints" and len(first.keypoints) < 7:
        what = "seven keypoints"
    if file.role in {"body-cse", "surface-guided"} and crops.template not in file.templates:
        what = f"surfaces of the template {' or '.join(file.templates) or 'it was trained with'}"
    if what:
        raise Dp2benchError(
            f"The generator {file.name} needs {what}, and the crops of {dataset} have none.",
            "Take a dataset of its kind (`dp2bench list datasets`), or another generator (`dp2bench weights list`).",
        )


def as_batch(crops: Sequence[Crop], template: str | None, size: tuple[int, int]) -> CropBatch:
    """Crops of a dataset as an inpainter takes them, their masked pixels grey.

    Args:
        crops: of one dataset.
        template: that their vertices number.
        size: (height, width) to bring them to.

    """
    from dp2bench.deepprivacy2.training.crops import resize  # torch

    sized = [resize(crop, size) for crop in crops]
    masks = np.stack([crop.hole for crop in sized])
    images = np.stack([crop.image for crop in sized])
    images[masks] = GREY
    known = all(crop.vertices is not None for crop in sized)
    keypoints = np.zeros((len(sized), 17, 3), np.float32)
    for row, crop in zip(keypoints, sized, strict=True):
        row[: len(crop.keypoints)] = crop.keypoints
    keypoints[..., :2] *= np.array(size[::-1], np.float32)
    return CropBatch(
        images,
        masks,
        np.zeros_like(masks),
        np.stack([crop.vertices for crop in sized if crop.vertices is not None]) if known else None,
        (template if known else None,) * len(sized),
        keypoints,
    )


def with_keypoints(crop: Crop) -> Image:
    """The picture with its keypoints as dots."""
    out = crop.image.copy()
    h, w = crop.hole.shape
    for x, y, known in crop.keypoints:
        if known > 0:
            cv2.circle(out, (round(float(x) * w), round(float(y) * h)), max(1, h // 96), (255, 40, 40), -1)
    return np.asarray(out, np.uint8)


def masked(crop: Crop) -> Image:
    """What a generator sees: the picture with its hole in grey."""
    return np.where(crop.hole[..., None], GREY, crop.image).astype(np.uint8)


def surface(crop: Crop, template: str) -> Image:
    """Three columns of the surface's embedding as colours; light grey where a hole has no surface."""
    table = templates.get(template).embeddings[:, :3]
    low, high = np.quantile(table, [0.02, 0.98], axis=0)
    out: NDArray[np.float64] = np.zeros((*crop.hole.shape, 3))
    out[crop.hole] = np.array(_WITHOUT_SURFACE) / 255
    if crop.vertices is not None:
        known = crop.vertices >= 0
        out[known] = np.clip((table[crop.vertices[known]] - low) / (high - low), 0, 1)
    return (255 * out).astype(np.uint8)


def _picked(crops: Crops, count: int) -> list[Crop]:
    if not len(crops):
        raise Dp2benchError("The split holds no crops.", "Take another: --split.")
    return [crops[i] for i in spread(len(crops), count)]


def _grid(rows: Sequence[Sequence[Image]]) -> Image:
    """Pictures in rows, all brought to the height of the tallest, `TALLEST` at most."""
    h = min(TALLEST, max(p.shape[0] for row in rows for p in row))
    w = max(1, round(h * rows[0][0].shape[1] / rows[0][0].shape[0]))

    def sized(picture: Image) -> NDArray[np.uint8]:
        how = cv2.INTER_AREA if picture.shape[0] >= h else cv2.INTER_LINEAR
        return np.asarray(
            picture if picture.shape[:2] == (h, w) else cv2.resize(picture, (w, h), interpolation=how),
            np.uint8,
        )

    return np.concatenate([np.concatenate([sized(p) for p in row], 1) for row in rows])
