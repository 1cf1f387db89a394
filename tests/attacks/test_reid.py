from dataclasses import replace

import numpy as np
import pytest
import torch

from dp2bench.attacks import reid
from dp2bench.core.errors import Dp2benchError
from dp2bench.datasets.market1501 import Market1501
from dp2bench.datasets.passersby.reid import PassersbyReID

RECIPE = reid.ReidConfig(epochs=3, batch_size=8, height=64, width=32)


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
        reid.train(samples, reid.ReidConfig(model="osnet_x9"), tmp_path, seed=0)


def test_distances_are_those_of_torchreid():
    from torchreid.reid.metrics.distance import euclidean_squared_distance

    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(5, 16)).astype(np.float32), rng.normal(size=(7, 16)).astype(np.float32)
    np.testing.assert_allclose(
        reid.euclidean(a, b),
        euclidean_squared_distance(torch.from_numpy(a), torch.from_numpy(b)).numpy(),
        atol=1e-4,
    )


def test_given_weights_spare_the_training(samples, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    reid.train(samples, RECIPE, first, seed=0, half=True)
    given = replace(RECIPE, weights=str(first / "model.safetensors"))
    assert list(reid.weights_sha256(given)) == ["any"]
    reid.load_pretrained(given, second, seed=7, data="market1501 1")
    assert weights(first) == weights(second)
    a, b = (reid.features(reid.load(folder, RECIPE), samples, RECIPE) for folder in (first, second))
    np.testing.assert_array_equal(a, b)
    with pytest.raises(Dp2benchError, match=r"trained otherwise \(epochs: 3\)"):
        reid.load_pretrained(replace(given, epochs=4), second, seed=0, data="")
    with pytest.raises(Dp2benchError, match="There is no file"):
        reid.load_pretrained(replace(given, weights="nowhere.safetensors"), second, seed=0, data="")
    (tmp_path / "broken").write_bytes(b"\x08")
    with pytest.raises(Dp2benchError, match="holds no attacker"):
        reid.load_pretrained(replace(given, weights=str(tmp_path / "broken")), second, seed=0, data="")


EMBEDDED = reid.ReidConfig(epochs=20, weights=reid.EMBEDDED)


@pytest.mark.parametrize("seed", reid.EMBEDDED_SEEDS)
def test_embedded_attackers_are_those_of_the_dataset_as_it_is(seed, tmp_path):
    data = PassersbyReID("smoke").meta
    reid.load_pretrained(EMBEDDED, tmp_path, seed=seed, data=f"{data.name} {data.version}")
    assert reid.load(tmp_path, EMBEDDED)


def test_embedded_attackers_are_for_their_dataset_and_seeds_alone(tmp_path):
    with pytest.raises(Dp2benchError, match="learned from passersby-reid .*; this is market1501 1"):
        reid.load_pretrained(EMBEDDED, tmp_path, seed=0, data="market1501 1")
    with pytest.raises(Dp2benchError, match="No attacker osnet_x1_0"):
        reid.load_pretrained(replace(EMBEDDED, model="osnet_x1_0"), tmp_path, seed=0, data="")
    with pytest.raises(Dp2benchError, match="No attacker of seed 9"):
        reid.load_pretrained(EMBEDDED, tmp_path, seed=9, data="")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"epoch": 3}, "no argument epoch"),
        ({"epochs": "many"}, "epochs: 'many'"),
        ({"epochs": 1.5}, r"epochs: 1\.5"),
        ({"epochs": -1}, "epochs: -1"),
        ({"batch_size": 0}, "batch_size: 0"),
        ({"learning_rate": float("nan")}, "learning_rate: nan"),
        ({"pretrained": "yes"}, "pretrained: 'yes'"),
    ],
)
def test_wrong_arguments_are_named(arguments, said):
    with pytest.raises(Dp2benchError, match=said):
        reid.recipe(arguments)


def test_numbers_written_as_words_are_read():
    assert reid.recipe({"learning_rate": "3e-3"}) == reid.ReidConfig()


def test_distances_in_a_file_are_those_in_memory(tmp_path):
    rng = np.random.default_rng(0)
    a, b = (np.round(rng.normal(0, 9, (n, 24))).astype(np.float32) for n in (150, 70))  # exact in any order
    mapped = reid.euclidean(a, b, tmp_path / "distances")
    assert isinstance(mapped, np.memmap)
    assert (mapped == reid.euclidean(a, b)).all()
    assert (mapped == ((a[:, None] - b[None]) ** 2).sum(2)).all()
