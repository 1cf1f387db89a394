"""Confidence intervals: of means over units, of means over clusters of units (identities), and of shares."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

_DRAWS_AT_ONCE = 4_000_000


def bootstrap_interval(
    values: ArrayLike, *, seed: int, resamples: int = 2000, level: float = 0.95
) -> tuple[float, float]:
    """Percentile bootstrap of the mean (Efron, 1979): equal arguments give equal bounds.

    For units that are independent of each other. Queries of one identity are not: see `cluster_interval`.

    Args:
        values: (N,) finite numbers, one a unit (query, picture).
        seed: of the resampling.
        resamples: how often N of the N values are drawn with replacement.
        level: share of the resampled means that lies between the bounds.

    Returns:
        Lower and upper bound, in the unit of ``values``.

    """
    data = np.asarray(values, np.float64).ravel()
    if data.size == 0 or not np.isfinite(data).all():
        raise ValueError(f"bootstrap_interval takes at least one value and finite ones only, got {data.size}")
    if resamples < 1 or not 0 < level < 1:
        raise ValueError(f"resamples must be positive and level within (0, 1), got {resamples} and {level}")
    random = np.random.default_rng(seed)
    means = np.empty(resamples)
    step = max(1, _DRAWS_AT_ONCE // data.size)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        means[start : start + rows] = data[random.integers(data.size, size=(rows, data.size))].mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def cluster_interval(
    values: ArrayLike, clusters: Sequence[object], *, seed: int, resamples: int = 2000, level: float = 0.95
) -> tuple[float, float]:
    """Bootstrap of a mean whose units come in clusters: whole clusters are drawn, as identities are what a dataset samples.

    The percentiles are expanded for the number of clusters (Hesterberg, "What Teachers Should Know About the Bootstrap", 2015, section
    5.3), as plain ones are too narrow where there are few.

    Args:
        values: (N,) finite numbers, one a unit (query, picture).
        clusters: N names; units of equal name are drawn together.
        seed: of the resampling.
        resamples: how often all clusters are drawn, with replacement.
        level: of confidence.

    Returns:
        Lower and upper bound, in the unit of ``values``; both the mean where there is one cluster only.

    """
    means = cluster_means(values, clusters, seed=seed, resamples=resamples)
    return expanded_quantiles(means, len(set(clusters)), level)


def cluster_means(
    values: ArrayLike, clusters: Sequence[object], *, seed: int, resamples: int = 2000
) -> NDArray[np.float64]:
    """(resamples,) means of ``values`` over clusters drawn with replacement; equal clusters and seed draw the same clusters.

    ``values`` may be (N, K): then (resamples, K), all from the same draws, so that differences and ratios of columns are paired.
    """
    data = np.asarray(values, np.float64)
    if len(data) == 0 or len(data) != len(clusters) or not np.isfinite(data).all():
        raise ValueError(
            f"cluster_means takes finite values, one or more, and a cluster each; got {data.shape} values for {len(clusters)}"
        )
    names = sorted({*clusters}, key=str)
    index = {name: i for i, name in enumerate(names)}
    member = np.array([index[name] for name in clusters])
    counts = np.bincount(member, minlength=len(names)).astype(np.float64)
    sums = np.zeros((len(names), *data.shape[1:]))
    np.add.at(sums, member, data)
    draws = np.random.default_rng(seed).multinomial(
        len(names), np.full(len(names), 1 / len(names)), size=resamples
    )
    total = draws @ counts
    means: NDArray[np.float64] = (draws @ sums) / (total if data.ndim == 1 else total[:, None])
    return means


def expanded_quantiles(draws: NDArray[np.float64], clusters: int, level: float = 0.95) -> tuple[float, float]:
    """The percentile interval of bootstrap draws, widened as Student's interval is for that many clusters."""
    from scipy import stats

    if clusters < 2:
        middle = float(np.mean(draws))
        return middle, middle
    reach = math.sqrt(clusters / (clusters - 1)) * stats.t.ppf((1 + level) / 2, clusters - 1)
    tail = float(stats.norm.cdf(-reach))
    low, high = np.quantile(draws, [tail, 1 - tail])
    return float(low), float(high)


def wilson_interval(successes: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a share (1927): right near 0 and 1, where a bootstrap of zeros says nothing.

    Args:
        successes: how many of the ``n`` independent units count.
        n: number of units, at least 1.
        level: of confidence.

    """
    from scipy import stats

    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"wilson_interval takes 0 <= successes <= n and n >= 1, got {successes} of {n}")
    z = float(stats.norm.ppf((1 + level) / 2))
    share = successes / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    low = 0.0 if successes == 0 else max(0.0, centre - half)  # rounding would leave a hair above 0
    return low, 1.0 if successes == n else min(1.0, centre + half)


def training_interval(
    interval: tuple[float, float], per_training: Sequence[float], level: float = 0.95
) -> tuple[float, float]:
    """An interval over units, widened by what another training would change.

    Variances add up: that of the units, read from ``interval``, and that of the mean of the trainings. The quantile is Student's with
    Welch and Satterthwaite's degrees of freedom. With one training nothing is known of others, and ``interval`` is returned.

    Args:
        interval: lower and upper bound of the mean over trainings, as other units would move it.
        per_training: the score of each training.
        level: of both intervals.

    """
    from scipy import stats

    low, high = interval
    k = len(per_training)
    spread = float(np.var(per_training, ddof=1)) / k if k > 1 else 0.0
    if spread == 0:
        return interval
    z = float(stats.norm.ppf((1 + level) / 2))
    middle = float(np.mean(per_training))
    sides = []
    for reach in (middle - low, high - middle):  # a skewed interval stays skewed
        units = (max(reach, 0.0) / z) ** 2
        freedom = (units + spread) ** 2 / (spread**2 / (k - 1))
        sides.append(float(stats.t.ppf((1 + level) / 2, freedom)) * math.sqrt(units + spread))
    return middle - sides[0], middle + sides[1]


def lift(score: float, floor: float, clear: float) -> float:
    """How much of what an attacker finds in clear pictures is left: 0 at the floor, 1 where nothing was gained.

    ``(score - floor) / (clear - floor)``. Below 0 where the score lies under the floor by chance.

    Raises:
        ValueError: the clear score does not lie above the floor: the attacker finds nobody, and no share of that is left.

    """
    if not clear > floor:
        raise ValueError(f"the clear score {clear} does not lie above the floor {floor}")
    return (score - floor) / (clear - floor)
