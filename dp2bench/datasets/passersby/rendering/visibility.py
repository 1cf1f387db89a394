"""What a picture shows of somebody: pixels, vertices, keypoints, face."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dp2bench.datasets.passersby.rendering.body import kit
from dp2bench.datasets.passersby.rendering.camera import SS, Camera
from dp2bench.datasets.passersby.rendering.posing import PosedPerson
from dp2bench.datasets.passersby.rendering.raster import ZBuffer

FEWEST = 16
"""Pixels; of whom fewer are seen is not in the labels."""


@dataclass(frozen=True)
class VisiblePerson:
    """What is seen of one person.

    Attributes:
        index: its place in the list that was rendered.
        box: (4,) int32 xyxy of the visible pixels.
        surface: (h, w) int16 within the box: vertex id, -2 on what is carried, -1 elsewhere.
        keypoints: (17, 3) float32 x, y, visibility (0 outside, 1 hidden, 2 visible).
        face: (4,) float32 xyxy, NaN unless the face is seen.

    """

    index: int
    box: NDArray[np.int32]
    surface: NDArray[np.int16]
    keypoints: NDArray[np.float32]
    face: NDArray[np.float32]


def visible_person(
    index: int,
    person: PosedPerson,
    mask: NDArray[np.bool_],
    vertices: NDArray[np.int16],
    camera: Camera,
    z: ZBuffer,
) -> VisiblePerson | None:
    """What is seen of somebody, or None of whom fewer than `FEWEST` pixels are.

    Args:
        index: their place in the list that was rendered.
        person: somebody.
        mask: (H, W) their pixels.
        vertices: (H, W) vertex ids of everybody.
        camera: of the picture.
        z: everything that hides keypoints, `SS` samples a pixel's side.

    """
    if mask.sum() < FEWEST:
        return None
    ys, xs = np.nonzero(mask)
    box = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], np.int32)
    window = np.s_[box[1] : box[3], box[0] : box[2]]
    surface = np.where(mask[window], vertices[window], -1).astype(np.int16)
    return VisiblePerson(
        index, box, surface, visible_keypoints(person, camera, z), visible_face(person, camera, surface)
    )


def visible_keypoints(person: PosedPerson, camera: Camera, z: ZBuffer) -> NDArray[np.float32]:
    """(17, 3) x, y and visibility of somebody's keypoints; ``z`` (H, W) has `SS` samples a pixel's side."""
    q = camera.project(person.keypoints)
    h, w = z.depth.shape
    out = np.zeros((17, 3), np.float32)
    for k, (x, y, near) in enumerate(q):
        column, row = int(np.floor(x * SS)), int(np.floor(y * SS))
        if 0 <= column < w and 0 <= row < h:
            first = z.depth[row, column]
            # Keypoints lie inside the body, up to 14 cm behind the surface that shows them.
            visible = first == 0 or 1 / first > 1 / near - 0.14
            out[k] = x, y, 2 if visible else 1
    return out


def visible_face(person: PosedPerson, camera: Camera, surface: Any) -> NDArray[np.float32]:
    """(4,) xyxy of somebody's face, NaN unless much of it is in ``surface``, the vertex ids that are seen."""
    face = kit().face
    xy = camera.project(person.points[: len(face)][face])[:, :2]
    w, h = camera.size
    low, high = xy.min(0).clip(0, [w, h]), xy.max(0).clip(0, [w, h])
    area = float(np.prod(high - low))
    shown = int(face[surface[surface >= 0]].sum())
    if area <= 0 or shown < max(5.0, 0.3 * area):
        return np.full(4, np.nan, np.float32)
    return np.array([*low, *high], np.float32)
