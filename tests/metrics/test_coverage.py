"""Matching of boxes: by hand, against torchvision's overlap, and against every possible assignment."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import box_iou as official_iou

from dp2bench.metrics.coverage import box_iou, match, size_of


def boxes(rng, n):
    corner = rng.uniform(0, 30, (n, 2))
    return np.concatenate([corner, corner + rng.uniform(1, 30, (n, 2))], 1)


@given(st.integers(0, 10_000))
@settings(max_examples=50)
def test_against_torchvision_and_every_assignment(seed):
    rng = np.random.default_rng(seed)
    a, b = boxes(rng, rng.integers(1, 4)), boxes(rng, 4)
    overlap = box_iou(a, b)
    assert overlap == pytest.approx(official_iou(torch.from_numpy(a), torch.from_numpy(b)).numpy())
    got = match(a, b, 0.3)
    paired = got[got >= 0]
    assert len(set(paired)) == len(paired)
    assert (overlap[np.flatnonzero(got >= 0), paired] >= 0.3).all()
    most = max(
        sum(overlap[i, j] >= 0.3 for i, j in enumerate(chosen)) for chosen in permutations(range(4), len(a))
    )
    assert len(paired) == most


def test_nobody_and_empty_boxes():
    one = np.array([[0, 0, 10, 10.0]])
    assert match(one, np.zeros((0, 4))).tolist() == [-1]
    assert match(np.zeros((0, 4)), one).tolist() == []
    assert box_iou(np.zeros((1, 4)), np.zeros((1, 4))).tolist() == [[0.0]]


def test_sizes_are_cocos():
    assert [size_of(a) for a in (0, 1023.9, 1024, 9215, 9216, 1e6)] == ["small"] * 2 + ["medium"] * 2 + [
        "large"
    ] * 2
