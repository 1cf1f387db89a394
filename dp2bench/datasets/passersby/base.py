"""What the rendered datasets share: they are made in the cache on first use, and a copy looks its people up in the original."""

from __future__ import annotations

import json
from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from dp2bench.core.contracts import Dataset, DatasetMeta, Progress, no_progress
from dp2bench.core.types import People, Sample
from dp2bench.datasets.passersby.generation.builder import DatasetBuilder
from dp2bench.datasets.passersby.generation.generated import GeneratedDataset
from dp2bench.datasets.passersby.generation.truth import Truth

Self = TypeVar("Self", bound="RenderedDataset")


class RenderedDataset(Dataset):
    """A dataset that is made rather than brought; stands before the reader of its layout among a class's bases.

    Attributes:
        generated: the untouched dataset in the cache.
        size: its size.
        original: its folder; what a copy does not hold is looked up there.

    """

    needs_root: ClassVar[bool] = False
    builder: ClassVar[type[DatasetBuilder[Any]]]
    """How it is made."""
    attributes_file: ClassVar[str] = "annotations/attributes.json"
    """What each identity looks like, below the root."""

    def _bind(self, size: str | None, root: Path | None) -> Path:
        """Decide on a size; returns the folder to read, ``root`` or the original."""
        self.generated = GeneratedDataset(self.builder(), size, root)
        self.size = self.generated.size
        self.original = self.generated.root
        return self.original if root is None else Path(root)

    def _describe(self, splits: tuple[str, ...], description: str) -> DatasetMeta:
        return DatasetMeta(
            name=self.builder.name,
            version=self.generated.version,
            licence="CC0-1.0",
            splits=splits,
            description=f"{description}, made on this machine",
        )

    @property
    def is_original(self) -> bool:
        """Whether this is the untouched dataset, rather than a copy of it."""
        return self.root == self.original

    def prepare(self, progress: Progress = no_progress) -> None:
        """Make the dataset in the cache unless it is there, calling ``progress(done, total)`` with pictures."""
        self.generated.prepare(progress)

    def open(self: Self, root: Path) -> Self:
        """A copy of the same size at another root; people are those of the original."""
        return type(self)(size=self.size, root=root)  # type: ignore[call-arg]

    def verify(self) -> None:
        """Compare every file with the manifest (original), and check the layout; raises DatasetError."""
        if self.is_original:
            self.generated.verify()
        super().verify()  # type: ignore[safe-super]

    def attributes(self) -> dict[int, dict[str, Any]]:
        """What each identity looks like: body, skin, hair, clothes, by identity."""
        self.prepare()
        table = json.loads((self.original / self.attributes_file).read_text())
        return {int(identity): look for identity, look in table.items()}


class RenderedScenes(RenderedDataset):
    """Scenes of many people, of whom `truth` tells what the layout has no place for."""

    attributes_file: ClassVar[str] = "passersby/attributes.json"

    @property
    def truth(self) -> Truth:
        """Everybody in the original's pictures; makes the dataset on first use."""
        if not hasattr(self, "_truth"):
            self._truth = Truth(self.original)
        self.prepare()
        return self._truth

    @abstractmethod
    def _picture(self, sample: Sample) -> tuple[str, str]:
        """The split and the name under which `truth` knows a picture."""

    def people(self, sample: Sample) -> People:
        """Everybody in a picture, nearest last, with masks, keypoints, faces and surfaces; also for the samples of a copy."""
        return self.truth.people(*self._picture(sample))

    def identities(self, sample: Sample) -> list[int]:
        """Who is who in `people`."""
        return [row["identity"] for row in self.truth.rows(*self._picture(sample))]
