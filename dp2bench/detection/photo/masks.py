"""The mask of a person in the picture, from what the pose network saw in a region of it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from dp2bench.core.types import Image
from dp2bench.detection.photo.networks import Pose

_ON = 0.5
"""Probability from which a pixel is the person's."""
_SIDE_MARGIN, _TOP_MARGIN = 0.15, 0.1
"""Shares of the box's width and height by which the mask may leave it, and two pixels more."""
_ABSENT, _LEAST = 0.3, 0.15
"""A person of a lower flag, or whose mask is a smaller share of the box, gets the box."""


def mask_of(
    image: Image, box: NDArray[np.float32], pose: Pose, *, whole_box: bool = False
) -> NDArray[np.bool_]:
    """(H, W) the pixels of a person; the whole box where the outline is not to be trusted, or ``whole_box`` is asked for."""
    size = (image.shape[0], image.shape[1])
    out = np.zeros(size, np.bool_)
    rows, columns = _window(box, size)
    # the region's matrix, from pixels of the window
    matrix = pose.matrix - np.array([[0, 0, columns.start], [0, 0, rows.start]])
    width, height = columns.stop - columns.start, rows.stop - rows.start
    chance = cv2.warpAffine(pose.mask, matrix, (width, height), flags=cv2.INTER_LINEAR)
    out[rows, columns] = chance > _ON
    area = float((box[2] - box[0]) * (box[3] - box[1]))
    if whole_box or pose.flag <= _ABSENT or np.count_nonzero(out) < _LEAST * area:
        x0, y0, x1, y1 = box.astype(np.int64)
        out[y0:y1, x0:x1] = True
    return out


def _window(box: NDArray[np.float32], size: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns of the picture that a person's mask may touch."""
    x0, y0, x1, y1 = box
    dx, dy = _SIDE_MARGIN * (x1 - x0) + 2, _TOP_MARGIN * (y1 - y0) + 2
    rows = slice(max(int(y0 - dy), 0), min(int(y1 + dy) + 1, size[0]))
    return rows, slice(max(int(x0 - dx), 0), min(int(x1 + dx) + 1, size[1]))
