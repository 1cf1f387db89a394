"""Who of the annotated people was found: one-to-one matching of boxes by overlap."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dp2bench.core.boxes import box_iou

SIZES = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, np.inf)}
"""COCO's bounds of a person's area in square pixels: from (inclusive), to (exclusive)."""


def match(annotated: NDArray[Any], found: NDArray[Any], threshold: float = 0.5) -> NDArray[np.int64]:
    """For each annotated box the found one that stands for it, or -1; see `pair`."""
    return pair(box_iou(annotated, found), threshold)


def pair(overlap: NDArray[np.float64], threshold: float) -> NDArray[np.int64]:
    """For each row of overlaps (N, M) its column, or -1: as many pairs of at least ``threshold`` as possible, and of those choices the
    one with the largest sum.
    """
    from scipy.optimize import linear_sum_assignment

    partner = np.full(len(overlap), -1, np.int64)
    if overlap.size:
        enough = overlap >= threshold
        # a pair that counts is worth more than any sum of overlaps
        rows, columns = linear_sum_assignment(np.where(enough, overlap + len(overlap), 0), maximize=True)
        good = enough[rows, columns]
        partner[rows[good]] = columns[good]
    return partner


def size_of(area: float) -> str:
    """The name of COCO's size for an area in square pixels."""
    return next(name for name, (low, high) in SIZES.items() if low <= area < high)
