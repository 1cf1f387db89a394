"""Detectability on scenes: grey people are spotted, untouched ones are not, and few windows are said to be few."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from dp2bench.core.contracts import RunContext
from dp2bench.core.errors import DatasetError, Dp2benchError
from dp2bench.core.images import write_image
from dp2bench.core.types import People
from dp2bench.datasets.folder import Folder
from dp2bench.tasks.detectability import Detectability

BOXES = [[10, 10, 50, 90], [60, 15, 95, 90]]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Sixteen pictures with two people each, as they are and with grey people."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("scenes")
    random = np.random.default_rng(0)
    for i in range(16):
        picture = cv2.resize(random.integers(0, 256, (12, 12, 3)).astype(np.uint8), (100, 100))
        write_image(folder / "clear" / f"{i:02d}.png", picture)
        for x0, y0, x1, y1 in BOXES:
            picture[y0:y1, x0:x1] = 127
        write_image(folder / "grey" / f"{i:02d}.png", picture)
    return Folder(folder / "clear"), Folder(folder / "grey")


def context(tmp_path, dataset):
    people = {s.id: People.of(BOXES) for s in dataset.samples("all")}
    return RunContext(seed=0, trained={}, artefacts=tmp_path, threads=1, people={"all": people})


def test_grey_people_are_spotted_and_untouched_ones_are_not(scenes, tmp_path):
    clear, grey = scenes
    found = {}
    for name, dataset in (("grey", grey), ("clear", clear)):
        told = context(tmp_path, clear)
        Detectability(size=64).run(clear, dataset, told)
        (found[name],) = told.scores
        assert found[name].n == 32
        low, high = found[name].ci95
        assert low <= found[name].value <= high
    assert found["grey"].value > 0.95
    assert found["grey"].p_value < 0.05
    assert found["clear"].p_value > 0.05
    assert found["clear"].value <= found["clear"].chance_high + 1e-9


def test_nothing_is_told_where_both_are_drawn_alike(tmp_path):
    """Independent pictures on both sides: who learned from the people that are asked about would know each of them."""
    torch.set_num_threads(1)
    random = np.random.default_rng(1)
    for name in ("clear", "other"):
        for i in range(16):
            picture = cv2.resize(random.integers(0, 256, (12, 12, 3)).astype(np.uint8), (100, 100))
            write_image(tmp_path / name / f"{i:02d}.png", picture)
    clear, other = Folder(tmp_path / "clear"), Folder(tmp_path / "other")
    told = context(tmp_path, clear)
    Detectability(size=64).run(clear, other, told)
    (found,) = told.scores
    assert found.value < 0.8
    assert found.p_value > 0.02


def test_too_few_are_said(scenes, tmp_path):
    clear, _ = scenes
    told = context(tmp_path, clear)
    told.people = {"all": dict(list(told.people["all"].items())[:6])}
    with pytest.raises(DatasetError, match="12 windows of 6 people or pictures"):
        Detectability(size=64).run(clear, clear, told)
    told.people = {}
    with pytest.raises(DatasetError, match="shows nobody"):
        Detectability(size=64).run(clear, clear, told)
    with pytest.raises(Dp2benchError, match="too small"):
        Detectability(size=8)
