"""Distances of feature sets against torch-fidelity, and what they must do to equal, shifted and resampled sets."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dp2bench.core.errors import PluginError
from dp2bench.metrics import features, quality
from dp2bench.networks import efficientnet


def sets(n=40, d=12, shift=0.0, seed=0):
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(n, d)).astype(np.float32)
    return a, (a + rng.normal(shift, 0.5, a.shape)).astype(np.float32)


@pytest.mark.parametrize("shape", [(20, 64), (64, 64), (200, 16)])
def test_fast_frechet_is_torch_fidelitys(shape):
    a, b = sets(*shape, shift=0.3)
    assert quality.frechet_distance_fast(a, b) == pytest.approx(quality.frechet_distance(a, b), rel=1e-5)


def test_kernel_inception_distance_is_torch_fidelitys_default():
    from torch_fidelity.metric_kid import kid_features_to_metric

    a, b = sets(1200, 8, shift=0.2)
    official = kid_features_to_metric(
        torch.from_numpy(a), torch.from_numpy(b), verbose=False, kid_subset_size=1000, kid_subsets=3
    )
    assert quality.kernel_inception_distance(a, b, subsets=3) == official["kernel_inception_distance_mean"]


@given(seed=st.integers(0, 1000), n=st.integers(8, 40))
@settings(max_examples=20)
def test_equal_sets_have_no_distance_and_order_does_not_matter(seed, n):
    a, b = sets(n, 6, shift=0.4, seed=seed)
    assert quality.paired_kernel_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert quality.frechet_distance_fast(a, a) == pytest.approx(0, abs=1e-6)
    order = np.random.default_rng(seed).permutation(n)
    assert quality.paired_kernel_distance(a[order], b[order]) == pytest.approx(
        quality.paired_kernel_distance(a, b)
    )


def test_paired_distance_is_unbiased():
    rng = np.random.default_rng(0)
    values = [
        quality.paired_kernel_distance(*rng.normal(size=(2, 10, 4)).astype(np.float32)) for _ in range(400)
    ]
    assert abs(np.mean(values)) < 3 * np.std(values) / 20


def test_jackknife_covers_the_truth():
    rng = np.random.default_rng(1)

    def mean_gap(a, b):
        return float(b.mean() - a.mean())

    hits = 0
    for _ in range(200):
        a = rng.normal(size=(50, 1))
        b = a + rng.normal(0.3, 1, a.shape)
        low, high = quality.jackknife_interval(mean_gap, a, b, mean_gap(a, b))
        hits += low < 0.3 < high
    assert 180 <= hits <= 200


@pytest.fixture(scope="module")
def network():
    torch.set_num_threads(1)
    return efficientnet.pretrained()


@torch.inference_mode()
@pytest.mark.parametrize(("name", "label"), [("chelsea", 285), ("coffee", 967)])  # Egyptian cat, espresso
def test_efficientnet_recognises_photographs(network, name, label):
    data = pytest.importorskip("skimage.data", reason="scikit-image brings the photographs")
    picture = torch.from_numpy(getattr(data, name)()).permute(2, 0, 1)[None].float()
    picture = torch.nn.functional.interpolate(picture, (224, 224), mode="bilinear", antialias=True)
    state = torch.load(efficientnet.weights_path(), weights_only=True)
    logits = network(picture) @ state["_fc.weight"].T + state["_fc.bias"]
    assert int(logits.argmax()) == label


@torch.inference_mode()
def test_efficientnet_golden_and_batch_independence(network):
    """The value was computed with the package efficientnet-lite-pytorch 0.1.0 from the same weights."""
    pictures = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 3, 224, 224))).float()
    together = network(pictures)
    assert float(together[0].double().mean()) == pytest.approx(0.12067212624760373, rel=1e-5)
    assert torch.allclose(together[1:2], network(pictures[1:2]), atol=1e-5)
    assert {s: tuple(m.shape[1:]) for s, m in network.maps(pictures[:1, :, :97, :33]).items()} == {
        s: (c, -(-97 // s), -(-33 // s)) for s, c in efficientnet.CHANNELS.items()
    }


def test_perceptual_distance_grows_with_blur():
    extractor = features.EfficientNetFeatures()
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (2, 8, 8, 3), np.uint8)
    clear = coarse.repeat(8, 1).repeat(8, 2)
    faint, strong = (np.clip(clear + rng.normal(0, s, clear.shape), 0, 255).astype(np.uint8) for s in (4, 40))
    assert extractor.distances(clear, clear) == pytest.approx(0)
    assert (extractor.distances(clear, faint) < extractor.distances(clear, strong)).all()


def test_other_weights_never_get_an_official_name(tmp_path):
    torch.save({}, tmp_path / "weights.pth")
    with pytest.raises(PluginError, match="sha256"):
        features.InceptionFeatures(tmp_path / "weights.pth")
    with pytest.raises(PluginError, match="no file"):
        features.LPIPS(tmp_path / "none.pth") if _has_lpips() else features.InceptionFeatures(tmp_path / "no")


def _has_lpips():
    from importlib.util import find_spec

    return find_spec("lpips") is not None


def test_inception_takes_pictures_of_any_sizes_in_their_order(inception_weights):
    extractor = features.InceptionFeatures(inception_weights)
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (*size, 3), np.uint8) for size in ((40, 32), (20, 90), (40, 32))]
    together = extractor.features(pictures)
    assert together.shape == (3, 2048)
    for picture, row in zip(pictures, together, strict=True):
        assert extractor.features([picture])[0] == pytest.approx(row, rel=1e-4, abs=1e-4)
    assert extractor.features([]).shape == (0, 2048)


def test_lpips_backbone_from_a_file(tmp_path, monkeypatch):
    lpips = pytest.importorskip("lpips", reason="an extra")
    from torchvision import models

    torch.manual_seed(0)
    # the classifier, most of the file, is no part of it
    backbone = torch.nn.Module()
    backbone.features = models.alexnet().features
    torch.save(backbone.state_dict(), tmp_path / "backbone.pth")
    monkeypatch.setattr(features, "ALEXNET_SHA256", "")
    ours = features.LPIPS(tmp_path / "backbone.pth")
    theirs = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False).eval()
    convolutions = [m for m in theirs.net.modules() if isinstance(m, torch.nn.Conv2d)]
    given_ = [m for m in backbone.features if isinstance(m, torch.nn.Conv2d)]
    for module, source in zip(convolutions, given_, strict=True):
        module.load_state_dict(source.state_dict())
    a, b = np.random.default_rng(0).integers(0, 256, (2, 2, 64, 64, 3), np.uint8)
    with torch.inference_mode():
        x, y = (torch.from_numpy(v).permute(0, 3, 1, 2) / 127.5 - 1 for v in (a, b))
        expected = theirs(x, y).view(-1).numpy()
    assert ours.distances(a, b) == pytest.approx(expected, rel=1e-5)


def test_lpips_of_vgg_is_that_of_torch_fidelity(tmp_path, monkeypatch):
    from torch_fidelity import sample_similarity_lpips as reference
    from torchvision import models

    torch.manual_seed(0)
    backbone = models.vgg16()
    heads = {f"lin{i}.model.1.weight": torch.rand(1, n, 1, 1) for i, n in enumerate((64, 128, 256, 512, 512))}
    torch.save(backbone.state_dict(), tmp_path / "vgg16.pth")
    torch.save(heads, tmp_path / "heads.pth")
    monkeypatch.setattr(reference, "load_state_dict_from_url", lambda *_, **__: heads)
    monkeypatch.setattr(reference, "torchvision_load_pretrained_vgg16", lambda: backbone)
    theirs = reference.SampleSimilarityLPIPS("lpips-vgg16").eval()
    monkeypatch.setattr(features, "VGG_SHA256", "")
    ours = features.VGGLPIPS(tmp_path / "vgg16.pth", tmp_path / "heads.pth")
    a, b = np.random.default_rng(0).integers(0, 256, (2, 2, 48, 32, 3), np.uint8)
    with torch.inference_mode():
        expected = theirs(*(torch.from_numpy(v).permute(0, 3, 1, 2) for v in (a, b)))
    assert ours.distances(a, b) == pytest.approx(expected.numpy(), rel=1e-5)


def test_the_shortest_and_the_longest_percent_of_paths_are_left_out():
    lengths = np.random.default_rng(0).permutation(200).astype(float)
    assert sorted(lengths[~quality.kept_lengths(lengths)]) == [0, 199]
    assert quality.kept_lengths(lengths[:50]).all()  # too few for a percent
