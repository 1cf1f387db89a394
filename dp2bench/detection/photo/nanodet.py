"""Boxes of people by NanoDet-g (RangiLyu, github.com/RangiLyu/nanodet, Apache-2.0), trained on COCO train2017.

A CSPNet backbone, a path aggregation without convolutions, and a head that predicts each side of a box as a distribution
(generalised focal loss, Li et al., 2020). Batch norms are folded into the convolutions.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from dp2bench.core.types import Image
from dp2bench.detection.matching import nms
from dp2bench.weights import tfjs

_MEAN = np.array((103.53, 116.28, 123.675), np.float64)
_STD = np.array((57.375, 57.12, 58.395), np.float64)
"""Of blue, green and red, 0..255."""
_BINS, _CLASSES, _PERSON = 11, 80, 0
_STRIDES = (8, 16, 32)
_MULTIPLE = 32
_NMS_IOU = 0.6


class _Conv(nn.Conv2d):
    """3 x 3 convolution, then LeakyReLU of slope 0.1."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(inputs, outputs, 3, stride, 1)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name in nn.Conv2d
        return F.leaky_relu(super().forward(input), 0.1)


class _Stage(nn.Module):
    """Entry, pairs of half-width convolutions whose outputs are joined, exit; the entry is joined to the exit."""

    def __init__(self, width: int, pairs: int, stride: int) -> None:
        super().__init__()
        half = width // 2
        self.entry = _Conv(width, width, stride)
        self.pairs = nn.ModuleList(
            nn.ModuleList((_Conv(width, half), _Conv(half, half))) for _ in range(pairs)
        )
        self.exit = _Conv(width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = skip = self.entry(x)
        for pair in self.pairs:
            x = cast("nn.ModuleList", pair)[0](x)
            x = torch.cat((cast("nn.ModuleList", pair)[1](x), x), 1)
        return torch.cat((self.exit(x), skip), 1)


class Predictions(NamedTuple):
    """What one stride says: (B, cells, 80) scores in 0..1, and (B, cells, 4, 11) logits of left, top, right, bottom in cells."""

    scores: Tensor
    distances: Tensor


class NanoDet(nn.Module):
    """(B, 3, H, W) normalised BGR with sides that are multiples of 32 -> `Predictions` at strides 8, 16 and 32."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _Conv(3, 32, 2)
        self.stages = nn.ModuleList(
            (_Stage(32, 1, 1), _Stage(64, 2, 2), _Stage(128, 2, 2), _Stage(256, 3, 2))
        )
        self.laterals = nn.ModuleList(nn.Conv2d(width, 128, 1) for width in (128, 256, 512))
        self.heads = nn.ModuleList(
            nn.Sequential(_Conv(128, 128), nn.Conv2d(128, _CLASSES + 4 * _BINS, 1)) for _ in _STRIDES
        )

    def forward(self, x: Tensor) -> list[Predictions]:
        """Scores and distances of every cell, row by row."""
        x = self.stages[0](F.max_pool2d(self.stem(x), 3, 2, 1))
        levels: list[Tensor] = []
        for stage, lateral in zip(list(self.stages)[1:], self.laterals, strict=True):
            x = stage(x)
            levels.append(lateral(x))
        for i in (1, 0):
            levels[i] = levels[i] + F.interpolate(levels[i + 1], scale_factor=2, mode="bilinear")
        for i in (1, 2):
            levels[i] = levels[i] + F.avg_pool2d(levels[i - 1], 2)
        out = [head(level).flatten(2).mT for head, level in zip(self.heads, levels, strict=True)]
        return [
            Predictions(y[..., :_CLASSES].sigmoid(), y[..., _CLASSES:].unflatten(-1, (4, _BINS))) for y in out
        ]


def prepare(image: Image, size: int) -> NDArray[np.float32]:
    """(3, h, w) normalised BGR of an RGB picture: longer side ``size``, each side rounded up to a multiple of 32, no borders."""
    height, width = image.shape[:2]
    scale = size / max(height, width)
    h, w = (max(1, int(np.ceil(side * scale / _MULTIPLE))) * _MULTIPLE for side in (height, width))
    resized = cv2.resize(image, (w, h), interpolation=cv2.INTER_LINEAR)
    return normalise(np.asarray(resized, np.uint8))


def normalise(image: Image) -> NDArray[np.float32]:
    """(3, h, w) normalised BGR of an RGB picture of the network's size."""
    bgr = image[..., ::-1].astype(np.float32)
    return np.ascontiguousarray(((bgr - _MEAN) / _STD).astype(np.float32).transpose(2, 0, 1))


def decode(
    predictions: list[Predictions],
    index: int,
    size: tuple[int, int],
    image_size: tuple[int, int],
    threshold: float,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """((N, 4) xyxy pixels of the picture, (N,) scores) of the people above a threshold, best first.

    Args:
        predictions: of a batch, by stride.
        index: of the picture in the batch.
        size: (h, w) of the network's input.
        image_size: (H, W) of the picture.
        threshold: of the score.

    """
    (h, w), (height, width) = size, image_size
    boxes, scores = [], []
    for stride, (all_scores, logits) in zip(_STRIDES, predictions, strict=True):
        score = all_scores[index, :, _PERSON]
        cell = torch.nonzero(score > threshold)[:, 0]
        columns = w // stride
        centre = torch.stack((cell % columns, cell // columns), 1).add(0.5) * stride
        bins = torch.arange(float(_BINS), device=score.device)
        ltrb = (logits[index, cell].softmax(-1) * bins).sum(-1) * stride
        boxes.append(torch.cat((centre - ltrb[:, :2], centre + ltrb[:, 2:]), 1))
        scores.append(score[cell])
    box = torch.cat(boxes).cpu().numpy()
    best = torch.cat(scores).cpu().numpy()
    box *= np.array([width / w, height / h] * 2, np.float32)
    keep = nms(box, best, _NMS_IOU)
    return np.clip(box[keep], 0, np.array([width, height] * 2, np.float32)), best[keep]


def convert(manifest: Path) -> dict[str, Tensor]:
    """The state dict of `NanoDet` from the package's TensorFlow.js graph, where they have numbers for names."""
    raw = tfjs.read(manifest)
    biases = [2 * i for i in range(28)] + [60, 62, 66, 68, 70, 72]
    layers = [name for name, module in NanoDet().named_modules() if isinstance(module, nn.Conv2d)]
    out: dict[str, Tensor] = {}
    for i, (name, bias) in enumerate(zip(layers, biases, strict=True)):  # both in the graph's order
        out[f"{name}.weight"] = tfjs.kernel(raw["PartitionedCall/split" + (f"_{i}" if i else "")])
        out[f"{name}.bias"] = torch.from_numpy(np.array(raw[f"unknown_{bias}"]))
    return out
