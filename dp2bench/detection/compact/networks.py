"""The two small networks of the embedded detector on frozen ImageNet features, and the file that holds them.

The `CenterDetector` says where people and faces are, in the manner of CenterNet (Zhou et al., arXiv 1904.07850) with the targets of TTFNet
(Liu et al., AAAI 2020). The `Body` network gives the mask and the surface of the person in each box, as the second stage of
Mask R-CNN and of continuous surface embeddings (Neverova et al., NeurIPS 2020) does, and how sure it is of the surface. Both
stand on EfficientNet-Lite0 down to stride 8, whose weights a package of the registry brings; only what was trained is shipped.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional as F

from dp2bench.core import templates
from dp2bench.core.errors import Dp2benchError
from dp2bench.core.tensors import write_tensors
from dp2bench.networks import efficientnet
from dp2bench.networks.frozen_backbone import FrozenBackboneDecoder
from dp2bench.weights.reading import read_state

PERSON, FACE = 0, 1
"""Classes of the `CenterDetector`."""
STRIDE = 4
"""Pixels to a cell of the `CenterDetector`'s maps."""
CROP = (160, 96)
"""Height and width of the crops that the `Body` network sees."""
BODY_STRIDE = 2
"""Pixels of a crop to one of its mask."""
MARGIN = 1.25
"""How much more than a person's box a crop shows, each way."""
GREY = 127
"""What lies outside of a picture."""
TEMPLATE = "passersby-13380"
"""Of the surfaces."""

_REACH = 16.0
_PEAKS = 300


class CenterDetector(nn.Module):
    """From frozen maps to heat maps of centres and distances to the sides of boxes, at stride 4."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.blocks = cast("Any", efficientnet.pretrained()._blocks)[5:11]  # those of stride 16
        self.near = nn.Conv2d(40 + 4 * 24, channels, 1)
        self.far = nn.Conv2d(112, channels, 1)
        # Somebody near fills the picture, which the blocks of stride 16 do not see at once.
        self.wide = nn.Sequential(*_convolution(112, channels, 2))
        self.wider = nn.Sequential(*_convolution(channels, channels, 2), *_convolution(channels, channels))
        self.middle = nn.Sequential(*_convolution(channels, channels))
        self.body = nn.Sequential(*_convolution(channels, channels), *_convolution(channels, channels))
        self.head = nn.Conv2d(channels, 10 * 4, 1)
        with torch.no_grad():
            # centres are rare: without this the first steps only learn that
            cast("Tensor", self.head.bias)[: 2 * 4] = -4.6

    def train(self, mode: bool = True) -> CenterDetector:
        """As usual, but the ImageNet blocks keep their batch statistics."""
        super().train(mode)
        self.blocks.eval()
        return self

    def forward(self, fine: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, 2, h, w) of `PERSON` and `FACE`, and (B, 2, 4, h, w) pixels from the cell's centre to the left, upper,
        right and lower side, from (B, 24, h, w) and (B, 40, h / 2, w / 2).
        """
        far = coarse
        for block in self.blocks:
            far = block(far)
        wide = self.wide(far)
        wide = wide + _like(self.wider(wide), wide)
        middle = self.far(far)
        middle = self.middle(middle + _like(wide, middle))
        near = self.near(torch.cat([coarse, F.pixel_unshuffle(fine, 2)], 1))
        out = F.pixel_shuffle(self.head(self.body(near + _like(middle, near))), 2).float()
        ltrb = out[:, 2:].reshape(len(out), 2, 4, *out.shape[2:])
        return out[:, :2], ltrb.clamp(max=5.0).exp() * _REACH


def _convolution(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    ]


def _like(x: Tensor, other: Tensor) -> Tensor:
    return F.interpolate(x, size=other.shape[-2:], mode="bilinear")


class Body(FrozenBackboneDecoder):
    """From frozen maps of a crop to its mask, embeddings, and how sure they are, at stride 2."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, 2 + templates.DIMENSIONS, 8 // BODY_STRIDE)

    def answer(self, fine: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (B, h, w) of the person, logits (B, h, w) of the embedding being right, embeddings (B, 16, h, w)."""
        out = self(fine, coarse).float()
        return out[:, 0], out[:, 1], out[:, 2:]


class Networks(nn.Module):
    """Both networks, which are trained together and lie in one file."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.finder = CenterDetector(channels)
        self.body = Body(channels)


def cells(height: int, width: int, device: torch.device) -> Tensor:
    """(h, w, 2) x and y of the centres of cells, in pixels."""
    y = (torch.arange(height, device=device) + 0.5) * STRIDE
    x = (torch.arange(width, device=device) + 0.5) * STRIDE
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)


def boxes_at(ltrb: Tensor) -> Tensor:
    """(..., h, w, 4) xyxy boxes in pixels of the network's input, from (..., 4, h, w) distances."""
    centres = cells(ltrb.shape[-2], ltrb.shape[-1], ltrb.device)
    ltrb = ltrb.movedim(-3, -1)
    return torch.cat((centres - ltrb[..., :2], centres + ltrb[..., 2:]), -1)


def decode(logits: Tensor, ltrb: Tensor, score_threshold: float) -> list[tuple[Tensor, Tensor]]:
    """For each class of one picture the (N, 4) boxes in pixels of the network's input and (N,) scores above ``score_threshold``, best first.

    Args:
        logits: (2, h, w).
        ltrb: (2, 4, h, w) distances to the left, upper, right and lower side.
        score_threshold: only cells that score higher.

    """
    scores = logits.sigmoid()
    scores = scores * (F.max_pool2d(scores[None], 3, 1, 1)[0] == scores)
    boxes = boxes_at(ltrb).flatten(1, 2)
    out = []
    for kind, flat in enumerate(scores.flatten(1)):
        best, where = flat.topk(min(_PEAKS, len(flat)))
        where, best = where[best > score_threshold], best[best > score_threshold]
        out.append((boxes[kind, where], best))
    return out


def crop_box(box: NDArray[Any]) -> tuple[int, int, int, int]:
    """The whole pixels x0, y0, x1, y1 that a crop around a box shows; they may lie outside of the picture."""
    x0, y0, x1, y1 = (float(v) for v in box)
    across, down = (MARGIN - 1) / 2 * (x1 - x0), (MARGIN - 1) / 2 * (y1 - y0)
    left, top = int(np.floor(x0 - across)), int(np.floor(y0 - down))
    return (
        left,
        top,
        max(left + 1, int(np.ceil(x1 + across))),
        max(top + 1, int(np.ceil(y1 + down))),
    )


def to_crop(box: tuple[int, int, int, int], size: tuple[int, int] = CROP) -> NDArray[np.float64]:
    """(2, 3) from the picture to the crop of ``size`` (height, width), in coordinates whose pixel centres are at halves."""
    x0, y0, x1, y1 = box
    across, down = size[1] / (x1 - x0), size[0] / (y1 - y0)
    return np.array([[across, 0, -x0 * across], [0, down, -y0 * down]], np.float64)


def save(networks: Networks, path: Path, described: dict[str, Any]) -> None:
    """Write the networks in half precision; ``described`` is kept with them and holds at least ``channels``."""
    state = {k: v.half() if v.is_floating_point() else v for k, v in networks.state_dict().items()}
    write_tensors(state, path, {"detector": json.dumps(described, sort_keys=True)})


def load(path: Path) -> tuple[Networks, dict[str, Any]]:
    """The networks of a file, in single precision, and what the file says of them.

    Raises:
        Dp2benchError: the file is broken or of something else.

    """
    state = read_state(path)
    try:
        with safe_open(path, framework="pt") as file:
            told: dict[str, Any] = json.loads((file.metadata() or {})["detector"])
        networks = Networks(int(told["channels"]))
        networks.load_state_dict(state, strict=True)
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:240]
        raise Dp2benchError(
            f"{path} holds no embedded detector: {reason}.",
            "Give a detector.safetensors that `dp2bench train detector` wrote.",
        ) from error
    return networks, told
