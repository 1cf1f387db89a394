"""`passersby-cityscapes`: rendered streets seen from a car in the layout of Cityscapes, made on first use."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dp2bench.core.types import Sample
from dp2bench.datasets.cityscapes import SPLITS, Cityscapes
from dp2bench.datasets.passersby.base import RenderedScenes
from dp2bench.datasets.passersby.cityscapes_builder import CityscapesBuilder


class PassersbyCityscapes(RenderedScenes, Cityscapes):
    """Rendered streets seen from a car: every pixel labelled, exact people.

    Args:
        size: ``smoke`` (seconds, for tests), ``mini`` (136 pictures) or ``large`` (3,475, as Cityscapes has); by default
            that of the dataset at ``root``, else ``mini``.
        root: a copy in this layout (e.g. an anonymized one); by default it is made in the cache, ``$DP2BENCH_CACHE``.

    """

    builder = CityscapesBuilder

    def __init__(self, size: str | None = None, root: Path | None = None) -> None:
        Cityscapes.__init__(self, self._bind(size, root), official=False)
        if root is not None and not self.labels.is_dir():
            self.labels = self.original / "gtFine"
        self.meta = self._describe(SPLITS, "Rendered street scenes in the layout of Cityscapes")

    def samples(self, split: str) -> Sequence[Sample]:
        """See `Cityscapes.samples`; makes the dataset on first use."""
        self.prepare()
        return Cityscapes.samples(self, split)

    def _picture(self, sample: Sample) -> tuple[str, str]:
        return sample.path.parent.parent.name, Path(sample.id).name.removesuffix("_leftImg8bit.png")
