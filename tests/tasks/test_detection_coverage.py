"""Coverage of a hand-made dataset where everything is known."""

from __future__ import annotations

import numpy as np
import pytest

from dp2bench.core.contracts import RunContext
from dp2bench.core.errors import DatasetError, Dp2benchError
from dp2bench.core.types import People
from dp2bench.datasets.folder import Folder
from dp2bench.tasks.detection_coverage import DetectionCoverage


class Annotated(Folder):
    truth: dict[str, People]

    def people(self, sample):
        return self.truth[sample.id]


@pytest.fixture
def folder(tmp_path):
    from dp2bench.core.images import write_image

    for name in ("a", "b"):
        write_image(tmp_path / "pictures" / f"{name}.png", np.zeros((200, 200, 3), np.uint8))
    dataset = Annotated(tmp_path / "pictures")
    small, medium, large = [0, 0, 10, 20], [20, 20, 70, 80], [80, 0, 190, 150]
    dataset.truth = {"a.png": People.of([small, medium]), "b.png": People.of([large])}
    found = {
        "a.png": People.of([medium, [150, 150, 190, 190]], categories=[2, 1]),
        "b.png": People.of([large], categories=[0]),
    }
    return dataset, found


def context(tmp_path, found, missed):
    return RunContext(seed=0, trained={}, artefacts=tmp_path, people={"all": found}, missed={"all": missed})


def values(scores):
    return {s.name: (s.value, s.n) for s in scores}


def test_with_annotations(folder, tmp_path):
    dataset, found = folder
    told = context(tmp_path, found, {"b.png": {0: "too small"}})
    DetectionCoverage().run(dataset, dataset, told)
    got = values(told.scores)
    third = pytest.approx(1 / 3)
    assert got["anonymized"] == (third, 3)
    assert got["failed_open"] == (pytest.approx(2 / 3), 3)
    assert got["found"] == (pytest.approx(2 / 3), 3)
    assert got["found.small"] == (0, 1)
    assert got["anonymized.medium"] == (1, 1)
    assert got["failed_open.large"] == (1, 1)
    assert got["share.person_with_surface"] == (0.5, 2)
    assert got["missed.face"] == (1, 1)
    assert "missed.person" not in got
    assert got["detections_without_person"] == (third, 3)
    table = (tmp_path / "people.csv").read_text()
    assert "all/b.png:0,large,face,1,0,too small" in table
    assert "all/a.png:0,small,,0,0,not found" in table


def test_without_annotations_the_found_are_all_there_is(folder, tmp_path):
    dataset, found = folder
    told = context(tmp_path, found, {"a.png": {1: "x"}})
    DetectionCoverage().run(Folder(dataset.root), dataset, told)
    got = values(told.scores)
    assert got["anonymized"] == (pytest.approx(2 / 3), 3)
    assert "found" not in got
    assert "detections_without_person" not in got


def test_nobody_is_an_error(folder, tmp_path):
    dataset, _ = folder
    with pytest.raises(DatasetError, match="Nobody"):
        DetectionCoverage().run(
            Folder(dataset.root), dataset, context(tmp_path, {"a.png": People.none()}, {})
        )
    with pytest.raises(Dp2benchError, match="iou"):
        DetectionCoverage(iou=0)
