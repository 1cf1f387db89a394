"""Pictures that another tool anonymized: stands in a suite where a method stands, so that any tool's output is scored."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from dp2bench.core.contracts import Dataset, MethodMeta
from dp2bench.core.errors import DatasetError
from dp2bench.core.hashing import name_bytes
from dp2bench.core.listing import list_pictures


class FolderSource:
    """A folder in the dataset's layout. The engine takes its pictures as they are and measures their coverage.

    Raises:
        DatasetError: the folder is not there, or holds no pictures.

    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()  # a finished step links to it, from another folder
        if not self.root.is_dir():
            raise DatasetError(
                f"The folder {root} is not there.", "Give the folder with the anonymized pictures."
            )
        digest = hashlib.sha256()
        for path in list_pictures(self.root):
            digest.update(
                name_bytes(path.relative_to(self.root).as_posix())
                + b"\0"
                + hashlib.sha256(path.read_bytes()).digest()
            )
        self.meta = MethodMeta(
            name="ready-made",
            revision=digest.hexdigest(),
            scope="image",
            description="pictures anonymized by another tool",
        )

    def dataset(self, clear: Dataset, splits: Sequence[str]) -> Dataset:
        """The folder read like the clear dataset; raises DatasetError when a picture of the clear one's splits is not there."""
        ready = clear.open(self.root)
        ready.verify()
        for split in splits:
            there = {s.id for s in ready.samples(split)}
            gone = [s.id for s in clear.samples(split) if s.id not in there]
            if gone and split != "train":
                raise DatasetError(
                    f"{self.root} lacks {len(gone)} pictures of the split {split}, e.g. {gone[0]}.",
                    "Anonymize all of them: a score over fewer pictures compares with nothing.",
                )
        return ready
