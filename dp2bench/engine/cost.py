"""What a suite of the paper costs before it is run: GPU hours and disk, from counted operations and published speeds.

Operations of a network were counted (`benchmarks/operations.py`); how many of its peak a GPU reaches is taken from two published times.
An estimate tells days from hours: it can be off by a factor of two either way.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from dp2bench.engine.step import Cell
from dp2bench.engine.suite import Component

GPUS: Mapping[str, float] = {"GTX 1080": 8.9, "V100": 15.7, "A100": 19.5, "H100": 66.9}
"""Peak of single precision without tensor cores, in 1e12 operations a second, as their maker states it."""
SHARE = 0.2
"""Of the peak: a picture with 12 people in 2.8 s on a GTX 1080, as the paper says, is 5.0e12 counted operations at a megapixel."""
HOW = (
    f"hours: operations counted by benchmarks/operations.py at {100 * SHARE:.0f} % of each GPU's peak (the paper's 2.8 s for 12 people on a "
    "GTX 1080); trainings of R-CNNs by the seconds a step in detectron2's model zoo (8 V100), scaled by peaks. Good to a factor of two "
    "between a GTX 1080 and a V100; later GPUs were not measured."
)


@dataclass(frozen=True)
class _Facts:
    """Of a dataset, rounded: people a picture, megapixels a picture, megabytes of a rewritten picture, pictures a split."""

    people: float
    megapixels: float
    megabytes: float
    pictures: Mapping[str, int]


FACTS: Mapping[str, _Facts] = {
    "market1501": _Facts(1, 0.008, 0.006, {"train": 12_936, "query": 3_368, "gallery": 19_732}),
    "coco": _Facts(2.2, 0.29, 0.16, {"train": 118_287, "val": 5_000}),
    "cityscapes": _Facts(7, 2.1, 2.3, {"train": 2_975, "val": 500}),
    "fdh": _Facts(1, 0.046, 0.09, {"train": 1_840_000, "val": 30_000}),
    "fdf256": _Facts(1, 0.066, 0.12, {"train": 241_982, "val": 6_533}),
}
_DISTRACTORS = 500_000
"""Of Market-1501's gallery, where they are asked for."""
SPLITS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "market1501-reid": {"market1501": ("query", "gallery")},
    "coco-keypoints": {"coco": ("train",)},
    "cityscapes-instances": {"cityscapes": ("train",)},
}
"""That a task has anonymized; the others take the one that the field tests on."""
_ZOO_V100_SECONDS = {"coco-keypoints": 8 * 0.315 / 16, "cityscapes-instances": 8 * 0.240 / 8}
"""Of a V100 for one training picture: detectron2's MODEL_ZOO.md, keypoint_rcnn_R_50_FPN_1x and Cityscapes mask_rcnn_R_50_FPN."""
_DETECTORS = {
    "deepprivacy2": ("mask_rcnn_X_101_32x8d_FPN_3x", "cse_R_101_FPN_DL_soft_s1x", "dsfd per megapixel"),
    "cse": ("cse_R_101_FPN_DL_soft_s1x",),
    "dsfd": ("dsfd per megapixel",),
    "with-keypoints": ("dsfd per megapixel", "keypointrcnn_resnet50_fpn"),
}
_GENERATORS = {
    "deepprivacy1": "deep_privacy1", "surface-guided-gan": "surface_guided_E", "deepprivacy2-no-cse": "fdh_styleganL_nocse",
    "deepprivacy2": "fdh_styleganL", "deepprivacy2-face": "fdf256_stylegan",
}  # fmt: skip


_FREE = ("identity", "blur", "pixelate", "mask-out")
"""Beginnings of the names of methods that cost nothing beside a network."""


@dataclass(frozen=True)
class Work:
    """One step of a suite.

    Attributes:
        dataset: label.
        what: it does.
        gflop: operations in units of 1e9.
        v100_seconds: where a published time says it.
        gigabytes: written to the cache.

    """

    dataset: str
    what: str
    gflop: float = 0.0
    v100_seconds: float = 0.0
    gigabytes: float = 0.0

    def hours(self, gpu: str) -> float:
        """On one GPU of a kind."""
        peak = GPUS[gpu]
        return (self.gflop / (1000 * peak * SHARE) + self.v100_seconds * GPUS["V100"] / peak) / 3600


@cache
def operations() -> Mapping[str, float]:
    """Units of 1e9 by network: a picture or a crop."""
    table: dict[str, float] = json.loads(
        resources.files(__package__).joinpath("operations.json").read_text("utf-8")
    )
    return table


def work(cells: Sequence[Cell]) -> list[Work]:
    """The steps behind the rows, each once. Of plug-ins and datasets that are not in the tables here nothing is known."""
    found: dict[tuple[str, str], Work] = {}
    for cell in cells:
        for one in _steps(cell):
            found.setdefault((one.dataset, one.what), one)
    return list(found.values())


def unknown(cells: Sequence[Cell]) -> list[str]:
    """What nothing is known of here, so that its work is not counted: datasets, detectors, methods."""
    found = {f"dataset {c.dataset.label}" for c in cells if c.dataset.name not in FACTS}
    found |= {
        f"detector {c.detector}"
        for c in cells
        if c.detector not in {*_DETECTORS, "annotations", "full-image"}
    }
    found |= {
        f"method {c.method.label}"
        for c in cells
        if c.method.name not in _GENERATORS and not c.method.name.startswith(_FREE)
    }
    return sorted(found)


def _steps(cell: Cell) -> Iterator[Work]:
    facts, name, flop = FACTS.get(cell.dataset.name), cell.dataset.label, operations()
    if facts is None:
        return
    usual = ("val",) if "val" in facts.pictures else ("query", "gallery")
    splits = SPLITS.get(cell.task.name, {}).get(cell.dataset.name, usual)
    for split in splits:
        pictures = facts.pictures[split]
        if split == "gallery" and cell.dataset.arguments.get("distractors"):
            pictures += _DISTRACTORS
        parts = _DETECTORS.get(cell.detector, ())
        each = sum(flop[p] * (facts.megapixels if "megapixel" in p else 1) for p in parts)
        yield Work(name, f"detect people in {split} with {cell.detector}", each * pictures)
        people = facts.people * pictures * flop.get(_GENERATORS.get(cell.method.name, ""), 0.0)
        yield Work(
            name,
            f"anonymize {split} with {cell.method.label}",
            people * len(cell.evaluations),
            gigabytes=facts.megabytes * pictures / 1000,
        )
    given = _arguments(cell.task)
    for seed in cell.evaluations:
        yield from _task(cell, facts, given, f"seed {seed}")


def _arguments(task: Component) -> Mapping[str, Any]:
    defaults = {"coco-keypoints": {"iterations": 90_000, "batch_size": 16}}.get(task.name, {})
    return {**defaults, **task.arguments}


def _task(cell: Cell, facts: _Facts, given: Mapping[str, Any], seed: str) -> Iterator[Work]:
    name, task, flop = cell.dataset.label, cell.task.name, operations()
    method = cell.method.label
    if task in _ZOO_V100_SECONDS:
        seconds = given["iterations"] * given["batch_size"] * _ZOO_V100_SECONDS[task]
        for on in ("clear", method):
            # the control's training is the clear one
            if on != "identity":
                yield Work(name, f"{task}: train on {on}, {seed}", v100_seconds=seconds, gigabytes=0.4)
                network = "keypointrcnn_resnet50_fpn" if task == "coco-keypoints" else "mask-rcnn"
                yield Work(name, f"{task}: test {on}, {seed}", flop[network] * facts.pictures["val"])
    elif task == "market1501-reid":
        learned = 3 * flop["osnet_x1_0"] * facts.pictures["train"] * given.get("epochs", 30)
        if not given.get("weights"):
            yield Work(name, f"{task}: train on clear, {seed}", learned)
        tested = sum(facts.pictures[s] for s in ("query", "gallery"))
        tested += _DISTRACTORS * bool(cell.dataset.arguments.get("distractors"))
        yield Work(name, f"{task}: test {method}, {seed}", 2 * flop["osnet_x1_0"] * tested)
    elif task == "image-quality":
        crops = min(given.get("limit", 10_000), round(facts.people * facts.pictures["val"]))
        each = 2 * flop["inception"] + flop["lpips_vgg"]
        each += (
            given.get("paths", 0)
            / crops
            * (2 * flop.get(_GENERATORS.get(cell.method.name, ""), 0) + flop["lpips_vgg"])
        )
        yield Work(name, f"{task}: {method}, {seed}", each * crops)
