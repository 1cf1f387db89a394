"""`passersby-coco`: rendered scenes with many people in the layout of COCO 2017, made on first use."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from dp2bench.core.types import Sample
from dp2bench.datasets.coco import FOLDERS, Coco
from dp2bench.datasets.passersby.base import RenderedScenes
from dp2bench.datasets.passersby.coco_builder import CocoBuilder


class PassersbyCoco(RenderedScenes, Coco):
    """Rendered scenes with one to many people: keypoints and instances with exact ground truth.

    `people` are everybody, unlike in the JSON, where a crowd is one annotation.

    Args:
        size: ``smoke`` (seconds, for tests), ``mini`` (480 pictures), ``medium`` (1,080) or ``large`` (13,500); by default that of
            the dataset at ``root``, else ``mini``.
        root: a copy in this layout (e.g. an anonymized one); by default it is made in the cache, ``$DP2BENCH_CACHE``.
        pictures: ``people`` for the pictures with an annotated person, ``all`` for every picture.

    """

    builder = CocoBuilder

    def __init__(
        self, size: str | None = None, root: Path | None = None, pictures: Literal["people", "all"] = "people"
    ) -> None:
        Coco.__init__(self, self._bind(size, root), pictures, official=False)
        if not self.annotations.is_dir():
            self.annotations = self.original / "annotations"
        self.meta = self._describe(
            tuple(FOLDERS), "Rendered scenes with many people in the layout of COCO 2017"
        )

    def samples(self, split: str) -> Sequence[Sample]:
        """See `Coco.samples`; makes the dataset on first use."""
        self.prepare()
        return Coco.samples(self, split)

    def open(self, root: Path) -> PassersbyCoco:
        """A copy of the same size at another root; people are those of the original."""
        return PassersbyCoco(self.size, root, self.pictures)

    def _picture(self, sample: Sample) -> tuple[str, str]:
        return sample.path.parent.name, Path(sample.id).stem
