"""Runtime: the pictures that are timed, stages that add up, and scores for every number of people. No times are asserted."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest

from dp2bench.core import registry
from dp2bench.core.contracts import RunContext
from dp2bench.core.errors import DatasetError, Dp2benchError
from dp2bench.core.types import People, SurfaceMap
from dp2bench.datasets.folder import Folder
from dp2bench.detection.ensemble import Ensemble
from dp2bench.tasks.runtime import Runtime, compose


class Person(Folder):
    layout = "market1501"

    def people(self, sample):
        mask = np.zeros((1, 128, 64), bool)
        mask[0, 10:120, 10:50] = True
        keypoints = np.full((1, 17, 3), 2, np.float32)
        keypoints[0, :, 0], keypoints[0, :, 1] = 30, np.linspace(12, 118, 17)
        surface = SurfaceMap(
            "passersby-13380", np.array([10, 10, 50, 120], np.int32), np.full((110, 40), 7, np.int32)
        )
        return People.of(
            [[10, 10, 50, 120]],
            masks=mask,
            keypoints=keypoints,
            faces=np.array([[20, 12, 40, 30]], np.float32),
            surfaces=[surface],
        )


@pytest.fixture
def dataset(tmp_path):
    from dp2bench.core.images import write_image

    rng = np.random.default_rng(0)
    for i in range(3):
        write_image(tmp_path / "p" / f"{i}.png", rng.integers(0, 256, (128, 64, 3), np.uint8))
    return Person(tmp_path / "p")


def context(tmp_path, method="blur", detector="annotations"):
    return RunContext(
        seed=0,
        trained={},
        artefacts=tmp_path,
        method=lambda: registry.create("methods", method, {}),
        detector=lambda: registry.create("detectors", detector, {}),
    )


def test_scores_and_stages(dataset, tmp_path):
    told = context(tmp_path)
    Runtime(people=[1, 12], repeats=2).run(dataset, dataset, told)
    scores = {s.name: s for s in told.scores}
    assert {"seconds.1", "seconds.12", "seconds_per_person", "inpaint.12", "stitch.12", "peak_memory"} <= set(
        scores
    )
    assert "detect.12" not in scores
    assert Runtime.meta.main_score in scores
    units = {s.metric: Runtime.meta.metrics[s.metric].unit for s in scores.values()}
    assert set(units.values()) == {"s", "MiB"}
    assert all(s.value > 0 for n, s in scores.items() if n != "seconds_per_person")
    rows = list(csv.DictReader((tmp_path / "runtime.csv").open()))
    assert [(r["people"], r["repeat"]) for r in rows] == [("1", "0"), ("1", "1"), ("12", "0"), ("12", "1")]
    for row in rows:
        stages = sum(float(row[s]) for s in ("detect", "crop", "inpaint", "stitch", "anonymize"))
        assert stages == pytest.approx(float(row["total"]), abs=1e-5)
    assert (tmp_path / "runtime.png").stat().st_size > 1000


def test_a_detector_that_works_is_timed(dataset, tmp_path):
    told = context(tmp_path, "identity", "full-image")
    Runtime(people=[12], repeats=1).run(dataset, dataset, told)
    names = {s.name for s in told.scores}
    assert {"detect.12", "anonymize.12"} <= names


@pytest.mark.parametrize(("instance", "timed"), [("full-image", True), ("annotations", False)])
def test_an_ensemble_is_timed_where_it_computes(dataset, tmp_path, instance, timed):
    told = replace(
        context(tmp_path, "identity"), detector=lambda: Ensemble(registry.create("detectors", instance, {}))
    )
    Runtime(people=[12], repeats=1).run(dataset, dataset, told)
    names = {s.name for s in told.scores}
    assert ("detect.12" in names) == timed


def test_composed_people_are_where_they_are_said_to_be(dataset):
    from dp2bench.tasks.runtime import _pieces

    image, people = compose(_pieces(dataset, 20))
    assert image.shape == (720, 1280, 3)
    assert len(people) == 20
    for i in range(20):
        x0, y0, x1, y1 = people.boxes[i].astype(int)
        inside = people.masks[i, y0:y1, x0:x1]
        assert people.masks[i].sum() == inside.sum() > 0.9 * inside.size
        assert people.surfaces[i].box.tolist() == [x0, y0, x1, y1]
        assert people.surfaces[i].vertices.shape == (y1 - y0, x1 - x0)
        x, y = people.keypoints[i, :, 0], people.keypoints[i, :, 1]
        assert ((x > x0) & (x < x1) & (y > y0) & (y < y1)).all()
        assert (people.faces[i] >= people.boxes[i][[0, 1, 0, 1]]).all()


def test_without_the_published_number_the_largest_stands_for_all(dataset, tmp_path):
    task = Runtime(people=[2, 3], repeats=1)
    assert task.meta.main_score == "seconds.3"
    told = context(tmp_path, "identity")
    task.run(dataset, dataset, told)
    assert {"seconds.3", "anonymize.3"} <= {s.name for s in told.scores}
    assert Runtime().meta.main_score == "seconds.12"


def test_errors(dataset, tmp_path):
    with pytest.raises(Dp2benchError, match="whole numbers from 1 to 20"):
        Runtime(people=[0, 12])
    with pytest.raises(Dp2benchError, match="repeats"):
        Runtime(repeats=0)
    with pytest.raises(Dp2benchError, match="elsewhere"):
        Runtime().run(dataset, dataset, RunContext(seed=0, trained={}, artefacts=tmp_path))
    with pytest.raises(DatasetError, match="annotated"):
        Runtime().run(Folder(dataset.root), dataset, context(tmp_path))
