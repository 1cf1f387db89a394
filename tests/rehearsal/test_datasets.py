"""The tiny datasets are read by the loaders of the field, and by ours, as if they were the official ones."""

from __future__ import annotations

import contextlib
import io
import json
import os

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow

from dp2bench.core import registry
from dp2bench.metrics.instances import evaluate_instances
from dp2bench.rehearsal import datasets
from dp2bench.rehearsal.suites import COUNTED
from dp2bench.tasks.image_quality import FEWEST


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for name, build in datasets.BUILDERS.items():
        (folder / name).mkdir()
        build(folder / name)
    return folder


@pytest.mark.parametrize("name", sorted(datasets.BUILDERS))
def test_our_readers_verify_and_rewrite_them(root, tmp_path, name):
    given = {"official": False} if name in COUNTED else {}
    given |= {"pictures": "all"} if name == "coco" else {}
    dataset = registry.create("datasets", name, {"root": root, **given})
    dataset.verify()
    if "val" in dataset.meta.splits:
        assert len(dataset.samples("val")) >= FEWEST
    pictures = [
        (split, s.id, 255 - dataset.read(s)) for split in dataset.meta.splits for s in dataset.samples(split)
    ]
    copy = dataset.rewrite(tmp_path / "copy", pictures)
    assert {s: len(copy.samples(s)) for s in dataset.meta.splits} == {
        s: len(dataset.samples(s)) for s in dataset.meta.splits
    }


def test_the_same_bytes_every_time(root, tmp_path):
    datasets.market1501(tmp_path)
    ours = {p.relative_to(tmp_path): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    theirs = root / "market1501"
    assert ours == {p.relative_to(theirs): p.read_bytes() for p in theirs.rglob("*") if p.is_file()}


def test_torchreid_reads_market1501(root):
    with contextlib.redirect_stdout(io.StringIO()):
        from torchreid.reid.data.datasets import Market1501

        found = Market1501(root=str(root))
    assert len({p for _, p, *_ in found.train}) == 3
    assert {p for _, p, *_ in found.query} == {1, 3}
    assert {p for _, p, *_ in found.gallery} == {0, 1, 3}  # junk is left out, distractors stay
    assert {c for _, _, c, *_ in found.query} == {0, 1}


@pytest.mark.parametrize("split", ["train2017", "val2017"])
def test_pycocotools_reads_coco(root, split):
    from pycocotools.coco import COCO

    with contextlib.redirect_stdout(io.StringIO()):
        people = COCO(str(root / "coco" / "annotations" / f"person_keypoints_{split}.json"))
        things = COCO(str(root / "coco" / "annotations" / f"instances_{split}.json"))
    assert people.getCatIds() == [1]
    assert len(things.getCatIds()) == 80
    assert [things.cats[i]["name"] for i in (1, 62, 90)] == ["person", "chair", "toothbrush"]
    assert len(people.cats[1]["keypoints"]) == 17
    for image in people.dataset["images"]:
        with Pillow.open(root / "coco" / split / image["file_name"]) as picture:
            assert picture.size == (image["width"], image["height"])
        for row in people.loadAnns(people.getAnnIds(image["id"])):
            mask = people.annToMask(row)
            assert mask.sum() == pytest.approx(row["area"], rel=0.1)
    crowds = [a for a in people.dataset["annotations"] if a["iscrowd"]]
    unseen = [a for a in people.dataset["annotations"] if not a["iscrowd"] and not a["num_keypoints"]]
    assert crowds
    assert all(isinstance(a["segmentation"], dict) for a in crowds)
    assert unseen or split == "val2017"


def test_cityscapesscripts_reads_cityscapes(root, tmp_path):
    from cityscapesscripts.evaluation.instances2dict import instances2dict
    from cityscapesscripts.helpers.annotation import Annotation

    files = sorted((root / "cityscapes" / "gtFine" / "val").rglob("*_gtFine_instanceIds.png"))
    assert len(files) == 8
    assert {p.parent.name for p in files} == set(datasets.CITIES["val"])
    with contextlib.redirect_stdout(io.StringIO()):
        instances = instances2dict([str(p) for p in files], False)
    first = instances[os.path.abspath(files[0])]  # noqa: PTH100 - its keys
    assert {label: len(first[label]) for label in ("person", "rider", "bicycle", "car")} == {
        "person": 2, "rider": 1, "bicycle": 1, "car": 1,
    }  # fmt: skip
    for path in files:
        polygons = Annotation()
        polygons.fromJsonFile(str(path).replace("instanceIds.png", "polygons.json"))
        assert {o.label for o in polygons.objects} >= {"person", "rider", "road"}
    # the official evaluator, shown the labels themselves as predictions, finds every instance
    predictions = []
    for path in files:
        lines = []
        numbers = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        for number in np.unique(numbers[numbers >= 1000]):
            mask = tmp_path / f"{path.stem}-{number}.png"
            cv2.imwrite(str(mask), 255 * (numbers == number).astype(np.uint8))
            lines.append(f"{mask.name} {number // 1000} 1.0\n")
        predictions.append(tmp_path / f"{path.stem}.txt")
        predictions[-1].write_text("".join(lines))
    found = evaluate_instances(files, tmp_path).classes
    assert {name: found[name] for name in ("person", "rider", "bicycle", "car")} == {
        "person": 1.0, "rider": 1.0, "bicycle": 1.0, "car": 1.0,
    }  # fmt: skip


def test_webdataset_reads_fdh(root):
    wds = pytest.importorskip("webdataset", reason="webdataset is not installed")
    found = list(wds.WebDataset(str(root / "fdh" / "val" / "out-{000000..000001}.tar"), shardshuffle=False))
    assert len(found) == 8
    for sample in found:
        vertices = np.load(io.BytesIO(sample["vertices.npy"]))
        known = np.array(Pillow.open(io.BytesIO(sample["e_mask.png"])))
        assert vertices.shape == known.shape == (288, 160)
        assert 0 <= vertices.min() <= vertices.max() < datasets.VERTICES
        assert np.load(io.BytesIO(sample["keypoints.npy"])).shape == (17, 3)


def test_fdf256_is_as_published(root):
    folder = root / "fdf256" / "val"
    assert np.load(folder / "bounding_box.npy").shape == (8, 4)
    assert np.load(folder / "landmarks.npy").shape == (8, 7, 2)
    assert sorted(p.name for p in (folder / "images").iterdir()) == [f"{i}.png" for i in range(8)]


def test_detectron2_reads_coco(root):
    pytest.importorskip(
        "detectron2", reason="detectron2 builds from source only: the target `detectron2` of the Dockerfile"
    )
    from detectron2.data.datasets import load_coco_json

    rows = load_coco_json(
        str(root / "coco" / "annotations" / "person_keypoints_val2017.json"), str(root / "coco" / "val2017")
    )
    assert len(rows) == len(
        json.loads((root / "coco" / "annotations" / "person_keypoints_val2017.json").read_text())["images"]
    )
