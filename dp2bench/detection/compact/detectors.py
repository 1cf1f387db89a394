"""The detectors that come with the package: person masks, body surfaces and faces by two small networks on frozen ImageNet features.

The `CenterDetector` says where people and faces are, in the manner of CenterNet (Zhou et al., arXiv 1904.07850) with the targets of TTFNet
(Liu et al., AAAI 2020). The `Body` network gives the mask and the surface of the person in each box, as the second stage of
Mask R-CNN and of continuous surface embeddings (Neverova et al., NeurIPS 2020) does, and how sure it is of the surface. Both
stand on EfficientNet-Lite0 down to stride 8, whose weights a package of the registry brings; only what was trained is shipped.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import nms

from dp2bench.core import templates
from dp2bench.core.contracts import ComponentMeta, Weights
from dp2bench.core.errors import Dp2benchError
from dp2bench.core.machine import pick_device
from dp2bench.core.tensors import write_tensors
from dp2bench.core.types import Image, People, Sample, SurfaceMap
from dp2bench.detection import checkpoints
from dp2bench.detection.centerface import as_people
from dp2bench.detection.rcnn.detectors import paste_masks, surface_vertices
from dp2bench.networks import efficientnet
from dp2bench.networks.frozen_backbone import FrozenBackboneDecoder, warp_crop
from dp2bench.weights import embedded
from dp2bench.weights.reading import read_state

EMBEDDED = "embedded-detector"
"""Name of the weights that the package brings."""

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
PERSON_SCORE = 0.1
"""Persons must score higher. On 24 pictures of the train split 0.15 found 87 in a hundred, 0.1 found 91, and 0.07 found 92 with 2.5
times the boxes that are nobody.
"""
TEMPLATE = "passersby-13380"
"""Of the surfaces."""

_MULTIPLE = 32
_REACH = 16.0
_PEAKS = 300
_FINEST = 112
"""Rows and columns at which a surface is looked up at most; the network's have 80 and 48."""
_OVERLAP = {PERSON: 0.6, FACE: 0.4}
_PARTS = 64


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
        sides = out[:, 2:].reshape(len(out), 2, 4, *out.shape[2:])
        return out[:, :2], sides.clamp(max=5.0).exp() * _REACH


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


def boxes_at(sides: Tensor) -> Tensor:
    """(..., h, w, 4) xyxy boxes in pixels of the network's input, from (..., 4, h, w) distances."""
    centres = cells(sides.shape[-2], sides.shape[-1], sides.device)
    sides = sides.movedim(-3, -1)
    return torch.cat((centres - sides[..., :2], centres + sides[..., 2:]), -1)


def decode(logits: Tensor, sides: Tensor, least: float) -> list[tuple[Tensor, Tensor]]:
    """For each class of one picture the (N, 4) boxes in pixels of the network's input and (N,) scores above ``least``, best first.

    Args:
        logits: (2, h, w).
        sides: (2, 4, h, w).
        least: score.

    """
    scores = logits.sigmoid()
    scores = scores * (F.max_pool2d(scores[None], 3, 1, 1)[0] == scores)
    boxes = boxes_at(sides).flatten(1, 2)
    out = []
    for kind, flat in enumerate(scores.flatten(1)):
        best, where = flat.topk(min(_PEAKS, len(flat)))
        where, best = where[best > least], best[best > least]
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
        found: list[list[tuple[Tensor, Tensor]]] = [
            self._find(networks, image, side) for side in self._sides(image)
        ]
        (boxes, scores), (faces, face_scores) = (self._merged(found, kind, image) for kind in (PERSON, FACE))
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
        logits, sides = networks.finder(maps[4], maps[8])
        back = sides.new_tensor([w / small[0], h / small[1]] * 2)
        return [
            (boxes * back, scores)
            for boxes, scores in decode(logits[0], sides[0], min(self.person_score, self.face_score))
        ]

    def _merged(
        self, found: list[list[tuple[Tensor, Tensor]]], kind: int, image: Image
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Boxes and scores of a class, from all looks, best first."""
        boxes, scores = (torch.cat([predict[kind][i] for predict in found]) for i in (0, 1))
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
        size = (image.shape[0], image.shape[1])
        masks = np.zeros((len(boxes), *size), np.bool_)
        surfaces: list[SurfaceMap | None] = []
        surface_confidence = np.zeros(len(boxes), np.float32)
        areas = [crop_box(box) for box in boxes]
        for start in range(0, len(areas), _PARTS):
            part = areas[start : start + _PARTS]
            crops = np.stack([warp_crop(image, to_crop(area), CROP[::-1]) for area in part])
            x = torch.from_numpy(crops).to(self._device).permute(0, 3, 1, 2)
            maps = self._trunk.maps(x, deepest=8)
            mask, right, embeddings = networks.body.answer(maps[4], maps[8])
            chance = mask.sigmoid()
            pasted = paste_masks(chance, torch.tensor(part, dtype=torch.float32), size)
            for i, (area, box) in enumerate(zip(part, boxes[start : start + _PARTS], strict=True), 0):
                own = pasted[i]
                if not own.any():
                    # Whoever was found is covered, even where no outline is seen.
                    own = _filled(box, size)
                masks[start + i] = own
                weight = (chance[i] > 0.5).float()
                surface_confidence[start + i] = float(
                    (right[i].sigmoid() * weight).sum() / weight.sum().clamp(min=1)
                )
                known = surface_confidence[start + i] >= self.surface_threshold
                surfaces.append(self._surface(embeddings[i], chance[i], area, own) if known else None)
        return masks, tuple(surfaces), surface_confidence

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


class _Embedded:
    """One modality of the embedded networks. See `CompactPredictor` for the arguments."""

    name = ""

    def __init__(self, *, eyes: CompactPredictor | None = None, **arguments: Any) -> None:
        self.eyes = CompactPredictor(**arguments) if eyes is None else eyes
        self.meta = ComponentMeta(self.name, "1", (self.eyes.described,))

    def detect(self, images: Sequence[Image], samples: Sequence[Sample]) -> list[People]:
        """The people of each picture, best first."""
        del samples
        return [self._people(image, self.eyes.predict(image)) for image in images]

    def _people(self, image: Image, seen: Predictions) -> People:
        raise NotImplementedError


class EmbeddedMask(_Embedded):
    """Persons with masks, by the network that the package embeds."""

    name = "embedded-mask"

    def _people(self, image: Image, seen: Predictions) -> People:
        return People.of(seen.boxes, masks=seen.masks, scores=seen.scores)


class EmbeddedSurface(_Embedded):
    """Persons with masks and surfaces, by the network that the package embeds, where it is sure enough of the surface."""

    name = "embedded-surface"

    def _people(self, image: Image, seen: Predictions) -> People:
        who = [i for i, surface in enumerate(seen.surfaces) if surface is not None]
        return People.of(
            seen.boxes[who],
            masks=seen.masks[who],
            surfaces=[seen.surfaces[i] for i in who],
            scores=seen.scores[who],
        )


class EmbeddedFace(_Embedded):
    """Faces, by the network that the package embeds; each is a detection of its own."""

    name = "embedded-face"

    def _people(self, image: Image, seen: Predictions) -> People:
        return as_people(seen.faces, seen.face_scores, (image.shape[0], image.shape[1]))


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
