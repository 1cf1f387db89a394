"""The small keypoint network: geometry, targets and their inverse, going on after a kill, and failures that say what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from dp2bench.core.contracts import no_progress
from dp2bench.core.errors import DatasetError, Dp2benchError
from dp2bench.core.images import write_image
from dp2bench.datasets.coco import FOLDERS, Coco
from dp2bench.downstream import keypoints
from dp2bench.downstream.keypoints import MIRRORED, KeypointConfig

SMALL = KeypointConfig(height=64, width=48, channels=16, epochs=3, batch_size=4)


@pytest.fixture(scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory) -> Coco:
    """Six pictures a split, each with one person whose keypoints are bright dots, and one without keypoints."""
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("coco")
    rng = np.random.default_rng(0)
    (root / "annotations").mkdir()
    for folder in FOLDERS.values():
        images, annotations = [], []
        for i in range(1, 7):
            image = rng.integers(0, 60, (120, 160, 3), np.uint8)
            x, y, w, h = (int(v) for v in (*rng.integers(5, 60, 2), 40, 55))
            points = np.stack([rng.integers(x, x + w, 17), rng.integers(y, y + h, 17), np.full(17, 2)], 1)
            image[points[:, 1], points[:, 0]] = 255
            write_image(root / folder / f"{i:012d}.png", image)
            images.append({"id": i, "file_name": f"{i:012d}.png", "width": 160, "height": 120})
            row = {"image_id": i, "category_id": 1, "iscrowd": 0, "area": w * h * 0.6, "bbox": [x, y, w, h]}
            row["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
            annotations.append(row | {"keypoints": points.ravel().tolist(), "num_keypoints": 17})
            annotations.append(row | {"keypoints": [0] * 51, "num_keypoints": 0})
        for number, row in enumerate(annotations, 1):
            row["id"] = number
        data = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "person"}]}
        for kind in ("person_keypoints", "instances"):
            (root / "annotations" / f"{kind}_{folder}.json").write_text(json.dumps(data))
    return Coco(root, official=False)


@pytest.mark.parametrize("vary", [None, 5])
def test_crops_hold_the_keypoints_where_they_say(coco, vary):
    recipe = KeypointConfig(height=256, width=192, vary=1.0)
    pixels, people = keypoints.crops(coco, "train", recipe, vary=vary)
    assert pixels.shape == (6, 256, 192, 3)
    for picture, person in zip(pixels, people, strict=True):
        places = np.floor(person.keypoints[:, :2]).astype(int).clip(0, [191, 255])
        bright = [picture[y, x].mean() for x, y in places]
        assert np.median(bright) > 150
    assert len(keypoints.crops(coco, "train", KeypointConfig(limit=3))[1]) == 3


def test_targets_decode_to_the_places_they_were_made_from():
    recipe = KeypointConfig(height=128, width=96)
    rng = np.random.default_rng(0)
    places = torch.from_numpy(rng.uniform([8, 8], [88, 120], (5, 17, 2))).float()
    heat, valid = keypoints.targets(torch.cat([places, torch.full((5, 17, 1), 2.0)], 2), recipe)
    assert valid.all()
    assert torch.allclose(heat.sum(2), torch.ones(5, 17), atol=1e-5)
    got, mass = keypoints.decode(heat.view(5, 17, 32, 24).clamp(min=1e-12).log())
    assert (got - places).abs().max() < 0.35  # of a crop's pixel; a heat map's pixel is 4
    assert (mass > 0.9).all()
    outside = torch.tensor([[[-3.0, 5, 2]] * 17])
    assert not keypoints.targets(outside, recipe)[1].any()


def test_mirrored_pairs_are_cocos():
    assert [MIRRORED[m] for m in MIRRORED] == list(range(17))


def test_killed_training_goes_on_to_the_same_weights(coco, tmp_path):
    class Kill(Exception):
        pass

    def killer(done, total):
        if done == 2:
            raise Kill

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    keypoints.train(coco, SMALL, whole, seed=1)
    with pytest.raises(Kill):
        keypoints.train(coco, SMALL, killed, seed=1, progress=killer)
    assert (killed / "checkpoint.pt").exists()
    keypoints.train(coco, SMALL, killed, seed=1)
    a, b = (load_file(p / "model.safetensors") for p in (whole, killed))
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert sorted(p.name for p in killed.iterdir()) == ["curve.csv", "model.safetensors"]
    assert (whole / "curve.csv").read_text() == (killed / "curve.csv").read_text()
    assert (whole / "curve.csv").read_text().startswith("epoch,loss,found\n1,")
    rows = keypoints.predict(whole, coco, "val", SMALL)
    assert [r["image_id"] for r in rows] == [1, 2, 3, 4, 5, 6]
    assert all(len(r["keypoints"]) == 51 and 0 < r["score"] <= 1 for r in rows)


def test_failures_say_what_is_wrong(coco, tmp_path):
    with pytest.raises(Dp2benchError, match="diverged in epoch"):
        keypoints.train(coco, KeypointConfig(**{**vars(SMALL), "learning_rate": 1e30}), tmp_path, seed=0)
    (tmp_path / "copy").mkdir()
    empty = coco.rewrite(tmp_path / "empty", [])
    with pytest.raises(DatasetError, match="nobody with keypoints"):
        keypoints.train(empty, SMALL, tmp_path, seed=0, progress=no_progress)


def test_annotation_file(coco):
    assert (
        keypoints.annotation_file(coco, "val")
        == Path(coco.root) / "annotations" / "person_keypoints_val2017.json"
    )
