import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dp2bench.metrics.intervals import bootstrap_interval
from dp2bench.metrics.ranking import distance_histograms, rank


def torchreid(distances, q_ids, g_ids, q_cams, g_cams, max_rank):
    from torchreid.reid.metrics.rank import evaluate_rank

    q, g = q_ids != -1, g_ids != -1
    return evaluate_rank(
        distances[q][:, g], q_ids[q], g_ids[g], q_cams[q], g_cams[g], max_rank=max_rank, use_cython=False
    )


def case(seed, queries, gallery, people, cameras, levels, dtype):
    random = np.random.default_rng(seed)
    shape = (queries, gallery)
    distances = random.integers(0, levels, shape) if levels else random.random(shape)
    return (
        distances.astype(dtype),
        random.integers(-1, people, queries),
        random.integers(-1, people + 1, gallery),
        random.integers(0, cameras, queries),
        random.integers(0, cameras, gallery),
    )


@settings(max_examples=300, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    queries=st.integers(1, 12),
    gallery=st.integers(1, 90),
    people=st.integers(1, 12),
    cameras=st.integers(1, 4),
    levels=st.sampled_from([0, 1, 2, 5, 40, 1000]),
    dtype=st.sampled_from([np.float16, np.float32, np.float64, np.int64]),
)
@pytest.mark.filterwarnings("ignore")
def test_same_digits_as_torchreid(seed, queries, gallery, people, cameras, levels, dtype):
    given_ = case(seed, queries, gallery, people, cameras, levels, dtype)
    # Torchreid cannot stack curves of unequal length, so ask for no more than every query's gallery has.
    q_ids, g_ids, q_cams, g_cams = given_[1:]
    same = (q_ids[:, None] == g_ids) & (q_cams[:, None] == g_cams)
    shortest = int(((g_ids != -1) & ~same).sum(1).min())
    answers = ((q_ids[:, None] == g_ids) & (q_cams[:, None] != g_cams)).any(1) & (q_ids != -1)
    if not answers.any():
        with pytest.raises(ValueError, match="no query has a right answer"):
            rank(*given_)
        return
    depth = max(1, min(20, shortest))
    cmc, mean = torchreid(*given_, depth)
    ours = rank(*given_, max_rank=depth, chunk=5)
    assert ours.mean_average_precision == pytest.approx(mean, abs=1e-12)
    np.testing.assert_array_equal(ours.cmc.astype(np.float32), cmc)
    np.testing.assert_array_equal(ours.valid, answers)
    np.testing.assert_array_equal(np.isnan(ours.average_precision), ~answers)
    np.testing.assert_array_equal(ours.first_match_rank == -1, ~answers)


@pytest.mark.parametrize("levels", [0, 300])
@pytest.mark.filterwarnings("ignore")
def test_same_digits_on_a_large_gallery(levels):
    given_ = case(3, 60, 4000, 150, 6, levels, np.float32)
    cmc, mean = torchreid(*given_, 50)
    ours = rank(*given_)
    assert ours.mean_average_precision == pytest.approx(mean, abs=1e-12)
    np.testing.assert_array_equal(ours.cmc.astype(np.float32), cmc)
    for other in [rank(*given_, chunk=7, threads=1), rank(np.asfortranarray(given_[0]), *given_[1:])]:
        np.testing.assert_array_equal(other.average_precision, ours.average_precision)


def test_by_hand():
    ours = rank(
        np.array([[0.1, 0.2, 0.3, 0.4, 0.0, 0.5], [0.1] * 6]),
        [7, 8],
        [7, 5, 7, 7, -1, 0],
        [1, 1],
        [1, 1, 2, 3, 1, 1],
        max_rank=9,
    )
    assert ours.average_precision[0] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert ours.first_match_rank.tolist() == [2, -1]
    assert ours.valid.tolist() == [True, False]
    assert ours.cmc.tolist() == [0] + [1] * 8


def test_wrong_input():
    ids = np.array([1, 2])
    cams = np.array([0, 1])
    with pytest.raises(ValueError, match="shape"):
        rank(np.zeros((2, 3)), ids, ids, cams, cams)
    with pytest.raises(ValueError, match="query 1 hold NaN"):
        rank(np.array([[0, 1], [0, np.nan]]), ids, ids, cams, 1 - cams)
    with pytest.raises(ValueError, match="positive"):
        rank(np.zeros((2, 2)), ids, ids, cams, 1 - cams, max_rank=0)
    with pytest.raises(ValueError, match="no query"):
        rank(np.zeros((2, 2)), ids, ids, cams, cams)


def test_bootstrap_interval():
    values = np.random.default_rng(0).normal(3, 2, 400)
    low, high = bootstrap_interval(values, seed=5)
    error = 1.96 * values.std() / 20
    assert low == pytest.approx(values.mean() - error, abs=0.05)
    assert high == pytest.approx(values.mean() + error, abs=0.05)
    assert (low, high) == bootstrap_interval(list(values), seed=5)
    assert (low, high) != bootstrap_interval(values, seed=6)
    narrow = bootstrap_interval(values, seed=5, level=0.5)
    assert low < narrow[0] < narrow[1] < high
    assert bootstrap_interval([2.0], seed=0) == (2, 2)
    for bad in [[], [1, np.nan]]:
        with pytest.raises(ValueError, match="finite"):
            bootstrap_interval(bad, seed=0)
    with pytest.raises(ValueError, match="level"):
        bootstrap_interval([1], seed=0, level=1)


def test_bootstrap_covers_the_mean_as_often_as_it_says():
    random = np.random.default_rng(1)
    inside = 0
    for trial in range(300):
        low, high = bootstrap_interval(random.normal(size=60), seed=trial, resamples=400, level=0.9)
        inside += low <= 0 <= high
    assert 0.83 < inside / 300 < 0.95


def test_histograms_count_the_pairs_that_ranking_looks_at():
    rng = np.random.default_rng(0)
    q_ids, g_ids = rng.integers(-1, 4, 30), rng.integers(-1, 4, 50)
    q_cams, g_cams = rng.integers(0, 3, 30), rng.integers(0, 3, 50)
    distances = rng.random((30, 50)).astype(np.float32)
    ours = distance_histograms(distances, q_ids, g_ids, q_cams, g_cams, bins=7, chunk=4)
    right, wrong, nearest = [], [], []
    for q in range(30):
        mine = [
            float(distances[q, g]) for g in range(50) if q_ids[q] == g_ids[g] != -1 and q_cams[q] != g_cams[g]
        ]
        right += mine
        nearest.append(min(mine, default=np.inf))
        wrong += [
            float(distances[q, g])
            for g in range(50)
            if q_ids[q] != g_ids[g] and -1 not in (q_ids[q], g_ids[g])
        ]
    np.testing.assert_array_equal(ours.mated, np.histogram(right, ours.edges)[0])
    np.testing.assert_array_equal(ours.non_mated, np.histogram(wrong, ours.edges)[0])
    np.testing.assert_array_equal(ours.nearest, nearest)
    assert ours.mated.sum() == len(right)
    assert ours.non_mated.sum() == len(wrong)


def test_histogram_of_equal_pictures_has_edges():
    ours = distance_histograms(np.zeros((1, 2)), [1], [1, 2], [0], [1, 1], bins=2)
    assert ours.edges.tolist() == [0, 0.5, 1]
    assert (ours.mated.tolist(), ours.non_mated.tolist()) == ([1, 0], [1, 0])
