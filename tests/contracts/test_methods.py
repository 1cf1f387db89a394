"""What every registered method must fulfil."""

from importlib.metadata import entry_points

import numpy as np
import pytest

from dp2bench.core.contracts import Anonymizer
from dp2bench.core.seeds import Seed
from dp2bench.core.types import People

METHODS = {e.name: e for e in entry_points(group="dp2bench.methods")}
SEED = Seed(11)


def picture(seed, size=(160, 200), n=4):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (*size, 3), np.uint8)
    masks = np.zeros((n, *size), bool)
    boxes, faces = [], np.full((n, 4), np.nan, np.float32)
    yy, xx = np.mgrid[: size[0], : size[1]]
    for i in range(n):
        cx, cy, rx, ry = (
            rng.integers(20, size[1] - 20),
            rng.integers(30, 100),
            rng.integers(9, 25),
            rng.integers(25, 55),
        )
        masks[i] = ((xx - cx) / rx) ** 2 + ((yy - cy) / ry) ** 2 < 1
        boxes.append([cx - rx, cy - ry, cx + rx, cy + ry])
        if i:
            faces[i] = cx - 6, max(0, cy - ry), cx + 6, max(0, cy - ry) + 15
    return image, People.of(boxes, masks=masks, faces=faces, track_ids=np.arange(n))


@pytest.fixture(params=sorted(METHODS))
def name(request):
    return request.param


@pytest.fixture
def method(name):
    return METHODS[name].load()()


def test_meta(name, method):
    assert isinstance(method, Anonymizer)
    assert method.meta.name == name
    assert method.meta.description.endswith(".")
    assert "\n" not in method.meta.description
    assert method.meta.scope in {"none", "face", "body", "picture"}


def test_shape_and_untouched_surroundings(method):
    image, people = picture(0)
    before, masks = image.copy(), people.masks.copy()
    got = method.anonymize(image, people, seed=SEED)
    assert got.image.shape == image.shape
    assert got.image.dtype == np.uint8
    assert got.changed.shape == image.shape[:2]
    assert got.changed.dtype == np.bool_
    assert np.array_equal(got.image[~got.changed], before[~got.changed])
    assert np.array_equal(image, before)
    assert np.array_equal(people.masks, masks)
    assert not np.shares_memory(got.image, image)


def test_same_arguments_same_output(method):
    image, people = picture(1)
    first = method.anonymize(image, people, seed=SEED)
    method.anonymize(*picture(2, (90, 77), 2), seed=Seed(3))
    again = method.anonymize(image, people, seed=SEED)
    assert np.array_equal(first.image, again.image)
    if method.meta.deterministic:
        assert np.array_equal(first.image, method.anonymize(image, people, seed=Seed(99)).image)


def test_order_of_pictures_does_not_matter(name):
    pictures = [picture(s) for s in range(3)]
    one, two = METHODS[name].load()(), METHODS[name].load()()
    forward = [one.anonymize(*p, seed=SEED).image for p in pictures]
    backward = [two.anonymize(*p, seed=SEED).image for p in reversed(pictures)][::-1]
    assert all(np.array_equal(a, b) for a, b in zip(forward, backward, strict=True))


def test_everybody_is_changed_or_missed(method):
    image, people = picture(4)
    got = method.anonymize(image, people, seed=SEED)
    missed = [m.person for m in got.missed]
    assert len(set(missed)) == len(missed)
    assert set(missed) <= set(range(len(people)))
    assert all(m.reason for m in got.missed)
    for i in set(range(len(people))) - set(missed):
        if method.meta.scope == "face":
            x0, y0, x1, y1 = people.faces[i].astype(int)
            assert got.changed[y0:y1, x0:x1].all()
        else:
            assert got.changed[people.masks[i]].all()
    if method.meta.scope == "none":
        assert len(missed) == len(people)
    elif method.meta.scope == "face":
        assert missed == [0]
    else:
        assert missed == []


def test_holes_are_not_seen_unless_declared(method):
    if method.meta.sees_hole:
        pytest.skip("declares that it sees what it replaces")
    image, people = picture(5)
    got = method.anonymize(image, people, seed=SEED)
    other = image.copy()
    other[got.changed] = 255 - other[got.changed]
    assert np.array_equal(got.image, method.anonymize(other, people, seed=SEED).image)


def test_nobody(method):
    image, _ = picture(6)
    got = method.anonymize(image, People.none(), seed=SEED)
    if method.meta.scope != "picture":
        assert np.array_equal(got.image, image)
        assert not got.changed.any()
    assert got.missed == ()


def test_read_only_and_non_contiguous_pictures(method):
    image, people = picture(7)
    plain = method.anonymize(image, people, seed=SEED).image
    view = np.asfortranarray(image)
    view.flags.writeable = False
    assert np.array_equal(plain, method.anonymize(view, people, seed=SEED).image)
