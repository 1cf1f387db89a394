"""Mask, landmarks and presence of one person in a square region: the landmark network of BlazePose, variants "full" and "heavy".

Bazarevsky et al., arXiv 2006.10204; weights of Google's MediaPipe, Apache-2.0. Batch norms are folded into the convolutions.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from dp2bench.core.types import Image
from dp2bench.weights import tfjs

REGION = 256
"""Side of the network's input in pixels."""
LANDMARKS = 39
"""33 of the body, the middle of the hips, a point above it at the body circle's radius, and four that are unused."""
BODY = 33
"""Landmarks of the body come first."""
COCO = (0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28)
"""COCO's 17 keypoints among the landmarks."""

_FUSED, _POSE = 48, 288


class _Variant(NamedTuple):
    """Widths of a variant.

    Attributes:
        first: width of the first map.
        stages: each halves the map: (expanded width, kernel, output width) of each block; the first block has stride 2.
        last: width of the last map.
        down: how the pose is read from the fused map: (outputs, the backbone's map that is added) of each stage; it is read from
            the last map where there is none.
        blocks: blocks of stride 1 in each stage of the pose, those of ``down`` first.

    """

    first: int
    stages: tuple[tuple[tuple[int, int, int], ...], ...]
    last: int
    down: tuple[tuple[int, int], ...]
    blocks: tuple[int, ...]


_VARIANTS = {
    "full": _Variant(
        16,
        (
            ((64, 3, 24), (144, 3, 24)),
            ((144, 5, 32), (192, 5, 32)),
            ((192, 3, 64), *((384, 3, 64),) * 2, (384, 5, 88), *((528, 5, 88),) * 2),
            ((528, 5, 144), *((864, 5, 144),) * 3),
        ),
        864,
        (),
        (4, 5),
    ),
    "heavy": _Variant(
        24,
        (
            ((96, 3, 32), (128, 3, 32), *((192, 3, 32),) * 2),
            ((192, 5, 56), *((336, 5, 56),) * 3),
            ((336, 3, 112), *((672, 3, 112),) * 5, (672, 5, 160), *((960, 5, 160),) * 5),
            ((960, 5, 272), *((1632, 5, 272),) * 7),
        ),
        1632,
        ((96, 2), (192, 3), (_POSE, 4)),
        (6, 7, 7, 7, 7),
    ),
}
VARIANTS = tuple(_VARIANTS)


class _Conv(nn.Conv2d):
    """A convolution, then ReLU6 unless ``linear``."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        *,
        linear: bool = False,
    ) -> None:
        super().__init__(inputs, outputs, kernel, stride, kernel // 2, groups=groups)
        self.linear = linear

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name in nn.Conv2d
        x = super().forward(input)
        return x if self.linear else F.relu6(x, inplace=True)


def _depthwise(width: int, kernel: int = 3, stride: int = 1) -> _Conv:
    return _Conv(width, width, kernel, stride, width)


class _InvertedResidual(nn.Module):
    """Expand, depthwise, project; the input is added where the shapes agree."""

    def __init__(self, inputs: int, expanded: int, kernel: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.expand = _Conv(inputs, expanded)
        self.depthwise = _depthwise(expanded, kernel, stride)
        self.project = _Conv(expanded, outputs, linear=True)
        self.skip = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + y if self.skip else y


class _Separable(nn.Sequential):
    """Depthwise 3 x 3 and pointwise, each with ReLU6."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(_depthwise(inputs), _Conv(inputs, outputs))


class _Residual(nn.Module):
    """ReLU6(skip + pointwise(depthwise(x))); with stride 2 the skip is max-pooled and gets zero channels.

    The depthwise convolution of stride 2 pads below and right only.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.depthwise = _depthwise(inputs, 3, stride)
        self.pointwise = _Conv(inputs, outputs, linear=True)
        if stride == 2:
            self.depthwise.padding = (0, 0)
        self.stride, self.extra = stride, outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        skip = x
        if self.stride == 2:
            skip = F.pad(F.max_pool2d(x, 2), (0, 0, 0, 0, 0, self.extra))
            x = F.pad(x, (0, 1, 0, 1))
        return F.relu6(skip + self.pointwise(self.depthwise(x)))


def _residuals(inputs: int, outputs: int, blocks: int) -> nn.Sequential:
    """One block of stride 2 and ``blocks`` of stride 1."""
    return nn.Sequential(_Residual(inputs, outputs, 2), *(_Residual(outputs, outputs) for _ in range(blocks)))


class Output(NamedTuple):
    """What the network says of B regions.

    Attributes:
        landmarks: (B, 39, 5) x, y, z in pixels of the region, logits of visibility and of presence.
        flag: (B, 1) probability that the region shows a person.
        mask: (B, 1, 256, 256) probability of the person.
        heatmap: (B, 39, 64, 64) probability of each landmark.
        world: (B, 39, 3) landmarks in metres, origin between the hips.

    """

    landmarks: Tensor
    flag: Tensor
    mask: Tensor
    heatmap: Tensor
    world: Tensor


class BlazePose(nn.Module):
    """(B, 3, 256, 256) RGB in 0..1 -> `Output`; ``variant`` is full or heavy."""

    def __init__(self, variant: str = "full") -> None:
        super().__init__()
        plan = _VARIANTS[variant]
        self.stem = _Conv(3, 24, 3, 2)
        self.first = nn.Sequential(_depthwise(24), _Conv(24, plan.first, linear=True))
        self.stages = nn.ModuleList()
        widths, inputs = [plan.first], plan.first
        for blocks in plan.stages:
            stage = []
            for i, (expanded, kernel, outputs) in enumerate(blocks):
                stage.append(_InvertedResidual(inputs, expanded, kernel, outputs, 2 if i == 0 else 1))
                inputs = outputs
            self.stages.append(nn.Sequential(*stage))
            widths.append(inputs)
        self.last = nn.Sequential(_Conv(inputs, plan.last), _depthwise(plan.last))
        widths[-1] = plan.last
        self.laterals = nn.ModuleList(_Separable(widths[i], _FUSED) for i in (4, 3, 2, 1))
        self.down = plan.down
        added = plan.down or ((_POSE, 4),)
        self.bridges = nn.ModuleList(_Separable(widths[level], outputs) for outputs, level in added)
        pose = (_FUSED, *(outputs for outputs, _ in plan.down)) if plan.down else (_POSE,)
        pose += (_POSE,) * (len(plan.blocks) + 1 - len(pose))
        self.regression = nn.ModuleList(
            _residuals(i, o, n) for i, o, n in zip(pose[:-1], pose[1:], plan.blocks, strict=True)
        )
        self.mask_laterals = nn.ModuleList((_Separable(plan.first, 8), _Separable(_FUSED, 8)))
        self.mask_blocks = nn.ModuleList(nn.Sequential(_Residual(8, 8), _Residual(8, 8)) for _ in range(2))
        self.heatmap = nn.Conv2d(_FUSED, LANDMARKS, 1)
        self.mask = nn.Conv2d(8, 1, 3, padding=1)
        self.landmarks = nn.Conv2d(_POSE, LANDMARKS * 5, 2)
        self.flag = nn.Conv2d(_POSE, 1, 2)
        self.world = nn.Conv2d(_POSE, LANDMARKS * 3, 2)

    def forward(self, x: Tensor) -> Output:
        """Everything at once."""
        maps = [self.first(self.stem(x))]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        maps[-1] = self.last(maps[-1])
        fused = self.laterals[0](maps[4])
        for lateral, feature in zip(list(self.laterals)[1:], maps[3:0:-1], strict=True):
            fused = F.interpolate(fused, scale_factor=2, mode="bilinear") + lateral(feature)
        y = F.interpolate(self.mask_laterals[1](fused), scale_factor=2, mode="bilinear")
        y = self.mask_blocks[0](y + self.mask_laterals[0](maps[0]))
        y = self.mask_blocks[1](F.interpolate(y, scale_factor=2, mode="bilinear"))
        pose = fused if self.down else self.bridges[0](maps[4])
        for i, blocks in enumerate(self.regression):
            pose = blocks(pose)
            if i < len(self.down):
                pose = pose + self.bridges[i](maps[self.down[i][1]])
        return Output(
            self.landmarks(pose).reshape(-1, LANDMARKS, 5),
            self.flag(pose).flatten(1).sigmoid(),
            self.mask(y).sigmoid(),
            self.heatmap(fused).sigmoid(),
            self.world(pose).reshape(-1, LANDMARKS, 3),
        )


def region(centre: tuple[float, float], side: float, angle: float = 0.0) -> NDArray[np.float64]:
    """(2, 3) matrix from pixels of the 256 x 256 region to pixels of the picture.

    Args:
        centre: of the region, x and y.
        side: of the region, in pixels of the picture.
        angle: in radians by which the region is turned, clockwise in the picture.

    """
    c, s, k = np.cos(angle), np.sin(angle), side / REGION
    x, y = centre
    return np.array([[c * k, -s * k, x - (c - s) * side / 2], [s * k, c * k, y - (s + c) * side / 2]])


def crop(image: Image, matrix: NDArray[np.float64]) -> Image:
    """(256, 256, 3) region of a picture, black outside it."""
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(image, matrix, (REGION, REGION), flags=how), np.uint8)


def batch(crops: Sequence[Image]) -> Tensor:
    """(B, 3, 256, 256) of B regions."""
    stacked = np.stack(crops).astype(np.float32) / 255
    return torch.from_numpy(stacked).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)


def face_box(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """(4,) xyxy box from hairline to chin, from (>= 11, 2) landmarks: 2 and 5 are the eyes, 9 and 10 the mouth's corners."""
    eyes, mouth = points[[2, 5]].mean(0), points[[9, 10]].mean(0)
    unit = np.hypot(*(mouth - eyes))
    left, right = points[:11, 0].min(), points[:11, 0].max()
    middle, wide = (left + right) / 2, max(right - left, 2 * unit)
    return np.array([middle - wide / 2, eyes[1] - 1.1 * unit, middle + wide / 2, mouth[1] + 0.9 * unit])


def convert_full(manifest: Path) -> dict[str, Tensor]:
    """The state dict of `BlazePose` "full" from the package's TensorFlow.js graph."""
    return _convert(manifest, "full")


def convert_heavy(manifest: Path) -> dict[str, Tensor]:
    """The state dict of `BlazePose` "heavy" from the package's TensorFlow.js graph."""
    return _convert(manifest, "heavy")


def _convert(manifest: Path, variant: str) -> dict[str, Tensor]:
    raw = tfjs.read(manifest)
    prefix = "StatefulPartitionedCall/model/"
    heads = {
        "heatmap": "output_heatmap",
        "mask": "output_segmentation",
        "landmarks": "convld_3d",
        "flag": "conv_poseflag",
        "world": "convworld_3d",
    }
    down = len(_VARIANTS[variant].down)
    pose = [f"{part}.{i}" for i in range(down) for part in ("regression", "bridges")] or ["bridges.0"]
    pose += [f"regression.{i}" for i in range(down, len(_VARIANTS[variant].blocks))]
    order = ("stem", "first", "stages", "last", "laterals", *pose, "mask_laterals", "mask_blocks")
    layers = {name: m for name, m in BlazePose(variant).named_modules() if isinstance(m, nn.Conv2d)}
    body = [name for part in order for name in layers if name == part or name.startswith(part + ".")]
    out: dict[str, Tensor] = {}
    counts = {"depthwise_conv2d": 0, "conv2d": 0}
    for name in body:  # the graph numbers both kinds in the order in which they were defined
        depthwise = layers[name].groups > 1
        kind = "depthwise_conv2d" if depthwise else "conv2d"
        number, counts[kind] = counts[kind], counts[kind] + 1
        node = prefix + kind + (f"_{number}" if number else "") + ("/depthwise" if depthwise else "/Conv2D")
        out[f"{name}.weight"] = tfjs.kernel(raw[f"{node}_weights"], depthwise=depthwise)
        out[f"{name}.bias"] = torch.from_numpy(np.array(raw[f"{node}_bn_offset"]))
    for name, node in heads.items():
        out[f"{name}.weight"] = tfjs.kernel(raw[f"{prefix}{node}/Conv2D/ReadVariableOp"])
        out[f"{name}.bias"] = torch.from_numpy(np.array(raw[f"{prefix}{node}/BiasAdd/ReadVariableOp"]))
    return out
