"""Our wrapper gives cityscapesscripts' own numbers to the digit, also for the pictures one by one."""

from __future__ import annotations

import contextlib
import io
import os

import cv2
import numpy as np
import pytest

from dp2bench.core.errors import DatasetError
from dp2bench.metrics.instances import evaluate_instances

SIZE = (96, 160)


def scene(root, pictures=8, seed=0):
    """Persons, riders, cars, small ones, groups and void; predictions with errors, doubles, false alarms and equal scores."""
    rng = np.random.default_rng(seed)
    truth = []
    for i in range(pictures):
        name = f"town_{i:06d}_{seed:06d}"
        ids = np.full(SIZE, 7, np.uint16)
        ids[:, :20] = 0  # void
        masks = []
        for label in rng.choice([24, 24, 24, 25, 26], rng.integers(0, 6)):
            y, x, h, w = rng.integers(0, 60), rng.integers(0, 130), rng.integers(5, 40), rng.integers(5, 30)
            mask = np.zeros(SIZE, bool)
            mask[y : y + h, x : x + w] = True
            group = rng.random() < 0.15
            ids[mask] = label if group else label * 1000 + len(masks)
            masks.append((int(label), mask))
        (root / "gt").mkdir(exist_ok=True)
        path = root / "gt" / f"{name}_gtFine_instanceIds.png"
        cv2.imwrite(str(path), ids)
        truth.append(path)
        lines = []
        (root / "predictions" / "masks").mkdir(parents=True, exist_ok=True)
        for label, mask in [*masks, *masks[:1], (24, np.zeros(SIZE, bool))]:
            if rng.random() < 0.2:
                continue
            shifted = np.roll(mask, rng.integers(-4, 5, 2), (0, 1))
            if not shifted.any():
                y, x = rng.integers(0, 70), rng.integers(0, 130)
                shifted[y : y + 20, x : x + 12] = True
            file = f"masks/{name}_{len(lines)}.png"
            cv2.imwrite(str(root / "predictions" / file), shifted.astype(np.uint8) * 255)
            lines.append(f"{file} {label} {rng.choice([0.3, 0.5, round(rng.random(), 3)])}\n")
        (root / "predictions" / f"{name}.txt").write_text("".join(lines))
    return truth


def official(truth, predictions, tmp_path, monkeypatch):
    from cityscapesscripts.evaluation import evalInstanceLevelSemanticLabeling as theirs

    monkeypatch.setattr(np, "in1d", np.isin, raising=False)
    monkeypatch.setattr(theirs.args, "predictionPath", str(predictions))
    monkeypatch.setattr(theirs.args, "predictionWalk", None)
    monkeypatch.setattr(
        theirs.args, "gtInstancesFile", str(tmp_path / f"gt{len(list(tmp_path.iterdir()))}.json")
    )
    monkeypatch.setattr(theirs.args, "JSONOutput", False)
    monkeypatch.setattr(theirs, "writeDict2JSON", lambda *_: None)  # it cannot write NumPy 2's integers
    files = [os.fspath(p) for p in truth]
    with contextlib.redirect_stdout(io.StringIO()), np.errstate(invalid="ignore"):
        found = [theirs.getPrediction(f, theirs.args) for f in files]
        averages = theirs.evaluateImgLists(found, files, theirs.args)["averages"]
    values = {("AP", ""): averages["allAp"], ("AP50", ""): averages["allAp50%"]}
    for name in ("person", "rider"):
        values |= {
            ("AP", name): averages["classes"][name]["ap"],
            ("AP50", name): averages["classes"][name]["ap50%"],
        }
    for metric in ("AP", "AP50"):
        values[metric, "people"] = np.nanmean([values[metric, name] for name in ("person", "rider")])
    return values


@pytest.mark.parametrize("seed", range(3))
def test_official_numbers_to_the_digit(tmp_path, monkeypatch, seed):
    truth = scene(tmp_path, seed=seed)
    ours = evaluate_instances(truth, tmp_path / "predictions")
    theirs = official(truth, tmp_path / "predictions", tmp_path, monkeypatch)
    assert dict(ours.values) == {k: float(v) for k, v in theirs.items() if np.isfinite(v)}
    for name, pictures in ours.pictures.items():
        assert np.mean(list(pictures.values())) == pytest.approx(ours.values[name], abs=1e-12)
    assert ours.values["AP", ""] == pytest.approx(np.mean(list(ours.classes.values())))
    assert not (tmp_path / "predictions" / "matches.json").exists()


def test_golden(tmp_path):
    """cityscapesscripts 2.3.0's numbers for the first scene."""
    got = evaluate_instances(scene(tmp_path), tmp_path / "predictions").values
    assert {k: round(v, 10) for k, v in got.items()} == GOLDEN


GOLDEN = {
    ("AP", ""): 0.1326296296,
    ("AP50", ""): 0.4566666667,
    ("AP", "person"): 0.0395555556,
    ("AP50", "person"): 0.12,
    ("AP", "rider"): 0.2666666667,
    ("AP50", "rider"): 0.9166666667,
    ("AP", "people"): 0.1531111111,
    ("AP50", "people"): 0.5183333333,
}


def test_each_picture_weighs_what_leaving_it_out_changes(tmp_path, monkeypatch):
    truth = scene(tmp_path, seed=1)
    ours = evaluate_instances(truth, tmp_path / "predictions")
    for name in (("AP", "person"), ("AP50", "person"), ("AP", "people")):
        left = np.array(
            [
                official(truth[:i] + truth[i + 1 :], tmp_path / "predictions", tmp_path, monkeypatch)[name]
                for i in range(len(truth))
            ]
        )
        expected = ours.values[name] + (len(truth) - 1) * (left.mean() - left)
        assert list(ours.pictures[name].values()) == pytest.approx(expected.tolist())


def test_errors(tmp_path):
    truth = scene(tmp_path, 2)
    with pytest.raises(DatasetError, match="no folder"):
        evaluate_instances(truth, tmp_path / "nowhere")
    with pytest.raises(DatasetError, match="No ground truth"):
        evaluate_instances([], tmp_path / "predictions")
    first = next((tmp_path / "predictions").glob("*.txt"))
    text = first.read_text()
    first.write_text("/etc/passwd 24 0.5\n")
    with pytest.raises(DatasetError, match="relative path"):
        evaluate_instances(truth, tmp_path / "predictions")
    first.write_text("masks/gone.png 24 0.5\n")
    with pytest.raises(DatasetError, match="gone"):
        evaluate_instances(truth, tmp_path / "predictions")
    first.write_text(text)
    (tmp_path / "predictions" / "masks" / first.name).write_text(text)
    with pytest.raises(DatasetError, match="multiple"):
        evaluate_instances(truth, tmp_path / "predictions")
    first.unlink()
    (tmp_path / "predictions" / "masks" / first.name).unlink()
    with pytest.raises(DatasetError, match="Found no prediction"):
        evaluate_instances(truth, tmp_path / "predictions")
