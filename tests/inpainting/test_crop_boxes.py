import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp2bench.inpainting.crop_boxes import body_crop_box, face_crop_box, keeps

GEOMETRY = Path(__file__).parents[3] / "shared" / "parity" / "geometry.json"

BODY = [
    ((322, 248), (75, 129, 110, 249), 1233, (58, 126, 128, 252), True),
    ((286, 719), (291, 223, 301, 237), 68, (291, 221, 302, 240), False),
    ((259, 250), (4, 183, 237, 220), 2027, (0, -15, 242, 420), True),
    ((756, 386), (104, 123, 196, 569), 37489, (21, 113, 279, 579), True),
    ((437, 712), (9, 157, 422, 395), 93121, (0, -123, 444, 676), True),
]
FACE = [
    ((858, 592), (477, 778, 534, 835), (466, 767, 544, 845), (458, 759, 553, 854)),
    ((621, 713), (242, 242, 309, 326), (217, 226, 333, 342), (205, 213, 347, 355)),
]


@pytest.mark.parametrize(("size", "box", "pixels", "expected", "included"), BODY)
def test_body_golden(size, box, pixels, expected, included):
    got = body_crop_box(box, size, pixels)
    assert tuple(got) == expected
    assert keeps(got) is included


@pytest.mark.parametrize(("size", "box", "fdf256", "fdf128"), FACE)
def test_face_golden(size, box, fdf256, fdf128):
    assert tuple(face_crop_box(box, size)) == fdf256
    assert tuple(face_crop_box(box, size, "fdf128")) == fdf128


def test_parity_with_the_published_code():
    if not GEOMETRY.exists():
        pytest.skip(f"no parity vectors at {GEOMETRY}")
    geometry = json.loads(GEOMETRY.read_text())
    assert len(geometry["body"]) >= 60
    assert len(geometry["face"]) >= 60
    for case in geometry["body"]:
        got = body_crop_box(case["box"], case["image"], case["mask_pixels"])
        assert got.tolist() == case["expanded"], case
        assert keeps(got) is case["included"], case
    for case in geometry["face"]:
        for kind in ("fdf256", "fdf128"):
            assert face_crop_box(case["box"], case["image"], kind).tolist() == case[kind], case


@given(st.data())
def test_body_crop_contains_the_person_and_enough_background(data):
    h, w = data.draw(st.integers(1, 400)), data.draw(st.integers(1, 400))
    x0, y0 = data.draw(st.integers(0, w - 1)), data.draw(st.integers(0, h - 1))
    x1, y1 = data.draw(st.integers(x0 + 1, w)), data.draw(st.integers(y0 + 1, h))
    pixels = data.draw(st.integers(1, (x1 - x0) * (y1 - y0)))
    cx0, cy0, cx1, cy1 = body_crop_box((x0, y0, x1, y1), (h, w), pixels)
    assert cx0 <= x0
    assert cy0 <= y0
    assert cx1 >= x1
    assert cy1 >= y1
    assert pixels <= 0.7001 * (cx1 - cx0) * (cy1 - cy0) + 1


def test_face_larger_than_the_picture_is_cropped_about_its_centre():
    assert tuple(face_crop_box((0, 0, 100, 40), (40, 100), "fdf128")) == (-35, -65, 135, 105)
