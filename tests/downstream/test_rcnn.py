"""The paper tier's networks at toy size: they train, go on after a kill to the same weights, predict in the official formats."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from dp2bench.core.errors import DatasetError, Dp2benchError
from dp2bench.core.images import write_image
from dp2bench.datasets.cityscapes import Cityscapes
from dp2bench.datasets.coco import FOLDERS, Coco
from dp2bench.downstream import rcnn
from dp2bench.metrics.instances import evaluate_instances
from dp2bench.metrics.keypoints import evaluate_keypoints

TOY = rcnn.RcnnConfig(
    iterations=2, steps=(1,), warmup=1, batch_size=1, learning_rate=1e-3, sizes=(64,), largest=128,
    backbone_weights="none",
)  # fmt: skip


@pytest.fixture
def coco(tmp_path: Path) -> Coco:
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    (tmp_path / "coco" / "annotations").mkdir(parents=True)
    for folder in FOLDERS.values():
        write_image(tmp_path / "coco" / folder / "1.png", rng.integers(0, 255, (96, 96, 3), np.uint8))
        points = np.stack([*rng.integers(10, 90, (2, 17)), np.full(17, 2)], 1).ravel().tolist()
        row = {
            "id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": 5000, "bbox": [5, 5, 88, 88],
            "segmentation": [[5, 5, 93, 5, 93, 93, 5, 93]], "keypoints": points, "num_keypoints": 17,
        }  # fmt: skip
        data = {
            "images": [{"id": 1, "file_name": "1.png", "width": 96, "height": 96}],
            "annotations": [row], "categories": [{"id": 1, "name": "person"}],
        }  # fmt: skip
        for kind in ("person_keypoints", "instances"):
            (tmp_path / "coco" / "annotations" / f"{kind}_{folder}.json").write_text(json.dumps(data))
    return Coco(tmp_path / "coco", official=False)


def test_flip_twice_is_nothing_and_once_mirrors():
    picture = torch.arange(2 * 3 * 5.0).view(1, 6, 5)
    points = torch.tensor([[[1.0, 2, 2]] * 16 + [[0.0, 0, 0]]])
    target = {
        "boxes": torch.tensor([[1.0, 0, 3, 4]]),
        "masks": torch.ones(1, 6, 5),
        "keypoints": points,
    }
    turned, told = rcnn._flipped(picture, target)
    assert told["boxes"].tolist() == [[2, 0, 4, 4]]
    assert told["keypoints"][0, 0].tolist() == [4, 2, 2]
    assert told["keypoints"][0, 15].tolist() == [0, 0, 0]  # an absent keypoint stays at zero
    back, again = rcnn._flipped(turned, told)
    assert torch.equal(back, picture)
    assert all(torch.equal(again[k], target[k]) for k in target)


@pytest.mark.slow
def test_keypoint_rcnn_trains_goes_on_and_predicts(coco, tmp_path, monkeypatch):
    monkeypatch.setattr(rcnn, "SAVE_EVERY", 1)

    class Kill(Exception):
        pass

    def killer(done, total):
        if done == 2:
            raise Kill

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    rcnn.train("keypoint-rcnn", coco, TOY, whole, seed=0)
    with pytest.raises(Kill):
        rcnn.train("keypoint-rcnn", coco, TOY, killed, seed=0, progress=killer)
    assert (killed / "checkpoint.pt").exists()
    rcnn.train("keypoint-rcnn", coco, TOY, killed, seed=0)
    a, b = (load_file(p / "model.safetensors") for p in (whole, killed))
    assert all(torch.equal(a[k], b[k]) for k in a)
    rows = rcnn.predict_keypoints(whole, coco, "val", TOY)
    evaluate_keypoints(coco.annotations / "person_keypoints_val2017.json", rows)
    with pytest.raises(DatasetError, match="nothing to learn"):
        rcnn.train("keypoint-rcnn", coco.rewrite(tmp_path / "empty", []), TOY, tmp_path, seed=0)


@pytest.mark.slow
def test_mask_rcnn_trains_and_predicts(tmp_path):
    torch.set_num_threads(1)
    ids = np.full((64, 128), 7, np.uint16)
    ids[10:50, 20:60] = 24000
    for split in ("train", "val"):
        stem = "town_000000_000000"
        write_image(
            tmp_path / "c" / "leftImg8bit" / split / "town" / f"{stem}_leftImg8bit.png",
            np.zeros((64, 128, 3), np.uint8),
        )
        folder = tmp_path / "c" / "gtFine" / split / "town"
        folder.mkdir(parents=True)
        cv2.imwrite(str(folder / f"{stem}_gtFine_instanceIds.png"), ids)
    dataset = Cityscapes(tmp_path / "c", official=False)
    rcnn.train("mask-rcnn", dataset, TOY, tmp_path, seed=0)
    rcnn.predict_instances(tmp_path, dataset, "val", TOY, tmp_path / "out")
    truth = [dataset.ground_truth(s, "instanceIds.png") for s in dataset.samples("val")]
    assert evaluate_instances(truth, tmp_path / "out").instances == 1

    cv2.imwrite(str(tmp_path / "c/gtFine/train/town/town_000000_000000_gtFine_instanceIds.png"), ids % 24000)
    (tmp_path / "none").mkdir()
    with pytest.raises(DatasetError, match="nothing to learn"):
        rcnn.train("mask-rcnn", dataset, TOY, tmp_path / "none", seed=0)
    assert not (tmp_path / "none" / "model.safetensors").exists()


def test_weights_that_are_none_are_an_error(tmp_path):
    (tmp_path / "w.pth").write_bytes(b"nothing")
    with pytest.raises(Dp2benchError, match="cannot be had"):
        rcnn.build("mask-rcnn", rcnn.RcnnConfig(backbone_weights=str(tmp_path / "w.pth")), pretrained=True)
    with pytest.raises(Dp2benchError, match="no file of weights"):
        rcnn.build("mask-rcnn", rcnn.RcnnConfig(start_weights=str(tmp_path / "w.pth")), pretrained=True)
    torch.save({"a": torch.zeros(1)}, tmp_path / "o.pth")
    with pytest.raises(Dp2benchError, match="another network"):
        rcnn.build("mask-rcnn", rcnn.RcnnConfig(start_weights=str(tmp_path / "o.pth")), pretrained=True)


def test_people_without_keypoints_are_people(coco):
    file = coco.annotations / "person_keypoints_train2017.json"
    data = json.loads(file.read_text())
    seen = data["annotations"][0]
    unseen = {**seen, "id": 2, "bbox": [40, 40, 20, 20], "keypoints": [0] * 51, "num_keypoints": 0}
    crowd = {**unseen, "id": 3, "iscrowd": 1}
    file.write_text(json.dumps({**data, "annotations": [seen, unseen, crowd]}))
    ((_, target),) = rcnn._keypoint_targets(coco, "train")
    assert target["boxes"].tolist() == [[5, 5, 93, 93], [40, 40, 60, 60]]  # the crowd is left out
    # they count in the loss of boxes, and in no loss of keypoints
    from torchvision.models.detection.roi_heads import keypointrcnn_loss

    logits = torch.randn(2, 17, 56, 56)
    every = [torch.tensor([0, 1])]
    loss = keypointrcnn_loss(logits, [target["boxes"]], [target["keypoints"]], every)
    alone = keypointrcnn_loss(logits[:1], [target["boxes"][:1]], [target["keypoints"]], [torch.tensor([0])])
    assert loss == pytest.approx(float(alone))
    file.write_text(json.dumps({**data, "annotations": [unseen]}))
    assert not rcnn._keypoint_targets(coco, "train")  # a picture without any keypoint teaches none
