"""People from a network: Mask R-CNN's masks, DensePose CSE's masks and surfaces."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from dp2bench.core.contracts import ComponentMeta, Detector
from dp2bench.core.errors import Dp2benchError
from dp2bench.core.machine import pick_device
from dp2bench.core.numbers import check_whole
from dp2bench.core.types import Image, People, Sample, SurfaceMap
from dp2bench.detection import checkpoints
from dp2bench.detection.rcnn.network import RCNN, TEMPLATE, RcnnDetections, architecture_of, without_constants
from dp2bench.networks.uninitialized import uninitialized
from dp2bench.weights.reading import read_state

_FINEST = 288
"""Rows and columns at which a surface is looked up at most: the height of the crops that a generator sees."""


class _NetworkDetector(Detector):
    """A network of `rcnn`, loaded at the first picture.

    Args:
        weights: path to a checkpoint, or a name of the catalogue of weights; the architecture follows from its parameters. None takes
            the published one (``official``).
        score_threshold: only detections that score higher.
        device: torch device; None takes a GPU if there is one.
        short: pixels that a picture's shorter side is scaled to,
        long: unless the longer would then exceed this.
        max_detections: people that are kept in a picture, the best, and the others stay as they are: a warning is logged. None keeps all; 100,
            of all classes together, is detectron2's.

    """

    name = ""
    official = ""
    licence = ""
    surface = False

    def __init__(
        self,
        *,
        weights: str | Path | None = None,
        score_threshold: float = 0.1,
        device: str | None = None,
        short: int = 800,
        long: int = 1333,
        max_detections: int | None = None,
    ) -> None:
        if max_detections is not None:
            check_whole("max_detections", max_detections)
        self.weights = checkpoints.find(weights, self.name, self.official)
        self.meta = ComponentMeta(self.name, "2", (checkpoints.describe(self.weights, self.licence),))
        self.score_threshold = score_threshold
        self.device = torch.device(pick_device(device))
        self.short = short
        self.long = long
        self.max_detections = max_detections
        self._network: RCNN | None = None

    def network(self) -> RCNN:
        """The network with its weights, on its device."""
        if self._network is None:
            state = without_constants(read_state(self.weights))
            architecture = architecture_of(state)
            if architecture.surface != self.surface:
                raise Dp2benchError(
                    f"{self.weights} is {architecture.name}, which is no network for the detector {self.name!r}.",
                    f"Give it to {'cse' if architecture.surface else 'mask-rcnn'!r}, and use e.g. {self.official!r} here.",
                )
            with uninitialized():
                network = RCNN(architecture)
            network.load_state_dict(state, strict=True)
            self._network = network.to(self.device).requires_grad_(False)
        return self._network

    def detect(self, images: Sequence[Image], samples: Sequence[Sample]) -> list[People]:
        """The people of each picture, best first."""
        del samples
        return [self._people(image) for image in images]

    def _people(self, image: Image) -> People:
        network = self.network()
        picture = torch.from_numpy(np.array(image)).permute(2, 0, 1).to(self.device)
        with torch.inference_mode():
            detections = network(
                picture,
                score_threshold=self.score_threshold,
                max_detections=self.max_detections,
                short=self.short,
                long=self.long,
            )
            return self._convert(detections, image.shape[:2], network)

    def _convert(self, detections: RcnnDetections, size: tuple[int, int], network: RCNN) -> People:
        raise NotImplementedError


class MaskRCNNDetector(_NetworkDetector):
    """Person masks. See `_NetworkDetector` for the arguments; the paper's evaluation takes scores above 0.1."""

    name = "mask-rcnn"
    official = "mask_rcnn_X_101_32x8d_FPN_3x"
    licence = "CC-BY-SA-3.0 (detectron2 model zoo)"

    def _convert(self, detections: RcnnDetections, size: tuple[int, int], network: RCNN) -> People:
        masks = paste_masks(detections.masks, detections.boxes, size)
        return People.of(_numpy(detections.boxes), masks=masks, scores=_numpy(detections.scores))


class CSEDetector(_NetworkDetector):
    """Person masks with the body's surface. See `_NetworkDetector`; the paper takes scores above 0.3."""

    name = "cse"
    official = "cse_R_101_FPN_DL_soft_s1x"
    licence = checkpoints.CSE_LICENCE
    surface = True

    def __init__(
        self,
        *,
        weights: str | Path | None = None,
        score_threshold: float = 0.3,
        device: str | None = None,
        short: int = 800,
        long: int = 1333,
        max_detections: int | None = None,
    ) -> None:
        super().__init__(
            weights=weights,
            score_threshold=score_threshold,
            device=device,
            short=short,
            long=long,
            max_detections=max_detections,
        )
        self._table: Tensor | None = None

    def _convert(self, detections: RcnnDetections, size: tuple[int, int], network: RCNN) -> People:
        if self._table is None:
            self._table = network.vertex_embeddings()
        boxes = detections.boxes.round().long()
        solid = (boxes[:, 2:] > boxes[:, :2]).all(1).nonzero()[:, 0]
        masks = np.zeros((len(solid), *size), np.bool_)
        surfaces = []
        for row, i in enumerate(solid.tolist()):
            x0, y0, x1, y1 = boxes[i].tolist()
            shape = (y1 - y0, x1 - x0)
            person = detections.segmentation[i][None, None].float()
            masks[row, y0:y1, x0:x1] = _numpy(F.interpolate(person, shape, mode="nearest")[0, 0] > 0)
            vertices = surface_vertices(
                detections.embedding[i], detections.segmentation[i], shape, self._table
            )
            surfaces.append(SurfaceMap(TEMPLATE, np.array([x0, y0, x1, y1], np.int32), vertices))
        return People.of(
            _numpy(boxes[solid].float()),
            masks=masks,
            surfaces=surfaces,
            scores=_numpy(detections.scores[solid]),
        )


def paste_masks(
    masks: Tensor, boxes: Tensor, size: tuple[int, int], threshold: float = 0.5
) -> NDArray[np.bool_]:
    """(N, H, W) where the probability is at least ``threshold``.

    Args:
        masks: (N, h, w) probabilities, each spread evenly over its box.
        boxes: (N, 4) float xyxy pixels.
        size: (H, W).
        threshold: probability.

    """
    height, width = size
    out = np.zeros((len(masks), height, width), np.bool_)
    for i, box in enumerate(boxes.tolist()):
        left, top = max(0, int(box[0]) - 1), max(0, int(box[1]) - 1)
        right, bottom = min(width, int(box[2]) + 2), min(height, int(box[3]) + 2)
        if right <= left or bottom <= top:
            continue
        x = (torch.arange(left, right, device=masks.device) + 0.5 - box[0]) / (box[2] - box[0]) * 2 - 1
        y = (torch.arange(top, bottom, device=masks.device) + 0.5 - box[1]) / (box[3] - box[1]) * 2 - 1
        grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)[None].to(masks.dtype)
        sampled = F.grid_sample(masks[i][None, None], grid, align_corners=False)[0, 0]
        out[i, top:bottom, left:right] = _numpy(sampled >= threshold)
    return out


def surface_vertices(
    embedding: Tensor, segmentation: Tensor, shape: tuple[int, int], table: Tensor, finest: int = _FINEST
) -> NDArray[np.int32]:
    """(h, w) vertex ids of a person's box, -1 off the person.

    The embedding, not its vertices, is interpolated, at ``finest`` rows and columns at most.

    Args:
        embedding: (16, 112, 112), or of another size, over the box.
        segmentation: (112, 112), 1 on the person.
        shape: (h, w) of the box in pixels.
        table: (V, 16) embedding of each vertex.
        finest: the lookup takes time in proportion to the pixels.

    """
    fine = (min(shape[0], finest), min(shape[1], finest))
    stacked = torch.cat((embedding, segmentation[None].to(embedding.dtype)))[None]
    stacked = F.interpolate(stacked, fine, mode="bilinear", align_corners=False, antialias=True)[0]
    on = stacked[-1] > 0
    vertices = torch.full(fine, -1, dtype=torch.int32, device=embedding.device)
    vertices[on] = nearest_vertices(stacked[:-1, on].T, table)
    if fine != shape:
        rows = torch.arange(shape[0], device=embedding.device) * fine[0] // shape[0]
        columns = torch.arange(shape[1], device=embedding.device) * fine[1] // shape[1]
        vertices = vertices[rows[:, None], columns]
    return np.asarray(_numpy(vertices), np.int32)


@torch.no_grad()
def nearest_vertices(embeddings: Tensor, table: Tensor, *, max_distances: int = 1 << 24) -> Tensor:
    """(P,) int32: the row of ``table`` (V, D) nearest to each of ``embeddings`` (P, D).

    ``max_distances`` bounds the distances held at once (64 MiB as it is), whatever P and V are.
    """
    # |e - t|^2 = |e|^2 - 2 (e.t - |t|^2 / 2): the last term rides along as one more dimension.
    points = torch.cat((embeddings, embeddings.new_full((len(embeddings), 1), -1.0)), 1)
    vertices = torch.cat((table, (table * table).sum(1, keepdim=True) * 0.5), 1).T.contiguous()
    step = min(max(1, max_distances // len(table)), max(1, len(points)))
    closeness = table.new_empty(step, len(table))
    out = torch.empty(len(points), dtype=torch.int32, device=points.device)
    for start in range(0, len(points), step):
        part = points[start : start + step]
        out[start : start + step] = torch.mm(part, vertices, out=closeness[: len(part)]).argmax(1)
    return out


def _numpy(tensor: Tensor) -> NDArray[np.generic]:
    out: NDArray[np.generic] = tensor.cpu().numpy()
    return out
