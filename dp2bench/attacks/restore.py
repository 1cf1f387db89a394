"""Restore, then recognise: a network learns to undo the method, and an attacker of clear pictures looks at what it gives."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from dp2bench.attacks.learning import Rows, centred, normalized
from dp2bench.attacks.networks import ENSEMBLE
from dp2bench.attacks.retrieval import RetrievalAttack
from dp2bench.attacks.training import applied, trained
from dp2bench.core.attacks import AttackMeta, Scenario, Split, Version
from dp2bench.core.contracts import RunContext
from dp2bench.core.errors import Dp2benchError
from dp2bench.networks.fitting import Loss

EPOCHS = 8
CHANNELS = (24, 48)


class Restorer(nn.Module):
    """A small U-Net at half and a quarter of the size: (B, 3, H, W) of 0..255 -> the same, what a picture may have been.

    H and W are multiples of 4.
    """

    def __init__(self) -> None:
        super().__init__()
        a, b = CHANNELS
        self.fine, self.coarse, self.joined = _block(12, a), _block(a, b), _block(b + a, a)
        self.out = nn.Conv2d(a, 12, 1)
        nn.init.zeros_(self.out.weight)  # it starts from the picture as it is
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """The picture and what is added to it."""
        fine = self.fine(F.pixel_unshuffle(x / 127.5 - 1, 2))
        coarse = F.interpolate(self.coarse(F.avg_pool2d(fine, 2)), scale_factor=2)
        out: Tensor = x + 127.5 * F.pixel_shuffle(self.out(self.joined(torch.cat([coarse, fine], 1))), 2)
        return out


def _block(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before in (inputs, outputs):
        layers += [nn.Conv2d(before, outputs, 3, padding=1), nn.GroupNorm(8, outputs), nn.ReLU()]
    return nn.Sequential(*layers)


class Restore(RetrievalAttack):
    """A U-Net learns from the train split what outputs were, by mean absolute error; the ensemble's features of what it makes of
    outputs, and an LDA learned on those and on clear pictures, find people. Blur and pixelation can be undone in part (arXiv 1609.00408,
    2210.10651).
    """

    meta: ClassVar[AttackMeta] = AttackMeta(
        name="restore",
        title="restore, then recognise",
        claim="The method can be undone by who has seen other people before and after it.",
        positive="blurred",
        negative="grey-picture",
    )
    scenarios = (Scenario("both", "clear", "anonymized"), Scenario("both", "anonymized", "anonymized"))

    def _seen(self, split: Split, version: Version) -> Rows:
        """Not kept with the view: another network learned, other people held out, sees something else."""
        return centred(self.describe(split, version), split.view(version).cameras)

    def fit(self, train: Split, context: RunContext) -> None:
        """The U-Net, then the LDA on its output."""
        if any(side % 4 for side in train.clear.pictures.shape[1:3]):
            raise Dp2benchError(
                "The attack restore needs pictures whose sides are multiples of 4.",
                "Choose height and width of privacy-attacks so, or leave restore out.",
            )
        before, after = train.clear.pictures, train.anonymized.pictures
        x, y = (torch.from_numpy(p).permute(0, 3, 1, 2) for p in (after, before))

        def loss_of(network: nn.Module) -> Loss:
            def loss(batch: Tensor) -> tuple[Tensor, Tensor]:
                flips = (torch.rand(len(batch)) < 0.5)[:, None, None, None]
                given, wanted = (
                    torch.where(flips, p.flip(3), p).to(context.device).float() for p in (x[batch], y[batch])
                )
                error = F.l1_loss(network(given), wanted) / 127.5
                return error, error.detach()

            return loss

        self.device = context.device
        self.network = trained(
            Restorer,
            loss_of,
            (after, before),
            context,
            what=f"a restorer {CHANNELS}",
            measure="error",
            epochs=EPOCHS,
            batch_size=16,
            learning_rate=2e-3,
        )
        super().fit(train, context)

    def restored(self, pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(N, H, W, 3) what outputs may have been."""
        found = applied(self.network, pictures, self.device)
        return np.asarray(found.transpose(0, 2, 3, 1).round().clip(0, 255), np.uint8)

    def describe(self, split: Split, version: Version) -> Rows:
        """See `RetrievalAttack.describe`."""
        view = split.view(version)
        if version == "clear":
            return np.concatenate([normalized(view.features(name)) for name in ENSEMBLE], 1)
        pictures = self.restored(view.pictures)
        return np.concatenate([normalized(view.extract(name, pictures)) for name in ENSEMBLE], 1)
