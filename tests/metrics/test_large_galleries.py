import warnings

import numpy as np
import pytest

from dp2bench.metrics import large_galleries
from dp2bench.metrics.large_galleries import rank_features
from dp2bench.metrics.ranking import rank, squared_euclidean


def scene(seed: int, queries: int = 23, gallery: int = 311, people: int = 9, whole: bool = False):
    rng = np.random.default_rng(seed)
    q_ids, g_ids = rng.integers(1, people, queries), rng.integers(-1, people, gallery)
    centres = rng.normal(size=(people + 1, 16))
    make = lambda ids: (centres[ids] + rng.normal(0, 2, (len(ids), 16))).astype(np.float32)  # noqa: E731
    q, g = make(q_ids), make(g_ids)
    # Sums of small multiples of a power of two are exact whatever their order; of whole numbers many distances are equal.
    step = 1 if whole else 16
    q, g = np.round(q * step) / step, np.round(g * step) / step
    return q, g, q_ids, g_ids, rng.integers(1, 4, queries), rng.integers(1, 4, gallery)


def torchreids(q, g, q_ids, g_ids, q_cams, g_cams):
    warnings.simplefilter("ignore")
    torch = pytest.importorskip("torch")
    from torchreid.reid.metrics import compute_distance_matrix
    from torchreid.reid.metrics.rank import evaluate_rank

    kept = g_ids != -1  # which torchreid's reader drops
    distances = compute_distance_matrix(torch.from_numpy(q), torch.from_numpy(g[kept])).numpy()
    return evaluate_rank(distances, q_ids, g_ids[kept], q_cams, g_cams[kept], max_rank=20, use_cython=False)


@pytest.mark.parametrize("tile", [1, 7, 64, 311, 4096])
@pytest.mark.parametrize("whole", [False, True])
def test_any_tile_gives_torchreids_digits(tile, whole):
    for seed in range(4):
        q, g, *labels = scene(seed, whole=whole)
        cmc, mean = torchreids(q, g, *labels)
        ours = rank_features(q, g, *labels, max_rank=20, tile=tile, threads=1 + seed % 3)
        assert ours.cmc == pytest.approx(cmc, abs=1e-7)
        assert ours.mean_average_precision == pytest.approx(mean, abs=1e-12)


@pytest.mark.parametrize("whole", [False, True])
def test_every_query_is_as_in_the_whole_matrix(whole):
    q, g, *labels = scene(7, whole=whole)
    labels[0][0] = 99  # nobody of the gallery
    labels[0][1] = -1
    expected = rank(squared_euclidean(q, g), *labels)
    for tile in (10, 311):
        ours = rank_features(q, g, *labels, tile=tile)
        assert (ours.valid == expected.valid).all()
        assert (ours.first_match_rank == expected.first_match_rank).all()
        assert np.allclose(ours.average_precision, expected.average_precision, 0, 1e-12, equal_nan=True)


def test_a_memory_map_is_read_and_what_cannot_be_ranked_is_said(tmp_path):
    q, g, *labels = scene(3)
    np.save(tmp_path / "gallery.npy", g)
    mapped = np.load(tmp_path / "gallery.npy", mmap_mode="r")
    assert (
        rank_features(q, mapped, *labels, tile=50).cmc.tolist() == rank_features(q, g, *labels).cmc.tolist()
    )
    g[5, 0] = np.nan
    with pytest.raises(ValueError, match="hold NaN"):
        rank_features(q, g, *labels)
    with pytest.raises(ValueError, match="identities and cameras"):
        rank_features(q, g[1:], *labels)
    with pytest.raises(ValueError, match="no query has a right answer"):
        rank_features(q, g * 0, labels[0] + 100, *labels[1:])


@pytest.mark.parametrize("rows", [1, 5, 1000])
def test_ties_cost_one_row_of_distances_each(monkeypatch, rows):
    q, g, *labels = scene(7, queries=40, whole=True)
    expected = rank(squared_euclidean(q, g), *labels)
    asked = []
    distances = large_galleries.squared_euclidean
    monkeypatch.setattr(
        large_galleries, "squared_euclidean", lambda q, g: asked.append(len(q) * len(g)) or distances(q, g)
    )
    monkeypatch.setattr(large_galleries, "_TIED_BYTES", rows * 4 * len(g))
    ours = rank_features(q, g, *labels, tile=50)
    assert (ours.first_match_rank == expected.first_match_rank).all()
    assert np.allclose(ours.average_precision, expected.average_precision, 0, 1e-12, equal_nan=True)
    assert 2.2 * len(q) * len(g) < sum(asked) <= 3 * len(q) * len(g)  # most queries tie


def test_a_nan_in_a_row_with_ties_is_said():
    q, g, *labels = scene(7, whole=True)
    g = np.concatenate((g, g[:1]))
    g[-1, 0] = np.nan
    labels[1], labels[3] = np.append(labels[1], 1), np.append(labels[3], 1)
    with pytest.raises(ValueError, match="hold NaN"):
        rank_features(q, g, *labels, tile=50)
