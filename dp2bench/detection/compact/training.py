"""Training of the embedded detector: both networks at once, on pictures whose people have masks and surfaces."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dp2bench.core import templates
from dp2bench.core.contracts import Dataset, Progress, no_progress
from dp2bench.core.errors import DatasetError, Dp2benchError
from dp2bench.core.seeds import derive_seed
from dp2bench.core.types import Sample
from dp2bench.detection import checkpoints
from dp2bench.detection.compact.losses import body_loss, center_loss
from dp2bench.detection.compact.networks import TEMPLATE, Networks, save
from dp2bench.detection.compact.recipe import DetectorConfig
from dp2bench.detection.compact.samples import Scene, body_crops, mirror, read_scene, recolour, scene_window
from dp2bench.networks import efficientnet
from dp2bench.networks.fitting import fit
from dp2bench.weights.reading import read_state


def train_detector(
    dataset: Dataset,
    recipe: DetectorConfig,
    out: Path,
    *,
    start: Path | None = None,
    device: str = "cpu",
    progress: Progress = no_progress,
) -> Path:
    """Train and leave ``detector.safetensors`` and ``curve.csv`` in ``out``; goes on after a kill.

    Args:
        dataset: scenes.
        recipe: how.
        out: the run's folder.
        start: weights or checkpoint of an earlier training to begin with, of as many channels; None begins with ImageNet's.
        device: of torch.
        progress: called with steps.

    Raises:
        DatasetError: no pictures, or people without masks or with other surfaces.
        Dp2benchError: ``out`` holds the run of another recipe, or the loss is not finite.

    """
    samples = dataset.samples(recipe.data.split)[: recipe.data.limit]
    if not samples:
        raise DatasetError(
            f"The {recipe.data.split} split of {dataset.meta.name} is empty.", "Choose another split."
        )
    read_scene(dataset, samples[0])
    begun = None if start is None else checkpoints.describe(start, "").sha256
    _claim(out, {**recipe.model_dump(mode="json"), "start_sha256": begun})
    weights = out / "detector.safetensors"
    if weights.exists():
        return weights
    trunk = efficientnet.pretrained(device).requires_grad_(False)  # before the seed: making it draws numbers
    networks = _networks(recipe, start, device)
    fit(
        networks,
        _Losses(networks, trunk, dataset, samples, recipe, device),
        len(samples),
        out,
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        seed=recipe.seed,
        progress=progress,
        what="the detector",
        measure="iou",
    )
    described = {
        "channels": recipe.channels,
        "template": TEMPLATE,
        "licence": recipe.licence,
        "trained_on": f"{dataset.meta.name} {dataset.meta.version}, {recipe.data.split}",
        "recipe": recipe.model_dump(mode="json"),
        "start_sha256": begun,
    }
    save(networks, weights, described)
    (out / "checkpoint.pt").unlink(missing_ok=True)
    return weights


def _claim(out: Path, recipe: dict[str, Any]) -> None:
    """Write the recipe into a run's folder; a Dp2benchError where it holds the run of another."""
    out.mkdir(parents=True, exist_ok=True)
    kept = out / "recipe.json"
    text = json.dumps(recipe, indent=1)
    if kept.exists() and kept.read_text("utf-8") != text:
        raise Dp2benchError(f"{out} holds a run of another recipe.", "Choose another folder, or delete it.")
    kept.write_text(text, "utf-8")


def _networks(recipe: DetectorConfig, start: Path | None, device: str) -> Any:
    """New networks, or those of an earlier training."""
    torch.manual_seed(derive_seed(recipe.seed, "detector"))
    networks = Networks(recipe.channels)
    if start is not None:
        try:
            networks.load_state_dict(read_state(start))
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:240]
            raise Dp2benchError(
                f"{start} holds no detector of {recipe.channels} channels: {reason}.",
                "Give a detector.safetensors or a checkpoint.pt that `dp2bench train detector` wrote with such a recipe.",
            ) from error
    return networks.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


class _Losses:
    """The loss of a batch of pictures, given by their places in the list of samples, and the IoU of its masks."""

    def __init__(
        self,
        networks: Any,
        trunk: Any,
        dataset: Dataset,
        samples: Sequence[Sample],
        recipe: DetectorConfig,
        device: str,
    ) -> None:
        self.networks, self.trunk, self.dataset, self.samples = networks, trunk, dataset, samples
        self.recipe, self.device = recipe, device
        self.template = templates.get(TEMPLATE)
        self.table = torch.from_numpy(self.template.embeddings).to(device)

    def __call__(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        r = np.random.default_rng(int(torch.randint(2**62, ())))
        windows, people = [], []
        for i in chosen.tolist():
            scene = read_scene(self.dataset, self.samples[i])
            if r.random() < 0.5:
                scene = mirror(scene, self.template)
            scene = Scene(recolour(scene.picture, r), scene.owner, scene.vertices, scene.faces)
            windows.append(scene_window(scene, r, self.recipe))
            people += body_crops(scene, r, self.recipe.people)
        with self._autocast():
            centres = self.networks.finder(*self._maps([w.pixels for w in windows]))
        loss = center_loss(centres[0], centres[1], windows)
        if not people:
            return loss, loss.new_tensor(0.0)
        with self._autocast():
            bodies = self.networks.body.answer(*self._maps([c.pixels for c in people]))
        more, iou = body_loss(bodies[0], bodies[1], bodies[2], people, self.table)
        return loss + more, torch.nan_to_num(iou)

    def _autocast(self) -> torch.autocast:
        mixed = self.recipe.precision == "bf16-mixed"
        return torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=mixed)

    def _maps(self, pictures: list[NDArray[np.uint8]]) -> tuple[Tensor, Tensor]:
        """The frozen features of pictures at strides 4 and 8."""
        with torch.no_grad():
            x = torch.from_numpy(np.stack(pictures)).to(self.device).permute(0, 3, 1, 2)
            maps = self.trunk.maps(x, deepest=8)
        return maps[4], maps[8]
