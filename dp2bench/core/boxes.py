"""Boxes as arrays of xyxy pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def box_iou(a: NDArray[Any], b: NDArray[Any], *, over_smaller: bool = False) -> NDArray[np.float64]:
    """(N, M) intersection over union of (N, 4) and (M, 4) boxes, or over the smaller of two; empty boxes overlap nothing."""
    a, b = np.asarray(a, np.float64).reshape(-1, 4), np.asarray(b, np.float64).reshape(-1, 4)
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(2)
    area_a, area_b = (np.clip(x[:, 2:] - x[:, :2], 0, None).prod(1) for x in (a, b))
    whole = area_a[:, None] + area_b[None] - shared
    if over_smaller:
        whole = np.minimum(area_a[:, None], area_b[None])
    overlap: NDArray[np.float64] = np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0)
    return overlap
