"""Attribute edits of the embedded generators: find their directions, and measure what they do on held-out crops.

    python benchmarks/edits.py --size medium [--write] [--sheet edits.png]

For each direction: how often the attribute network reads the value before and after, how far the picture moves (perceptual
distance of EfficientNet-Lite0, beside that of two people in the same place), and how well the network reads real crops.
``--write`` puts the directions into the package. Two cores, medium: minutes once the crops are made.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from dp2bench.core import registry
from dp2bench.core.contracts import MethodMeta
from dp2bench.core.images import write_image
from dp2bench.core.seeds import derive_seed
from dp2bench.core.tensors import write_tensors
from dp2bench.deepprivacy2 import generator_weights
from dp2bench.deepprivacy2.attributes import (
    AttributeNetwork,
    find_directions,
    labelled_crops,
    taken,
    target_rates,
)
from dp2bench.deepprivacy2.directions import EMBEDDED, VALUES
from dp2bench.deepprivacy2.editing import Edit
from dp2bench.deepprivacy2.inpainter import GeneratorInpainter
from dp2bench.deepprivacy2.sheets import as_batch
from dp2bench.weights import embedded

GENERATORS = ("mini-body-cse", "mini-body")
SHOWN = (
    "upper=red",
    "upper=blue",
    "upper=white",
    "upper=black",
    "lower=black",
    "sleeves=short",
    "skirt=yes",
    "hat=yes",
)


def measure(
    train: tuple[list[Any], dict[str, torch.Tensor]],
    held_out: tuple[list[Any], dict[str, torch.Tensor]],
    template: str,
    *,
    samples: int,
    write: bool,
    sheet: Path | None,
    generators: tuple[str, ...] = GENERATORS,
    strengths: tuple[float, ...] = (0.5, 1.0),
) -> None:
    """Find directions with training crops, and print what they do on held-out ones."""
    network = AttributeNetwork()
    size = (144, 80)
    originals = [
        np.stack([cv2.resize(c.image, size[::-1], interpolation=cv2.INTER_AREA) for c in crops])
        for crops in (train[0], held_out[0])
    ]
    network.fit(network.describe(originals[0]), train[1])
    read = network.probabilities(network.describe(originals[1]))
    print("attribute  accuracy on real held-out crops  (most frequent value)")
    for name in VALUES:
        right = (read[name].argmax(1) == held_out[1][name]).float().mean()
        print(
            f"{name:<10} {float(right):6.1%}  ({held_out[1][name].bincount().max() / len(held_out[1][name]):.1%})"
        )
    found: dict[str, torch.Tensor] = {}
    for generator in generators:
        file = generator_weights.describe(generator_weights.resolve(generator, "body"))
        one = GeneratorInpainter(
            file, MethodMeta("edits", deterministic=False, uses_masked_pixels=False), truncation="none"
        )
        directions = find_directions(
            one, network, as_batch(train[0], template, file.crop_size), samples=samples
        )
        found |= {f"{generator}/{name}": direction for name, direction in directions.items()}
        crops = as_batch(held_out[0], template, file.crop_size)
        seeds = [derive_seed(0, "rate", i) for i in range(len(crops))]
        plain = one.inpaint(crops, seeds=seeds)
        others = one.inpaint(crops, seeds=[derive_seed(1, "rate", i) for i in range(len(crops))])
        before = target_rates(one, network, crops, list(directions))
        between = float(network.features.distances(plain, others).mean())
        print(
            f"\n{generator}: {len(crops)} held-out crops; two people in the same place are {between:.3f} apart"
        )
        print("edit             before" + "".join(f"   at {s:g}   distance" for s in strengths))
        for name, direction in directions.items():
            line = f"{name:<15} {before[name]:7.1%}"
            for strength in strengths:
                one.edits = (Edit(name, direction, strength),)
                made = one.inpaint(crops, seeds=seeds)
                attribute, _, value = name.partition("=")
                shown = network.probabilities(network.describe(made))[attribute].argmax(1)
                rate = float((shown == VALUES[attribute].index(value)).float().mean())
                moved = float(network.features.distances(plain, made).mean())
                line += f"  {rate:7.1%}   {moved:.3f}"
            print(line, flush=True)
        if sheet is not None and generator == generators[0]:
            rows = taken(crops, range(8))
            columns = [rows.images]
            for name in (None, *(n for n in SHOWN if n in directions)):
                one.edits = () if name is None else (Edit(name, directions[name], 0.75),)
                columns.append(one.inpaint(rows, seeds=seeds[:8]))
            whole = np.concatenate([np.concatenate(list(column), 1) for column in columns], 0)
            write_image(sheet, whole)
        one.edits = ()
    if write:
        target = embedded.path(EMBEDDED)
        write_tensors(
            {key: value.half() for key, value in found.items()}, target, {"trained_on": "passersby-fdh"}
        )
        print(f"\nwrote {target}: enter its sha256 into embedded.json")


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", default="medium")
    parser.add_argument("--samples", type=int, default=1500)
    parser.add_argument("--held-out", type=int, default=128)
    parser.add_argument("--generators", nargs="+", default=list(GENERATORS))
    parser.add_argument("--strengths", nargs="+", type=float, default=[0.5, 1.0])
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--sheet", type=Path)
    given = parser.parse_args()
    dataset = registry.create("datasets", "passersby-fdh", {"size": given.size})
    dataset.prepare()
    measure(
        labelled_crops(dataset, "train", 4_800),
        labelled_crops(dataset, "val", given.held_out),
        dataset.crops("train").template,
        samples=given.samples,
        write=given.write,
        sheet=given.sheet,
        generators=tuple(given.generators),
        strengths=tuple(given.strengths),
    )


if __name__ == "__main__":
    main()
