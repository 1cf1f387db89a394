"""The ranks of the right answers in rows of distances, compiled."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

TIED, NAN = 1, 2
"""What `score_rows` says of a row that it leaves."""


# Released GIL and threads of Python rather than numba's: its pools survive neither fork nor two callers at once.
@numba.njit(cache=True, nogil=True)
def _at_or_below(ordered: Any, value: Any) -> Any:
    """How many of the ascending values are <= value; without branches that the processor could mispredict."""
    base, size = 0, len(ordered)
    while size > 1:
        half = size >> 1
        base += half * (ordered[base + half - 1] <= value)
        size -= half
    return base + (ordered[base] <= value)


@numba.njit(cache=True, nogil=True)
def average_precision(counts: Any) -> Any:
    """Of one query, from the wrong answers at or behind b right ones."""
    wrong = 0
    total = 0.0
    for k in range(len(counts) - 1):
        wrong += counts[k]
        total += (k + 1) / (k + 1 + wrong)
    return total / (len(counts) - 1)


@numba.njit(cache=True, nogil=True)
def score_rows(
    distances: Any,
    by_id: Any,
    starts: Any,
    ends: Any,
    query_cameras: Any,
    gallery_cameras: Any,
    junk: Any,
    precision: Any,
    first: Any,
    status: Any,
) -> None:
    """Fill precision and first for each row; status says which rows need the order of ties or hold NaN."""
    for q in range(distances.shape[0]):
        row = distances[q]
        right = np.empty(ends[q] - starts[q], row.dtype)
        hits = 0
        for k in range(starts[q], ends[q]):
            if gallery_cameras[by_id[k]] != query_cameras[q]:
                right[hits] = row[by_id[k]]
                hits += 1
        if hits == 0:
            continue
        right = np.sort(right[:hits])
        # counts[b]: wrong answers at or behind b right ones; what is left out is counted first and taken off then.
        counts = np.zeros(hits + 1, np.int64)
        ties = 0
        broken = False
        for g in range(row.shape[0]):
            value = row[g]
            broken |= np.isnan(value)
            b = _at_or_below(right, value)
            counts[b] += 1
            ties += right[max(b - 1, 0)] == value
        if broken:
            status[q] = 2
            continue
        for k in range(starts[q], ends[q]):
            value = row[by_id[k]]
            b = _at_or_below(right, value)
            counts[b] -= 1
            ties -= right[max(b - 1, 0)] == value
        for g in junk:
            b = _at_or_below(right, row[g])
            counts[b] -= 1
            ties -= right[max(b - 1, 0)] == row[g]
        if ties > 0:
            status[q] = 1
            continue
        precision[q] = average_precision(counts)
        first[q] = counts[0] + 1


@numba.njit(cache=True, nogil=True)
def count_tile(
    distances: Any, query_ids: Any, gallery_ids: Any, right: Any, starts: Any, counts: Any, status: Any
) -> None:
    """Add a tile of the gallery to ``counts``; (Q, T) distances.

    Args:
        distances: of all queries to the tile.
        query_ids: (Q,).
        gallery_ids: (T,); -1 is junk.
        right: each query's distances to its right answers, ascending, one query after the other.
        starts: (Q + 1,) where a query's begin in ``right``; in ``counts`` they begin a place later for each query before.
        counts: wrong answers at or behind b right ones, in one place more than right ones a query; of those behind all, none is counted.
        status: (Q,) set where a wrong answer ties with a right one, or a distance is NaN. Of a query that ties, nothing more is counted.

    """
    for q in range(distances.shape[0]):
        low, high = starts[q], starts[q + 1]
        if low == high or status[q] == TIED:
            continue
        ordered = right[low:high]
        for g in range(distances.shape[1]):
            value = distances[q, g]
            if np.isnan(value):
                status[q] = NAN
            if gallery_ids[g] == query_ids[q] or gallery_ids[g] == -1:
                continue
            if value > ordered[-1]:  # behind every right answer, as most are, it changes nothing
                continue
            b = _at_or_below(ordered, value)
            counts[low + q + b] += 1
            if ordered[max(b - 1, 0)] == value and status[q] != NAN:
                status[q] = TIED
