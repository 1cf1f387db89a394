"""A training set of one's own pictures: who becomes a crop, who does not, and why."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from dp2bench.cli.main import app
from dp2bench.core.contracts import ComponentMeta
from dp2bench.core.errors import Dp2benchError
from dp2bench.core.images import write_image
from dp2bench.core.types import People, SurfaceMap
from dp2bench.datasets.fdh import FDH
from dp2bench.datasets.folder import Folder
from dp2bench.deepprivacy2.detection.ensemble import Ensemble
from dp2bench.deepprivacy2.training.building import Filters, build, split_of

TEMPLATE = "passersby-13380"
BOX = (90, 40, 150, 200)


class Finder:
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
    report = build(pictures, Finder(), tmp_path / "out", validation=0.3)
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
    agreeing = build(
        pictures, Ensemble(Half(), Finder()), tmp_path / "a", filters=Filters(**limits, surface_iou=0.4)
    )
    assert agreeing["percentiles_5_50_95"]["surface_iou"][1] == pytest.approx(0.5, abs=0.02)
    assert "surface_iou" not in agreeing["removed"]
    with pytest.raises(Dp2benchError, match="by surface_iou"):
        build(
            pictures, Ensemble(Half(), Finder()), tmp_path / "b", filters=Filters(**limits, surface_iou=0.6)
        )


def test_crops_without_surfaces(pictures, tmp_path):
    report = build(
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
        build(pictures, Finder(), tmp_path / "out", filters=Filters(**limit))


def test_people_are_looked_up_in_the_annotations_of_a_dataset(pictures, tmp_path):
    """By the command, which also says what there was nothing to check by."""
    root = tmp_path / "coco"
    (root / "annotations").mkdir(parents=True)
    (root / "train2017").mkdir()
    (root / "val2017").mkdir()
    x0, y0, x1, y1 = BOX
    (tmp_path / "in" / "0.png").rename(root / "val2017" / "0.png")
    nothing = {"images": [], "categories": [], "annotations": []}
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
