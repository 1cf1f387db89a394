"""Latent codes: sampling by seed, the mapping network from z to w, and truncation (DeepPrivacy2, section 3.4)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from dp2bench.deepprivacy2.generators.layers import EqualLinear


def sample_latents(seeds: Sequence[int], z_dim: int = 512) -> Tensor:
    """Standard normal z (len(seeds), z_dim), float32. Row i comes from seed i alone, so it is the same in every batch.

    Args:
        seeds: one non-negative integer per person.
        z_dim: length of a latent code.
    """
    rows = [
        np.random.Generator(np.random.PCG64(int(seed))).standard_normal(z_dim, dtype=np.float32)
        for seed in seeds
    ]
    return torch.from_numpy(np.stack(rows)) if rows else torch.empty(0, z_dim)


class MappingNetwork(nn.Module):
    """z (B, z_dim) to w (B, w_dim): normalised to unit mean square, then activated linear layers.

    Args:
        z_dim: length of z.
        w_dim: length of w.
        layers: number of linear layers.
        lr_multiplier: learning-rate factor of the layers.
        average_decay: decay of the moving average of w, per update.
    """

    w_avg: Tensor
    w_centers: Tensor | None

    def __init__(
        self,
        z_dim: int,
        w_dim: int,
        *,
        layers: int = 2,
        lr_multiplier: float = 0.01,
        average_decay: float = 0.998,
    ) -> None:
        super().__init__()
        self.z_dim, self.w_dim, self.layers, self.average_decay = z_dim, w_dim, layers, average_decay
        for i in range(layers):
            layer = EqualLinear(z_dim if i == 0 else w_dim, w_dim, activate=True, lr_multiplier=lr_multiplier)
            setattr(self, f"fc{i}", layer)
        self.register_buffer("w_avg", torch.zeros(w_dim))
        # Official checkpoints carry the centres in a file of their own, so they are no part of the state dict.
        self.register_buffer("w_centers", None, persistent=False)

    def forward(self, z: Tensor, *, update_average: bool = False) -> Tensor:
        """Map z (B, z_dim) to w (B, w_dim), float32; ``update_average`` moves w_avg toward this batch's mean."""
        x = z.to(torch.float32)
        x = x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()
        with torch.autocast(x.device.type, enabled=False):
            for i in range(self.layers):
                x = getattr(self, f"fc{i}")(x)
        if update_average:
            with torch.no_grad():
                self.w_avg.copy_(x.detach().mean(0).lerp(self.w_avg, self.average_decay))
        return x

    def truncate(self, w: Tensor, psi: float) -> Tensor:
        """Interpolate w (B, w_dim) from the mean w_avg: psi 0 gives everyone the mean, 1 leaves w as it is."""
        return torch.lerp(self.w_avg.to(w.dtype), w, _checked(psi))

    def truncate_multi_modal(
        self, w: Tensor, psi: float, centers: Tensor | None = None, which: Tensor | None = None
    ) -> Tensor:
        """Interpolate each w (B, w_dim) from a cluster centre (multi-modal truncation, Mokady et al. 2022).

        Args:
            w: styles (B, w_dim).
            psi: 0 gives the centre itself, 1 leaves w as it is.
            centers: (K, w_dim); by default those of `compute_centers`.
            which: index of the centre of each person (B,); by default the nearest one, so that the result depends on the
                person's own latent alone. (The published code draws one from a global random stream.)
        """
        centers = self.w_centers if centers is None else centers
        if centers is None:
            raise ValueError("no cluster centres: call compute_centers() first or hand over centers")
        centers = centers.to(w)
        if which is None:
            # Per row, because a batched distance may round differently with the size of the batch.
            which = torch.stack([(row - centers).square().sum(1).argmin() for row in w])
        return torch.lerp(centers[which], w, _checked(psi))

    @torch.no_grad()
    def compute_centers(
        self, n_centers: int = 512, *, n_samples: int = 60_000, iterations: int = 20, seed: int = 0
    ) -> Tensor:
        """Cluster styles of random z by k-means and keep the centres.

        Args:
            n_centers: number of clusters K.
            n_samples: number of sampled z.
            iterations: Lloyd iterations.
            seed: seed of the samples; the first K of them are the initial centres.

        Returns:
            Centres (K, w_dim), also kept as ``w_centers``.
        """
        if not 0 < n_centers <= n_samples:
            raise ValueError(f"n_centers must lie in 1..n_samples={n_samples}, not {n_centers}")
        z = np.random.Generator(np.random.PCG64(seed)).standard_normal(
            (n_samples, self.z_dim), dtype=np.float32
        )
        w: Tensor = torch.cat(
            [self(part) for part in torch.split(torch.from_numpy(z).to(self.w_avg.device), 4096)]
        )
        centers = w[:n_centers].clone()
        for _ in range(iterations):
            nearest = torch.cat([torch.cdist(part, centers).argmin(1) for part in torch.split(w, 4096)])
            counts = torch.bincount(nearest, minlength=n_centers)
            sums = torch.zeros_like(centers).index_add_(0, nearest, w)
            filled = counts > 0
            centers[filled] = sums[filled] / counts[filled, None]
        self.w_centers = centers
        return centers

    @torch.no_grad()
    def estimate_average(self, *, n_samples: int = 10_000, seed: int = 0) -> Tensor:
        """Replace w_avg (w_dim,) by the mean style of random z; for networks that did not track it in training."""
        z = np.random.Generator(np.random.PCG64(seed)).standard_normal(
            (n_samples, self.z_dim), dtype=np.float32
        )
        self.w_avg.copy_(self(torch.from_numpy(z).to(self.w_avg.device)).mean(0))
        return self.w_avg


def _checked(psi: float) -> float:
    if not 0 <= psi <= 1:
        raise ValueError(f"truncation must lie in 0..1, not {psi}")
    return psi
