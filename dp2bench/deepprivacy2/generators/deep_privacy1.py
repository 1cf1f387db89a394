"""DeepPrivacy (Hukkelas et al. 2019): the earlier face generator, for 128 x 128 crops and seven keypoints."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dp2bench.deepprivacy2.generators import winograd
from dp2bench.deepprivacy2.generators.layers import LEAK, InferenceMixin, _Fusable, winograd_pays

SIZES = (4, 8, 16, 32, 64, 128)
CHANNELS = {4: 512, 8: 512, 16: 512, 32: 512, 64: 256, 128: 128}
POSE_CHANNELS, LATENT_CHANNELS = 16, 32


class ScaledConv2d(_Fusable):
    """Convolution that divides its weights by the square root of the fan-in; keeps height and width."""

    fused_weight: Tensor

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.scale = 1 / math.sqrt(in_channels * kernel_size**2)

    def fuse(self, *, channels_last: bool, preconvolve: bool, winograd: bool) -> None:
        layout = torch.channels_last if channels_last else torch.contiguous_format
        self._keep("fused_weight", (self.weight * self.scale).contiguous(memory_format=layout))
        self.fused_kernels = None
        self.winograd = winograd and self.weight.shape[-1] == 3
        self.is_fused = True

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) to (B, out, H, W)."""
        if self.winograd and winograd_pays(x, self.fused_weight):
            return winograd.convolve(x, self._kernels(self.fused_weight), bias=self.bias)
        weight = self.fused_weight if self.is_fused else self.weight * self.scale
        return F.conv2d(x, weight, self.bias, padding=self.weight.shape[-1] // 2)


class ScaledLinear(nn.Module):
    """Linear layer that divides its weights by the square root of the fan-in."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features))
        self.bias = nn.Parameter(torch.zeros(out_features))
        # Never used: official checkpoints carry the parameters of this inner layer.
        self.linear = nn.Linear(in_features, out_features)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in) to (B, out)."""
        return F.linear(x, self.weight / math.sqrt(self.weight.shape[1]), self.bias)


class PixelNorm(nn.Module):
    """Divides each pixel of (B, C, H, W) by the root mean square of its channels."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        return x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-7)


def _convolutions(*channels: int, kernel_size: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a, b in pairwise(channels):
        layers += [ScaledConv2d(a, b, kernel_size), nn.LeakyReLU(LEAK), PixelNorm()]
    return nn.Sequential(*layers)


class _Layers(nn.Module):
    def __init__(self, *channels: int, kernel_size: int = 3) -> None:
        super().__init__()
        self.layers = _convolutions(*channels, kernel_size=kernel_size)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return out


class _Skip(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = _Layers(2 * channels, channels, kernel_size=1)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        out: Tensor = self.conv(torch.cat((x, skip), dim=1))
        return out


class _Pose(nn.Module):
    def __init__(self, keypoints: int, hidden: int = 128) -> None:
        super().__init__()
        self.pose_preprocessor = nn.Sequential(
            nn.Identity(),
            ScaledLinear(2 * keypoints, hidden),
            nn.LeakyReLU(LEAK),
            ScaledLinear(hidden, POSE_CHANNELS * SIZES[0] ** 2),
            nn.LeakyReLU(LEAK),
        )

    def forward(self, keypoints: Tensor) -> Tensor:
        pose: Tensor = self.pose_preprocessor(keypoints * 2 - 1)
        return pose.view(-1, POSE_CHANNELS, SIZES[0], SIZES[0])


class DeepPrivacy1(InferenceMixin):
    """U-Net with pixel-wise normalisation whose pictures of every resolution are summed."""

    imsize = (128, 128)
    z_channels = 512
    n_keypoints = 7

    def __init__(self) -> None:
        super().__init__()
        self.from_rgb = _convolutions(5, CHANNELS[SIZES[-1]], kernel_size=1)
        self.encoder = nn.ModuleDict()
        self.decoder = nn.ModuleDict({"pose_fcnn": _Pose(self.n_keypoints)})
        self.rgb_convolutions = nn.ModuleDict()
        for size in SIZES:
            coarser = CHANNELS[max(size // 2, SIZES[0])]
            self.encoder[f"basic_block{size}"] = _Layers(CHANNELS[size], CHANNELS[size], coarser)
            start = coarser
            if size == SIZES[0]:
                start += POSE_CHANNELS + LATENT_CHANNELS
            else:
                self.decoder[f"skip_connection{size}"] = _Skip(coarser)
            self.decoder[f"basic_block{size}"] = _Layers(start, start, CHANNELS[size])
            self.rgb_convolutions[str(size)] = ScaledConv2d(CHANNELS[size], 3, 1)

    def forward(self, condition: Tensor, mask: Tensor, z: Tensor, *, keypoints: Tensor) -> dict[str, Tensor]:
        """Fill the hole of each face crop.

        Args:
            condition: crops (B, 3, 128, 128) in -1..1. Pixels where the mask is 0 are zeroed before anything reads them.
            mask: (B, 1, 128, 128); 1 = keep the pixel, 0 = synthesise it.
            z: latents (B, 512).
            keypoints: (B, 7, 2 or more): x, y in 0..1 of the crop; clipped to -1..1.

        Returns:
            {"img": (B, 3, 128, 128)}; nominally -1..1, not clipped.
        """
        known = condition.masked_fill(mask == 0, 0)
        with self._precision(condition):
            x: Tensor = self.from_rgb(self._arrange(torch.cat((known, mask, 1 - mask), dim=1)))
            features = {}
            for size in reversed(SIZES):
                x = features[size] = self.encoder[f"basic_block{size}"](x)
                if size != SIZES[0]:
                    x = F.avg_pool2d(x, 2)
            pose = self.decoder["pose_fcnn"](keypoints[:, :, :2].flatten(1).clip(-1, 1))
            x = torch.cat(
                (x, z.view(-1, LATENT_CHANNELS, SIZES[0], SIZES[0]).to(x.dtype), pose.to(x.dtype)), dim=1
            )
            rgb: Tensor | None = None
            for size in SIZES:
                if size != SIZES[0]:
                    x = self.decoder[f"skip_connection{size}"](
                        F.interpolate(x, scale_factor=2.0), features[size]
                    )
                x = self.decoder[f"basic_block{size}"](x)
                part = self.rgb_convolutions[str(size)](x)
                rgb = part if rgb is None else F.interpolate(rgb, scale_factor=2.0) + part
        assert rgb is not None
        return {"img": known * mask + (1 - mask) * rgb.to(condition.dtype) / len(SIZES)}

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """As in torch; also takes checkpoints of the first release, see `current_keys`."""
        return super().load_state_dict(current_keys(state_dict), strict=strict, assign=assign)


def current_keys(state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """Rename the keys of the first release, which count blocks from 0 (coarsest) where later ones name their resolution.

    Other state dicts come back unchanged. ``decoder.to_rgb`` of the first release duplicates ``rgb_convolutions`` and is dropped.
    """
    state_dict = state_dict.get("parameters", state_dict)
    if not any("basic_block0" in key for key in state_dict):
        return dict(state_dict)

    def renamed(key: str) -> str:
        if "from_rgb" in key:
            return key.replace("encoder.", "").replace(".conv.layers", "")
        return re.sub(
            r"(basic_block|skip_connection)(\d+)", lambda m: f"{m[1]}{SIZES[int(m[2])]}", key, count=1
        )

    return {renamed(key): value for key, value in state_dict.items() if "decoder.to_rgb" not in key}
