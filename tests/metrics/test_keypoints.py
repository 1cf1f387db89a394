"""Our wrapper gives pycocotools' own numbers to the digit, and its intervals are those of resampled pictures."""

from __future__ import annotations

import contextlib
import io
import json

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from dp2bench.core.errors import DatasetError
from dp2bench.metrics.intervals import bootstrap_interval
from dp2bench.metrics.keypoints import NAMES, PRECISIONS, evaluate_keypoints, load_predictions


def scene(path, pictures=30, seed=0, blur=4.0):
    """People with visible, hidden and absent keypoints, one crowd; predictions with errors, doubles and false alarms."""
    rng = np.random.default_rng(seed)
    images, annotations, results = [], [], []
    for i in range(1, pictures + 1):
        images.append({"id": i, "width": 640, "height": 480, "file_name": f"{i}.jpg"})
        noise = rng.gamma(2, blur / 2)
        for _ in range(rng.integers(0, 5)):
            w, h = rng.uniform(20, 160), rng.uniform(30, 300)
            x, y = rng.uniform(0, 640 - w), rng.uniform(0, 480 - h)
            points = np.stack(
                [x + rng.uniform(0, w, 17), y + rng.uniform(0, h, 17), rng.integers(0, 3, 17)], 1
            )
            points[points[:, 2] == 0] = 0
            crowd = int(rng.random() < 0.05)
            annotations.append(
                {
                    "id": len(annotations) + 1, "image_id": i, "category_id": 1, "iscrowd": crowd, "area": w * h * 0.6,
                    "bbox": [x, y, w, h], "keypoints": points.ravel().tolist(),
                    "num_keypoints": 0 if crowd else int((points[:, 2] > 0).sum()),
                }
            )  # fmt: skip
            for _ in range(rng.choice([0, 1, 1, 1, 2])):
                guess = points.copy()
                guess[:, :2] += rng.normal(0, noise, (17, 2))
                guess[:, 2] = 1
                results.append(
                    {
                        "image_id": i,
                        "category_id": 1,
                        "keypoints": guess.ravel().tolist(),
                        "score": float(rng.random()),
                    }
                )
    data = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "person"}]}
    path.write_text(json.dumps(data))
    return results


def official(path, results):
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(path))
        evaluation = COCOeval(truth, truth.loadRes([dict(r) for r in results]), "keypoints")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return dict(zip(NAMES, evaluation.stats.tolist(), strict=True))


@pytest.mark.parametrize("seed", range(4))
def test_official_numbers_to_the_digit(tmp_path, seed):
    results = scene(tmp_path / "a.json", seed=seed)
    ours = evaluate_keypoints(tmp_path / "a.json", results)
    assert dict(ours.values) == {k: v for k, v in official(tmp_path / "a.json", results).items() if v >= 0}
    for name in PRECISIONS:
        assert np.mean(list(ours.pictures[name].values())) == pytest.approx(ours.values[name], abs=1e-12)
        assert len(ours.pictures[name]) == 30


def test_golden(tmp_path):
    """pycocotools 2.0.11's numbers for the first scene."""
    got = evaluate_keypoints(tmp_path / "a.json", scene(tmp_path / "a.json")).values
    assert {k: round(v, 10) for k, v in got.items()} == GOLDEN


GOLDEN = {
    "AP": 0.3815579175,
    "AP50": 0.5769300206,
    "AP75": 0.3902363827,
    "APm": 0.6,
    "APl": 0.2680528589,
    "AR": 0.5719298246,
    "AR50": 0.7192982456,
    "AR75": 0.5964912281,
    "ARm": 0.6,
    "ARl": 0.580952381,
}


def test_each_picture_weighs_what_leaving_it_out_changes(tmp_path):
    results = scene(tmp_path / "a.json", pictures=8, seed=3)
    whole = evaluate_keypoints(tmp_path / "a.json", results)
    ids = list(range(1, 9))
    left = np.array(
        [
            evaluate_keypoints(
                tmp_path / "a.json",
                [r for r in results if r["image_id"] != i],
                image_ids=[j for j in ids if j != i],
            ).values["AP"]
            for i in ids
        ]
    )
    expected = whole.values["AP"] + 7 * (left.mean() - left)
    assert list(whole.pictures["AP"].values()) == pytest.approx(expected.tolist())


def test_interval_agrees_with_resampling_pictures(tmp_path):
    """The interval of the pictures' weights against the evaluator run on resampled pictures."""
    results = scene(tmp_path / "a.json", pictures=60, seed=1)
    ours = evaluate_keypoints(tmp_path / "a.json", results)
    low, high = bootstrap_interval(list(ours.pictures["AP"].values()), seed=0)
    data = json.loads((tmp_path / "a.json").read_text())
    rng = np.random.default_rng(0)
    values = []
    for _ in range(60):
        drawn = rng.integers(1, 61, 60)
        images, annotations, again = [], [], []
        for new, old in enumerate(drawn, 1):
            images.append({"id": new})
            annotations += [a | {"image_id": new} for a in data["annotations"] if a["image_id"] == old]
            again += [r | {"image_id": new} for r in results if r["image_id"] == old]
        annotations = [a | {"id": i} for i, a in enumerate(annotations, 1)]
        (tmp_path / "b.json").write_text(json.dumps(data | {"images": images, "annotations": annotations}))
        values.append(official(tmp_path / "b.json", again)["AP"])
    assert (high - low) / (2 * 1.96) == pytest.approx(np.std(values), rel=0.35)


def test_nothing_found_scores_nothing(tmp_path):
    scene(tmp_path / "a.json")
    got = evaluate_keypoints(tmp_path / "a.json", [])
    assert set(got.values.values()) == {0.0}
    assert set(got.pictures["AP"].values()) == {0.0}


def test_errors(tmp_path):
    results = scene(tmp_path / "a.json")
    with pytest.raises(DatasetError, match="image_id 99"):
        evaluate_keypoints(tmp_path / "a.json", [results[0] | {"image_id": 99}])
    (tmp_path / "none.json").write_text(
        '{"images": [{"id": 1}], "annotations": [], "categories": [{"id": 1}]}'
    )
    with pytest.raises(DatasetError, match="nobody"):
        evaluate_keypoints(tmp_path / "none.json", [])
    for text, what in (("{", "JSON"), ("{}", "dict"), ('[{"image_id": 1}]', "entry 0")):
        (tmp_path / "p.json").write_text(text)
        with pytest.raises(DatasetError, match=what):
            load_predictions(tmp_path / "p.json")
    with pytest.raises(DatasetError, match="no file"):
        load_predictions(tmp_path / "q.json")
    (tmp_path / "p.json").write_text(json.dumps(results))
    assert load_predictions(tmp_path / "p.json") == results
