"""`passersby-fdf`: crops around rendered faces in the layout of FDF256, made on first use."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dp2bench.core.types import Sample
from dp2bench.datasets.fdf import FDF256, Rows
from dp2bench.datasets.passersby import crop_plan
from dp2bench.datasets.passersby.base import RenderedDataset
from dp2bench.datasets.passersby.fdf_builder import FDFBuilder


class PassersbyFDF(RenderedDataset, FDF256):
    """Rendered passers-by: face crops with exact boxes and landmarks, to learn generators from.

    Labels of a sample: ``identity``, unique over the splits. Landmarks behind the head are where they would be seen.

    Args:
        size: ``smoke`` (12 crops, for tests), ``mini`` (160), ``medium`` (1,600) or ``large`` (32,000); by default that of
            the dataset at ``root``, else ``mini``.
        root: a copy in this layout (e.g. an anonymized one); by default it is made in the cache, ``$DP2BENCH_CACHE``.

    """

    builder = FDFBuilder

    def __init__(self, size: str | None = None, root: Path | None = None) -> None:
        FDF256.__init__(self, self._bind(size, root))
        self.meta = self._describe(("train", "val"), "Faces of rendered passers-by in the layout of FDF256")
        self._labelled: dict[str, list[Sample]] = {}

    def rows(self, split: str) -> Rows:
        """See `FDF256.rows`; makes the dataset on first use."""
        self.prepare()
        return FDF256.rows(self, split)

    def samples(self, split: str) -> Sequence[Sample]:
        """See `FDF256.samples`."""
        if split not in self._labelled:
            self._labelled[split] = crop_plan.labelled(FDF256.samples(self, split), self.original, split)
        return self._labelled[split]
