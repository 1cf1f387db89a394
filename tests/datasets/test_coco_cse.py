"""COCO-CSE: what its files say, and a copy in the same layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dp2bench.core.errors import AnnotationError, DatasetError
from dp2bench.core.images import read_image, write_image
from dp2bench.datasets.coco_cse import TEMPLATE, CocoCse

SIZE = (288, 160)


def make(root: Path) -> Path:
    r = np.random.default_rng(0)
    for split, n in (("train", 3), ("val", 2)):
        for k in range(n):
            write_image(root / split / "images" / f"{k}.png", r.integers(0, 256, (*SIZE, 3), np.uint8))
            told = np.zeros((*SIZE, 3), np.int32)
            told[..., 1] = 1
            told[40:200, 50:110, 1:] = (0, 1)
            told[44:196, 54:106, 2] = 0
            told[44:196, 54:106, 0] = r.integers(0, 27_554, (152, 52))
            told[0, 0, 0] = 9  # means nothing where the picture is known
            (root / split / "embedding").mkdir(exist_ok=True)
            np.save(root / split / "embedding" / f"{k}.npy", told)
        np.save(root / split / "embed_map.npy", r.normal(size=(27_554, 16)).astype(np.float32))
    return root


def test_known_pixels_border_and_surface_are_told_apart(tmp_path: Path):
    data = CocoCse(make(tmp_path / "coco_cse").parent)
    data.verify()
    crops = data.crops("train")
    assert (len(crops), crops.template) == (3, TEMPLATE)
    crop, told = crops[-1], np.load(tmp_path / "coco_cse/train/embedding/2.npy")
    assert crop.key == "2"
    assert np.array_equal(crop.image, read_image(tmp_path / "coco_cse/train/images/2.png"))
    assert np.array_equal(crop.hole, told[..., 1] == 0)
    assert crop.vertices is not None
    assert np.array_equal(crop.vertices >= 0, 1 - told[..., 1] - told[..., 2] == 1)
    assert np.array_equal(crop.vertices[crop.vertices >= 0], told[44:196, 54:106, 0].ravel())
    people = data.people(data.samples("val")[0])
    assert people.boxes.tolist() == [[50, 40, 110, 200]]
    assert people.surfaces[0] is not None
    assert people.surfaces[0].template == TEMPLATE


def test_a_copy_has_the_same_layout(tmp_path: Path):
    data = CocoCse(make(tmp_path / "in"))
    grey = np.full((*SIZE, 3), 127, np.uint8)
    copy = data.rewrite(
        tmp_path / "out", [(s, x.id, grey) for s in data.meta.splits for x in data.samples(s)]
    )
    copy.verify()
    names = [
        sorted(p.relative_to(r).as_posix() for p in r.rglob("*.*"))
        for r in (tmp_path / "in", tmp_path / "out")
    ]
    assert names[0] == names[1]
    assert (copy.read(copy.samples("train")[1]) == 127).all()
    with pytest.raises(DatasetError, match="no picture"):
        data.rewrite(tmp_path / "other", [("train", "9.png", grey)])
    with pytest.raises(DatasetError, match="itself"):
        data.rewrite(tmp_path / "in", [])


@pytest.mark.parametrize("broken", ["absent", "shape", "vertices", "text"])
def test_what_is_broken_names_the_file(tmp_path: Path, broken):
    data = CocoCse(make(tmp_path))
    path = tmp_path / "val" / "embedding" / "1.npy"
    if broken == "absent":
        path.unlink()
    elif broken == "shape":
        np.save(path, np.zeros((3, 3, 3), np.int32))
    elif broken == "vertices":
        np.save(path, np.full((*SIZE, 3), (27_554, 0, 0), np.int32))
    else:
        path.write_text("nothing of the kind")
    with pytest.raises((AnnotationError, DatasetError), match=r"1\.npy"):
        data.verify()
    with pytest.raises(DatasetError, match="no split"):
        data.samples("test")
