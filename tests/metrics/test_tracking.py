import numpy as np
import pytest

from dp2bench.metrics.tracking import tracking_scores


def _frames(*rows):
    """Each row: {identity: x of a 10x10 box}."""
    return [
        (
            np.array([[x, 0, x + 10, 10] for x in row.values()], np.float32).reshape(-1, 4),
            np.array(list(row), np.int64),
        )
        for row in rows
    ]


def test_perfect_tracks_under_other_names():
    truth = _frames({1: 0, 2: 50}, {1: 5, 2: 45}, {2: 40})
    found = _frames({7: 0, 9: 50}, {9: 45, 7: 5}, {9: 40})
    assert tracking_scores(truth, found) == (1.0, 0, 0, 0)


def test_a_switch_by_hand():
    """4 frames of one person; the second half under another name: IDTP 2 of 4 + 4 boxes, one switch."""
    truth = _frames(*({1: 5 * i} for i in range(4)))
    found = _frames({3: 0}, {3: 5}, {4: 10}, {4: 15})
    assert tracking_scores(truth, found) == (0.5, 1, 0, 0)


def test_misses_and_surplus_by_hand():
    """IDTP 2; 3 annotated boxes and 3 found ones, of which one is nowhere near."""
    truth = _frames({1: 0}, {1: 0}, {1: 0})
    found = _frames({1: 0}, {}, {1: 0, 2: 90})
    assert tracking_scores(truth, found) == (pytest.approx(4 / 6), 0, 1, 1)


def test_who_matches_already_is_kept_though_another_overlaps_more():
    truth = _frames({1: 0}, {1: 0})
    found = _frames({5: 0}, {6: 0, 5: 2})
    assert tracking_scores(truth, found).switches == 0


def test_nobody():
    assert tracking_scores(_frames({}, {}), _frames({}, {})) == (1.0, 0, 0, 0)
