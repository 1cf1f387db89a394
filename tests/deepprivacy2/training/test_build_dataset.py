"""A training set of one's own pictures: who becomes a crop, who does not, and why."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

from dp2bench.cli.main import app
from dp2bench.core.contracts import ComponentMeta, Detector
from dp2bench.core.errors import Dp2benchError
from dp2bench.core.images import write_image
from dp2bench.core.types import People, SurfaceMap
from dp2bench.datasets.fdh import FDH
from dp2bench.datasets.folder import Folder
from dp2bench.datasets.passersby.coco import PassersbyCoco
from dp2bench.deepprivacy2.training.build_dataset import Filters, build_dataset, split_of
from dp2bench.detection.ensemble import Ensemble

TEMPLATE = "passersby-13380"
BOX = (90, 40, 150, 200)


class Finder(Detector):
    """One person a picture, a rectangle; odd pictures have no surface."""

    meta = ComponentMeta("finder")

    def detect(self, images, samples):
        found = []
        for image, sample in zip(images, samples, strict=True):
            x0, y0, x1, y1 = BOX
            mask = np.zeros((1, *image.shape[:2]), bool)
            mask[0, y0:y1, x0:x1] = True
            ids = np.random.default_rng(0).integers(0, 13_380, (y1 - y0, x1 - x0)).astype(np.int32)
            number = int(sample.path.stem)
            surface = None if number % 2 else SurfaceMap(TEMPLATE, np.array(BOX, np.int32), ids)
            keypoints = np.zeros((1, 17, 3), np.float32)
            keypoints[0, :4] = [(100, 60, 2), (120, 100, 2), (140, 180, 1), (10, 10, 0)]
            found.append(People.of([BOX], masks=mask, surfaces=(surface,), keypoints=keypoints))
        return found


@pytest.fixture
def pictures(tmp_path):
    for i in range(8):
        image = np.random.default_rng(i).integers(0, 256, (240, 240, 3)).astype(np.uint8)
        if i == 2:
            image[:] = 90
        write_image(tmp_path / "in" / f"{i}.png", image)
    (tmp_path / "in" / "8.png").write_bytes(b"no picture")
    return Folder(tmp_path / "in")


def test_everybody_is_a_crop_or_counted_with_the_reason(pictures, tmp_path):
    report = build_dataset(pictures, Finder(), tmp_path / "out", validation=0.3)
    assert report["pictures"] == 9
    assert list(report["unreadable"]) == ["all/8.png"]
    assert report["removed"] == {"surface": 4, "sharpness": 1}
    assert report["not_checked"] == {}
    assert sum(report["crops"].values()) == 3
    assert json.loads((tmp_path / "out" / "filtered.json").read_text()) == report
    made = FDH(tmp_path / "out")
    kept = [crop for split in report["crops"] for crop in made.crops(split)]
    assert len(kept) == 3
    for crop in kept:
        assert crop.vertices is not None
        assert crop.hole[144, 80]
        assert (crop.keypoints[:, 2] > 0).sum() == 3
    assert made.template == TEMPLATE


def test_an_ensembles_surface_is_held_against_its_instance_network(pictures, tmp_path):
    class Half(Finder):
        """Masks of the upper half, without surface."""

        def detect(self, images, samples):
            found = super().detect(images, samples)
            for people in found:
                people.masks[:, 120:] = False
            return [People.of(p.boxes, masks=p.masks) for p in found]

    limits = {"parts": None, "sharpness": None, "contrast": None}
    agreeing = build_dataset(
        pictures, Ensemble(Half(), Finder()), tmp_path / "a", filters=Filters(**limits, surface_iou=0.4)
    )
    assert agreeing["percentiles_5_50_95"]["surface_iou"][1] == pytest.approx(0.5, abs=0.02)
    assert "surface_iou" not in agreeing["removed"]
    with pytest.raises(Dp2benchError, match="by surface_iou"):
        build_dataset(
            pictures, Ensemble(Half(), Finder()), tmp_path / "b", filters=Filters(**limits, surface_iou=0.6)
        )


def test_crops_without_surfaces(pictures, tmp_path):
    report = build_dataset(
        pictures,
        Finder(),
        tmp_path / "out",
        filters=Filters(surface=False, sharpness=None, contrast=None),
        validation=0,
    )
    assert report["crops"] == {"train": 8}
    assert report["not_checked"] == {"parts": 4, "surface_iou": 4, "keypoints_on_surface": 4}
    assert FDH(tmp_path / "out").crops("train")[0].vertices is None


@pytest.mark.parametrize(
    "limit", [{"height": 500}, {"score": 1.1}, {"keypoints_on_surface": 1.1}, {"parts": 1.1}]
)
def test_a_limit_nobody_holds_is_named(pictures, tmp_path, limit):
    with pytest.raises(Dp2benchError, match=next(iter(limit))):
        build_dataset(pictures, Finder(), tmp_path / "out", filters=Filters(**limit))


def test_people_are_looked_up_in_the_annotations_of_a_dataset(pictures, tmp_path):
    """By the command, which also says what there was nothing to check by."""
    root = tmp_path / "coco"
    (root / "annotations").mkdir(parents=True)
    (root / "train2017").mkdir()
    (root / "val2017").mkdir()
    x0, y0, x1, y1 = BOX
    (tmp_path / "in" / "0.png").rename(root / "val2017" / "0.png")
    nothing = {"images": [], "categories": [{"id": 1, "name": "person"}], "annotations": []}
    (root / "annotations" / "person_keypoints_train2017.json").write_text(json.dumps(nothing))
    (root / "annotations" / "person_keypoints_val2017.json").write_text(
        json.dumps(
            {
                "images": [{"id": 1, "file_name": "0.png", "width": 240, "height": 240}],
                "categories": [{"id": 1, "name": "person"}],
                "annotations": [
                    {
                        "id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": (x1 - x0) * (y1 - y0),
                        "bbox": [x0, y0, x1 - x0, y1 - y0], "keypoints": [0] * 51, "num_keypoints": 0,
                        "segmentation": [[x0, y0, x1, y0, x1, y1, x0, y1]],
                    }
                ],
            }
        )
    )  # fmt: skip
    given = ("--dataset", "coco", "--detector", "annotations", "-l", "surface=false", "--validation", "0")
    result = CliRunner().invoke(
        app, ["train", "crops", str(root), str(tmp_path / "out"), *given], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    said = " ".join(result.output.split())
    assert "1 people in 1 pictures; crops: {'train': 1}" in said
    assert (
        "Not checked, for want of data: parts on 1 crops, surface_iou on 1 crops, keypoints_on_surface on 1 crops."
        in said
    )
    assert len(FDH(tmp_path / "out").crops("train")) == 1


def test_a_picture_is_on_one_side():
    sides = [split_of(f"{i}.jpg", 0.2) for i in range(1000)]
    assert sides == [split_of(f"{i}.jpg", 0.2) for i in range(1000)]
    assert 150 < sides.count("val") < 250


STUBS = '''
"""Detectors that know a rendered scene, by the name of its file."""

import numpy as np

from dp2bench.core.contracts import ComponentMeta, Detector
from dp2bench.core.types import People
from dp2bench.datasets.passersby.coco import PassersbyCoco


class Known(Detector):
    """Masks and surfaces."""

    meta = ComponentMeta("known")

    def __init__(self):
        scenes = PassersbyCoco("smoke")
        self.truth = {s.path.name: scenes.people(s) for p in scenes.meta.splits for s in scenes.samples(p)}

    def detect(self, images, samples):
        found = [self.truth[s.path.name] for s in samples]
        return [People.of(p.boxes, masks=p.masks, surfaces=p.surfaces) for p in found]


class Points(Known):
    """Boxes and keypoints, some pixels off, in another order; those of pictures named ``wrong`` in a corner of the box."""

    meta = ComponentMeta("points")

    def __init__(self, *, wrong=(), unsure=()):
        super().__init__()
        self.wrong, self.unsure = wrong, unsure

    def detect(self, images, samples):
        out = []
        for sample in samples:
            people, rng = self.truth[sample.path.name], np.random.default_rng(0)
            boxes = people.boxes + rng.normal(0, 1, people.boxes.shape)
            points = people.keypoints + rng.normal(0, 1.5, people.keypoints.shape) * [1, 1, 0]
            if sample.path.stem in self.wrong:
                points[..., :2] = boxes[:, None, :2]
            if sample.path.stem in self.unsure:
                points[..., 2] = 0
            out.append(People.of(boxes[::-1], keypoints=points[::-1].astype(np.float32)))
        return out
'''


def test_keypoints_of_a_detector_are_held_against_the_surface(rendered_cache, tmp_path, monkeypatch):
    """By the command, on rendered scenes: keypoints that agree, that do not, and that are not sure enough to be seen."""
    monkeypatch.setenv("DP2BENCH_CACHE", str(rendered_cache))
    scenes = PassersbyCoco("smoke")
    scenes.prepare()
    (tmp_path / "in").mkdir()
    (tmp_path / "rendered_stubs.py").write_text(STUBS)
    monkeypatch.syspath_prepend(tmp_path)
    names = []
    for sample in scenes.samples("train")[:3]:
        shutil.copy(sample.path, tmp_path / "in")
        names.append(sample.path.stem)

    def crops(out, *given):
        command = ["train", "crops", str(tmp_path / "in"), str(tmp_path / out), "-l", "parts=null", *given]
        result = CliRunner().invoke(app, command, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        report = json.loads((tmp_path / out / "filtered.json").read_text())
        made = FDH(tmp_path / out)
        kept = [c for split in report["crops"] for c in made.crops(split)]
        return " ".join(result.output.split()), report, kept

    said, without, kept = crops("without", "--detector", "rendered_stubs:Known")
    total = len(kept)
    assert total > 4
    assert f"keypoints_on_surface on {total} crops. Keypoints come with `-d keypoints=" in said
    assert "held against" not in said
    assert without["checked"]["keypoints_on_surface"] == 0
    assert not any(c.keypoints[:, 2].any() for c in kept)

    def by(wrong, unsure=()):
        return (
            "--detector", "with-keypoints", "-d", "detector=rendered_stubs:Known", "-d", "keypoints=rendered_stubs:Points",
            "-d", f"keypoints_arguments={{wrong: {json.dumps(wrong)}, unsure: {json.dumps(unsure)}}}",
        )  # fmt: skip

    said, good, kept = crops("good", *by([]))
    assert good["removed"] == without["removed"], "nobody is lost by keypoints that agree"
    assert f"Keypoints were held against the surface on {total} crops." in said
    assert "Not checked" not in said
    assert good["checked"]["keypoints_on_surface"] == total
    assert good["percentiles_5_50_95"]["keypoints_on_surface"][0] > 0.8
    assert all(c.keypoints[:, 2].any() for c in kept)
    assert "rendered_stubs" not in good["detector"]
    assert good["detector"].startswith("with-keypoints 1+known:1+points:1")

    of = {name: sum(c.key.startswith(name) for c in kept) for name in names}
    assert 0 < of[names[1]] < total
    said, mixed, kept = crops("mixed", *by([names[1]], [names[2]]))
    assert mixed["removed"]["keypoints_on_surface"] == of[names[1]], "who does not agree"
    assert not any(c.key.startswith(names[1]) for c in kept)
    assert mixed["not_checked"] == {"keypoints_on_surface": of[names[2]]}
    assert len(kept) == total - of[names[1]]
    assert f"held against the surface on {len(kept) - of[names[2]]} crops." in said
    assert f"Not checked, for want of data: keypoints_on_surface on {of[names[2]]} crops. Written" in said


def test_hidden_keypoints_are_not_held_against_the_surface(pictures, tmp_path):
    """Annotated behind another person, where the surface is not seen."""

    class Hidden(Finder):
        def detect(self, images, samples):
            found = super().detect(images, samples)
            for people in found:
                people.keypoints[0, 4:9] = (215, 200, 1)
            return found

    limits = {"sharpness": None, "contrast": None}
    report = build_dataset(pictures, Hidden(), tmp_path / "out", filters=Filters(**limits))
    assert report["percentiles_5_50_95"]["keypoints_on_surface"] == [1, 1, 1]
    assert report["removed"] == {"surface": 4}


def test_an_ensembles_keypoints_are_held_against_its_surface(pictures, tmp_path):
    class Points(Finder):
        def detect(self, images, samples):
            return [People.of(p.boxes, keypoints=p.keypoints) for p in super().detect(images, samples)]

    report = build_dataset(
        pictures,
        Ensemble(Finder(), Finder(), keypoints=Points()),
        tmp_path / "out",
        filters=Filters(sharpness=None, contrast=None),
    )
    assert report["checked"]["keypoints_on_surface"] == sum(report["crops"].values()) > 0
    assert report["not_checked"] == {}
