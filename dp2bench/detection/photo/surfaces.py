"""Which point of the body each pixel of a person shows, from the landmarks of the pose network.

Passersby's body is bent so that its joints lie on the landmarks: every part (trunk, head, and of each limb three) is turned, moved and
stretched along its bone, and its skin follows by blend skinning. What of it faces the camera is drawn into the person's mask; clothes and hair
beyond the skin get the nearest vertex that is seen.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from dp2bench.core.types import SurfaceMap
from dp2bench.datasets.passersby.rendering import raster
from dp2bench.datasets.passersby.rendering.body import SKIN_VERTICES, kit
from dp2bench.datasets.passersby.rendering.template import NAME
from dp2bench.detection.photo.networks import Pose

Floats = NDArray[np.float64]

_SIDE = 320
"""Pixels of the longer side at which the body is drawn; a larger person's surface is enlarged from there."""
_COVERED, _INSIDE = 0.6, 0.7
"""A fit is poor where the body covers less of the mask, or less of the body that is drawn lies in it."""
_SMALLEST = 24
"""Pixels of the mask's longer side from which a surface is fitted."""
_FRONT = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
"""From the body's axes (left, back, up) to the picture's (right, down, away), of somebody upright who faces the camera."""
_HEAD_SCALES = (0.7, 1.4)
"""A head's size is between these multiples of what the body's size suggests."""
# Landmarks, and COCO's numbers of the same joints of the body: nose, ears, shoulders, elbows, wrists, hips, knees, ankles.
_JOINTS = {
    0: 0,
    7: 3,
    8: 4,
    11: 5,
    12: 6,
    13: 7,
    14: 8,
    15: 9,
    16: 10,
    23: 11,
    24: 12,
    25: 13,
    26: 14,
    27: 15,
    28: 16,
}
_TIPS = {19: "finger2-1.L", 20: "finger2-1.R", 31: "toe2-1.L", 32: "toe2-1.R"}
"""Landmarks at fingers and toes, and the bones whose heads they are."""


class _Part(NamedTuple):
    """A part of a limb: the landmarks at its ends, and how the names of its bones begin and end."""

    start: int
    end: int
    bones: tuple[str, ...]
    side: str


_LIMBS = (
    _Part(11, 13, ("upperarm",), ".L"),
    _Part(12, 14, ("upperarm",), ".R"),
    _Part(13, 15, ("lowerarm",), ".L"),
    _Part(14, 16, ("lowerarm",), ".R"),
    _Part(15, 19, ("wrist", "finger", "metacarpal"), ".L"),
    _Part(16, 20, ("wrist", "finger", "metacarpal"), ".R"),
    _Part(23, 25, ("upperleg",), ".L"),
    _Part(24, 26, ("upperleg",), ".R"),
    _Part(25, 27, ("lowerleg",), ".L"),
    _Part(26, 28, ("lowerleg",), ".R"),
    _Part(27, 31, ("foot", "toe"), ".L"),
    _Part(28, 32, ("foot", "toe"), ".R"),
)
_HEAD_BONES = ("neck02", "neck03", "head", "eye")


def surface_of(pose: Pose, mask: NDArray[np.bool_]) -> SurfaceMap | None:
    """The surface of a person in (H, W) ``mask``, or None where the body does not fit it well."""
    x, y, w, h = cv2.boundingRect(mask.view(np.uint8))
    if max(w, h) < _SMALLEST:
        return None
    scale = min(1.0, _SIDE / max(w, h))
    width, height = max(1, round(w * scale)), max(1, round(h * scale))
    skin = (bent(pose.landmarks[:33, :3]) - [x, y, 0]) * [width / w, height / h, scale]
    drawn = _drawn(skin, (height, width))
    window = mask[y : y + h, x : x + w]
    small = cv2.resize(window.view(np.uint8), (width, height), interpolation=cv2.INTER_AREA) > 0
    there = drawn >= 0
    if np.count_nonzero(there & small) < max(_COVERED * small.sum(), _INSIDE * there.sum(), 1):
        return None
    vertices = np.where(small, _nearest(drawn, there & small), -1).astype(np.int32)
    full = cv2.resize(vertices.astype(np.float32), (w, h), interpolation=cv2.INTER_NEAREST).astype(np.int32)
    missing = window & (full < 0)
    if missing.any() and (full >= 0).any():
        full = np.where(missing, _nearest(full, full >= 0), full)
    full[~window] = -1
    return SurfaceMap(NAME, np.array([x, y, x + w, y + h], np.int32), full.astype(np.int32))


def bent(landmarks: Floats) -> Floats:
    """(13380, 3) the skin's vertices in pixels of the picture (right, down, away).

    Args:
        landmarks: (33, 3) x, y and z, in pixels of the picture.

    """
    body, rest = kit(), _rest()
    moves = np.zeros((len(body.bones), 4, 4))
    scale = _scale(landmarks, rest)
    trunk = _trunk(landmarks, rest, scale)
    moves[:] = trunk
    turn = trunk[:3, :3] / max(abs(float(np.linalg.det(trunk[:3, :3]))), 1e-9) ** (1 / 3)
    head = _head(landmarks, rest, scale)
    for name, index in body.bones.items():
        if name.startswith(_HEAD_BONES):
            moves[index] = head
    for part in _LIMBS:
        move = _stretched(
            rest[part.start], rest[part.end], landmarks[part.start], landmarks[part.end], turn, scale
        )
        for name, index in body.bones.items():
            if name.startswith(part.bones) and name.endswith(part.side):
                moves[index] = move
    skin: Floats = body.skin(body.template, moves)[:SKIN_VERTICES]
    return skin


@cache
def _rest() -> dict[int, Floats]:
    """Where the landmarks are on the body at rest."""
    body = kit()
    joints = body.keypoints(body.template)
    return {mark: joints[coco] for mark, coco in _JOINTS.items()} | {
        mark: body.rest_heads[body.bones[name]] for mark, name in _TIPS.items()
    }


def _scale(marks: Floats, rest: dict[int, Floats]) -> float:
    """Pixels a metre: the median over the long bones and the trunk, of which single ones may be seen badly."""
    pairs = ((11, 12), (11, 23), (12, 24), (23, 25), (24, 26), (25, 27), (26, 28), (11, 13), (12, 14))
    return float(np.median([_length(marks[a] - marks[b]) / _length(rest[a] - rest[b]) for a, b in pairs]))


def _trunk(marks: Floats, rest: dict[int, Floats], scale: float) -> Floats:
    """(4, 4) from the body at rest to the picture, of what lies between shoulders and hips."""
    here, there = (
        _frame(p[11] + p[23] - p[12] - p[24], (p[11] + p[12] - p[23] - p[24]) / 2)
        for p in (rest, {i: marks[i] for i in (11, 12, 23, 24)})
    )
    wide = _length(marks[11] - marks[12]) / _length(rest[11] - rest[12])
    high = _length(marks[11] + marks[12] - marks[23] - marks[24]) / _length(
        rest[11] + rest[12] - rest[23] - rest[24]
    )
    sizes = np.clip([wide, high, scale], 0.6 * scale, 1.6 * scale)
    return _move(
        there @ np.diag(sizes) @ here.T,
        (rest[11] + rest[12] + rest[23] + rest[24]) / 4,
        marks[[11, 12, 23, 24]].mean(0),
    )


def _head(marks: Floats, rest: dict[int, Floats], scale: float) -> Floats:
    """(4, 4) of the head, by nose and ears."""
    here, there = (
        _frame(p[7] - p[8], (p[7] + p[8]) / 2 - p[0], forward=True)
        for p in (rest, {i: marks[i] for i in (0, 7, 8)})
    )
    across = _length(marks[7] - marks[8]) / _length(rest[7] - rest[8])
    size = float(np.clip(across, _HEAD_SCALES[0] * scale, _HEAD_SCALES[1] * scale))
    middle = (rest[7] + rest[8] + rest[0]) / 3
    return _move(size * there @ here.T, middle, marks[[0, 7, 8]].mean(0))


def _stretched(a: Floats, b: Floats, to_a: Floats, to_b: Floats, turn: Floats, scale: float) -> Floats:
    """(4, 4) that takes the bone a-b at rest to the picture: turned as little as is needed after the trunk, stretched along itself."""
    along, target = b - a, to_b - to_a
    length, wanted = _length(along), max(_length(target), 1e-6)
    along, target = along / length, target / wanted
    turned = turn @ along
    turned /= max(_length(turned), 1e-9)
    rotation = _least_rotation(turned, target) @ turn
    stretch = scale * (np.eye(3) - np.outer(along, along)) + wanted / length * np.outer(along, along)
    return _move(rotation @ stretch, a, to_a)


def _move(linear: Floats, at: Floats, to: Floats) -> Floats:
    """(4, 4) of a linear map that takes one point to another."""
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = linear, to - linear @ at
    return out


def _frame(across: Floats, second: Floats, *, forward: bool = False) -> Floats:
    """(3, 3) unit columns: to the left side, up and back; ``second`` points up, or back where ``forward``."""
    x = across / max(_length(across), 1e-6)
    y = second - (second @ x) * x
    y /= max(_length(y), 1e-6)
    third = np.cross(x, y)
    return np.stack((x, -third, y) if forward else (x, y, third), 1)


def _least_rotation(a: Floats, b: Floats) -> Floats:
    """(3, 3) the shortest rotation from one unit vector to another."""
    cosine = float(a @ b)
    if cosine < -0.9999:  # any half turn
        axis = np.cross(a, np.eye(3)[np.abs(a).argmin()])
        axis /= _length(axis)
        return 2 * np.outer(axis, axis) - np.eye(3)
    v = np.cross(a, b)
    k = np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])
    return np.asarray(np.eye(3) + k + k @ k / (1 + cosine))


def _length(v: Floats) -> float:
    return float(np.sqrt((v**2).sum()))


def _drawn(skin: Floats, size: tuple[int, int]) -> NDArray[np.int32]:
    """(h, w) the vertex that each pixel shows, -1 where none."""
    buffer = raster.ZBuffer(*size)
    deep = 20 * max(size)  # so far away that lines to the camera are parallel
    near = 1 / np.clip(deep + skin[:, 2] - np.median(skin[:, 2]), deep / 2, 2 * deep)
    mesh = kit().skin_mesh
    buffer.draw(np.c_[skin[:, :2], near], mesh)
    bary = np.concatenate((buffer.bary, 1 - buffer.bary.sum(2, keepdims=True)), 2)
    corners = mesh[np.maximum(buffer.owner, 0)]
    vertices = np.take_along_axis(corners, bary.argmax(2)[..., None], 2)[..., 0]
    return np.where(buffer.owner >= 0, vertices, -1).astype(np.int32)


def _nearest(values: NDArray[np.int32], there: NDArray[np.bool_]) -> NDArray[np.int32]:
    """(h, w) values where they are there, elsewhere those of the nearest pixel that has one."""
    _, labels = cv2.distanceTransformWithLabels(
        (~there).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    of_label = np.zeros(labels.max() + 1, np.int32)
    of_label[labels[there]] = values[there]
    return np.asarray(of_label[labels], np.int32)
