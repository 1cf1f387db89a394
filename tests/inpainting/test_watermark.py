"""The watermark: found with its key after what happens to pictures, with no other key, and hardly seen."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from dp2bench.core import registry
from dp2bench.core.errors import Dp2benchError
from dp2bench.core.types import People
from dp2bench.inpainting import watermark

KEY = "a key of ours"
PERSON = (slice(60, 512), slice(110, 370))


@pytest.fixture(scope="module")
def marked():
    image = astronaut()
    where = np.zeros(image.shape[:2], bool)
    where[PERSON] = True
    return image, where, watermark.embed(image, where, KEY)


def as_jpeg(image, quality):
    done, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    return np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])


CHANGES = {
    "nothing": lambda x: x,
    "jpeg": lambda x: as_jpeg(x, 75),
    "half": lambda x: cv2.resize(x, (x.shape[1] // 2, x.shape[0] // 2), interpolation=cv2.INTER_AREA),
    "crop": lambda x: np.ascontiguousarray(x[67:451, 61:445]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_mark_is_found_after(marked, change):
    changed = CHANGES[change](marked[2])
    scales = (1.0, 0.5)
    ours, other = watermark.find_among(changed, [KEY, "another key"], scales=scales)
    assert ours.found
    assert ours.scale == (0.5 if change == "half" else 1.0)
    assert not other.found


@pytest.mark.slow
def test_an_unmarked_picture_has_no_mark(marked):
    found = watermark.find_among(marked[0], [f"key number {i}" for i in range(50)], scales=(1.0, 0.5))
    assert min(f.false_alarm for f in found) > watermark.FALSE_ALARM


def test_a_match_without_the_mark_is_bounded_as_the_false_alarms_say():
    # The bound takes a match at one shift to be spread as a normal number of deviation 1, whatever the picture shows.
    rows, columns = np.mgrid[:128, :128]
    picture = (np.sin(rows / 2) + np.sin(columns / 3) + (rows > columns)).astype(np.float32)
    window = watermark._limited(watermark._spectrum(picture)[None])
    square = np.square(np.abs(window)).sum()
    scores = []
    for i in range(300):
        product = window * watermark._phases(watermark.tile(f"key number {i}")).conj()
        assert np.isclose(np.square(np.abs(product)).sum(), square, rtol=1e-4)
        scores.append(float(watermark._matches(product)[0]))
    # The best of all shifts; fewer than TILE ** 2 of them are independent.
    assert 2.5 < np.median(scores) < np.sqrt(2 * np.log(watermark.TILE**2))
    assert max(scores) < np.sqrt(2 * np.log(watermark.TILE**2 * 300 / 0.01))


def test_the_bound_grows_with_the_looks(marked):
    one = watermark.find(marked[0], KEY, scales=(1.0,))
    several = watermark.find(marked[0], KEY, scales=(1.0, 0.5))
    assert several.score >= one.score
    assert several.false_alarm <= 1
    assert watermark.find(marked[2], KEY, scales=(1.0,)).false_alarm < 1e-9
    assert not watermark.find(np.zeros((20, 20, 3), np.uint8), KEY).found


def test_only_what_was_replaced_is_marked_and_hardly(marked):
    image, where, done = marked
    assert np.array_equal(done[~where], image[~where])
    difference = done[where].astype(float) - image[where]
    assert 10 * np.log10(255**2 / np.square(difference).mean()) > 34
    assert np.array_equal(watermark.embed(image, np.zeros_like(where), KEY), image)


def test_tiles_differ_by_key_alone():
    assert np.array_equal(watermark.tile(KEY), watermark.tile(KEY))
    assert abs(np.corrcoef(watermark.tile(KEY).ravel(), watermark.tile("another key").ravel())[0, 1]) < 0.2
    with pytest.raises(Dp2benchError, match="characters"):
        watermark.tile("short")


def test_a_method_marks_what_it_replaces():
    image = astronaut()
    people = People.of([[110, 60, 370, 512]])
    plain = registry.create("methods", "pixelate-8", {})
    one = watermark.Watermarked(plain, KEY)
    assert KEY not in repr(one.meta)
    before, after = (m.anonymize(image, people, seed=1) for m in (plain, one))
    assert np.array_equal(before.changed, after.changed)
    assert np.array_equal(before.image[~before.changed], after.image[~before.changed])
    assert watermark.find(after.image, KEY, scales=(1.0,)).found
