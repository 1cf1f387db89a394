"""How hard `passersby-reid` is: what a trained network, colour histograms and the background alone find of it.

Run: python benchmarks/passersby.py --size mini --seeds 0 1 --out calibration.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as PILImage

from dp2bench.attacks import reid
from dp2bench.core.images import read_image
from dp2bench.core.types import Image, Sample
from dp2bench.datasets.passersby import reid_builder
from dp2bench.datasets.passersby.reid import PassersbyReID
from dp2bench.metrics.floors import permutation_floor
from dp2bench.metrics.ranking import rank

STRIPES = 6
Features = NDArray[np.float32]
Result = dict[str, Any]


def histogram(picture: Image) -> Features:
    """(128,) square roots of an HSV histogram of 8 x 4 x 4 bins: euclidean distance is then Hellinger's."""
    hsv = cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2HSV)
    counts = cv2.calcHist([hsv], [0, 1, 2], None, [8, 4, 4], [0, 180, 0, 256, 0, 256]).ravel()
    roots: Features = np.sqrt(counts / counts.sum())
    return roots


def stripes(picture: Image) -> Features:
    """Histograms of six horizontal stripes."""
    return np.concatenate([histogram(part) for part in np.array_split(picture, STRIPES)])


def centre(picture: Image) -> Features:
    """Histograms of six stripes of the middle half of the picture, where the person is."""
    w = picture.shape[1]
    return stripes(picture[:, w // 4 : w - w // 4])


HISTOGRAMS: dict[str, Callable[[Image], Features]] = {
    "colour histogram, whole picture": histogram,
    "colour histogram, six stripes": stripes,
    "colour histogram, six stripes of the middle": centre,
}


def score(query: Sequence[Sample], gallery: Sequence[Sample], q: Features, g: Features) -> Result:
    """Mean average precision and rank-1, and what chance scores."""
    ids, cameras = (
        [np.array([s.labels[name] for s in split]) for split in (query, gallery)]
        for name in ("identity", "camera")
    )
    distances = reid.euclidean(q, g)
    found = rank(distances, *ids, *cameras)
    floor = permutation_floor(distances, *ids, *cameras, seed=0)
    return {
        "rank-1": float(found.cmc[0]),
        "rank-5": float(found.cmc[4]),
        "mAP": found.mean_average_precision,
        "chance rank-1": floor.mean("rank-1"),
        "chance mAP": floor.mean(),
    }


def without_people(size: str, splits: dict[str, list[Sample]], root: Path) -> dict[str, list[Sample]]:
    """The same pictures taken again with nobody in them: places, light and cameras, no silhouettes and no shadows."""
    specs = {(s.split, s.name): s for chunk in reid_builder.ReidBuilder().plan(size) for s in chunk}
    copies: dict[str, list[Sample]] = {}
    for split, samples in splits.items():
        (root / split).mkdir(parents=True)
        copies[split] = []
        for sample in samples:
            picture, _ = reid_builder.render_sample(specs[split, str(sample.id)], vacant=True)
            path = root / split / f"{Path(sample.id).stem}.png"
            PILImage.fromarray(picture).save(path)
            copies[split].append(Sample(sample.id, path, sample.labels))
    return copies


def network(
    splits: dict[str, list[Sample]], recipe: reid.ReidConfig, seed: int, out: Path, embedded: str = ""
) -> Result:
    """Search with the attacker of `market1501-reid`: the one that comes with the package for ``embedded`` data, or trained here."""
    out.mkdir(parents=True)
    begin, cpu = time.perf_counter(), time.process_time()
    if embedded:
        reid.take(replace(recipe, weights=reid.EMBEDDED), out, seed=seed, data=embedded)
    else:
        reid.train(splits["train"], recipe, out, seed=seed)
    seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
    model = reid.load(out, recipe)
    q, g = (reid.features(model, splits[name], recipe) for name in ("query", "gallery"))
    return {**score(splits["query"], splits["gallery"], q, g), "seconds": seconds, "cpu seconds": cpu}


def main() -> None:
    """Print the table and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="mini")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1])
    parser.add_argument("--background-seeds", type=int, nargs="*", default=[0])
    parser.add_argument(
        "--train",
        action="store_true",
        help="train the attackers anew, in place of those that come with the package",
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("calibration.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    dataset = PassersbyReID(arguments.size)
    splits = {
        name: [s for s in dataset.samples(name) if s.labels["identity"] >= 0]
        for name in ("train", "query", "gallery")
    }
    rows: dict[str, Result] = {}
    for name, feature in HISTOGRAMS.items():
        q, g = (np.stack([feature(read_image(s.path)) for s in splits[k]]) for k in ("query", "gallery"))
        rows[name] = score(splits["query"], splits["gallery"], q, g)
    recipe = reid.ReidConfig(epochs=arguments.epochs)
    data = f"{dataset.meta.name} {dataset.meta.version}"
    with tempfile.TemporaryDirectory() as scratch:
        for seed in arguments.seeds:
            # The attackers of the suite `mini`, hence its clear-clear scores.
            rows[f"OSNet x0.25, {recipe.epochs} epochs, seed {seed}"] = network(
                splits, recipe, seed, Path(scratch) / f"clear-{seed}", "" if arguments.train else data
            )
        if arguments.background_seeds:
            empty = without_people(arguments.size, splits, Path(scratch) / "empty")
        for seed in arguments.background_seeds:
            rows[f"the same on the background alone, seed {seed}"] = network(
                empty, recipe, seed, Path(scratch) / f"empty-{seed}"
            )
    print(
        f"{dataset.meta.name} {dataset.meta.version}: "
        + ", ".join(f"{len(v)} {k}" for k, v in splits.items())
    )
    print(f"{'':52s} rank-1  rank-5     mAP  (chance: rank-1, mAP)")
    for name, r in rows.items():
        print(
            f"{name:52s} {r['rank-1']:6.1%}  {r['rank-5']:6.1%}  {r['mAP']:6.1%}"
            f"  ({r['chance rank-1']:.1%}, {r['chance mAP']:.1%})"
        )
    record = {
        "dataset": dataset.meta.name,
        "version": dataset.meta.version,
        "epochs": recipe.epochs,
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} processors, torch {torch.__version__}",
        "results": rows,
    }
    arguments.out.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    print(f"written to {arguments.out}")


if __name__ == "__main__":
    main()
