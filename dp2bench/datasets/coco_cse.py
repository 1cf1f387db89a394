"""COCO-CSE: crops of 288 x 160 pixels around one person each, with body surfaces (Hukkelås et al., WACV 2023, Surface Guided GANs).

Under ``train`` and ``val``:

- ``images/NAME.png``: RGB;
- ``embedding/NAME.npy``: (h, w, 3): vertex id, 1 where the picture is known, 1 on the border of the hole. The surface is known where
  neither is;
- ``embed_map.npy``: (27554, 16), the embedding of each vertex of SMPL's template.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar, overload

import numpy as np
from numpy.typing import NDArray

from dp2bench.core.contracts import Dataset, DatasetMeta
from dp2bench.core.errors import AnnotationError, DatasetError
from dp2bench.core.images import write_image
from dp2bench.core.types import Image, People, Sample, SampleId, SurfaceMap
from dp2bench.datasets.crops import Crop, CropDataset, Crops, crops_folder

SPLITS = ("train", "val")
TEMPLATE = "smpl-27554"
VERTICES = 27_554
_GET_IT = "See https://github.com/hukkelas/full_body_anonymization (docs/DATASETS.md) for how it is made; give the folder that holds train and val."


class CocoCse(CropDataset):
    """COCO-CSE in its published layout.

    Args:
        root: the folder that holds ``train`` and ``val``, or one that holds ``coco_cse``.

    """

    layout: ClassVar[str] = "coco-cse"
    needs_root: ClassVar[bool] = True

    def __init__(self, root: Path) -> None:
        self.root = crops_folder(root, "coco_cse", SPLITS)
        self.meta = DatasetMeta(
            name="coco-cse",
            version="1",
            licence="annotations CC-BY 4.0; a picture its own, of Flickr",
            splits=SPLITS,
            homepage="https://github.com/hukkelas/full_body_anonymization",
            description="Persons of COCO with CSE's surfaces, 288 x 160 pixels",
        )

    def samples(self, split: str) -> Sequence[Sample]:
        """The pictures by name. Raises DatasetError for an unknown split or one without pictures."""
        if split not in self.meta.splits:
            raise DatasetError(
                f"{self.meta.name} has no split {split!r}.", f"Choose one of {', '.join(self.meta.splits)}."
            )
        paths = sorted((self.root / split / "images").glob("*.png"))
        if not paths:
            raise DatasetError(
                f"{self.meta.name} has no pictures in {self.root / split / 'images'}.", _GET_IT
            )
        return [Sample(SampleId(p.name), p) for p in paths]

    def crops(self, split: str) -> CocoCseCrops:
        """Everything there is to a split's crops, for training."""
        return CocoCseCrops(self, self.samples(split))

    def people(self, sample: Sample) -> People:
        """The one person of a crop: the hole as mask, and the surface."""
        crop = read_crop(self, sample)
        h, w = crop.hole.shape
        ys, xs = np.flatnonzero(crop.hole.any(1)), np.flatnonzero(crop.hole.any(0))
        box = [xs[0], ys[0], xs[-1] + 1, ys[-1] + 1] if len(ys) else [0, 0, w, h]
        assert crop.vertices is not None
        surface = SurfaceMap(TEMPLATE, np.array([0, 0, w, h], np.int32), crop.vertices)
        return People.of([box], masks=crop.hole[None], surfaces=(surface,))

    def written(self, out: Path, split: str, sample: Sample) -> Path:
        """See `Dataset.written`."""
        return out / split / "images" / sample.id

    def rewrite(self, out: Path, images: Iterable[tuple[str, SampleId, Image | None]]) -> Dataset:
        """A copy with these pictures under the same names, and their embeddings.

        Raises:
            DatasetError: a picture is not one of this dataset, or ``out`` is it.

        """
        out = Path(out)
        if out.resolve() == self.root.resolve():
            raise DatasetError(f"{out} is the dataset itself.", "Write the copy to another folder.")
        known = {split: {s.id for s in self.samples(split)} for split in self.meta.splits}
        for split, sample_id, image in images:
            if sample_id not in known[split]:
                raise DatasetError(
                    f"{self.meta.name} has no picture {sample_id} in {split}.",
                    "Hand over ids of its samples.",
                )
            if image is not None:
                write_image(out / split / "images" / sample_id, image)
            beside = Path("embedding", f"{Path(sample_id).stem}.npy")
            (out / split / "embedding").mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.root / split / beside, out / split / beside)
        for split in self.meta.splits:
            (out / split / "images").mkdir(parents=True, exist_ok=True)
            if (self.root / split / "embed_map.npy").is_file():
                shutil.copyfile(self.root / split / "embed_map.npy", out / split / "embed_map.npy")
        return self.open(out)

    def open(self, root: Path) -> Dataset:
        """The dataset at another root."""
        opened = CocoCse(root)
        opened.meta = self.meta
        return opened

    def verify(self) -> None:
        """Check that every picture has its embedding, and read the first and the last of each split."""
        for split in self.meta.splits:
            samples = self.samples(split)
            for sample in samples:
                if not _embedding_of(sample).is_file():
                    raise DatasetError(f"{sample.path} has no {_embedding_of(sample)}.", _GET_IT)
            for sample in (samples[0], samples[-1]):
                read_crop(self, sample)


class CocoCseCrops(Crops):
    """The crops of a split."""

    template = TEMPLATE

    def __init__(self, dataset: CocoCse, samples: Sequence[Sample]) -> None:
        self._dataset, self._samples = dataset, samples

    def __len__(self) -> int:
        return len(self._samples)

    @overload
    def __getitem__(self, index: int) -> Crop: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Crop]: ...
    def __getitem__(self, index: int | slice) -> Crop | Sequence[Crop]:
        """One crop; a negative index counts from the end."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return read_crop(self._dataset, self._samples[range(len(self))[index]])


def _embedding_of(sample: Sample) -> Path:
    return sample.path.parent.parent / "embedding" / f"{sample.path.stem}.npy"


def read_crop(dataset: CocoCse, sample: Sample) -> Crop:
    """A picture with its surface; without keypoints, which the dataset has not.

    Raises:
        AnnotationError: the embedding is missing, broken, or of another picture.

    """
    path = _embedding_of(sample)
    image = dataset.read(sample)
    try:
        with path.open("rb") as file:
            told: NDArray[np.generic] = np.lib.format.read_array(file, allow_pickle=False)
    except Exception as error:  # a damaged header is read as Python, and raises anything
        raise AnnotationError(f"{path} cannot be read: {error}.", _GET_IT) from error
    if told.shape != image.shape or told.dtype.kind not in "iuf":
        raise AnnotationError(
            f"{path} holds {told.dtype} of shape {told.shape}, and the picture is {image.shape}.",
            f"It must be (h, w, 3): vertex, known, border. {_GET_IT}",
        )
    vertices, known, border = np.moveaxis(np.asarray(told, np.float64), 2, 0)
    surface = (known < 0.5) & (border < 0.5)
    if surface.any() and not (vertices[surface].min() >= 0 and vertices[surface].max() < VERTICES):
        raise AnnotationError(f"{path} holds vertices outside 0..{VERTICES - 1}.", _GET_IT)
    ids = np.where(surface, vertices, -1).astype(np.int32)
    return Crop(sample.path.stem, image, known < 0.5, np.zeros((17, 3), np.float32), ids, surface)
