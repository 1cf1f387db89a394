"""What an inpainter declares reaches the anonymizer around it: each trait changes what it is handed or how it is pasted."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest

from dp2bench.core.contracts import CropAnonymizer, Inpainter, InpainterTraits, MethodMeta
from dp2bench.core.profiling import profiling, span
from dp2bench.core.seeds import Seed
from dp2bench.core.types import People, SurfaceMap
from dp2bench.inpainting import crops, stitching
from dp2bench.inpainting.anonymizer import InpaintingAnonymizer

SEED = Seed(3)


class Noise(Inpainter):
    """Fills with noise; keeps what it was handed."""

    crop_size = (72, 40)

    def __init__(self, scope="body", **traits):
        self.meta = MethodMeta("noise", scope=scope, uses_masked_pixels=False)
        self.traits = InpainterTraits(**traits)
        self.handed = []

    def inpaint(self, crops, *, seeds):
        self.handed.append(crops)
        return np.stack(
            [
                np.random.default_rng(s).integers(0, 256, c.shape, np.uint8)
                for c, s in zip(crops.images, seeds, strict=True)
            ]
        )


@pytest.fixture
def street():
    image = np.random.default_rng(0).integers(0, 256, (300, 200, 3), np.uint8)
    box = [40, 20, 160, 280]
    surface = SurfaceMap("t", np.array(box, np.int32), np.full((260, 120), 5, np.int32))
    people = People.of(
        [box],
        surfaces=[surface],
        keypoints=np.full((1, 17, 3), 90, np.float32),
        faces=np.array([[80, 30, 110, 70]], np.float32),
    )
    return image, people


def test_a_crop_without_detail_is_resized_bilinearly(street, monkeypatch):
    resized = []
    original = crops.halve_then_bilinear
    for module in (crops, stitching):
        monkeypatch.setattr(module, "halve_then_bilinear", lambda *a: resized.append(1) or original(*a))
    InpaintingAnonymizer(Noise()).anonymize(*street, seed=SEED)
    assert not resized
    InpaintingAnonymizer(Noise(low_frequency=True)).anonymize(*street, seed=SEED)
    assert len(resized) == 2  # down to the crop and back


def test_conditions_are_sampled_for_who_uses_them(street):
    with_them, without = Noise(), Noise(uses_conditions=False)
    for one in (with_them, without):
        InpaintingAnonymizer(one).anonymize(*street, seed=SEED)
    assert with_them.handed[0].surfaces.max() == 5
    assert with_them.handed[0].keypoints is not None
    assert without.handed[0].surfaces is None
    assert without.handed[0].keypoints is None


def test_a_linear_operator_fills_enlarged_crops_without_making_them(street):
    image, people = street
    one = Noise(linear_operator=lambda length: np.zeros((length, length), np.float32))
    small = People.of([[90, 100, 110, 150]])
    got = InpaintingAnonymizer(one).anonymize(image, small, seed=SEED)
    assert one.handed == []
    assert got.changed.any()
    assert (got.image[got.changed] == 0).all()
    InpaintingAnonymizer(one).anonymize(image, people, seed=SEED)
    assert len(one.handed) == 1  # its crop is smaller than the person


def test_the_crop_around_a_face_is_the_one_it_was_made_for(street):
    def handed(own, **given):
        one = Noise("face", face_crop=own)
        InpaintingAnonymizer(one, **given).anonymize(*street, seed=SEED)
        return one.handed[0].images

    assert np.array_equal(handed(None), handed("fdf256"))
    assert np.array_equal(handed(None, face_crop="fdf128"), handed("fdf128"))
    assert np.array_equal(handed("fdf256", face_crop="fdf128"), handed("fdf256"))
    assert not np.array_equal(handed("fdf128"), handed("fdf256"))


def test_what_is_no_inpainter_is_refused_by_name():
    class Bare:
        meta = MethodMeta("bare")
        crop_size = (72, 40)

        def inpaint(self, crops, *, seeds):
            return crops.images

    with pytest.raises(TypeError, match="Bare is no inpainter.*Inpainter"):
        InpaintingAnonymizer(Bare())


def test_crops_are_those_that_are_inpainted(street):
    image, _ = street
    people = People.of([[20, 20, 100, 200], [60, 40, 140, 260], [120, 10, 190, 120]])
    method = InpaintingAnonymizer(Noise())
    assert isinstance(method, CropAnonymizer)
    listed = list(method.crops(image, people, seed=SEED))
    method.inpainter.handed.clear()
    method.anonymize(image, people, seed=SEED)
    handed = [batch.row(i) for batch in method.inpainter.handed for i in range(len(batch))]
    assert len(listed) == len(handed) == 3
    for (inpainter, crop), other in zip(listed, handed, strict=True):
        assert inpainter is method.inpainter
        assert np.array_equal(crop.images, other.images)
        assert np.array_equal(crop.masks, other.masks)


class Spans:
    """Counts spans; fails where two overlap."""

    def __init__(self):
        self.seen, self.open = [], False

    @contextmanager
    def span(self, name):
        assert not self.open
        self.open = True
        yield
        self.open = False
        self.seen.append(name)


def test_a_profiler_is_told_the_stages_while_it_listens(street):
    method, spans = InpaintingAnonymizer(Noise()), Spans()
    quiet = method.anonymize(*street, seed=SEED)
    with profiling(spans):
        told = method.anonymize(*street, seed=SEED)
    method.anonymize(*street, seed=SEED)
    assert spans.seen == ["crop", "inpaint", "stitch"]
    assert np.array_equal(quiet.image, told.image)


def test_a_profiler_ends_with_its_block_even_after_an_error():
    spans = Spans()
    with pytest.raises(ZeroDivisionError), profiling(spans):
        raise ZeroDivisionError
    with span("crop"):
        pass
    assert spans.seen == []
