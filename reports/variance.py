"""How far two equal methods come apart by chance: units (queries, pictures) and seeds (trainings)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dp2bench.core.results import CLUSTER, Metric, Score

_Z95 = 1.959964


@dataclass(frozen=True)
class Pair:
    """One score in both runs, with the values of its single units where both runs kept them."""

    base: Score
    head: Score
    metric: Metric
    """Of both."""
    base_units: Mapping[str, float]
    head_units: Mapping[str, float]
    paired_seeds: bool = False
    base_clear: Score | None = None
    """What the same attackers scored on clear pictures; None where the task has no such score."""
    head_clear: Score | None = None


@dataclass(frozen=True)
class Variance:
    """Of a difference, and its degrees of freedom."""

    value: float
    freedom: float


def unit_variance(pair: Pair) -> Variance | None:
    """What other units would change, in the score's unit squared; None where nothing says it.

    With the same units in both runs: the bootstrap variance of the mean of their differences. For a mean that has a closed form, so
    nothing is drawn, and the tails that many tests need have no resampling noise. Units of one cluster (identity) move together, so
    clusters are what is drawn. Otherwise both 95 % intervals, as if the units were independent. Units whose mean is not the score
    (average precision over a dataset, FID) are not used.
    """
    differences = _differences(pair)
    if differences is not None:
        return _clustered(differences, sorted(pair.base_units))
    known = [s for s in (pair.base, pair.head) if s.ci95 is not None]
    if not known:
        return None
    parts = [Variance(((s.ci95[1] - s.ci95[0]) / 2 / _Z95) ** 2, max(s.n - 1, 1)) for s in known if s.ci95]
    # one known interval stands for both: the same units were measured
    return _sum(parts * (3 - len(parts)))


def _clustered(differences: NDArray[np.float64], units: Sequence[str]) -> Variance | None:
    """Of the mean of differences whose units say by their ids what cluster they belong to; units without one are their own."""
    clusters = [unit.partition(CLUSTER)[0] if CLUSTER in unit else unit for unit in units]
    member = np.unique(clusters, return_inverse=True)[1]
    sums = np.bincount(member, differences - differences.mean())
    n = len(sums)
    if n < 2:
        return None
    return Variance(float((sums**2).sum()) * n / (n - 1) / len(differences) ** 2, n - 1)


def _differences(pair: Pair) -> NDArray[np.float64] | None:
    if len(pair.base_units) < 2 or pair.base_units.keys() != pair.head_units.keys():
        return None
    names = sorted(pair.base_units)
    try:
        sides = [
            np.array([units[n] for n in names], np.float64) for units in (pair.base_units, pair.head_units)
        ]
    except (TypeError, ValueError):
        return None
    for values, score in zip(sides, (pair.base, pair.head), strict=True):
        if not math.isclose(values.mean(), score.value, rel_tol=1e-6, abs_tol=1e-9):
            return None
    return sides[1] - sides[0]


def seed_variances(pairs: Sequence[Pair]) -> list[Variance | None]:
    """What other seeds would change, for each of several methods' values of one score on one dataset and task.

    What an attacker's strength explains is taken off first (`strength_shift`). Two or three seeds can lie close together by luck, so a
    method whose spread is smaller than that of all methods together gets theirs, brought to its own `_sensitivity`; one that
    varies more keeps its own. The methods met the same attackers, so their spreads rise and fall together, and the common spread has
    fewer degrees of freedom than all of them have (`_common_freedom`). None: no run has two seeds.
    """
    fractions = all(p.metric.unit == "fraction" for p in pairs)
    own_seeds = [_seed_residuals(p) for p in pairs]
    residuals, freedoms = [r for r, _, _ in own_seeds], [f for _, f, _ in own_seeds]
    squares = [float((r**2).sum()) for r in residuals]
    sensitivities = [_sensitivity(p) if fractions else 0.0 for p in pairs]
    # values of methods that are orders of magnitude apart (FID) have no common spread
    scale = sum(f * s**2 for f, s in zip(freedoms, sensitivities, strict=True))
    common = sum(squares) / scale if scale else 0.0
    freedom = _common_freedom(residuals, freedoms)
    found: list[Variance | None] = []
    for q, (_, own, factor), sensitivity in zip(squares, own_seeds, sensitivities, strict=True):
        shared = common * sensitivity**2
        if own and q / own >= shared:
            found.append(Variance(q / own * factor, own))
        else:
            found.append(Variance(shared * factor, freedom) if scale else None)
    return found


def _common_freedom(residuals: Sequence[NDArray[np.float64]], freedoms: Sequence[int]) -> float:
    """Degrees of freedom of a sum of squares over methods whose residuals are correlated.

    Satterthwaite's: those of one method times tr(S)^2 / tr(S^2), with S the covariances between methods; between one (all move
    together) and the number of methods. Estimated from few seeds it comes out too small, which is the safe side.
    """
    if len(set(map(len, residuals))) != 1 or len(set(freedoms)) != 1:
        return max(freedoms, default=0)  # other seeds for other methods: nothing can be aligned
    products = np.array(residuals) @ np.array(residuals).T
    total = float((products**2).sum())
    return freedoms[0] * (float(np.trace(products)) ** 2 / total if total else 1.0)


def strength_shift(pair: Pair) -> float:
    """How much of the difference (HEAD minus BASE, in the score's unit) is put down to stronger or weaker attackers.

    An attacker that finds people more easily in clear pictures finds them more easily in anonymized ones. Clear pictures are the same
    in both runs, so what moved there is the attackers' doing, and is taken off: a difference in differences with a slope that is
    fixed beforehand. Equal runs differ by 0 on average whatever the true slope is; a wrong one costs power alone. 0 where the
    attackers' clear scores are not known seed by seed.
    """
    clear = _strengths(pair)
    return 0.0 if clear is None else float(clear[1].mean() - clear[0].mean())


def _sensitivity(pair: Pair) -> float:
    """How much of a fraction's value hangs on the attacker's strength: none at chance, none at 1, 1 in the middle.

    The slope of a logistic curve from chance to 1, midway between the runs.
    """
    chance = min(max(pair.base.chance or 0.0, 0.0), 0.99)
    above = min(max(((pair.base.value + pair.head.value) / 2 - chance) / (1 - chance), 0.0), 1.0)
    return 4 * above * (1 - above) * (1 - chance)


def _strengths(pair: Pair) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """What each seed's clear score lets expect of the pair's, up to a constant; in the score's unit, for both runs."""
    sides = ((pair.base, pair.base_clear), (pair.head, pair.head_clear))
    known = [
        # asin(sqrt(x)): near 1 a small step is as hard as a large one in the middle
        _sensitivity(pair) * np.arcsin(np.sqrt(np.array(clear.per_seed, np.float64).clip(0, 1)))
        for score, clear in sides
        if clear is not None
        and pair.metric.unit == "fraction"
        and len(score.per_seed) == len(clear.per_seed) > 0
    ]
    return (known[0], known[1]) if len(known) == 2 else None


def _seed_residuals(pair: Pair) -> tuple[NDArray[np.float64], int, float]:
    """Each seed's distance from its run's mean, degrees of freedom, and what makes a variance of the runs' difference of theirs."""
    base, head = (np.array(s.per_seed, np.float64) for s in (pair.base, pair.head))
    clear = _strengths(pair)
    if clear is not None:
        base, head = base - clear[0], head - clear[1]
    if pair.paired_seeds and len(base) == len(head) > 1:
        change = head - base
        return change - change.mean(), len(base) - 1, 1 / len(base)
    sides = [x for x in (base, head) if len(x)]
    residuals = np.concatenate([x - x.mean() for x in sides]) if sides else np.zeros(0)
    freedom = sum(max(len(x) - 1, 0) for x in (base, head))
    return residuals, freedom, sum(1 / max(len(x), 1) for x in (base, head))


def margin(parts: Sequence[Variance | None], level: float) -> float | None:
    """Half an interval, one-sided at ``level``; None where no part is known.

    Variances add up; the quantile is Student's with Welch-Satterthwaite degrees of freedom.
    """
    from scipy import stats

    known = [p for p in parts if p is not None]
    if not known:
        return None
    total = _sum(known)
    if total.value == 0:
        return 0.0
    return float(stats.t.ppf(1 - level, total.freedom)) * math.sqrt(total.value)


def _sum(parts: Sequence[Variance]) -> Variance:
    value = sum(p.value for p in parts)
    if value == 0:
        return Variance(0.0, min(p.freedom for p in parts))
    return Variance(value, value**2 / sum(p.value**2 / p.freedom for p in parts))
