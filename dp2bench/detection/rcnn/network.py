"""Mask R-CNN and DensePose CSE for inference, under detectron2's parameter names: its checkpoints load as they are.

Four architectures, those that DeepPrivacy2 was published with and their small variants; see `ARCHITECTURES`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import clip_boxes_to_image, nms

from dp2bench.core.errors import Dp2benchError
from dp2bench.detection.rcnn import heads
from dp2bench.detection.rcnn.backbone import FPN, STRIDES

TEMPLATE = "smpl-27554"
"""The vertex numbering that the CSE networks answer in."""

PERSON = 0
"""Index of the class *person*, in COCO's 80 classes as in DensePose's single one."""

_log = logging.getLogger(__name__)

_LEVELS = ("p2", "p3", "p4", "p5")
_BOX_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
_DEPENDS_ON_NOTHING = ("pixel_mean", "pixel_std", "proposal_generator.anchor_generator.")
_BOXES_AT_ONCE = 16


@dataclass(frozen=True)
class Architecture:
    """One of the published networks.

    Attributes:
        name: detectron2's name of the configuration.
        surface: embeddings (DensePose CSE) rather than masks (Mask R-CNN).
        depth: layers of the ResNet.
        groups, group_width: of its 3x3 convolutions.
        pixel_std: BGR, what pixels 0..255 are divided by; 1 where the first layer's weights already hold it.
        atrous: whether the embedding's head is DeepLab's.

    """

    name: str
    surface: bool
    depth: int
    groups: int = 1
    group_width: int = 64
    pixel_std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    atrous: bool = False
    pixel_mean: tuple[float, float, float] = (103.53, 116.28, 123.675)


ARCHITECTURES: Mapping[str, Architecture] = {
    a.name: a
    for a in (
        Architecture("mask_rcnn_R_50_FPN_3x", surface=False, depth=50),
        Architecture(
            "mask_rcnn_X_101_32x8d_FPN_3x",
            False,
            101,
            groups=32,
            group_width=8,
            pixel_std=(57.375, 57.12, 58.395),
        ),
        Architecture("cse_R_50_FPN_s1x", surface=True, depth=50),
        Architecture("cse_R_101_FPN_DL_soft_s1x", surface=True, depth=101, atrous=True),
    )
}


class RcnnDetections(NamedTuple):
    """What the network sees in one picture, best first, in pixels of the picture that was handed over.

    Attributes:
        boxes: (N, 4) float32 xyxy, clipped to the picture.
        scores: (N,) float32.
        masks: (N, 28, 28) probabilities within the boxes; empty for a surface network.
        embedding: (N, 16, 112, 112) within the boxes; empty for a mask network.
        segmentation: (N, 112, 112) int64, 1 on the person; empty for a mask network.

    """

    boxes: Tensor
    scores: Tensor
    masks: Tensor
    embedding: Tensor
    segmentation: Tensor


class RoIHeads(nn.Module):
    """Everything that looks at one box at a time."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        classes = 1 if architecture.surface else 80
        self.box_head = heads.BoxHead()
        self.box_predictor = heads.BoxPredictor(classes)
        if architecture.surface:
            self.decoder = heads.Decoder()
            self.densepose_head = heads.DensePoseHead(atrous=architecture.atrous)
            self.densepose_predictor = heads.DensePosePredictor()
            self.embedder = nn.ModuleDict({"embedder_smpl_27554": heads.VertexEmbedder(27554)})
        else:
            self.mask_head = heads.MaskHead(classes)


class RCNN(nn.Module):
    """One of `ARCHITECTURES`. Inference only, one picture at a time."""

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.backbone = FPN(architecture.depth, architecture.groups, architecture.group_width)
        self.proposal_generator = heads.ProposalGenerator()
        self.roi_heads = RoIHeads(architecture)
        self.register_buffer("pixel_mean", torch.tensor(architecture.pixel_mean), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(architecture.pixel_std), persistent=False)
        self.eval()

    def features(self, image: Tensor) -> dict[str, Tensor]:
        """The pyramid of a (3, H, W) BGR picture, 0..255; padded with the mean to a multiple of 32."""
        x = (image.float() - self.pixel_mean[:, None, None]) / self.pixel_std[:, None, None]
        h, w = x.shape[-2:]
        out: dict[str, Tensor] = self.backbone(F.pad(x, (0, -w % 32, 0, -h % 32))[None])
        return out

    def box_outputs(self, features: Mapping[str, Tensor], boxes: Tensor) -> tuple[Tensor, Tensor]:
        """(N, classes + 1) logits and (N, classes * 4) deltas of N boxes."""
        # DensePose was trained with the older, corner-aligned pooling; its weights mean that.
        surface = self.architecture.surface
        pooled = self._pool(features, boxes, 7, samples=2 if surface else 0, aligned=not surface)
        out: tuple[Tensor, Tensor] = self.roi_heads.box_predictor(self.roi_heads.box_head(pooled))
        return out

    def masks(self, features: Mapping[str, Tensor], boxes: Tensor) -> Tensor:
        """(N, 28, 28) probabilities that a pixel of the box shows the person in it."""
        out = boxes.new_zeros(len(boxes), 28, 28)
        for part in _parts(len(boxes)):
            pooled = self._pool(features, boxes[part], 14, samples=0, aligned=True)
            out[part] = self.roi_heads.mask_head(pooled)[:, PERSON].sigmoid()
        return out

    def surfaces(self, features: Mapping[str, Tensor], boxes: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 16, 112, 112) embeddings and (N, 2, 112, 112) logits (background, person) of N boxes."""
        embedding = boxes.new_zeros(len(boxes), 16, 112, 112)
        segmentation = boxes.new_zeros(len(boxes), 2, 112, 112)
        if len(boxes):
            decoded = self.roi_heads.decoder(features)
            for part in _parts(len(boxes)):
                pooled = heads.pool([decoded], [4], boxes[part], 28, samples=2, aligned=False)
                embedding[part], segmentation[part] = self.roi_heads.densepose_predictor(
                    self.roi_heads.densepose_head(pooled)
                )
        return embedding, segmentation

    def vertex_embeddings(self) -> Tensor:
        """(27554, 16) the template's table, rows of length 1."""
        out: Tensor = self.roi_heads.embedder["embedder_smpl_27554"]()
        return out

    @torch.inference_mode()
    def forward(
        self,
        image: Tensor,
        *,
        score_threshold: float,
        overlap: float = 0.5,
        max_detections: int | None = None,
        short: int = 800,
        long: int = 1333,
    ) -> RcnnDetections:
        """The people in a picture.

        Args:
            image: (3, H, W) uint8 RGB on the network's device.
            score_threshold: only what scores higher.
            overlap: of two boxes with a higher intersection over union the lower score goes.
            max_detections: people that are kept, the best; a warning is logged where more were found. None keeps all.
            short: pixels that the shorter side is scaled to,
            long: unless the longer would then exceed this.

        """
        height, width = image.shape[-2:]
        size = resized(height, width, short, long)
        x = F.interpolate(
            image.flip(0)[None].float(), size, mode="bilinear", align_corners=False, antialias=True
        )[0]
        features = self.features(x.round_().clamp_(0, 255))
        proposals, _ = self.proposal_generator(features, size)
        logits, deltas = self.box_outputs(features, proposals)
        boxes = apply_box_deltas(proposals, deltas)
        scores = logits.softmax(1)
        finite = torch.isfinite(boxes).flatten(1).all(1) & torch.isfinite(scores).all(1)
        boxes = clip_boxes_to_image(boxes[finite], size)
        boxes, scores = boxes[:, PERSON], scores[finite][:, PERSON]
        likely = scores > score_threshold
        boxes, scores = boxes[likely], scores[likely]
        keep = nms(boxes, scores, overlap)
        if max_detections is not None and len(keep) > max_detections:
            _log.warning(
                "%d people were found in a picture and %d are kept: give the detector a larger `max_detections`.",
                len(keep),
                max_detections,
            )
        boxes, scores = boxes[keep[:max_detections]], scores[keep[:max_detections]]
        scale = boxes.new_tensor([width / size[1], height / size[0]]).repeat(2)
        placed = clip_boxes_to_image(boxes * scale, (height, width))
        keep = ((placed[:, 2] > placed[:, 0]) & (placed[:, 3] > placed[:, 1])).nonzero()[:, 0]
        boxes, placed, scores = boxes[keep], placed[keep], scores[keep]
        masks, embedding = boxes.new_zeros(0, 28, 28), boxes.new_zeros(0, 16, 112, 112)
        segmentation = torch.zeros(0, 112, 112, dtype=torch.int64, device=boxes.device)
        if self.architecture.surface:
            embedding, coarse = self.surfaces(features, boxes)
            segmentation = coarse.argmax(1)
        else:
            masks = self.masks(features, boxes)
        return RcnnDetections(placed, scores, masks, embedding, segmentation)

    def _pool(
        self, features: Mapping[str, Tensor], boxes: Tensor, size: int, *, samples: int, aligned: bool
    ) -> Tensor:
        return heads.pool(
            [features[n] for n in _LEVELS],
            [STRIDES[n] for n in _LEVELS],
            boxes,
            size,
            samples=samples,
            aligned=aligned,
        )


def apply_box_deltas(boxes: Tensor, deltas: Tensor) -> Tensor:
    """(N, classes, 4) from N proposals and the box predictor's (N, classes * 4)."""
    return heads.apply_deltas(boxes, deltas.reshape(len(boxes), -1, 4), _BOX_WEIGHTS)


def resized(height: int, width: int, short: int, long: int) -> tuple[int, int]:
    """(H, W) with the shorter side ``short``, or the longer ``long`` where that is less."""
    scale = short / min(height, width)
    h, w = (short, scale * width) if height < width else (scale * height, short)
    if max(h, w) > long:
        scale = long / max(h, w)
        h, w = h * scale, w * scale
    return max(1, int(h + 0.5)), max(1, int(w + 0.5))


def shapes(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """Every parameter's name and shape; costs no memory."""
    with torch.device("meta"):
        return {k: tuple(v.shape) for k, v in RCNN(architecture).state_dict().items()}


def without_constants(state: Mapping[str, Any]) -> dict[str, Any]:
    """A state dict without what some versions of detectron2 store and every version computes."""
    return {k: v for k, v in state.items() if not k.startswith(_DEPENDS_ON_NOTHING)}


def architecture_of(state: Mapping[str, Any]) -> Architecture:
    """The architecture that a state dict (or a mapping of names to shapes) belongs to.

    Raises:
        Dp2benchError: it belongs to none; the message names the first difference to the nearest.

    """
    given = {k: tuple(getattr(v, "shape", v)) for k, v in without_constants(state).items()}
    closest: tuple[int, str, str] | None = None
    for architecture in ARCHITECTURES.values():
        expected = shapes(architecture)
        wrong = sorted(k for k in given.keys() | expected.keys() if given.get(k) != expected.get(k))
        if not wrong:
            return architecture
        if closest is None or len(wrong) < closest[0]:
            first = wrong[0]
            closest = (
                len(wrong),
                architecture.name,
                f"{first} is {given.get(first, 'missing')}, expected {expected.get(first, 'nothing')}",
            )
    assert closest is not None
    raise Dp2benchError(
        f"The parameters belong to no known detector; the nearest is {closest[1]} ({closest[0]} differences, e.g. {closest[2]}).",
        f"Use a detectron2 checkpoint of one of: {', '.join(ARCHITECTURES)}.",
    )


def build(which: str | Architecture | Mapping[str, Any]) -> RCNN:
    """A network by name, by architecture, or by a mapping whose ``state_dict`` holds names and shapes."""
    if isinstance(which, str):
        if which not in ARCHITECTURES:
            raise Dp2benchError(
                f"There is no detector network called {which!r}.", f"There are: {', '.join(ARCHITECTURES)}."
            )
        which = ARCHITECTURES[which]
    if not isinstance(which, Architecture):
        which = architecture_of(which.get("state_dict", which))
    return RCNN(which)


def _parts(n: int) -> Iterator[slice]:
    """Slices that keep what a head holds at once small."""
    return (slice(i, i + _BOXES_AT_ONCE) for i in range(0, n, _BOXES_AT_ONCE))
