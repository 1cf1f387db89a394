"""detectron2 behind the tasks: refused clearly where it is absent; where it is installed, it trains, goes on and predicts."""

from __future__ import annotations

import json
from importlib.util import find_spec

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from dp2bench.core.errors import DatasetError, Dp2benchError, PluginError
from dp2bench.core.images import write_image
from dp2bench.datasets.cityscapes import Cityscapes
from dp2bench.datasets.coco import FOLDERS, Coco
from dp2bench.downstream import detectron
from dp2bench.metrics.instances import evaluate_instances
from dp2bench.metrics.keypoints import evaluate_keypoints
from dp2bench.tasks.cityscapes_instances import CityscapesInstances
from dp2bench.tasks.coco_keypoints import CocoKeypoints

installed = pytest.mark.skipif(find_spec("detectron2") is None, reason="detectron2 is not installed")
TOY = {
    "SOLVER.IMS_PER_BATCH": 1, "SOLVER.MAX_ITER": 3, "SOLVER.STEPS": [1], "SOLVER.BASE_LR": 1e-3,
    "SOLVER.CHECKPOINT_PERIOD": 1, "INPUT.MIN_SIZE_TRAIN": [64], "INPUT.MIN_SIZE_TEST": 64,
    "MODEL.BACKBONE.FREEZE_AT": 0, "MODEL.RESNETS.NORM": "GN",
}  # fmt: skip
RECIPE = detectron.Detectron2Config(weights="none", options=TOY)


@pytest.mark.skipif(find_spec("detectron2") is not None, reason="detectron2 is installed")
@pytest.mark.parametrize(
    ("task", "model"),
    [(CocoKeypoints, "detectron2-keypoint-rcnn"), (CityscapesInstances, "detectron2-mask-rcnn")],
)
def test_without_detectron2_the_task_says_so_before_any_work(task, model):
    with pytest.raises(PluginError, match=r"needs detectron2.*Build it"):
        task(model=model)
    with pytest.raises(Dp2benchError, match="no argument epochs with the model"):
        task(model=model, epochs=3)


@pytest.fixture
def coco(tmp_path):
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
        images = [{"id": i, "file_name": f"{i}.png", "width": 96, "height": 96} for i in (1, 2)]
        data = {"images": images, "annotations": [row], "categories": [{"id": 1, "name": "person"}]}
        for kind in ("person_keypoints", "instances"):
            (tmp_path / "coco" / "annotations" / f"{kind}_{folder}.json").write_text(json.dumps(data))
    return Coco(tmp_path / "coco", official=False)


@pytest.fixture
def cityscapes(tmp_path):
    torch.set_num_threads(1)
    ids = np.full((64, 128), 7, np.uint16)
    ids[10:50, 20:60], ids[5:9, 100:120] = 24000, 26  # a person, and a group of cars
    for split in ("train", "val"):
        stem = "town_000000_000000"
        picture = tmp_path / "c" / "leftImg8bit" / split / "town" / f"{stem}_leftImg8bit.png"
        write_image(picture, np.zeros((64, 128, 3), np.uint8))
        folder = tmp_path / "c" / "gtFine" / split / "town"
        folder.mkdir(parents=True)
        cv2.imwrite(str(folder / f"{stem}_gtFine_instanceIds.png"), ids)
    return Cityscapes(tmp_path / "c", official=False)


@installed
def test_records_are_what_the_dataset_says(coco, cityscapes):
    from pycocotools import mask

    (record,) = detectron._keypoint_records(coco)  # the second picture is not there
    assert record["file_name"].endswith("train2017/1.png")
    assert record["annotations"][0]["category_id"] == 0
    (street,) = detectron._mask_records(cityscapes)
    (person,) = street["annotations"]
    assert person["bbox"] == [20, 10, 60, 50]
    assert mask.decode(person["segmentation"]).sum() == 1600
    assert (street["height"], street["width"]) == (64, 128)


@installed
def test_its_own_messages_are_passed_on():
    with pytest.raises(Dp2benchError, match="Non-existent key: SOLVER.MAXITER"):
        detectron.configuration("mask-rcnn", detectron.Detectron2Config(options={"SOLVER.MAXITER": 3}))
    with pytest.raises(Dp2benchError, match="no configuration"):
        detectron.configuration("mask-rcnn", detectron.Detectron2Config(config="nothing.yaml"))
    task = CocoKeypoints(model="detectron2-keypoint-rcnn", weights="none", options=TOY)
    assert task.arguments["package"] == detectron.version()


@installed
def test_weights_are_rewritten_without_running_them(tmp_path):
    cfg = detectron.configuration("keypoint-rcnn", RECIPE)
    save_file({"backbone.a": torch.ones(2)}, tmp_path / "w.safetensors")
    start = detectron._start(
        cfg, detectron.Detectron2Config(weights=str(tmp_path / "w.safetensors")), tmp_path
    )
    assert torch.load(start, weights_only=True)["model"]["backbone.a"].tolist() == [1, 1]
    with pytest.raises(Dp2benchError, match="cannot be had"):
        detectron._start(cfg, detectron.Detectron2Config(weights=str(tmp_path / "none.pkl")), tmp_path)
    assert detectron._start(cfg, RECIPE, tmp_path) == ""


@installed
@pytest.mark.slow
def test_keypoints_train_go_on_and_are_predicted(coco, tmp_path):
    class Kill(Exception):
        pass

    def killer(done, total):
        if done == 2:
            raise Kill

    with pytest.raises(Kill):
        detectron.train("keypoint-rcnn", coco, RECIPE, tmp_path, seed=0, progress=killer)
    seen = []
    detectron.train(
        "keypoint-rcnn", coco, RECIPE, tmp_path, seed=0, progress=lambda done, _: seen.append(done)
    )
    assert seen == [3]
    assert not list(tmp_path.glob("model_*.pth"))
    rows = detectron.predict_keypoints(tmp_path, coco, "val", RECIPE)
    evaluate_keypoints(coco.annotations / "person_keypoints_val2017.json", rows, image_ids=[1])
    with pytest.raises(DatasetError, match="nothing to learn"):
        detectron.train("keypoint-rcnn", coco.rewrite(tmp_path / "empty", []), RECIPE, tmp_path, seed=0)


@installed
@pytest.mark.slow
def test_a_training_that_diverges_is_reported(coco, tmp_path):
    recipe = detectron.Detectron2Config(
        weights="none", options=TOY | {"SOLVER.BASE_LR": 1e20, "SOLVER.WARMUP_ITERS": 0}
    )
    with pytest.raises(Dp2benchError, match="diverged"):
        detectron.train("keypoint-rcnn", coco, recipe, tmp_path, seed=0)


@installed
@pytest.mark.slow
def test_instances_train_and_are_predicted(cityscapes, tmp_path):
    detectron.train("mask-rcnn", cityscapes, RECIPE, tmp_path, seed=0)
    detectron.predict_instances(tmp_path, cityscapes, "val", RECIPE, tmp_path / "out")
    truth = [cityscapes.ground_truth(s, "instanceIds.png") for s in cityscapes.samples("val")]
    assert evaluate_instances(truth, tmp_path / "out").instances == 1
