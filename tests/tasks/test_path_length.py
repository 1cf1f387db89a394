"""Perceptual path length of small generators with random weights: what it does not depend on, and who has none."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dp2bench.core import registry
from dp2bench.core.contracts import Inpainter, MethodMeta, RunContext, StyleSpace
from dp2bench.core.errors import DatasetError
from dp2bench.core.images import write_image
from dp2bench.core.seeds import derive_seed, generator
from dp2bench.core.types import People
from dp2bench.datasets.folder import Folder
from dp2bench.inpainting.anonymizer import InpaintingAnonymizer
from dp2bench.tasks import path_length
from dp2bench.tasks.image_quality import ImageQuality


class Squared:
    """Mean squared difference in the place of a perceptual network."""

    def distances(self, near, far):
        assert near.shape == far.shape == (1, 72, 40, 3)
        return ((near - far).astype(np.float64) ** 2).mean((1, 2, 3))


@pytest.fixture
def folder(tmp_path):
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    for i in range(6):
        write_image(tmp_path / "p" / f"{i}.png", rng.integers(0, 256, (160, 160, 3), np.uint8))
    return Folder(tmp_path / "p")


@pytest.fixture
def told(tmp_path, random_generators):
    def of(name="deepprivacy2-no-cse", people=2, **arguments):
        if name.startswith("deepprivacy2"):
            arguments = {"person": str(random_generators["body"]), "face": "none"} | arguments
        masks = np.zeros((people, 160, 160), bool)
        boxes = [[10 + 75 * i, 20, 60 + 75 * i, 140] for i in range(people)]
        for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
            mask[y0:y1, x0:x1] = True
        found = {f"{i}.png": People.of(boxes, masks=masks) for i in range(6)}
        return RunContext(
            seed=0,
            trained={},
            artefacts=tmp_path,
            people={"all": found},
            method=lambda: registry.create("methods", name, arguments),
        )

    return of


def lengths(folder, context, paths=12):
    path_length.record_path_lengths(folder, "all", paths, [("length", Squared())], context)
    return context.scores


def test_the_step_and_truncation_do_not_matter(folder, told, monkeypatch):
    context = told()
    (score,) = lengths(folder, context)
    assert score.value > 0
    assert score.n == 12
    assert len(set(context.units["crops.length"].values())) == 12
    assert np.mean(list(context.units["crops.length"].values())) == pytest.approx(score.value)
    same = lengths(folder, told(truncation="mean", psi=0.0))
    assert same[0].value == score.value
    monkeypatch.setattr(path_length, "EPSILON", 1e-3)
    (other,) = lengths(folder, told())
    assert other.value == pytest.approx(score.value, rel=0.05)


class Ramp(StyleSpace):
    """Styles of two numbers; a picture is grey of 100 times their sum, so that a path's length is known."""

    def styles(self, seeds):
        return np.stack([generator(s).random(2, np.float32) for s in seeds])

    def render(self, crops, styles):
        assert len(crops) == len(styles)
        return np.broadcast_to(
            100 * styles.astype(np.float64).sum(1)[:, None, None, None], crops.images.shape
        )


class ThirdPartys(Inpainter):
    meta = MethodMeta("third-party", deterministic=False, uses_masked_pixels=False)
    crop_size = (72, 40)
    style_space = Ramp()

    def inpaint(self, crops, *, seeds):
        return np.zeros_like(crops.images)


def test_a_third_partys_generator_has_one(folder, told):
    context = told()
    context.method = lambda: InpaintingAnonymizer(ThirdPartys())
    (score,) = lengths(folder, context)
    space, expected = Ramp(), []
    (lengths_of,) = context.units.values()
    for name in lengths_of:
        seed = derive_seed(0, "path", name)
        start, end = (space.styles([derive_seed(seed, which)])[0].sum() for which in ("from", "to"))
        expected.append((100 * (end - start)) ** 2)
    assert list(lengths_of.values()) == pytest.approx(expected, rel=0.01)
    assert score.n == 12


def test_a_picture_that_does_not_change_has_no_length(folder, told):
    method = told().method()
    for parameter in method.inpainter.style_space._network().style_net.parameters():
        parameter.data.zero_()
    context = told()
    context.method = lambda: method
    assert lengths(folder, context)[0].value == 0


def test_only_generators_with_styles_have_one(folder, told):
    assert lengths(folder, told("blur")) == []
    assert lengths(folder, told("identity")) == []
    with pytest.raises(DatasetError, match="fills nobody"):
        lengths(folder, told(people=0))


def test_the_task_names_it_after_its_network(folder, told):
    context = told()
    scores = ImageQuality(size=32, regions=["pictures"], paths=8, limit=8)
    with pytest.raises(DatasetError, match="fewer than 8"):  # six pictures
        scores.run(folder, folder, context)
    context = told()
    ImageQuality(size=32, regions=["crops"], paths=8).run(folder, folder, context)
    names = [s.name for s in context.scores]
    assert names[-1] == "crops.path_length_efficientnet"
    assert "crops.ppl" not in names


def test_as_published_it_starts_at_the_beginning_and_sees_small_whole_pictures(folder, told, monkeypatch):
    seen = []

    class Sees:
        def distances(self, near, far):
            seen.append(near)
            assert near.shape == far.shape == (1, 64, 64, 3)
            return np.ones(1)

    places = []
    lerp = torch.lerp
    monkeypatch.setattr(torch, "lerp", lambda a, b, at: places.append(at) or lerp(a, b, at))
    context = told()
    path_length.record_path_lengths(folder, "all", 8, [("ppl_published", Sees())], context, published=True)
    assert set(places) == {0.0, path_length.EPSILON}
    assert context.scores[0].value == pytest.approx(1 / path_length.EPSILON**2)
    whole = path_length._as_published(np.full((1, 128, 128, 3), 17.9, np.float32))
    assert (whole == 17).all()


def test_published_pictures_are_those_that_torch_fidelity_compares():
    """Bytes, normalised and shrunk by its own code: a crop of FDH, whose rows and columns shrink by 4.5 and 2.5."""
    import cv2
    from torch_fidelity.sample_similarity_lpips import SampleSimilarityLPIPS as Theirs

    noise = np.random.default_rng(0).uniform(-20, 275, (1, 288, 160, 3)).astype(np.float32)
    given = torch.from_numpy(noise.clip(0, 255).astype(np.uint8)).permute(0, 3, 1, 2)
    theirs = Theirs.resize(Theirs.normalize(given), path_length.PUBLISHED_SIDE)

    def normalised(picture):
        return Theirs.normalize(torch.from_numpy(picture).permute(0, 3, 1, 2))

    ours = normalised(path_length._as_published(noise))
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    area = cv2.resize(
        noise[0].clip(0, 255).astype(np.uint8).astype(np.float32), (64, 64), interpolation=cv2.INTER_AREA
    )
    assert (normalised(area[None]) - theirs).abs().max() > 0.1  # OpenCV's is another
