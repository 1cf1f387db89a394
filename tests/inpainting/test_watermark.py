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
    assert max(f.score for f in found) < watermark.THRESHOLD


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
