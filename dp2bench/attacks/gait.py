"""Re-identification by gait: silhouettes of a walk, averaged over time, whatever the person looks like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dp2bench.attacks.learning import Rows, cosine_distances, discriminant

HEIGHT, WIDTH = 64, 44
"""Of a gait energy image in cells."""
COMPONENTS = 100
"""Principal components that are kept at most."""


@dataclass(frozen=True)
class Walks:
    """Clips of people, N in all.

    Attributes:
        names: N unique names.
        identities: (N,) int64 who walks.
        silhouettes: N arrays (T, H, W) bool, in the order of time.

    """

    names: tuple[str, ...]
    identities: NDArray[np.int64]
    silhouettes: tuple[NDArray[np.bool_], ...]


def normalized_silhouette(mask: NDArray[np.bool_]) -> NDArray[np.float32] | None:
    """(64, 44): a silhouette scaled to the full height, its centre of mass in the middle column; None where it is empty."""
    rows = np.flatnonzero(mask.any(1))
    if not len(rows):
        return None
    columns = np.flatnonzero(mask.any(0))
    cut = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.float32)
    scale = HEIGHT / len(cut)
    size = max(1, round(cut.shape[1] * scale)), HEIGHT
    small = cv2.resize(cut, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    centre = round(float((small.sum(0) * np.arange(size[0])).sum() / small.sum()))
    padded = np.pad(small, ((0, 0), (WIDTH, WIDTH)))
    left = centre + WIDTH - WIDTH // 2
    return np.asarray(padded[:, left : left + WIDTH], np.float32)


def gait_energy(silhouettes: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(2 * 64 * 44,): mean and spread over time of a walk's silhouettes (T, H, W) (gait energy image, Han and Bhanu, 2006)."""
    frames = [f for m in silhouettes if (f := normalized_silhouette(m)) is not None]
    if not frames:
        return np.zeros(2 * HEIGHT * WIDTH, np.float32)
    stack = np.stack(frames)
    return np.concatenate([stack.mean(0).ravel(), stack.std(0).ravel()])


def described(walks: Walks) -> Rows:
    """(N, D) of N clips."""
    return np.stack([gait_energy(s) for s in walks.silhouettes])


def match(
    train: Rows, people: NDArray[np.int64], query: Rows, gallery: Rows, shrinkage: float = 0.3
) -> NDArray[np.float32]:
    """(Q, G) distances by principal components and an LDA of the walks of people who are in neither, as Han and Bhanu do.

    Args:
        train: (N, D), two clips or more of each person.
        people: (N,) who walks in them.
        query: (Q, D).
        gallery: (G, D).
        shrinkage: of the LDA, see `discriminant`.

    """
    middle = train.mean(0)
    _, strength, axes = np.linalg.svd(train - middle, full_matrices=False)
    kept = axes[: min(COMPONENTS, int((strength > 1e-4 * max(strength[0], 1e-9)).sum()))].T
    if not kept.shape[1]:  # everybody looks the same, as behind a box
        return np.zeros((len(query), len(gallery)), np.float32)
    reduced = [(rows - middle) @ kept for rows in (train, query, gallery)]
    project = discriminant(reduced[0], people, shrinkage)
    return cosine_distances(project(reduced[1]), project(reduced[2]))


def folds(identities: NDArray[np.int64], count: int, seed: int) -> Sequence[NDArray[np.bool_]]:
    """Which clips are asked about in each fold: people are parted at random, each is in one."""
    people, member = np.unique(identities, return_inverse=True)
    fold = np.random.default_rng(seed).permutation(len(people)) % count
    return [(fold == k)[member] for k in range(count)]
