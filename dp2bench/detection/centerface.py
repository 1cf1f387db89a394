"""Faces by CenterFace (Xu et al., arXiv 1911.03599; github.com/Star-Clouds/CenterFace, MIT), trained on WIDER FACE.

The network says of every cell of 4 x 4 pixels whether a face is centred there, how large it is, and where its eyes, nose and mouth are.
The weights come with the package.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dp2bench.core.contracts import ComponentMeta, Detector
from dp2bench.core.errors import Dp2benchError
from dp2bench.core.machine import pick_device
from dp2bench.core.types import Category, Image, People, Sample
from dp2bench.detection import checkpoints
from dp2bench.detection.centerface_network import LAYERS, STRIDE, Maps, OpenCVNetwork, Parameters
from dp2bench.detection.matching import nms
from dp2bench.weights import embedded, onnx
from dp2bench.weights.reading import read_parameters

EMBEDDED = "centerface"
LICENCE = "MIT"
_MULTIPLE = 32


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
        self.meta = ComponentMeta("centerface", "3", (checkpoints.describe(self.weights, LICENCE),))
        self.score_threshold, self.overlap, self.long, self.enlarge = score_threshold, overlap, long, enlarge
        self.device = pick_device(device)
        self._network: Callable[[Image], Maps] | None = None

    def detect(self, images: Sequence[Image], samples: Sequence[Sample]) -> list[People]:
        """The faces of each picture, best first."""
        del samples
        return [as_people(*self.faces(image)[:2], (image.shape[0], image.shape[1])) for image in images]

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
        said = self.network()(np.asarray(resized, np.uint8))
        least = self.score_threshold if threshold is None else threshold
        boxes, scores, points = decode(*said, least, self.overlap)
        back = np.array([w / size[1], h / size[0]], np.float32)
        return boxes * np.tile(back, 2), scores, points * back

    def network(self) -> Callable[[Image], Maps]:
        """The network with its weights, on its device; loaded at the first picture."""
        if self._network is None:
            is_onnx = self.weights.suffix.lower() == ".onnx"
            parameters = from_onnx(self.weights) if is_onnx else read_parameters(self.weights)
            self._check(parameters)
            if self.device == "cpu":
                self._network = OpenCVNetwork(parameters)
            else:
                from dp2bench.detection.centerface_torch import TorchNetwork

                self._network = TorchNetwork(parameters, self.device)
        return self._network

    def _check(self, parameters: Parameters) -> None:
        """Raises Dp2benchError where these are another network's parameters."""
        expected: dict[str, tuple[int, ...]] = {
            f"{layer.name}.weight": layer.shape for layer in LAYERS.values()
        }
        expected |= {f"{layer.name}.bias": (layer.outputs,) for layer in LAYERS.values()}
        wrong = [
            name
            for name in sorted(expected.keys() | parameters.keys())
            if name not in parameters or parameters[name].shape != expected.get(name)
        ]
        if wrong:
            raise Dp2benchError(
                f"{self.weights} does not hold the parameters of CenterFace: {', '.join(wrong[:3])} "
                f"{'is' if len(wrong) == 1 else 'are'} missing, unknown or of another shape.",
                "Leave `weights` out: the package brings them.",
            )


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


def from_onnx(path: Path) -> dict[str, NDArray[np.float32]]:
    """The parameters in the authors' ``centerface_bnmerged.onnx``; the last batch norms are folded in.

    Raises:
        Dp2benchError: the file cannot be read, or is another network's.

    """
    layers = onnx.read(path)
    convolutions, doublings, norms = (
        iter([layer.constants for layer in layers if layer.kind == kind])
        for kind in ("Conv", "ConvTranspose", "BatchNormalization")
    )
    out: dict[str, NDArray[np.float32]] = {}
    try:
        for layer in LAYERS.values():
            if not layer.doubles:
                weight, bias = next(convolutions)
            else:
                (weight,) = next(doublings)
                factor, shift, mean, variance = next(norms)
                scale = factor / np.sqrt(variance + np.float32(1e-3))
                weight, bias = weight * scale[None, :, None, None], shift - mean * scale
            out[f"{layer.name}.weight"], out[f"{layer.name}.bias"] = weight.reshape(layer.shape), bias
    except (StopIteration, ValueError) as error:
        raise Dp2benchError(
            f"{path} is not CenterFace: its layers are others.",
            "Leave `weights` out: the package brings them.",
        ) from error
    return out


def _round_up(pixels: float) -> int:
    return max(1, int(np.ceil(pixels / _MULTIPLE))) * _MULTIPLE
