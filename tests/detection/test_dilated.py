"""Larger masks: they hold the smaller ones, reach as far as asked, and nobody else's pixels are needed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dp2bench.core import registry
from dp2bench.core.errors import PluginError
from dp2bench.core.types import Category, People
from dp2bench.detection.dilated import dilated_people


def somebody(x0=20, y0=10, x1=36, y1=74, size=(96, 64)):
    mask = np.zeros((1, *size), bool)
    mask[0, y0:y1, x0:x1] = True
    return People.of([[x0, y0, x1, y1]], masks=mask)


def test_masks_reach_as_far_as_asked():
    people = somebody()
    reach = 4  # an eighth of sqrt(16 * 64)
    larger = dilated_people(people, 1 / 8)
    row = np.flatnonzero(larger.masks[0, 40])
    assert (row[0], row[-1]) == (20 - reach, 35 + reach)
    assert larger.boxes[0].tolist() == [16, 6, 40, 78]
    assert dilated_people(people, 0.0).masks.sum() == people.masks.sum()


def test_boxes_are_whole_within_the_picture():
    mask = np.zeros((1, 40, 30), bool)
    mask[0, 10:20, 5] = True
    people = People.of([[-3.5, 4.2, 12.6, 60]], masks=mask)
    whole = dilated_people(people, "box").masks[0]
    assert whole[4:, :13].all()
    assert whole.sum() == 36 * 13


def test_faces_and_people_without_masks_stay():
    people = somebody()
    face = People.of([[1, 1, 9, 9]], categories=[Category.FACE], masks=np.ones((1, 96, 64), bool))
    assert np.array_equal(dilated_people(face, 0.5).masks, face.masks)
    boxes = People.of(people.boxes)
    assert dilated_people(boxes, 0.5) is boxes


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 50), st.integers(0, 80), st.integers(1, 14), st.integers(1, 16), st.floats(0, 1))
def test_more_is_replaced_and_never_less(x, y, w, h, by):
    people = somebody(x, y, x + w, y + h)
    larger = dilated_people(people, by)
    assert (larger.masks >= people.masks).all()
    rows, columns = np.nonzero(larger.masks[0])
    x0, y0, x1, y1 = larger.boxes[0]
    assert x0 <= columns.min()
    assert columns.max() < x1
    assert y0 <= rows.min()
    assert rows.max() < y1


@pytest.mark.parametrize("by", [-0.1, 1.5, "boxes"])
def test_what_is_no_share_is_said(by):
    with pytest.raises(PluginError):
        registry.create("detectors", "dilated", {"detector": "full-image", "by": by})
