"""Batches across pictures: whole ones, in any picture's own order, and a failure stays with its picture."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dp2bench.core import registry
from dp2bench.core.contracts import FillRequest, Inpainter, MethodMeta
from dp2bench.core.seeds import Seed
from dp2bench.core.types import Anonymized, CropBatch, People
from dp2bench.inpainting.anonymizer import InpaintingAnonymizer
from dp2bench.inpainting.filling import IN_FLIGHT, Pending, fill_alone, fill_together, requests_of


class Adds(Inpainter):
    """Adds its seed to each crop; remembers how many crops it got at once."""

    def __init__(self, batch=1):
        self.meta, self.crop_size, self.batch, self.calls = MethodMeta("adds"), (2, 2), batch, []

    def preferred_batch(self):
        return self.batch

    def inpaint(self, crops, *, seeds):
        self.calls.append(len(crops))
        if (crops.images == 99).any():
            raise RuntimeError("99")
        return crops.images + np.array(seeds, np.uint8)[:, None, None, None]


def crops(values):
    images = np.stack([np.full((2, 2, 3), v, np.uint8) for v in values])
    return CropBatch(images, np.ones((len(images), 2, 2), bool), np.zeros((len(images), 2, 2), bool))


def picture(inpainters, rounds, start=0):
    """A picture of several rounds of crops; each round's values are those that the one before came back with."""
    values, seen = [start], []
    for k, n in enumerate(rounds):
        filled = yield FillRequest(
            inpainters[k % len(inpainters)], crops((values * n)[:n]), [Seed(k + 1)] * n
        )
        values = filled[:, 0, 0, 0].tolist()
        seen.append(values)
    return Anonymized(np.array(seen, object), np.zeros((1, 1), bool))


def together(pictures, size=1):
    return list(fill_together(Pending(i, p, size) for i, p in enumerate(pictures)))


def test_single_people_fill_whole_batches():
    adds = Adds(8)
    done = together(picture([adds], [1], start) for start in range(20))
    assert [i for i, _ in done] == list(range(20))
    assert [d.image.tolist() for _, d in done] == [[[start + 1]] for start in range(20)]
    assert adds.calls == [8, 8, 4]


def test_who_gains_nothing_from_a_batch_gets_what_it_always_got():
    adds = Adds(1)
    rounds = [[3, 2], [1], [16, 1]]
    together(picture([adds], r) for r in rounds)
    assert adds.calls == [n for r in rounds for n in r]


@settings(max_examples=60, deadline=None)
@given(
    rounds=st.lists(st.lists(st.integers(1, 11), max_size=4), max_size=12),
    batches=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    size=st.sampled_from([1, IN_FLIGHT // 3, IN_FLIGHT]),
)
def test_as_alone_whatever_waits_beside(rounds, batches, size):
    alone = [fill_alone(picture([Adds(), Adds()], r, i)).image.tolist() for i, r in enumerate(rounds)]
    inpainters = [Adds(b) for b in batches]
    done = together((picture(inpainters, r, i) for i, r in enumerate(rounds)), size)
    assert [i for i, _ in done] == list(range(len(rounds)))
    assert [d.image.tolist() for _, d in done] == alone


def test_a_failure_stays_with_its_picture():
    adds = Adds(4)
    done = together(picture([adds], [2, 1], 98 if i == 3 else i) for i in range(9))
    assert isinstance(done[3][1], RuntimeError)
    assert [d.image.tolist() for i, d in done if i != 3] == [
        [[i + 1] * 2, [i + 3]] for i in range(9) if i != 3
    ]


def test_what_is_raised_before_the_first_crop_is_an_outcome_too():
    class Broken:
        meta = MethodMeta("broken")

        def anonymize(self, image, people, *, seed):
            raise KeyError("nose")

    (_, error), (_, fine) = together([requests_of(Broken(), None, None, Seed(0)), picture([Adds()], [1])])
    assert isinstance(error, KeyError)
    assert fine.image.tolist() == [[1]]


def test_few_pictures_are_begun_before_they_are_needed():
    begun, adds = [], Adds(4)

    def source():
        for i in range(40):
            begun.append(i)
            yield Pending(i, picture([adds], [1]), 1)

    for i, _ in fill_together(source()):
        assert len(begun) <= i + 9
    begun.clear()
    large = (Pending(i, picture([adds], [1]), IN_FLIGHT) for i in range(3))
    assert [i for i, _ in fill_together(large)] == [0, 1, 2]
    assert adds.calls[-3:] == [1, 1, 1], "pictures that are too large to wait do not"


def test_joined_crops_know_what_each_knew():
    one, two = crops([1, 2]), crops([3])
    surfaces = np.zeros((1, 2, 2), np.int32)
    two = CropBatch(two.images, two.masks, two.outside, surfaces, ("smpl",))
    both = CropBatch.join([(one, 1), (two, 0)])
    assert both.images[:, 0, 0, 0].tolist() == [2, 3]
    assert both.surfaces is not None
    assert (both.surfaces[0] == -1).all()
    assert (both.surfaces[1] == 0).all()
    assert both.templates == (None, "smpl")
    keyed = CropBatch(two.images, two.masks, two.outside, keypoints=np.zeros((1, 17, 3), np.float32))
    with pytest.raises(ValueError, match="keypoints"):
        CropBatch.join([(one, 0), (keyed, 0)])


class Batched(InpaintingAnonymizer):
    def __init__(self):
        super().__init__(registry.create("methods", "blur", {}).inpainter)


class ItsOwn(Batched):
    """Overrides `anonymize` alone."""

    def anonymize(self, image, people, *, seed):
        made = super().anonymize(image, people, seed=seed)
        return Anonymized(255 - made.image, made.changed, made.missed)


class FurtherBatched(ItsOwn):
    """Asks for fills again, below a class that did not."""

    def fill_requests(self, image, people, *, seed):
        made = yield from super().fill_requests(image, people, seed=seed)
        return Anonymized(made.image // 2, made.changed, made.missed)


@pytest.mark.parametrize("method", [Batched(), ItsOwn(), FurtherBatched()])
def test_what_a_method_defines_last_is_what_is_done(method):
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    mask = np.zeros((1, 64, 64), bool)
    mask[0, 8:60, 8:50] = True
    people = People.of([[8, 8, 50, 60]], masks=mask)
    plain = Batched().anonymize(image, people, seed=Seed(0)).image
    expected = {Batched: plain, ItsOwn: 255 - plain, FurtherBatched: plain // 2}[type(method)]
    (_, outcome), *_ = together([requests_of(method, image, people, Seed(0))])
    assert np.array_equal(outcome.image, expected)


@pytest.mark.parametrize("wrong", [None, np.zeros((2, 2, 3), np.uint8)])
def test_a_method_that_returns_something_else_is_an_error_of_its_picture(wrong):
    def returns():
        return wrong
        yield

    (_, bad), (_, good) = together([returns(), picture([Adds()], [1])])
    assert isinstance(bad, TypeError)
    assert type(wrong).__name__ in str(bad)
    assert isinstance(good, Anonymized)
