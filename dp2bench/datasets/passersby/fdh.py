"""`passersby-fdh`: crops around rendered people in the layout of FDH, made on first use."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dp2bench.core.types import Sample
from dp2bench.datasets.fdh import FDH
from dp2bench.datasets.passersby import crop_plan
from dp2bench.datasets.passersby.base import RenderedDataset
from dp2bench.datasets.passersby.fdh_builder import FDHBuilder
from dp2bench.datasets.passersby.rendering.template import NAME as TEMPLATE
from dp2bench.datasets.shards import Shards


class PassersbyFDH(RenderedDataset, FDH):
    """Rendered passers-by: body crops with exact masks, key points and body surface, to learn generators from.

    Labels of a sample: ``identity``, unique over the splits. What is carried belongs to the mask and has no vertex.

    Args:
        size: ``smoke`` (18 crops, for tests), ``mini`` (352), ``medium`` (5,120) or ``large`` (42,000); by default that
            of the dataset at ``root``, else ``mini``.
        root: a copy in this layout (e.g. an anonymized one); by default it is made in the cache, ``$DP2BENCH_CACHE``.

    """

    builder = FDHBuilder

    def __init__(self, size: str | None = None, root: Path | None = None) -> None:
        FDH.__init__(self, self._bind(size, root), template=TEMPLATE)
        self.meta = self._describe(("train", "val"), "Crops of rendered passers-by in the layout of FDH")
        self._labelled: dict[str, list[Sample]] = {}

    def shards(self, split: str) -> Shards:
        """See `FDH.shards`; makes the dataset on first use."""
        self.prepare()
        return FDH.shards(self, split)

    def samples(self, split: str) -> Sequence[Sample]:
        """See `FDH.samples`."""
        if split not in self._labelled:
            self._labelled[split] = crop_plan.labelled(FDH.samples(self, split), self.original, split)
        return self._labelled[split]
