"""Surface Guided GANs as a method: the published geometry and pipeline, number for number, and what both pipelines promise."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from dp2bench.core import registry
from dp2bench.core.errors import Dp2benchError, PluginError
from dp2bench.core.types import People, SurfaceMap
from dp2bench.deepprivacy2 import surface_guided_crops as geometry
from dp2bench.deepprivacy2.generators.networks import build
from dp2bench.detection.rcnn.detectors import nearest_vertices

PARITY = Path(__file__).resolve().parents[3] / "shared" / "parity"
needs_vectors = pytest.mark.skipif(
    not (PARITY / "sggan_geometry.json").exists(), reason=f"the parity vectors are not at {PARITY}"
)


def _load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / "generators" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


recipe = _load("recipe")


def ellipse(box, shape) -> np.ndarray:
    h, w = box[3] - box[1], box[2] - box[0]
    cx, cy, rx, ry = shape
    y, x = np.mgrid[:h, :w] + 0.5
    return ((x - cx * w) / (rx * w)) ** 2 + ((y - cy * h) / (ry * h)) ** 2 <= 1


# ---------------------------------------------------------------- the published numbers


@needs_vectors
def test_crops_are_the_published_ones():
    published = json.loads((PARITY / "sggan_geometry.json").read_text())
    for case in published["body"]:
        mask = ellipse(case["box_xyxy"], case["ellipse_cx_cy_rx_ry"])
        assert mask.sum() == case["mask_pixels"]
        tight = geometry.tight_box(mask, case["box_xyxy"])
        assert list(tight) == case["tight_xyxy"]
        assert list(geometry.crop_box(tight, case["image_hw"], int(mask.sum()))) == case["expanded_xyxy"]
        assert geometry.keeps(tight) == case["kept"]
    for case in published["dilation_radius_of_mask_pixels_in_288x160"]:
        assert geometry.dilation_radius(case["pixels"]) == case["radius"]


@needs_vectors
@torch.inference_mode()
def test_the_pipeline_is_the_published_one():
    published = json.loads((PARITY / "manifest_sggan.json").read_text())["sggan_pipeline"]
    config = published["generator"]
    keys = (
        "imsize",
        "cnum",
        "max_cnum_mul",
        "min_fmap_resolution",
        "n_middle_blocks",
        "z_channels",
        "input_cse",
    )
    style = {"kind": "surface", **config["style_cfg"]["w_mapper"]}
    network = recipe.prepared(build({**{key: config[key] for key in keys}, "style": style}))
    table = recipe.normal("embed_map", 300, 16)
    crops, fills = [], []
    with np.load(PARITY / "sggan_pipeline.npz") as expected:
        image = np.ascontiguousarray(expected["image"].transpose(1, 2, 0))
        for i, (box, shape) in enumerate(
            zip(published["boxes_xyxy"], published["ellipses_cx_cy_rx_ry"], strict=True)
        ):
            small = torch.from_numpy(ellipse((0, 0, 112, 112), shape))[None, None].float()
            size = (box[3] - box[1], box[2] - box[0])
            mask = F.interpolate(small, size, mode="bilinear")[0, 0].numpy() > 0
            tight = geometry.tight_box(mask, box)
            if not geometry.keeps(tight):
                continue
            where = geometry.crop_box(tight, image.shape[:2], int(mask.sum()))
            crop = geometry.cut(image, mask, box, where, (288, 160))
            embedding = recipe.normal(f"embedding_{i}", 1, 16, 8, 8)
            for grid in ((112, 112), size):
                embedding = F.interpolate(embedding, grid, mode="bilinear")
            embedding = geometry.resize(geometry.place(embedding, box, where), (288, 160))
            vertices = nearest_vertices(embedding[0].flatten(1).T, table).view(1, 1, 288, 160)
            vertices = vertices.long() * crop.surface.long()
            k = len(crops)
            assert list(where) == expected["kept"][k].tolist()
            assert _agree(crop.hole[0, 0], np.unpackbits(expected[f"hole_{k}"], axis=1)) > 0.999
            assert _agree(crop.surface[0, 0], np.unpackbits(expected[f"E_mask_{k}"], axis=1)) > 0.999
            assert _agree(vertices[0, 0], expected[f"vertices_{k}"]) > 0.999
            assert np.abs(crop.image[0, :, ::4, ::4].numpy() - expected[f"im_{k}"]).max() < 1e-4
            made = network(
                crop.image, 1 - crop.hole, torch.zeros(1, 512), vertices=vertices, E_mask=crop.surface,
                embedding=table[vertices[0, 0]].permute(2, 0, 1)[None] * crop.surface, psi=0.0,
            )["img"]  # fmt: skip
            fill = (made[0] / 2 + 0.5).clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).numpy()
            assert _close(fill[::4, ::4], expected[f"filled_{k}"].transpose(1, 2, 0)) > 0.999
            crops.append(crop)
            fills.append(fill)
        assert len(crops) == len(expected["kept"])
        stitched, _ = geometry.stitch(image, crops, fills)
        assert _close(stitched, expected["stitched"].transpose(1, 2, 0)) > 0.999
        flat = [np.full_like(fill, grey) for fill, grey in zip(fills, (40, 120, 200, 240), strict=True)]
        stitched, _ = geometry.stitch(image, crops, flat)
        assert _close(stitched, expected["stitched_flat"].transpose(1, 2, 0)) > 0.999


def _agree(made: torch.Tensor, expected: np.ndarray) -> float:
    assert made.shape == expected.shape
    return float((made.numpy() == expected).mean())


def _close(made: np.ndarray, expected: np.ndarray) -> float:
    """Share of pixels within one grey level."""
    assert made.shape == expected.shape
    return float((np.abs(made.astype(int) - expected).max(-1) <= 1).mean())


@given(st.integers(40, 400), st.integers(40, 400), st.data())
def test_a_crop_holds_its_tight_box_or_all_of_the_picture(height, width, data):
    x0, y0 = data.draw(st.integers(0, width - 10)), data.draw(st.integers(0, height - 10))
    x1, y1 = data.draw(st.integers(x0 + 4, width)), data.draw(st.integers(y0 + 4, height))
    pixels = data.draw(st.integers(1, (x1 - x0) * (y1 - y0)))
    box = geometry.crop_box((x0, y0, x1, y1), (height, width), pixels)
    assert box[0] <= x0
    assert box[1] <= y0
    assert box[2] >= min(x1, width)
    assert box[3] >= min(y1, height)


# ---------------------------------------------------------------- the method


def scene() -> tuple[np.ndarray, People]:
    """A large person behind a small one, and one without a surface."""
    rng = np.random.default_rng(3)
    image = rng.integers(0, 256, (160, 200, 3), np.uint8)
    boxes = [(20, 10, 80, 150), (60, 40, 110, 150), (140, 60, 190, 150)]
    masks, surfaces = np.zeros((3, 160, 200), bool), []
    for i, (x0, y0, x1, y1) in enumerate(boxes):
        shape = ellipse((x0, y0, x1, y1), (0.5, 0.5, 0.4, 0.45))
        masks[i, y0:y1, x0:x1] = shape
        vertices = np.where(shape, rng.integers(0, 13_380, shape.shape), -1).astype(np.int32)
        surfaces.append(SurfaceMap("passersby-13380", np.array([x0, y0, x1, y1], np.int32), vertices))
    surfaces[2] = None
    scores = np.array([0.5, 0.9, 0.7], np.float32)
    return image, People.of(boxes, masks=masks, surfaces=tuple(surfaces), scores=scores)


def method(random_generators, **arguments):
    return registry.create(
        "methods", "surface-guided-gan", {"weights": random_generators["surface-guided"], **arguments}
    )


def test_ours_fills_everybody(random_generators):
    image, people = scene()
    done = method(random_generators).anonymize(image, people, seed=1)
    assert done.missed == ()
    assert (done.changed | ~people.masks.any(0)).all()
    assert np.array_equal(done.image[~done.changed], image[~done.changed])


def test_the_published_pipeline_leaves_and_reports_who_has_no_surface(random_generators):
    image, people = scene()
    left = method(random_generators, pipeline="published", fallback="none").anonymize(image, people, seed=1)
    assert [m.person for m in left.missed] == [2]
    assert "surface" in left.missed[0].reason
    assert np.array_equal(left.image[people.masks[2]], image[people.masks[2]])
    painted = method(random_generators, pipeline="published").anonymize(image, people, seed=1)
    assert painted.missed == ()
    assert (painted.image[people.masks[2]] == 127).all()
    for done in (left, painted):
        assert done.changed[people.masks[0] | people.masks[1]].all()
        assert np.array_equal(done.image[~done.changed], image[~done.changed])


def test_in_the_published_pipeline_the_surer_detection_stays(random_generators):
    """The second detection has the higher score: where both lie, its fill stays, whoever is listed first."""
    image, people = scene()
    one = method(random_generators, pipeline="published", fallback="none")
    both = one.anonymize(image, people.take([0, 1]), seed=1).image
    swapped = one.anonymize(image, people.take([1, 0]), seed=1)
    alone = one.anonymize(image, people.take([1]), seed=1)
    # Alone they are the first person, with another seed; w_avg does not depend on it.
    assert one.meta.deterministic
    where = people.masks[1]
    assert np.array_equal(both[where], alone.image[where])
    assert np.array_equal(swapped.image, both)


def test_truncation_decides_whether_people_look_alike(random_generators):
    image, people = scene()
    seeds = [method(random_generators, psi=1.0).anonymize(image, people, seed=s).image for s in (1, 2)]
    assert not np.array_equal(*seeds)
    seeds = [method(random_generators, psi=0.0).anonymize(image, people, seed=s).image for s in (1, 2)]
    assert np.array_equal(*seeds)
    with pytest.raises(PluginError, match="none or mean"):
        method(random_generators, truncation="multi-modal")


def test_wrong_weights_are_named(random_generators):
    with pytest.raises(Dp2benchError, match="surface-guided"):
        registry.create("methods", "surface-guided-gan", {"weights": random_generators["body"]})
    with pytest.raises(Dp2benchError, match="surface-guided"):
        registry.create(
            "methods", "deepprivacy2", {"cse": random_generators["surface-guided"], "mode": "body"}
        )
    with pytest.raises(Dp2benchError, match="surface_guided_E"):
        registry.create("methods", "surface-guided-gan", {"weights": "official"})
    with pytest.raises(PluginError, match="pipeline"):
        method(random_generators, pipeline="paper")
    with pytest.raises(PluginError, match="feather"):
        method(random_generators, pipeline="published", feather=0.1)
