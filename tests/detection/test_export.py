import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from dp2bench.core.contracts import Detector
from dp2bench.core.errors import DatasetError
from dp2bench.core.types import Category, People, Sample, SurfaceMap
from dp2bench.detection import export as saving
from dp2bench.detection.coco_json import CocoFile
from dp2bench.detection.export import CocoWriter, IdMasks

SIZE = (50, 70)


def _anybody(rng, n, *, masks, keypoints, faces, tracks):
    low = rng.uniform(-0.5, 45, (n, 2)).astype(np.float32)
    boxes = np.concatenate((low, low + rng.uniform(0.01, 40, (n, 2)).astype(np.float32)), 1)
    face = (boxes + rng.normal(0, 1, boxes.shape)).astype(np.float32)
    face[:, 2:] = np.maximum(face[:, 2:], face[:, :2])
    face[rng.random(n) < 0.4] = np.nan
    alone = rng.random(n) < (0.3 if faces else 0)
    face[alone] = boxes[alone]
    maps = [
        None
        if a or rng.random() < 0.5
        else SurfaceMap(
            "smpl-27554", np.array([1, 2, 7, 9], np.int32), rng.integers(-1, 27554, (7, 6), np.int32)
        )
        for a in alone
    ]
    kinds = [
        Category.FACE if a else Category.PERSON + (m is not None) for a, m in zip(alone, maps, strict=True)
    ]
    points = np.concatenate((boxes[:, None, :2].repeat(17, 1), rng.uniform(0, 2, (n, 17, 1))), 2)
    points[:, :, :2] += rng.uniform(0, 1, (n, 17, 2))
    return People(
        boxes=boxes,
        masks=rng.random((n, *SIZE)) < rng.uniform(0.1, 1) if masks else None,
        keypoints=points.astype(np.float32) if keypoints else None,
        faces=face if faces else None,
        surfaces=tuple(maps),
        categories=np.array(kinds, np.int8),
        scores=rng.random(n, np.float32),
        track_ids=rng.permutation(100)[:n].astype(np.int64) if tracks else None,
    )


def _same(a, b):
    for name in ("boxes", "masks", "keypoints", "faces", "categories", "scores", "track_ids"):
        x, y = getattr(a, name), getattr(b, name)
        if len(a) == len(b) == 0:
            continue
        assert (x is None) == (y is None), name
        if x is not None:
            assert x.dtype == y.dtype, name
            np.testing.assert_array_equal(x, y, name)
    for p, q in zip(a.surfaces, b.surfaces, strict=True):
        assert (p is None) == (q is None)
        if p is not None:
            assert p.template == q.template
            np.testing.assert_array_equal(p.box, q.box)
            np.testing.assert_array_equal(p.vertices, q.vertices)


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(0, 4), *[st.booleans()] * 4)
def test_json_gives_back_equal_people(tmp_path_factory, seed, n, masks, keypoints, faces, tracks):
    rng = np.random.default_rng(seed)
    path = tmp_path_factory.mktemp("json") / "people.json"
    people = [
        _anybody(rng, k, masks=masks, keypoints=keypoints, faces=faces, tracks=tracks) for k in (n, 0, 1)
    ]
    names = ["a ü/0.jpg", "0.jpg", "b/1.png"]
    with CocoWriter(path, {"detector": "x"}) as writer:
        for name, some in zip(names, people, strict=True):
            writer.add(name, some, SIZE)
    detector = CocoFile(path=path)
    got = detector.detect([np.zeros((*SIZE, 3), np.uint8)] * 3, [Sample(x, Path(x)) for x in names])
    for a, b in zip(people, got, strict=True):
        _same(a, b)


def test_the_json_is_what_coco_reads(tmp_path):
    from pycocotools.coco import COCO

    people = _anybody(np.random.default_rng(1), 3, masks=True, keypoints=True, faces=True, tracks=True)
    with CocoWriter(tmp_path / "p.json", {}) as writer:
        writer.add("a.jpg", people, SIZE)
    coco = COCO(tmp_path / "p.json")
    assert [c["name"] for c in coco.dataset["categories"]] == ["person", "face"]
    for row, mask in zip(coco.loadAnns(coco.getAnnIds()), people.masks, strict=True):
        assert (coco.annToMask(row) == mask).all()
        assert row["area"] == mask.sum()


def test_an_interrupted_json_is_not_there(tmp_path):
    with pytest.raises(KeyboardInterrupt), CocoWriter(tmp_path / "p.json", {}) as writer:  # noqa: PT012
        writer.add("a.jpg", People.none(), SIZE)
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_surface_names_its_picture(tmp_path):
    people = People.of(
        [[0, 0, 5, 5]], surfaces=[SurfaceMap("t", np.zeros(4, np.int32), np.zeros((5, 5), np.int32))]
    )
    with CocoWriter(tmp_path / "p.json", {}) as writer:
        writer.add("a.jpg", people, SIZE)
    data = json.loads((tmp_path / "p.json").read_text())
    data["annotations"][0]["surface"]["vertices"] = "AAAA"
    (tmp_path / "p.json").write_text(json.dumps(data))
    with pytest.raises(DatasetError, match=r"of a\.jpg has a surface that cannot be read"):
        CocoFile(path=tmp_path / "p.json").detect(
            [np.zeros((*SIZE, 3), np.uint8)], [Sample("a.jpg", Path("a"))]
        )


def _disjoint(n):
    masks = np.zeros((n, *SIZE), np.bool_)
    boxes = []
    for i in range(n):
        x, y = 2 * (i % 30), 3 * (i // 30)
        masks[i, y : y + 2, x : x + 1] = True
        boxes.append([x, y, x + 1, y + 2])
    return People.of(np.array(boxes, np.float32).reshape(-1, 4), masks=masks)


@pytest.mark.parametrize("n", [0, 1, 255, 300])
def test_png_gives_back_masks_that_do_not_overlap(tmp_path, n):
    people = _disjoint(n)
    saving.write_id_mask(tmp_path / "deep" / "a.png", people, SIZE)
    detector = IdMasks(path=tmp_path)
    assert isinstance(detector, Detector)
    (got,) = detector.detect([np.zeros((*SIZE, 3), np.uint8)], [Sample("deep/a.jpg", Path("a"))])
    assert len(got) == n
    if n:
        assert (got.masks == people.masks).all()
        assert (got.boxes == people.boxes).all()
    assert Pillow.open(tmp_path / "deep" / "a.png").mode == ("L" if n < 256 else "I;16")


def test_where_people_overlap_a_png_shows_the_smaller():
    big, small = np.zeros(SIZE, np.bool_), np.zeros(SIZE, np.bool_)
    big[:30], small[10:12, 5:9] = True, True
    ids = saving.id_mask(People.of([[5, 10, 9, 12], [0, 0, 70, 30]], masks=np.stack((small, big))), SIZE)
    assert (ids[10:12, 5:9] == 1).all()
    assert (ids == 2).sum() == big.sum() - small.sum()
    tracked = People.of([[0, 0, 2, 2]], track_ids=np.array([6]))
    assert set(np.unique(saving.id_mask(tracked, SIZE))) == {0, 7}


def test_masks_of_other_programs(tmp_path):
    ids = np.zeros(SIZE, np.int64)
    ids[5:9, 5:9], ids[20:30, 20:25] = 3, 259
    rgb = np.stack([ids % 256, ids // 256, ids * 0], 2).astype(np.uint8)
    Pillow.fromarray(rgb).save(tmp_path / "rgb.png")
    palette = Pillow.fromarray((ids % 256).astype(np.uint8)).convert("P")
    palette.putdata((ids % 256).ravel().tolist())
    palette.save(tmp_path / "palette.png")
    Pillow.fromarray((ids > 0).astype(np.uint8) * 255).convert("1").save(tmp_path / "bits.png")
    assert (saving.read_ids(tmp_path / "rgb.png", "x") == ids).all()
    assert len(np.unique(saving.read_ids(tmp_path / "palette.png", "x"))) == 2
    assert set(np.unique(saving.read_ids(tmp_path / "bits.png", "x"))) == {0, 1}


def test_bad_masks_are_named(tmp_path):
    with pytest.raises(DatasetError, match="needs a folder of masks, and there is none"):
        IdMasks()

    def detect(name):
        return IdMasks(path=tmp_path).detect([np.zeros((*SIZE, 3), np.uint8)], [Sample(name, Path(name))])

    with pytest.raises(DatasetError, match=r"no mask .*a\.png"):
        detect("a.jpg")
    Pillow.new("L", (3, 3)).save(tmp_path / "b.png")
    with pytest.raises(DatasetError, match="3x3 pixels"):
        detect("b.jpg")
    (tmp_path / "c.png").write_text("nonsense")
    with pytest.raises(DatasetError, match="cannot be read"):
        detect("c.jpg")
    Pillow.new("RGBA", (70, 50)).save(tmp_path / "d.png")
    with pytest.raises(DatasetError, match="holds no ids"):
        detect("d.jpg")
