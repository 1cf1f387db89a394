"""What a ranking scores by chance: labels permuted within the query's camera, never a row's own identity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dp2bench.core.chance import p_value, quantile
from dp2bench.metrics.ranking import rank

_TRIES = 50


@dataclass(frozen=True)
class Floor:
    """Scores of a ranking that knows nothing of the query, one a permutation.

    Attributes:
        mean_average_precisions: (P,) 0..1.
        cmcs: (P, max_rank) 0..1.

    """

    mean_average_precisions: NDArray[np.float64]
    cmcs: NDArray[np.float64]

    def values(self, metric: str) -> NDArray[np.float64]:
        """(P,) of ``mAP`` or ``rank-K``."""
        if metric == "mAP":
            return self.mean_average_precisions
        k = int(metric.removeprefix("rank-"))
        column: NDArray[np.float64] = self.cmcs[:, min(k, self.cmcs.shape[1]) - 1]
        return column

    def mean(self, metric: str = "mAP") -> float:
        """The floor."""
        return float(self.values(metric).mean())

    def high(self, metric: str = "mAP") -> float:
        """See `quantile`."""
        return quantile(self.values(metric))

    def p_value(self, score: float, metric: str = "mAP") -> float:
        """See `p_value`, for a ranking that knows nothing."""
        return p_value(self.values(metric), score)


def relabel(
    identities: NDArray[np.int64], cameras: NDArray[np.int64], random: np.random.Generator
) -> NDArray[np.int64]:
    """(Q,) for each query the index of another one, whose identity it gets.

    Of the same camera and never of its own identity: a permutation within the camera. Where one identity has more than half of a
    camera's queries there is no such permutation, and each query draws from the others. A camera that saw one identity alone draws from
    all cameras.
    """
    order = np.arange(len(identities))
    for camera in np.unique(cameras):
        rows = np.flatnonzero(cameras == camera)
        own = identities[rows]
        most = np.unique(own, return_counts=True)[1].max()
        if 2 * most <= len(rows):
            order[rows] = rows[_derangement(own, random)]
            continue
        for row in rows:
            others = rows[own != identities[row]]
            if not len(others):
                others = np.flatnonzero(identities != identities[row])
            if len(others):
                order[row] = random.choice(others)
    return order


def _dealt(
    identities: NDArray[np.int64], cameras: NDArray[np.int64], random: np.random.Generator
) -> NDArray[np.int64]:
    """(Q,) a permutation within cameras, any of them."""
    order = np.arange(len(identities))
    for camera in np.unique(cameras):
        rows = np.flatnonzero(cameras == camera)
        order[rows] = random.permutation(rows)
    return order


def _derangement(own: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.int64]:
    """A permutation that takes no element to one of its own name; no name has more than half of the elements."""
    order = random.permutation(len(own))
    while True:
        bad = np.flatnonzero(own[order] == own)
        if not len(bad):
            return order
        i = int(bad[0])
        for _ in range(_TRIES):
            j = int(random.integers(len(own)))
            if own[order[j]] != own[i] and own[order[i]] != own[j]:
                break
        else:  # a pair that may be exchanged is rare: look for it
            fits = np.flatnonzero((own[order] != own[i]) & (own != own[order[i]]))
            j = int(random.choice(fits)) if len(fits) else int(random.integers(len(own)))
        order[i], order[j] = order[j], order[i]


def permutation_floor(
    distances: NDArray[Any],
    query_ids: ArrayLike,
    gallery_ids: ArrayLike,
    query_cameras: ArrayLike,
    gallery_cameras: ArrayLike,
    *,
    permutations: int = 200,
    seed: int,
    derange: bool = True,
    max_rank: int = 50,
    threads: int = 2,
) -> Floor:
    """The floor of `rank`: the same distances, each row scored as if it were another person seen by its camera.

    Queries of one camera look alike (light, colours, place) whoever they show, so a ranking that knows cameras and nobody's identity scores
    exactly this. A row that kept its own identity would carry what is to be measured into the floor.

    Args:
        distances: (Q, G), as in `rank`, and so are the next four.
        query_ids: (Q,) integers.
        gallery_ids: (G,) integers.
        query_cameras: (Q,) integers.
        gallery_cameras: (G,) integers.
        permutations: how many.
        seed: of the permutations.
        derange: nobody keeps their own identity. Without, names are dealt out freely within cameras: exact p values, also of few
            people, of whom there are too few derangements.
        max_rank: length of the CMC curves.
        threads: as in `rank`.

    """
    if permutations < 1:
        raise ValueError(f"permutations must be positive, got {permutations}")
    ids, cameras = np.asarray(query_ids, np.int64), np.asarray(query_cameras, np.int64)
    random = np.random.default_rng(seed)
    deal = relabel if derange else _dealt
    orders = [deal(ids, cameras, random) for _ in range(permutations)]
    people, member = np.unique(ids, return_inverse=True)
    rows = np.arange(len(ids))
    if len(people) <= permutations:  # cheaper to score every row as everybody once, and to look up
        known = [
            rank(distances, np.full(len(ids), p), *others, max_rank=max_rank, threads=threads)
            if _answered(p, *others)
            else None
            for p in people
            for others in ((np.asarray(gallery_ids), cameras, np.asarray(gallery_cameras)),)
        ]
        nobody = np.full(len(ids), np.nan), np.full(len(ids), -1)
        precision = np.stack([nobody[0] if k is None else k.average_precision for k in known])
        first = np.stack([nobody[1] if k is None else k.first_match_rank for k in known])
        drawn = [(precision[member[o], rows], first[member[o], rows]) for o in orders]
    else:
        labelled = (
            rank(distances, ids[o], gallery_ids, cameras, gallery_cameras, max_rank=max_rank, threads=threads)
            for o in orders
        )
        drawn = [(scores.average_precision, scores.first_match_rank) for scores in labelled]
    ranks = np.arange(1, max_rank + 1)
    return Floor(
        np.array([np.nanmean(precision) for precision, _ in drawn]),
        np.stack([(first[first > 0, None] <= ranks).mean(0) for _, first in drawn]),
    )


def _answered(
    person: Any, gallery_ids: NDArray[Any], cameras: NDArray[Any], gallery_cameras: NDArray[Any]
) -> bool:
    """Whether any query would have a right answer if it were this person's."""
    seen = set(gallery_cameras[gallery_ids == person].tolist())
    return any(seen - {camera} for camera in set(cameras.tolist()))
