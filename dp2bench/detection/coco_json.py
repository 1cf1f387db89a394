"""People from a COCO annotation file, by the picture's file name: detections of another program, or labels."""

from __future__ import annotations

import copy
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from dp2bench.core.coco_file import CocoAnnotations
from dp2bench.core.coco_schema import ImageRow
from dp2bench.core.contracts import ComponentMeta, Dataset, Detector
from dp2bench.core.errors import AnnotationError, DatasetError
from dp2bench.core.picture_header import read_header
from dp2bench.core.types import Image, People, Sample, SampleId

_SHOWN = 8
_FRAME = re.compile(r"/\d{8}$")


class CocoFile(Detector):
    """Replays the people in a COCO JSON with ``images``, ``annotations`` and ``categories``.

    Beside COCO's own keys an annotation may have those that `export.CocoWriter` writes: ``face`` (x, y, width, height, or null),
    ``surface`` and ``track_id``. A picture is looked up by its path; see `dp2bench.core.picture_names.PictureNames`. One that the file does
    not list is an error; one that it lists without annotations shows nobody.

    Args:
        path: the JSON.
        category: name of the category that is people; by default every one that says people in its name. A file without categories
            holds nothing else. Where the file also has a category ``face``, its annotations are faces of nobody else's.
        score_threshold: annotations with a lower ``score`` are left out.
        crowds: whether a region of several people (``iscrowd``) counts, as one person.

    """

    uses_annotations = True

    def __init__(
        self,
        *,
        path: str | Path | None = None,
        category: str | None = None,
        score_threshold: float = 0.0,
        crowds: bool = True,
    ) -> None:
        if path is None or not Path(path).expanduser().is_file():
            raise DatasetError(
                f"The detector 'coco-json' needs a file of annotations, and there is {'none' if path is None else f'no {path}'}.",
                "Pass the path of a COCO JSON as the detector's argument `path`.",
            )
        self.path = Path(path).expanduser()
        self.meta = ComponentMeta("coco-json", f"3-{hashlib.sha256(self.path.read_bytes()).hexdigest()[:16]}")
        self.annotations = CocoAnnotations(
            self.path, category=category, score_threshold=score_threshold, crowds=crowds
        )
        self.people_named = self.annotations.people_named
        self._dataset: Dataset | None = None

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a user should know of how the file was read."""
        taken, others = self.annotations.categories, self.annotations.others
        if taken is None or ([name for _, name in taken] == ["person"] and not others):
            return ()
        more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
        never = f", never of {', '.join(map(repr, others[:_SHOWN]))}{more}" if others else ""
        return (f"{self.path}: people are the annotations of category {self.annotations.taken}{never}.",)

    def for_dataset(self, dataset: Dataset) -> CocoFile:
        """The same detector, once every picture of the dataset has been looked up and held against its annotations.

        Raises:
            AnnotationError: a picture is not listed or does not fit, two pictures are one entry, or none of them shows anybody
                though the file names people.

        """
        if self._dataset is dataset:
            return self
        taken: dict[str, SampleId] = {}
        people = 0
        splits = dataset.meta.splits
        for split in splits:
            for sample in dataset.samples(split):
                # A file of one split of several is enough for whoever looks at that one.
                if len(splits) > 1 and self.annotations.find(sample.id) is None:
                    continue
                entry = self._entry(sample)
                if entry.file_name in taken:
                    raise AnnotationError(
                        f"{self.path} has one entry {entry.file_name} for two pictures, {taken[entry.file_name]} and {sample.id}.",
                        "Write the path of each picture within the folder as its `file_name`.",
                    )
                taken[entry.file_name] = sample.id
                self.annotations.check(entry, read_header(sample.path))
                people += len(self.annotations.rows(entry))
        # Frames of a video within a folder are looked up later.
        frames = any(_FRAME.search(entry.file_name) for entry in self.annotations.annotated())
        if self.people_named and taken and not people and not frames:
            raise AnnotationError(
                f"{self.path} names {self.people_named} people, and none of them in these {len(taken)} pictures.",
                "Use the annotations of these pictures.",
            )
        bound = copy.copy(self)
        bound._dataset = dataset
        return bound

    def detect(self, images: Sequence[Image], samples: Sequence[Sample]) -> list[People]:
        """The people of each picture, in the file's order."""
        return [self._people(image, sample) for image, sample in zip(images, samples, strict=True)]

    def _people(self, image: Image, sample: Sample) -> People:
        entry = self._entry(sample)
        if self._dataset is None and self.annotations.rows(entry):
            self.annotations.check(entry, read_header(sample.path))
        return self.annotations.people(entry, (image.shape[0], image.shape[1]))

    def _entry(self, sample: Sample) -> ImageRow:
        entry = self.annotations.find(sample.id)
        if entry is None:
            raise AnnotationError(
                f"{self.path} does not list the picture {sample.id}.{self.annotations.like(sample.id)}",
                "Add it to `images` (without annotations if it shows nobody): nobody is overlooked silently.",
            )
        return entry
