"""The small instance network: goals and their inverse, a scene it must be able to learn, going on after a kill, failures."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from dp2bench.core.errors import DatasetError, Dp2benchError
from dp2bench.core.images import write_image
from dp2bench.datasets.cityscapes import Cityscapes
from dp2bench.downstream import instances
from dp2bench.downstream.instances import CLASSES, OUTPUTS, Recipe
from dp2bench.metrics.instances import evaluate_instances

TINY = Recipe(channels=16, epochs=2, batch_size=2)


def make(root: Path, pictures: int = 4) -> Cityscapes:
    """Red boxes are persons, blue ones cars; a group of persons in one corner."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for i in range(pictures):
            image = rng.integers(90, 130, (128, 256, 3), np.uint8)
            ids = np.full((128, 256), 7, np.uint16)
            ids[:16, :16], image[:16, :16] = 24, 255
            for n in range(3):
                x, y = 20 + 75 * n + rng.integers(0, 20), rng.integers(20, 50)
                label, colour = ((24, (200, 30, 30)), (26, (30, 30, 200)))[int(rng.random() < 0.4)]
                image[y : y + 60, x : x + 36], ids[y : y + 60, x : x + 36] = colour, label * 1000 + n
            stem = f"town_000000_{i:06d}"
            write_image(root / "leftImg8bit" / split / "town" / f"{stem}_leftImg8bit.png", image)
            folder = root / "gtFine" / split / "town"
            folder.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / f"{stem}_gtFine_instanceIds.png"), ids)
            cv2.imwrite(
                str(folder / f"{stem}_gtFine_labelIds.png"),
                (ids // 1000 + ids % 1000 * (ids < 1000)).astype(np.uint8),
            )
            for kind in ("color.png", "polygons.json"):
                (folder / f"{stem}_gtFine_{kind}").write_bytes(b"{}")
    return Cityscapes(root, official=False)


@pytest.fixture(scope="module")
def cityscapes(tmp_path_factory: pytest.TempPathFactory) -> Cityscapes:
    torch.set_num_threads(1)
    return make(tmp_path_factory.mktemp("cityscapes"))


def truth(dataset, split="val"):
    return [dataset.ground_truth(s, "instanceIds.png") for s in dataset.samples(split)]


def test_what_the_goals_say_is_what_comes_out(cityscapes, tmp_path):
    """A network that said exactly its goals would score nearly 1: goals and their inverse agree with the official evaluator."""
    (tmp_path / "masks").mkdir()
    for path in truth(cityscapes):
        ids = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        goal = instances.goal_of(ids, 2.0)
        assert (goal.classes[:4, :4] == instances.IGNORED).all()
        said = torch.zeros(OUTPUTS, *goal.classes.shape)
        classes = np.where(goal.classes == instances.IGNORED, 0, goal.classes)
        said[: len(CLASSES) + 1] = 20 * torch.nn.functional.one_hot(
            torch.from_numpy(classes).long(), len(CLASSES) + 1
        ).permute(2, 0, 1)
        said[len(CLASSES) + 1] = torch.from_numpy(goal.centre.astype(np.float32))
        said[len(CLASSES) + 2 :] = torch.from_numpy(goal.offset.astype(np.float32))
        found = instances.instances_of(said, ids.shape)
        assert len(found) == 3
        stem = path.name.removesuffix("_gtFine_instanceIds.png")
        lines = []
        for i, (mask, label, confidence) in enumerate(found):
            cv2.imwrite(str(tmp_path / "masks" / f"{stem}_{i}.png"), mask.astype(np.uint8))
            lines.append(f"masks/{stem}_{i}.png {label} {confidence}\n")
        (tmp_path / f"{stem}.txt").write_text("".join(lines))
    scores = evaluate_instances(truth(cityscapes), tmp_path).values
    assert scores["AP50"] == pytest.approx(1)
    assert scores["AP"] > 0.85


@pytest.mark.slow
def test_it_learns_boxes(cityscapes, tmp_path):
    recipe = Recipe(channels=32, dropout=0.0, epochs=60, batch_size=4, learning_rate=5e-3)
    instances.train(cityscapes, recipe, tmp_path, seed=0)
    instances.predict(tmp_path, cityscapes, "train", recipe, tmp_path / "out")
    assert evaluate_instances(truth(cityscapes, "train"), tmp_path / "out").values["person.AP50"] > 0.5


def test_killed_training_goes_on_to_the_same_weights(cityscapes, tmp_path):
    class Kill(Exception):
        pass

    def killer(done, total):
        if done == 3:
            raise Kill

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    instances.train(cityscapes, TINY, whole, seed=1)
    with pytest.raises(Kill):
        instances.train(cityscapes, TINY, killed, seed=1, progress=killer)
    instances.train(cityscapes, TINY, killed, seed=1)
    a, b = (load_file(p / "model.safetensors") for p in (whole, killed))
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert sorted(p.name for p in killed.iterdir()) == ["curve.csv", "model.safetensors"]


def test_failures_say_what_is_wrong(cityscapes, tmp_path):
    with pytest.raises(Dp2benchError, match="diverged in epoch"):
        instances.train(cityscapes, Recipe(**{**vars(TINY), "learning_rate": 1e30}), tmp_path, seed=0)
    empty = make(tmp_path / "empty", 1)
    for path in truth(empty, "train"):
        cv2.imwrite(str(path), np.full((128, 256), 7, np.uint16))
    with pytest.raises(DatasetError, match="no instances"):
        instances.train(empty, TINY, tmp_path, seed=0)
    for path in truth(empty, "train"):
        path.unlink()
    with pytest.raises(DatasetError, match="missing or no picture"):
        instances.train(empty, TINY, tmp_path, seed=0)
