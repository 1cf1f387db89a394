"""Faces by CenterFace (Xu et al., arXiv 1911.03599; github.com/Star-Clouds/CenterFace, MIT), trained on WIDER FACE.

A MobileNetV2 and a feature pyramid that say of every cell of 4 x 4 pixels whether a face is centred there, how large it is, and where
its eyes, nose and mouth are. Batch norms are folded into the convolutions. The weights come with the package.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from dp2bench.core.contracts import ComponentMeta, Detector
from dp2bench.core.errors import Dp2benchError
from dp2bench.core.types import Category, Image, People, Sample
from dp2bench.detection import checkpoints
from dp2bench.detection.matching import nms
from dp2bench.weights import embedded
from dp2bench.weights.reading import read_state

EMBEDDED = "centerface"
LICENCE = "MIT"
STRIDE = 4
"""Pixels of the picture to a cell of the network's maps."""
_MULTIPLE = 32
_PYRAMID = 24
# (expansion, output width, blocks, stride of the first) of each stage of the MobileNetV2
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
_TAPS = (1, 2, 4, 6)
"""Stages whose maps the pyramid joins: strides 4, 8, 16, 32."""


class _InvertedResidual(nn.Module):
    """Expand, depthwise, project; the input is added where the shapes agree."""

    def __init__(self, inputs: int, expansion: int, outputs: int, stride: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.expand = nn.Conv2d(inputs, wide, 1) if expansion != 1 else None
        self.depthwise = nn.Conv2d(wide, wide, 3, stride, 1, groups=wide)
        self.project = nn.Conv2d(wide, outputs, 1)
        self.skip = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        wide = x if self.expand is None else F.relu(self.expand(x), inplace=True)
        y: Tensor = self.project(F.relu(self.depthwise(wide), inplace=True))
        return x + y if self.skip else y


class Maps(NamedTuple):
    """What the network says of B pictures, in cells of `STRIDE` pixels.

    Attributes:
        heat: (B, 1, h, w) probability that a face is centred in the cell.
        extent: (B, 2, h, w) logarithm of height and width in cells.
        offset: (B, 2, h, w) of the centre within the cell, y and x.
        points: (B, 10, h, w) y and x of eyes, nose and corners of the mouth, as shares of the box.

    """

    heat: Tensor
    extent: Tensor
    offset: Tensor
    points: Tensor


class CenterFaceNetwork(nn.Module):
    """(B, 3, H, W) RGB in 0..255 with sides that are multiples of 32 -> `Maps`."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, 2, 1)
        self.stages, inputs, widths = nn.ModuleList(), 32, []
        for expansion, outputs, blocks, stride in _STAGES:
            stage = []
            for i in range(blocks):
                stage.append(_InvertedResidual(inputs, expansion, outputs, stride if i == 0 else 1))
                inputs = outputs
            self.stages.append(nn.Sequential(*stage))
            widths.append(outputs)
        # From coarse to fine: a lateral of the coarsest map, then a doubling of the pyramid and a lateral of the next map, thrice.
        self.laterals = nn.ModuleList(nn.Conv2d(widths[tap], _PYRAMID, 1) for tap in reversed(_TAPS))
        self.doublings = nn.ModuleList(nn.ConvTranspose2d(_PYRAMID, _PYRAMID, 2, 2) for _ in _TAPS[1:])
        self.smooth = nn.Conv2d(_PYRAMID, _PYRAMID, 3, padding=1)
        self.heat = nn.Conv2d(_PYRAMID, 1, 1)
        self.extent = nn.Conv2d(_PYRAMID, 2, 1)
        self.offset = nn.Conv2d(_PYRAMID, 2, 1)
        self.points = nn.Conv2d(_PYRAMID, 10, 1)

    def forward(self, x: Tensor) -> Maps:
        """All maps."""
        x, taps = F.relu(self.stem(x)), []
        for i, stage in enumerate(self.stages):
            x = stage(x)
            if i in _TAPS:
                taps.append(x)
        x = F.relu(self.laterals[0](taps[-1]))
        for doubling, lateral, tap in zip(self.doublings, list(self.laterals)[1:], taps[-2::-1], strict=True):
            x = F.relu(doubling(x)) + F.relu(lateral(tap))
        x = F.relu(self.smooth(x))
        return Maps(self.heat(x).sigmoid(), self.extent(x), self.offset(x), self.points(x))


class CenterFace(Detector):
    """Face boxes; each face is a detection of its own.

    Args:
        weights: path to a ``.safetensors`` of `CenterFaceNetwork`, or to the authors' ``centerface.onnx``; None takes the package's.
        score_threshold: only faces that score higher.
        overlap: of two faces with a higher intersection over union the lower score goes.
        long: pixels that a larger picture's longer side is scaled down to.
        enlarge: factor by which a picture is enlarged before, as far as ``long`` allows, for faces under 20 pixels.
        device: torch device; None takes a GPU if there is one.

    """

    def __init__(
        self,
        *,
        weights: str | Path | None = None,
        score_threshold: float = 0.5,
        overlap: float = 0.3,
        long: int = 2560,
        enlarge: float = 1.0,
        device: str | None = None,
    ) -> None:
        if enlarge < 1:
            raise ValueError(f"enlarge must be at least 1, got {enlarge}")
        self.weights = embedded.path(EMBEDDED) if weights is None else Path(weights).expanduser()
        if not self.weights.is_file():
            raise Dp2benchError(
                f"There is no file {self.weights} with weights of CenterFace.",
                "Reinstall dp2bench." if weights is None else "Leave `weights` out: the package brings them.",
            )
        if weights is None:
            embedded.verify(EMBEDDED)
        self.meta = ComponentMeta("centerface", "2", (checkpoints.describe(self.weights, LICENCE),))
        self.score_threshold, self.overlap, self.long, self.enlarge = score_threshold, overlap, long, enlarge
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._network: CenterFaceNetwork | None = None

    def detect(self, images: Sequence[Image], samples: Sequence[Sample]) -> list[People]:
        """The faces of each picture, best first."""
        del samples
        return [as_people(*self.faces(image)[:2], (image.shape[0], image.shape[1])) for image in images]

    @torch.inference_mode()
    def faces(
        self, image: Image, *, long: int | None = None, threshold: float | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """((N, 4) boxes, (N,) scores, (N, 5, 2) eyes, nose and corners of the mouth) in pixels of a picture, best first.

        Args:
            image: (H, W, 3).
            long: as of the class; None takes the detector's.
            threshold: of the score; None takes the detector's.

        """
        h, w = image.shape[:2]
        scale = min(self.enlarge, (long or self.long) / max(h, w))
        size = (_round_up(h * scale), _round_up(w * scale))
        how = cv2.INTER_CUBIC if size[0] > 1.5 * h else cv2.INTER_LINEAR
        resized = cv2.resize(image, (size[1], size[0]), interpolation=how)
        x = torch.from_numpy(resized.astype(np.float32)).to(self.device).permute(2, 0, 1)[None]
        said = self.network()(x.contiguous(memory_format=torch.channels_last))
        heat, extent, offset, marks = (m[0].cpu().numpy() for m in said)
        least = self.score_threshold if threshold is None else threshold
        boxes, scores, points = decode(heat, extent, offset, marks, least, self.overlap)
        back = np.array([w / size[1], h / size[0]], np.float32)
        return boxes * np.tile(back, 2), scores, points * back

    def network(self) -> CenterFaceNetwork:
        """The network with its weights, on its device; loaded at the first picture."""
        if self._network is None:
            network = CenterFaceNetwork()
            onnx = self.weights.suffix.lower() == ".onnx"
            state = from_onnx(self.weights) if onnx else read_state(self.weights)
            try:
                network.load_state_dict({k: v.float() for k, v in state.items()}, strict=True)
            except RuntimeError as error:
                raise Dp2benchError(
                    f"{self.weights} does not hold the parameters of CenterFace: {str(error).splitlines()[-1].strip()[:300]}",
                    "Leave `weights` out: the package brings them.",
                ) from error
            self._network = (
                network.eval().requires_grad_(False).to(self.device).to(memory_format=torch.channels_last)
            )
        return self._network


def decode(
    heat: NDArray[np.float32],
    extent: NDArray[np.float32],
    offset: NDArray[np.float32],
    points: NDArray[np.float32],
    threshold: float,
    overlap: float,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """((N, 4) xyxy pixels of the network's input, (N,) scores, (N, 5, 2) landmarks), best first; see `Maps`.

    Args:
        heat: (1, h, w).
        extent: (2, h, w).
        offset: (2, h, w).
        points: (10, h, w).
        threshold: of the probability.
        overlap: intersection over union above which the lower score goes.

    """
    rows, columns = np.nonzero(heat[0] > threshold)
    size = np.exp(extent[:, rows, columns].T)[:, ::-1]
    cells = np.stack((columns, rows), 1).astype(np.float32)
    centre = cells + offset[:, rows, columns].T[:, ::-1] + 0.5
    boxes = (np.concatenate((centre - size / 2, centre + size / 2), 1) * STRIDE).astype(np.float32)
    scores = heat[0, rows, columns]
    keep = nms(boxes, scores, overlap)
    shares = points[:, rows[keep], columns[keep]].T.reshape(-1, 5, 2)[..., ::-1]
    boxes = boxes[keep]
    landmarks = boxes[:, None, :2] + shares * (boxes[:, 2:] - boxes[:, :2])[:, None]
    return boxes, scores[keep], landmarks.astype(np.float32)


def as_people(boxes: NDArray[np.float32], scores: NDArray[np.float32], size: tuple[int, int]) -> People:
    """Detections of category FACE, clipped to a picture of ``size`` (H, W); what lies outside is left out."""
    boxes = np.clip(boxes, 0, np.array([size[1], size[0]] * 2, np.float32)).astype(np.float32)
    solid = (boxes[:, 2:] > boxes[:, :2]).all(1)
    boxes, scores = boxes[solid], scores[solid]
    return People.of(
        boxes,
        faces=boxes,
        scores=np.clip(scores, 0, 1),
        categories=[Category.FACE] * len(boxes),
        image_size=size,
    )


def from_onnx(path: Path) -> dict[str, Tensor]:
    """The state dict of `CenterFaceNetwork` from the authors' ``centerface_bnmerged.onnx``; the last batch norms are folded in.

    Raises:
        Dp2benchError: the file cannot be read, or is another network's.

    """
    from dp2bench.weights import onnx

    layers = onnx.read(path)
    convolutions, doublings, norms = (
        iter([layer.constants for layer in layers if layer.kind == kind])
        for kind in ("Conv", "ConvTranspose", "BatchNormalization")
    )
    named = {n: m for n, m in CenterFaceNetwork().named_modules() if isinstance(m, nn.Conv2d)}
    out: dict[str, Tensor] = {}
    try:
        for name, module in named.items():
            weight, bias = map(torch.from_numpy, next(convolutions))
            out[f"{name}.weight"], out[f"{name}.bias"] = weight.reshape(module.weight.shape), bias
        for i in range(len(_TAPS) - 1):
            (weight,) = map(torch.from_numpy, next(doublings))
            factor, shift, mean, variance = map(torch.from_numpy, next(norms))
            scale = factor / torch.sqrt(variance + 1e-3)
            out[f"doublings.{i}.weight"] = weight * scale[None, :, None, None]
            out[f"doublings.{i}.bias"] = shift - mean * scale
    except (StopIteration, RuntimeError, ValueError) as error:
        raise Dp2benchError(
            f"{path} is not CenterFace: its layers are others.",
            "Leave `weights` out: the package brings them.",
        ) from error
    return out


def _round_up(pixels: float) -> int:
    return max(1, int(np.ceil(pixels / _MULTIPLE))) * _MULTIPLE
