"""Through the command line: annotations that do not belong to their pictures end in one message, and nothing is written."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow

from .program import run

pytestmark = pytest.mark.e2e
SIZE = (240, 320)
PERSON = np.s_[40:200, 100:180]
BICYCLE = np.s_[10:50, 10:50]


def said(done: subprocess.CompletedProcess[str]) -> str:
    assert "Traceback" not in done.stdout + done.stderr
    return " ".join((done.stdout + done.stderr).split())


def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (*SIZE, 3), dtype=np.uint8)


def annotation(number: int, image: object, category: int, box: list[int]) -> dict:
    x, y, w, h = box
    outline = [x, y, x + w, y, x + w, y + h, x, y + h]
    return {
        "id": number, "image_id": image, "category_id": category, "iscrowd": 0, "bbox": box, "area": w * h, "segmentation": [outline],
        "keypoints": [0] * 51, "num_keypoints": 0,
    }  # fmt: skip


def coco(root: Path, person: int = 1, **options: object) -> Path:
    """COCO's layout with two pictures of a person and a bicycle."""
    kinds = [{"id": person, "name": "person"}, {"id": 3 - person, "name": "bicycle"}]
    data = {
        "images": [{"id": i, "file_name": f"{i:012d}.png", "width": 320, "height": 240} for i in (1, 2)],
        "annotations": [annotation(i, i, person, [100, 40, 80, 160]) for i in (1, 2)]
        + [annotation(2 + i, i, 3 - person, [10, 10, 40, 40]) for i in (1, 2)],
        "categories": kinds,
    }
    (root / "annotations").mkdir(parents=True)
    for split in ("train2017", "val2017"):
        (root / split).mkdir()
        for i in (1, 2):
            Pillow.fromarray(picture()).save(root / split / f"{i:012d}.png", **options)
        for kind in ("person_keypoints", "instances"):
            (root / "annotations" / f"{kind}_{split}.json").write_text(json.dumps(data))
    return root


def test_people_of_another_category_are_replaced_and_that_is_said(tmp_path):
    coco(tmp_path / "in", person=2)
    done = run("anonymize", "in", "out", "--dataset", "coco", "--subset", "-m", "mask-out", cwd=tmp_path)
    assert done.returncode == 1
    assert "people are the annotations of category 'person' (id 2)" in said(done)
    after = np.asarray(Pillow.open(tmp_path / "out" / "val2017" / "000000000001.png"))
    assert (after[PERSON] == 127).all()
    assert (after[BICYCLE] == picture()[BICYCLE]).mean() > 0.9


def test_an_official_layout_needs_no_word(tmp_path):
    coco(tmp_path / "in")
    done = run("anonymize", "in", "out", "--dataset", "coco", "--subset", "-m", "mask-out", cwd=tmp_path)
    assert done.returncode == 0
    assert "check this" not in said(done)


def test_who_is_annotated_and_not_found_is_said(tmp_path, monkeypatch):
    (tmp_path / "corner.py").write_text(
        "from dp2bench.core.contracts import ComponentMeta, Detector\nfrom dp2bench.core.types import People\n"
        "class Corner(Detector):\n    meta = ComponentMeta('corner')\n"
        "    def detect(self, images, samples):\n"
        "        return [People.of([[10, 10, 50, 50]], image_size=image.shape[:2]) for image in images]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    command = ("--dataset", "coco", "--subset", "-m", "mask-out", "--detector", "corner:Corner")
    coco(tmp_path / "in")
    done = run("anonymize", "in", "out", *command, cwd=tmp_path)
    assert "4 anonymized, 0 missed" in said(done)
    assert "not found: 4 people whom the dataset annotates, and corner did not find" in said(done)
    assert done.returncode == 1


def test_turned_pictures_are_refused(tmp_path):
    exif = Pillow.Exif()
    exif[0x0112] = 3
    coco(tmp_path / "in", exif=exif)
    done = run("anonymize", "in", "out", "--dataset", "coco", "--subset", "-m", "mask-out", cwd=tmp_path)
    assert done.returncode == 2
    assert re.search(
        r"000000000001\.png is turned by its EXIF orientation 3.*What to do: Turn the pixels", said(done)
    )
    assert not (tmp_path / "out").exists()


def detections(tmp_path: Path, data: dict, names: tuple[str, ...] = ("a.png", "b.png")) -> None:
    (tmp_path / "in").mkdir()
    for name in names:
        Pillow.fromarray(picture()).save(tmp_path / "in" / name)
    (tmp_path / "people.json").write_text(json.dumps(data))


def listed(*names: str) -> dict:
    return {
        "images": [{"id": i, "file_name": n, "width": 320, "height": 240} for i, n in enumerate(names, 1)],
        "annotations": [{"id": i, "image_id": i, "category_id": 1, "bbox": [20 + 90 * i, 40, 80, 160]} for i in range(1, len(names) + 1)],
        "categories": [{"id": 1, "name": "person"}],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: [a.update(image_id=str(a["image_id"])) for a in d["annotations"]], "it is a text here and a number there"),
        (lambda d: [a.update(keypoints=[0] * 399) for a in d["annotations"]], "an annotation (id 1) of a.png has 133 keypoints"),
        (lambda d: d["images"].pop(), "annotations[1].image_id is 2, which `images` does not list"),
        (lambda d: [i.update(id=i["id"] + 5) for i in d["images"]], "annotations[0].image_id is 1, which `images` does not list"),
        (lambda d: [a.update(bbox=[0.3, 0.2, 0.3, 0.6]) for a in d["annotations"]], "shares of the picture"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_resolved_is_refused_before_anything_is_written(tmp_path, change, message):
    data = listed("a.png", "b.png")
    change(data)
    detections(tmp_path, data)
    done = run("anonymize", "in", "out", "-m", "mask-out", "--detections", "people.json", cwd=tmp_path)
    assert done.returncode == 2
    assert message in said(done)
    assert "people.json" in said(done)
    assert "What to do" in said(done)
    assert not (tmp_path / "out").exists()


def test_a_box_under_a_pixel_is_missed(tmp_path):
    data = listed("a.png", "b.png")
    data["annotations"][0]["bbox"] = [100, 40, 0.4, 0.4]
    detections(tmp_path, data)
    done = run("anonymize", "in", "out", "-m", "mask-out", "--detections", "people.json", cwd=tmp_path)
    assert done.returncode == 1
    assert "1 anonymized, 1 missed" in said(done)
    assert "a box smaller than a pixel a.png: person 0" in said(done)


@pytest.mark.parametrize("form", ["json", "masks"])
def test_annotations_that_name_nobody_at_all(tmp_path, form):
    """An export that lost its annotations looks like this."""
    data = listed("a.png", "b.png")
    data["annotations"] = []
    detections(tmp_path, data)
    (tmp_path / "masks").mkdir()
    for name in ("a.png", "b.png"):
        Pillow.fromarray(np.zeros(SIZE, np.uint8)).save(tmp_path / "masks" / name)
    file = "people.json" if form == "json" else "masks"
    done = run("anonymize", "in", "out", "-m", "mask-out", "--detections", file, cwd=tmp_path)
    assert done.returncode == 1
    assert "nobody found: the annotations name nobody" in said(done)


def test_which_category_was_taken_is_said(tmp_path):
    data = listed("a.png", "b.png")
    data["categories"] = [{"id": 1, "name": "Pedestrian"}]
    detections(tmp_path, data)
    done = run("anonymize", "in", "out", "-m", "mask-out", "--detections", "people.json", cwd=tmp_path)
    assert done.returncode == 0
    assert "people are the annotations of category 'Pedestrian' (id 1)" in said(done)


def test_masks_of_pictures_of_one_stem(tmp_path):
    detections(tmp_path, listed("IMG_7.jpg", "IMG_7.png"), ("IMG_7.jpg", "IMG_7.png"))
    done = run(
        "detect", "in", "--detector", "coco-json", "-d", "path=people.json", "--out", "masks", cwd=tmp_path
    )
    assert done.returncode == 0, said(done)
    assert sorted(p.name for p in (tmp_path / "masks").iterdir()) == ["IMG_7.jpg.png", "IMG_7.png.png"]
    done = run("anonymize", "in", "out", "-m", "mask-out", "--detections", "masks", cwd=tmp_path)
    assert done.returncode == 0, said(done)
    after = np.asarray(Pillow.open(tmp_path / "out" / "IMG_7.png"))
    assert (after[40:200, 200:280] == 127).all()
    assert (after[40:200, 110:180] == picture()[40:200, 110:180]).all()


def test_instances_of_8_bits(tmp_path):
    ids = np.full(SIZE, 7, np.uint16)
    ids[PERSON] = 24001
    labels = np.where(ids > 1000, 24, ids).astype(np.uint8)
    outline = [[100, 40], [179, 40], [179, 199], [100, 199]]
    for split in ("train", "val"):
        stem = "aachen_000000_000019"
        for folder in ("leftImg8bit", "gtFine"):
            (tmp_path / "in" / folder / split / "aachen").mkdir(parents=True)
        cv2.imwrite(
            str(tmp_path / "in" / "leftImg8bit" / split / "aachen" / f"{stem}_leftImg8bit.png"), picture()
        )
        truth = tmp_path / "in" / "gtFine" / split / "aachen"
        for kind, pixels in (("instanceIds", ids.astype(np.uint8)), ("labelIds", labels), ("color", labels)):
            cv2.imwrite(str(truth / f"{stem}_gtFine_{kind}.png"), pixels)
        objects = [{"label": "person", "polygon": outline}]
        told = {"imgHeight": 240, "imgWidth": 320, "objects": objects}
        (truth / f"{stem}_gtFine_polygons.json").write_text(json.dumps(told))
    done = run(
        "anonymize", "in", "out", "--dataset", "cityscapes", "--subset", "-m", "mask-out", cwd=tmp_path
    )
    assert done.returncode == 2
    assert "instanceIds.png holds the value 193" in said(done)
    assert not (tmp_path / "out").exists()


def test_a_video_in_which_the_annotations_find_nobody(tmp_path):
    pytest.importorskip("av")
    clips = runpy.run_path(str(Path(__file__).parents[1] / "datasets" / "clips.py"))
    clips["make"](tmp_path / "clip.mp4", 8, sound=False)
    done = run("detect", "clip.mp4", "--detector", "full-image", "--out", "people.json", cwd=tmp_path)
    assert done.returncode == 0, said(done)
    data = json.loads((tmp_path / "people.json").read_text())
    data["images"].append({"id": 99, "file_name": "other.mp4/00000000"})
    for row in data["annotations"]:
        row["image_id"] = 99
        row.pop("segmentation", None)
    (tmp_path / "people.json").write_text(json.dumps(data))
    done = run(
        "anonymize", "clip.mp4", "safe.mp4", "-m", "mask-out", "--detections", "people.json", cwd=tmp_path
    )
    assert done.returncode == 1
    assert "the annotations name 8 people, and none of them here" in said(done)
