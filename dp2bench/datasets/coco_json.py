"""Any dataset whose annotations are COCO JSON, wherever its pictures and files lie: BDD100k and nuImages after their converters, one's own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import ClassVar

from dp2bench.core.coco_file import CocoAnnotations
from dp2bench.core.coco_schema import ImageRow
from dp2bench.core.contracts import Dataset, DatasetMeta
from dp2bench.core.errors import AnnotationError, DatasetError
from dp2bench.core.files import copy_file
from dp2bench.core.images import write_image
from dp2bench.core.picture_header import read_header
from dp2bench.core.types import Image, People, Sample, SampleId
from dp2bench.datasets.coco import people_of
from dp2bench.datasets.missing import format_missing


class CocoJson(Dataset):
    """Pictures and one COCO JSON a split.

    People are the annotations of every category with a word for people in its name, as ``pedestrian`` and ``rider``. Labels of a sample:
    ``image_id``, ``width``, ``height``. A picture that no file lists is not read, and not in a copy.

    Args:
        root: a folder that holds everything.
        annotations: the JSON of each split, below the root.
        pictures: the folder below the root that ``file_name`` begins in: one for all splits, or one a split.
        category: name of the one category that is people.

    """

    layout: ClassVar[str] = "coco-json"
    needs_root: ClassVar[bool] = True

    def __init__(
        self,
        root: Path,
        annotations: Mapping[str, str],
        pictures: str | Mapping[str, str] = "",
        category: str | None = None,
    ) -> None:
        if not annotations or not isinstance(annotations, Mapping):
            raise DatasetError(
                "coco-json has no annotations.",
                "Give the JSON of each split: annotations: {train: labels/train.json, val: labels/val.json}.",
            )
        folders = pictures if isinstance(pictures, Mapping) else dict.fromkeys(annotations, pictures)
        if lacking := sorted(set(annotations) - set(folders)):
            raise DatasetError(
                f"coco-json has no folder of pictures for {', '.join(lacking)}.",
                "Give one for each split of `annotations`, or one text for all.",
            )
        self.meta = DatasetMeta(
            name="coco-json",
            version="1",
            licence="the owner's",
            splits=tuple(annotations),
            description="pictures whose people are annotated in COCO JSON",
        )
        self.root = Path(root).expanduser()
        self.annotations = {split: _inside(name) for split, name in annotations.items()}
        self.pictures = {split: _inside(folders[split]) for split in annotations}
        self.category = category
        self._original: CocoJson | None = None
        self._files: dict[str, CocoAnnotations] = {}
        self._samples: dict[str, tuple[Sample, ...]] = {}
        self._split_of: dict[Path, str] | None = None

    def file(self, split: str) -> CocoAnnotations:
        """The people of a split. Raises DatasetError for an unknown split, or a file that is missing, broken or contradicts itself."""
        if split not in self.annotations:
            raise DatasetError(
                f"{self.meta.name} has no split {split!r}.", f"Choose one of {', '.join(self.annotations)}."
            )
        if split not in self._files:
            path = self.root / self.annotations[split]
            if not path.is_file():
                raise DatasetError(
                    f"{self.meta.name} lacks the file {path}.",
                    "Convert the dataset's labels to COCO JSON there.",
                )
            self._files[split] = CocoAnnotations(path, category=self.category)
        return self._files[split]

    def samples(self, split: str) -> Sequence[Sample]:
        """The listed pictures that are there, sorted by name."""
        if split not in self._samples:
            listed, folder = self._listed(split), self._folder(split)
            self._samples[split] = tuple(
                Sample(
                    SampleId(name),
                    folder / name,
                    {"image_id": image.id, "width": image.width, "height": image.height},
                )
                for name, image in sorted(listed.items())
                if (folder / name).is_file()
            )
        return self._samples[split]

    def _folder(self, split: str) -> Path:
        return self.root / self.pictures[split]

    def _listed(self, split: str) -> dict[str, ImageRow]:
        """Every picture of a file by its name, which is a path below the folder."""
        file = self.file(split)
        listed = {}
        for image in file.images:
            if image.size is None:
                raise AnnotationError(
                    f"{file.path} does not say width and height of {image.file_name}.",
                    "Add them to its entry in `images`.",
                )
            try:
                listed[_inside(image.file_name)] = image
            except DatasetError as error:
                raise AnnotationError(f"{file.path}: {error.problem}", error.remedy) from error
        return listed

    def people(self, sample: Sample) -> People:
        """The annotated people of a picture, in the order of the annotations; a box stands in for a mask that is not there."""
        if self._split_of is None:
            self._split_of = {s.path: split for split in self.annotations for s in self.samples(split)}
        if sample.path not in self._split_of:
            raise DatasetError(
                f"{sample.path} is none of {self.meta.name}.", "Ask for samples of this dataset."
            )
        return people_of(self.file(self._split_of[sample.path]), sample)

    def verify(self) -> None:
        """Check files, and that every listed picture is there and fits its annotations.

        Raises:
            DatasetError: says what is missing.

        """
        for split in self.annotations:
            file, listed, folder = self.file(split), self._listed(split), self._folder(split)
            there = [s.id for s in self.samples(split)]
            if not there:
                raise DatasetError(
                    f"{folder} holds none of the {len(listed)} pictures that {file.path} lists.{file.like('')}",
                    "Name the folder in which their `file_name` begins: pictures.",
                )
            gone = sorted(set(listed) - set(there))
            if gone and self._original is None:
                raise DatasetError(
                    f"{folder} lacks {len(gone):,} pictures of {file.path}: {format_missing(gone, self.meta.name)}.",
                    "Bring them, or take them out of the file.",
                )
            if not any(file.rows(listed[name]) for name in there):
                raise AnnotationError(
                    f"{file.path} names {file.people_named} people (category {file.taken}), and none in the {len(there)} pictures of {folder}.",
                    "Use the annotations of these pictures, or name another `category`.",
                )
            for name in there:
                file.check(listed[name], read_header(folder / name))

    def written(self, out: Path, split: str, sample: Sample) -> Path:
        """See `Dataset.written`."""
        return out / self.pictures[split] / sample.id

    def rewrite(self, out: Path, images: Iterable[tuple[str, SampleId, Image | None]]) -> CocoJson:
        """A copy with these pictures: same names, the JSON files byte for byte; what is not handed over is left out.

        Raises:
            DatasetError: a picture is not one of this dataset, or ``out`` holds pictures that were not handed over.

        """
        out = Path(out)
        if out.resolve() == self.root.resolve():
            raise DatasetError(f"{out} is the dataset itself.", "Write the copy to another folder.")
        for name in self.annotations.values():
            copy_file(self.root / name, out / name)
        known: dict[str, dict[SampleId, Sample]] = {}
        handed: set[Path] = set()
        for split, sample_id, image in images:
            if split not in known:
                known[split] = {sample.id: sample for sample in self.samples(split)}
            if sample_id not in known[split]:
                raise DatasetError(
                    f"{self.meta.name} has no picture {sample_id} in {split}.",
                    "Hand over ids of its samples.",
                )
            path = self.written(out, split, known[split][sample_id])
            if image is not None:
                write_image(path, image)
            handed.add(path)
        copy = self.open(out)
        if strange := sorted(
            str(s.path) for split in self.annotations for s in copy.samples(split) if s.path not in handed
        ):
            raise DatasetError(
                f"{out} holds {len(strange)} pictures that were not handed over, e.g. {strange[0]}.",
                "Write the copy to an empty folder.",
            )
        return copy

    def open(self, root: Path) -> CocoJson:
        """The dataset at another root; where that lacks a file of annotations, it is that of this one."""
        opened = CocoJson(root, self.annotations, self.pictures, self.category)
        opened.meta, opened._original = self.meta, self
        for split, name in self.annotations.items():
            if not (opened.root / name).is_file():
                opened._files[split] = self.file(split)
        return opened


def _inside(name: str) -> str:
    """A path below a folder, tidied. Raises DatasetError for one that leads out of it."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise DatasetError(f"{name!r} leads out of its folder.", "Write paths below the root.")
    return "" if path == PurePosixPath() else path.as_posix()
