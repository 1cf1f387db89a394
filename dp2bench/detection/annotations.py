"""People as the dataset itself annotates them: ground truth, no network."""

from __future__ import annotations

from collections.abc import Sequence

from dp2bench.core.contracts import ComponentMeta, Dataset, Detector
from dp2bench.core.errors import DatasetError
from dp2bench.core.types import Image, People, Sample


class Annotations(Detector):
    """Looks people up in the dataset. A dataset without annotations gives a DatasetError."""

    meta = ComponentMeta(name="annotations")
    uses_annotations = True
    people_named = 0
    """How many people are known to be annotated, in whatever picture."""

    def __init__(self, dataset: Dataset | None = None) -> None:
        self.dataset = dataset

    @property
    def doubts(self) -> tuple[str, ...]:
        """What the dataset is not sure of."""
        return () if self.dataset is None else self.dataset.doubts

    def for_dataset(self, dataset: Dataset) -> Annotations:
        """The same detector for one dataset."""
        return Annotations(dataset)

    def detect(self, images: Sequence[Image], samples: Sequence[Sample]) -> list[People]:
        """The annotated people of each picture."""
        if self.dataset is None:
            raise DatasetError(
                "The detector 'annotations' looks people up in a dataset, and there is none here.",
                "Choose another with --detector; `dp2bench list detectors` shows them.",
            )
        found = []
        for sample in samples:
            people = self.dataset.people(sample)
            if people is None:
                raise DatasetError(
                    f"{self.dataset.meta.name} has no annotations of people ({sample.id}).",
                    "Choose another detector, e.g. `detector: full-image` for person crops.",
                )
            found.append(people)
        return found
