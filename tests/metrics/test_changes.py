"""Coverage is measured: who is still there is seen whatever a method says."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp2bench.core.types import People
from dp2bench.metrics.changes import changed_pixels, unchanged_people, unchanged_reason

sys.path.insert(0, str(Path(__file__).parents[1] / "attacks"))
from world import draw

# as soft as a camera's pictures: noise of single pixels is what an encoder drops first
PEOPLE = [(cv2.GaussianBlur(d[0], (0, 0), 0.8), d[1]) for d in (draw(p, p % 4, 0) for p in range(12))]


def _jpeg(picture, quality):
    return cv2.imdecode(
        cv2.imencode(
            ".jpg",
            picture,
            [
                cv2.IMWRITE_JPEG_QUALITY,
                quality,
                cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
                cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
            ],
        )[1],
        1,
    )


def _grey(picture, mask):
    out = picture.copy()
    out[mask] = 127
    return out


def _noise(picture, mask):
    out = picture.copy()
    out[mask] = np.random.default_rng(0).integers(0, 256, (int(mask.sum()), 3))
    return out


def _other(picture, mask):
    return draw(99, 1, 0)[0]


UNCHANGED = {
    "the original": lambda p, m: p.copy(),
    "re-encoded": lambda p, m: _jpeg(p, 60),
    "brighter": lambda p, m: np.clip(p.astype(int) + 40, 0, 255).astype(np.uint8),
    "brighter and re-encoded": lambda p, m: _jpeg(np.clip(p.astype(int) + 40, 0, 255).astype(np.uint8), 80),
    "darker": lambda p, m: (p * 0.6).astype(np.uint8),
    "the negative": lambda p, m: 255 - p,
    "channels exchanged": lambda p, m: p[..., ::-1].copy(),
    "a tint": lambda p, m: np.clip(p * [1.2, 1.0, 0.7] + [0, 20, 0], 0, 255).astype(np.uint8),
    "a mask six pixels too small": lambda p, m: _grey(
        p, cv2.erode(m.astype(np.uint8), np.ones((13, 13))) > 0
    ),
}
CHANGED = {"grey": _grey, "noise": _noise, "somebody else": _other}


@pytest.mark.parametrize("way", UNCHANGED)
def test_who_looks_as_before_is_seen(way):
    for picture, mask in PEOPLE:
        assert unchanged_reason(picture, UNCHANGED[way](picture, mask), mask), way


@pytest.mark.parametrize("way", CHANGED)
def test_who_was_replaced_is_not_accused(way):
    for picture, mask in PEOPLE:
        assert not unchanged_reason(picture, CHANGED[way](picture, mask), mask)


@given(
    st.tuples(*[st.floats(0.5, 1.3)] * 3),
    st.tuples(*[st.floats(-20, 20)] * 3),
    st.integers(0, len(PEOPLE) - 1),
)
def test_no_affine_map_of_colours_hides_anybody(gain, offset, person):
    picture, mask = PEOPLE[person]
    mapped = np.clip(picture * np.array(gain) + np.array(offset), 0, 255).astype(np.uint8)
    assert unchanged_reason(picture, mapped, mask)


def test_people_by_mask_box_and_face():
    (left, mask), (right, other) = PEOPLE[0], PEOPLE[1]
    before = np.concatenate([left, right], 1)
    empty = np.zeros_like(mask)
    masks = np.stack([np.concatenate([mask, empty], 1), np.concatenate([empty, other], 1)])
    boxes = np.array([[10, 5, 54, 125], [74, 5, 118, 125]], np.float32)
    after = _grey(before, masks[0])
    people = People.of(boxes, masks=masks)
    assert [m.person for m in unchanged_people(before, after, people)] == [1]
    assert [m.person for m in unchanged_people(before, before, people)] == [0, 1]
    faces = np.array([[25, 5, 39, 25], [np.nan] * 4], np.float32)
    assert [
        m.person for m in unchanged_people(before, before, People.of(boxes, faces=faces), faces=True)
    ] == [0]
    grey = np.full_like(before, 127)
    assert unchanged_people(before, grey, People.of(boxes, faces=faces), faces=True) == []


def test_the_replaced_region_is_found_through_jpeg():
    for picture, mask in PEOPLE:
        region = changed_pixels(picture, _jpeg(_grey(picture, mask), 95))
        assert (region & mask).sum() / (region | mask).sum() > 0.8
        assert not changed_pixels(picture, picture).any()
