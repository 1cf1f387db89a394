"""How well a number tells two kinds apart: the area under the ROC curve, what each unit adds to it, and the equal error rate."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Separation(NamedTuple):
    """The area under the ROC curve, written as means of what each number contributes (DeLong et al., Biometrics 44, 1988).

    Attributes:
        auc: chance that a number of the first kind is higher than one of the second, ties half; 0.5 where nothing tells them apart.
        first: (M,) for each number of the first kind the share of the second that is lower; its weighted mean is ``auc``.
        second: (N,) for each of the second kind the share of the first that is higher; the same.

    """

    auc: float
    first: NDArray[np.float64]
    second: NDArray[np.float64]


def separate(
    first: ArrayLike,
    second: ArrayLike,
    first_weights: ArrayLike | None = None,
    second_weights: ArrayLike | None = None,
) -> Separation:
    """The area under the ROC curve of two samples of numbers.

    Args:
        first: (M,) the kind whose numbers are higher where the two can be told apart.
        second: (N,) the other kind.
        first_weights: (M,) that count numbers differently, not negative; equal by default.
        second_weights: (N,), the same.

    """
    a, b = (np.asarray(x, np.float64).ravel() for x in (first, second))
    if not len(a) or not len(b) or not np.isfinite(np.concatenate([a, b])).all():
        raise ValueError(
            f"separate takes finite numbers, one or more of each kind, got {len(a)} and {len(b)}"
        )
    weights = [_shares(w, len(x)) for w, x in ((first_weights, a), (second_weights, b))]
    above = _lower_share(a, b, weights[1])
    below = 1 - _lower_share(b, a, weights[0])
    return Separation(float(above @ weights[0]), above, below)


def equal_error_threshold(
    first: NDArray[Any],
    second: NDArray[Any],
    first_weights: ArrayLike | None = None,
    second_weights: ArrayLike | None = None,
) -> float:
    """Where as large a share of the first kind lies below as of the second above: the threshold of the equal error rate."""
    both = np.concatenate([first, second]).astype(np.float64)
    weights = np.concatenate([_shares(first_weights, len(first)), -_shares(second_weights, len(second))])
    order = np.argsort(both, kind="stable")
    # first kind rejected + second kind rejected - 1: its errors are equal where this crosses 0
    rejected = np.cumsum(np.abs(weights[order]))
    values = both[order]
    last = np.flatnonzero(np.append(values[1:] > values[:-1], True))  # a threshold parts no equal numbers
    at = int(np.argmin(np.abs(rejected[last] - 1)))
    here = last[at]
    return float(values[here] if here + 1 == len(values) else (values[here] + values[here + 1]) / 2)


def _shares(weights: ArrayLike | None, n: int) -> NDArray[np.float64]:
    given = np.ones(n) if weights is None else np.asarray(weights, np.float64)
    return np.asarray(given / given.sum(), np.float64)


def _lower_share(
    of: NDArray[np.float64], among: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """For each of the one, the weight of those among the others that are lower, equal ones half."""
    order = np.argsort(among, kind="stable")
    total = np.concatenate([[0.0], np.cumsum(weights[order])])
    sides = [total[np.searchsorted(among[order], of, side)] for side in ("left", "right")]
    return np.asarray((sides[0] + sides[1]) / 2, np.float64)
