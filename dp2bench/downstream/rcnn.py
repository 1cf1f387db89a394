"""Keypoint R-CNN and Mask R-CNN (R50-FPN) of torchvision: the networks of the paper tier.

Schedule and augmentation are those of detectron2's model zoo ("1x": 90,000 iterations of 16 pictures, steps at 60,000 and 80,000,
learning rate 0.02, shorter side 640 to 800, flips), which published controls were trained with; for Cityscapes its own schedule
(24,000 iterations of 8 pictures, learning rate 0.01, shorter side 800 to 1024, started from COCO weights) is for the suite to say.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from dp2bench.core.contracts import Dataset, Progress, no_progress
from dp2bench.core.errors import DatasetError, Dp2benchError
from dp2bench.core.seeds import derive_seed, generator
from dp2bench.core.types import Sample
from dp2bench.downstream.instances import CLASSES, instance_ids, write_results
from dp2bench.downstream.keypoints import MIRRORED, PERSON, annotation_file
from dp2bench.networks.fitting import load_checkpoint, save, save_checkpoint, write_curve
from dp2bench.networks.uninitialized import uninitialized

Kind = Literal["keypoint-rcnn", "mask-rcnn"]
SAVE_EVERY = 500


@dataclass(frozen=True)
class RcnnConfig:
    """How an R-CNN is trained; every field changes the outcome.

    ``backbone_weights``: file of ImageNet weights of torchvision's ResNet-50, or ``none`` to begin at random; downloaded where
    empty. ``start_weights``: file of a whole torchvision detector to start from (COCO's for Cityscapes); layers whose shapes
    differ begin anew. ``rois``: proposals of a picture that the heads learn from. ``detections``: the most that a picture is answered with.
    """

    iterations: int = 90_000
    steps: tuple[int, ...] = (60_000, 80_000)
    warmup: int = 1000
    batch_size: int = 16
    learning_rate: float = 0.02
    momentum: float = 0.9
    weight_decay: float = 1e-4
    sizes: tuple[int, ...] = (640, 672, 704, 736, 768, 800)
    largest: int = 1333
    rois: int = 512
    detections: int = 100
    backbone_weights: str = ""
    start_weights: str = ""

    def __post_init__(self) -> None:
        for name in ("steps", "sizes"):
            object.__setattr__(self, name, tuple(getattr(self, name)))


def build(kind: Kind, recipe: RcnnConfig, *, pretrained: bool) -> torch.nn.Module:
    """The network, with ImageNet or start weights where ``pretrained``. Dp2benchError where a file of weights is no good."""
    from torchvision.models import ResNet50_Weights, resnet50
    from torchvision.models.detection import KeypointRCNN, MaskRCNN
    from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
    from torchvision.ops import misc

    body = resnet50(norm_layer=misc.FrozenBatchNorm2d)
    if pretrained and recipe.backbone_weights != "none" and not recipe.start_weights:
        try:
            state: Mapping[str, Any] = (
                torch.load(recipe.backbone_weights, weights_only=True, map_location="cpu")
                if recipe.backbone_weights
                else ResNet50_Weights.IMAGENET1K_V1.get_state_dict(progress=False, check_hash=True)
            )
            body.load_state_dict(state)
        except Exception as error:  # a download, an unpickler and a network each fail in their own way
            raise Dp2benchError(
                f"The ImageNet weights of ResNet-50 cannot be had: {type(error).__name__}: {error}.",
                "Give torchvision's resnet50-0676ba61.pth as backbone_weights, or `none` to begin at random.",
            ) from error
    backbone = _resnet_fpn_extractor(body, 3)
    given: dict[str, Any] = {
        "min_size": recipe.sizes,
        "max_size": recipe.largest,
        "box_batch_size_per_image": recipe.rois,
        "box_detections_per_img": recipe.detections,
    }
    model: torch.nn.Module = (
        KeypointRCNN(backbone, 2, num_keypoints=17, **given)
        if kind == "keypoint-rcnn"
        else MaskRCNN(backbone, len(CLASSES) + 1, **given)
    )
    if pretrained and recipe.start_weights:
        try:
            state = torch.load(recipe.start_weights, weights_only=True, map_location="cpu")
        except Exception as error:
            raise Dp2benchError(
                f"{recipe.start_weights} is no file of weights: {type(error).__name__}: {error}.",
                "Give torchvision's state dict of a R50-FPN detector as start_weights.",
            ) from error
        own = model.state_dict()
        fits = {k: v for k, v in state.items() if k in own and own[k].shape == v.shape}
        if len(fits) < len(own) // 2:
            raise Dp2benchError(
                f"{recipe.start_weights} holds another network: {len(fits)} of {len(own)} layers fit.",
                "Give torchvision's state dict of a R50-FPN detector as start_weights.",
            )
        model.load_state_dict(fits, strict=False)
    return model


def _keypoint_targets(dataset: Dataset, split: str) -> list[tuple[Sample, dict[str, Tensor]]]:
    """The people of each picture that shows a keypoint, as in detectron2: those without one are people too, and count in no keypoint loss."""
    data = json.loads(annotation_file(dataset, split).read_bytes())
    rows: dict[int, list[dict[str, Any]]] = {}
    for row in data["annotations"]:
        if row["category_id"] == PERSON and not row.get("iscrowd") and min(row["bbox"][2:]) > 0:
            rows.setdefault(row["image_id"], []).append(row)
    targets = []
    for sample in dataset.samples(split):
        people = rows.get(sample.labels["image_id"], [])
        if any(person.get("num_keypoints", 0) > 0 for person in people):
            boxes = torch.tensor([p["bbox"] for p in people], dtype=torch.float32)
            boxes[:, 2:] += boxes[:, :2]
            keypoints = torch.tensor([p["keypoints"] for p in people], dtype=torch.float32).view(-1, 17, 3)
            targets.append(
                (
                    sample,
                    {
                        "boxes": boxes,
                        "labels": torch.ones(len(people), dtype=torch.int64),
                        "keypoints": keypoints,
                    },
                )
            )
    return targets


def _mask_target(dataset: Any, sample: Sample) -> dict[str, Tensor]:
    ids = instance_ids(dataset, sample)
    values = [int(v) for v in np.unique(ids) if v >= 1000 and v // 1000 in CLASSES]
    masks = np.stack([ids == v for v in values]) if values else np.zeros((0, *ids.shape), bool)
    boxes = []
    for mask in masks:
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        boxes.append([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
    return {
        "boxes": torch.tensor(np.array(boxes, np.float32).reshape(-1, 4)),
        "labels": torch.tensor([1 + CLASSES.index(v // 1000) for v in values], dtype=torch.int64),
        "masks": torch.from_numpy(masks.astype(np.uint8)),
    }


def _flipped(picture: Tensor, target: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    width = picture.shape[2]
    turned = dict(target)
    turned["boxes"] = target["boxes"].clone()
    turned["boxes"][:, [0, 2]] = width - target["boxes"][:, [2, 0]]
    if "masks" in target:
        turned["masks"] = target["masks"].flip(2)
    if "keypoints" in target:
        points = target["keypoints"][:, list(MIRRORED)].clone()
        points[..., 0] = (width - points[..., 0]) * (points[..., 2] > 0)
        turned["keypoints"] = points
    return picture.flip(2), turned


def _order(examples: int, seed: int) -> Iterator[tuple[int, bool]]:
    """Examples and whether they are mirrored, without end: shuffled anew in every round."""
    turn = 0
    while True:
        random = generator(derive_seed(seed, "round", turn))
        flips = random.random(examples) < 0.5
        for i in random.permutation(examples):
            yield int(i), bool(flips[i])
        turn += 1


def train(
    kind: Kind,
    dataset: Any,
    recipe: RcnnConfig,
    out: Path,
    *,
    seed: int,
    device: str = "cpu",
    progress: Progress = no_progress,
) -> None:
    """Train on the train split and leave ``model.safetensors`` and ``curve.csv`` in ``out``; goes on from the last checkpoint.

    Raises:
        DatasetError: nobody to learn from. Dp2benchError: the loss is not finite, or weights cannot be had.

    """
    if kind == "keypoint-rcnn":
        examples: list[tuple[Sample, dict[str, Tensor] | None]] = list(_keypoint_targets(dataset, "train"))
    else:
        examples = [(s, None) for s in dataset.samples("train")]
    nothing = DatasetError(
        f"The train split of {dataset.meta.name} at {dataset.root} shows nothing to learn from.",
        "Check that its pictures and labels are there.",
    )
    if not examples:
        raise nothing
    torch.manual_seed(derive_seed(seed, kind))
    model = build(kind, recipe, pretrained=True).to(device).train()
    optimizer = torch.optim.SGD(
        [p for p in model.parameters() if p.requires_grad],
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
    )

    def rate(iteration: int) -> float:
        warm = min(1.0, 0.001 + iteration / max(1, recipe.warmup))
        return float(warm * 0.1 ** sum(iteration >= s for s in recipe.steps))

    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
    curve = load_checkpoint(out, parts, device)
    first = curve[-1][0] if curve else 0
    order = _order(len(examples), seed)
    for _ in range(first * recipe.batch_size):
        next(order)
    summed, learned = 0.0, any(loss for _, loss in curve)
    for iteration in range(first, recipe.iterations):
        torch.manual_seed(derive_seed(seed, "iteration", iteration))  # proposals and sizes are drawn
        batch = [
            _example(dataset, *examples[i], flip)
            for i, flip in (next(order) for _ in range(recipe.batch_size))
        ]
        batch = [(x, t) for x, t in batch if len(t["boxes"])]
        if batch:
            losses = model(
                [x.to(device) for x, _ in batch], [{k: v.to(device) for k, v in t.items()} for _, t in batch]
            )
            loss = sum(losses.values(), torch.zeros((), device=device))
            if not torch.isfinite(loss):
                raise Dp2benchError(
                    f"The training of the {kind} diverged at iteration {iteration + 1} (loss {loss.item()}).",
                    "Lower learning_rate in the task's arguments.",
                )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            summed += float(loss.detach())
            learned = True
        scheduler.step()
        progress(iteration + 1, recipe.iterations)
        # Labels are read on the way: that no picture has an instance is known after the first pass.
        passed = (iteration + 1 - first) * recipe.batch_size >= len(examples)
        if not learned and (passed or iteration + 1 == recipe.iterations):
            raise nothing
        if (iteration + 1) % SAVE_EVERY == 0 or iteration + 1 == recipe.iterations:
            curve.append((iteration + 1, summed / ((iteration % SAVE_EVERY) + 1)))
            summed = 0.0
            save_checkpoint(out, parts, curve)
    write_curve(out, ("iteration", "loss"), curve)
    save(model, recipe, out, kind=kind)


def _example(
    dataset: Any, sample: Sample, target: dict[str, Tensor] | None, flip: bool
) -> tuple[Tensor, dict[str, Tensor]]:
    picture = torch.from_numpy(dataset.read(sample)).permute(2, 0, 1).float() / 255
    known = _mask_target(dataset, sample) if target is None else target
    return _flipped(picture, known) if flip else (picture, known)


def _load(kind: Kind, folder: Path, recipe: RcnnConfig, device: str) -> torch.nn.Module:
    with uninitialized():
        model = build(kind, recipe, pretrained=False)
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return model.to(device).eval()


@torch.inference_mode()
def predict_keypoints(
    folder: Path,
    dataset: Dataset,
    split: str,
    recipe: RcnnConfig,
    *,
    device: str = "cpu",
    progress: Progress = no_progress,
) -> list[dict[str, Any]]:
    """COCO's results format for everybody who is found in a split."""
    model = _load("keypoint-rcnn", folder, recipe, device)
    samples = dataset.samples(split)
    results = []
    for done, sample in enumerate(samples, 1):
        picture = torch.from_numpy(dataset.read(sample)).permute(2, 0, 1).float() / 255
        said = model([picture.to(device)])[0]
        points = said["keypoints"].cpu().double()
        points[..., 2] = 1
        for place, score in zip(points, said["scores"].tolist(), strict=True):
            results.append(
                {
                    "image_id": sample.labels["image_id"],
                    "category_id": PERSON,
                    "keypoints": [round(v, 3) for v in place.ravel().tolist()],
                    "score": score,
                }
            )
        progress(done, len(samples))
    return results


@torch.inference_mode()
def predict_instances(
    folder: Path,
    dataset: Dataset,
    split: str,
    recipe: RcnnConfig,
    out: Path,
    *,
    device: str = "cpu",
    progress: Progress = no_progress,
) -> None:
    """Write a results folder in Cityscapes' format for a split to ``out``."""
    model = _load("mask-rcnn", folder, recipe, device)
    samples = dataset.samples(split)
    for done, sample in enumerate(samples, 1):
        picture = torch.from_numpy(dataset.read(sample)).permute(2, 0, 1).float() / 255
        said = model([picture.to(device)])[0]
        masks = (said["masks"][:, 0].cpu() > 0.5).numpy()
        write_results(out, sample, masks, (said["labels"] - 1).tolist(), said["scores"].tolist())
        progress(done, len(samples))
