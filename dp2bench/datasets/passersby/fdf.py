"""`passersby-fdf`: crops around rendered faces in the layout of FDF256, made on first use."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from dp2bench.core.contracts import DatasetMeta, Progress, no_progress
from dp2bench.core.types import Sample
from dp2bench.datasets.fdf import FDF256, Rows
from dp2bench.datasets.passersby.fdf_builder import FDFCropsRecipe
from dp2bench.datasets.passersby.generation.builder import Made
from dp2bench.datasets.passersby.rendering import portraits


class PassersbyFDF(FDF256):
    """Rendered passers-by: face crops with exact boxes and landmarks, to learn generators from.

    Labels of a sample: ``identity``, unique over the splits. Landmarks behind the head are where they would be seen.

    Args:
        size: ``smoke`` (12 crops, for tests), ``mini`` (160), ``medium`` (1,600) or ``large`` (32,000); by default that of
            the dataset at ``root``, else ``mini``.
        root: a copy in this layout (e.g. an anonymized one); by default it is made in the cache, ``$DP2BENCH_CACHE``.

    """

    needs_root: ClassVar[bool] = False

    def __init__(self, size: str | None = None, root: Path | None = None) -> None:
        self.made = Made(FDFCropsRecipe(), size, root)
        self.size = self.made.size
        self.original = self.made.root
        """Where the untouched dataset is: who is seen in a copy is looked up there."""
        super().__init__(self.original if root is None else Path(root))
        self.meta = DatasetMeta(
            name="passersby-fdf",
            version=self.made.version,
            licence="CC0-1.0",
            splits=("train", "val"),
            description="Faces of rendered passers-by in the layout of FDF256, made on this machine",
        )
        self._labelled: dict[str, list[Sample]] = {}

    def prepare(self, progress: Progress = no_progress) -> None:
        """Make the dataset in the cache unless it is there, calling ``progress(done, total)`` with crops."""
        self.made.prepare(progress)

    def samples(self, split: str) -> Sequence[Sample]:
        """See `FDF256.samples`."""
        if split not in self._labelled:
            self._labelled[split] = portraits.labelled(super().samples(split), self.original, split)
        return self._labelled[split]

    def rows(self, split: str) -> Rows:
        """See `FDF256.rows`; makes the dataset on first use."""
        self.prepare()
        return super().rows(split)

    def open(self, root: Path) -> PassersbyFDF:
        """A copy of the same size at another root."""
        return PassersbyFDF(self.size, root)

    def verify(self) -> None:
        """Compare every file with the manifest (original), and check the files; raises DatasetError."""
        if self.root == self.original:
            self.made.verify()
        super().verify()

    def attributes(self) -> dict[int, dict[str, Any]]:
        """What each identity looks like: body, skin, hair, clothes, by identity."""
        self.prepare()
        return portraits.read_attributes(self.original)
