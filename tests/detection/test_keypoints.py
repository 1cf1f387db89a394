"""Keypoints of one detector for the people of another."""

import numpy as np
import pytest

from dp2bench.core import registry
from dp2bench.core.contracts import ComponentMeta, Detector, Weights
from dp2bench.core.errors import Dp2benchError
from dp2bench.core.types import Category, People
from dp2bench.detection import ensemble, matching
from dp2bench.detection.ensemble import Ensemble, with_keypoints
from dp2bench.detection.keypoints import WithKeypoints, assign_keypoints

SIZE = (200, 300)
IMAGE = np.zeros((*SIZE, 3), np.uint8)


def _points(value, *, nose_and_eyes=(0.0, 0.0)):
    """Visible, told apart by their place."""
    points = np.full((17, 3), value, np.float32)
    points[:3, :2] = nose_and_eyes
    points[:, 2] = 2
    return points


def _found(boxes, points):
    return People.of(boxes, keypoints=np.array(points, np.float32).reshape(-1, 17, 3))


class Says(Detector):
    def __init__(self, people, name="says"):
        self.meta = ComponentMeta(name, "2", (Weights(name, "0" * 64, "x"),))
        self.people = people

    def detect(self, images, samples):
        return [self.people] * len(images)


class Bound(Says):
    uses_annotations = True

    def for_dataset(self, dataset):
        return Bound(dataset)


def test_a_person_gets_the_keypoints_of_his_own_box():
    """Two stand close: the nearer box decides, not the order; a third is seen by the other detector only, a fourth by this one only."""
    people = People.of([[0, 0, 50, 100], [20, 0, 70, 100], [200, 0, 250, 100]])
    found = _found(
        [[22, 2, 71, 101], [1, 1, 52, 102], [100, 0, 150, 100]], [_points(1), _points(2), _points(3)]
    )
    got = assign_keypoints(people, found)
    assert got.keypoints[:, 5, 0].tolist() == [2, 1, 0]
    assert (got.keypoints[2] == 0).all()
    assert people.keypoints is None
    assert np.array_equal(got.boxes, people.boxes)


def test_too_little_overlap_is_another_person():
    people = People.of([[0, 0, 50, 100]])
    found = _found([[0, 0, 50, 40]], [_points(1)])
    assert (assign_keypoints(people, found).keypoints == 0).all()
    assert (assign_keypoints(people, found, iou=0.4).keypoints[0, 5] == [1, 1, 2]).all()


def test_who_has_keypoints_keeps_them_and_takes_none():
    mine = np.stack([_points(9), np.zeros((17, 3), np.float32)])
    people = People.of([[0, 0, 50, 100], [1, 0, 51, 100]], keypoints=mine)
    got = assign_keypoints(people, _found([[0, 0, 50, 100]], [_points(1)]))
    assert got.keypoints[:, 5, 0].tolist() == [9, 1]
    assert mine[1, 5, 0] == 0


def test_faces_are_matched_by_nose_and_eyes():
    """As DeepPrivacy does: a face of nobody's body, and of a body of which the boxes differ; in the order of detection, once."""
    faces = [[100, 10, 120, 40], [100, 10, 121, 41], [np.nan] * 4, [200, 10, 220, 40]]
    people = People.of(
        [[100, 10, 120, 40], [100, 10, 121, 41], [0, 0, 50, 100], [190, 0, 230, 160]],
        faces=np.array(faces, np.float32),
        categories=[Category.FACE, Category.FACE, Category.PERSON, Category.PERSON],
    )
    found = _found(
        [[90, 0, 130, 150], [190, 0, 230, 60], [100, 10, 120, 40]],
        [_points(1, nose_and_eyes=(110, 20)), _points(2, nose_and_eyes=(210, 40)), _points(3)],
    )
    assert assign_keypoints(people, found).keypoints[:, 5, 0].tolist() == [1, 0, 0, 2]
    outside = _found([[90, 0, 130, 150]], [_points(1, nose_and_eyes=(110, 40.5))])
    assert (assign_keypoints(people, outside).keypoints[0] == 0).all()


def test_somebody_who_is_seen_twice():
    """As a body without a face, and as less of him with one: both get his keypoints; with as much of him, only the one with the face."""
    faces = np.array([[np.nan] * 4, [20, 10, 40, 40]], np.float32)
    found = _found([[0, 0, 60, 150]], [_points(1, nose_and_eyes=(30, 20))])
    part = People.of([[2, 0, 60, 150], [10, 0, 50, 60]], faces=faces)
    assert assign_keypoints(part, found).keypoints[:, 5, 0].tolist() == [1, 1]
    whole = People.of([[0, 0, 60, 150], [2, 0, 60, 140]], faces=faces)
    assert assign_keypoints(whole, found).keypoints[:, 5, 0].tolist() == [0, 1]


@pytest.mark.parametrize("nobody", [People.none(), People.of([[0, 0, 9, 9]]), _found([], [])])
def test_nobody(nobody):
    people = People.of([[0, 0, 10, 10]], faces=np.array([[0, 0, 5, 5]], np.float32))
    assert assign_keypoints(people, nobody).keypoints.shape == (1, 17, 3)
    assert assign_keypoints(People.none(), _found([[0, 0, 10, 10]], [_points(1)])).keypoints.shape == (
        0,
        17,
        3,
    )
    assert not assign_keypoints(people, nobody).keypoints.any()


def test_any_detector_with_keypoints():
    people = People.of([[0, 0, 50, 100]])
    detector = WithKeypoints(Says(people, "a"), Says(_found([[1, 0, 50, 100]], [_points(4)]), "b"))
    assert isinstance(detector, Detector)
    assert detector.meta.revision == "1+a:2+b:2"
    assert [w.name for w in detector.meta.weights] == ["a", "b"]
    got = detector.detect([IMAGE] * 2, [None] * 2)
    assert [p.keypoints[0, 5, 0] for p in got] == [4, 4]
    assert not detector.uses_annotations
    annotated = WithKeypoints(Bound(None), Says(people))
    assert annotated.uses_annotations
    assert annotated.for_dataset(people).detect([IMAGE], [None])[0].boxes is people.boxes


def test_the_ensemble_gives_keypoints_to_whom_it_found():
    """To a person whose mask is a union, to one whom only the surface saw, and to a lone face."""
    instance = People.of([[10, 20, 60, 150]], masks=matching.fill_boxes(np.array([[10, 20, 60, 150]]), SIZE))
    surface = People.of([[12, 10, 60, 150], [100, 20, 150, 160]])
    face = People.of([[210, 20, 230, 45]], faces=np.array([[210, 20, 230, 45]], np.float32))
    found = _found(
        [[200, 0, 250, 180], [100, 22, 151, 160], [10, 11, 61, 152]],
        [_points(1, nose_and_eyes=(220, 30)), _points(2), _points(3)],
    )
    one = Ensemble(Says(instance), Says(surface), Says(face), Says(found, "k"))
    (got,) = one.detect([IMAGE], [None])
    assert got.categories.tolist() == [Category.PERSON, Category.PERSON, Category.FACE]
    assert got.keypoints[:, 5, 0].tolist() == [3, 2, 1]
    assert one.meta.revision.endswith("+k:2")
    assert one.meta.weights[-1].name == "k"
    without = Ensemble(Says(instance), Says(surface), Says(face))
    assert without.detect([IMAGE], [None])[0].keypoints is None
    (again,) = without.with_keypoint_detector(one.keypoints).detect([IMAGE], [None])
    assert np.array_equal(again.keypoints, got.keypoints)
    assert Ensemble(Says(instance), keypoints=Bound(found)).uses_annotations
    bound = Ensemble(Says(instance), keypoints=Bound(None)).for_dataset(found)
    assert bound.detect([IMAGE], [None])[0].keypoints[0, 5, 0] == 3


def test_by_name(monkeypatch, tmp_path):
    monkeypatch.setenv("DP2BENCH_WEIGHTS", str(tmp_path))
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    one = with_keypoints(detector="full-image", keypoints="annotations")
    assert one.meta.revision == "1+full-image:1+annotations:1"
    whole = with_keypoints(
        detector="deepprivacy2", arguments={"iou": 0.3}, keypoints="annotations", keypoints_arguments={}
    )
    assert isinstance(whole, Ensemble), "its instance masks stay to be had"
    assert whole.iou == 0.3
    assert whole.meta.revision == ensemble.deepprivacy2(keypoints="annotations", iou=0.3).meta.revision
    with pytest.raises(Dp2benchError, match="needs trained weights that are not on this machine") as error:
        registry.create("detectors", "deepprivacy2", {"keypoints": "torchvision-keypoint-rcnn"})
    assert "dp2bench weights fetch keypointrcnn_resnet50_fpn" in str(error.value)
    with pytest.raises(Dp2benchError, match="no file nowhere"):
        registry.create(
            "detectors",
            "with-keypoints",
            {"detector": "full-image", "keypoints_arguments": {"weights": "nowhere"}},
        )
    for part in ("face", "keypoints"):
        with pytest.raises(Dp2benchError, match=f"got {part}_arguments and no {part}"):
            ensemble.deepprivacy2(**{f"{part}_arguments": {"a": 1}})
