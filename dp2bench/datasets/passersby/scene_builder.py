"""How scenes of many people are planned: pictures in chunks, each of which draws on a pool of identities of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from dp2bench.datasets.passersby.generation.builder import DatasetBuilder
from dp2bench.datasets.passersby.rendering.dressing import IdentityPool
from dp2bench.datasets.passersby.rendering.identities import Identity, make_identity


@dataclass(frozen=True)
class Size:
    """Pictures of each split, and how many are made together."""

    train: int
    val: int
    chunk: int

    @property
    def splits(self) -> tuple[tuple[str, int], ...]:
        """Each split and its number of pictures."""
        return ("train", self.train), ("val", self.val)


@dataclass(frozen=True)
class SampleSpec:
    """One picture that is to be rendered."""

    split: str
    number: int
    pool: int
    """Which group of identities of the split may be seen."""


class SceneBuilder(DatasetBuilder[SampleSpec]):
    """The plan of a dataset of scenes, and the numbers of its identities."""

    sizes: ClassVar[Mapping[str, Size]]
    stream: ClassVar[str]
    """Of identities; each split has one of its own."""
    pool_size: ClassVar[int]
    """Identities that the pictures of one chunk share."""

    def plan(self, size: str) -> list[list[SampleSpec]]:
        """Pictures of both splits; those of a chunk share a pool."""
        n = self.sizes[size]
        chunks = []
        for split, count in n.splits:
            for pool, first in enumerate(range(0, count, n.chunk)):
                chunks.append([SampleSpec(split, k, pool) for k in range(first, min(first + n.chunk, count))])
        return chunks

    def pool(self, spec: SampleSpec) -> IdentityPool:
        """Who may be seen in a picture."""
        return IdentityPool(f"{self.stream}-{spec.split}", spec.pool * self.pool_size, self.pool_size)

    def identity_number(self, size: str, split: str, index: int) -> int:
        """The number of an identity, from 1, different in the two splits."""
        n = self.sizes[size]
        return index + 1 + (0 if split == "train" else self._identities(n.train, n.chunk))

    def identities(self, size: str) -> Iterator[tuple[int, Identity]]:
        """Everybody who may be seen, by number."""
        n = self.sizes[size]
        for split, count in n.splits:
            for k in range(self._identities(count, n.chunk)):
                yield self.identity_number(size, split, k), make_identity(f"{self.stream}-{split}", k)

    def number_people(self, size: str, split: str, rows: list[dict[str, Any]]) -> None:
        """Replace the index within the stream that rows of people name by the number of the identity."""
        for row in rows:
            row["identity"] = self.identity_number(size, split, row["identity"])

    def _identities(self, pictures: int, chunk: int) -> int:
        return -(-pictures // chunk) * self.pool_size
