"""Crops to learn from, and which of them make up a step; the same step is the same crops on any machine, after any resume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, overload

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dp2bench.core import templates
from dp2bench.core.contracts import Progress, no_progress
from dp2bench.core.errors import Dp2benchError
from dp2bench.core.seeds import derive_seed, generator
from dp2bench.datasets.crops import Crop, Crops

COCO_MIRROR = (0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15)
"""The COCO keypoint that takes the place of each when a picture is flipped."""


def resize(crop: Crop, size: tuple[int, int]) -> Crop:
    """The crop at (height, width): pixels averaged; a pixel is in the hole if any part of it was; vertices of the nearest pixel."""
    h, w = size
    if crop.hole.shape == size:
        return crop
    shrinks = crop.hole.shape[0] >= h and crop.hole.shape[1] >= w
    image = cv2.resize(crop.image, (w, h), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    hole = cv2.resize(
        crop.hole.astype(np.float32), (w, h), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    )
    vertices = crop.vertices
    if vertices is not None:
        rows = (np.arange(h) * 2 + 1) * vertices.shape[0] // (2 * h)
        columns = (np.arange(w) * 2 + 1) * vertices.shape[1] // (2 * w)
        vertices = vertices[rows[:, None], columns]
    return replace(
        crop, image=np.asarray(image, np.uint8), hole=hole > 0, vertices=vertices, person=None, box=None
    )


class Packed(Crops):
    """Crops resized once and kept in memory-mapped arrays: many times faster to read than pictures in archives.

    Attributes:
        folder: holds ``images.npy``, ``holes.npy`` ``keypoints.npy`` and, with surfaces, ``vertices.npy``.

    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.arrays: dict[str, NDArray[Any]] = {
            p.stem: np.load(p, mmap_mode="r", allow_pickle=False) for p in sorted(folder.glob("*.npy"))
        }
        name = (folder / "template").read_text("utf-8")
        self.template = name or None

    def __len__(self) -> int:
        return len(self.arrays["images"])

    @overload
    def __getitem__(self, index: int) -> Crop: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Crop]: ...
    def __getitem__(self, index: int | slice) -> Crop | Sequence[Crop]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        a = self.arrays
        return Crop(
            key=f"{index:09d}",
            image=a["images"][index],
            hole=a["holes"][index],
            keypoints=a["keypoints"][index],
            vertices=a["vertices"][index].astype(np.int32) if "vertices" in a else None,
        )


def pack(crops: Crops, size: tuple[int, int], folder: Path, progress: Progress = no_progress) -> Packed:
    """Write crops at (height, width) into ``folder``, or read what an earlier call wrote there whole."""
    if (folder / "template").exists():
        return Packed(folder)
    if not len(crops):
        raise Dp2benchError(f"There are no crops to pack into {folder}.", "Check the dataset and its split.")
    folder.mkdir(parents=True, exist_ok=True)
    first = resize(crops[0], size)
    wanted: dict[str, tuple[tuple[int, ...], Any]] = {
        "images": ((*size, 3), np.uint8),
        "holes": (size, np.bool_),
        "keypoints": (first.keypoints.shape, np.float32),
    }
    if first.vertices is not None:
        ids = len(templates.get(crops.template)) if crops.template else 2**31 - 1
        wanted["vertices"] = (size, np.int16 if ids < 2**15 else np.int32)
    arrays = {
        name: np.lib.format.open_memmap(
            folder / f"{name}.npy", mode="w+", dtype=dtype, shape=(len(crops), *shape)
        )
        for name, (shape, dtype) in wanted.items()
    }
    for i in range(len(crops)):
        crop = resize(crops[i], size)
        arrays["images"][i], arrays["holes"][i] = crop.image, crop.hole
        if crop.vertices is not None:
            arrays["vertices"][i] = crop.vertices
        arrays["keypoints"][i] = crop.keypoints
        progress(i + 1, len(crops))
    for array in arrays.values():
        array.flush()
    (folder / "template").write_text(crops.template or "", "utf-8")  # last: says that the rest is whole
    return Packed(folder)


@lru_cache(maxsize=2)
def _order(n: int, epoch: int, seed: int) -> NDArray[np.intp]:
    return generator(derive_seed(seed, "order", epoch)).permutation(n)


def chosen(n: int, step: int, batch_size: int, seed: int) -> list[int]:
    """Indices of the crops of a step: every crop once an epoch, in an order of its own each epoch."""
    places = range(step * batch_size, (step + 1) * batch_size)
    return [int(_order(n, place // n, seed)[place % n]) for place in places]


@dataclass(frozen=True)
class Batch:
    """Crops as a network takes them, on one device.

    Attributes:
        images: (B, 3, h, w) float32 in -1..1.
        masks: (B, 1, h, w) float32, 1 = known, 0 = hole.
        embedding: (B, 16, h, w) float32 or None.
        E_mask: (B, 1, h, w) float32, 1 where the surface is known, or None.
        vertices: (B, 1, h, w) int64 vertex ids, 0 where the surface is not known, or None.
        keypoints: (B, 17, 3) float32: x and y in 0..1, known 0 or 1; (B, 7, 3) for faces.

    """

    images: Tensor
    masks: Tensor
    keypoints: Tensor
    embedding: Tensor | None = None
    E_mask: Tensor | None = None
    vertices: Tensor | None = None

    @property
    def condition(self) -> Tensor:
        """Known pixels, zero in the hole."""
        return self.images * self.masks

    def part(self, count: int) -> Batch:
        """The first ``count`` crops."""
        return Batch(
            self.images[:count],
            self.masks[:count],
            self.keypoints[:count],
            None if self.embedding is None else self.embedding[:count],
            None if self.E_mask is None else self.E_mask[:count],
            None if self.vertices is None else self.vertices[:count],
        )

    @property
    def surface(self) -> dict[str, Tensor]:
        """Keyword arguments for a network with CSE."""
        if self.embedding is None or self.E_mask is None:
            return {}
        return {"embedding": self.embedding, "E_mask": self.E_mask}

    @property
    def guidance(self) -> dict[str, Tensor]:
        """Keyword arguments for a network whose layers are modulated by the surface."""
        return self.surface if self.vertices is None else {**self.surface, "vertices": self.vertices}


def collate(
    crops: Sequence[Crop], flips: Sequence[bool], template: str | None, size: tuple[int, int]
) -> dict[str, NDArray[Any]]:
    """Arrays of B crops at (height, width), flipped where told: images, holes, keypoints, and vertices where known."""
    known = None if template is None else templates.get(template)
    images, holes, vertices, keypoints = [], [], [], []
    for crop, flip in zip((resize(c, size) for c in crops), flips, strict=True):
        images.append(crop.image[:, ::-1] if flip else crop.image)
        holes.append(crop.hole[:, ::-1] if flip else crop.hole)
        if crop.vertices is not None and known is not None:
            vertices.append(known.mirror(crop.vertices) if flip else crop.vertices)
        points = np.array(crop.keypoints, np.float32)
        if flip:
            points = points[list(COCO_MIRROR[: len(points)])]
            points[:, 0] = 1 - points[:, 0]
        keypoints.append(points)
    out: dict[str, NDArray[Any]] = {
        "images": np.stack(images),
        "holes": np.stack(holes),
        "keypoints": np.stack(keypoints),
    }
    if vertices:
        out["vertices"] = np.stack(vertices).astype(np.int32)
    return out


def to_batch(arrays: dict[str, Any], table: Tensor | None, device: torch.device) -> Batch:
    """Arrays of `collate` on a device; ``table`` (V, 16) holds the template's embeddings, on that device."""
    images = torch.as_tensor(arrays["images"]).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
    masks = 1 - torch.as_tensor(arrays["holes"]).to(device)[:, None].float()
    embedding = known = ids = None
    if table is not None and "vertices" in arrays:
        vertices = torch.as_tensor(arrays["vertices"]).to(device)
        known = (vertices >= 0)[:, None].float()
        ids = vertices.clamp_min(0).long()
        embedding = table[ids].permute(0, 3, 1, 2) * known
        ids = ids[:, None]
    keypoints = torch.as_tensor(arrays["keypoints"]).to(device)
    return Batch(images, masks, keypoints, embedding, known, ids)


class Steps(torch.utils.data.Dataset[dict[str, NDArray[Any]]]):
    """What this process reads in each step, by the step's number; for a DataLoader with ``batch_size=None``.

    Process r of W takes places r, r + W, ... of a step, so that groups of the discriminator's batch deviation hold the
    same pictures with any number of processes.
    """

    def __init__(
        self,
        crops: Crops,
        size: tuple[int, int],
        *,
        batch_size: int,
        seed: int,
        flip: bool,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.crops, self.size, self.batch_size, self.seed = crops, size, batch_size, seed
        self.flip, self.rank, self.world = flip, rank, world

    def __getitem__(self, step: int) -> dict[str, NDArray[Any]]:
        mine = chosen(len(self.crops), step, self.batch_size, self.seed)[self.rank :: self.world]
        draws = generator(derive_seed(self.seed, "flip", step)).random(self.batch_size)
        flips = [bool(self.flip and d < 0.5) for d in draws[self.rank :: self.world]]
        return collate([self.crops[i] for i in mine], flips, self.crops.template, self.size)
