import numpy as np
import pytest
import torch

from dp2bench.attacks import reid
from dp2bench.core.errors import Dp2benchError
from dp2bench.datasets.market1501 import Market1501

RECIPE = reid.Recipe(epochs=3, batch_size=8, height=64, width=32)


@pytest.fixture(scope="module")
def samples(market):
    return Market1501(root=market, official=False).samples("train")


def weights(folder):
    return (folder / "model.safetensors").read_bytes()


def test_a_resumed_training_ends_at_the_same_weights(samples, tmp_path):
    torch.set_num_threads(1)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    reid.train(samples, RECIPE, whole, seed=3)

    class Stop(Exception):
        pass

    def stop(done, total):
        if done > total * 0.5:
            raise Stop

    with pytest.raises(Stop):
        reid.train(samples, RECIPE, parts, seed=3, progress=stop)
    assert (parts / "checkpoint.pt").exists()
    reid.train(samples, RECIPE, parts, seed=3)
    assert weights(whole) == weights(parts)
    other = tmp_path / "other"
    other.mkdir()
    reid.train(samples, RECIPE, other, seed=4)
    assert weights(whole) != weights(other)


def test_features_do_not_depend_on_the_company(samples, tmp_path):
    reid.train(samples, RECIPE, tmp_path, seed=0)
    model = reid.load(tmp_path, RECIPE)
    together = reid.features(model, samples, RECIPE)
    alone = np.concatenate([reid.features(model, [s], RECIPE) for s in samples])
    np.testing.assert_allclose(together, alone, atol=1e-4)


def test_too_few_identities_and_unknown_models_are_named(samples, tmp_path):
    with pytest.raises(Dp2benchError, match="1 identities"):
        reid.train([s for s in samples if s.labels["identity"] == 1], RECIPE, tmp_path, seed=0)
    with pytest.raises(Dp2benchError, match="osnet_x9"):
        reid.train(samples, reid.Recipe(model="osnet_x9"), tmp_path, seed=0)


def test_distances_are_those_of_torchreid():
    from torchreid.reid.metrics.distance import euclidean_squared_distance

    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(5, 16)).astype(np.float32), rng.normal(size=(7, 16)).astype(np.float32)
    np.testing.assert_allclose(
        reid.euclidean(a, b),
        euclidean_squared_distance(torch.from_numpy(a), torch.from_numpy(b)).numpy(),
        atol=1e-4,
    )
