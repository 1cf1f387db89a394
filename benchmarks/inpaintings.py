"""How good the inpaintings of the embedded generators are, beside those of the baselines, on held-out crops of rendered people.

Run: python benchmarks/inpaintings.py [--faces] [--limit 320] [--sheet inpaintings.jpg]

Kernel distance (KID's formula; 0 is best) of synthesised from real crops on the features of two ImageNet networks:
EfficientNet-Lite0, through which the embedded generators' discriminator looks as well, and MobileNetV2, which no training
saw. Diversity: perceptual distance of two inpaintings of the same mask by two seeds. Only pixels in holes differ from the real crop.
"""

from __future__ import annotations

import argparse
import os
import platform
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from dp2bench.core import registry
from dp2bench.core.seeds import derive_seed
from dp2bench.metrics.features import EfficientNetFeatures, MobileNetFeatures
from dp2bench.metrics.quality import kernel_inception_distance

Pictures = NDArray[np.uint8]
BODIES = ("identity", "mask-out", "pixelate-8", "pixelate-16", "blur", "deepprivacy2", "deepprivacy2-no-cse")
FACES = ("identity", "mask-out-face", "pixelate-8-face", "pixelate-16-face", "blur-face", "deepprivacy2-face")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--faces", action="store_true", help="faces instead of bodies")
    parser.add_argument("--size", default="medium", help="of the dataset")
    parser.add_argument("--limit", type=int, default=320, help="crops of the val split")
    parser.add_argument(
        "--side", type=int, default=128, help="pixels that crops are resized to for the networks"
    )
    parser.add_argument("--methods", nargs="+", help="names; METHOD=PATH takes a generator's file")
    parser.add_argument("--sheet", type=Path, help="picture of twelve crops under every method")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    dataset: Any = registry.create(
        "datasets", "passersby-fdf" if options.faces else "passersby-fdh", {"size": options.size}
    )
    dataset.prepare()
    samples = dataset.samples("val")
    samples = [
        samples[i] for i in np.linspace(0, len(samples) - 1, min(options.limit, len(samples))).astype(int)
    ]
    role = "face" if options.faces else "body"
    efficient, independent = EfficientNetFeatures(), MobileNetFeatures().features

    def resized(pictures: list[Pictures]) -> Pictures:
        return np.stack([cv2.resize(p, (options.side,) * 2, interpolation=cv2.INTER_AREA) for p in pictures])

    real = [dataset.read(s) for s in samples]
    people = [dataset.people(s) for s in samples]
    originals = resized(real)
    truth = [f(originals) for f in (efficient.features, independent)]

    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}; {dataset.meta.name} "
          f"{dataset.meta.version}, {len(samples)} crops of the val split, at {options.side} pixels\n")  # fmt: skip
    print("| method | kernel distance, EfficientNet-Lite0 | kernel distance, MobileNetV2 | diversity |")
    print("|:--|--:|--:|--:|", flush=True)
    shown = [real[:12]]
    for wanted in options.methods or (FACES if options.faces else BODIES):
        name, _, path = wanted.partition("=")
        given = {("face" if options.faces else "person" if "no-cse" in name else "cse"): path} if path else {}
        method: Any = registry.create("methods", name, given)
        made = [
            [
                method.anonymize(picture, who, seed=derive_seed(seed, sample.id)).image
                for sample, picture, who in zip(samples, real, people, strict=True)
            ]
            for seed in (0, 1)
        ]
        first, second = (resized(pictures) for pictures in made)
        distances = [
            kernel_inception_distance(t, f(first), subsets=1)
            for t, f in zip(truth, (efficient.features, independent), strict=True)
        ]
        diversity = float(efficient.distances(first, second).mean())
        cells = [f"{d:.3f}" for d in distances] + ["not measured"] * (2 - len(distances))
        print(f"| `{name}` ({role}) | {' | '.join(cells)} | {diversity:.2f} |", flush=True)
        shown += [pictures[:12] for pictures in made[: 2 if diversity > 0 else 1]]
    if options.sheet:
        height = 128 if options.faces else 180
        rows = [
            np.concatenate(
                [cv2.resize(p, (round(p.shape[1] * height / p.shape[0]), height), interpolation=cv2.INTER_AREA) for p in row], 1
            )
            for row in shown
        ]  # fmt: skip
        Image.fromarray(np.concatenate(rows)).save(options.sheet, quality=88)


if __name__ == "__main__":
    main()
