"""A small instance segmentation network for the embedded tiers: mask and class of the instance in a given box.

EfficientNet-Lite0 with ImageNet weights, frozen down to stride 8, where its maps of all crops are computed once; the blocks of
stride 16 and a small decoder are trained. As in Mask R-CNN's second stage (He et al., ICCV 2017), a box is warped to a fixed size
and its mask and class are predicted from it; where the boxes are is not learned but given by the annotations.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from dp2bench.core.contracts import Dataset, Progress, no_progress
from dp2bench.core.errors import DatasetError
from dp2bench.core.seeds import derive_seed
from dp2bench.core.types import Sample
from dp2bench.metrics.instances import SMALLEST
from dp2bench.networks import efficientnet
from dp2bench.networks.fitting import fit, save
from dp2bench.networks.frozen_backbone import FrozenBackboneDecoder, frozen_maps, warp_crop

CLASSES = (24, 25, 26, 27, 28, 31, 32, 33)
"""Cityscapes' label ids with instances: person, rider, car, truck, bus, train, motorcycle, bicycle."""
STEP = 2
"""Pixels of a crop to one of its mask."""
FLIPS = (False, True)


@dataclass(frozen=True)
class InstanceConfig:
    """How the small network is trained; every field changes the outcome. ``limit`` is of training only.

    ``margin`` is how much more than the box a crop shows; ``class_weight`` weighs the class against the mask.
    """

    size: int = 128
    channels: int = 96
    margin: float = 1.25
    dropout: float = 0.0
    epochs: int = 6
    batch_size: int = 32
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    class_weight: float = 0.3
    limit: int = 6000


@dataclass(frozen=True)
class InstanceCrop:
    """One annotated instance.

    Attributes:
        sample: index of its picture in the split.
        box: (4,) of its pixels in the picture: x0, y0, x1, y1, the ends exclusive.
        affine: (2, 3) from the picture to the crop, in coordinates whose pixel centres are at halves.
        kind: index in `CLASSES`.

    """

    sample: int
    box: tuple[int, int, int, int]
    affine: NDArray[np.float64]
    kind: int


def crops(
    dataset: Any, split: str, recipe: InstanceConfig
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], list[InstanceCrop]]:
    """(N, size, size, 3) crops around annotated instances, (N, size / 2, size / 2) masks from 0 to 255, and what they are.

    Instances that the evaluator counts: no groups, and not under `SMALLEST` pixels. At most ``recipe.limit`` of them, evenly
    spread.

    Raises:
        DatasetError: no pictures, labels that are missing, or no instance.

    """
    samples = dataset.samples(split)
    objects: list[tuple[int, int]] = []
    for i, sample in enumerate(samples):
        values, areas = np.unique(instance_ids(dataset, sample), return_counts=True)
        objects += [
            (i, int(v))
            for v, area in zip(values, areas, strict=True)
            if v >= 1000 and v // 1000 in CLASSES and area >= SMALLEST
        ]
    if not objects:
        raise DatasetError(
            f"The {split} split of {dataset.meta.name} at {dataset.root} holds no instances.",
            "Check that its pictures are there and that gtFine numbers instances.",
        )
    if len(objects) > recipe.limit:
        objects = [objects[i] for i in np.linspace(0, len(objects) - 1, recipe.limit).round().astype(int)]
    size = recipe.size
    pixels = np.empty((len(objects), size, size, 3), np.uint8)
    masks = np.empty((len(objects), size // STEP, size // STEP), np.uint8)
    crops = []
    last = -1
    for n, (i, value) in enumerate(objects):
        if i != last:
            last, picture, ids = i, dataset.read(samples[i]), instance_ids(dataset, samples[i])
        mask = (ids == value).astype(np.uint8)
        x, y, w, h = cv2.boundingRect(mask)
        scale = size / (recipe.margin * np.array([w, h]))
        shift = size / 2 - scale * [x + w / 2, y + h / 2]
        affine = np.column_stack([np.diag(scale), shift])
        pixels[n] = warp_crop(picture, affine, (size, size))
        masks[n] = warp_crop(mask * 255, affine / STEP, (size // STEP, size // STEP))
        crops.append(InstanceCrop(i, (x, y, x + w, y + h), affine, CLASSES.index(value // 1000)))
    return pixels, masks, crops


def instance_ids(dataset: Any, sample: Sample) -> NDArray[Any]:
    """(H, W) of gtFine: an instance's class times 1000 plus its number. DatasetError where it is missing."""
    ids = cv2.imread(str(dataset.ground_truth(sample, "instanceIds.png")), cv2.IMREAD_UNCHANGED)
    if ids is None or ids.ndim != 2:
        raise DatasetError(
            f"The labels of {sample.id} in {dataset.meta.name} are missing or no picture.",
            "Put gtFine beside the pictures.",
        )
    return ids


def write_results(
    out: Path, sample: Sample, masks: NDArray[np.bool_], kinds: Sequence[int], scores: Sequence[float]
) -> None:
    """What is said of a picture, in Cityscapes' results format: (N, H, W) masks, indices in `CLASSES`, confidences."""
    (out / "masks").mkdir(parents=True, exist_ok=True)
    stem = Path(sample.id).name.removesuffix("_leftImg8bit.png")
    lines = []
    for i, (mask, kind, score) in enumerate(zip(masks, kinds, scores, strict=True)):
        name = f"masks/{stem}_{i}.png"
        cv2.imwrite(str(out / name), mask.astype(np.uint8) * 255)
        lines.append(f"{name} {CLASSES[kind]} {score:.6f}\n")
    (out / f"{stem}.txt").write_text("".join(lines), "utf-8")


def balanced(kinds: NDArray[np.int64]) -> NDArray[np.int64]:
    """Indices of all examples; those of rare classes are repeated, by the root of how much rarer they are than the commonest."""
    counts = np.bincount(kinds)
    return np.repeat(np.arange(len(kinds)), np.sqrt(counts.max() / counts[kinds]).round().astype(int))


def train(
    dataset: Dataset,
    recipe: InstanceConfig,
    out: Path,
    *,
    seed: int,
    device: str = "cpu",
    progress: Progress = no_progress,
) -> None:
    """Train on the train split and leave ``model.safetensors`` and ``curve.csv`` in ``out``; goes on after a kill.

    The curve's ``iou`` is of the training crops, at the resolution of their masks.

    Raises:
        DatasetError: no pictures, labels that are missing, or no instance to learn from. Dp2benchError: the loss is not finite.

    """
    pixels, masks, objects = crops(dataset, "train", recipe)
    kinds = np.array([c.kind for c in objects])
    network = efficientnet.pretrained(device)
    versions = []
    for flip in FLIPS:
        goal = torch.from_numpy(masks)
        goal = goal.flip(2) if flip else goal
        versions.append((*frozen_maps(network, pixels, flip, device), goal))
    columns = [torch.stack(column) for column in zip(*versions, strict=True)]
    picks, wanted = torch.from_numpy(balanced(kinds)), torch.from_numpy(kinds)
    torch.manual_seed(derive_seed(seed, "instances"))
    model = FrozenBackboneDecoder(recipe.channels, 1 + len(CLASSES), 8 // STEP, recipe.dropout).to(device)

    def loss_of(chosen: Tensor) -> tuple[Tensor, Tensor]:
        chosen = picks[chosen]
        version = torch.randint(len(versions), (len(chosen),))
        fine, coarse, goal = (column[version, chosen].to(device) for column in columns)
        goal = goal.float() / 255
        mask, classes = _read(model(fine, coarse))
        by_pixel = F.binary_cross_entropy_with_logits(mask, goal)
        chance = mask.sigmoid()
        dice = 1 - 2 * (chance * goal).sum((1, 2)) / (chance.sum((1, 2)) + goal.sum((1, 2)) + 1)
        by_class = F.cross_entropy(classes, wanted[chosen].to(device))
        said, truth = mask.detach() > 0, goal > 0.5
        iou = (said & truth).sum((1, 2)) / (said | truth).sum((1, 2)).clamp(min=1)
        return by_pixel + dice.mean() + recipe.class_weight * by_class, iou.mean()

    fit(
        model,
        loss_of,
        len(picks),
        out,
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        seed=seed,
        progress=progress,
        what="the instance network",
        measure="iou",
    )
    save(model, recipe, out)


def _read(outputs: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of masks (N, h, w), and of classes (N, `CLASSES`) as their mean over the mask."""
    mask = outputs[:, 0]
    weight = mask.detach().sigmoid()[:, None] + 1e-3
    return mask, (outputs[:, 1:] * weight).sum((2, 3)) / weight.sum((2, 3))


@torch.inference_mode()
def predict(
    folder: Path,
    dataset: Dataset,
    split: str,
    recipe: InstanceConfig,
    out: Path,
    *,
    device: str = "cpu",
    progress: Progress = no_progress,
) -> None:
    """Write a results folder in Cityscapes' format for a split to ``out``, from the boxes of annotated instances.

    What is said of a crop and its mirror image is averaged; the confidence is the class's probability times the mean of the
    mask's. A mask does not leave its box.
    """
    model = FrozenBackboneDecoder(recipe.channels, 1 + len(CLASSES), 8 // STEP)
    model.load_state_dict(load_file(folder / "model.safetensors"))
    model.to(device).eval()
    network = efficientnet.pretrained(device)
    samples = dataset.samples(split)
    pixels, _, objects = crops(dataset, split, replace(recipe, limit=sys.maxsize))
    (out / "masks").mkdir(parents=True, exist_ok=True)
    stems = [Path(s.id).name.removesuffix("_leftImg8bit.png") for s in samples]
    lines: list[list[str]] = [[] for _ in samples]
    shapes = {i: dataset.read(samples[i]).shape[:2] for i in {c.sample for c in objects}}
    for start in range(0, len(objects), 64):
        part = pixels[start : start + 64]
        mask, classes = _read(model(*frozen_maps(network, part, False, device)))
        mirrored, others = _read(model(*frozen_maps(network, part, True, device)))
        chances = ((mask.sigmoid() + mirrored.sigmoid().flip(2)) / 2).cpu().numpy()
        best, kinds = ((classes.softmax(1) + others.softmax(1)) / 2).max(1)
        for crop, chance, p, kind in zip(
            objects[start : start + 64], chances, best.tolist(), kinds.tolist(), strict=True
        ):
            inside = _placed(chance, crop)
            if not (inside > 0.5).any():
                continue
            whole = np.zeros(shapes[crop.sample], np.uint8)
            x0, y0, x1, y1 = crop.box
            whole[y0:y1, x0:x1] = (inside > 0.5) * 255
            name = f"masks/{stems[crop.sample]}_{len(lines[crop.sample])}.png"
            cv2.imwrite(str(out / name), whole)
            confidence = p * float(inside[inside > 0.5].mean())
            lines[crop.sample].append(f"{name} {CLASSES[kind]} {confidence:.6f}\n")
        progress(min(start + 64, len(objects)), len(objects))
    for stem, rows in zip(stems, lines, strict=True):
        (out / f"{stem}.txt").write_text("".join(rows), "utf-8")


def _placed(chance: NDArray[np.float32], crop: InstanceCrop) -> NDArray[np.float32]:
    """A mask's probabilities (size / 2, size / 2) at the pixels of its box in the picture."""
    x0, y0, x1, y1 = crop.box
    to_mask = crop.affine / STEP
    to_mask[:, 2] += (
        to_mask[:, :2] @ (x0 + 0.5, y0 + 0.5) - 0.5
    )  # from the box's pixels, centres at whole numbers
    return np.asarray(
        cv2.warpAffine(
            chance,
            to_mask,
            (x1 - x0, y1 - y0),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
    )
