"""What tells two kinds apart: the p value is uniform where nothing does, and intervals over people cover the truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from dp2bench.attacks.kinds import halves, measure_kinds
from dp2bench.metrics.intervals import cluster_interval


def drawn(seed: int, people: int = 100, effect: float = 0.0, permutations: int = 40):
    """Two pictures a person: people differ, and those of the first kind are higher by the effect."""
    random = np.random.default_rng(seed)
    who = np.repeat(np.arange(people), 2)
    first = halves(who, seed)
    numbers = random.normal(0, 1, people)[who] + random.normal(0, 0.5, 2 * people) + effect * first
    names = [f"{p}-{i}" for i, p in enumerate(who)]
    found = measure_kinds("auc", numbers, first, who, names, seed=seed, permutations=permutations)
    return found, names


def test_the_mean_of_the_units_is_the_area():
    found, names = drawn(1, effect=1.0)
    assert found.value == pytest.approx(np.mean(list(found.units.values())))
    assert set(found.units) == set(names)
    assert found.p_value < 0.03


def test_halves_hold_whole_people():
    who = np.array([3, 3, 1, 1, 7, 7, 7, 9])
    half = halves(who, 0)
    assert all(len(set(half[who == p])) == 1 for p in who)
    assert len(set(who[half])) == 2


def test_p_values_are_uniform_where_nothing_tells_the_kinds_apart():
    p = np.array([drawn(seed)[0].p_value for seed in range(60)])
    assert stats.kstest(p, "uniform").pvalue > 0.01


def _covered(simulations: int) -> float:
    truth = stats.norm.cdf(0.6 / np.sqrt(2 * 1.25))
    hits = 0
    for seed in range(simulations):
        found, names = drawn(seed, effect=0.6, permutations=1)
        low, high = cluster_interval(
            [found.units[n] for n in names], [found.clusters[n] for n in names], seed=seed, resamples=400
        )
        hits += low <= truth <= high
    return hits / simulations


def test_intervals_cover_the_truth():
    assert _covered(60) >= 0.85


@pytest.mark.slow
def test_p_values_are_uniform_and_intervals_cover_in_many_simulations():
    p = np.array([drawn(seed)[0].p_value for seed in range(500)])
    assert 0.025 <= (p <= 0.05).mean() <= 0.08
    assert 0.93 <= _covered(800) <= 0.97
