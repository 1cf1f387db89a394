"""The moving average of the generator's weights, which is what is used after training (Yazici et al. 2019)."""

from __future__ import annotations

import copy

import torch
from torch import nn


def decay(batch_size: int, seen: int, half_life: float, rampup: float | None) -> float:
    """Share of the old average that survives a step, in 0..1.

    Args:
        batch_size: pictures a step.
        seen: pictures shown before this step.
        half_life: pictures after which a weight's influence has halved.
        rampup: the half-life is at most this share of the pictures seen (Karras et al. 2020); None for no limit.

    """
    pictures = half_life if rampup is None else min(half_life, seen * rampup)
    return float(0.5 ** (batch_size / max(pictures, 1e-8)))


class MovingAverage:
    """A copy of a network whose parameters follow it slowly; buffers are copied."""

    def __init__(self, network: nn.Module) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, network: nn.Module, decay: float) -> None:
        """Move toward ``network``: average = decay * average + (1 - decay) * network."""
        mine: list[torch.Tensor] = list(self.network.parameters())
        theirs: list[torch.Tensor] = list(network.parameters())
        torch._foreach_lerp_(mine, theirs, 1 - decay)
        for a, b in zip(self.network.buffers(), network.buffers(), strict=True):
            a.copy_(b)
