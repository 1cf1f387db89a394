"""Losses of the adversarial training (DeepPrivacy2, section 3.3)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F


def generator_loss(fake: Tensor) -> Tensor:
    """Non-saturating loss (Goodfellow et al. 2014) of scores (B, 1) of synthesised pictures; a scalar."""
    return F.softplus(-fake).mean()


def discriminator_loss(real: Tensor, fake: Tensor, score_penalty: float) -> Tensor:
    """Non-saturating loss of scores (B, 1), plus ``score_penalty`` times the squared real score; a scalar."""
    return (F.softplus(-real) + F.softplus(fake) + score_penalty * real.square()).mean()


def r1_penalty(scores: Tensor, images: Tensor) -> Tensor:
    """Squared length of the gradient of each real picture's score with respect to its pixels, averaged; a scalar.

    R1 of Mescheder et al. 2018, without its factor 1/2. ``images`` (B, C, H, W) must require gradients and have led
    to ``scores`` (B, 1).
    """
    (gradient,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
    return gradient.float().square().sum((1, 2, 3)).mean()


def perceptual_distance(first: Mapping[int, Tensor], second: Mapping[int, Tensor]) -> Tensor:
    """Squared differences of maps (B, C, h, w) by stride, each pixel's channels scaled to unit length; a scalar.

    Averaged over pixels and pictures and summed over maps: LPIPS' form without learned weights (Zhang et al., CVPR 2018).
    """
    unit = [
        {stride: F.normalize(x.float(), dim=1, eps=1e-6) for stride, x in m.items()} for m in (first, second)
    ]
    return torch.stack([(unit[0][s] - unit[1][s]).square().sum(1).mean() for s in first]).sum()
