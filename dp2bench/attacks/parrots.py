"""Re-identification by a network that is trained on the method's output: a parrot attack."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dp2bench.attacks import reid
from dp2bench.attacks.learning import Rows, centred, cosine_distances
from dp2bench.attacks.retrieval import CONTROL, GRID, RetrievalAttack
from dp2bench.attacks.training import applied, trained
from dp2bench.core.attacks import AttackMeta, Scenario, Split, Version, View
from dp2bench.core.contracts import RunContext
from dp2bench.networks.fitting import Loss

SMOOTHING = 0.1
"""Of the labels."""
EPOCHS = 20
_MOVED = 4
"""Pixels by which pictures are moved at most while they are learned from."""


class ResNetParrot(RetrievalAttack):
    """A small ResNet, trained from random weights to name the people of the train split, on clear pictures, on outputs, and on both.
    Each camera's mean is taken off its features, which are compared as they are (parrot recognition, arXiv 1607.08438, 2304.01635).
    """

    meta: ClassVar[AttackMeta] = AttackMeta(
        name="parrot-resnet",
        title="small ResNet trained on outputs",
        claim="A network trained on outputs, with names, finds people again.",
        positive="colour-leak",
        negative="grey-picture",
    )

    scenarios = GRID
    learns = False

    def __init__(self) -> None:
        super().__init__()
        self.networks: dict[str, nn.Module] = {}
        self.kept: dict[tuple[str, int], tuple[View, Rows]] = {}

    def fit(self, train: Split, context: RunContext) -> None:
        """One network for each kind of train split that a scenario names."""
        self.device = context.device
        known = train.clear.identities > 0
        people, labels = np.unique(train.clear.identities[known], return_inverse=True)
        pictures = {v: train.view(v).pictures[known] for v in _VERSIONS}
        for kind in dict.fromkeys(s.train for s in (*self.scenarios, CONTROL)):
            versions = _VERSIONS if kind == "both" else (kind,)
            self.networks[kind] = self._trained(
                np.concatenate([pictures[v] for v in versions]),
                np.tile(labels, len(versions)),
                len(people),
                # as many steps whatever the kind
                EPOCHS // len(versions),
                context,
            )

    def _trained(
        self,
        pictures: NDArray[np.uint8],
        labels: NDArray[np.intp],
        people: int,
        epochs: int,
        context: RunContext,
    ) -> nn.Module:
        x, y = torch.from_numpy(pictures).permute(0, 3, 1, 2), torch.from_numpy(labels)
        criterion = nn.CrossEntropyLoss(label_smoothing=SMOOTHING)

        def loss_of(network: nn.Module) -> Loss:
            def loss(batch: Tensor) -> tuple[Tensor, Tensor]:
                logits = network(_moved(x[batch]).to(context.device).float())
                own = y[batch].to(context.device)
                return criterion(logits, own), (logits.argmax(1) == own).float().mean()

            return loss

        return trained(
            lambda: _SmallResNet(people),
            loss_of,
            (pictures, labels),
            context,
            what="an attacker small-resnet from random weights",
            epochs=epochs,
            batch_size=32,
            learning_rate=2e-3,
        )

    def _features(self, kind: str, split: Split, version: Version) -> Rows:
        view = split.view(version)
        key = kind, id(view)  # the view is kept, so that no other gets its id
        if key not in self.kept:
            rows = centred(applied(self.networks[kind], view.pictures, self.device), view.cameras)
            self.kept[key] = view, rows
        return self.kept[key][1]

    def distances(self, query: Split, gallery: Split) -> Iterator[tuple[Scenario, NDArray[np.float32]]]:
        """See `RetrievalAttack.distances`."""
        for scenario in (*self.scenarios, CONTROL):
            sides = ((query, scenario.query), (gallery, scenario.gallery))
            yield scenario, cosine_distances(*(self._features(scenario.train, s, v) for s, v in sides))

    def describe(self, split: Split, version: Version) -> Rows:
        """The features of the network that learned from this version."""
        return self._features(version, split, version)


_VERSIONS: tuple[Version, ...] = ("clear", "anonymized")


class _SmallResNet(nn.Module):
    """Eight 3 x 3 convolutions in pairs with skips, 24 to 128 channels."""

    def __init__(self, people: int) -> None:
        super().__init__()
        widths = (24, 48, 96, 128)
        self.stem = nn.Sequential(
            nn.Conv2d(3, widths[0], 5, 2, 2, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU()
        )
        before = (widths[0], *widths)
        self.skips = nn.ModuleList(nn.Conv2d(a, b, 1, 2) for a, b in pairwise(before))
        self.blocks = nn.ModuleList(_pair(a, b) for a, b in pairwise(before))
        self.classifier = nn.Linear(widths[-1], people)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) of 0..255 to logits (B, people) while it learns, or to features (B, 128) where it is asked."""
        x = self.stem(reid.normalise(x))
        for block, skip in zip(self.blocks, self.skips, strict=True):
            x = nn.functional.relu(block(x) + skip(x))
        features: Tensor = x.mean((2, 3))
        return self.classifier(features) if self.training else features


def _pair(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, 2, 1, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(),
        nn.Conv2d(after, after, 3, 1, 1, bias=False),
        nn.BatchNorm2d(after),
    )


def _moved(pictures: Tensor) -> Tensor:
    """A batch, each picture mirrored or not and moved by some pixels."""
    flips = torch.rand(len(pictures)) < 0.5
    out = torch.where(flips[:, None, None, None], pictures.flip(3), pictures)
    shifts: Any = torch.randint(-_MOVED, _MOVED + 1, (2,)).tolist()
    return torch.roll(out, shifts, (2, 3))
