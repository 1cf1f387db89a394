"""How well tracks keep identities: identity switches of CLEAR MOT (Bernardin and Stiefelhagen, 2008) and IDF1 (Ristani et al., 2016)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from dp2bench.core.boxes import box_iou


class TrackingScores(NamedTuple):
    """What `tracking_scores` counts.

    Attributes:
        idf1: 2 IDTP / (annotated + found boxes) under the best one-to-one assignment of annotated to found identities.
        switches: times that an annotated person goes on under another found identity than at his last match.
        missed: annotated boxes without a match in their frame.
        surplus: found boxes without a match in their frame.

    """

    idf1: float
    switches: int
    missed: int
    surplus: int


def tracking_scores(
    annotated: Sequence[tuple[NDArray[np.float32], NDArray[np.int64]]],
    found: Sequence[tuple[NDArray[np.float32], NDArray[np.int64]]],
    *,
    iou: float = 0.5,
) -> TrackingScores:
    """Compare tracks with the truth.

    Args:
        annotated: for each frame (N, 4) xyxy boxes and (N,) identities.
        found: likewise.
        iou: from which two boxes can be one person.

    """
    together: dict[tuple[int, int], int] = defaultdict(int)
    last: dict[int, int] = {}
    switches = missed = surplus = total = 0
    for (boxes, who), (others, names) in zip(annotated, found, strict=True):
        overlap = box_iou(boxes.astype(np.float64), others.astype(np.float64))
        possible = overlap >= iou
        for i, j in np.argwhere(possible):
            together[int(who[i]), int(names[j])] += 1
        # Whoever is matched already goes on with the same identity where that is possible, as CLEAR MOT has it.
        before = np.array([last.get(int(w), -1) for w in who], np.int64)
        value = np.where(possible, overlap + (before[:, None] == names[None]), 0)
        rows, columns = linear_sum_assignment(value, maximize=True)
        good = possible[rows, columns]
        for i, j in zip(rows[good], columns[good], strict=True):
            name, now = int(who[i]), int(names[j])
            switches += last.get(name, now) != now
            last[name] = now
        matched = int(good.sum())
        missed += len(boxes) - matched
        surplus += len(others) - matched
        total += len(boxes) + len(others)
    return TrackingScores(
        2 * _identity_matches(together) / total if total else 1.0, switches, missed, surplus
    )


def _identity_matches(together: Mapping[tuple[int, int], int]) -> int:
    """Boxes that agree under the best one-to-one assignment of identities (IDTP)."""
    truth = sorted({t for t, _ in together})
    found = sorted({f for _, f in together})
    counts = np.zeros((len(truth), len(found)), np.int64)
    for (t, f), n in together.items():
        counts[truth.index(t), found.index(f)] = n
    return int(counts[linear_sum_assignment(counts, maximize=True)].sum())
