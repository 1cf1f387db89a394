import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as rle

from dp2bench.core.contracts import Detector
from dp2bench.core.errors import DatasetError
from dp2bench.core.types import Sample
from dp2bench.detection.coco_json import CocoFile

BLOB = np.zeros((40, 30), np.uint8, order="F")
BLOB[5:20, 3:9] = 1
PACKED = rle.encode(BLOB)
RUNS, start, value = [], 0, 0
for pixel in BLOB.T.ravel():
    if pixel != value:
        RUNS.append(start)
        start, value = 0, pixel
    start += 1
RUNS.append(start)


def _file(tmp_path, annotations, **more):
    data = {
        "images": [
            {"id": 7, "file_name": "val/a.jpg", "height": 40, "width": 30},
            {"id": 8, "file_name": "b.jpg"},
            {"id": 9, "file_name": "x/c.jpg"},
            {"id": 10, "file_name": "y/c.jpg"},
        ],
        "categories": [{"id": 1, "name": "person"}, {"id": 2, "name": "dog"}],
        "annotations": [{"image_id": 7, "category_id": 1, "bbox": [3, 5, 6, 15], **a} for a in annotations],
        **more,
    }
    path = tmp_path / "people.json"
    path.write_text(json.dumps(data))
    return path


def _detect(detector, name="a.jpg", size=(40, 30)):
    (people,) = detector.detect([np.zeros((*size, 3), np.uint8)], [Sample(name, Path(name))])
    return people


@pytest.mark.parametrize(
    "segmentation",
    [
        [[3, 5, 9, 5, 9, 20, 3, 20]],
        [[3, 5, 9, 5, 9, 12, 3, 12], [3, 12, 9, 12, 9, 20, 3, 20], [1, 2]],
        {"size": [40, 30], "counts": PACKED["counts"].decode()},
        {"size": [40, 30], "counts": RUNS},
    ],
)
def test_masks(tmp_path, segmentation):
    people = _detect(CocoFile(path=_file(tmp_path, [{"segmentation": segmentation}])))
    assert (people.masks[0] == BLOB.astype(bool)).all()
    assert people.boxes.tolist() == [[3, 5, 9, 20]]


def test_what_counts(tmp_path):
    keypoints = [v for k in range(17) for v in (3 + k / 4, 6, k % 3)]
    path = _file(
        tmp_path,
        [
            {"score": 0.9, "keypoints": keypoints},
            {"score": 0.2},
            {"category_id": 2},
            {"iscrowd": 1, "segmentation": {"size": [40, 30], "counts": RUNS}},
        ],
    )
    people = _detect(CocoFile(path=path, score_threshold=0.5))
    assert people.scores.tolist() == pytest.approx([0.9, 1.0])
    assert people.keypoints[0].ravel().tolist() == keypoints
    assert (people.keypoints[1] == 0).all()
    assert people.masks[0].sum() == 90, "a box stands in for a mask that is not there"
    assert len(_detect(CocoFile(path=path, crowds=False))) == 2
    assert _detect(CocoFile(path=path, crowds=False)).masks is None
    assert len(_detect(CocoFile(path=path, category="dog"))) == 1


def test_which_picture(tmp_path):
    detector = CocoFile(path=_file(tmp_path, [{}]))
    assert isinstance(detector, Detector)
    assert len(_detect(detector, "val/a.jpg")) == len(_detect(detector, "a.jpg")) == 1
    assert len(_detect(detector, "photos/val/a.jpg")) == 1
    assert len(_detect(detector, "b.jpg", (3, 3))) == 0
    assert len(_detect(detector, "x/c.jpg")) == 0
    for name in ("d.jpg", "z/c.jpg", "c.jpg", "elsewhere/a.jpg"):
        with pytest.raises(DatasetError, match=f"does not list the picture {name}"):
            _detect(detector, name)
    with pytest.raises(DatasetError, match="30x40 pixels, and the picture has 31x40"):
        _detect(detector, size=(40, 31))


def test_the_revision_follows_the_content(tmp_path):
    first = CocoFile(path=_file(tmp_path, [{}])).meta
    assert CocoFile(path=_file(tmp_path, [{}])).meta == first
    assert CocoFile(path=_file(tmp_path, [{}, {}])).meta != first


def test_broken_files(tmp_path):
    with pytest.raises(DatasetError, match="needs a file of annotations, and there is none"):
        CocoFile()
    with pytest.raises(DatasetError, match="no /nowhere.json"):
        CocoFile(path="/nowhere.json")
    for content in (
        "[1, 2]",
        "{",
        '{"images": [{"id": 1}]}',
        '{"images": [{"id": 1, "file_name": "a"}], "annotations": [{"image_id": 1}]}',
    ):
        (tmp_path / "bad.json").write_text(content)
        with pytest.raises(DatasetError, match="is not a COCO annotation file"):
            CocoFile(path=tmp_path / "bad.json")
    with pytest.raises(DatasetError, match="one of: dog, person"):
        CocoFile(path=_file(tmp_path, []), category="cat")
    for segmentation in ({"size": [40, 30]}, [[1, 2]], {"size": [3, 3], "counts": [9]}, ["abcdefgh"]):
        with pytest.raises(DatasetError, match="segmentation|mask|polygon"):
            _detect(CocoFile(path=_file(tmp_path, [{"segmentation": segmentation}])))
