from __future__ import annotations

import hashlib
import importlib.util
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dp2bench.core.errors import PluginError
from dp2bench.deepprivacy2.generators.deep_privacy1 import current_keys
from dp2bench.deepprivacy2.generators.mapping import MappingNetwork, sample_latents
from dp2bench.deepprivacy2.generators.networks import build, catalogue
from dp2bench.deepprivacy2.generators.style_unet import draw_keypoints, keep_known

ROOT = Path(__file__).resolve().parents[3]
PARITY = ROOT.parent / "shared" / "parity"
TOLERANCE = 1e-4
SMALL = {
    "imsize": [36, 20],
    "cnum": 4,
    "max_cnum_mul": 4,
    "z_channels": 512,
    "w_dim": 32,
    "input_cse": True,
    "cse_nc": 4,
}
SMALL_DISCRIMINATOR = {"imsize": [36, 20], "cnum": 4, "max_cnum_mul": 4, "input_condition": True}

_spec = importlib.util.spec_from_file_location("dp2bench_test_recipe", Path(__file__).with_name("recipe.py"))
assert _spec is not None
assert _spec.loader is not None
recipe: Any = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = recipe
_spec.loader.exec_module(recipe)


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


def small(**changes: Any) -> Any:
    return recipe.prepared(build(SMALL | changes))


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).abs().max())


def keys_digest(network: torch.nn.Module) -> str:
    text = json.dumps({key: list(value.shape) for key, value in sorted(network.state_dict().items())})
    return hashlib.sha256(text.encode()).hexdigest()[:16]


# ---------------------------------------------------------------- parity with the published networks


@pytest.mark.parametrize("fused", [False, True, "preconvolved"])
@pytest.mark.parametrize(
    "name",
    [
        "unet_body_cse_small",
        "unet_body_nocse_small_legacy",
        "unet_face_small",
        "unet_face_small_mul4",
        "discriminator_small",
        pytest.param("deep_privacy1", marks=pytest.mark.slow),
    ],
)
@torch.inference_mode()
def test_outputs_equal_the_published_implementation(name, fused):
    if not (PARITY / "manifest.json").exists():
        pytest.skip(f"the parity vectors are not at {PARITY}")
    config = json.loads((PARITY / "manifest.json").read_text())[name]["config"]
    network = recipe.prepared(build(config))
    if fused:
        network.prepare_for_inference(preconvolve=fused == "preconvolved")
    given = recipe.inputs(network, 4 if name == "discriminator_small" else 2)
    with np.load(PARITY / f"{name}.npz") as expected:
        for key, value in network(**given).items():
            assert np.abs(value.numpy() - expected[key]).max() < TOLERANCE
        if "w" in expected:
            w = network.style_net(given.pop("z"))
            assert np.abs(w.numpy() - expected["w"]).max() < TOLERANCE
            half = network(**given, w=network.style_net.truncate(w, 0.5))["img"]
            assert np.abs(half.numpy() - expected["img_truncated_0_5"]).max() < TOLERANCE


def test_every_state_dict_key_and_shape_equals_the_published_one():
    if not (PARITY / "manifest.json").exists():
        pytest.skip(f"the parity vectors are not at {PARITY}")
    for name, entry in json.loads((PARITY / "manifest.json").read_text()).items():
        with torch.device("meta"):
            network = build(entry["config"])
        assert {k: list(v.shape) for k, v in network.state_dict().items()} == entry["state_dict"], name
        assert sum(p.numel() for p in network.parameters()) == entry["parameters"]


@pytest.mark.parametrize(
    ("name", "parameters", "digest"),
    [
        ("fdh_styleganL", 43_132_611, "f27d4f8298fa9054"),
        ("fdh_styleganL_nocse", 43_131_523, "740d428046892d8d"),
        ("fdf256_stylegan", 43_131_523, "740d428046892d8d"),
        ("fdf128_stylegan", 42_569_987, "9d584ef7683aebab"),
        ("deep_privacy1", 47_387_586, "a525223cbf5d7fb9"),
    ],
)
def test_official_sizes_keep_their_keys(name, parameters, digest):
    with torch.device("meta"):
        network = build(name)
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert keys_digest(network) == digest


@torch.inference_mode()
def test_small_networks_keep_their_output():
    golden = json.loads(Path(__file__).with_name("golden.json").read_text())
    network = small()
    out = network(**recipe.inputs(network))["img"]
    np.testing.assert_allclose(out[:, :, 9:27:4, 5:15:3].flatten(), golden["style_unet"], atol=TOLERANCE)
    judge = recipe.prepared(build(SMALL_DISCRIMINATOR))
    np.testing.assert_allclose(
        judge(**recipe.inputs(judge, 4))["score"].flatten(), golden["discriminator"], atol=TOLERANCE
    )


# ---------------------------------------------------------------- inference


@pytest.mark.parametrize("options", [{}, {"channels_last": False}, {"preconvolve": True}])
@pytest.mark.parametrize("changes", [{}, {"fix_errors": False, "n_middle_blocks": 1}])
@torch.inference_mode()
def test_fused_equals_plain(options, changes):
    network = small(**changes)
    given = recipe.inputs(network, 3)
    plain = network(**given)["img"]
    keys = list(network.state_dict())
    assert difference(network.prepare_for_inference(**options)(**given)["img"], plain) < TOLERANCE
    assert list(network.state_dict()) == keys
    assert not any(p.requires_grad for p in network.parameters())


def test_loading_and_training_undo_the_fusion():
    network = small().prepare_for_inference()
    given = recipe.inputs(network)
    before = network(**given)["img"]
    network.load_state_dict(
        {key: value * (0.5 if key == "to_rgb.weight" else 1) for key, value in network.state_dict().items()}
    )
    assert difference(network(**given)["img"], before) > 0.01
    network.prepare_for_inference().train()
    network(**given)["img"].sum().backward()
    assert network.to_rgb.weight.grad.abs().max() > 0


@pytest.mark.parametrize("fused", [False, True])
@torch.inference_mode()
def test_a_person_does_not_depend_on_the_batch(fused):
    network = small()
    if fused:
        network.prepare_for_inference()
    given = recipe.inputs(network, 5)
    together = network(**given)["img"]
    for i in range(5):
        alone = network(**{key: value[i : i + 1] for key, value in given.items()})["img"]
        assert difference(alone, together[i : i + 1]) < TOLERANCE


@pytest.mark.parametrize("name", ["style_unet", pytest.param("deep_privacy1", marks=pytest.mark.slow)])
@torch.inference_mode()
def test_hole_pixels_never_reach_the_output(name):
    network = small() if name == "style_unet" else recipe.prepared(build({})).prepare_for_inference()
    given = recipe.inputs(network)
    img, mask = recipe.uniform("other", *given["condition"].shape), given["mask"]
    outputs = []
    for hole in (0.0, 1.0, torch.nan):
        picture = torch.where(mask == 1, img, torch.full_like(img, hole))
        outputs.append(network(**given | {"condition": picture})["img"])
    assert torch.equal(outputs[0], outputs[1])
    assert torch.equal(outputs[0], outputs[2])
    assert torch.equal(outputs[0] * mask, img * mask)


@torch.inference_mode()
def test_latents_change_the_hole_alone():
    network = small()
    given = recipe.inputs(network)
    a = network(**given)["img"]
    b = network(**given | {"z": sample_latents([5, 6])})["img"]
    changed = (a != b).any(1, keepdim=True)
    assert changed[given["mask"] == 0].float().mean() > 0.99
    assert not changed[given["mask"] == 1].any()


@pytest.mark.slow
@torch.inference_mode()
def test_a_compiled_network_gives_the_same_picture():
    network = small()
    given = recipe.inputs(network)
    plain = network(**given)["img"]
    assert difference(network.prepare_for_inference(compile=True)(**given)["img"], plain) < TOLERANCE


@pytest.mark.gpu
@torch.inference_mode()
def test_half_precision_stays_close():
    network = small()
    given = recipe.inputs(network)
    plain = network(**given)["img"]
    network.cuda().prepare_for_inference(autocast=torch.float16)
    half = network(**{key: value.cuda() for key, value in given.items()})["img"].cpu()
    assert float((half - plain).abs().mean()) < 0.05


# ---------------------------------------------------------------- latents and truncation


def test_latents_come_from_their_own_seed():
    both = sample_latents([3, 4], 16)
    assert both.shape == (2, 16)
    assert both.dtype == torch.float32
    assert torch.equal(both[1:], sample_latents([4], 16))
    assert not torch.equal(both[0], both[1])
    assert sample_latents([], 16).shape == (0, 16)


@torch.no_grad()
def test_truncation_interpolates_from_the_mean():
    net = MappingNetwork(16, 8)
    net.w_avg.normal_()
    w = net(sample_latents([1, 2], 16))
    assert torch.allclose(net.truncate(w, 0), net.w_avg.expand(2, -1))
    assert torch.allclose(net.truncate(w, 1), w)
    assert torch.allclose(net.truncate(w, 0.25), net.w_avg * 0.75 + w * 0.25, atol=1e-6)
    with pytest.raises(ValueError, match=r"0\.\.1"):
        net.truncate(w, 1.5)


@torch.no_grad()
def test_multi_modal_truncation_keeps_people_apart():
    net = MappingNetwork(16, 8)
    w = net(sample_latents(range(6), 16))
    with pytest.raises(ValueError, match="compute_centers"):
        net.truncate_multi_modal(w, 0)
    centers = net.compute_centers(5, n_samples=400, iterations=5)
    assert centers.shape == (5, 8)
    assert "w_centers" not in net.state_dict()
    nearest = torch.cdist(w, centers).argmin(1)
    assert torch.equal(net.truncate_multi_modal(w, 0), centers[nearest])
    assert len(net.truncate_multi_modal(w, 0).unique(dim=0)) > 1
    assert torch.allclose(net.truncate_multi_modal(w, 1), w)
    which = torch.tensor([4, 0, 1, 2, 3, 3])
    assert torch.allclose(net.truncate_multi_modal(w, 0.5, which=which), (centers[which] + w) / 2, atol=1e-6)
    assert torch.equal(net.truncate_multi_modal(w, 0.5)[2:3], net.truncate_multi_modal(w[2:3], 0.5))
    assert torch.equal(centers, net.compute_centers(5, n_samples=400, iterations=5))


@torch.no_grad()
def test_centers_are_where_the_styles_are():
    net = MappingNetwork(16, 8)
    w = net(sample_latents(range(200), 16))
    spread = (w - w.mean(0)).square().sum(1).mean()
    centers = net.compute_centers(30, n_samples=2000, iterations=10)
    assert torch.cdist(w, centers).min(1).values.square().mean() < 0.6 * spread


def test_the_mean_style_follows_training():
    net = MappingNetwork(16, 8, average_decay=0.5)
    z = sample_latents(range(4), 16)
    w = net(z, update_average=True)
    assert torch.allclose(net.w_avg, w.mean(0) / 2, atol=1e-6)
    assert torch.allclose(net.estimate_average(n_samples=100), net.estimate_average(n_samples=100))


# ---------------------------------------------------------------- what else a checkpoint or a caller may bring


def test_first_release_checkpoints_of_deep_privacy1_load():
    new = {key: torch.zeros(1) for key in build("deep_privacy1").state_dict()}
    old = {}
    for key, value in new.items():
        before = re.sub(
            r"(block|connection)(\d+)", lambda m: f"{m[1]}{int(m[2]).bit_length() - 3}", key, count=1
        )
        old[before.replace("from_rgb.0", "encoder.from_rgb.conv.layers.0")] = value
    old["decoder.to_rgb.conv.weight"] = torch.zeros(1)
    assert current_keys({"parameters": old}).keys() == new.keys()
    assert current_keys(new).keys() == new.keys()


def test_keypoints_are_drawn_where_they_are():
    points = torch.tensor([[[0.5, 0.25, 1.0], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]])
    maps = draw_keypoints(points, 8, 4)
    assert maps.shape == (1, 3, 8, 4)
    assert maps[0].nonzero().tolist() == [[0, 2, 2], [2, 7, 3]]
    network = build(
        SMALL | {"input_cse": False, "input_keypoints": True, "input_keypoint_indices": [0, 2]}
    ).eval()
    given = {"condition": torch.zeros(1, 3, 36, 20), "mask": recipe.hole(1, 36, 20), "z": sample_latents([1])}
    with pytest.raises(ValueError, match="keypoints"):
        network(**given)
    assert network(**given, keypoints=points)["img"].shape == (1, 3, 36, 20)


def test_gradients_weigh_small_holes_like_large_ones():
    filled = torch.zeros(1, 3, 8, 8, requires_grad=True)
    mask = recipe.hole(1, 8, 8)
    keep_known(torch.ones(1, 3, 8, 8), filled, mask).sum().backward()
    assert torch.allclose(filled.grad, (1 - mask).expand(1, 3, 8, 8) * 4)


def test_unknown_names_say_what_is_known():
    with pytest.raises(PluginError, match=r"no network named 'stylegan3'.*fdh_styleganL"):
        build("stylegan3")
    with pytest.raises(PluginError, match=r"no configuration of StyleUNet.*colour"):
        build(SMALL | {"colour": True})
    assert {
        "fdh_styleganL",
        "fdh_styleganL_nocse",
        "fdf256_stylegan",
        "fdf128_stylegan",
        "deep_privacy1",
    } <= catalogue().keys()


def test_wrong_inputs_are_refused():
    network = small()
    given = recipe.inputs(network)
    with pytest.raises(ValueError, match="exactly one"):
        network(**given, w=torch.zeros(2, 32))
    with pytest.raises(ValueError, match="embedding"):
        network(**given | {"embedding": None})
    with pytest.raises(ValueError, match=r"\(36, 20\)"):
        network(torch.zeros(1, 3, 20, 36), torch.ones(1, 1, 20, 36), sample_latents([1]))
    with pytest.raises(ValueError, match="styles w"):
        network.decoder[0](torch.zeros(1, 16, 9, 5))
    judge = build(SMALL_DISCRIMINATOR)
    with pytest.raises(ValueError, match="groups of 4"):
        judge(**recipe.inputs(judge, 6))
