"""Crops around one person each, as generators learn from them: what the readers of FDH and FDF yield."""

from __future__ import annotations

import io
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage

from dp2bench.core.contracts import Dataset
from dp2bench.core.types import Image


def crops_folder(root: Path, name: str, splits: Sequence[str]) -> Path:
    """The folder that holds the splits: ``root``, or one called ``name`` in it."""
    root = Path(root).expanduser()
    places = (root, root / name)
    return next((p for p in places if any((p / split).is_dir() for split in splits)), root)


@dataclass(frozen=True)
class Crop:
    """One crop.

    Attributes:
        key: its name in the dataset.
        image: (h, w, 3) uint8 RGB.
        hole: (h, w) bool, True where a generator has to fill; the files hold the opposite, what is known.
        keypoints: (17, 3) float32 in COCO's order for bodies, (7, 3) in COCO's for faces: x and y in 0..1 of the crop
            (beyond where a point lies outside), and 1 where it is known and inside, else 0.
        vertices: (h, w) int32 vertex ids of the dataset's template, -1 where ``E_mask`` is not set; None without surfaces.
        person: (h, w) bool, the person's mask before it was widened to the hole, or None.
        box: (4,) float32 xyxy in pixels of the crop, of the face, or None.

    """

    key: str
    image: Image
    hole: NDArray[np.bool_]
    keypoints: NDArray[np.float32]
    vertices: NDArray[np.int32] | None = None
    person: NDArray[np.bool_] | None = None
    box: NDArray[np.float32] | None = None

    @property
    def mask(self) -> NDArray[np.bool_]:
        """(h, w) True where the picture is known, as the files have it."""
        return ~self.hole

    @property
    def E_mask(self) -> NDArray[np.bool_] | None:  # noqa: N802 - the field's name for it
        """(h, w) True where the surface is known."""
        return None if self.vertices is None else self.vertices >= 0


class Crops(Sequence[Crop]):
    """The crops of a split by index; reading one does not depend on what was read before."""

    template: str | None = None
    """The surface template that vertices number."""


class CropDataset(Dataset):
    """A dataset of crops, which generators learn from."""

    @abstractmethod
    def crops(self, split: str) -> Crops:
        """The crops of a split."""


def png(pixels: NDArray[np.uint8] | NDArray[np.bool_]) -> bytes:
    """A PNG file as bytes: RGB from (h, w, 3) uint8, of one bit from (h, w) bool."""
    out = io.BytesIO()
    # A quarter of the time of Pillow's level 6 for an eighth more bytes.
    PILImage.fromarray(np.ascontiguousarray(pixels)).save(out, "PNG", compress_level=3)
    return out.getvalue()


def relative_keypoints(points: NDArray[np.floating], size: tuple[int, int]) -> NDArray[np.float32]:
    """(K, 3) keypoints with x and y in 0..1 and 1 where they are known and inside.

    Args:
        points: (K, 2) or (K, 3); in pixels of the crop where a coordinate exceeds 4, else relative already. Released
            archives hold either; no crop has all its points in the four pixels of a corner.
        size: (h, w) of the crop.

    """
    out = np.ones((len(points), 3), np.float32)
    out[:, : points.shape[1]] = points
    known = out[:, 2] > 0
    if (np.abs(out[known, :2]) > 4).any():
        out[:, :2] /= np.array([size[1], size[0]], np.float32)
    out[:, 2] = known & ((out[:, :2] >= 0) & (out[:, :2] <= 1)).all(1)
    return out
