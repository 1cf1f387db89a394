"""A small instance segmentation network for the embedded tiers: class, centre and offset of every pixel.

Pixels of things are given to the centre that their offset points to (Cheng et al., Panoptic-DeepLab, CVPR 2020), on the frozen
EfficientNet of `dp2bench.downstream.small`. Pictures are halved; outputs have a quarter of the picture's resolution.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from dp2bench.core.contracts import Dataset, Progress, no_progress
from dp2bench.core.errors import DatasetError
from dp2bench.core.seeds import derive_seed
from dp2bench.core.types import Sample
from dp2bench.downstream.small import SmallNet, frozen_maps
from dp2bench.downstream.training import fit
from dp2bench.metrics import efficientnet

CLASSES = (24, 25, 26, 27, 28, 31, 32, 33)
"""Cityscapes' label ids with instances: person, rider, car, truck, bus, train, motorcycle, bicycle."""
IGNORED = 255
STEP = 4
"""Pixels of the picture to one of the outputs."""
OUTPUTS = len(CLASSES) + 1 + 1 + 2
"""Classes and background, centre, offset down and across."""


@dataclass(frozen=True)
class Recipe:
    """How the small network is trained; every field changes the outcome."""

    channels: int = 96
    dropout: float = 0.1
    sigma: float = 2.0
    epochs: int = 14
    batch_size: int = 4
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    centre_weight: float = 100.0
    offset_weight: float = 0.04
    limit: int = 400


@dataclass(frozen=True)
class Goal:
    """What the network is to say of one picture, at a quarter of its resolution.

    Attributes:
        classes: (h, w) uint8, 0 for background, else 1 + the index in `CLASSES`, `IGNORED` for groups.
        centre: (h, w) float16, Gaussians around instances' centres.
        offset: (2, h, w) float16, from each pixel to its instance's centre, down and across, in pixels of the output.

    """

    classes: NDArray[np.uint8]
    centre: NDArray[np.float16]
    offset: NDArray[np.float16]


def goal_of(ids: NDArray[Any], sigma: float) -> Goal:
    """From ``gtFine_instanceIds`` (H, W)."""
    small = ids[STEP // 2 :: STEP, STEP // 2 :: STEP].astype(np.int64)
    h, w = small.shape
    classes = np.zeros((h, w), np.uint8)
    centre, offset = np.zeros((h, w), np.float32), np.zeros((2, h, w), np.float32)
    down, across = np.mgrid[:h, :w].astype(np.float32)
    for value in np.unique(small):
        label = int(value if value < 1000 else value // 1000)
        if label not in CLASSES:
            continue
        mask = small == value
        if value < 1000:
            classes[mask] = IGNORED
            continue
        classes[mask] = 1 + CLASSES.index(label)
        y, x = down[mask].mean(), across[mask].mean()
        centre = np.maximum(centre, np.exp(-((down - y) ** 2 + (across - x) ** 2) / (2 * sigma**2)))
        offset[0][mask], offset[1][mask] = y - down[mask], x - across[mask]
    return Goal(classes, centre.astype(np.float16), offset.astype(np.float16))


def _mirrored(goal: Goal) -> Goal:
    sign = np.array([1, -1], np.float16)[:, None, None]
    return Goal(goal.classes[:, ::-1].copy(), goal.centre[:, ::-1].copy(), goal.offset[..., ::-1] * sign)


def _halved(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Half as large, cut to whole multiples of the deepest stride."""
    h, w = (n // 32 * 16 for n in picture.shape[:2])
    return np.asarray(cv2.resize(picture[: 2 * h, : 2 * w], (w, h), interpolation=cv2.INTER_AREA), np.uint8)


def _read(dataset: Any, samples: list[Sample], recipe: Recipe) -> tuple[NDArray[np.uint8], list[Goal]]:
    pictures, goals = [], []
    for sample in samples:
        pictures.append(_halved(dataset.read(sample)))
        ids = cv2.imread(str(dataset.ground_truth(sample, "instanceIds.png")), cv2.IMREAD_UNCHANGED)
        if ids is None or ids.ndim != 2:
            raise DatasetError(
                f"The labels of {sample.id} in {dataset.meta.name} are missing or no picture.",
                "Put gtFine beside the pictures.",
            )
        h, w = pictures[-1].shape[:2]
        goals.append(goal_of(ids[: 2 * h, : 2 * w], recipe.sigma))
    return np.stack(pictures), goals


def train(
    dataset: Dataset,
    recipe: Recipe,
    out: Path,
    *,
    seed: int,
    device: str = "cpu",
    progress: Progress = no_progress,
) -> None:
    """Train on the train split and leave ``model.safetensors`` and ``curve.csv`` in ``out``; goes on after a kill.

    Raises:
        DatasetError: no pictures, labels that are missing, or no instance to learn from. Dp2benchError: the loss is not finite.

    """
    samples = list(dataset.samples("train"))
    if len(samples) > recipe.limit:
        samples = [samples[i] for i in np.linspace(0, len(samples) - 1, recipe.limit).round().astype(int)]
    if not samples:
        raise DatasetError(f"The train split of {dataset.meta.name} at {dataset.root} is empty.", "Check it.")
    pictures, goals = _read(dataset, samples, recipe)
    if not any((g.classes > 0).any() for g in goals):
        raise DatasetError(
            f"The train split of {dataset.meta.name} at {dataset.root} holds no instances.", "Check gtFine."
        )
    network = efficientnet.pretrained(device)
    versions = []
    for flip in (False, True):
        turned = [_mirrored(g) for g in goals] if flip else goals
        columns = zip(*((g.classes, g.centre, g.offset) for g in turned), strict=True)
        told = (torch.from_numpy(np.stack(c)) for c in columns)
        versions.append((*frozen_maps(network, pictures, flip, device, batch=4), *told))
    torch.manual_seed(derive_seed(seed, "instances"))
    model = SmallNet(recipe.channels, OUTPUTS, 4, recipe.dropout).to(device)

    def loss_of(chosen: Tensor) -> Tensor:
        version = versions[int(torch.randint(2, ()))]
        fine, coarse, classes, centre, offset = (column[chosen].to(device) for column in version)
        return _loss(model(fine, coarse), classes.long(), centre.float(), offset.float(), recipe)

    fit(
        model,
        loss_of,
        len(samples),
        out,
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        seed=seed,
        progress=progress,
        what="the instance network",
    )
    save_file(
        {k: v.contiguous().cpu() for k, v in model.state_dict().items()},
        out / "model.safetensors",
        metadata={"recipe": json.dumps(asdict(recipe), sort_keys=True)},
    )
    (out / "checkpoint.pt").unlink(missing_ok=True)


def _loss(said: Tensor, classes: Tensor, centre: Tensor, offset: Tensor, recipe: Recipe) -> Tensor:
    n = len(CLASSES) + 1
    weights = torch.ones(n, device=said.device)
    weights[1:] = 3.0  # things are a small part of a street
    by_class = F.cross_entropy(said[:, :n], classes, weights, ignore_index=IGNORED)
    by_centre = F.mse_loss(said[:, n], centre)
    inside = ((classes > 0) & (classes != IGNORED)).float()
    by_offset = ((said[:, n + 1 :] - offset).abs().sum(1) * inside).sum() / inside.sum().clamp(min=1)
    return by_class + recipe.centre_weight * by_centre + recipe.offset_weight * by_offset


def instances_of(said: Tensor, size: tuple[int, int]) -> list[tuple[NDArray[np.bool_], int, float]]:
    """(mask of (H, W) ``size``, label id, confidence) of each instance in the network's outputs (OUTPUTS, h, w) for one picture."""
    n = len(CLASSES) + 1
    heat = said[n]
    peaks = (heat == F.max_pool2d(heat[None], 7, 1, 3)[0]) & (heat > 0.1)
    ys, xs = torch.nonzero(peaks, as_tuple=True)
    order = heat[ys, xs].argsort(descending=True)[:60]
    ys, xs = ys[order], xs[order]
    if not len(ys):
        return []
    confidences = heat[ys, xs].clamp(0, 1)
    covered = (said.shape[1] * STEP, said.shape[2] * STEP)
    large = F.interpolate(said[None], size=covered, mode="bilinear", align_corners=False)[0]
    chances = large[:n].softmax(0)
    winner = chances.argmax(0)
    rows, columns = torch.nonzero(winner > 0, as_tuple=True)
    place = (
        torch.stack([(rows + 0.5) / STEP - 0.5, (columns + 0.5) / STEP - 0.5]) + large[n + 1 :, rows, columns]
    )
    nearest = torch.cdist(place.T, torch.stack([ys, xs], 1).float()).argmin(1)
    found = []
    for i, confidence in enumerate(confidences.tolist()):
        mine = nearest == i
        if int(mine.sum()) < 50:
            continue
        y, x = rows[mine], columns[mine]
        kind = int(winner[y, x].bincount(minlength=n)[1:].argmax()) + 1
        mask = np.zeros(size, bool)
        mask[y.cpu().numpy(), x.cpu().numpy()] = True
        found.append((mask, CLASSES[kind - 1], confidence * float(chances[kind, y, x].mean())))
    return found


@torch.inference_mode()
def predict(
    folder: Path,
    dataset: Dataset,
    split: str,
    recipe: Recipe,
    out: Path,
    *,
    device: str = "cpu",
    progress: Progress = no_progress,
) -> None:
    """Write a results folder in Cityscapes' format for a split to ``out``."""
    model = SmallNet(recipe.channels, OUTPUTS, 4)
    model.load_state_dict(load_file(folder / "model.safetensors"))
    model.to(device).eval()
    network = efficientnet.pretrained(device)
    (out / "masks").mkdir(parents=True, exist_ok=True)
    samples = dataset.samples(split)
    for done, sample in enumerate(samples, 1):
        picture = dataset.read(sample)
        said = model(*frozen_maps(network, _halved(picture)[None], False, device))[0].float()
        stem = Path(sample.id).name.removesuffix("_leftImg8bit.png")
        lines = []
        for i, (mask, label, confidence) in enumerate(instances_of(said, picture.shape[:2])):
            name = f"masks/{stem}_{i}.png"
            cv2.imwrite(str(out / name), mask.astype(np.uint8) * 255)
            lines.append(f"{name} {label} {confidence:.6f}\n")
        (out / f"{stem}.txt").write_text("".join(lines), "utf-8")
        progress(done, len(samples))
