"""The network of the embedded tiers: EfficientNet-Lite0 with ImageNet weights, frozen where it is expensive, and a small decoder.

Down to stride 8 nothing is trained, so that the maps of all training pictures are computed once; the blocks of stride 16 and the
decoder are.
"""

from __future__ import annotations

from typing import Any, cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from dp2bench.networks import efficientnet


class FrozenBackboneDecoder(nn.Module):
    """Dense outputs (B, outputs, H/8 * upscale, W/8 * upscale) from the frozen maps at strides 4 and 8."""

    def __init__(self, channels: int, outputs: int, upscale: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.blocks = cast("Any", efficientnet.pretrained()._blocks)[5:11]  # those of stride 16
        self.near = nn.Conv2d(40 + 4 * 24, channels, 1)
        self.far = nn.Conv2d(112, channels, 1)
        self.body = nn.Sequential(*_convolution(channels), *_convolution(channels), nn.Dropout2d(dropout))
        self.head = nn.Conv2d(channels, outputs * upscale**2, 1)
        self.upscale = upscale

    def train(self, mode: bool = True) -> FrozenBackboneDecoder:
        """As usual, but the ImageNet blocks keep their batch statistics."""
        super().train(mode)
        self.blocks.eval()
        return self

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """From (B, 24, H/4, W/4) and (B, 40, H/8, W/8)."""
        far = coarse
        for block in self.blocks:
            far = block(far)
        near = self.near(torch.cat([coarse, F.pixel_unshuffle(fine, 2)], 1))
        joined = near + F.interpolate(self.far(far), size=near.shape[-2:], mode="bilinear")
        return F.pixel_shuffle(self.head(self.body(joined)), self.upscale)


def _convolution(channels: int) -> list[nn.Module]:
    return [
        nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
    ]


def warp_crop(
    picture: NDArray[np.uint8], affine: NDArray[np.float64], size: tuple[int, int], border: int = 0
) -> NDArray[np.uint8]:
    """The crop (height, width, ...) that ``affine`` (2, 3) takes a picture (H, W, ...) to.

    ``affine`` is in coordinates whose pixel centres are at halves; ``size`` is (width, height). What lies outside of the picture
    is ``border``.
    """
    # OpenCV has pixel centres at whole numbers
    centred = affine.copy()
    centred[:, 2] += affine[:, :2].sum(1) / 2 - 0.5
    scale = np.hypot(*affine[:, :2])
    if scale.min() < 0.5:  # a warp has no antialiasing
        across, down = np.where(scale < 0.5, np.round(1 / scale), 1).astype(int).tolist()
        picture = np.asarray(cv2.blur(picture, (across, down)), np.uint8)
    return np.asarray(
        cv2.warpAffine(picture, centred, size, flags=cv2.INTER_LINEAR, borderValue=(border,) * 3), np.uint8
    )


@torch.no_grad()
def frozen_maps(
    network: efficientnet.EfficientNetLite0,
    pixels: NDArray[np.uint8],
    flip: bool,
    device: str,
    batch: int = 64,
) -> tuple[Tensor, Tensor]:
    """EfficientNet's maps at strides 4 and 8 of (N, H, W, 3) pictures, mirrored or not; H and W are multiples of 8."""
    fine, coarse = [], []
    for start in range(0, len(pixels), batch):
        x = torch.from_numpy(pixels[start : start + batch]).permute(0, 3, 1, 2).to(device)
        maps = network.maps(x.flip(3) if flip else x, deepest=8)
        fine.append(maps[4].contiguous())
        coarse.append(maps[8].contiguous())
    return torch.cat(fine), torch.cat(coarse)
