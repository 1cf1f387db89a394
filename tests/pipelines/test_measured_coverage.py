"""A method that says what is not so is found out by looking at its pictures."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from dp2bench.core.contracts import ComponentMeta, Detector, MethodMeta
from dp2bench.core.images import write_image
from dp2bench.core.types import Anonymized, People
from dp2bench.datasets.market1501 import Market1501
from dp2bench.pipelines.anonymize import anonymize_dataset

sys.path.insert(0, str(Path(__file__).parents[1] / "attacks"))
from world import draw


class _Masks(Detector):
    meta = ComponentMeta("drawn")

    def detect(self, images, samples):
        people = [draw(s.labels["identity"], s.labels["camera"] - 1, s.labels["frame"]) for s in samples]
        return [People.of([[0, 0, 64, 128]], masks=mask[None]) for _, mask, _, _ in people]


class _Says:
    """Returns what it is told and claims that nobody is left."""

    def __init__(self, change):
        self.meta = MethodMeta("says")
        self.change = change

    def anonymize(self, image, people, *, seed):
        return Anonymized(self.change(image, people.masks[0]), np.ones(image.shape[:2], bool), ())


def _grey(image, mask):
    out = image.copy()
    out[mask] = 127
    return out


@pytest.fixture
def folder(tmp_path):
    for split, shot in (("bounding_box_train", 0), ("query", 1), ("bounding_box_test", 2)):
        for person in (1, 2, 3):
            for camera in (0, 1):
                name = f"{person:04d}_c{camera + 1}s1_{shot:06d}_00.jpg"
                write_image(tmp_path / "clear" / split / name, draw(person, camera, shot)[0])
    return Market1501(tmp_path / "clear", official=False)


@pytest.mark.parametrize(
    ("change", "left"),
    [
        (lambda i, m: i.copy(), 18),
        (lambda i, m: np.clip(i.astype(int) + 40, 0, 255).astype(np.uint8), 18),
        (_grey, 0),
    ],
    ids=["the liar", "the brightness shift", "grey"],
)
def test_coverage_is_what_is_seen(folder, tmp_path, change, left):
    counter = anonymize_dataset(folder, _Masks(), _Says(change), tmp_path / "out", 0)
    coverage = counter.coverage()
    assert coverage.found == 18
    assert coverage.missed == left
    assert sum(len(pictures) for pictures in counter.left.values()) == left
