"""How far two equal methods come apart by chance: units (queries, pictures) and seeds (trainings)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dp2bench.core.results import Score

_Z95 = 1.959964


@dataclass(frozen=True)
class Pair:
    """One score in both runs, with the values of its single units where both runs kept them."""

    base: Score
    head: Score
    base_units: Mapping[str, float]
    head_units: Mapping[str, float]
    paired_seeds: bool = False


@dataclass(frozen=True)
class Variance:
    """Of a difference, and its degrees of freedom."""

    value: float
    freedom: float


def unit_variance(pair: Pair) -> Variance | None:
    """What other units would change, in the score's unit squared; None where nothing says it.

    With the same units in both runs: the bootstrap variance of the mean of their differences. For a mean that has a closed form, so
    nothing is drawn, and the tails that many tests need have no resampling noise. Otherwise both 95 % intervals, as if the units
    were independent. Units whose mean is not the score (average precision over a dataset, FID) are not used.
    """
    differences = _differences(pair)
    if differences is not None:
        return Variance(float(differences.var(ddof=1)) / len(differences), len(differences) - 1)
    known = [s for s in (pair.base, pair.head) if s.ci95 is not None]
    if not known:
        return None
    parts = [Variance(((s.ci95[1] - s.ci95[0]) / 2 / _Z95) ** 2, max(s.n - 1, 1)) for s in known if s.ci95]
    # one known interval stands for both: the same units were measured
    return _sum(parts * (3 - len(parts)))


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

    Two or three seeds say little about their spread, and Student's quantile of one or two degrees of freedom would let everything
    pass. All methods of a run were scored by the same attackers, though, and their spreads are alike once fractions are
    transformed by asin(sqrt(x)), which takes out that a share near 0 or 1 varies less. So the spread is pooled over the methods,
    and a method whose own spread is larger keeps its own. Rows that are copies of each other (scores of clear pictures) count once.
    None: no run has two seeds.
    """
    stable = all(p.base.unit == "fraction" for p in pairs)
    own = [_seed_squares(p, stable) for p in pairs]
    distinct = {(p.base.per_seed, p.head.per_seed): o for p, o in zip(pairs, own, strict=True)}.values()
    freedom = sum(f for _, f, _ in distinct)
    if not freedom:
        return [None for _ in pairs]
    # raw values of methods that are orders of magnitude apart (FID) have no common spread
    pooled = sum(s for s, _, _ in distinct) / freedom if stable else 0.0
    found: list[Variance | None] = []
    for pair, (squares, mine, factor) in zip(pairs, own, strict=True):
        spread, known = (squares / mine if mine else 0.0), mine
        if stable:
            spread, known = max(spread, pooled), freedom
            middle = min(max((pair.base.value + pair.head.value) / 2, 0.0), 1.0)
            spread *= 4 * middle * (1 - middle)
        found.append(Variance(spread * factor, known) if known else None)
    return found


def _seed_squares(pair: Pair, stable: bool) -> tuple[float, int, float]:
    """Sum of squares around the mean, degrees of freedom, and what makes a variance of the runs' difference of it."""
    sides = [np.array(s.per_seed, np.float64) for s in (pair.base, pair.head)]
    if stable:
        sides = [np.arcsin(np.sqrt(x.clip(0, 1))) for x in sides]
    base, head = sides
    if pair.paired_seeds and len(base) == len(head) > 1:
        change = head - base
        return float(((change - change.mean()) ** 2).sum()), len(base) - 1, 1 / len(base)
    squares = sum(float(((x - x.mean()) ** 2).sum()) for x in sides if len(x))
    freedom = sum(max(len(x) - 1, 0) for x in sides)
    return squares, freedom, sum(1 / max(len(x), 1) for x in sides)


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
