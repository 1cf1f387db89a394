"""The re-identification attacker: an OSNet or ResNet of torchreid, trained with softmax on labelled person crops.

Protocol: torchreid's model zoo (softmax, label smoothing, random flip, euclidean distance on unnormalised features).
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from dp2bench.attacks.reid_config import (
    EMBEDDED,
    EMBEDDED_SEEDS,
    ReidConfig,
    embedded_name,
    given_weights,
    recipe,
    weights_sha256,
)
from dp2bench.core.contracts import Progress, no_progress
from dp2bench.core.errors import Dp2benchError
from dp2bench.core.images import read_image
from dp2bench.core.seeds import derive_seed, generator
from dp2bench.core.tensors import write_tensors
from dp2bench.core.types import Sample
from dp2bench.metrics.ranking import squared_euclidean
from dp2bench.networks.fitting import CHECKPOINT, load_checkpoint, save_checkpoint, write_curve
from dp2bench.weights import embedded
from dp2bench.weights.reading import read_state

__all__ = ["EMBEDDED", "EMBEDDED_SEEDS", "ReidConfig", "recipe", "weights_sha256"]

_ROWS = 64
"""Queries whose distances are computed at a time where they go into a file."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


_LARGER = 1.125
"""Of torchreid's random crop."""


def load_pictures(samples: Sequence[Sample], height: int, width: int) -> torch.Tensor:
    """(N, 3, height, width) uint8, resized bilinearly with antialiasing where the size differs."""
    pictures = torch.empty((len(samples), 3, height, width), dtype=torch.uint8)
    for i, sample in enumerate(samples):
        picture = torch.from_numpy(read_image(sample.path)).permute(2, 0, 1)
        if picture.shape[1:] != (height, width):
            picture = (
                torch.nn.functional.interpolate(
                    picture[None].float(), (height, width), mode="bilinear", antialias=True
                )[0]
                .round()
                .clamp(0, 255)
                .byte()
            )
        pictures[i] = picture
    return pictures


def normalise(batch: torch.Tensor) -> torch.Tensor:
    """(B, 3, H, W) of 0..255 as ImageNet networks take it."""
    mean, std = (torch.tensor(v, device=batch.device).view(1, 3, 1, 1) * 255 for v in (MEAN, STD))
    return (batch.float() - mean) / std


def build(recipe: ReidConfig, identities: int, *, start: bool = True) -> torch.nn.Module:
    """The network before its training, for that many training identities; with ImageNet weights if the recipe says so and ``start``."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Cython evaluation")  # the ranking is ours
        from torchreid.reid.models import build_model

    try:
        model: torch.nn.Module = build_model(
            recipe.model, num_classes=identities, loss="softmax", pretrained=recipe.pretrained, use_gpu=False
        )
    except KeyError as error:
        raise Dp2benchError(
            f"torchreid has no model called {recipe.model!r}.",
            "Use e.g. osnet_x0_25, osnet_x1_0 or resnet50.",
        ) from error
    except OSError as error:
        raise Dp2benchError(
            f"The ImageNet weights of {recipe.model} cannot be downloaded: {error}.",
            "Set pretrained: false, or put the file into torch's hub cache as torchreid's documentation says.",
        ) from error
    if recipe.start_weights and start:
        _start(model, Path(recipe.start_weights))
    return model


def _start(model: torch.nn.Module, path: Path) -> None:
    """Fill in the layers that a file has in the same shape, as torchreid does; the classifier is learned anew."""
    given = {k.removeprefix("module."): v for k, v in read_state(path).items()}
    own = model.state_dict()
    fits = {k: v for k, v in given.items() if k in own and own[k].shape == v.shape}
    if len(fits) < len(own) // 2:
        raise Dp2benchError(
            f"{path} holds another network: {len(fits)} of {len(own)} layers fit.",
            "Give the ImageNet weights of this model.",
        )
    model.load_state_dict(fits, strict=False)


def load_pretrained(recipe: ReidConfig, out: Path, *, seed: int, data: str) -> None:
    """Put the attacker that ``recipe.weights`` names into ``out``, in place of a training.

    Raises Dp2benchError where the file is missing, damaged, or of another recipe, and where an embedded attacker learned other ``data``.
    """
    path = given_weights(recipe, seed)
    if recipe.weights == EMBEDDED:
        embedded.verify(embedded_name(recipe, seed))
    try:
        with safe_open(path, "pt") as file:
            trained = json.loads((file.metadata() or {})["recipe"])
            usual = asdict(ReidConfig())  # a file of an earlier version lacks what came later
            other = {
                k: trained.get(k, usual[k])
                for k, v in recipe.effective().items()
                if k != "weights" and trained.get(k, usual[k]) != v
            }
    except (SafetensorError, KeyError, ValueError, AttributeError) as error:
        raise Dp2benchError(
            f"{path} holds no attacker: {error}.", "Give the model.safetensors of a training."
        ) from error
    if other:
        was = ", ".join(f"{k}: {v}" for k, v in other.items())
        raise Dp2benchError(
            f"The attacker {path.name} was trained otherwise ({was}).",
            "Write that into the task's arguments, or leave weights out, so that it is trained as they say.",
        )
    # "name version-size": nobody of a size's train split is in query or gallery of another size
    if recipe.weights == EMBEDDED and trained["data"].rpartition("-")[0] != data.rpartition("-")[0]:
        raise Dp2benchError(
            f"The embedded attackers learned from {trained['data']}; this is {data}.",
            "Leave `weights: embedded` out, so that the attacker learns from its train split.",
        )
    shutil.copyfile(path, out / "model.safetensors")


def train(
    samples: Sequence[Sample],
    recipe: ReidConfig,
    out: Path,
    *,
    seed: int,
    data: str = "",
    half: bool = False,
    device: str = "cpu",
    progress: Progress = no_progress,
) -> None:
    """Train and leave ``model.safetensors`` and ``curve.csv`` in ``out``; goes on from ``checkpoint.pt`` to the same weights.

    Every epoch draws its order and flips from its own seed, so a resumed training repeats nothing and forgets nothing.
    Junk and distractors (identity < 1) are not learned from. ``data`` is written into the file; ``half`` writes float16.
    Raises Dp2benchError when there is nothing to learn or the loss is not finite.
    """
    samples = [s for s in samples if s.labels["identity"] > 0]
    people = sorted({s.labels["identity"] for s in samples})
    if len(people) < 2:
        raise Dp2benchError(
            f"The train split holds {len(people)} identities; re-identification needs at least two.",
            "Check the dataset with `dp2bench doctor`.",
        )
    pictures = load_pictures(samples, recipe.height, recipe.width)
    targets = torch.tensor([people.index(s.labels["identity"]) for s in samples])
    torch.manual_seed(derive_seed(seed, "attacker"))
    model = build(recipe, len(people)).to(device)
    optimizer = torch.optim.Adam(
        model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, amsgrad=True
    )
    scheduler: torch.optim.lr_scheduler.LRScheduler = (
        torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.epochs)
        if recipe.schedule == "cosine"
        else torch.optim.lr_scheduler.StepLR(optimizer, recipe.step_epoch)
    )
    criterion = torch.nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
    parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
    curve = load_checkpoint(out, parts, device)
    batch = min(recipe.batch_size, len(samples))
    steps = len(samples) // batch  # a last, smaller batch is dropped: batch normalisation suffers from it
    for epoch in range(len(curve), recipe.epochs):
        rng = generator(derive_seed(seed, "epoch", epoch))
        torch.manual_seed(derive_seed(seed, "torch", epoch))
        order, flips = (
            torch.from_numpy(rng.permutation(len(samples))),
            torch.from_numpy(rng.random(len(samples)) < 0.5),
        )
        _open_layers(model, only_classifier=epoch < recipe.fixbase_epochs)
        total = correct = 0.0
        for step in range(steps):
            chosen = order[step * batch : (step + 1) * batch]
            x = normalise(pictures[chosen].to(device))
            flip = flips[chosen].to(device)
            x[flip] = x[flip].flip(3)
            if recipe.random_crop:
                x = _cropped(x, rng)
            y = targets[chosen].to(device)
            logits = model(x)
            loss = criterion(logits, y)
            if not torch.isfinite(loss):
                raise Dp2benchError(
                    f"The attacker's training diverged in epoch {epoch + 1} (loss {loss.item()}).",
                    "Lower learning_rate in the task's arguments.",
                )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            total += float(loss.detach())
            correct += float((logits.argmax(1) == y).float().mean())
            progress(epoch * steps + step + 1, recipe.epochs * steps)
        scheduler.step()
        curve.append((epoch + 1, total / steps, correct / steps))
        save_checkpoint(out, parts, curve)
    write_tensors(
        {k: v.half() if half and v.is_floating_point() else v for k, v in model.state_dict().items()},
        out / "model.safetensors",
        # one key: the order of several is not the same in every process, and equal work must give equal bytes
        {
            "recipe": json.dumps(
                {"identities": len(people), "data": data, **recipe.effective()}, sort_keys=True
            )
        },
    )
    write_curve(out, ("epoch", "loss", "accuracy"), curve)
    (out / CHECKPOINT).unlink(missing_ok=True)


def _open_layers(model: torch.nn.Module, *, only_classifier: bool) -> None:
    """Let everything learn, or the classifier alone: what is frozen keeps its batch statistics too."""
    model.train()
    for name, layer in model.named_children():
        learns = name == "classifier" or not only_classifier
        layer.train(learns)
        layer.requires_grad_(learns)


def _cropped(x: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Half of the pictures of a batch (B, 3, H, W), larger and cut out again."""
    height, width = x.shape[2:]
    large = round(height * _LARGER), round(width * _LARGER)
    for i in np.flatnonzero(rng.random(len(x)) < 0.5):
        top, left = (int(rng.integers(a - b + 1)) for a, b in zip(large, (height, width), strict=True))
        grown = torch.nn.functional.interpolate(x[i : i + 1], large, mode="bilinear", align_corners=False)
        x[i] = grown[0, :, top : top + height, left : left + width]
    return x


def load(folder: Path, recipe: ReidConfig, device: str = "cpu") -> torch.nn.Module:
    """The trained network, ready to extract features."""
    return load_network(folder / "model.safetensors", recipe, device)


def load_network(file: Path, recipe: ReidConfig, device: str = "cpu") -> torch.nn.Module:
    """The network of a file of weights, ready to extract features."""
    weights = load_file(file)
    untrained = replace(recipe, pretrained=False)
    model = build(untrained, weights["classifier.weight"].shape[0], start=False)
    model.load_state_dict(weights)  # float16 becomes float32
    return model.to(device).eval()


@torch.inference_mode()
def features(
    model: torch.nn.Module,
    samples: Sequence[Sample],
    recipe: ReidConfig,
    *,
    device: str = "cpu",
    progress: Progress = no_progress,
) -> NDArray[np.float32]:
    """(N, D) float32 features of N pictures, in batches of 128."""
    parts: list[Any] = []
    for start in range(0, len(samples), 128):
        x = normalise(load_pictures(samples[start : start + 128], recipe.height, recipe.width).to(device))
        parts.append(model(x).float().cpu().numpy())
        progress(min(start + 128, len(samples)), len(samples))
    return np.concatenate(parts) if parts else np.zeros((0, 1), np.float32)


def euclidean(a: NDArray[np.float32], b: NDArray[np.float32], out: Path | None = None) -> NDArray[np.float32]:
    """(Q, G) squared euclidean distances, as torchreid ranks by; in the file ``out``, memory-mapped, where given."""
    if out is None:
        return squared_euclidean(a, b)
    distances = np.memmap(out, np.float32, "w+", shape=(len(a), len(b)))
    for start in range(0, len(a), _ROWS):
        squared_euclidean(a[start : start + _ROWS], b, distances[start : start + _ROWS])
    return distances
