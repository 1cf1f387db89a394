"""Edits without text: attributes of rendered people, a network that reads them, and directions of styles that change them.

The network is trained on Passersby's own table of attributes. A direction is the difference between the mean styles of people
who show a value, as the network reads what the generator made of them, and of those who do not (as in Shen et al., "InterFaceGAN",
TPAMI 2020, for a latent space that is normally distributed).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from dp2bench.core.contracts import Progress, no_progress
from dp2bench.core.seeds import derive_seed, generator
from dp2bench.deepprivacy2.directions import VALUES

if TYPE_CHECKING:
    from dp2bench.core.types import CropBatch
    from dp2bench.deepprivacy2.inpainter import GeneratorInpainter

COLOURS = {
    "red": (186, 30, 40), "blue": (32, 60, 146), "white": (232, 230, 224), "black": (28, 28, 32), "green": (46, 112, 66),
    "yellow": (222, 182, 50), "grey": (110, 110, 114), "orange": (222, 112, 36), "purple": (104, 50, 116),
    "brown": (130, 90, 58), "pink": (220, 138, 162),
}  # fmt: skip
"""The named colours of clothes; a reflectance is called by the nearest."""
HAIR_COLOURS = {
    "black": (40, 30, 24),
    "brown": (105, 70, 40),
    "blond": (176, 136, 80),
    "grey": (128, 128, 130),
    "red": (130, 52, 28),
}
GRID = (18, 10)
"""Rows and columns of the small picture that the network reads beside features."""
FEWEST = 20
"""People of a value, and of others, without whom no direction is taken."""


def _nearest(colour: Sequence[float], named: Mapping[str, tuple[int, int, int]]) -> str:
    distances = {
        name: sum((255 * c - n) ** 2 for c, n in zip(colour, rgb, strict=True)) for name, rgb in named.items()
    }
    return min(distances, key=lambda name: distances[name])


READERS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "upper": lambda look: _nearest(look["top_colour"], COLOURS),
    "lower": lambda look: _nearest(look["bottom_colour"], COLOURS),
    "hair": lambda look: _nearest(look["hair"], HAIR_COLOURS),
    "sleeves": lambda look: "long" if look["sleeve"] > 0.7 else "short",
    "hat": lambda look: "yes" if look["hair_style"] in {"cap", "hat", "scarf", "beanie"} else "no",
    "bag": lambda look: "no" if look["bag"] == "none" else "yes",
    "skirt": lambda look: "yes" if look["bottom"] in {"skirt", "dress"} else "no",
}
"""From a row of the table of attributes to the value of each attribute."""


class AttributeNetwork:
    """Reads the attributes of people in crops: EfficientNet-Lite0's features and a small picture, through two layers.

    Args:
        seed: of initial weights and the order of pictures.

    """

    def __init__(self, seed: int = 0) -> None:
        from dp2bench.metrics.features import EfficientNetFeatures

        self.features = EfficientNetFeatures()
        self.seed = seed
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.hidden = nn.Sequential(
                nn.Dropout(0.3), nn.Linear(1280 + GRID[0] * GRID[1] * 3, 192), nn.ReLU(), nn.Dropout(0.3)
            )
            self.heads = nn.ModuleDict({name: nn.Linear(192, len(values)) for name, values in VALUES.items()})
        self.mean = self.deviation = torch.zeros(0)

    def describe(self, pictures: NDArray[np.uint8]) -> Tensor:
        """(N, D) of crops (N, h, w, 3)."""
        scale = max(1, round(144 / pictures.shape[1]))
        h, w = pictures.shape[1] * scale, pictures.shape[2] * scale
        large = np.stack([cv2.resize(p, (w, h), interpolation=cv2.INTER_CUBIC) for p in pictures])
        small = np.stack([cv2.resize(p, (GRID[1], GRID[0]), interpolation=cv2.INTER_AREA) for p in pictures])
        colours = small.reshape(len(small), -1).astype(np.float32) / 255
        return torch.from_numpy(np.concatenate((self.features.features(large.astype(np.uint8)), colours), 1))

    def fit(self, described: Tensor, labels: Mapping[str, Tensor], *, epochs: int = 60) -> None:
        """Learn from N crops.

        Args:
            described: (N, D), see `describe`.
            labels: index of each crop's value, (N,), by attribute.
            epochs: over all crops.

        """
        self.mean, self.deviation = described.mean(0), described.std(0) + 1e-3
        x = (described - self.mean) / self.deviation
        parameters = [*self.hidden.parameters(), *self.heads.parameters()]
        optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.05)
        draws = generator(derive_seed(self.seed, "attribute-order"))
        with torch.random.fork_rng(), torch.enable_grad():
            torch.manual_seed(self.seed)
            self.hidden.train()
            for _ in range(epochs):
                for rows in torch.from_numpy(draws.permutation(len(x))).split(64):  # type: ignore[no-untyped-call]
                    optimizer.zero_grad()
                    hidden = self.hidden(x[rows])
                    loss = torch.stack(
                        [F.cross_entropy(self.heads[a](hidden), labels[a][rows]) for a in VALUES]
                    ).sum()
                    loss.backward()  # type: ignore[no-untyped-call]
                    optimizer.step()
        self.hidden.eval()

    @torch.no_grad()
    def probabilities(self, described: Tensor) -> dict[str, Tensor]:
        """(N, values) of each attribute."""
        hidden = self.hidden((described - self.mean) / self.deviation)
        return {name: head(hidden).softmax(1) for name, head in self.heads.items()}


def labelled_crops(dataset: Any, split: str, most: int) -> tuple[list[Any], dict[str, Tensor]]:
    """Crops of a rendered dataset and their attributes.

    Args:
        dataset: one with ``crops``, ``samples`` and ``attributes``, such as ``passersby-fdh``.
        split: of it.
        most: crops, evenly spread.

    Returns:
        Crops, and the index of each one's value by attribute, (N,).

    """
    looks, samples, crops = dataset.attributes(), dataset.samples(split), dataset.crops(split)
    picked = [int(i) for i in np.linspace(0, len(crops) - 1, min(most, len(crops)))]
    rows = [looks[samples[i].labels["identity"]] for i in picked]
    labels = {
        name: torch.tensor([VALUES[name].index(read(row)) for row in rows]) for name, read in READERS.items()
    }
    return [crops[i] for i in picked], labels


def find_directions(
    inpainter: GeneratorInpainter,
    network: AttributeNetwork,
    crops: CropBatch,
    *,
    samples: int = 1_500,
    seed: int = 0,
    progress: Progress = no_progress,
) -> dict[str, Tensor]:
    """A direction (L, C) for each ``attribute=value`` that the generator shows often enough.

    Args:
        inpainter: whose styles; without truncation.
        network: reads what it makes.
        crops: to fill, over and over.
        samples: people to make.
        seed: of their latents.
        progress: called with people.

    """
    styles, read = [], []
    for done, (pictures, table) in enumerate(_made(inpainter, crops, samples, seed), start=1):
        styles.append(table)
        read.append(network.describe(pictures))
        progress(min(done * _BATCH, samples), samples)
    table, seen = torch.cat(styles), network.probabilities(torch.cat(read))
    out = {}
    for attribute, values in VALUES.items():
        shown = seen[attribute].argmax(1)
        for k, value in enumerate(values):
            chosen = shown == k
            if int(chosen.sum()) < FEWEST or int((~chosen).sum()) < FEWEST:
                continue
            # Twice the difference, so that the usual strength of one half moves people from the others' mean to this one.
            out[f"{attribute}={value}"] = 2 * (table[chosen].mean(0) - table[~chosen].mean(0))
    return out


_BATCH = 32


def _made(
    inpainter: GeneratorInpainter, crops: CropBatch, samples: int, seed: int
) -> Iterator[tuple[NDArray[np.uint8], Tensor]]:
    """Batches of fillings and the styles (B, L, C) that made them."""
    from dp2bench.deepprivacy2.generators.mapping import sample_latents

    network = inpainter.network()
    for start in range(0, samples, _BATCH):
        numbers = range(start, min(start + _BATCH, samples))
        rows = [i % len(crops) for i in numbers]
        seeds = [derive_seed(seed, "attribute", i) for i in numbers]
        with torch.inference_mode():
            z = sample_latents(seeds, network.z_channels).to(inpainter.device)
            table = network.styles(network.style_net(z)).cpu()
        yield inpainter.inpaint(taken(crops, rows), seeds=seeds), table


def target_rates(
    inpainter: GeneratorInpainter,
    network: AttributeNetwork,
    crops: CropBatch,
    names: Sequence[str],
    *,
    seed: int = 0,
) -> dict[str, float]:
    """Share of people, as the network reads them, who show each ``attribute=value``, when each crop is filled once."""
    seeds = [derive_seed(seed, "rate", i) for i in range(len(crops))]
    read = network.probabilities(network.describe(inpainter.inpaint(crops, seeds=seeds)))
    out = {}
    for name in names:
        attribute, _, value = name.partition("=")
        shown = read[attribute].argmax(1) == VALUES[attribute].index(value)
        out[name] = float(shown.float().mean())
    return out


def taken(crops: CropBatch, rows: Sequence[int]) -> CropBatch:
    """The crops of these rows."""
    from dp2bench.core.types import CropBatch

    i = list(rows)
    return CropBatch(
        crops.images[i],
        crops.masks[i],
        crops.outside[i],
        None if crops.surfaces is None else crops.surfaces[i],
        tuple(crops.templates[k] for k in i) if crops.templates else (),
        None if crops.keypoints is None else crops.keypoints[i],
    )
