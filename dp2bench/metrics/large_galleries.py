"""Ranking in galleries for which a matrix of distances is too large: exact, a tile of the gallery at a time.

Distances are squared euclidean ones, as torchreid ranks by. Memory holds a tile's distances and, of each query, its right answers'.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dp2bench.metrics.ranking import (
    JUNK,
    Features,
    RankingScores,
    checked_labels,
    score_order,
    squared_euclidean,
    summarised,
)

_TIED_BYTES = 256 << 20
"""Of whole rows of distances that are held at once, of queries of which right and wrong answers are equally far: most, in a large gallery."""


def rank_features(
    query: Features,
    gallery: Features,
    query_ids: ArrayLike,
    gallery_ids: ArrayLike,
    query_cameras: ArrayLike,
    gallery_cameras: ArrayLike,
    *,
    max_rank: int = 50,
    tile: int = 4096,
    threads: int = 2,
) -> RankingScores:
    """As `dp2bench.metrics.ranking.rank` of the squared euclidean distances, in memory that does not grow with the gallery's features.

    The gallery is read once, its tiles with right answers twice, and all of it again for each 256 MB of the rows with ties.

    Args:
        query: (Q, D) float32.
        gallery: (G, D) float32; may be a memory map.
        query_ids: (Q,) integers.
        gallery_ids: (G,) integers; -1 is junk.
        query_cameras: (Q,) integers.
        gallery_cameras: (G,) integers.
        max_rank: length of the CMC curve.
        tile: gallery pictures at a time.
        threads: that count; matrix products have their own.

    Raises:
        ValueError: shapes do not agree, a distance is NaN, or no query has a right answer.

    """
    from dp2bench.metrics.ranking_rows import NAN, TIED, average_precision, count_tile

    if query.ndim != 2 or gallery.ndim != 2 or query.shape[1] != gallery.shape[1]:
        raise ValueError(f"features of {query.shape} and {gallery.shape} cannot be compared")
    queries = len(query)
    labels = query_ids, gallery_ids, query_cameras, gallery_cameras
    q_ids, g_ids, q_cams, g_cams = checked_labels(
        (queries, len(gallery)), *labels, max_rank=max_rank, tile=tile, threads=threads
    )

    def tiles(
        wanted: NDArray[np.bool_] | None = None, some: NDArray[np.int64] | None = None
    ) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Distances of all queries, or some, to each tile, or to those with a picture that is wanted. Equal tiles give equal bits."""
        asking = query if some is None else query[some]
        for start in range(0, len(gallery), tile):
            part = slice(start, min(start + tile, len(gallery)))
            if wanted is None or wanted[part].any():
                yield part, squared_euclidean(asking, np.asarray(gallery[part], np.float32))

    asked = np.isin(g_ids, q_ids) & (g_ids != JUNK)
    near: list[list[NDArray[np.float32]]] = [[] for _ in range(queries)]
    for part, distances in tiles(asked):
        same = (q_ids[:, None] == g_ids[None, part]) & (q_cams[:, None] != g_cams[None, part])
        same[:, g_ids[part] == JUNK] = False
        for q in np.flatnonzero(same.any(1)):
            near[q].append(distances[q, same[q]])
    sizes = [sum(map(len, found)) for found in near]
    starts = np.concatenate(([0], np.cumsum(sizes))).astype(np.int64)
    right = np.concatenate(
        [np.sort(np.concatenate(found)) for found in near if found] or [np.zeros(0, np.float32)]
    )
    counts, status = np.zeros(len(right) + queries, np.int64), np.zeros(queries, np.int8)
    rows = [slice(part[0], part[-1] + 1) for part in np.array_split(np.arange(queries), threads) if len(part)]
    with ThreadPoolExecutor(threads) as pool:
        for part, distances in tiles():

            def count(some: slice, part: slice = part, distances: NDArray[np.float32] = distances) -> None:
                offset = starts[some.start]
                count_tile(
                    distances[some],
                    q_ids[some],
                    g_ids[part],
                    right[offset:],
                    starts[some.start : some.stop + 1] - offset,
                    counts[offset + some.start :],
                    status[some],
                )

            list(pool.map(count, rows))
    if (status == NAN).any():
        raise ValueError(f"distances of query {int(np.argmax(status == NAN))} hold NaN")
    precision, first = np.full(queries, np.nan), np.full(queries, -1, np.int64)
    for q in np.flatnonzero(np.diff(starts) * (status == 0)):
        own = counts[starts[q] + q : starts[q + 1] + q + 1]
        precision[q], first[q] = average_precision(own), own[0] + 1
    tied = np.flatnonzero(status == TIED)
    real = g_ids != JUNK
    real_ids, real_cams = g_ids[real], g_cams[real]

    def score_tied(q: int, row: NDArray[np.float32]) -> None:
        if np.isnan(row).any():
            raise ValueError(f"distances of query {q} hold NaN")
        order = np.argsort(row[real])  # torchreid's order of equals
        same = (real_ids == q_ids[q])[order]
        kept = np.ones(len(order), bool)
        kept[np.flatnonzero(same)[real_cams[order[same]] == q_cams[q]]] = False
        precision[q], first[q] = score_order(same[kept])

    rows_at_once = max(1, _TIED_BYTES // (4 * max(1, len(gallery))))
    with ThreadPoolExecutor(threads) as pool:
        for begin in range(0, len(tied), rows_at_once):
            some = tied[begin : begin + rows_at_once]
            whole = np.empty((len(some), len(gallery)), np.float32)
            for part, distances in tiles(some=some):
                whole[:, part] = distances
            list(pool.map(score_tied, some.tolist(), whole))
    return summarised(precision, first, max_rank)
