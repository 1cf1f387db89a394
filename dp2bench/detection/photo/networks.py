"""NanoDet-g and BlazePose with their weights, asked about whole pictures: where people may be, and who is in a box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from dp2bench.core.types import Image
from dp2bench.detection.photo import blazepose, nanodet
from dp2bench.weights.reading import read_state

_FIRST_LOOK = 416
_FURTHER_LOOKS = (640, 832)
_FINER_LOOKS, _TINY = (1248, 1664), 64
"""Looks at larger pictures, taken while the look before found somebody so low: where there are some, there may be more."""
_SMALL = 260
"""Pixels of a further look: only lower boxes count there, as large people fall apart."""
_FURTHER_MARGIN = 0.05
"""How much higher than at the first look a box must score at further ones."""
_THIN, _THIN_LONG, _THIN_PAD = 1.6, 512, 1.5
"""A picture so much longer than wide, of so many pixels at most, is continued to a square of so much its longer side."""
_SAME_IOU, _INSIDE, _BETTER = 0.6, 0.85, 1.25
_REGION_SCALE = 1.25
"""Side of the pose network's region as a multiple of the box's longer side."""
_SECOND_SCALE = 1.0
"""The same at the second look at a doubtful box."""
_BATCH = 8

_N = TypeVar("_N", bound=nn.Module)


class Boxes(NamedTuple):
    """(N, 4) xyxy pixels and (N,) scores, best first."""

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]


@dataclass(frozen=True)
class Pose:
    """What the pose network says of one box.

    Attributes:
        matrix: (2, 3) from pixels of the region to pixels of the picture.
        mask: (256, 256) probability of the person, in the region.
        landmarks: (39, 5) x and y in the picture, z in its pixels, visibility and presence as probabilities.
        world: (39, 3) metres.
        flag: probability that a person is there.

    """

    matrix: NDArray[np.float64]
    mask: NDArray[np.float32]
    landmarks: NDArray[np.float64]
    world: NDArray[np.float64]
    flag: float

    def keypoints(self, size: tuple[int, int]) -> NDArray[np.float32]:
        """(17, 3) of COCO: x, y, and 2 where the point is likely to be seen, 1 where not, 0 outside a picture of ``size`` (H, W)."""
        points = self.landmarks[list(blazepose.COCO)]
        inside = ((points[:, :2] >= 0) & (points[:, :2] < size[::-1])).all(1)
        visibility = np.where(points[:, 3:].prod(1) > 0.5, 2, 1) * inside
        return np.asarray(np.c_[points[:, :2], visibility], np.float32)


class PoseNetwork:
    """BlazePose of a variant with its weights, for boxes of a picture."""

    def __init__(self, variant: str, path: Path, device: torch.device) -> None:
        self._variant, self._path, self._device = variant, path, device
        self._network: blazepose.BlazePose | None = None

    @torch.inference_mode()
    def __call__(self, image: Image, boxes: NDArray[np.float32]) -> list[Pose]:
        """The pose in each of (N, 4) boxes."""
        out: list[Pose] = []
        matrices = [_region(box) for box in boxes]
        for start in range(0, len(matrices), _BATCH):
            part = matrices[start : start + _BATCH]
            said = self._ask([blazepose.crop(image, matrix) for matrix in part])
            for i, matrix in enumerate(part):
                marks = said.landmarks[i].double().numpy()
                points = np.c_[marks[:, :2], np.ones(len(marks))] @ matrix.T
                depth = marks[:, 2:3] * np.hypot(matrix[0, 0], matrix[1, 0])
                chance = 1 / (1 + np.exp(-marks[:, 3:]))
                out.append(
                    Pose(
                        matrix,
                        said.mask[i, 0].numpy(),
                        np.c_[points, depth, chance],
                        said.world[i].double().numpy(),
                        float(said.flag[i]),
                    )
                )
        return out

    @torch.inference_mode()
    def look_again(self, image: Image, boxes: NDArray[np.float32], poses: Sequence[Pose]) -> list[Pose]:
        """Poses whose flag is the mean of four looks: wider and narrower, each also mirrored. One look may err; four seldom do."""
        out: list[Pose] = []
        for box, pose in zip(boxes, poses, strict=True):
            wide = blazepose.crop(image, pose.matrix)
            narrow = blazepose.crop(image, _region(box, _SECOND_SCALE))
            flags = self._ask([wide[:, ::-1], narrow, narrow[:, ::-1]]).flag
            out.append(replace(pose, flag=(pose.flag + float(flags.sum())) / 4))
        return out

    def _ask(self, crops: Sequence[Image]) -> blazepose.Output:
        if self._network is None:
            self._network = _loaded(blazepose.BlazePose(self._variant), self._path, self._device)
        said = self._network(blazepose.batch(crops).to(self._device))
        return blazepose.Output(*(t.float().cpu() for t in said))


class BoxNetwork:
    """NanoDet-g with its weights, at several sizes of a picture.

    Args:
        path: of the weights.
        device: of the network.
        threshold: boxes score higher at the first look.

    """

    def __init__(self, path: Path, device: torch.device, threshold: float) -> None:
        self._path, self._device, self.threshold = path, device, threshold
        self._network: nanodet.NanoDet | None = None

    def __call__(self, image: Image) -> Boxes:
        """The people of a picture. A thin crop is continued at its edges, so that a person who fills it has surroundings."""
        height, width = image.shape[:2]
        long, short = max(height, width), min(height, width)
        if long <= _THIN * short or long > _THIN_LONG:
            return self._looks(image)
        side = int(_THIN_PAD * long)
        top, left = (side - height) // 2, (side - width) // 2
        padded = cv2.copyMakeBorder(
            image, top, side - height - top, left, side - width - left, cv2.BORDER_REPLICATE
        )
        boxes, scores = self._looks(np.asarray(padded, np.uint8))
        boxes = np.clip(
            boxes - np.array([left, top] * 2, np.float32), 0, np.array([width, height] * 2, np.float32)
        )
        large = (boxes[:, 2:] - boxes[:, :2]).min(1, initial=np.inf) > 4
        return Boxes(boxes[large], scores[large])

    def _looks(self, image: Image) -> Boxes:
        boxes, scores = self.look(image, _FIRST_LOOK, self.threshold)
        found, long = [(boxes, scores)], max(image.shape[:2])
        for size in (*_FURTHER_LOOKS, *_FINER_LOOKS):
            boxes, scores = self.look(image, size, self.threshold + _FURTHER_MARGIN)
            height = (boxes[:, 3] - boxes[:, 1]) * size / long
            found.append((boxes[height < _SMALL], scores[height < _SMALL]))
            if size >= _FURTHER_LOOKS[-1] and (size >= long or not (height < _TINY).any()):
                break
        return without_doubles(*(np.concatenate(part) for part in zip(*found, strict=True)))

    @torch.inference_mode()
    def look(self, image: Image, size: int, threshold: float) -> Boxes:
        """Boxes at one size of the longer side."""
        if self._network is None:
            self._network = _loaded(nanodet.NanoDet(), self._path, self._device)
        x = torch.from_numpy(nanodet.prepare(image, size))[None].to(self._device)
        x = x.contiguous(memory_format=torch.channels_last)
        said = self._network(x)
        return Boxes(
            *nanodet.decode(said, 0, (x.shape[2], x.shape[3]), (image.shape[0], image.shape[1]), threshold)
        )


def without_doubles(boxes: NDArray[np.float32], scores: NDArray[np.float32]) -> Boxes:
    """Boxes of several looks, best first, without those that a better one makes superfluous.

    A box goes where a better one overlaps it by more than 0.6 of their union, or where more than 85 % of the smaller of both lies in the
    larger and the other's score is more than 1.25 times its own.
    """
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    chosen: list[int] = []
    for i in np.argsort(-scores, kind="stable"):
        low = np.maximum(boxes[i, :2], boxes[chosen, :2])
        high = np.minimum(boxes[i, 2:], boxes[chosen, 2:])
        common = (high - low).clip(0).prod(1)
        same = common / (areas[i] + areas[chosen] - common + 1e-9) > _SAME_IOU
        inside = common / (np.minimum(areas[i], areas[chosen]) + 1e-9) > _INSIDE
        if not (same | (inside & (scores[chosen] > _BETTER * scores[i]))).any():
            chosen.append(int(i))
    return Boxes(boxes[chosen], scores[chosen])


def _region(box: NDArray[np.float32], scale: float = _REGION_SCALE) -> NDArray[np.float64]:
    x0, y0, x1, y1 = box
    return blazepose.region(((x0 + x1) / 2, (y0 + y1) / 2), max(x1 - x0, y1 - y0) * scale)


def _loaded(network: _N, path: Path, device: torch.device) -> _N:
    network.load_state_dict({k: v.float() for k, v in read_state(path).items()}, strict=True)
    return network.eval().requires_grad_(False).to(device).to(memory_format=torch.channels_last)
