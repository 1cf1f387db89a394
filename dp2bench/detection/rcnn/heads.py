"""What sits on the pyramid: proposals, boxes, masks and surface embeddings, under detectron2's module names.

Sources: Ren et al. 2015 (proposals), He et al. 2017 (Mask R-CNN), Neverova et al. 2020 (continuous surface
embeddings), Chen et al. 2017 (atrous pyramid). Boxes are xyxy in pixels of the network's input.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import batched_nms, clip_boxes_to_image, roi_align

from dp2bench.detection.rcnn.backbone import STRIDES, Conv

_SIZES = {"p2": 32, "p3": 64, "p4": 128, "p5": 256, "p6": 512}
_RATIOS = (0.5, 1.0, 2.0)
_LARGEST_GROWTH = math.log(1000 / 16)


def apply_deltas(
    boxes: Tensor, deltas: Tensor, weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
) -> Tensor:
    """(N, K, 4) boxes from (N, 4) boxes and (N, K, 4) shifts of centre and logarithm of size."""
    d = deltas.float() / deltas.new_tensor(weights)
    size = (boxes[:, 2:] - boxes[:, :2])[:, None]
    centre = boxes[:, None, :2] + 0.5 * size + d[..., :2] * size
    half = 0.5 * torch.exp(d[..., 2:].clamp(max=_LARGEST_GROWTH)) * size
    return torch.cat((centre - half, centre + half), -1)


def pool(
    features: Sequence[Tensor],
    strides: Sequence[int],
    boxes: Tensor,
    size: int,
    *,
    samples: int,
    aligned: bool,
) -> Tensor:
    """(N, C, size, size) from the pyramid level that fits each of N boxes of one picture.

    Args:
        features: (1, C, h, w) a level, finest first.
        strides: input pixels a cell of each level.
        boxes: (N, 4).
        size: cells along a side of the result.
        samples: sampling points along a side of a cell; 0: as many as the box has cells.
        aligned: whether pixel centres are half a pixel in; the older definition has them at the corner.

    """
    scale = torch.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
    level = torch.floor(4 + torch.log2(scale / 224 + 1e-8)).clamp(2, 1 + len(features)).long() - 2
    rois = torch.cat((boxes.new_zeros(len(boxes), 1), boxes), 1)
    out = features[0].new_zeros(len(boxes), features[0].shape[1], size, size)
    for i, (feature, stride) in enumerate(zip(features, strides, strict=True)):
        chosen = torch.nonzero(level == i)[:, 0]
        if len(chosen):
            out[chosen] = roi_align(feature, rois[chosen], size, 1 / stride, samples, aligned)
    return out


class RPNHead(nn.Module):
    """Three anchors a cell: whether each holds an object, and how to move it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = Conv(256, 256, 3, padding=1)
        self.objectness_logits = Conv(256, 3, 1)
        self.anchor_deltas = Conv(256, 12, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """((h*w*3,) logits, (h*w*3, 4) deltas) of one picture's level."""
        x = F.relu_(self.conv(x))
        logits = self.objectness_logits(x)[0].permute(1, 2, 0).reshape(-1)
        return logits, self.anchor_deltas(x)[0].permute(1, 2, 0).reshape(-1, 4)


class ProposalGenerator(nn.Module):
    """Boxes worth a look."""

    def __init__(self) -> None:
        super().__init__()
        self.rpn_head = RPNHead()

    def forward(
        self,
        features: Mapping[str, Tensor],
        size: tuple[int, int],
        *,
        per_level: int = 1000,
        total: int = 1000,
        overlap: float = 0.7,
    ) -> tuple[Tensor, Tensor]:
        """((N, 4) boxes, (N,) logits), best first, N at most ``total``; ``size`` is the (H, W) to clip to."""
        boxes, logits, levels = [], [], []
        for i, (name, cell) in enumerate(_SIZES.items()):
            score, deltas = self.rpn_head(features[name])
            score, order = score.topk(min(per_level, len(score)))
            anchors = _anchors(features[name], STRIDES[name], cell)
            boxes.append(apply_deltas(anchors[order], deltas[order][:, None])[:, 0])
            logits.append(score)
            levels.append(torch.full_like(order, i))
        box, score, level = torch.cat(boxes), torch.cat(logits), torch.cat(levels)
        finite = torch.isfinite(box).all(1) & torch.isfinite(score)
        box = clip_boxes_to_image(box, size)
        keep = finite & (box[:, 2] > box[:, 0]) & (box[:, 3] > box[:, 1])
        box, score, level = box[keep], score[keep], level[keep]
        best = batched_nms(box, score, level, overlap)[:total]
        return box[best], score[best]


def _anchors(feature: Tensor, stride: int, size: int) -> Tensor:
    """(h*w*3, 4): boxes of area size**2 around every cell's corner, one an aspect ratio."""
    h, w = feature.shape[-2:]
    widths = feature.new_tensor([math.sqrt(size**2 / ratio) for ratio in _RATIOS])
    half = torch.stack((widths, widths * feature.new_tensor(_RATIOS)), 1) / 2
    y, x = torch.meshgrid(
        torch.arange(h, device=feature.device), torch.arange(w, device=feature.device), indexing="ij"
    )
    centre = (torch.stack((x, y), -1) * stride).to(half.dtype)[:, :, None]
    return torch.cat((centre - half, centre + half), -1).reshape(-1, 4)


class BoxHead(nn.Module):
    """(N, 256, 7, 7) to (N, 1024)."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(256 * 7 * 7, 1024)
        self.fc2 = nn.Linear(1024, 1024)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu_(self.fc2(F.relu_(self.fc1(x.flatten(1)))))


class BoxPredictor(nn.Module):
    """(N, 1024) to (N, classes + 1) logits, background last, and (N, classes * 4) deltas."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.cls_score = nn.Linear(1024, classes + 1)
        self.bbox_pred = nn.Linear(1024, classes * 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.cls_score(x), self.bbox_pred(x)


class MaskHead(nn.Module):
    """(N, 256, 14, 14) to (N, classes, 28, 28) logits."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        for i in range(1, 5):
            self.add_module(f"mask_fcn{i}", Conv(256, 256, 3, padding=1))
        self.deconv = nn.ConvTranspose2d(256, 256, 2, 2)
        self.predictor = Conv(256, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        for i in range(1, 5):
            x = F.relu_(self.get_submodule(f"mask_fcn{i}")(x))
        return self.predictor(F.relu_(self.deconv(x)))  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """The pyramid's levels brought to stride 4 and added: (1, 256, H/4, W/4)."""

    def __init__(self) -> None:
        super().__init__()
        for level in range(2, 6):
            layers: list[nn.Module] = [ReluConv()]
            for step in range(2, level):
                layers += [nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)]
                layers += [ReluConv()] if step < level - 1 else []
            self.add_module(f"p{level}", nn.Sequential(*layers))
        self.predictor = Conv(256, 256, 1)

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        x = self.get_submodule("p2")(features["p2"])
        for level in ("p3", "p4", "p5"):
            x += self.get_submodule(level)(features[level])
        return self.predictor(x)  # type: ignore[no-any-return]


class ReluConv(Conv):
    """A 3x3 convolution and what is positive of it."""

    def __init__(self) -> None:
        super().__init__(256, 256, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu_(super().forward(x))


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling, (N, 256, h, w) to the same."""

    def __init__(self) -> None:
        super().__init__()

        def conv(kernel: int, dilation: int) -> list[nn.Module]:
            padding = dilation if kernel == 3 else 0
            layer = nn.Conv2d(256, 256, kernel, padding=padding, dilation=dilation, bias=False)
            return [layer, nn.GroupNorm(32, 256), nn.ReLU()]

        self.convs = nn.ModuleList(
            [nn.Sequential(*conv(1, 1)), *(nn.Sequential(*conv(3, rate)) for rate in (6, 12, 56))]
        )
        self.convs.append(nn.Sequential(nn.AdaptiveAvgPool2d(1), *conv(1, 1)))
        self.project = nn.Sequential(nn.Conv2d(5 * 256, 256, 1, bias=False), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        parts = [part(x).expand(-1, -1, *x.shape[-2:]) for part in self.convs]
        return self.project(torch.cat(parts, 1))  # type: ignore[no-any-return]


class DensePoseHead(nn.Module):
    """(N, 256, 28, 28) to (N, 512, 28, 28); ``atrous`` adds a pyramid in front and group normalisation."""

    def __init__(self, *, atrous: bool) -> None:
        super().__init__()
        if atrous:
            self.ASPP = ASPP()
        self.atrous = atrous
        for i in range(1, 9):
            norm = nn.GroupNorm(32, 512) if atrous else None
            self.add_module(f"body_conv_fcn{i}", Conv(256 if i == 1 else 512, 512, 3, padding=1, norm=norm))

    def forward(self, x: Tensor) -> Tensor:
        if self.atrous:
            x = self.ASPP(x)
        for i in range(1, 9):
            x = F.relu_(self.get_submodule(f"body_conv_fcn{i}")(x))
        return x


class DensePosePredictor(nn.Module):
    """(N, 512, 28, 28) to (N, 16, 112, 112) embeddings and (N, 2, 112, 112) logits, background first."""

    def __init__(self) -> None:
        super().__init__()
        self.coarse_segm_lowres = nn.ConvTranspose2d(512, 2, 4, 2, 1)
        self.embed_lowres = nn.ConvTranspose2d(512, 16, 4, 2, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        embedding, segmentation = (
            F.interpolate(layer(x), scale_factor=2.0, mode="bilinear", align_corners=False)
            for layer in (self.embed_lowres, self.coarse_segm_lowres)
        )
        return embedding, segmentation


class VertexEmbedder(nn.Module):
    """The table of a template body: fixed (V, 256) features times learned (256, 16) directions."""

    features: Tensor

    def __init__(self, vertices: int) -> None:
        super().__init__()
        self.register_buffer("features", torch.zeros(vertices, 256))
        self.embeddings = nn.Parameter(torch.zeros(256, 16))

    def forward(self) -> Tensor:
        """(V, 16) of length 1."""
        table: Tensor = self.features @ self.embeddings
        out: Tensor = F.normalize(table, dim=1, eps=1e-6)
        return out
