"""The task on a tiny Cityscapes: control and paired difference from results folders made elsewhere, and errors."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from dp2bench.core.contracts import RunContext
from dp2bench.core.errors import DatasetError, Dp2benchError
from dp2bench.core.images import write_image
from dp2bench.datasets.cityscapes import Cityscapes
from dp2bench.tasks.cityscapes_instances import CityscapesInstances


@pytest.fixture
def cityscapes(tmp_path):
    """Three pictures with two persons each, and results folders that find both, or one."""
    root = tmp_path / "cityscapes"
    for split in ("train", "val"):
        for i in range(3):
            ids = np.full((64, 128), 7, np.uint16)
            ids[10:50, 10:30], ids[10:50, 60:90] = 24000, 24001
            stem = f"town_000000_{i:06d}"
            write_image(
                root / "leftImg8bit" / split / "town" / f"{stem}_leftImg8bit.png",
                np.zeros((64, 128, 3), np.uint8),
            )
            folder = root / "gtFine" / split / "town"
            folder.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / f"{stem}_gtFine_instanceIds.png"), ids)
            if split == "val":
                for name, people in (("good", (24000, 24001)), ("poor", (24000,))):
                    out = tmp_path / name
                    out.mkdir(exist_ok=True)
                    lines = []
                    for value in people:
                        cv2.imwrite(str(out / f"{stem}_{value}.png"), (ids == value).astype(np.uint8))
                        lines.append(f"{stem}_{value}.png 24 0.9\n")
                    (out / f"{stem}.txt").write_text("".join(lines))
    return Cityscapes(root, official=False)


def test_brought_results_need_no_training(cityscapes, tmp_path):
    task = CityscapesInstances(predictions=str(tmp_path / "poor"), clear_predictions=str(tmp_path / "good"))
    assert task.trainings() == ()
    told = RunContext(seed=0, trained={}, artefacts=tmp_path)
    task.run(cityscapes, cityscapes, told)
    scores = {s.name: s for s in told.scores}
    assert scores["clear.AP"].value == 1
    assert 0 < scores["AP"].value < 1
    assert scores["difference.AP.person"].value == pytest.approx(scores["AP.person"].value - 1)
    assert "AP.rider" not in scores  # nobody rides
    for name, score in scores.items():
        assert np.mean(list(told.units[name].values())) == pytest.approx(score.value)
        assert score.n == 6
    (tmp_path / "poor" / "town_000000_000001.txt").write_text("")
    assert (
        task.arguments["predictions"]
        != CityscapesInstances(predictions=str(tmp_path / "good")).arguments["predictions"]
    )


def test_the_small_network_is_trained_and_tested(cityscapes, tmp_path):
    """The same network in both roles differs in nothing, and every picture has a results file."""
    task = CityscapesInstances(size=64, channels=16, epochs=2, batch_size=2)
    trained = tmp_path / "trained"
    trained.mkdir()
    told = RunContext(seed=0, trained={"clear": trained, "anonymized": trained}, artefacts=tmp_path)
    task.train(task.trainings()[0], cityscapes, trained, told)
    task.run(cityscapes, cityscapes, told)
    scores = {s.name: s for s in told.scores}
    assert scores["difference.AP"].value == 0
    assert scores["AP"].value == scores["clear.AP"].value
    assert scores["AP"].n == 6
    assert len(list((tmp_path / "predictions-clear").glob("*.txt"))) == 3


def test_trainings_are_clear_and_anonymized():
    trainings = CityscapesInstances(epochs=3).trainings()
    assert [(t.role, t.on) for t in trainings] == [("clear", "clear"), ("anonymized", "anonymized")]
    assert trainings[0].arguments["epochs"] == 3


def test_errors(tmp_path):
    with pytest.raises(Dp2benchError, match="yolo"):
        CityscapesInstances(model="yolo")
    with pytest.raises(Dp2benchError, match="depth"):
        CityscapesInstances(depth=3)
    with pytest.raises(DatasetError, match="no predictions at"):
        _ = CityscapesInstances(predictions=str(tmp_path / "none")).arguments
