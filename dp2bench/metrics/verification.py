"""Whether a face is still taken for the same person: verification by the distance of embeddings."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dp2bench.metrics.intervals import bootstrap_interval


class Verification(NamedTuple):
    """How many of N people are verified.

    Attributes:
        rate: share of people whose anonymized face is nearer to their own clear one than the threshold.
        interval: 95 % bootstrap interval over people.
        chance: share of pairs of different people who are as near: what remains if the anonymized face is anybody's. NaN for one person.
        auc: chance that a person's own pair is nearer than a pair of different people, 0.5 where the faces tell nothing. NaN for one person.
        distances: (N,) of each person's own pair.

    """

    rate: float
    interval: tuple[float, float]
    chance: float
    auc: float
    distances: NDArray[np.float64]


def verify(
    clear: NDArray[np.floating], anonymized: NDArray[np.floating], *, threshold: float, seed: int = 0
) -> Verification:
    """Verification of N people by (N, D) embeddings of their clear and of their anonymized faces.

    Args:
        clear: a row a person.
        anonymized: the same people in the same order.
        threshold: Euclidean distance under which two faces are one person.
        seed: of the bootstrap.

    """
    if clear.shape != anonymized.shape or clear.ndim != 2 or not len(clear):
        raise ValueError(
            f"verify takes two equal (N, D) arrays, N > 0, got {clear.shape} and {anonymized.shape}"
        )
    pairs = np.sqrt(((clear[:, None].astype(np.float64) - anonymized[None]) ** 2).sum(2))
    own = pairs.diagonal().copy()
    others = pairs[~np.eye(len(pairs), dtype=np.bool_)]
    verified = own < threshold
    chance, auc = float("nan"), float("nan")
    if others.size:
        chance = float((others < threshold).mean())
        order = np.sort(others)
        further = (others.size - np.searchsorted(order, own, "right")) / others.size
        equal = (np.searchsorted(order, own, "right") - np.searchsorted(order, own, "left")) / others.size
        auc = float((further + equal / 2).mean())
    return Verification(float(verified.mean()), bootstrap_interval(verified, seed=seed), chance, auc, own)
