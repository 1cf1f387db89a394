"""A small keypoint network for the embedded tiers: top-down heat maps on crops around annotated people.

EfficientNet-Lite0 with ImageNet weights, frozen down to stride 8, where its maps of all crops are computed once; the blocks of
stride 16 and a small decoder are trained. Heat maps are distributions over the crop's quarter-resolution pixels, learned by cross
entropy against a Gaussian and read out as the mean around their peak, finer than a pixel (cf. Sun et al., ECCV 2018; Zhang et al.,
CVPR 2020).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from dp2bench.core.contracts import Dataset, Progress, no_progress
from dp2bench.core.errors import DatasetError
from dp2bench.core.seeds import Seed, derive_seed, generator
from dp2bench.networks import efficientnet
from dp2bench.networks.fitting import fit, save
from dp2bench.networks.frozen_backbone import FrozenBackboneDecoder, frozen_maps, warp_crop

MIRRORED = (0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15)
"""COCO's keypoints after a flip."""
PERSON = 1
FLIPS = (False, True, False, True)
"""Which versions of the crops are mirrored."""


@dataclass(frozen=True)
class KeypointConfig:
    """How the small network is trained; every field changes the outcome. ``limit`` is of training only.

    ``versions`` of each crop are learned from, every other one mirrored; ``vary`` scales how far all but the first are turned,
    moved and scaled. On a few hundred pictures and two minutes, variation costs more than it gives (`docs/tasks.md`).
    """

    height: int = 160
    width: int = 120
    channels: int = 96
    margin: float = 1.15
    sigma: float = 1.0
    versions: int = 2
    vary: float = 0.0
    dropout: float = 0.0
    epochs: int = 12
    batch_size: int = 32
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    limit: int = 6000


@dataclass(frozen=True)
class KeypointCrop:
    """One annotated person.

    Attributes:
        image_id: of its picture.
        affine: (2, 3) from the picture to the crop, in coordinates whose pixel centres are at halves.
        keypoints: (17, 3) in the crop, in such coordinates, and COCO's visibility.

    """

    image_id: int
    affine: NDArray[np.float64]
    keypoints: NDArray[np.float32]


def annotation_file(dataset: Any, split: str) -> Path:
    """COCO's file of people's keypoints for a split. Raises DatasetError where people are another category in it than in the official one."""
    from dp2bench.datasets.coco import FOLDERS

    for doubt in dataset.doubts:
        raise DatasetError(
            doubt, "Number the categories as COCO does: trainers and evaluators take it for granted."
        )
    path: Path = dataset.annotations / f"person_keypoints_{FOLDERS[split]}.json"
    return path


def crops(
    dataset: Dataset, split: str, recipe: KeypointConfig, *, vary: Seed | None = None
) -> tuple[NDArray[np.uint8], list[KeypointCrop]]:
    """(N, height, width, 3) crops around the annotated people with keypoints whose picture is there, and what they show.

    At most ``recipe.limit`` people, evenly spread; with ``vary``, a seed, each is turned, moved and scaled as `Recipe.vary` says. Raises DatasetError
    where there is nobody.
    """
    samples = {s.labels["image_id"]: s for s in dataset.samples(split)}
    data = json.loads(annotation_file(dataset, split).read_bytes())
    rows = [
        a
        for a in data["annotations"]
        if a["category_id"] == PERSON
        and not a.get("iscrowd")
        and a.get("num_keypoints", 0) > 0
        and a["image_id"] in samples
    ]
    if not rows:
        raise DatasetError(
            f"The {split} split of {dataset.meta.name} at {dataset.root} shows nobody with keypoints.",
            "Check that its pictures are there and that person_keypoints lists people.",
        )
    if len(rows) > recipe.limit:
        rows = [rows[i] for i in np.linspace(0, len(rows) - 1, recipe.limit).round().astype(int)]
    pixels = np.empty((len(rows), recipe.height, recipe.width, 3), np.uint8)
    people = []
    last: tuple[int, Any] | None = None
    for i, row in enumerate(rows):
        if last is None or last[0] != row["image_id"]:
            last = row["image_id"], dataset.read(samples[row["image_id"]])
        affine = _affine(row["bbox"], recipe, None if vary is None else generator(derive_seed(vary, i)))
        pixels[i] = warp_crop(last[1], affine, (recipe.width, recipe.height))
        keypoints = np.array(row["keypoints"], np.float64).reshape(17, 3)
        # COCO names pixels by whole numbers
        keypoints[:, :2] = (keypoints[:, :2] + 0.5) @ affine[:, :2].T + affine[:, 2]
        people.append(KeypointCrop(row["image_id"], affine, keypoints.astype(np.float32)))
    return pixels, people


def _affine(
    bbox: Sequence[float], recipe: KeypointConfig, random: np.random.Generator | None
) -> NDArray[np.float64]:
    """From the picture to the crop around a box (x, y, width, height)."""
    x, y, w, h = bbox
    scale = recipe.height / (max(h, w * recipe.height / recipe.width, 1) * recipe.margin)
    centre, turn = np.array([x + w / 2, y + h / 2]), 0.0
    if random is not None:
        scale *= float(np.exp(random.normal(0, 0.12 * recipe.vary)))
        centre = centre + random.normal(0, 0.04 * recipe.vary, 2) * recipe.height / scale
        turn = float(random.normal(0, 0.2 * recipe.vary))
    across = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    shift = np.array([recipe.width / 2, recipe.height / 2]) - across @ centre
    return np.concatenate([across, shift[:, None]], 1)


def targets(keypoints: Tensor, recipe: KeypointConfig) -> tuple[Tensor, Tensor]:
    """Gaussians (N, 17, H/4 * W/4) that sum to 1, and (N, 17) which keypoints are annotated and in the crop.

    ``keypoints`` are (N, 17, 3) in crop pixels, centres at halves.
    """
    h, w = recipe.height // 4, recipe.width // 4
    x, y = keypoints[..., 0] / 4, keypoints[..., 1] / 4
    valid = (keypoints[..., 2] > 0) & (x > 0) & (x < w) & (y > 0) & (y < h)
    across = torch.exp(-((torch.arange(w) + 0.5 - x[..., None]) ** 2) / (2 * recipe.sigma**2))
    down = torch.exp(-((torch.arange(h) + 0.5 - y[..., None]) ** 2) / (2 * recipe.sigma**2))
    heat = (down[..., None] * across[..., None, :]).flatten(2)
    return heat / heat.sum(2, keepdim=True).clamp(min=1e-6), valid


def decode(logits: Tensor) -> tuple[Tensor, Tensor]:
    """(N, 17, 2) places in crop pixels (centres at halves) and (N, 17) how much of the distribution lies there.

    The place is the mean of the distribution over the 5x5 pixels around its peak.
    """
    n, k, h, w = logits.shape
    heat = logits.flatten(2).softmax(2)
    peak = heat.argmax(2)
    windows = F.unfold(heat.view(n * k, 1, h, w), 5, padding=2).view(n, k, 5, 5, h * w)
    window = windows.gather(4, peak[:, :, None, None, None].expand(-1, -1, 5, 5, 1))[..., 0]
    mass = window.sum((2, 3))
    offsets = torch.arange(-2.0, 3.0, device=logits.device)
    x = peak % w + 0.5 + (window.sum(2) * offsets).sum(2) / mass
    y = peak // w + 0.5 + (window.sum(3) * offsets).sum(2) / mass
    return torch.stack([x, y], 2) * 4, mass


def train(
    dataset: Dataset,
    recipe: KeypointConfig,
    out: Path,
    *,
    seed: int,
    device: str = "cpu",
    progress: Progress = no_progress,
) -> None:
    """Train on the train split and leave ``model.safetensors`` and ``curve.csv`` in ``out``; goes on after a kill.

    The curve's ``found`` is the share of the training crops' keypoints whose peak is within a pixel of the heat map.

    Raises:
        DatasetError: nobody to learn from. Dp2benchError: the loss is not finite.

    """
    network = efficientnet.pretrained(device)
    versions = []
    for version, flip in enumerate(FLIPS[: recipe.versions]):
        vary = derive_seed(seed, "version", version) if version and recipe.vary else None
        pixels, people = crops(dataset, "train", recipe, vary=vary)
        places = torch.from_numpy(np.stack([p.keypoints for p in people]))
        if flip:
            places = places[:, list(MIRRORED)]
            places[..., 0] = recipe.width - places[..., 0]
        versions.append((*frozen_maps(network, pixels, flip, device), *targets(places, recipe)))
    columns = [torch.stack(column) for column in zip(*versions, strict=True)]
    torch.manual_seed(derive_seed(seed, "keypoints"))
    model = FrozenBackboneDecoder(recipe.channels, 17, 2, recipe.dropout).to(device)

    def loss_of(chosen: Tensor) -> tuple[Tensor, Tensor]:
        version = torch.randint(len(versions), (len(chosen),))
        fine, coarse, goal, valid = (column[version, chosen].to(device) for column in columns)
        said = model(fine, coarse).flatten(2).log_softmax(2)
        count = valid.sum().clamp(min=1)
        mean: Tensor = (-(goal * said).sum(2) * valid).sum() / count
        # the peak is at most a pixel from the goal's
        width = recipe.width // 4
        a, b = said.argmax(2), goal.argmax(2)
        near = ((a % width - b % width).abs() <= 1) & ((a // width - b // width).abs() <= 1)
        return mean, (near & valid).sum() / count

    fit(
        model,
        loss_of,
        columns[0].shape[1],
        out,
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        seed=seed,
        progress=progress,
        what="the keypoint network",
        measure="found",
    )
    save(model, recipe, out)


@torch.inference_mode()
def predict(
    folder: Path,
    dataset: Dataset,
    split: str,
    recipe: KeypointConfig,
    *,
    device: str = "cpu",
    progress: Progress = no_progress,
) -> list[dict[str, Any]]:
    """COCO's results format for every annotated person of a split (boxes are given, as usual for top-down networks).

    Heat maps of a crop and its mirror image are averaged; the score is the mean of the keypoints' masses.
    """
    model = FrozenBackboneDecoder(recipe.channels, 17, 2)
    model.load_state_dict(load_file(folder / "model.safetensors"))
    model.to(device).eval()
    network = efficientnet.pretrained(device)
    pixels, people = crops(dataset, split, replace(recipe, limit=sys.maxsize))
    results = []
    for start in range(0, len(people), 64):
        part = pixels[start : start + 64]
        logits = model(*frozen_maps(network, part, False, device))
        logits = (logits + model(*frozen_maps(network, part, True, device)).flip(3)[:, list(MIRRORED)]) / 2
        places, masses = (v.cpu().numpy().astype(np.float64) for v in decode(logits))
        for crop, place, mass in zip(people[start : start + 64], places, masses, strict=True):
            results.append(_result(crop, place, mass))
        progress(min(start + 64, len(people)), len(people))
    return results


def _result(crop: KeypointCrop, place: NDArray[np.float64], mass: NDArray[np.float64]) -> dict[str, Any]:
    points = np.ones((17, 3))
    points[:, :2] = np.linalg.solve(crop.affine[:, :2], (place - crop.affine[:, 2]).T).T - 0.5
    return {
        "image_id": crop.image_id,
        "category_id": PERSON,
        "keypoints": np.round(points, 3).ravel().tolist(),
        "score": float(mass.mean()),
    }
