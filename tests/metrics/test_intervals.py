"""Intervals keep their promise: checked by simulation, where the truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp2bench.metrics.intervals import (
    bootstrap_interval,
    cluster_interval,
    cluster_means,
    lift,
    training_interval,
    wilson_interval,
)


def _coverage(clusters: int, simulations: int, draw) -> float:
    random = np.random.default_rng(5)
    hits = 0
    for i in range(simulations):
        truth, values, names = draw(random, clusters)
        low, high = cluster_interval(values, names, seed=i, resamples=500)
        hits += low <= truth <= high
    return hits / simulations


def _identities(random, clusters):
    """Average precisions of three queries an identity: some people are found easily, and all their queries are."""
    ease = random.beta(2, 3, clusters)
    names = np.repeat(np.arange(clusters), 3)
    return 0.4, np.clip(ease[names] + random.normal(0, 0.1, 3 * clusters), -1, 2), names.tolist()


def _hard(random, clusters):
    """Most people are hardly found, a few easily: the skew of a method that leaks little."""
    ease = random.beta(0.8, 8, clusters)
    names = np.repeat(np.arange(clusters), 3)
    return 0.8 / 8.8, ease[names] + random.normal(0, 0.03, 3 * clusters), names.tolist()


@pytest.mark.parametrize(("draw", "low"), [(_identities, 0.915), (_hard, 0.90)])
def test_intervals_over_identities_cover_the_truth(draw, low):
    assert low <= _coverage(48, 200, draw) <= 0.985


@pytest.mark.slow
@pytest.mark.parametrize("clusters", [24, 48, 200])
def test_intervals_over_identities_cover_the_truth_95_times_of_100(clusters):
    assert 0.93 <= _coverage(clusters, 2000, _identities) <= 0.97


def test_intervals_over_queries_are_too_narrow():
    random = np.random.default_rng(1)
    _, values, names = _identities(random, 48)
    a, b = bootstrap_interval(values, seed=0), cluster_interval(values, names, seed=0)
    assert b[1] - b[0] > 1.4 * (a[1] - a[0])


def test_clusters_of_one_unit_are_the_bootstrap_of_units():
    values = np.random.default_rng(3).random(300)
    a, b = bootstrap_interval(values, seed=0), cluster_interval(values, range(300), seed=0)
    np.testing.assert_allclose(a, b, atol=0.005)


def test_columns_are_drawn_together_and_order_changes_nothing():
    random = np.random.default_rng(2)
    values, names = random.random((30, 2)), [f"p{i % 7}" for i in range(30)]
    both = cluster_means(values, names, seed=4, resamples=50)
    np.testing.assert_allclose(both[:, 1], cluster_means(values[:, 1], names, seed=4, resamples=50))
    order = random.permutation(30)
    np.testing.assert_allclose(
        both, cluster_means(values[order], [names[i] for i in order], seed=4, resamples=50)
    )


def test_one_identity_alone_has_no_width():
    assert cluster_interval([0.2, 0.4], ["a", "a"], seed=0) == pytest.approx((0.3, 0.3))


@pytest.mark.parametrize("share", [0.01, 0.5])
def test_wilson_covers_the_truth(share):
    random = np.random.default_rng(0)
    found = random.binomial(150, share, 600)
    hits = [low <= share <= high for low, high in (wilson_interval(int(k), 150) for k in found)]
    assert 0.93 <= np.mean(hits) <= 0.98


@given(st.integers(1, 400), st.data())
def test_wilson_holds_the_share_and_stays_within_0_and_1(n, data):
    k = data.draw(st.integers(0, n))
    low, high = wilson_interval(k, n)
    assert 0 <= low <= k / n <= high <= 1
    assert low < high
    mirrored = wilson_interval(n - k, n)
    assert (1 - mirrored[1], 1 - mirrored[0]) == pytest.approx((low, high))


def test_wilson_golden():
    # Newcombe, Statistics in Medicine 17 (1998), table I: 81 of 263, and 15 of 148
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson_interval(15, 148) == pytest.approx((0.0624, 0.1605), abs=1e-4)


def test_trainings_that_differ_widen_an_interval():
    narrow = (0.28, 0.32)
    assert training_interval(narrow, [0.3]) == narrow
    assert training_interval(narrow, [0.3, 0.3]) == narrow
    low, high = training_interval(narrow, [0.28, 0.30, 0.32])
    assert low < 0.28
    assert high > 0.32
    assert (low + high) / 2 == pytest.approx(0.3)


def test_trainings_cover_the_truth():
    random = np.random.default_rng(9)
    hits = []
    for _ in range(300):
        trainings = 0.3 + random.normal(0, 0.02, 3) + random.normal(0, 0.01)
        middle = trainings.mean()
        low, high = training_interval((middle - 0.0196, middle + 0.0196), trainings)
        hits.append(low <= 0.3 <= high)
    assert 0.93 <= np.mean(hits) <= 0.985


def test_lift():
    assert lift(0.4, 0.1, 0.7) == pytest.approx(0.5)
    assert lift(0.1, 0.1, 0.7) == 0
    assert lift(0.05, 0.1, 0.7) < 0
    with pytest.raises(ValueError, match="does not lie above"):
        lift(0.1, 0.3, 0.3)


@pytest.mark.parametrize("values", [[], [float("nan")]])
def test_nothing_to_draw_from_is_said(values):
    with pytest.raises(ValueError, match="finite"):
        cluster_interval(values, ["a"] * len(values), seed=0)
