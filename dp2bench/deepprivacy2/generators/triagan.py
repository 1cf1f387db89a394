"""TriA-GAN: a keypoint-guided generator for bodies (deep_privacy2's ``triagan``).

Hukkelas and Lindseth, "Synthesizing anyone, anywhere, in any pose" (WACV 2024). Beside the known pixels it takes the person's
mask, the keypoints as one-hot maps, and the limbs between them as lines. State dicts have the published keys.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from dp2bench.deepprivacy2.generators.layers import (
    LEAK,
    SQRT_HALF,
    EqualConv2d,
    EqualLinear,
    InferenceMixin,
    fir_filter,
    fir_kernel,
    fir_upsample,
    instance_norm,
)
from dp2bench.deepprivacy2.generators.mapping import MappingNetwork
from dp2bench.deepprivacy2.generators.style_unet import draw_keypoints, keep_known

NECK, PELVIS = 17, 18
"""Midpoints of shoulders and hips, known where both are."""
LIMBS = (
    (0, 1, 1), (0, 2, 1), (1, 2, 1), (1, 3, 1), (2, 4, 1),
    (5, 6, 4), (5, 7, 2), (5, 11, 4), (6, 8, 3), (6, 12, 4),
    (7, 9, 2), (8, 10, 3), (11, 12, 4), (11, 13, 5), (12, 14, 6),
    (13, 15, 5), (14, 16, 6), (0, NECK, 1), (NECK, PELVIS, 4),
)  # fmt: skip
"""First keypoint, second, and category: 1 head, 2 left arm, 3 right arm, 4 trunk, 5 left leg, 6 right leg; later ones lie on top."""
CATEGORIES = 6


def draw_limbs(keypoints: NDArray[np.floating[Any]], height: int, width: int) -> NDArray[np.uint8]:
    """(height, width) joint map of one person: the category of each limb along a line of one pixel, 0 elsewhere.

    Args:
        keypoints: (17, 3) in COCO order: x and y in 0..1 of the crop, beyond it too, and visible or not.
        height, width: of the crop, in pixels.

    """
    from PIL import Image, ImageDraw

    points = np.asarray(keypoints, np.float32)
    middle = [(points[a] + points[b]) / 2 for a, b in ((5, 6), (11, 12))]
    points = np.concatenate((points, np.stack(middle)))
    known = points[:, 2] > 0
    known[NECK], known[PELVIS] = known[5] and known[6], known[11] and known[12]
    places = np.rint(points[:, :2] * np.float32([width, height])).astype(int)
    sheet = Image.new("L", (width, height))
    pen = ImageDraw.Draw(sheet)
    for first, second, category in LIMBS:
        if known[first] and known[second]:
            pen.line([tuple(places[first].tolist()), tuple(places[second].tolist())], fill=category)
    return np.asarray(sheet, np.uint8)


def joint_maps(keypoints: Tensor, height: int, width: int) -> Tensor:
    """(B, 1, height, width) uint8 joint maps of keypoints (B, 17, 3), see `draw_limbs`."""
    drawn = [draw_limbs(one, height, width) for one in keypoints.cpu().numpy()]
    return torch.from_numpy(np.stack(drawn))[:, None].to(keypoints.device)


class PreActivatedConv2d(nn.Module):
    """Normalise, modulate, activate, convolve; a constant noise map where ``noise`` gives its size.

    Args:
        in_channels: channels in.
        out_channels: channels out.
        w_dim: length of the style.
        norm: instance norm first.
        noise: (height, width) of the noise.

    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        w_dim: int,
        *,
        norm: bool,
        noise: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.norm = norm
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.weight_gain = 1 / math.sqrt(in_channels * 9)
        self.affine = EqualLinear(w_dim, in_channels, bias_init=1)
        self.affine_beta = EqualLinear(w_dim, in_channels)
        self.has_noise = noise is not None
        if noise is not None:
            self.noise_strength = nn.Parameter(torch.zeros(()))
            self.register_buffer("noise_const", torch.randn(noise))

    def style(self, w: Tensor) -> Tensor:
        """(B, 2 * in_channels): scale and shift of a style (B, w_dim)."""
        return torch.cat((self.affine(w), self.affine_beta(w)), dim=1)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """(B, in, H, W) and `style` to (B, out, H, W)."""
        if self.norm:
            x = instance_norm(x)
        scale, shift = style.to(x.dtype)[:, :, None, None].chunk(2, dim=1)
        x = F.leaky_relu(torch.addcmul(shift, x, scale), LEAK) * math.sqrt(2)
        x = F.conv2d(x, self.weight * self.weight_gain, padding=1)
        if self.has_noise:
            x = x + self.noise_const * self.noise_strength
        return x + self.bias.view(-1, 1, 1)
