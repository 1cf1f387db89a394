"""The watermark: how often it is found after JPEG, halving and cropping, how often where it is not, and what it does to scores.

    python benchmarks/watermark.py [--pictures 40] [--keys 20]
    python benchmarks/watermark.py --scores                    # runs a small suite with and without
    python benchmarks/watermark.py --library                   # invisible-watermark on the same pictures, where it is installed

Pictures are those of passersby-coco (640 x 480), their people replaced by deepprivacy2. A mark is found where a picture without it would
look so at most `watermark.FALSE_ALARM` times; that bound holds for every picture, and is tried here with keys that are not in them.
"""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dp2bench.core import registry
from dp2bench.core.machine import default_threads
from dp2bench.core.types import Image
from dp2bench.inpainting import watermark

KEY = "the key of the benchmark"
ENOUGH = 8_000
"""Marked pixels that a picture needs; about a person of 60 x 200."""
Area = NDArray[np.bool_]


def machine() -> str:
    """Where it ran."""
    return f"{platform.processor() or platform.machine()}, {default_threads()} processors"


def jpeg(image: Image) -> Image:
    """JPEG of quality 75, with chroma subsampling."""
    data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 75])[1]
    return np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])


def half(image: Image) -> Image:
    """Half the width and height."""
    size = (image.shape[1] // 2, image.shape[0] // 2)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def crop(image: Any) -> Any:
    """Three quarters of the width and of the height, about the middle."""
    h, w = image.shape[:2]
    y, x = h // 8 + 1, w // 8 - 2
    return np.ascontiguousarray(image[y : y + 3 * h // 4, x : x + 3 * w // 4])


CHANGES: dict[str, Callable[[Image], Image]] = {
    "JPEG 75": jpeg,
    "half": half,
    "three quarters of each side": crop,
}


def pictures(most: int) -> Iterator[tuple[Image, Area]]:
    """Anonymized pictures and what was replaced in them."""
    dataset = registry.create("datasets", "passersby-coco", {"size": "mini"})
    dataset.prepare()
    detector = registry.create("detectors", "annotations", {}).for_dataset(dataset)
    method = registry.create("methods", "deepprivacy2", {})
    samples = [(s, split) for split in ("val", "train") for s in dataset.samples(split)]
    for sample, _ in samples[:: max(1, len(samples) // most)][:most]:
        image = dataset.read(sample)
        (people,) = detector.detect([image], [sample])
        made = method.anonymize(image, people, seed=1)
        if made.changed.any():
            yield made.image, made.changed


def robustness(most: int, keys: int) -> None:
    """Print how often the mark is found, and how often a key that is not there."""
    found: dict[str, list[tuple[int, bool, float]]] = {name: [] for name in CHANGES}
    wrong: list[float] = []
    ratios = []
    for n, (image, changed) in enumerate(pictures(most)):
        marked = watermark.embed(image, changed, KEY)
        error = np.square(marked[changed].astype(float) - image[changed]).mean()
        ratios.append(10 * np.log10(255**2 / error))
        for name, change in CHANGES.items():
            area = int((crop(changed) if name.startswith("three") else changed).sum())
            one = watermark.find(change(marked), KEY)
            found[name].append((area, one.found, one.score))
        if n % 8 == 0:
            others = [f"{KEY}, and another: {n} {i}" for i in range(keys)]
            wrong += [f.false_alarm for f in watermark.find_among(jpeg(marked), others)]
        print(".", end="", file=sys.stderr, flush=True)
    print(f"\n{machine()}")
    print(f"{len(ratios)} pictures; PSNR where they are marked: {np.median(ratios):.1f} dB (median)\n")
    print(
        f"| after | found, all pictures | found, at least {ENOUGH:,} marked pixels left | median score |\n|:--|--:|--:|--:|"
    )
    for name, rows in found.items():
        large = [hit for area, hit, _ in rows if area >= ENOUGH]
        everybody = [hit for _, hit, _ in rows]
        print(
            f"| {name} | {sum(everybody)} of {len(everybody)} ({np.mean(everybody):.0%}) | {sum(large)} of {len(large)} "
            f"({np.mean(large):.0%}) | {np.median([s for *_, s in rows]):.1f} |"
        )
    alarms = sum(p < watermark.FALSE_ALARM for p in wrong)
    print(
        f"\n{len(wrong)} looks with a key that is not there: {alarms} found. Bound on the probability: {watermark.FALSE_ALARM:g} a look; "
        f"smallest value seen: {min(wrong):.2g}."
    )


def marked(**arguments: Any) -> watermark.Watermarked:
    """deepprivacy2 with the mark, as a method of a suite."""
    return watermark.Watermarked(registry.create("methods", "deepprivacy2", arguments), KEY)


def scores() -> None:
    """Print every score of a small suite with and without the mark."""
    import dp2bench
    from dp2bench.engine import suite as suites

    sys.path.insert(0, str(Path(__file__).parent))  # where `watermark:marked` is found
    text = (
        "schema_version: 1\nname: watermark\nseeds: [0]\n"
        "datasets:\n  - {name: passersby-reid, arguments: {size: smoke}}\n  - {name: passersby-coco, arguments: {size: mini}}\n"
        "methods: [deepprivacy2, 'watermark:marked']\n"
        "tasks:\n  - {name: market1501-reid, arguments: {epochs: 20, weights: embedded}, datasets: [passersby-reid]}\n"
        "  - {name: image-quality, arguments: {size: 128, limit: 100}, datasets: [passersby-coco]}\n"
        "  - {name: detection-coverage, datasets: [passersby-coco]}\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "watermark.yaml")
        path.write_text(text)
        run = dp2bench.run_suite(suites.load(str(path)), Path(folder, "run"), progress=False)
        table = run.scores
    table["score"] = table[["task", "scenario", "metric", "subset"]].fillna("").agg(" ".join, axis=1)
    wide = table.pivot_table(index="score", columns="method", values="value", sort=False)
    print(f"{machine()}\n\n| score | without | with |\n|:--|--:|--:|")
    for name, row in wide.iterrows():
        print(f"| {' '.join(str(name).split())} | " + " | ".join(f"{v:.4g}" for v in row) + " |")


def library(most: int) -> None:
    """Print how often invisible-watermark (dwtDct, dwtDctSvd) reads back 32 bits that it put into the whole picture."""
    from imwatermark import WatermarkDecoder, WatermarkEncoder

    bits = np.random.default_rng(0).integers(0, 2, 32).tolist()
    rows: dict[tuple[str, str], list[float]] = {}
    for image, _ in pictures(most):
        for kind in ("dwtDct", "dwtDctSvd"):
            encoder = WatermarkEncoder()
            encoder.set_watermark("bits", bits)
            done = np.ascontiguousarray(
                encoder.encode(np.ascontiguousarray(image[..., ::-1]), kind)[..., ::-1]
            )
            for name, change in CHANGES.items():
                changed = np.ascontiguousarray(change(done)[..., ::-1])
                try:
                    read = WatermarkDecoder("bits", 32).decode(changed, kind)
                except RuntimeError:  # pictures under 256 x 256
                    read = [0] * 32
                rows.setdefault((kind, name), []).append(float(np.mean(np.array(read) == bits)))
    # Of 32 bits, 28 agree by chance once in 100,000.
    print("| library's kind | after | bits that agree | found (28 of 32) |\n|:--|:--|--:|--:|")
    for (kind, name), shares in rows.items():
        print(f"| {kind} | {name} | {np.mean(shares):.0%} | {np.mean(np.array(shares) >= 28 / 32):.0%} |")


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pictures", type=int, default=40)
    parser.add_argument("--keys", type=int, default=20)
    parser.add_argument("--scores", action="store_true")
    parser.add_argument("--library", action="store_true")
    given = parser.parse_args()
    if given.scores:
        scores()
    elif given.library:
        library(given.pictures)
    else:
        robustness(given.pictures, given.keys)


if __name__ == "__main__":
    main()
