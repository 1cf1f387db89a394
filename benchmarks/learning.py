"""What small networks learn from clear Passersby pictures: curves of key points and masks, and AP on the val split.

Run: python benchmarks/learning.py FOLDER docs/images/passersby-learning.svg

FOLDER keeps the trained networks, so that a second run only evaluates and draws.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

from dp2bench.core.results import score_name
from dp2bench.datasets.passersby.cityscapes import PassersbyCityscapes
from dp2bench.datasets.passersby.coco import PassersbyCoco
from dp2bench.downstream import instances, keypoints
from dp2bench.metrics.instances import evaluate_instances
from dp2bench.metrics.keypoints import evaluate_keypoints


def learn_masks(out: Path) -> Mapping[str, float]:
    """Train on the train split unless ``out`` holds the network, and evaluate on the val split."""
    dataset, recipe = PassersbyCityscapes("mini"), instances.InstanceConfig()
    if not (out / "model.safetensors").exists():
        instances.train(dataset, recipe, out, seed=0)
    instances.predict(out, dataset, "val", recipe, out / "predictions")
    truth = [dataset.ground_truth(s, "instanceIds.png") for s in dataset.samples("val")]
    scores = evaluate_instances(truth, out / "predictions")
    values = {score_name(metric, subset=label): v for (metric, label), v in scores.values.items()}
    return values | {score_name("AP", subset=label): ap for label, ap in scores.classes.items()}


def learn_keypoints(out: Path) -> Mapping[str, float]:
    """The same of key points."""
    dataset, recipe = PassersbyCoco("mini"), keypoints.KeypointConfig()
    dataset.prepare()
    if not (out / "model.safetensors").exists():
        keypoints.train(dataset, recipe, out, seed=0)
    rows = keypoints.predict(out, dataset, "val", recipe)
    there = [s.labels["image_id"] for s in dataset.samples("val")]
    return evaluate_keypoints(keypoints.annotation_file(dataset, "val"), rows, image_ids=there).values


NETWORKS: dict[str, tuple[Callable[[Path], Mapping[str, float]], str, str]] = {
    "masks": (learn_masks, "IoU", "masks and classes, passersby-cityscapes"),
    "keypoints": (learn_keypoints, "found within a pixel of the heat map", "key points, passersby-coco"),
}


def main(folder: str, figure_path: str) -> None:
    """Train, print the AP of both and draw."""
    plt.rcParams.update(
        {"font.size": 8, "svg.hashsalt": "dp2bench", "axes.spines.top": False, "axes.spines.right": False}
    )
    figure, axes = plt.subplots(2, 2, figsize=(6.4, 3.6), layout="constrained", sharex="col")
    for column, (name, (learn, measure, title)) in enumerate(NETWORKS.items()):
        out = Path(folder) / name
        out.mkdir(parents=True, exist_ok=True)
        print(name, ", ".join(f"{k} {100 * v:.1f}" for k, v in learn(out).items()), flush=True)
        with (out / "curve.csv").open() as file:
            rows = [[float(v) for v in row.values()] for row in csv.DictReader(file)]
        epochs, losses, solved = zip(*rows, strict=True)
        above, below = axes[:, column]
        above.plot(epochs, losses, "o-", ms=3, color="#4477aa")
        above.set(title=title, ylabel="loss", ylim=(0, None))
        below.plot(epochs, solved, "o-", ms=3, color="#ee6677")
        below.set(
            xlabel="epoch", ylabel=measure.replace(" of", "\nof"), ylim=(0, 1), xticks=range(1, len(rows) + 1)
        )
    figure.savefig(figure_path, metadata={"Date": None})


if __name__ == "__main__":
    main(*sys.argv[1:])
