"""What attacks are given: parts of a view know what the whole knows."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from world import clear_view, thumbnails


def test_features_of_a_part_are_those_of_the_whole_and_computed_once():
    asked = []

    def counting(network, pictures):
        asked.append(len(pictures))
        return thumbnails(network, pictures)

    view = clear_view(range(1, 4), (0,), counting)
    part = view.take(np.array([5, 2, 7]))
    twice = part.take(np.array([True, False, True]))
    np.testing.assert_array_equal(twice.features("thumbnails"), thumbnails("", view.pictures[[5, 7]]))
    np.testing.assert_array_equal(part.features("thumbnails"), thumbnails("", view.pictures[[5, 2, 7]]))
    assert asked == [len(view)]
    assert twice.names == (view.names[5], view.names[7])
    assert len(twice) == 2


def test_rows_of_a_part_are_taken_from_the_whole_where_it_knows_them():
    view = clear_view(range(1, 3), (0,))
    part = view.take(np.array([1, 3]))
    whole = np.arange(len(view), dtype=np.float32)[:, None]
    view.rows("number", lambda: whole)
    np.testing.assert_array_equal(part.rows("number", lambda: pytest.fail("computed again")), whole[[1, 3]])
