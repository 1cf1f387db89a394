"""What attackers learn with: camera centring, shrinkage LDA, logistic regression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float32]
"""(N, D): one row a picture."""


def normalized(rows: NDArray[Any]) -> Rows:
    """Each row scaled to unit length; rows of zeros stay."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    out: Rows = (rows / np.maximum(lengths, 1e-9)).astype(np.float32)
    return out


def centred(rows: NDArray[Any], cameras: NDArray[np.int64]) -> Rows:
    """Each camera's mean taken off: light, colours and place go, the person stays. Needs no label but the camera."""
    out = np.array(rows, np.float32)
    for camera in np.unique(cameras):
        out[cameras == camera] -= out[cameras == camera].mean(0)
    return out


def cosine_distances(query: Rows, gallery: Rows) -> NDArray[np.float32]:
    """(Q, G) squared euclidean distances of rows scaled to unit length."""
    a, b = normalized(query), normalized(gallery)
    distances: NDArray[np.float32] = np.maximum(2 - 2 * (a @ b.T), 0)
    return distances


@dataclass(frozen=True)
class Projection:
    """An affine map: ``(rows - mean) @ directions``."""

    mean: Rows
    directions: Rows

    def __call__(self, rows: Rows) -> Rows:
        """(N, K) of (N, D)."""
        return np.asarray((rows - self.mean) @ self.directions, np.float32)


def discriminant(rows: Rows, labels: NDArray[np.int64], shrinkage: float = 0.3) -> Projection:
    """Linear discriminant analysis whose within-class covariance is drawn towards a multiple of the identity (Friedman, 1989).

    With more features than pictures, as here, plain LDA is not defined.

    Args:
        rows: (N, D).
        labels: (N,) classes, two or more.
        shrinkage: share of the multiple of the identity, within (0, 1].

    Returns:
        The map to at most one dimension fewer than there are classes, in which the within-class covariance is the identity.

    """
    from scipy.linalg import cholesky, solve_triangular

    classes, member = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"LDA needs two classes or more, got {len(classes)}")
    mean = rows.mean(0)
    means = np.zeros((len(classes), rows.shape[1]), np.float32)
    np.add.at(means, member, rows)
    counts = np.bincount(member).astype(np.float32)
    means /= counts[:, None]
    within = rows - means[member]
    covariance = within.T @ within / np.float32(len(rows))
    scale = max(float(np.trace(covariance)) / len(covariance), 1e-12)
    covariance *= np.float32(1 - shrinkage)
    covariance[np.diag_indices_from(covariance)] += np.float32(shrinkage * scale)
    lower = cholesky(covariance, lower=True, overwrite_a=True, check_finite=False)
    between = solve_triangular(lower, (means - mean).T, lower=True, check_finite=False)
    between *= np.sqrt(counts)
    left, strength, _ = np.linalg.svd(between, full_matrices=False)
    kept = left[:, strength > 1e-5 * max(float(strength[0]), 1e-12)][:, : len(classes) - 1]
    directions = solve_triangular(lower, kept, lower=True, trans="T", check_finite=False)
    return Projection(mean.astype(np.float32), np.asarray(directions, np.float32))


def logistic(
    rows: Rows, labels: NDArray[np.bool_], penalty: float = 1.0
) -> tuple[NDArray[np.float64], float]:
    """Two-class logistic regression with a ridge, both classes weighing the same: coefficients (D,) and intercept.

    Args:
        rows: (N, D), best with columns of unit scale.
        labels: (N,) of which some are True and some False.
        penalty: of the squared coefficients, as a share of the mean loss times N.

    """
    from scipy.optimize import minimize

    x, sign = rows, np.where(labels, 1.0, -1.0)
    weight = np.where(labels, 0.5 / max(labels.sum(), 1), 0.5 / max((~labels).sum(), 1))

    def loss(w: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        margin = sign * (x @ w[:-1].astype(np.float32) + w[-1])
        value = float(weight @ np.logaddexp(0, -margin)) + penalty / (2 * len(x)) * float(w[:-1] @ w[:-1])
        pull = -weight * sign / (1 + np.exp(np.clip(margin, -60, 60)))
        return value, np.append(x.T @ pull.astype(np.float32) + penalty / len(x) * w[:-1], pull.sum())

    found = minimize(loss, np.zeros(x.shape[1] + 1), jac=True, method="L-BFGS-B", options={"maxiter": 60}).x
    return found[:-1], float(found[-1])
