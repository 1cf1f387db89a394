"""Edits: the published numbers, files that belong to one generator, and messages for who lacks something."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from dp2bench.core import registry
from dp2bench.core.errors import Dp2benchError
from dp2bench.core.images import write_image
from dp2bench.core.types import People
from dp2bench.deepprivacy2 import editing, generator_weights, text_search
from dp2bench.deepprivacy2.generators.networks import build

PARITY = Path(__file__).resolve().parents[3] / "shared" / "parity"
NAMES = ["stylemc_unet_body_cse_small", "stylemc_unet_body_nocse_small_legacy", "stylemc_unet_face_small"]
needs_vectors = pytest.mark.skipif(
    not (PARITY / "manifest_stylemc.json").exists(), reason=f"the parity vectors are not at {PARITY}"
)
_spec = importlib.util.spec_from_file_location(
    "dp2bench_test_recipe", Path(__file__).parent / "generators" / "recipe.py"
)
assert _spec is not None
assert _spec.loader is not None
recipe: Any = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = recipe
_spec.loader.exec_module(recipe)


def network_of(name: str) -> Any:
    config = json.loads((PARITY / "manifest_stylemc.json").read_text())[name]["config"]
    return recipe.prepared(build(config)).requires_grad_(False)


def worst(made: torch.Tensor, expected: Any) -> float:
    assert made.shape == expected.shape
    return float(np.abs(made.numpy() - expected).max())


# ---------------------------------------------------------------- the published numbers


@needs_vectors
@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("name", NAMES)
@torch.inference_mode()
def test_edits_equal_the_published_ones(name, fused):
    network = network_of(name)
    if fused:
        network.prepare_for_inference()
    given = recipe.inputs(network, 1)
    w = network.style_net(given.pop("z"))
    table = network.styles(w)
    shape = table.shape[1:]
    first = editing.Edit("first", 0.2 * recipe.normal("direction", *shape), 0.5)
    two = [
        editing.Edit("first", first.direction, 0.3),
        editing.Edit("second", 0.2 * recipe.normal("direction2", *shape), 0.8),
    ]
    mean = network.styles(network.style_net.truncate(w, 0))
    with np.load(PARITY / f"{name}.npz") as expected:
        assert worst(table[0], expected["styles"]) < 1e-4
        for key, styles in {
            "img": table,
            "img_edited_0_5": editing.apply(table, [first]),
            "img_two_edits": editing.apply(table, two),
            "img_mean_edited_0_5": editing.apply(mean, [first]),
        }.items():
            assert worst(network(**given, styles=styles)["img"], expected[key]) < 1e-4, key


@needs_vectors
@pytest.mark.parametrize("name", NAMES)
def test_the_search_equals_the_published_one(name):
    network = network_of(name)
    height, width = network.imsize
    image, text, other = (
        recipe.normal(tag, n, 512) for tag, n in (("clip.image", 3), ("clip.text", 1), ("clip.text2", 1))
    )
    encoder = recipe.normal("stand_in.image", 192, 512)

    def encode(prepared: torch.Tensor) -> torch.Tensor:
        assert prepared.shape[1:] == (3, 224, 224)
        return torch.nn.functional.adaptive_avg_pool2d(prepared, 8).flatten(1) @ encoder

    def crops(steps: int):
        for step in range(steps):
            tag = f".search{step % 2}"
            mask = recipe.hole(1, height, width)
            given = {"condition": recipe.uniform(f"img{tag}", 1, 3, height, width) * mask, "mask": mask}
            if network.input_cse:
                given |= {
                    "embedding": recipe.normal(f"embedding{tag}", 1, 16, height, width),
                    "E_mask": 1 - mask,
                }
            yield given | {"w": network.style_net(recipe.normal(f"search.z{step}", 1, 512))}

    loss = editing.clip_loss(encode, recipe.normal("stand_in.text", 1, 512))
    with np.load(PARITY / f"{name}.npz") as expected:
        one = editing.spherical_distance(image, text)
        assert worst(one, expected["spherical"]) < 1e-4
        assert worst(one + editing.spherical_distance(image, other), expected["two_prompts"]) < 1e-4
        given = next(crops(1))
        direction = torch.zeros(expected["search_gradient_0"].shape, requires_grad=True)
        first = loss(network(styles=network.styles(given.pop("w")) + direction, **given)["img"])
        first.sum().backward()
        assert worst(first.detach(), expected["search_loss_0"]) < 1e-4
        limit = 1e-3 * np.abs(expected["search_gradient_0"]).max()
        assert worst(direction.grad, expected["search_gradient_0"]) < limit
        found = editing.search(network, crops(17), loss)
        assert (np.abs(found.numpy() - expected["search_direction"]) < 1e-3).mean() > 0.99


# ---------------------------------------------------------------- files and names


@pytest.fixture
def generator(random_generators):
    return generator_weights.describe(random_generators["body"])


def direction_of(generator) -> torch.Tensor:
    from dp2bench.deepprivacy2.generators import files

    network: Any = files.load(generator)[0]
    with torch.no_grad():
        shape = network.styles(torch.zeros(1, network.w_dim)).shape[1:]
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def test_a_direction_is_read_back_for_its_generator_alone(tmp_path, generator, random_generators):
    path, direction = tmp_path / "made" / "red.safetensors", direction_of(generator)
    editing.save(path, direction, name="red jacket", generator=generator, crops=3)
    edit = editing.load(path, generator, 0.3)
    assert (edit.name, edit.strength) == ("red jacket", 0.3)
    assert torch.equal(edit.direction, direction)
    with pytest.raises(Dp2benchError, match="other weights"):
        editing.load(path, generator_weights.describe(random_generators["body-cse"]))
    path.write_bytes(b"nonsense")
    with pytest.raises(Dp2benchError, match="no direction"):
        editing.load(path, generator)


def test_edits_are_found_by_name(tmp_path, generator):
    kept = editing.folder(generator) / "red-jacket.safetensors"
    editing.save(kept, direction_of(generator), name="red jacket", generator=generator)
    found, missing = editing.resolve(["red jacket:1.5", "blue hat", str(kept)], 0.4, generator)
    assert [(e.name, e.strength) for e in found] == [("red jacket", 1.5), ("red jacket", 0.4)]
    assert missing == ["blue hat"]
    for text, message in {
        "colour=red": "no attribute",
        "upper=beige": "no upper",
        "x" * 200: "200 characters",
        "  ": "without a text",
        "red jacket:9": "out of range",
    }.items():
        with pytest.raises(Dp2benchError, match=message):
            editing.resolve([text], 0.5, generator)


def test_a_method_edits_everybody(tmp_path, random_generators, generator):
    path = tmp_path / "edit.safetensors"
    editing.save(path, direction_of(generator), name="edit", generator=generator)
    image = np.random.default_rng(0).integers(0, 256, (160, 120, 3), np.uint8)
    people = People.of([[20, 10, 90, 150]])
    common = {"person": random_generators["body"], "mode": "body"}

    def made(**more: Any) -> Any:
        return registry.create("methods", "deepprivacy2-no-cse", {**common, **more})

    plain = made().anonymize(image, people, seed=1).image
    none = made(edit=[str(path)], strength=0.0).anonymize(image, people, seed=1).image
    edited = made(edit=[str(path)], strength=1.0)
    assert np.abs(plain.astype(int) - none).max() <= 1
    assert np.abs(plain.astype(int) - edited.anonymize(image, people, seed=1).image).max() > 8
    assert "edits" in repr(edited.meta.arguments)
    with pytest.raises(Dp2benchError, match="edits search"):
        made(edit=["a text nobody searched"])


# ---------------------------------------------------------------- who lacks something


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--edit", "red jacket", "-m", "deepprivacy2"], "CLIP"),
        (["--edit", "red jacket", "-m", "blur"], "synthesises nothing"),
        (["--edit", "x" * 200, "-m", "deepprivacy2"], "200 characters"),
        (["--edit", "upper=beige", "-m", "deepprivacy2"], "no upper"),
        (["--edit", "missing.safetensors", "-m", "deepprivacy2"], "no direction"),
    ],
)
def test_one_clear_message(tmp_path, arguments, message):
    from dp2bench.cli.main import app

    write_image(tmp_path / "a.png", np.zeros((64, 64, 3), np.uint8))
    done = CliRunner().invoke(
        app, ["anonymize", str(tmp_path / "a.png"), str(tmp_path / "b.png"), *arguments]
    )
    assert isinstance(done.exception, Dp2benchError)
    assert message in str(done.exception) + " ".join(map(str, done.exception.args))
    assert not (tmp_path / "b.png").exists()


def test_clip_is_never_downloaded(tmp_path, monkeypatch):
    monkeypatch.delenv(text_search.CLIP_VARIABLE, raising=False)
    with pytest.raises(Dp2benchError, match="no file of its weights"):
        text_search.load_clip(None)
    with pytest.raises(Dp2benchError, match="there is no file"):
        text_search.load_clip(tmp_path / "clip.pt")
