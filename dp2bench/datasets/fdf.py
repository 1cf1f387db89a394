"""FDF, Flickr Diverse Faces: square crops around one face each (Hukkelås et al., ISVC 2019; 256 pixels: WACV 2023).

Under ``train`` and ``val``:

- FDF256: ``images/N.png``, ``bounding_box.npy`` (n, 4) xyxy in pixels, ``landmarks.npy`` (n, 7, 2) in 0..1;
- FDF128: ``images/128/N.png``, ``bounding_box/128.torch`` (n, 4), ``landmarks.npy``.

Row i belongs to the picture with the i-th smallest number. Landmarks are nose, eyes, ears and shoulders in COCO's order.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from dp2bench.core.contracts import Dataset, DatasetMeta
from dp2bench.core.errors import AnnotationError, DatasetError
from dp2bench.core.files import write_bytes
from dp2bench.core.images import write_image
from dp2bench.core.picture_header import check_upright, read_header
from dp2bench.core.types import Category, Image, People, Sample, SampleId
from dp2bench.datasets.crops import Crop, CropDataset, Crops, crops_folder, relative_keypoints
from dp2bench.datasets.shards import npy

SPLITS = ("train", "val")
LANDMARKS = 7
_GET_IT = "See https://github.com/hukkelas/FDF for the download; give the folder that holds train and val."


class Rows(NamedTuple):
    """A split: N samples, (N, 4) float32 boxes xyxy in pixels, (N, 7, 2) float32 landmarks."""

    samples: list[Sample]
    boxes: NDArray[np.float32]
    landmarks: NDArray[np.float32]


class FDF256(CropDataset):
    """FDF256 in its official layout.

    Args:
        root: the folder that holds ``train`` and ``val``, or one that holds ``fdf256`` (``fdf128``).

    """

    layout: ClassVar[str] = "fdf256"
    needs_root: ClassVar[bool] = True
    images: ClassVar[str] = "images"
    """Where a split's pictures are."""
    boxes: ClassVar[str] = "bounding_box.npy"
    """Where their boxes are."""
    resolution: ClassVar[int] = 256
    """Pixels of a crop's side."""

    def __init__(self, root: Path) -> None:
        self.root = crops_folder(root, self.layout, SPLITS)
        self.meta = DatasetMeta(
            name=self.layout,
            version="1",
            licence="CC-BY, -SA, -NC or -NC-SA 2.0, a picture its own; non-commercial as a whole",
            splits=SPLITS,
            homepage="https://github.com/hukkelas/FDF",
            description=f"Faces of Flickr pictures, {self.resolution} x {self.resolution} pixels, with 7 landmarks",
        )
        self._splits: dict[str, Rows] = {}
        self._numbers: dict[str, dict[str, int]] = {}

    def samples(self, split: str) -> Sequence[Sample]:
        """The pictures by number. Raises DatasetError for an unknown split or arrays that do not fit the pictures."""
        return self.rows(split).samples

    def crops(self, split: str) -> FDFCrops:
        """Everything there is to a split's crops, for training."""
        return FDFCrops(self, self.rows(split))

    def rows(self, split: str) -> Rows:
        """Samples, boxes and landmarks of a split; raises DatasetError where they do not fit each other."""
        if split not in self.meta.splits:
            raise DatasetError(
                f"{self.meta.name} has no split {split!r}.", f"Choose one of {', '.join(self.meta.splits)}."
            )
        if split not in self._splits:
            folder = self.root / split
            paths = list((folder / self.images).glob("*.png"))
            if not paths:
                raise DatasetError(f"{self.meta.name} has no pictures in {folder / self.images}.", _GET_IT)
            if strange := sorted(p.name for p in paths if not p.stem.isdecimal()):
                raise DatasetError(
                    f"{folder / self.images} holds {strange[0]}, which is no numbered picture.", "Remove it."
                )
            paths.sort(key=lambda p: int(p.stem))
            twice = next((p for p, q in pairwise(paths) if int(p.stem) == int(q.stem)), None)
            if twice is not None:
                raise AnnotationError(
                    f"{folder / self.images} holds two pictures of the number of {twice.name}.",
                    "Remove one of them.",
                )
            boxes = read_boxes(folder / self.boxes)
            landmarks = _load(folder / "landmarks.npy")
            n = len(paths)
            if boxes.shape != (n, 4) or landmarks.size != n * LANDMARKS * 2:
                raise AnnotationError(
                    f"{folder} holds {n} pictures, boxes of shape {boxes.shape} and landmarks of shape {landmarks.shape}.",
                    f"There must be one row a picture. {_GET_IT}",
                )
            with np.errstate(invalid="ignore"):
                bad = ~np.isfinite(boxes).all(1) | (boxes[:, 2:] - boxes[:, :2] < 1).any(1)
            bad |= (boxes[:, 2:] < 1).any(1) | (boxes[:, :2] > self.resolution - 1).any(1)
            if bad.any():
                i = int(np.flatnonzero(bad)[0])
                raise AnnotationError(
                    f"{folder / self.boxes}: the box of {paths[i].name} covers no pixel of it: {boxes[i].tolist()}.",
                    "Boxes are x0, y0, x1, y1 in pixels of the crop.",
                )
            if not np.isfinite(landmarks).all():
                raise AnnotationError(
                    f"{folder / 'landmarks.npy'} holds values that are no numbers.", _GET_IT
                )
            samples = [Sample(SampleId(p.name), p) for p in paths]
            self._splits[split] = Rows(samples, boxes, landmarks.reshape(n, LANDMARKS, 2))
            self._numbers[split] = {s.id: i for i, s in enumerate(samples)}
        return self._splits[split]

    def people(self, sample: Sample) -> People:
        """The face of a crop, with the key points of its head and shoulders."""
        split = sample.path.relative_to(self.root).parts[0]
        row = self._row(split, sample.id)
        check_upright(read_header(sample.path), sample.path, self.root / split / self.boxes)
        crop = self.crops(split)[row]
        keypoints = np.zeros((1, 17, 3), np.float32)
        keypoints[0, :LANDMARKS] = crop.keypoints * np.array(
            [self.resolution, self.resolution, 2], np.float32
        )
        assert crop.box is not None
        return People.of(
            [crop.box],
            keypoints=keypoints,
            faces=crop.box[None],
            categories=[Category.FACE],
            image_size=(self.resolution, self.resolution),
        )

    def _row(self, split: str, sample_id: str) -> int:
        self.rows(split)
        if sample_id not in self._numbers[split]:
            raise DatasetError(
                f"{self.meta.name} has no picture {sample_id} in {split}.", "Hand over ids of its samples."
            )
        return self._numbers[split][sample_id]

    def written(self, out: Path, split: str, sample: Sample) -> Path:
        """See `Dataset.written`."""
        return out / split / self.images / sample.id

    def rewrite(self, out: Path, images: Iterable[tuple[str, SampleId, Image | None]]) -> Dataset:
        """A copy with these pictures under the same names, and the rows that belong to them.

        Raises:
            DatasetError: a picture is not one of this dataset, or ``out`` holds pictures that were not handed over.

        """
        out = Path(out)
        if out.resolve() == self.root.resolve():
            raise DatasetError(f"{out} is the dataset itself.", "Write the copy to another folder.")
        handed: dict[str, set[int]] = {split: set() for split in self.meta.splits}
        for split, sample_id, image in images:
            handed[split].add(self._row(split, sample_id))
            if image is not None:
                write_image(out / split / self.images / sample_id, image)
        for split, rows in handed.items():
            samples, boxes, landmarks = self.rows(split)
            mine = sorted(rows)
            (out / split / self.images).mkdir(parents=True, exist_ok=True)
            written = {p.name for p in (out / split / self.images).glob("*.png")}
            if strange := sorted(written - {samples[i].id for i in mine}):
                raise DatasetError(
                    f"{out / split} holds {len(strange)} pictures of something else, e.g. {strange[0]}.",
                    "Write the copy to an empty folder.",
                )
            write_arrays(out / split, self.boxes, boxes[mine], landmarks[mine])
        return self.open(out)

    def open(self, root: Path) -> Dataset:
        """The dataset at another root."""
        opened = type(self)(root)
        opened.meta = self.meta
        return opened

    def verify(self) -> None:
        """Check that every picture has its row and that the first and last of each split can be read."""
        for split in self.meta.splits:
            crops = self.crops(split)
            for i in (0, len(crops) - 1):
                crops[i]


class FDF128(FDF256):
    """FDF in its official layout at 128 pixels. See `FDF256`."""

    layout: ClassVar[str] = "fdf128"
    images: ClassVar[str] = "images/128"
    boxes: ClassVar[str] = "bounding_box/128.torch"
    resolution: ClassVar[int] = 128


class FDFCrops(Crops):
    """The crops of a split; the face's box is the hole."""

    def __init__(self, dataset: FDF256, rows: Rows) -> None:
        self._dataset, self._rows = dataset, rows

    def __len__(self) -> int:
        return len(self._rows.samples)

    @overload
    def __getitem__(self, index: int) -> Crop: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Crop]: ...
    def __getitem__(self, index: int | slice) -> Crop | Sequence[Crop]:
        """One crop; a negative index counts from the end."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        i = range(len(self))[index]
        sample, side = self._rows.samples[i], self._dataset.resolution
        image = self._dataset.read(sample)
        if image.shape != (side, side, 3):
            raise DatasetError(
                f"{sample.path} has {image.shape[:2]} pixels instead of {side} x {side}.", _GET_IT
            )
        box = np.clip(self._rows.boxes[i], 0, side)
        x0, y0, x1, y1 = (int(v) for v in box)
        hole = np.zeros((side, side), bool)
        hole[y0:y1, x0:x1] = True
        return Crop(
            sample.path.stem, image, hole, relative_keypoints(self._rows.landmarks[i], (side, side)), box=box
        )


def read_boxes(path: Path) -> NDArray[np.float32]:
    """(n, 4) from an ``.npy`` or a ``.torch`` file; the latter without unpickling anything but tensors."""
    if path.suffix != ".torch":
        return _load(path)
    import torch

    try:
        values = torch.load(path, map_location="cpu", weights_only=True)
        return np.asarray(torch.as_tensor(values), np.float32)
    except Exception as error:  # torch names no common class
        raise AnnotationError(f"{path} holds no boxes that can be read: {error}.", _GET_IT) from error


def write_arrays(folder: Path, boxes_name: str, boxes: NDArray[Any], landmarks: NDArray[Any]) -> None:
    """The two files beside a split's pictures: (n, 4) boxes as whole pixels, (n, 7, 2) landmarks."""
    path = folder / boxes_name
    whole = np.asarray(boxes).astype(np.int64)
    if path.suffix == ".torch":
        import torch

        out = io.BytesIO()
        torch.save(torch.from_numpy(whole), out)
        write_bytes(path, out.getvalue())
    else:
        write_bytes(path, npy(whole))
    write_bytes(folder / "landmarks.npy", npy(np.asarray(landmarks, np.float32)))


def _load(path: Path) -> NDArray[np.float32]:
    try:
        with path.open("rb") as file:
            array = np.lib.format.read_array(file, allow_pickle=False)
        if array.dtype.kind not in "iuf":
            raise ValueError(f"its values are {array.dtype}")
        return np.asarray(array, np.float32)
    except Exception as error:  # a damaged header is read as Python, and raises anything
        raise AnnotationError(f"{path} cannot be read: {error}.", _GET_IT) from error
