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


def embedding_distance(regressed: Tensor, embedding: Tensor, surface: Tensor) -> Tensor:
    """How far a discriminator's regressed embedding is from the true one, a number a picture (B,) (Surface Guided GANs).

    Smooth L1, summed over channels and pixels of the surface and divided by its pixels.

    Args:
        regressed: (B, C, H, W).
        embedding: (B, C, H, W).
        surface: (B, 1, H, W), 1 where the embedding is known.

    """
    distance = F.smooth_l1_loss(regressed, embedding, reduction="none") * surface
    return distance.sum((1, 2, 3)) / surface.sum((1, 2, 3)).clamp_min(1)


def masked_r1(scores: Tensor, images: Tensor, mask: Tensor) -> Tensor:
    """R1 of the pixels in the hole alone, (B,), as if the hole were the whole picture (Surface Guided GANs).

    Args:
        scores: (B, 1), of ``images``.
        images: (B, C, H, W), requires gradients.
        mask: (B, 1, H, W), 1 = known, 0 = hole.

    """
    (gradient,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
    hole = 1 - mask
    squared = (gradient.float() * hole).square().sum((1, 2, 3))
    return squared * (images[0].numel() / hole.sum((1, 2, 3)).clamp_min(1))
