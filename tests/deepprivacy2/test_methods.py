"""Which generator gets whom, and what a method says of itself."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from dp2bench.core import conformance, registry
from dp2bench.core.errors import Dp2benchError, PluginError
from dp2bench.core.seeds import Seed
from dp2bench.core.types import Category, People, SurfaceMap
from dp2bench.deepprivacy2 import generator_weights
from dp2bench.deepprivacy2.generators import deep_privacy1, files
from dp2bench.deepprivacy2.generators.networks import build
from dp2bench.detection.keypoints import assign_keypoints
from dp2bench.inpainting import crops as cutting
from dp2bench.inpainting import stitching
from dp2bench.inpainting.anonymizer import NOBODY
from dp2bench.weights import digests

SEED = Seed(3)


@pytest.fixture
def paths(random_generators):
    return {
        "cse": random_generators["body-cse"],
        "person": random_generators["body"],
        "face": random_generators["face"],
    }


def street(seed=0, size=(200, 340)):
    """With surface, without, a lone face, a surface of another template, a tiny one."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (*size, 3), np.uint8)
    boxes = np.array(
        [[20, 30, 70, 150], [90, 20, 140, 170], [170, 30, 200, 60], [230, 40, 280, 180], [310, 90, 316, 104]],
        np.float32,
    )
    masks = np.zeros((5, *size), bool)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes.astype(int), strict=True):
        mask[y0:y1, x0:x1] = True

    def surface(name, i):
        x0, y0, x1, y1 = box = boxes[i].astype(np.int32)
        return SurfaceMap(name, box, rng.integers(0, 13380, (y1 - y0, x1 - x0)).astype(np.int32))

    P, S, F = Category.PERSON, Category.PERSON_WITH_SURFACE, Category.FACE
    return image, People.of(
        boxes,
        masks=masks,
        surfaces=(surface("passersby-13380", 0), None, None, surface("smpl-27554", 3), None),
        categories=[S, P, F, S, P],
    )


def calls(method):
    """Records who is filled by which network."""
    seen = []
    people = street()[1]
    for one in {id(x): x for x in method.select_inpainter(people) if x is not None}.values():
        fill = one.inpaint

        def spy(crops, *, seeds, one=one, fill=fill):
            seen.append((one.file.role, len(seeds)))
            return fill(crops, seeds=seeds)

        one.inpaint = spy
    return seen


def roles(method):
    return [None if one is None else one.file.role for one in method.select_inpainter(street()[1])]


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("deepprivacy2", {}, ["body-cse", "body", "face", "body", "body"]),
        ("deepprivacy2", {"person": "none"}, ["body-cse", "body-cse", "face", "body-cse", "body-cse"]),
        ("deepprivacy2", {"cse": "none"}, ["body", "body", "face", "body", "body"]),
        ("deepprivacy2", {"face": "none"}, ["body-cse", "body", None, "body", "body"]),
        ("deepprivacy2", {"mode": "body"}, ["body-cse", "body", None, "body", "body"]),
        ("deepprivacy2", {"mode": "face"}, ["face"] * 5),
        ("deepprivacy2-no-cse", {}, ["body", "body", "face", "body", "body"]),
        ("deepprivacy2-face", {}, ["face"] * 5),
    ],
)
def test_who_goes_where(paths, name, given, expected):
    arguments = {**paths, **given}
    if name == "deepprivacy2-face":
        arguments = {"face": paths["face"]}
    elif name == "deepprivacy2-no-cse":
        del arguments["cse"]
    assert roles(registry.create("methods", name, arguments)) == expected


def test_everybody_is_replaced_and_the_scene_is_kept(paths):
    image, people = street()
    method = registry.create("methods", "deepprivacy2", paths)
    seen = calls(method)
    got = method.anonymize(image, people, seed=SEED)
    assert got.missed == ()
    assert got.changed[people.masks.any(0)].all()
    assert np.array_equal(got.image[~got.changed], image[~got.changed])
    assert sum(n for _, n in seen) == 4, "the tiny one is painted"
    assert (got.image[92:102, 311:315] == cutting.GREY).all()
    assert {role for role, _ in seen} == {"body-cse", "body", "face"}


def test_a_lone_face_without_a_generator_is_painted_or_missed(paths):
    image, people = street()
    body = {"cse": paths["cse"], "person": paths["person"], "mode": "body"}
    painted = registry.create("methods", "deepprivacy2", body).anonymize(image, people, seed=SEED)
    assert painted.missed == ()
    assert (painted.image[32:58, 172:198] == cutting.GREY).all()
    left = registry.create("methods", "deepprivacy2", {**body, "fallback": "none"})
    assert left.anonymize(image, people, seed=SEED).missed == ((2, NOBODY), (4, cutting.TOO_SMALL))
    all_made = registry.create("methods", "deepprivacy2", {**body, "fallback": "generate"})
    seen = calls(all_made)
    assert all_made.anonymize(image, people, seed=SEED).missed == ()
    assert sum(n for _, n in seen) == 4, "the tiny one too"


@pytest.mark.parametrize("feather", [0.0, 0.08])
def test_batches_over_all_categories_equal_one_by_one(paths, feather, monkeypatch):
    method = registry.create("methods", "deepprivacy2", {**paths, "feather": feather})
    crowd = crowded()
    many = method.anonymize(*crowd, seed=SEED)
    monkeypatch.setattr(stitching, "non_overlapping_batches", lambda regions: [[r] for r in regions])
    one = method.anonymize(*crowd, seed=SEED)
    assert np.array_equal(many.image, one.image)


def crowded():
    rng = np.random.default_rng(4)
    image = rng.integers(0, 256, (240, 400, 3), np.uint8)
    n = 14
    corner = np.stack([rng.integers(0, 360, n), rng.integers(0, 190, n)], 1)
    boxes = np.concatenate([corner, corner + rng.integers(20, 60, (n, 2))], 1).astype(np.float32)
    categories = rng.integers(0, 3, n)
    surfaces = []
    for (x0, y0, x1, y1), category in zip(boxes.astype(np.int32), categories, strict=True):
        vertices = rng.integers(0, 13380, (y1 - y0, x1 - x0)).astype(np.int32)
        known = category == Category.PERSON_WITH_SURFACE
        surfaces.append(
            SurfaceMap("passersby-13380", np.array([x0, y0, x1, y1]), vertices) if known else None
        )
    return image, People.of(boxes, surfaces=surfaces, categories=categories)


@pytest.mark.parametrize("feather", [0.02, pytest.param(0.3, marks=pytest.mark.slow)])
def test_a_soft_edge_lets_nothing_through(paths, feather):
    arguments = {**paths, "feather": feather}
    outcomes = {
        o.check: o for o in conformance.run(lambda: registry.create("methods", "deepprivacy2", arguments))
    }
    for check in ("information-flow", "untouched-surroundings", "others"):
        assert outcomes[check].status == "pass", outcomes[check]


def test_a_soft_edge_starts_as_what_surrounds_it():
    image = np.full((40, 40, 3), 200, np.uint8)
    hole = np.zeros((40, 40), np.uint8)
    hole[10:30, 10:30] = 1
    image[hole == 1] = 90
    made = stitching.soften(np.zeros_like(image), image, hole, hole, 5.0)
    across = made[20, 10:20, 0].astype(int)
    assert across[0] == 160  # one pixel of five inside: four fifths of what surrounds it
    assert (np.diff(across) <= 0).all()
    assert across[5] == 0
    full = np.ones((4, 4), np.uint8)
    assert (stitching.soften(np.zeros((4, 4, 3), np.uint8), image[:4, :4], full, full, 5.0) == 0).all()


def test_the_meta_holds_what_was_effective(paths):
    meta = registry.create("methods", "deepprivacy2", {**paths, "psi": 0.25}).meta
    assert meta.arguments["generators"]["body-cse"]["psi"] == 0.25
    assert meta.arguments["generators"]["face"]["truncation"] == "multi-modal"
    assert meta.arguments["generators"]["body"]["precision"] == "float32"
    assert meta.arguments["pending"] == "masked"
    assert {w.sha256 for w in meta.weights} == {digests.sha256(p) for p in paths.values()}
    assert not meta.deterministic
    assert not meta.uses_masked_pixels
    published = {**paths, "truncation": "mean", "psi": 0, "pending": "visible"}
    meta = registry.create("methods", "deepprivacy2", published).meta
    assert meta.deterministic, "everybody gets the mean style"
    assert meta.uses_masked_pixels, "people not yet replaced are seen by the generators of others"
    assert registry.create("methods", "deepprivacy2", {**paths, "mode": "face"}).meta.scope == "face"


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"mode": "bodies"}, "mode is"),
        ({"psi": 7}, "psi must lie"),
        ({"feather": -1}, "feather must lie"),
        ({"batch_size": "abc"}, "batch_size must be a whole number of at least 1, not 'abc'"),
        ({"batch_size": 0}, "batch_size must be a whole number of at least 1, not 0"),
        ({"batch_size": 1.5}, "batch_size must be a whole number of at least 1, not 1.5"),
        ({"psi": "abc"}, "psi must lie in 0..1, not 'abc'"),
        ({"feather": "abc"}, "feather must lie in 0..0.5, not 'abc'"),
        ({"fallback": "blur"}, "fallback is"),
        ({"pending": "maybe"}, "pending is"),
        ({"colour": 1}, "colour"),
    ],
)
def test_wrong_arguments_are_named(paths, given, word):
    with pytest.raises(PluginError, match=word):
        registry.create("methods", "deepprivacy2", {**paths, **given})


def test_weights_for_something_else_are_refused(paths):
    with pytest.raises(Dp2benchError, match="needs one for 'face'"):
        registry.create("methods", "deepprivacy2-face", {"face": paths["person"]})
    with pytest.raises(PluginError, match="takes no argument 'mode'"):
        registry.create("methods", "deepprivacy2-face", {"mode": "body"})


def test_a_file_that_changed_since_it_was_imported_is_refused(paths, tmp_path):
    mine = tmp_path / "mine.safetensors"
    mine.write_bytes(Path(paths["face"]).read_bytes())
    digests.write_record(mine)
    registry.create("methods", "deepprivacy2-face", {"face": mine})
    content = bytearray(mine.read_bytes())
    content[-1] ^= 1
    mine.write_bytes(content)
    with pytest.raises(Dp2benchError, match="has changed"):
        registry.create("methods", "deepprivacy2-face", {"face": mine})


@pytest.mark.parametrize("name", ["deepprivacy2", "deepprivacy2-no-cse", "deepprivacy2-face", "deepprivacy1"])
def test_without_weights_one_clear_message(name, monkeypatch):
    monkeypatch.setattr(generator_weights, "embedded", dict)
    with pytest.raises(Dp2benchError) as error:
        registry.create("methods", name, {})
    assert "dp2bench weights fetch" in error.value.remedy
    assert "dp2bench weights import FILE --as" in error.value.remedy
    with pytest.raises(Dp2benchError, match="not on this machine") as error:
        registry.create("methods", name, {"weights": "official"})
    if name == "deepprivacy2":  # all of them in one message
        assert "weights fetch fdh_styleganL fdh_styleganL_nocse fdf256_stylegan`" in error.value.remedy
        assert "`cse=none` or `person=none` or `face=none`" in error.value.remedy


def test_a_photograph_keeps_everything_but_the_person(paths):
    astronaut = pytest.importorskip("skimage.data", reason="needs scikit-image for its picture").astronaut()
    yy, xx = np.mgrid[:512, :512]
    mask = (((xx - 225) / 60) ** 2 + ((yy - 120) / 85) ** 2 < 1) | (
        (yy > 170) & (abs(xx - 225) < yy * 0.55 - 20)
    )
    face = np.array([[175, 60, 275, 190]], np.float32)
    people = People.of([[20, 30, 500, 512]], masks=mask[None], faces=face)
    body = registry.create("methods", "deepprivacy2", paths).anonymize(astronaut, people, seed=SEED)
    assert body.changed[mask].all()
    around = cv2.dilate(mask.astype(np.uint8), np.ones((61, 61)))
    assert not body.changed[around == 0].any()
    assert np.array_equal(body.image[~body.changed], astronaut[~body.changed])
    only = registry.create("methods", "deepprivacy2-face", {"face": paths["face"]})
    got = only.anonymize(astronaut, people, seed=SEED)
    assert got.changed.sum() == 100 * 130
    assert got.changed[60:190, 175:275].all()
    assert np.abs(got.image[got.changed].astype(int) - astronaut[got.changed]).mean() > 10


@pytest.mark.slow
def test_deepprivacy1_passes_the_conformance_suite(tmp_path, monkeypatch):
    """With fewer channels: its size is fixed, and the full network takes minutes here."""
    monkeypatch.setattr(deep_privacy1, "CHANNELS", {4: 8, 8: 8, 16: 8, 32: 8, 64: 4, 128: 4})
    path = tmp_path / "dp1.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        told = {"network": "deep_privacy1", "face_crop": "fdf128", "licence": "none"}
        files.save(build("deep_privacy1"), path, told)

    def make():
        return registry.create("methods", "deepprivacy1", {"weights": path})

    assert make().meta.arguments["generators"]["face-keypoints"]["truncation"] == "none"
    assert make().inpainter.traits.face_crop == "fdf128"
    outcomes = list(conformance.run(make))
    assert {o.status for o in outcomes} == {"pass"}, [o for o in outcomes if o.status != "pass"]
    image, people = conformance.Examples().street(0)
    blind = People.of(people.boxes, masks=people.masks, faces=people.faces)
    got = make().anonymize(image, blind, seed=SEED)
    assert [m.person for m in got.missed] == [0]
    x0, y0, x1, y1 = people.faces[1].astype(int)
    assert (got.image[y0:y1, x0:x1] == cutting.GREY).all(), "without keypoints a face is painted"
    found = People.of(people.boxes[::-1], keypoints=people.keypoints[::-1])
    brought = assign_keypoints(replace(people, keypoints=None), found)
    assert np.array_equal(brought.keypoints, people.keypoints), (
        "by their boxes, and the lone face by nose and eyes"
    )
    guided = make().anonymize(image, brought, seed=SEED)
    assert not (guided.image[y0:y1, x0:x1] == cutting.GREY).all()
    assert np.array_equal(guided.image, make().anonymize(image, people, seed=SEED).image)
