"""The small instance network: crops and their inverse, a scene it must be able to learn, going on after a kill, failures."""

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
from dp2bench.downstream.instances import CLASSES, InstanceConfig
from dp2bench.metrics.instances import evaluate_instances

TINY = InstanceConfig(size=64, channels=16, epochs=2, batch_size=4)


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


def test_crops_hold_the_instance_and_its_mask_where_they_say(cityscapes):
    pixels, masks, found = instances.crops(cityscapes, "train", TINY)
    assert pixels.shape == (12, 64, 64, 3)  # without the group in the corner
    assert masks.shape == (12, 32, 32)
    shown = pixels[:, 1::2, 1::2].astype(int)
    for crop, colours, mask in zip(found, shown, masks, strict=True):
        red = colours[..., 0] - colours[..., 2]
        assert ((red if CLASSES[crop.kind] == 24 else -red)[mask == 255] > 60).all()
        assert abs(red[mask < 10]).mean() < 20
        # the box is 1 / margin of the crop on both sides
        assert (mask > 127).mean() == pytest.approx(1 / TINY.margin**2, abs=0.05)
        assert (crop.box[2] - crop.box[0], crop.box[3] - crop.box[1]) == (36, 60)
    assert len(instances.crops(cityscapes, "train", InstanceConfig(**{**vars(TINY), "limit": 5}))[2]) == 5


def test_a_mask_returns_to_its_place(cityscapes):
    """Cut to a crop and put back, masks are what they were: both directions agree."""
    _, masks, found = instances.crops(cityscapes, "train", TINY)
    paths = truth(cityscapes, "train")
    for crop, mask in zip(found, masks, strict=True):
        ids = cv2.imread(str(paths[crop.sample]), cv2.IMREAD_UNCHANGED)
        ids[ids < 1000] = 0
        x0, y0, x1, y1 = crop.box
        inside = instances._placed(mask.astype(np.float32) / 255, crop)
        assert ((inside > 0.5) == (ids[y0:y1, x0:x1] > 0)).all()


def test_the_truth_written_as_results_is_perfect_to_the_evaluator(cityscapes, tmp_path):
    """What the R-CNNs write: masks, indices of classes, confidences."""
    for sample in cityscapes.samples("val"):
        ids = instances.instance_ids(cityscapes, sample)
        values = [v for v in np.unique(ids).tolist() if v >= 1000]
        masks = np.stack([ids == v for v in values])
        kinds = [CLASSES.index(v // 1000) for v in values]
        instances.write_results(tmp_path, sample, masks, kinds, [0.9] * len(values))
    scores = evaluate_instances(truth(cityscapes), tmp_path)
    assert (scores.instances, scores.values["AP", ""], scores.values["AP50", "person"]) == (12, 1, 1)


def test_rare_classes_are_repeated_by_the_root():
    picks = instances.balanced(np.array([0] * 16 + [7] * 4 + [2]))
    assert np.bincount(picks).tolist() == [1] * 16 + [2] * 4 + [4]


def test_it_learns_boxes_and_colours(cityscapes, tmp_path):
    recipe = InstanceConfig(size=64, channels=32, epochs=10, batch_size=4)
    instances.train(cityscapes, recipe, tmp_path, seed=0)
    rows = np.loadtxt(tmp_path / "curve.csv", delimiter=",", skiprows=1)
    assert rows[-1, 2] > 0.8 > rows[0, 2]  # IoU
    instances.predict(tmp_path, cityscapes, "val", recipe, tmp_path / "out")
    scores = evaluate_instances(truth(cityscapes), tmp_path / "out")
    assert scores.values["AP50", ""] > 0.9
    assert scores.instances == 12


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
        instances.train(cityscapes, InstanceConfig(**{**vars(TINY), "learning_rate": 1e30}), tmp_path, seed=0)
    empty = make(tmp_path / "empty", 1)
    for path in truth(empty, "train"):
        cv2.imwrite(str(path), np.full((128, 256), 7, np.uint16))
    with pytest.raises(DatasetError, match="no instances"):
        instances.train(empty, TINY, tmp_path, seed=0)
    for path in truth(empty, "train"):
        path.unlink()
    with pytest.raises(DatasetError, match="missing or no picture"):
        instances.train(empty, TINY, tmp_path, seed=0)
