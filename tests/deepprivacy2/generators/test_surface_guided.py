"""Surface Guided GANs' networks: the published numbers, and what the published code does at greater cost."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from dp2bench.deepprivacy2.generators import files, networks
from dp2bench.deepprivacy2.generators.networks import build, catalogue
from dp2bench.deepprivacy2.generators.surface_guided import (
    GuidedBlock,
    GuidedConv2d,
    StyleInputs,
    SurfaceGuidedDecoder,
    SurfaceGuidedDiscriminator,
    SurfaceGuidedUNet,
    SurfaceStyles,
    carry_filters,
)
from dp2bench.deepprivacy2.training import losses
from dp2bench.weights.catalogue import entry

PARITY = Path(__file__).resolve().parents[4] / "shared" / "parity"
MANIFEST = PARITY / "manifest_sggan.json"
needs_vectors = pytest.mark.skipif(not MANIFEST.exists(), reason=f"the parity vectors are not at {PARITY}")
SMALL = [
    "sggan_configA_small",
    "sggan_configB_small",
    "sggan_configC_small",
    "sggan_configD_small",
    "sggan_configD_n0_small",
    "sggan_configD_n2_small",
    "sggan_configD_n4_small",
    "sggan_stylegan_small",
    "sggan_spade_small",
    "sggan_clade_small",
]
KINDS = {
    "NoneStyle": "none",
    "CSEStyleMapper": "surface",
    "UnconditionalCSEStyleMapper": "surface",
    "StyleGANMapper": "stylegan",
}
TINY = {
    "imsize": [36, 20],
    "cnum": 4,
    "max_cnum_mul": 4,
    "min_fmap_resolution": 8,
    "n_middle_blocks": 1,
    "z_channels": 8,
    "style": {"kind": "surface", "n_vertices": 50, "hidden_dim": 8, "out_dim": 8},
}

_spec = importlib.util.spec_from_file_location("dp2bench_test_recipe", Path(__file__).with_name("recipe.py"))
assert _spec is not None
assert _spec.loader is not None
recipe: Any = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = recipe
_spec.loader.exec_module(recipe)


def manifest() -> dict[str, Any]:
    return json.loads(MANIFEST.read_text())


def translated(published: dict[str, Any]) -> dict[str, Any]:
    """Our constructor arguments from the published ones."""
    style = published["style_cfg"]
    kind = KINDS.get(style["type"]) or style["decoder_modulator"].lower()
    keys = [
        "imsize", "cnum", "max_cnum_mul", "min_fmap_resolution", "z_channels", "conv_clamp", "cse_nc",
        "n_middle_blocks", "scale_grad", "input_cse", "embed_z", "semantic_nc",
    ]  # fmt: skip
    hidden = {"hidden": style["nhidden"]} if "nhidden" in style else {}
    ours = {key: published[key] for key in keys if key in published}
    return {**ours, "style": {"kind": kind, **style.get("w_mapper", {}), **hidden}}


def inputs(config: dict[str, Any], batch: int) -> dict[str, torch.Tensor]:
    height, width = config["imsize"]
    style = config["style"]
    n = style.get("n_vertices", 27_554) if style["kind"] == "surface" else 500
    mask, surface = recipe.hole(batch, height, width), recipe.inner(batch, height, width)
    given = {
        "condition": recipe.uniform("img", batch, 3, height, width) * mask,
        "mask": mask,
        "z": recipe.normal("z", batch, 512),
        "E_mask": surface,
        "vertices": torch.from_numpy(recipe.rng("vertices").integers(0, n, (batch, 1, height, width))),
        "embedding": recipe.normal("embedding", batch, 16, height, width) * surface,
    }
    if config.get("semantic_nc"):
        labels = torch.from_numpy(recipe.rng("labels").integers(0, 26, (batch, 1, height, width)))
        given["semantic"] = F.one_hot(labels[:, 0], 26).permute(0, 3, 1, 2).float()
    if style["kind"] == "inade":
        given["z"] = recipe.normal("z_class", batch, 26, 512)
    return given


def worst(made: torch.Tensor, expected: Any) -> float:
    assert made.shape == expected.shape
    return float(np.abs(made.detach().numpy() - expected).max())


def styles(network: Any, z: torch.Tensor) -> torch.Tensor:
    """Of all vertices of all people, as the published code maps them."""
    mapping = network.style_net.E_map
    return torch.cat([mapping(row[None]) for row in z]) if mapping.input_z else mapping(None)


# ---------------------------------------------------------------- parity with the published networks


@needs_vectors
@pytest.mark.parametrize("name", SMALL)
@torch.inference_mode()
def test_small_networks_equal_the_published_ones(name):
    entry = manifest()[name]
    config = translated(entry["config"])
    network = recipe.prepared(build(config))
    given = inputs(config, entry["batch"])
    with np.load(PARITY / f"{name}.npz") as expected:
        for fused in (False, True):
            if fused:
                network.prepare_for_inference()
            assert worst(network(**given)["img"], expected["img"]) < 1e-4
            for psi, key in ((0.5, "img_truncated_0_5"), (0.0, "img_truncated_0")):
                if key in expected:
                    assert worst(network(**given, psi=psi)["img"], expected[key]) < 1e-4
        if "w" in expected:
            assert worst(styles(network, given["z"]), expected["w"]) < 1e-4


@pytest.mark.slow
@needs_vectors
@torch.inference_mode()
def test_the_released_network_equals_the_published_one():
    config = translated(manifest()["sggan_configE"]["config"])
    network = recipe.prepared(build(config)).prepare_for_inference()
    given = inputs(config, 1)
    with np.load(PARITY / "sggan_configE.npz") as expected:
        assert worst(network(**given)["img"], expected["img"]) < 5e-4
        assert worst(styles(network, given["z"])[::1000], expected["w"]) < 5e-4
    with np.load(PARITY / "sggan_configE_truncated.npz") as expected:
        assert worst(network(**given, psi=0.5)["img"], expected["img_truncated_0_5"]) < 5e-4


@needs_vectors
@torch.inference_mode()
def test_the_unconditional_decoder_equals_the_published_one():
    config = translated(manifest()["sggan_deepfashion_small"]["config"])
    given = inputs(config, 2)
    network = recipe.prepared(SurfaceGuidedDecoder(**{k: v for k, v in config.items() if k != "embed_z"}))
    with np.load(PARITY / "sggan_deepfashion_small.npz") as expected:
        made = network(given["z"], vertices=given["vertices"], E_mask=given["E_mask"])["img"]
        assert worst(made, expected["img"]) < 1e-4


class Parts(torch.nn.Module):
    """V-SAM and three layers that it modulates, as the vectors have them."""

    def __init__(self, style: dict[str, Any]) -> None:
        super().__init__()
        self.style_net = SurfaceStyles(
            [tuple(size) for size in style["feature_sizes_dec"]],
            cse_nc=16,
            z_channels=512,
            **style["w_mapper"],
        )
        self.conv = GuidedConv2d(10, 7, norm=True, clamp=256)
        self.conv_up = GuidedConv2d(6, 7, up=True, norm=True, clamp=256)
        self.block_up = GuidedBlock(6, 7, up=True, clamp=256)
        carry_filters(self)


@needs_vectors
@torch.inference_mode()
def test_modulation_equals_the_published_one():
    parts = recipe.prepared(Parts(manifest()["sggan_vsam"]["config"]["style_net"]))
    vertices = torch.from_numpy(recipe.rng("vertices").integers(0, 300, (2, 1, 36, 20)))
    given = StyleInputs(recipe.normal("z", 2, 512), vertices, recipe.inner(2, 36, 20), recipe.hole(2, 36, 20))
    gammas = parts.style_net(given)
    x1, x2 = recipe.normal("x1", 2, 10, 18, 10), recipe.normal("x2", 2, 6, 36, 20)
    gained = GuidedConv2d(10, 7, norm=True, clamp=256, gain=0.5**0.5)
    gained.weight, gained.bias = parts.conv.weight, parts.conv.bias
    with np.load(PARITY / "sggan_vsam.npz") as expected:
        made = {
            **{f"gamma{i}": gamma for i, gamma in enumerate(gammas)},
            "w": styles(parts, given.z),
            "y1": parts.conv(x1, gammas[1]),
            "y1_gain": gained(x1, gammas[1]),
            "y2_up": parts.conv_up(x2, gammas[2]),
            "y_plain": parts.conv_up(x2),
            "block": parts.block_up(x2, (gammas[2], recipe.normal("gamma7", 2, 7, 36, 20).abs())),
        }
        assert {*made} | {"surface_style"} == {*expected}
        for key, value in made.items():
            assert worst(value, expected[key]) < 1e-4, key


@needs_vectors
@pytest.mark.parametrize("name", ["sggan_discriminator_plain_small", "sggan_discriminator_fpn_small"])
def test_discriminators_and_losses_equal_the_published_ones(name):
    config = manifest()[name]["config"]
    keys = ("imsize", "cnum", "output_fpn", "cse_nc", "max_cnum_mul", "min_fmap_resolution", "conv_clamp")
    network = recipe.prepared(build({key: config[key] for key in keys}))
    height, width = config["imsize"]
    mask, surface = recipe.hole(4, height, width), recipe.inner(4, height, width)
    images = recipe.uniform("img", 4, 3, height, width).requires_grad_()
    fake, condition = recipe.uniform("fake", 4, 3, height, width), (images * mask).detach()
    embedding = recipe.normal("embedding", 4, 16, height, width) * surface
    real, made = network(images, condition, mask), network(fake, condition, mask)
    d_loss = (F.softplus(-real["score"]) + F.softplus(made["score"]))[:, 0]
    g_loss = F.softplus(-made["score"])[:, 0]
    with np.load(PARITY / f"{name}.npz") as expected:
        if config["output_fpn"]:
            assert worst(real["E"][:, :, ::2, ::2], expected["E"]) < 1e-4
            d_loss = d_loss + 0.1 * losses.embedding_distance(real["E"], embedding, surface)
            g_loss = g_loss + 0.1 * losses.embedding_distance(made["E"], embedding, surface)
        assert worst(real["score"], expected["score"]) < 1e-4
        assert worst(made["score"], expected["score_fake"]) < 1e-4
        assert worst(0.001 * real["score"].square()[:, 0], expected["epsilon_penalty"]) < 1e-4
        assert worst(d_loss, expected["d_loss"]) < 1e-4
        assert worst(g_loss, expected["g_loss"]) < 1e-4
        penalty = losses.masked_r1(real["score"], images, mask) * (5 * 16 / 2)
        assert worst(penalty, expected["r1"]) < 1e-4


@needs_vectors
def test_every_state_dict_key_and_shape_equals_the_published_one():
    for name, published in manifest().items():
        if name in {"sggan_vsam", "sggan_pipeline"}:
            continue
        config = published["config"]
        with torch.device("meta"):
            if config["type"] == "FPNDiscriminator":
                keys = ("imsize", "cnum", "output_fpn", "max_cnum_mul", "min_fmap_resolution")
                network: torch.nn.Module = SurfaceGuidedDiscriminator(**{key: config[key] for key in keys})
            elif config["type"] == "DecoderGenerator":
                ours = translated(config)
                del ours["embed_z"]
                network = SurfaceGuidedDecoder(**ours)
            else:
                network = SurfaceGuidedUNet(**translated(config))
        assert {k: list(v.shape) for k, v in network.state_dict().items()} == published["state_dict"], name
        assert sum(p.numel() for p in network.parameters()) == published["parameters"], name


@needs_vectors
def test_the_catalogue_has_the_papers_configurations():
    for letter in "ABCDE":
        ours = translated(manifest()[f"sggan_config{letter}"]["config"])
        with torch.device("meta"):
            theirs, named = build(ours), build(f"surface_guided_{letter}")
        shapes = [{k: v.shape for k, v in n.state_dict().items()} for n in (theirs, named)]
        assert shapes[0] == shapes[1]
        assert catalogue()[f"surface_guided_{letter}"]["style"]["kind"] == ours["style"]["kind"]


# ---------------------------------------------------------------- what holds beyond the vectors


def tiny(**changes: Any) -> Any:
    return recipe.prepared(build(TINY | changes))


def tiny_inputs(batch: int = 2) -> dict[str, torch.Tensor]:
    given = inputs({**TINY, "imsize": [36, 20]}, batch)
    return given | {"z": recipe.normal("z", batch, 8)}


@torch.inference_mode()
def test_only_vertices_that_a_crop_shows_are_mapped(monkeypatch):
    network, given = tiny(), tiny_inputs()
    mapping, mapped = network.style_net.E_map, []
    before = type(mapping).forward

    def noted(self, z, ids=None):
        mapped.append(ids)
        return before(self, z, ids)

    monkeypatch.setattr(type(mapping), "forward", noted)
    network(**given)
    for i, ids in enumerate(mapped):
        shown = given["vertices"][i][given["E_mask"][i] > 0].unique()
        assert torch.equal(ids, shown)
        assert len(ids) < len(mapping.E)


@torch.inference_mode()
def test_vertices_off_the_surface_change_nothing():
    network, given = tiny(), tiny_inputs()
    plain = network(**given)["img"]
    other = torch.where(given["E_mask"] > 0, given["vertices"], 49)
    assert torch.equal(network(**given | {"vertices": other})["img"], plain)
    none = torch.zeros_like(given["E_mask"])
    assert network(**given | {"E_mask": none, "embedding": given["embedding"] * 0})["img"].isfinite().all()


@torch.inference_mode()
def test_hole_pixels_never_reach_the_output():
    network, given = tiny(), tiny_inputs()
    outputs = [
        network(**given | {"condition": given["condition"].masked_fill(given["mask"] == 0, value)})["img"]
        for value in (0.0, 1.0, torch.nan)
    ]
    assert torch.equal(outputs[0], outputs[1])
    assert torch.equal(outputs[0], outputs[2])


@pytest.mark.parametrize("fused", [False, True])
@torch.inference_mode()
def test_a_person_does_not_depend_on_the_batch(fused):
    network, given = tiny(), tiny_inputs(4)
    if fused:
        network.prepare_for_inference()
    together = network(**given)["img"]
    for i in range(4):
        alone = network(**{key: value[i : i + 1] for key, value in given.items()})["img"]
        assert float((alone - together[i : i + 1]).abs().max()) < 1e-4


def test_gradients_reach_the_mapping_and_the_mean_follows():
    network, given = tiny().train(), tiny_inputs()
    network.style_net.E_map.w_avg.zero_()
    network(**given, update_average=True)["img"].square().mean().backward()
    assert network.style_net.E_map.fromZ0.weight.grad.abs().max() > 0
    shown = given["vertices"][given["E_mask"] > 0].unique()
    moved = network.style_net.E_map.w_avg.abs().sum(1) > 0
    assert torch.equal(moved.nonzero()[:, 0], shown)
    average = network.style_net.E_map.estimate_average(n_samples=400, seed=1).clone()
    drawn = torch.stack([network.style_net.E_map(torch.randn(1, 8)) for _ in range(400)]).mean(0).detach()
    assert float((average - drawn).abs().mean()) < 0.1 * float(drawn.abs().mean())


def test_wrong_inputs_are_refused():
    network, given = tiny(), tiny_inputs()
    with pytest.raises(ValueError, match="embedding"):
        network(**given | {"embedding": None})
    with pytest.raises(ValueError, match="vertices"):
        network(**given | {"vertices": None})
    with pytest.raises(ValueError, match="z "):
        network(**given | {"z": None})
    with pytest.raises(ValueError, match=r"0\.\.1"):
        network(**given, psi=1.5)
    with pytest.raises(ValueError, match=r"\(36, 20\)"):
        network(torch.zeros(1, 3, 20, 36), torch.ones(1, 1, 20, 36))
    with pytest.raises(Exception, match="spade"):
        build(TINY | {"style": {"kind": "adain"}})


def test_a_released_checkpoint_becomes_a_generator_file(tmp_path, monkeypatch):
    """The averaged generator of a published file, told by its key; the configuration is the catalogue's."""
    from dataclasses import replace

    from dp2bench.deepprivacy2 import generator_weights

    known = entry("surface_guided_E")
    assert known.network == "surface_guided_E"
    monkeypatch.setattr(networks, "catalogue", lambda: {"surface_guided_E": TINY})
    monkeypatch.setattr(generator_weights, "networks", lambda: {"surface_guided_E": TINY})
    network = tiny()
    other = {key: value * 0 for key, value in network.state_dict().items()}
    torch.save(
        {"EMA_generator": network.state_dict(), "G": other, "global_step": 3}, tmp_path / "released.ckpt"
    )
    files.convert(tmp_path / "released.ckpt", replace(known), tmp_path / "made.safetensors")
    described = generator_weights.describe(tmp_path / "made.safetensors")
    assert described.role == "surface-guided"
    assert described.templates == ("smpl-27554",)
    loaded, _ = files.load(described)
    given = tiny_inputs()
    with torch.inference_mode():
        assert torch.equal(loaded(**given)["img"], network(**given)["img"])
