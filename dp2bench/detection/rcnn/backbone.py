"""ResNet and ResNeXt with a feature pyramid, under the module names of detectron2's checkpoints.

Sources: He et al. 2016 (ResNet), Xie et al. 2017 (ResNeXt), Lin et al. 2017 (feature pyramid).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STRIDES = {"p2": 4, "p3": 8, "p4": 16, "p5": 32, "p6": 64}
"""Picture pixels a cell of each pyramid level."""

_BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


class FrozenBatchNorm2d(nn.Module):
    """A batch normalisation that keeps the statistics and the scale of its checkpoint."""

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.ones(channels))
        self.register_buffer("bias", torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=1e-5)


class Conv(nn.Conv2d):
    """A convolution whose optional normalisation lives inside it as ``norm``."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, norm: nn.Module | None = None, **given: Any
    ) -> None:
        super().__init__(inputs, outputs, kernel, bias=norm is None, **given)
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        x = super().forward(x)
        return x if self.norm is None else self.norm(x)


def _frozen(inputs: int, outputs: int, kernel: int, **given: Any) -> Conv:
    return Conv(inputs, outputs, kernel, norm=FrozenBatchNorm2d(outputs), **given)


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 with a shortcut. The original weights put the stride into the first, ResNeXt's into the second."""

    def __init__(
        self, inputs: int, middle: int, outputs: int, *, stride: int, groups: int, stride_in_1x1: bool
    ) -> None:
        super().__init__()
        first, second = (stride, 1) if stride_in_1x1 else (1, stride)
        self.shortcut = _frozen(inputs, outputs, 1, stride=stride) if inputs != outputs else None
        self.conv1 = _frozen(inputs, middle, 1, stride=first)
        self.conv2 = _frozen(middle, middle, 3, stride=second, padding=1, groups=groups)
        self.conv3 = _frozen(middle, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv3(F.relu_(self.conv2(F.relu_(self.conv1(x)))))
        y += x if self.shortcut is None else self.shortcut(x)
        return F.relu_(y)


class Stem(nn.Module):
    """(N, 3, H, W) to (N, 64, H/4, W/4)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = _frozen(3, 64, 7, stride=2, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(F.relu_(self.conv1(x)), 3, 2, 1)


class ResNet(nn.Module):
    """The four stages ``res2`` to ``res5`` at strides 4 to 32."""

    def __init__(self, depth: int, groups: int, group_width: int) -> None:
        super().__init__()
        self.stem = Stem()
        inputs, middle, outputs = 64, groups * group_width, 256
        for stage, blocks in enumerate(_BLOCKS[depth], 2):
            layers = []
            for block in range(blocks):
                stride = 2 if block == 0 and stage > 2 else 1
                layers.append(
                    Bottleneck(
                        inputs, middle, outputs, stride=stride, groups=groups, stride_in_1x1=groups == 1
                    )
                )
                inputs = outputs
            self.add_module(f"res{stage}", nn.Sequential(*layers))
            middle, outputs = middle * 2, outputs * 2

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.stem(x)
        out = []
        for stage in range(2, 6):
            x = self.get_submodule(f"res{stage}")(x)
            out.append(x)
        return out


class FPN(nn.Module):
    """The pyramid: ``p2`` to ``p6``, each (N, 256, H/stride, W/stride)."""

    def __init__(self, depth: int, groups: int = 1, group_width: int = 64) -> None:
        super().__init__()
        self.bottom_up = ResNet(depth, groups, group_width)
        for stage in range(2, 6):
            self.add_module(f"fpn_lateral{stage}", Conv(128 << (stage - 1), 256, 1))
            self.add_module(f"fpn_output{stage}", Conv(256, 256, 3, padding=1))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        stages = self.bottom_up(x)
        out: dict[str, Tensor] = {}
        above: Tensor | None = None
        for stage in range(5, 1, -1):
            here = self.get_submodule(f"fpn_lateral{stage}")(stages[stage - 2])
            if above is not None:
                here = here + F.interpolate(above, scale_factor=2.0, mode="nearest")
            above = here
            out[f"p{stage}"] = self.get_submodule(f"fpn_output{stage}")(here)
        out["p6"] = F.max_pool2d(out["p5"], 1, 2)
        return out
