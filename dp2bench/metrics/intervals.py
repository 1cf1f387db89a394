"""Confidence intervals of means."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

_DRAWS_AT_ONCE = 4_000_000


def bootstrap_interval(
    values: ArrayLike, *, seed: int, resamples: int = 2000, level: float = 0.95
) -> tuple[float, float]:
    """Percentile bootstrap of the mean (Efron, 1979): equal arguments give equal bounds.

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
