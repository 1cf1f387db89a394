"""What a generator's training shows on the way: sheets of fillings, and measures on the validation split."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow
from torch import Tensor

from dp2bench.core.seeds import derive_seed
from dp2bench.datasets.crops import Crops
from dp2bench.deepprivacy2.generators.mapping import sample_latents
from dp2bench.deepprivacy2.training.crops import Batch, collate, to_batch
from dp2bench.deepprivacy2.training.gan import Gan
from dp2bench.deepprivacy2.training.measures import measure

FEWEST = 16
"""Crops of the validation split without which nothing is measured."""


class Previews:
    """Fillings of crops by the moving average of a generator.

    Args:
        gan: the networks.
        crops: what to fill.
        table: (V, 16) embeddings of the surface template, on the networks' device; None where surfaces are not used.
        seed: of the latents.
        device: of torch.

    """

    def __init__(self, gan: Gan, crops: Crops, table: Tensor | None, seed: int, device: torch.device) -> None:
        self.gan, self.crops, self.table, self.seed, self.device = gan, crops, table, seed, device

    @torch.no_grad()
    def sample(self, indices: Iterable[int], seeds: int) -> tuple[Batch, list[Tensor]]:
        """Fillings (B, 3, h, w) of the crops at ``indices``, one list entry a seed."""
        picked = [self.crops[i] for i in indices]
        arrays = collate(picked, [False] * len(picked), self.crops.template, self.gan.size)
        batch = to_batch(arrays, self.table, self.device)
        conditions = self.gan.conditions(batch)
        fillings = []
        for seed in range(seeds):
            z = sample_latents(
                [derive_seed(self.seed, "preview", seed, i) for i in range(len(picked))], self.gan.z_channels
            ).to(self.device)
            fillings.append(self.gan.average.network(batch.condition, batch.masks, z, **conditions)["img"])
        return batch, fillings

    def save_sheet(self, path: Path, *, count: int = 12, seeds: int = 3) -> None:
        """Save a sheet: a column a crop; original, what the network sees, and fillings by several seeds."""
        if not len(self.crops):
            return
        batch, fillings = self.sample(_spread(len(self.crops), min(count, len(self.crops))), seeds)
        rows = [batch.images, batch.condition, *fillings]
        sheet = torch.cat([torch.cat(list(row), dim=2) for row in rows], dim=1)
        path.parent.mkdir(exist_ok=True)
        Pillow.fromarray(_pixels(sheet[None])[0]).save(path)

    def measure(self, *, count: int = 256) -> tuple[float, ...] | None:
        """See `measures`; None where there are too few crops."""
        if len(self.crops) < FEWEST:
            return None
        parts: list[list[NDArray[np.uint8]]] = []
        indices = _spread(len(self.crops), min(count, len(self.crops)))
        for start in range(0, len(indices), 32):
            batch, fillings = self.sample(indices[start : start + 32], 2)
            parts.append([_pixels(x) for x in (batch.images, *fillings)])
        real, first, second = (np.concatenate(column) for column in zip(*parts, strict=True))
        return measure(real, (first, second))


def _spread(n: int, count: int) -> list[int]:
    """``count`` of n indices, evenly spread."""
    return [int(i) for i in np.linspace(0, n - 1, count)]


def _pixels(images: Tensor) -> NDArray[np.uint8]:
    """(B, 3, h, w) in -1..1 to (B, h, w, 3)."""
    return ((images.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()
