"""What a rendered dataset brings to be made: a plan in chunks, how a chunk is rendered, how the chunks become a dataset."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from dp2bench.datasets.passersby.generation.chunks import Arrays

Item = TypeVar("Item")


class DatasetBuilder(ABC, Generic[Item]):
    """How one dataset is made. Has no state: workers construct their own, without arguments."""

    name: ClassVar[str]
    """The dataset's name, e.g. ``passersby-reid``."""
    version: ClassVar[str]
    """Of this dataset alone; changes when its pixels or labels do, and only then."""
    sizes: ClassVar[Mapping[str, Any]]
    """What a size holds, by its name."""

    @abstractmethod
    def plan(self, size: str) -> list[list[Item]]:
        """What is to be made, in chunks that are made together; the same list every time."""

    @abstractmethod
    def make_chunk(self, chunk: list[Item]) -> Arrays:
        """The arrays of a chunk, none of them of objects; depends on the chunk alone."""

    @abstractmethod
    def assemble(self, size: str, parts: Iterator[Arrays], root: Path) -> None:
        """Write the dataset to the empty folder ``root`` from its chunks, in the plan's order, one in memory at a time."""
