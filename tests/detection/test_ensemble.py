from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dp2bench.core.contracts import ComponentMeta, Detector, Weights
from dp2bench.core.errors import Dp2benchError
from dp2bench.core.types import Category, People, Sample, SampleId, SurfaceMap
from dp2bench.detection import ensemble, matching
from dp2bench.detection.ensemble import Ensemble, combine

SIZE = (240, 320)


def _people(boxes, *, surfaces=False, faces=False, scores=None):
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    if faces:
        return People.of(boxes, faces=boxes, scores=scores)
    maps = [
        SurfaceMap(
            "smpl-27554", b.astype(np.int32), np.full((int(b[3] - b[1]), int(b[2] - b[0])), i, np.int32)
        )
        for i, b in enumerate(boxes)
    ]
    return People.of(
        boxes,
        masks=matching.fill_boxes(boxes, SIZE),
        surfaces=maps if surfaces else (None,) * len(boxes),
        scores=scores,
    )


class Says(Detector):
    def __init__(self, name, people):
        self.meta = ComponentMeta(name, "3", (Weights(name, "0" * 64, "x"),))
        self.people = people

    def detect(self, images, samples):
        return [self.people] * len(images)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 4), st.integers(0, 4))
def test_iou_is_what_sets_say(seed, n, m):
    rng = np.random.default_rng(seed)
    a, b = rng.random((n, 9, 11)) < rng.random(), rng.random((m, 9, 11)) < rng.random()
    got = matching.pairwise_iou(a, b)
    assert got.shape == (n, m)
    for i in range(n):
        for j in range(m):
            union = (a[i] | b[j]).sum()
            assert got[i, j] == (a[i] & b[j]).sum() / union if union else got[i, j] == 0


def test_iou_over_many_slices_is_exact(monkeypatch):
    rng = np.random.default_rng(0)
    a, b = rng.random((3, 50, 70)) < 0.4, rng.random((2, 50, 70)) < 0.6
    whole = matching.pairwise_iou(a, b)
    monkeypatch.setattr(matching, "_PIXELS_AT_ONCE", 13)
    assert (matching.pairwise_iou(a, b) == whole).all()


def test_order_decides_not_overlap():
    iou = np.array([[0.5, 0.9], [0.95, 0.1], [0.4, 0.4]])
    assert matching.match(iou) == [(0, 0), (2, 1)]
    assert matching.match(np.array([[0.39, 0.4], [0.9, 0.9]])) == [(0, 1), (1, 0)]
    assert matching.match(np.zeros((0, 3))) == []
    assert matching.match(np.zeros((3, 0))) == []


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 6), st.integers(0, 6))
def test_match_is_the_published_greedy(seed, n, m):
    iou = np.random.default_rng(seed).random((n, m))
    expected, rows, columns = [], set(), set()
    for (i, j), value in np.ndenumerate(iou):
        if value >= 0.4 and i not in rows and j not in columns:
            expected.append((i, j))
            rows.add(i)
            columns.add(j)
    assert matching.match(iou) == expected


def test_three_categories():
    instance = _people([[50, 50, 100, 180], [200, 40, 240, 200]], scores=[0.9, 0.4])
    surface = _people([[60, 40, 100, 170], [0, 0, 30, 100]], surfaces=True)
    face = _people([[70, 60, 85, 80], [280, 20, 300, 45]], faces=True, scores=[0.8, 0.7])
    got = combine(instance, surface, face, SIZE)
    assert got.categories.tolist() == [Category.PERSON_WITH_SURFACE, Category.PERSON, Category.FACE]
    assert (got.masks[0] == (instance.masks[0] | surface.masks[0])).all()
    assert got.boxes[0].tolist() == [50, 40, 100, 180]
    assert got.surfaces[0] is surface.surfaces[0]
    assert (got.masks[1] == instance.masks[1]).all()
    assert got.faces[0].tolist() == [70, 60, 85, 80]
    assert np.isnan(got.faces[1]).all()
    assert got.faces[2].tolist() == got.boxes[2].tolist() == [280, 20, 300, 45]
    assert got.scores.tolist() == pytest.approx([0.9, 0.4, 0.7])
    assert instance.boxes[0].tolist() == [50, 50, 100, 180], "the detectors' answers stay as they are"

    everyone = combine(instance, surface, face, SIZE, keep_unmatched=True)
    assert everyone.categories.tolist() == [2, 1, 2, 0]
    assert everyone.surfaces[2] is surface.surfaces[1]


def test_faces_and_whose_they_are():
    instance = _people([[50, 50, 150, 230], [60, 60, 110, 220]])
    faces = [[70, 70, 90, 90], [72, 74, 90, 92], [75, 75, 90, 90], [140, 60, 175, 90]]
    got = combine(instance, People.none(), _people(faces, faces=True), SIZE)
    assert got.faces[1].tolist() == faces[0], "the smaller person first"
    assert got.faces[0].tolist() == faces[1]
    assert got.categories.tolist() == [1, 1, 0], "a third face inside is covered, one that reaches out is not"
    assert got.boxes[2].tolist() == faces[3]
    assert len(combine(instance, People.none(), _people(faces, faces=True), SIZE, keep_unmatched=True)) == 4


def test_dilation_counts_for_faces():
    instance = _people([[100, 40, 180, 200]])
    touching = _people([[99, 60, 130, 90]], faces=True)
    assert len(combine(instance, People.none(), touching, SIZE)) == 1
    assert len(combine(instance, People.none(), _people([[80, 60, 130, 90]], faces=True), SIZE)) == 2


def test_a_person_too_small_for_a_crop_covers_no_face():
    got = combine(_people([[10, 10, 15, 20]]), People.none(), _people([[11, 11, 14, 14]], faces=True), SIZE)
    assert got.categories.tolist() == [1, 0]


def test_nobody_and_only_boxes():
    none = People.none()
    assert len(combine(none, none, none, SIZE)) == 0
    boxes = People.of([[10.2, 10.0, 60.0, 200.0]])
    got = combine(boxes, none, none, SIZE)
    assert got.masks[0, 10:200, 10:60].all()
    assert got.masks.sum() == 190 * 50


def test_detector():
    found = _people([[50, 50, 100, 180]])
    detector = Ensemble(Says("a", found), Says("b", People.none()), None)
    assert isinstance(detector, Detector)
    assert detector.meta.revision == "1+a:3+b:3"
    assert len(detector.meta.weights) == 2
    got = detector.for_dataset(None).detect([np.zeros((*SIZE, 3), np.uint8)] * 2, [None] * 2)
    assert [len(p) for p in got] == [1, 1]
    with pytest.raises(ValueError, match="iou"):
        Ensemble(Says("a", found), iou=0)


def test_the_registered_factory_says_what_is_missing(monkeypatch, tmp_path):
    monkeypatch.setenv("DP2BENCH_WEIGHTS", str(tmp_path))
    official = ({"mask_rcnn": "official"}, {"cse": "official"}, {"mask_rcnn": "official", "cse": "official"})
    for arguments in official:  # both, whichever was named, in one message
        with pytest.raises(Dp2benchError, match="'deepprivacy2' needs trained weights") as error:
            ensemble.deepprivacy2(**arguments)
        assert (
            "dp2bench weights fetch mask_rcnn_X_101_32x8d_FPN_3x cse_R_101_FPN_DL_soft_s1x"
            in error.value.remedy
        )
        assert "leave out `mask_rcnn` and `cse`" in error.value.remedy


def test_without_published_weights_the_embedded_networks_are_the_ensemble():
    names = [w.name for w in ensemble.deepprivacy2().meta.weights]
    assert names == ["embedded-detector.safetensors"] * 3


def test_the_ensemble_drops_nobody_unless_told_to():
    instance = Says("m", _people([[50, 50, 100, 180]]))
    surface = Says("c", _people([[0, 0, 30, 100]], surfaces=True))
    one = [np.zeros((*SIZE, 3), np.uint8)], [Sample(SampleId("a"), Path("a"))]
    assert len(Ensemble(instance, surface).detect(*one)[0]) == 2
    assert len(Ensemble(instance, surface, keep_unmatched=False).detect(*one)[0]) == 1
