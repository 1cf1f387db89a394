"""Retrieval scores of person re-identification: mean average precision and the CMC curve.

The protocol is Market-1501's (Zheng et al., ICCV 2015) and the digits are those of torchreid 0.2.5,
``torchreid.reid.metrics.rank.eval_market1501``. That function sorts the whole gallery for every query; here only the
ranks of the right answers are counted, which is all that the scores depend on.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Features = NDArray[np.float32]
"""(N, D): one row a picture."""
JUNK = -1
"""Identity that counts neither as right nor as wrong."""


@dataclass(frozen=True)
class RankingScores:
    """How well queries find their identity in a gallery; Q queries.

    Attributes:
        mean_average_precision: mean over valid queries, 0..1.
        cmc: (max_rank,) share of valid queries with a right answer among the first 1, 2, ... max_rank, 0..1; constant
            beyond the size of the gallery.
        average_precision: (Q,) 0..1, NaN where not valid.
        first_match_rank: (Q,) int64 rank of the first right answer, from 1; -1 where not valid.
        valid: (Q,) bool, False where the gallery holds no right answer.

    """

    mean_average_precision: float
    cmc: NDArray[np.float64]
    average_precision: NDArray[np.float64]
    first_match_rank: NDArray[np.int64]
    valid: NDArray[np.bool_]


class NoRightAnswerError(ValueError):
    """No query has a right answer in the gallery."""


def squared_euclidean(query: Features, gallery: Features, out: NDArray[np.float32] | None = None) -> Features:
    """(Q, G) squared euclidean distances of (Q, D) and (G, D), not negative; into ``out``, which may be a memory map, where given."""
    squared = (query**2).sum(1)[:, None] + (gallery**2).sum(1)[None]
    squared -= 2 * query @ gallery.T
    result: Features = np.maximum(squared, 0, out=squared if out is None else out)
    return result


Labels = NDArray[np.int64]


def checked_labels(
    shape: tuple[int, int],
    query_ids: ArrayLike,
    gallery_ids: ArrayLike,
    query_cameras: ArrayLike,
    gallery_cameras: ArrayLike,
    **positive: int,
) -> tuple[Labels, Labels, Labels, Labels]:
    """The labels of ``shape``, Q queries and G gallery pictures, as int64 arrays: (Q,), (G,), (Q,), (G,).

    Raises:
        ValueError: a length differs, or one of ``positive`` is not.

    """
    labels = tuple(
        np.asarray(given, np.int64) for given in (query_ids, gallery_ids, query_cameras, gallery_cameras)
    )
    shapes = [array.shape for array in labels]
    if shapes != [(n,) for n in (*shape, *shape)]:
        raise ValueError(
            f"distances have shape {shape}, and identities and cameras of query and gallery have shapes "
            f"{', '.join(map(str, shapes))}"
        )
    if min(positive.values(), default=1) < 1:
        raise ValueError(f"{', '.join(positive)} must be positive")
    q_ids, g_ids, q_cams, g_cams = labels
    return q_ids, g_ids, q_cams, g_cams


def rank(
    distances: NDArray[Any],
    query_ids: ArrayLike,
    gallery_ids: ArrayLike,
    query_cameras: ArrayLike,
    gallery_cameras: ArrayLike,
    *,
    max_rank: int = 50,
    chunk: int = 256,
    threads: int = 2,
) -> RankingScores:
    """Rank the gallery for each query by distance and score the ranks of the right answers.

    Left out of a query's gallery: pictures of its own identity by its own camera, and junk (identity -1), which
    torchreid's reader drops before it evaluates. A junk query is not valid.

    Equal distances: an order among right answers, or among the others, changes no score. Where a right answer ties
    with a wrong one, the order is that of ``np.argsort`` of the row without junk, torchreid's own.

    Args:
        distances: (Q, G), smaller is more alike; without NaN. May be a memory map.
        query_ids: (Q,) integers.
        gallery_ids: (G,) integers.
        query_cameras: (Q,) integers.
        gallery_cameras: (G,) integers.
        max_rank: length of the CMC curve.
        chunk: queries per unit of work; changes no result.
        threads: units worked on at once; changes no result.

    Raises:
        ValueError: shapes disagree, a valid query has a NaN distance, or (`NoRightAnswerError`) no query has a right answer in the gallery.

    """
    labels = query_ids, gallery_ids, query_cameras, gallery_cameras
    q_ids, g_ids, q_cams, g_cams = checked_labels(
        distances.shape, *labels, max_rank=max_rank, chunk=chunk, threads=threads
    )
    queries = len(q_ids)
    from dp2bench.metrics.ranking_rows import NAN, TIED, score_rows  # numba takes long to import

    # The members of one identity lie side by side in `by_id`.
    by_id = np.argsort(g_ids, kind="stable")
    sorted_ids = g_ids[by_id]
    starts, ends = np.searchsorted(sorted_ids, q_ids, "left"), np.searchsorted(sorted_ids, q_ids, "right")
    ends[q_ids == JUNK] = starts[q_ids == JUNK]
    junk = np.flatnonzero(g_ids == JUNK)
    real = np.flatnonzero(g_ids != JUNK)
    precision = np.full(queries, np.nan)
    first = np.full(queries, -1, np.int64)

    def work(begin: int) -> None:
        rows = slice(begin, min(begin + chunk, queries))
        raw = distances[rows]
        block = np.ascontiguousarray(raw, np.float32 if raw.dtype in (np.float16, np.float32) else np.float64)
        status = np.zeros(len(block), np.int8)
        score_rows(
            block,
            by_id,
            starts[rows],
            ends[rows],
            q_cams[rows],
            g_cams,
            junk,
            precision[rows],
            first[rows],
            status,
        )
        if (status == NAN).any():
            raise ValueError(f"distances of query {begin + int(np.argmax(status == NAN))} hold NaN")
        for i in np.flatnonzero(status == TIED):
            q = begin + int(i)
            order = real[np.argsort(raw[i][real] if len(junk) else raw[i])]
            same = g_ids[order] == q_ids[q]
            hits = same[~(same & (g_cams[order] == q_cams[q]))]
            precision[q], first[q] = score_order(hits)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(0, queries, chunk)))
    return summarised(precision, first, max_rank)


def score_order(hits: NDArray[np.bool_]) -> tuple[float, int]:
    """Average precision, and rank of the first right answer, of answers in order."""
    ranks = np.flatnonzero(hits) + 1
    return (np.arange(1, len(ranks) + 1) / ranks).sum() / len(ranks), int(ranks[0])


def summarised(precision: NDArray[np.float64], first: NDArray[np.int64], max_rank: int = 50) -> RankingScores:
    """The scores of queries of which average precision and rank of the first right answer are known; see `RankingScores`."""
    valid = first > 0
    if not valid.any():
        raise NoRightAnswerError(
            "no query has a right answer in the gallery: its identity, seen by another camera"
        )
    found = np.bincount(np.minimum(first[valid], max_rank + 1), minlength=max_rank + 2)[1 : max_rank + 1]
    return RankingScores(
        mean_average_precision=float(precision[valid].mean()),
        cmc=found.cumsum() / valid.sum(),
        average_precision=precision,
        first_match_rank=first,
        valid=valid,
    )


@dataclass(frozen=True)
class DistanceHistograms:
    """How far pictures of the same person lie from each other, and pictures of different people.

    Attributes:
        edges: (bins + 1,) ascending, from 0 to the largest distance.
        mated: (bins,) int64 pairs of one identity by two cameras.
        non_mated: (bins,) int64 pairs of two identities.
        nearest: (Q,) distance of each query's nearest right answer; infinite where there is none.

    """

    edges: NDArray[np.float64]
    mated: NDArray[np.int64]
    non_mated: NDArray[np.int64]
    nearest: NDArray[np.float64]


def distance_histograms(
    distances: NDArray[Any],
    query_ids: ArrayLike,
    gallery_ids: ArrayLike,
    query_cameras: ArrayLike,
    gallery_cameras: ArrayLike,
    *,
    bins: int = 60,
    chunk: int = 256,
    squared: bool = False,
) -> DistanceHistograms:
    """Histograms of the distances over the pairs that `rank` looks at: the same pairs are left out.

    Args:
        distances: as in `rank`, not negative; and so are the next four.
        query_ids: (Q,).
        gallery_ids: (G,).
        query_cameras: (Q,).
        gallery_cameras: (G,).
        bins: of equal width.
        chunk: queries per unit of work; changes no result.
        squared: whether they are the squares of the distances that are counted.

    """
    q_ids, g_ids = np.asarray(query_ids)[:, None], np.asarray(gallery_ids)[None]
    q_cams, g_cams = np.asarray(query_cameras)[:, None], np.asarray(gallery_cameras)[None]
    furthest = max((float(distances[q].max(initial=0)) for q in range(len(distances))), default=0.0)
    edges = np.linspace(0, float(np.sqrt(np.float32(furthest)) if squared else furthest) or 1.0, bins + 1)
    mated, non_mated = np.zeros(bins, np.int64), np.zeros(bins, np.int64)
    nearest = np.full(len(q_ids), np.inf)
    for start in range(0, len(q_ids), chunk):
        rows = slice(start, start + chunk)
        block = np.asarray(np.sqrt(distances[rows]) if squared else distances[rows], np.float64)
        known = (q_ids[rows] != JUNK) & (g_ids != JUNK)
        same = q_ids[rows] == g_ids
        right = known & same & (q_cams[rows] != g_cams)
        mated += np.histogram(block[right], edges)[0]
        non_mated += np.histogram(block[known & ~same], edges)[0]
        nearest[rows] = np.where(right, block, np.inf).min(axis=1, initial=np.inf)
    return DistanceHistograms(edges, mated, non_mated, nearest)
