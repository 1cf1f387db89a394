"""`passersby-fdh`: crops around rendered people in the layout of FDH, made on first use."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from dp2bench.core.contracts import DatasetMeta, Progress, no_progress
from dp2bench.core.types import Sample
from dp2bench.datasets.fdh import FDH
from dp2bench.datasets.passersby.fdh_builder import FDHCropsRecipe
from dp2bench.datasets.passersby.generation.builder import Made
from dp2bench.datasets.passersby.rendering import portraits
from dp2bench.datasets.passersby.rendering.template import NAME as TEMPLATE
from dp2bench.datasets.shards import Shards


class PassersbyFDH(FDH):
    """Rendered passers-by: body crops with exact masks, key points and body surface, to learn generators from.

    Labels of a sample: ``identity``, unique over the splits. What is carried belongs to the mask and has no vertex.

    Args:
        size: ``smoke`` (18 crops, for tests), ``mini`` (352), ``medium`` (5,120) or ``large`` (42,000); by default that
            of the dataset at ``root``, else ``mini``.
        root: a copy in this layout (e.g. an anonymized one); by default it is made in the cache, ``$DP2BENCH_CACHE``.

    """

    needs_root: ClassVar[bool] = False

    def __init__(self, size: str | None = None, root: Path | None = None) -> None:
        self.made = Made(FDHCropsRecipe(), size, root)
        self.size = self.made.size
        self.original = self.made.root
        """Where the untouched dataset is: who is seen in a copy is looked up there."""
        super().__init__(self.original if root is None else Path(root), template=TEMPLATE)
        self.meta = DatasetMeta(
            name="passersby-fdh",
            version=self.made.version,
            licence="CC0-1.0",
            splits=("train", "val"),
            description="Crops of rendered passers-by in the layout of FDH, made on this machine",
        )
        self._labelled: dict[str, list[Sample]] = {}

    def prepare(self, progress: Progress = no_progress) -> None:
        """Make the dataset in the cache unless it is there, calling ``progress(done, total)`` with crops."""
        self.made.prepare(progress)

    def shards(self, split: str) -> Shards:
        """See `FDH.shards`; makes the dataset on first use."""
        self.prepare()
        return super().shards(split)

    def samples(self, split: str) -> Sequence[Sample]:
        """See `FDH.samples`."""
        if split not in self._labelled:
            self._labelled[split] = portraits.labelled(super().samples(split), self.original, split)
        return self._labelled[split]

    def open(self, root: Path) -> PassersbyFDH:
        """A copy of the same size at another root."""
        return PassersbyFDH(self.size, root)

    def verify(self) -> None:
        """Compare every file with the manifest (original), and check the archives; raises DatasetError."""
        if self.root == self.original:
            self.made.verify()
        super().verify()

    def attributes(self) -> dict[int, dict[str, Any]]:
        """What each identity looks like: body, skin, hair, clothes, by identity."""
        self.prepare()
        return portraits.read_attributes(self.original)
