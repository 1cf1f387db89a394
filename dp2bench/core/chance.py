"""What scores of permutations say about a score: a quantile and a p value."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def quantile(null: ArrayLike) -> float:
    """What chance alone exceeds one time in forty, of the scores (P,) of permutations."""
    return float(np.quantile(np.asarray(null, np.float64), 0.975))


def p_value(null: ArrayLike, score: float) -> float:
    """Chance of this score or a higher one where nothing leaks (Phipson and Smyth, 2010: never 0)."""
    values = np.asarray(null, np.float64)
    return float((1 + (values >= score - 1e-12).sum()) / (1 + len(values)))
