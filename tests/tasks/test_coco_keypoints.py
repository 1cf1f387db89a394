"""The task on a tiny COCO: control, paired difference, and predictions brought from elsewhere through the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from dp2bench.core.contracts import RunContext
from dp2bench.core.errors import DatasetError, Dp2benchError
from dp2bench.core.images import write_image
from dp2bench.datasets.coco import FOLDERS, Coco
from dp2bench.reports.load import load_result
from dp2bench.tasks.coco_keypoints import CocoKeypoints

RECIPE = {"height": 64, "width": 48, "channels": 16, "epochs": 1, "batch_size": 4}


@pytest.fixture
def coco(tmp_path: Path) -> Coco:
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    root = tmp_path / "coco"
    (root / "annotations").mkdir(parents=True)
    for folder in FOLDERS.values():
        images, rows = [], []
        for i in range(1, 6):
            write_image(root / folder / f"{i}.png", rng.integers(0, 255, (100, 100, 3), np.uint8))
            images.append({"id": i, "file_name": f"{i}.png", "width": 100, "height": 100})
            points = np.stack([*rng.integers(10, 90, (2, 17)), np.full(17, 2)], 1)
            rows.append(
                {
                    "id": i, "image_id": i, "category_id": 1, "iscrowd": 0, "area": 5000, "bbox": [10, 10, 80, 80],
                    "segmentation": [[10, 10, 90, 10, 90, 90, 10, 90]], "keypoints": points.ravel().tolist(), "num_keypoints": 17,
                }
            )  # fmt: skip
        data = {"images": images, "annotations": rows, "categories": [{"id": 1, "name": "person"}]}
        for kind in ("person_keypoints", "instances"):
            (root / "annotations" / f"{kind}_{folder}.json").write_text(json.dumps(data))
    return Coco(root, official=False)


def perfect(coco: Coco) -> list[dict]:
    rows = json.loads((coco.annotations / "person_keypoints_val2017.json").read_text())["annotations"]
    return [
        {"image_id": r["image_id"], "category_id": 1, "keypoints": r["keypoints"], "score": 0.5} for r in rows
    ]


def context(tmp_path, trained=None):
    return RunContext(seed=0, trained=trained or {}, artefacts=tmp_path, threads=1)


def test_trained_networks_are_compared_by_picture(coco, tmp_path):
    task = CocoKeypoints(**RECIPE)
    trained = {}
    for training in task.trainings():
        trained[training.role] = tmp_path / training.role
        trained[training.role].mkdir()
        task.train(training, coco, trained[training.role], context(tmp_path))
    told = context(tmp_path, trained)
    assert (trained["clear"] / "predictions.json").is_file()  # the control is tested once for all methods
    assert not (trained["anonymized"] / "predictions.json").exists()
    task.run(coco, coco, told)
    scores = {s.name: s for s in told.scores}
    assert {"AP", "AP50", "clear.AP", "difference.AP"} <= set(scores)
    assert scores["AP"].value == scores["clear.AP"].value  # the same pictures, the same seed
    assert scores["difference.AP"].value == 0
    assert set(told.units["difference.AP"].values()) == {0}
    for name, score in scores.items():
        assert np.mean(list(told.units[name].values())) == pytest.approx(score.value)
        assert score.n == 5
    assert (tmp_path / "predictions-clear.json").is_file()


def test_a_kill_while_the_control_is_tested_loses_no_training(coco, tmp_path, monkeypatch):
    task = CocoKeypoints(**RECIPE)
    predict = CocoKeypoints._predict

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(CocoKeypoints, "_predict", killed)
    with pytest.raises(KeyboardInterrupt):
        task.train(task.trainings()[0], coco, tmp_path, context(tmp_path))
    before = (tmp_path / "model.safetensors").stat().st_mtime_ns
    monkeypatch.setattr(CocoKeypoints, "_predict", predict)
    task.train(task.trainings()[0], coco, tmp_path, context(tmp_path))
    assert (tmp_path / "model.safetensors").stat().st_mtime_ns == before
    assert (tmp_path / "predictions.json").is_file()


def test_a_method_that_replaces_nothing_is_the_control(coco, tmp_path):
    from dp2bench.engine import suite
    from dp2bench.engine.plan import make_plan

    described = {
        "name": "x",
        "datasets": [{"name": "coco", "arguments": {"root": str(coco.root), "official": False}}],
        "methods": ["identity", "blur"],
        "tasks": [{"name": "coco-keypoints", "arguments": RECIPE}],
    }
    plan = make_plan(suite.Suite.model_validate(described), threads=1, device="cpu")
    assert sum(s.kind == "train" for s in plan.steps) == 2
    (identity,) = (s for s in plan.steps if s.kind == "evaluate" and "identity" in s.title)
    assert identity.needs["train:anonymized"] == identity.needs["train:clear"]


def test_brought_predictions_need_no_training(coco, tmp_path):
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text(json.dumps(perfect(coco)))
    bad.write_text(json.dumps(perfect(coco)[:2]))
    task = CocoKeypoints(predictions=str(bad), clear_predictions=str(good))
    assert task.trainings() == ()
    told = context(tmp_path)
    task.run(coco, coco, told)
    scores = {s.name: s.value for s in told.scores}
    assert scores["clear.AP"] == pytest.approx(1)
    assert scores["AP"] == pytest.approx(0.4, abs=0.02)
    assert scores["difference.AP"] == pytest.approx(scores["AP"] - 1)
    told = context(tmp_path)
    CocoKeypoints(predictions=str(good)).run(coco, coco, told)
    alone = {s.name for s in told.scores}
    assert "AP" in alone
    assert not any(n.startswith(("clear", "difference")) for n in alone)
    assert task.arguments["predictions"] != task.arguments["clear_predictions"]


def test_errors(tmp_path):
    with pytest.raises(Dp2benchError, match="resnet"):
        CocoKeypoints(model="resnet")
    with pytest.raises(Dp2benchError, match="depth"):
        CocoKeypoints(depth=3)
    with pytest.raises(Dp2benchError, match="without predictions"):
        CocoKeypoints(clear_predictions="x.json")
    with pytest.raises(DatasetError, match="no predictions at"):
        _ = CocoKeypoints(predictions=str(tmp_path / "none.json")).arguments


@pytest.mark.slow
@pytest.mark.e2e
def test_a_file_of_predictions_through_the_command_line(coco, tmp_path):
    (tmp_path / "mine.json").write_text(json.dumps(perfect(coco)))
    suite = {
        "schema_version": 1,
        "name": "brought",
        "datasets": [{"name": "coco", "arguments": {"root": str(coco.root), "official": False}}],
        "methods": ["mask-out"],
        "tasks": [{"name": "coco-keypoints", "arguments": {"predictions": str(tmp_path / "mine.json")}}],
    }
    (tmp_path / "suite.yaml").write_text(yaml.safe_dump(suite))
    command = [str(Path(sys.executable).with_name("dp2bench")), "run", str(tmp_path / "suite.yaml")]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "run"), "--threads", "1"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = load_result(tmp_path / "run/results/mask-out/coco/coco-keypoints.json")
    assert result.score("AP").value == pytest.approx(1)


@pytest.mark.slow
@pytest.mark.e2e
def test_predictions_for_a_folder_anonymized_elsewhere(coco, tmp_path):
    (tmp_path / "mine.json").write_text(json.dumps(perfect(coco)[:3]))
    (tmp_path / "clear.json").write_text(json.dumps(perfect(coco)))
    blank = ((s, x.id, np.zeros((100, 100, 3), np.uint8)) for s in ("train", "val") for x in coco.samples(s))
    coco.rewrite(tmp_path / "blank", blank)
    command = [str(Path(sys.executable).with_name("dp2bench")), "evaluate", "--clear", str(coco.root)]
    command += ["--anonymized", str(tmp_path / "blank"), "--dataset", "coco", "--task", "coco-keypoints"]
    command += ["--detector", "annotations", "--out", str(tmp_path / "run"), "--threads", "1"]
    command += ["-a", f"predictions={tmp_path}/mine.json", "-a", f"clear_predictions={tmp_path}/clear.json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    result = load_result(tmp_path / "run/results/blank/coco/coco-keypoints.json")
    scores = {s.name: s.value for s in result.scores}
    assert scores["clear.AP"] == pytest.approx(1)
    assert scores["difference.AP"] == pytest.approx(scores["AP"] - 1)
