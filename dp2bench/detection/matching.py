"""Which mask of one detector is which of another (DeepPrivacy2, section 3.1)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dp2bench.core.types import People, fill_boxes

Masks = NDArray[np.bool_]

COMBINE_IOU = 0.4
"""Intersection over union from which a Mask R-CNN and a CSE detection are one person."""

_PIXELS_AT_ONCE = 1 << 17


def pairwise_iou(first: Masks, second: Masks) -> NDArray[np.float64]:
    """(N, M) intersection over union of (N, H, W) and (M, H, W) masks; 0 where both are empty.

    Counts are exact; a slice of the pixels is held as float at a time.
    """
    if first.shape[1:] != second.shape[1:]:
        raise ValueError(f"masks of {first.shape[1:]} and {second.shape[1:]} pixels cannot be compared")
    n, m = len(first), len(second)
    pixels = first.shape[1] * first.shape[2]
    a, b = first.reshape(n, pixels), second.reshape(m, pixels)
    common = np.zeros((n, m), np.float64)
    if n and m:
        for start in range(0, pixels, _PIXELS_AT_ONCE):
            part = slice(start, start + _PIXELS_AT_ONCE)
            common += a[:, part].astype(np.float32) @ b[:, part].astype(np.float32).T
    union = _areas(a)[:, None] + _areas(b)[None] - common
    return np.divide(common, union, out=np.zeros_like(common), where=union > 0)


def match(iou: NDArray[np.float64], threshold: float = COMBINE_IOU) -> list[tuple[int, int]]:
    """Pairs (i, j) with ``iou[i, j] >= threshold``: rows in order take their first free column.

    Order, not overlap, decides: both detectors give their best detection first.
    """
    pairs: list[tuple[int, int]] = []
    free = np.ones(iou.shape[1], np.bool_)
    for i, row in enumerate(iou):
        candidates = np.flatnonzero((row >= threshold) & free)
        if len(candidates):
            free[candidates[0]] = False
            pairs.append((i, int(candidates[0])))
    return pairs


def masks_of(people: People, size: tuple[int, int]) -> Masks:
    """(N, H, W) masks; where only boxes are known, the boxes rounded outwards. Raises as `People.check_image_size`."""
    people.check_image_size(size)
    return fill_boxes(people.boxes, size) if people.masks is None else people.masks


def nms(boxes: NDArray[np.float32], scores: NDArray[np.float32], iou: float) -> NDArray[np.int64]:
    """Indices of the boxes that stay, best first: each goes that overlaps a better one by more than ``iou`` of their union.

    As `torchvision.ops.nms`, whose import takes longer than finding the people of a picture.

    Args:
        boxes: (N, 4) xyxy.
        scores: (N,).
        iou: intersection over union.

    """
    order = np.argsort(-scores, kind="stable")
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept = []
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(best)
        low = np.maximum(boxes[best, :2], boxes[rest, :2])
        high = np.minimum(boxes[best, 2:], boxes[rest, 2:])
        common = (high - low).clip(0).prod(1)
        union = areas[best] + areas[rest] - common
        order = rest[~(common > iou * union)]
    return np.array(kept, np.int64)


def covered(inner: NDArray[np.float32], outer: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(N, M): box i of (N, 4) lies strictly inside box j of (M, 4)."""
    low = (inner[:, None, :2] > outer[None, :, :2]).all(2)
    return np.asarray(low & (inner[:, None, 2:] < outer[None, :, 2:]).all(2))


def _areas(flat: NDArray[np.bool_]) -> NDArray[np.int64]:
    return np.array([np.count_nonzero(row) for row in flat], np.int64)
