"""What the compact networks say of a picture: boxes, masks, surfaces and faces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import nms

from dp2bench.core import templates
from dp2bench.core.contracts import Weights
from dp2bench.core.errors import Dp2benchError
from dp2bench.core.machine import pick_device
from dp2bench.core.types import Image, SurfaceMap
from dp2bench.detection import checkpoints
from dp2bench.detection.compact.networks import (
    CROP,
    FACE,
    GREY,
    PERSON,
    TEMPLATE,
    Networks,
    crop_box,
    decode,
    load,
    to_crop,
)
from dp2bench.detection.rcnn.detectors import paste_masks, surface_vertices
from dp2bench.networks import efficientnet
from dp2bench.networks.frozen_backbone import warp_crop
from dp2bench.weights import embedded

EMBEDDED = "embedded-detector"
"""Name of the weights that the package brings."""
PERSON_SCORE = 0.1
"""Persons must score higher. On 24 pictures of the train split 0.15 found 87 in a hundred, 0.1 found 91, and 0.07 found 92 with 2.5
times the boxes that are nobody.
"""

_MULTIPLE = 32
_FINEST = 112
"""Rows and columns at which a surface is looked up at most; the network's have 80 and 48."""
_OVERLAP = {PERSON: 0.6, FACE: 0.4}
_PARTS = 64


class Predictions(NamedTuple):
    """What the networks say of one picture.

    Attributes:
        boxes: (N, 4) float32 of persons, best first.
        scores: (N,) float32.
        masks: (N, H, W) bool.
        surfaces: of those whose surface is sure enough.
        surface_confidence: (N,) float32, the share of a person's pixels whose vertex is thought to be about right.
        faces: (M, 4) float32.
        face_scores: (M,) float32.

    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    masks: NDArray[np.bool_]
    surfaces: tuple[SurfaceMap | None, ...]
    surface_confidence: NDArray[np.float32]
    faces: NDArray[np.float32]
    face_scores: NDArray[np.float32]


@dataclass
class CompactPredictor:
    """The networks with their weights, loaded at the first picture, and what they saw in the last one.

    Detectors that share one look at a picture once.

    Args:
        weights: path to a file that `dp2bench train detector` wrote; None takes the package's.
        person_score, face_score: only detections that score higher.
        surface_threshold: a person's surface is known where the network thinks that it is about right on this share of the person's pixels.
        sides: pixels that a picture's longer side is scaled to, one look each; a look does not enlarge more than twofold.
        device: torch device; None takes a GPU if there is one.

    """

    weights: str | Path | None = None
    person_score: float = PERSON_SCORE
    face_score: float = 0.2
    surface_threshold: float = 0.2
    sides: Sequence[int] = (640, 1280)
    device: str | None = None
    described: Weights = field(init=False)

    def __post_init__(self) -> None:
        self.path = embedded.path(EMBEDDED) if self.weights is None else Path(self.weights).expanduser()
        if not self.path.is_file():
            raise Dp2benchError(
                f"There is no file {self.path} with weights of the embedded detector.",
                "Reinstall dp2bench."
                if self.weights is None
                else "Train one (`dp2bench train detector passersby-people --out RUN`), or leave `weights` out.",
            )
        if not self.sides or min(self.sides) < _MULTIPLE:
            raise ValueError(f"sides must be at least {_MULTIPLE} pixels each, got {list(self.sides)}")
        if self.weights is None:
            embedded.verify(EMBEDDED)
        self.described = checkpoints.describe(self.path, "Apache-2.0")
        self._device = torch.device(pick_device(self.device))
        self._networks: Networks | None = None
        self._last: tuple[Image, Predictions] | None = None

    def predict(self, image: Image) -> Predictions:
        """Everything that is seen in a picture (H, W, 3)."""
        if self._last is None or self._last[0] is not image:
            self._last = image, self._predict(image)
        return self._last[1]

    def networks(self) -> Networks:
        """The networks, on their device."""
        if self._networks is None:
            networks, _ = load(self.path)
            self._trunk = efficientnet.pretrained(str(self._device))
            self._networks = networks.to(self._device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
            self._table = torch.from_numpy(templates.get(TEMPLATE).embeddings).to(self._device)
        return self._networks

    @torch.inference_mode()
    def _predict(self, image: Image) -> Predictions:
        networks = self.networks()
        detections = [self._find(networks, image, side) for side in self._sides(image)]
        (boxes, scores), (faces, face_scores) = (
            self._merged(detections, kind, image) for kind in (PERSON, FACE)
        )
        masks, surfaces, surface_confidence = self._bodies(networks, image, boxes)
        return Predictions(boxes, scores, masks, surfaces, surface_confidence, faces, face_scores)

    def _sides(self, image: Image) -> list[int]:
        longer = max(image.shape[:2])
        return sorted({min(side, 2 * longer) for side in self.sides})

    def _find(self, networks: Networks, image: Image, side: int) -> list[tuple[Tensor, Tensor]]:
        h, w = image.shape[:2]
        scale = side / max(h, w)
        small = max(1, round(w * scale)), max(1, round(h * scale))
        resized = cv2.resize(image, small, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        x = torch.from_numpy(np.ascontiguousarray(resized)).to(self._device).permute(2, 0, 1)[None].float()
        x = F.pad(x, (0, -small[0] % _MULTIPLE, 0, -small[1] % _MULTIPLE), value=GREY)
        maps = self._trunk.maps(x.contiguous(memory_format=torch.channels_last), deepest=8)
        logits, ltrb = networks.finder(maps[4], maps[8])
        back = ltrb.new_tensor([w / small[0], h / small[1]] * 2)
        return [
            (boxes * back, scores)
            for boxes, scores in decode(logits[0], ltrb[0], min(self.person_score, self.face_score))
        ]

    def _merged(
        self, detections: list[list[tuple[Tensor, Tensor]]], kind: int, image: Image
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Boxes and scores of a class, from all looks, best first."""
        boxes, scores = (torch.cat([look[kind][i] for look in detections]) for i in (0, 1))
        limit = boxes.new_tensor([image.shape[1], image.shape[0]] * 2)
        boxes = torch.minimum(boxes.clamp(min=0), limit)
        good = (scores > (self.person_score if kind == PERSON else self.face_score)) & (
            boxes[:, 2:] - boxes[:, :2] >= 1
        ).all(1)
        boxes, scores = boxes[good], scores[good]
        keep = nms(boxes, scores, _OVERLAP[kind])
        return boxes[keep].cpu().numpy(), scores[keep].cpu().numpy()

    def _bodies(
        self, networks: Networks, image: Image, boxes: NDArray[np.float32]
    ) -> tuple[NDArray[np.bool_], tuple[SurfaceMap | None, ...], NDArray[np.float32]]:
        """Masks (N, H, W), surfaces and surface confidences (N,) of the people in boxes."""
        size = (image.shape[0], image.shape[1])
        masks = np.zeros((len(boxes), *size), np.bool_)
        surfaces: list[SurfaceMap | None] = []
        confidence = np.zeros(len(boxes), np.float32)
        areas = [crop_box(box) for box in boxes]
        for start in range(0, len(areas), _PARTS):
            part = areas[start : start + _PARTS]
            chance, right, embeddings = self._look_at_crops(networks, image, part)
            pasted = paste_masks(chance, torch.tensor(part, dtype=torch.float32), size)
            for i, (area, box) in enumerate(zip(part, boxes[start : start + _PARTS], strict=True)):
                own = pasted[i]
                if not own.any():
                    # Whoever was found is covered, even where no outline is seen.
                    own = _filled(box, size)
                masks[start + i] = own
                weight = (chance[i] > 0.5).float()
                confidence[start + i] = float((right[i].sigmoid() * weight).sum() / weight.sum().clamp(min=1))
                known = confidence[start + i] >= self.surface_threshold
                surfaces.append(self._surface(embeddings[i], chance[i], area, own) if known else None)
        return masks, tuple(surfaces), confidence

    def _look_at_crops(
        self, networks: Networks, image: Image, areas: list[tuple[int, int, int, int]]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Probabilities (N, h, w) of masks, logits (N, h, w) of right embeddings, embeddings (N, 16, h, w)."""
        crops = np.stack([warp_crop(image, to_crop(area), CROP[::-1]) for area in areas])
        x = torch.from_numpy(crops).to(self._device).permute(0, 3, 1, 2)
        maps = self._trunk.maps(x, deepest=8)
        mask, right, embeddings = networks.body.answer(maps[4], maps[8])
        return mask.sigmoid(), right, embeddings

    def _surface(
        self, embedding: Tensor, chance: Tensor, area: tuple[int, int, int, int], mask: NDArray[np.bool_]
    ) -> SurfaceMap:
        """Vertices of the pixels of a mask."""
        x0, y0, x1, y1 = area
        on = (chance > 0.5).float()
        vertices = surface_vertices(embedding, on, (y1 - y0, x1 - x0), self._table, _FINEST)
        left, top, right, bottom = max(x0, 0), max(y0, 0), min(x1, mask.shape[1]), min(y1, mask.shape[0])
        inside = vertices[top - y0 : bottom - y0, left - x0 : right - x0]
        inside = np.where(mask[top:bottom, left:right], inside, -1).astype(np.int32)
        return SurfaceMap(TEMPLATE, np.array([left, top, right, bottom], np.int32), inside)


def _filled(box: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.bool_]:
    out = np.zeros(size, np.bool_)
    (x0, y0), (x1, y1) = np.floor(box[:2]).astype(int), np.ceil(box[2:]).astype(int)
    out[y0:y1, x0:x1] = True
    return out
