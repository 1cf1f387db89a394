"""TriA-GAN's network: the published numbers, its joint maps, and its styles."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dp2bench.deepprivacy2.generators.networks import build, catalogue
from dp2bench.deepprivacy2.generators.triagan import current_keys, joint_maps

PARITY = Path(__file__).resolve().parents[4] / "shared" / "parity"
MANIFEST = PARITY / "manifest_triagan.json"
needs_vectors = pytest.mark.skipif(not MANIFEST.exists(), reason=f"the parity vectors are not at {PARITY}")

_spec = importlib.util.spec_from_file_location("dp2bench_test_recipe", Path(__file__).with_name("recipe.py"))
assert _spec is not None
assert _spec.loader is not None
recipe: Any = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = recipe
_spec.loader.exec_module(recipe)


def weights(network: torch.nn.Module) -> None:
    state = recipe.weights(network)
    for key, value in network.state_dict().items():
        if key.endswith("noise_strength"):
            state[key] = recipe.normal(key) * 0.1
        assert state[key].shape == value.shape
    network.load_state_dict(state)


def inputs() -> dict[str, torch.Tensor]:
    mask = recipe.hole(2, 72, 40)
    places = (recipe.uniform("keypoints", 2, 17, 2) + 1) / 2
    visible = torch.from_numpy(recipe.rng("visible").integers(0, 2, (2, 17, 1))).float()
    return {
        "condition": recipe.uniform("img", 2, 3, 72, 40) * mask,
        "mask": mask,
        "keypoints": torch.cat((places, visible), 2),
        "person": 1 - recipe.inner(2, 72, 40),
    }


@needs_vectors
@pytest.mark.parametrize("name", ["triagan_small", "triagan_face_small"])
@torch.inference_mode()
def test_outputs_equal_the_published_implementation(name):
    network: Any = build(manifest()[name]["config"]).eval()
    weights(network)
    given, z = inputs(), recipe.normal("z", 2, 64)
    with np.load(PARITY / f"{name}.npz") as expected:
        w = network.style_net(z)
        half = network.style_net.truncate(w, 0.5)
        assert np.abs(w.numpy() - expected["w"]).max() < 1e-4
        assert np.array_equal(joint_maps(given["keypoints"], 72, 40).numpy(), expected["joint_map"])
        for fused in (False, True):
            if fused:
                network.prepare_for_inference()
            assert np.abs(network(**given, z=z)["img"].numpy() - expected["img"]).max() < 1e-4
            assert (
                np.abs(network(**given, w=half)["img"].numpy() - expected["img_truncated_0_5"]).max() < 1e-4
            )
            table = network.styles(w)
            assert np.abs(network(**given, styles=table)["img"].numpy() - expected["img"]).max() < 1e-4


@needs_vectors
def test_joint_maps_equal_the_published_ones():
    with np.load(PARITY / "triagan_joint_maps.npz") as expected:
        made = joint_maps(torch.from_numpy(expected["keypoints"]), 288, 160)
        assert np.array_equal(made.numpy(), expected["joint_map"])


@needs_vectors
def test_every_state_dict_key_and_shape_equals_the_published_one():
    for name, entry in manifest().items():
        with torch.device("meta"):
            network = build(entry["config"])
        assert {k: list(v.shape) for k, v in network.state_dict().items()} == entry["state_dict"], name
        assert sum(p.numel() for p in network.parameters()) == entry["parameters"], name
        if name in catalogue():
            assert catalogue()[name] == entry["config"]


def manifest() -> dict[str, Any]:
    return json.loads(MANIFEST.read_text())


def test_published_files_number_their_last_layer():
    one = torch.zeros(1)
    assert current_keys({"decoder.to_rgb.4.weight": one, "from_rgb.bias": one}).keys() == {
        "decoder.to_rgb.weight", "from_rgb.bias",
    }  # fmt: skip


@torch.inference_mode()
def test_keypoints_decide_what_is_synthesised():
    config = {"imsize": [72, 40], "dim": 8, "dim_mults": [1, 2], "z_channels": 16, "w_dim": 16}
    network: Any = build(config).eval()
    weights(network)
    given, z = inputs(), recipe.normal("z", 2, 16)
    moved = given["keypoints"].clone()
    moved[..., 1] = 1 - moved[..., 1]
    a, b = network(**given, z=z)["img"], network(**given | {"keypoints": moved}, z=z)["img"]
    assert not torch.equal(a, b)
    assert torch.equal(a * given["mask"], b * given["mask"])
    with pytest.raises(ValueError, match="keypoints"):
        network(**given | {"keypoints": None}, z=z)
    with pytest.raises(ValueError, match="exactly one"):
        network(**given)
