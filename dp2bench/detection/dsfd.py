"""Faces by DSFD (Li et al., Dual Shot Face Detector, CVPR 2019): the ResNet-152 network, for inference.

Parameter names and shapes are those of the checkpoint that DeepPrivacy2 was published with, so that it loads as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models import resnet152
from torchvision.ops import nms

from dp2bench.core.contracts import ComponentMeta, Detector
from dp2bench.core.errors import Dp2benchError
from dp2bench.core.machine import pick_device
from dp2bench.core.types import Image, People, Sample
from dp2bench.detection import checkpoints
from dp2bench.detection.centerface import as_people
from dp2bench.networks.uninitialized import uninitialized
from dp2bench.weights.reading import read_state

_CHANNELS = (256, 512, 1024, 2048, 512, 256)
_STRIDES = (4, 8, 16, 32, 64, 128)
_ANCHORS = (16, 32, 64, 128, 256, 512)
"""Pixels: geometric mean of an anchor's sides, a level of the pyramid each."""
_TALL = 1.5**0.5
_VARIANCES = (0.1, 0.2)
_MEAN_BGR = (104.0, 117.0, 123.0)


class FeatureEnhance(nn.Module):
    """(B, C, h, w) to (B, 512, h, w): three branches of growing receptive field."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.cpm1 = nn.Conv2d(channels, 256, 3, padding=1)
        self.cpm2 = nn.Conv2d(channels, 256, 3, padding=2, dilation=2)
        self.cpm3 = nn.Conv2d(256, 128, 3, padding=1)
        self.cpm4 = nn.Conv2d(256, 128, 3, padding=2, dilation=2)
        self.cpm5 = nn.Conv2d(128, 128, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        wide = self.cpm2(x).relu()
        wider = self.cpm4(wide).relu()
        return torch.cat((self.cpm1(x).relu(), self.cpm3(wide).relu(), self.cpm5(wider).relu()), 1)


class Head(nn.Module):
    """(B, 512, h, w) to (B, outputs, h, w)."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(512, 256, 3, padding=1)
        self.conv2 = nn.Conv2d(256, 256, 3, padding=1)
        self.conv3 = nn.Conv2d(256, 256, 3, padding=1)
        self.conv4 = nn.Conv2d(256, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        out: Tensor = self.conv4(self.conv3(self.conv2(self.conv1(x).relu()).relu()).relu())
        return out


class DSFD(nn.Module):
    """The second shot of DSFD. The first shot and the heads' further outputs serve training alone."""

    def __init__(self) -> None:
        super().__init__()
        trunk = resnet152(weights=None)
        self.layer1 = nn.Sequential(trunk.conv1, trunk.bn1, trunk.relu, trunk.maxpool, trunk.layer1)
        self.layer2 = nn.Sequential(trunk.layer2)
        self.layer3 = nn.Sequential(trunk.layer3)
        self.layer4 = nn.Sequential(trunk.layer4)
        self.layer5 = _halving(2048, 512, 512)
        self.layer6 = _halving(512, 128, 256)
        self.latlayer3, self.smooth3 = nn.Conv2d(2048, 1024, 1), nn.Conv2d(1024, 1024, 1)
        self.latlayer2, self.smooth2 = nn.Conv2d(1024, 512, 1), nn.Conv2d(512, 512, 1)
        self.latlayer1, self.smooth1 = nn.Conv2d(512, 256, 1), nn.Conv2d(256, 256, 1)
        self.cpm3_3, self.cpm4_3, self.cpm5_3 = (FeatureEnhance(c) for c in _CHANNELS[:3])
        self.cpm7, self.cpm6_2, self.cpm7_2 = (FeatureEnhance(c) for c in _CHANNELS[3:])
        self.loc = nn.ModuleList(Head(n) for n in (4, 8, 12, 12, 12, 12))
        self.conf = nn.ModuleList(Head(n) for n in (4, 6, 8, 8, 8, 8))
        self.eval()

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """The faces at all anchors.

        Args:
            image: (3, H, W) RGB, 0..255.

        Returns:
            (N, 4) xyxy pixels, not clipped, and (N,) probabilities.

        """
        x = image.flip(0).float() - image.new_tensor(_MEAN_BGR, dtype=torch.float32)[:, None, None]
        c1 = self.layer1(x[None])
        c2 = self.layer2(c1)
        c3 = self.layer3(c2)
        c4 = self.layer4(c3)
        c5 = self.layer5(c4)
        c6 = self.layer6(c5)
        p3 = _modulate(self.latlayer3(c4), self.smooth3(c3))
        p2 = _modulate(self.latlayer2(p3), self.smooth2(c2))
        p1 = _modulate(self.latlayer1(p2), self.smooth1(c1))
        enhance = (self.cpm3_3, self.cpm4_3, self.cpm5_3, self.cpm7, self.cpm6_2, self.cpm7_2)
        boxes, scores = [], []
        for level, source in enumerate((p1, p2, p3, c4, c5, c6)):
            features = enhance[level](source)
            deltas = self.loc[level](features)[0, :4].permute(1, 2, 0).reshape(-1, 4)
            logits = self.conf[level](features)[0].permute(1, 2, 0).reshape(deltas.shape[0], -1)
            most, other = logits[:, :3].amax(1), logits[:, 3]
            # Max-in-out: of the background on the finest level, where most anchors are, of the face on all others.
            scores.append((other - most if level == 0 else most - other).sigmoid())
            grid = (int(features.shape[2]), int(features.shape[3]))
            boxes.append(decode(deltas, anchors(level, grid, (image.shape[1], image.shape[2])).to(deltas)))
        return torch.cat(boxes), torch.cat(scores)


def anchors(level: int, grid: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """(h * w, 4) centre x, centre y, width, height in pixels; limited to a picture of ``size`` (H, W)."""
    h, w = grid
    y, x = torch.meshgrid(torch.arange(h) + 0.5, torch.arange(w) + 0.5, indexing="ij")
    side = torch.full((h * w,), float(_ANCHORS[level]))
    stride = _STRIDES[level]
    out = torch.stack((x.ravel() * stride, y.ravel() * stride, side / _TALL, side * _TALL), 1)
    return torch.minimum(out, torch.tensor([size[1], size[0]] * 2, dtype=torch.float32))


def decode(deltas: Tensor, priors: Tensor) -> Tensor:
    """(N, 4) xyxy from (N, 4) deltas to (N, 4) anchors as centres and sizes."""
    centre = priors[:, :2] + deltas[:, :2] * _VARIANCES[0] * priors[:, 2:]
    half = priors[:, 2:] * (deltas[:, 2:] * _VARIANCES[1]).exp() / 2
    return torch.cat((centre - half, centre + half), 1)


class DSFDDetector(Detector):
    """Face boxes in whole pixels; each face is a detection of its own.

    Args:
        weights: path to a checkpoint.
        score_threshold: only faces that score at least this.
        overlap: of two faces with a higher intersection over union the lower score goes.
        long: pixels that a larger picture's longer side is scaled down to; None, as published, keeps every size.
        device: torch device; None takes a GPU if there is one.

    """

    def __init__(
        self,
        *,
        weights: str | Path | None = None,
        score_threshold: float = 0.5,
        overlap: float = 0.3,
        long: int | None = None,
        device: str | None = None,
    ) -> None:
        self.weights = checkpoints.find(weights, "dsfd", "dsfd")
        self.meta = ComponentMeta(
            "dsfd", weights=(checkpoints.describe(self.weights, "see the DSFD project"),)
        )
        self.score_threshold, self.overlap, self.long = score_threshold, overlap, long
        self.device = torch.device(pick_device(device))
        self._network: DSFD | None = None

    def network(self) -> DSFD:
        """The network with its weights, on its device."""
        if self._network is None:
            with uninitialized():
                network = DSFD()
            try:
                network.load_state_dict(read_state(self.weights), strict=True)
            except RuntimeError as error:
                first = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
                raise Dp2benchError(
                    f"{self.weights} does not hold DSFD's parameters: {first[:300]}",
                    "Use the published file (`dp2bench weights list --places` has its addresses).",
                ) from error
            self._network = network.to(self.device).requires_grad_(False)
        return self._network

    def detect(self, images: Sequence[Image], samples: Sequence[Sample]) -> list[People]:
        """The faces of each picture, best first."""
        del samples
        return [self._faces(image) for image in images]

    @torch.inference_mode()
    def _faces(self, image: Image) -> People:
        h, w = image.shape[:2]
        picture = torch.from_numpy(np.array(image)).permute(2, 0, 1).to(self.device)
        if self.long is not None and max(h, w) > self.long:
            size = (max(1, h * self.long // max(h, w)), max(1, w * self.long // max(h, w)))
            picture = F.interpolate(picture[None].float(), size)[0]
        boxes, scores = self.network()(picture)
        likely = scores >= self.score_threshold
        boxes, scores = boxes[likely], scores[likely]
        keep = nms(boxes, scores, self.overlap)
        placed = boxes[keep] * boxes.new_tensor([w / picture.shape[2], h / picture.shape[1]] * 2)
        return as_people(_numpy(placed.round()), _numpy(scores[keep]), (h, w))


def _halving(inputs: int, middle: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, middle, 1),
        nn.BatchNorm2d(middle),
        nn.ReLU(inplace=True),
        nn.Conv2d(middle, outputs, 3, stride=2, padding=1),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def _modulate(coarse: Tensor, fine: Tensor) -> Tensor:
    """The finer map times the coarser one, which is enlarged to it."""
    return fine * F.interpolate(coarse, fine.shape[2:], mode="bilinear", align_corners=True)


def _numpy(tensor: Tensor) -> NDArray[np.float32]:
    return np.asarray(tensor.cpu().numpy(), np.float32)
