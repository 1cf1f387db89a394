"""The floor: what a ranking scores that knows cameras and nobody."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from dp2bench.metrics.floors import permutation_floor, relabel
from dp2bench.metrics.ranking import rank

QUERIES = st.integers(2, 40).flatmap(
    lambda n: st.tuples(
        arrays(np.int64, n, elements=st.integers(1, 6)), arrays(np.int64, n, elements=st.integers(1, 3))
    )
)


def _world(identities=30, cameras=4):
    """Two queries and one gallery picture a camera for each identity."""
    q_ids = np.repeat(np.arange(1, identities + 1), 2)
    q_cams = np.concatenate([[1 + i % cameras, 1 + (i + 1) % cameras] for i in range(identities)])
    g_ids = np.repeat(np.arange(1, identities + 1), cameras)
    return q_ids, g_ids, q_cams, np.tile(np.arange(1, cameras + 1), identities)


def _blind(random, labels, leak=0.0):
    """Distances of features that know the camera, and the identity as far as it leaks."""
    q_ids, g_ids, q_cams, g_cams = labels
    camera, person = random.normal(0, 2, (9, 8)), random.normal(0, leak, (99, 8))
    q = camera[q_cams] + person[q_ids] + random.normal(0, 1, (len(q_ids), 8))
    g = camera[g_cams] + person[g_ids] + random.normal(0, 1, (len(g_ids), 8))
    return ((q[:, None] - g[None]) ** 2).sum(2)


@given(QUERIES, st.integers(0, 1000))
def test_nobody_keeps_their_identity_and_cameras_stay_where_it_is_possible(labels, seed):
    ids, cams = labels
    order = relabel(ids, cams, np.random.default_rng(seed))
    if len(set(ids.tolist())) > 1:
        assert (ids[order] != ids).all()
    for camera in set(cams.tolist()):
        rows = np.flatnonzero(cams == camera)
        if len(set(ids[rows].tolist())) > 1:
            assert (cams[order[rows]] == camera).all()
        most = np.unique(ids[rows], return_counts=True)[1].max()
        if 2 * most <= len(rows):
            assert sorted(order[rows]) == sorted(rows)


def test_every_other_identity_is_drawn_equally_often():
    ids, cams = np.arange(6), np.zeros(6, np.int64)
    random = np.random.default_rng(0)
    orders = np.stack([relabel(ids, cams, random) for _ in range(6000)])
    counts = np.stack([np.bincount(column, minlength=6) for column in orders.T])
    assert (np.diag(counts) == 0).all()
    np.testing.assert_allclose(counts[~np.eye(6, dtype=bool)], 1200, rtol=0.12)


def test_a_perfect_ranking_lies_at_1_and_its_floor_under_a_blind_one():
    """Its own people stand in front of whoever is asked for instead; a row that kept its identity would lift the floor above."""
    labels = _world()
    q_ids, g_ids = labels[:2]
    perfect = (q_ids[:, None] != g_ids[None]) + np.random.default_rng(0).random((len(q_ids), len(g_ids))) / 2
    blind = np.random.default_rng(1).random((len(q_ids), len(g_ids)))
    floors = [permutation_floor(d, *labels, permutations=40, seed=0).mean() for d in (perfect, blind)]
    assert 0.5 * floors[1] < floors[0] < floors[1]
    assert rank(perfect, *labels).mean_average_precision == 1


def test_cameras_alone_lie_at_the_floor_and_identity_above():
    labels = _world()
    random = np.random.default_rng(3)
    d = _blind(random, labels)
    floor = permutation_floor(d, *labels, permutations=40, seed=0)
    assert rank(d, *labels).mean_average_precision < floor.values("mAP").max()
    d = _blind(random, labels, leak=2.0)
    floor = permutation_floor(d, *labels, permutations=40, seed=0)
    score = rank(d, *labels)
    assert floor.p_value(score.mean_average_precision) == pytest.approx(1 / 41)
    assert floor.p_value(score.cmc[0], "rank-1") == pytest.approx(1 / 41)
    assert floor.mean("rank-5") <= floor.high("rank-5")


def _p_values(simulations, permutations):
    labels = _world()
    random = np.random.default_rng(11)
    found = []
    for i in range(simulations):
        d = _blind(random, labels)
        floor = permutation_floor(d, *labels, permutations=permutations, seed=i, threads=1)
        found.append(floor.p_value(rank(d, *labels, threads=1).mean_average_precision))
    return np.array(found)


def test_p_values_are_uniform_where_nothing_leaks():
    p = _p_values(80, 40)
    assert stats.kstest(p, "uniform").pvalue > 0.01
    assert (p <= 0.05).mean() < 0.12


@pytest.mark.slow
def test_p_values_are_uniform_where_nothing_leaks_in_600_simulations():
    p = _p_values(600, 200)
    assert 0.03 <= (p <= 0.05).mean() <= 0.075
    assert 0.45 <= (p <= 0.5).mean() <= 0.55


def test_the_same_seed_gives_the_same_floor():
    labels = _world()
    d = _blind(np.random.default_rng(0), labels)
    a, b = (permutation_floor(d, *labels, permutations=5, seed=1, threads=t) for t in (1, 3))
    np.testing.assert_array_equal(a.mean_average_precisions, b.mean_average_precisions)
    np.testing.assert_array_equal(a.cmcs, b.cmcs)


def test_looking_scores_up_and_ranking_anew_give_the_same_floor():
    labels = _world(identities=12)
    d = _blind(np.random.default_rng(0), labels, leak=1.0)
    few, many = (permutation_floor(d, *labels, permutations=p, seed=1) for p in (11, 12))  # 12 people
    np.testing.assert_allclose(few.mean_average_precisions, many.mean_average_precisions[:11], rtol=1e-12)
    np.testing.assert_allclose(few.cmcs, many.cmcs[:11], rtol=1e-12)


def test_dealt_out_freely_few_people_may_keep_their_names():
    """Of two people there is one derangement; freely dealt, the score is one among two, and the p value says so."""
    labels = np.array([1, 2]), np.array([1, 2]), np.zeros(2, np.int64), np.ones(2, np.int64)
    distances = np.array([[0.0, 1], [1, 0]])
    free = permutation_floor(distances, *labels, permutations=400, seed=0, derange=False)
    np.testing.assert_allclose(free.p_value(1), 0.5, atol=0.08)
    assert set(free.values("mAP")) == {0.5, 1}
    assert permutation_floor(distances, *labels, permutations=400, seed=0).p_value(1) == 1 / 401
