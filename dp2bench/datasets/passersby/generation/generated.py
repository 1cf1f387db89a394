"""One size of a rendered dataset in the cache: made on first use, compared with its manifest when asked."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from pathlib import Path
from typing import Any

from dp2bench.core.contracts import Progress, no_progress
from dp2bench.core.errors import DatasetError
from dp2bench.core.paths import cache_root
from dp2bench.datasets.passersby.generation import labels
from dp2bench.datasets.passersby.generation.builder import DatasetBuilder
from dp2bench.datasets.passersby.generation.chunks import write_whole
from dp2bench.datasets.passersby.generation.making import make

_log = logging.getLogger(__name__)


class GeneratedDataset:
    """One size of a dataset that is made in the cache, ``$DP2BENCH_CACHE``, on first use.

    Args:
        builder: how it is made.
        size: one of the builder's sizes; None for that of the dataset at ``given``, else ``mini``.
        given: a folder that may be such a dataset.

    Attributes:
        version: the builder's version and size.
        root: where the untouched dataset is, or will be.

    Raises:
        DatasetError: there is no such size.

    """

    def __init__(self, builder: DatasetBuilder[Any], size: str | None, given: Path | None = None) -> None:
        if size is None:
            size = _size_at(given) or "mini"
        if size not in builder.sizes:
            raise DatasetError(
                f"{builder.name} has no size {size!r}.", f"Choose one of {', '.join(builder.sizes)}."
            )
        self.builder, self.size = builder, size
        self.version = f"{builder.version}-{size}"
        self.root = cache_root() / "datasets" / f"{builder.name}-{self.version}"

    def prepare(self, progress: Progress = no_progress) -> None:
        """Make it unless it is there, calling ``progress(done, total)`` with items of the plan."""
        if not self.root.exists():
            make(self.builder, self.size, self.root, progress)

    def verify(self) -> None:
        """Compare every file with the manifest, making the dataset first where it is not there. A warning is logged where labels are
        not those of other machines.

        Raises:
            DatasetError: names the first file that is missing, changed or too many.

        """
        self.prepare()
        self._compare_files(self._manifest())
        if own := self.own_labels():
            _log.warning(
                "Labels of %s are not those that other machines make: %s. Scores on it do not compare with theirs. Another version "
                "of NumPy, OpenCV or Numba may be the cause, or changed code; please report it with what `dp2bench doctor` says.",
                self.root.name,
                ", ".join(own),
            )

    def own_labels(self) -> list[str]:
        """Kinds of labels that are not those of other machines, whose hashes come with the package for small sizes; of an untouched
        dataset.
        """
        if self.root.name not in labels.shipped_hashes():
            return []
        path = self.root / "manifest.json"
        manifest = json.loads(path.read_text())
        if "labels" not in manifest:  # made by an earlier version of the package; hashing takes seconds
            manifest["labels"] = labels.kind_hashes(self.root)
            with contextlib.suppress(OSError):
                write_whole(path, json.dumps(manifest, indent=1).encode())
        return labels.differing(self.root.name, manifest["labels"])

    @property
    def _remedy(self) -> str:
        return f"Delete the folder {self.root}; it is made again on the next use."

    def _manifest(self) -> dict[str, Any]:
        """The manifest of this size as it is made today; DatasetError for any other."""
        try:
            manifest: dict[str, Any] = json.loads((self.root / "manifest.json").read_text())
            _ = manifest["sha256"]
        except (OSError, ValueError, KeyError) as error:
            raise DatasetError(
                f"The manifest of {self.root} cannot be read ({error}).", self._remedy
            ) from error
        holds = repr(self.builder.sizes[self.size])
        if (made := manifest.get("holds", holds)) != holds:
            raise DatasetError(
                f"{self.root} was made when {self.size} was {made}; now it is {holds}.", self._remedy
            )
        return manifest

    def _compare_files(self, manifest: dict[str, Any]) -> None:
        """Raise DatasetError for the first file that is too many, missing or changed."""
        expected = manifest["sha256"]
        there = {p.relative_to(self.root).as_posix() for p in self.root.rglob("*") if p.is_file()}
        if extra := sorted(there - set(expected) - {"manifest.json"}):
            raise DatasetError(
                f"{len(extra)} files do not belong to {self.builder.name}, the first is {self.root / extra[0]}.",
                self._remedy,
            )
        for name, digest in expected.items():
            path = self.root / name
            if not path.is_file():
                raise DatasetError(f"{path} is missing.", self._remedy)
            if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
                raise DatasetError(f"{path} is not as it was made: its sha256 differs.", self._remedy)


def _size_at(root: Path | None) -> str | None:
    """The size that a dataset's manifest names, None where there is no manifest."""
    try:
        return None if root is None else str(json.loads((Path(root) / "manifest.json").read_text())["size"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
