import pickle

import numpy as np
import pytest

from dp2bench.core.errors import DatasetError
from dp2bench.core.images import write_image
from dp2bench.core.types import Category
from dp2bench.datasets.fdf import FDF128, FDF256, write_arrays

NUMBERS = (3, 10, 200)  # not in the order of their names


def write(root, kind, seed=0):
    r = np.random.default_rng(seed)
    for split in ("train", "val"):
        for n in NUMBERS:
            image = np.full((kind.resolution, kind.resolution, 3), n, np.uint8)
            write_image(root / split / kind.images / f"{n}.png", image)
        low = r.integers(0, kind.resolution // 2, (3, 2))
        boxes = np.concatenate([low, low + r.integers(5, kind.resolution // 2, (3, 2))], 1)
        write_arrays(root / split, kind.boxes, boxes, r.uniform(0, 1, (3, 7, 2)))
    return kind(root)


@pytest.fixture(params=[FDF256, FDF128], ids=lambda k: k.layout)
def data(request, tmp_path):
    return write(tmp_path / "fdf", request.param)


def test_rows_belong_to_pictures_by_number(data):
    assert [s.id for s in data.samples("train")] == ["3.png", "10.png", "200.png"]
    boxes = data.rows("train").boxes
    for i, crop in enumerate(data.crops("train")):
        assert (crop.image == NUMBERS[i]).all()
        x0, y0, x1, y1 = boxes[i].astype(int)
        assert crop.hole[y0:y1, x0:x1].all()
        assert crop.hole.sum() == (x1 - x0) * (y1 - y0)
        assert crop.keypoints.shape == (7, 3)
    data.verify()


def test_a_copy_has_the_rows_of_its_pictures(data, tmp_path):
    handed = [("train", s.id, 255 - data.read(s)) for s in data.samples("train")[1:]]
    handed += [("val", s.id, data.read(s)) for s in data.samples("val")]
    copy = data.rewrite(tmp_path / "copy", handed)
    names = {p.relative_to(data.root) for p in data.root.rglob("*") if p.is_file()}
    assert {p.relative_to(copy.root) for p in copy.root.rglob("*") if p.is_file()} == {
        n for n in names if n.parts[0] != "train" or n.name != "3.png"
    }
    for a, b in zip(data.crops("train")[1:], copy.crops("train"), strict=True):
        np.testing.assert_array_equal(b.image, 255 - a.image)
        np.testing.assert_array_equal(b.hole, a.hole)
        np.testing.assert_array_equal(b.keypoints, a.keypoints)
    with pytest.raises(DatasetError, match=r"no picture 7\.png"):
        data.rewrite(tmp_path / "other", [("val", "7.png", handed[0][2])])
    with pytest.raises(DatasetError, match="1 pictures of something else"):
        data.rewrite(tmp_path / "copy", handed[1:])


def test_people_are_the_face(data):
    people = data.people(data.samples("val")[2])
    assert people.categories.tolist() == [Category.FACE]
    np.testing.assert_array_equal(people.faces, people.boxes)
    assert (people.keypoints[0, :7, 2] == 2).all()
    assert (people.keypoints[0, 7:] == 0).all()


def test_what_is_broken_is_named(data):
    with pytest.raises(DatasetError, match="no split"):
        data.samples("test")
    (data.root / "val" / data.images / "3.png").unlink()
    with pytest.raises(DatasetError, match=r"val holds 2 pictures, boxes of shape \(3, 4\)"):
        type(data)(data.root).samples("val")
    path = data.root / "train" / data.boxes
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(DatasetError, match=path.name):
        type(data)(data.root).samples("train")


class Bomb:
    def __reduce__(self):
        return (print, ("it ran",))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda boxes, side: boxes / side, "3.png covers no pixel|10.png covers no pixel"),
        (lambda boxes, side: boxes * np.nan, "covers no pixel"),
        (lambda boxes, side: boxes[:, [2, 3, 0, 1]], "covers no pixel"),
        (lambda boxes, side: boxes + side, "covers no pixel"),
    ],
)
def test_boxes_that_are_none(tmp_path, change, message):
    data = write(tmp_path, FDF256)
    path = tmp_path / "val" / "bounding_box.npy"
    np.save(path, change(np.load(path).astype(np.float32), 256))
    with pytest.raises(DatasetError, match=message):
        FDF256(tmp_path).verify()
    del data


def test_numbers_that_are_there_twice(tmp_path):
    write(tmp_path, FDF256)
    path = tmp_path / "val" / "images"
    (path / "3.png").rename(path / "010.png")
    with pytest.raises(DatasetError, match="two pictures of the number"):
        FDF256(tmp_path).verify()
