"""An encoder that is used in training only: what the person in the hole looks like, as a latent (Larsen et al., ICML 2016).

With it, half of a batch is learned by reconstruction: the generator is handed a latent that describes the person, and has to
draw that person. So the latent comes to mean clothes, skin and hair within few pictures, where an adversary alone needs
millions, and other latents, which are all that is used afterwards, show other people (cVAE-GAN of Zhu et al., NeurIPS 2017).
The published training has no such encoder.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dp2bench.deepprivacy2.training.crops import Batch

WIDTHS = (32, 64, 96, 128)


class Encoder(nn.Module):
    """Persons to normal distributions of latents.

    Args:
        z_channels: length of a latent.
        surface_channels: channels of the surface embedding it sees, 0 for none.

    """

    def __init__(self, z_channels: int, surface_channels: int = 0) -> None:
        super().__init__()
        widths = (4 + surface_channels, *WIDTHS)
        self.layers = nn.ModuleList(
            nn.Conv2d(before, after, 3, stride=2, padding=1) for before, after in itertools.pairwise(widths)
        )
        self.out = nn.Linear(WIDTHS[-1], 2 * z_channels)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Means and logarithms of variances, (B, z_channels) each, of the persons in the holes of a batch."""
        hole = 1 - batch.masks
        seen = [batch.images * hole, hole]
        if batch.embedding is not None:
            seen.append(batch.embedding)
        x = torch.cat(seen, 1)
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2)
        mean, log_variance = self.out(x.mean((2, 3))).float().chunk(2, 1)
        return mean, log_variance.clamp(-8, 4)


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Kullback-Leibler divergence from the standard normal distribution in nats, averaged over the batch; a scalar."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean()
