"""What the compact networks are trained by."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import generalized_box_iou_loss

from dp2bench.detection.compact.networks import boxes_at
from dp2bench.detection.compact.samples import BodyCrop, SceneWindow

_RIGHT = 1.5
"""Distance of embeddings, whose columns have standard deviation 1, within which a vertex counts as about right."""


def center_loss(logits: Tensor, ltrb: Tensor, windows: list[SceneWindow]) -> Tensor:
    """Focal loss of centres (Law & Deng, ECCV 2018) and generalised IoU of boxes."""
    device = logits.device
    heat, boxes, weight, counts = (
        torch.from_numpy(np.stack([r[i] for r in windows])).to(device) for i in range(1, 5)
    )
    centre = (heat == 1).float()
    hit, miss = F.logsigmoid(logits), F.logsigmoid(-logits)
    p = logits.sigmoid()
    by_cell = centre * (1 - p) ** 2 * hit + (1 - centre) * (1 - heat) ** 4 * p**2 * miss
    centres = -(by_cell * counts).sum() / centre.sum().clamp(min=1)
    some = weight > 0
    said = boxes_at(ltrb)[some]
    by_box = generalized_box_iou_loss(said, boxes[some]) if len(said) else said.sum(1)
    return centres + 5 * (by_box * weight[some]).sum() / weight.sum().clamp(min=1)


def body_loss(
    mask: Tensor, right: Tensor, embeddings: Tensor, crops: list[BodyCrop], table: Tensor
) -> tuple[Tensor, Tensor]:
    """Loss of masks, embeddings and how sure they are; and the mean IoU of the masks of those who show somebody."""
    device = mask.device
    goal = torch.from_numpy(np.stack([c.mask for c in crops])).to(device).float() / 255
    vertices = torch.from_numpy(np.stack([c.vertices for c in crops])).to(device).long()
    by_pixel = F.binary_cross_entropy_with_logits(mask, goal)
    chance = mask.sigmoid()
    dice = 1 - (2 * (chance * goal).sum((1, 2)) + 1) / (chance.sum((1, 2)) + goal.sum((1, 2)) + 1)
    known = vertices >= 0
    wanted = table[vertices.clamp(min=0)].movedim(-1, 1)
    off = F.smooth_l1_loss(embeddings, wanted, reduction="none").mean(1)
    by_vertex = off[known].sum() / known.sum().clamp(min=1)
    with torch.no_grad():
        good = (((embeddings - wanted) ** 2).sum(1) < _RIGHT**2) & known
        asked = (goal > 0.5) | (mask > 0)
    by_trust = F.binary_cross_entropy_with_logits(right[asked], good[asked].float())
    said, truth = mask.detach() > 0, goal > 0.5
    iou = (said & truth).sum((1, 2)) / (said | truth).sum((1, 2)).clamp(min=1)
    somebody = truth.any(2).any(1)
    return by_pixel + dice.mean() + 2 * by_vertex + 0.2 * by_trust, iou[somebody].mean()
