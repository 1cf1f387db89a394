"""Which datasets were made on this machine, how large they are, and how they are removed."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dp2bench.core import registry
from dp2bench.core.contracts import Dataset
from dp2bench.core.errors import DatasetError, PluginError
from dp2bench.core.paths import cache_root


@dataclass(frozen=True)
class CachedDataset:
    """One size of a dataset in the cache.

    Attributes:
        folder: where it is; its name is dataset, version and size.
        bytes: on disk.
        files: how many.
        state: ``whole``, ``unfinished`` (making was stopped; it goes on where it stopped), or ``older`` (this version of
            the package makes another).

    """

    folder: Path
    bytes: int
    files: int
    state: str

    @property
    def name(self) -> str:
        """As it is called on the command line."""
        return self.folder.name.removesuffix(".partial")


def generated_names() -> list[str]:
    """Names of the registered datasets that are made rather than brought."""
    names = []
    for name in registry.names("datasets"):
        try:
            known = registry.dataset_class(name)
        except PluginError:
            continue
        if known is not None and not known.needs_root:
            names.append(name)
    return names


def sizes(name: str) -> list[str]:
    """The sizes in which a dataset can be made. Raises DatasetError for one that is not made."""
    if name not in generated_names():
        raise DatasetError(
            f"{name} is not made by the package.", f"Those that are: {', '.join(generated_names())}."
        )
    return list(create(name, "smoke").generated.builder.sizes)


def create(name: str, size: str) -> Any:
    """A dataset of those that are made; making happens on first use. Raises DatasetError for an unknown name or size."""
    if name not in generated_names():
        raise DatasetError(
            f"{name} is not made by the package.", f"Those that are: {', '.join(generated_names())}."
        )
    dataset: Dataset = registry.create("datasets", name, {"size": size})
    return dataset


def contents() -> list[CachedDataset]:
    """What is in the cache, by name."""
    root = cache_root() / "datasets"
    current = {create(name, size).root.name for name in generated_names() for size in sizes(name)}
    cached = []
    for folder in sorted(root.iterdir()) if root.is_dir() else []:
        if not folder.is_dir():
            continue
        if folder.name.endswith(".partial"):
            state = "unfinished"
        elif (folder / "manifest.json").is_file():
            state = "whole" if folder.name in current else "older"
        else:
            continue
        size, files = _weigh(folder)
        cached.append(CachedDataset(folder, size, files, state))
    return cached


def version_and_size(cached: CachedDataset) -> tuple[str, str, str]:
    """Dataset, version and size, as its manifest has them, or as its folder is called where it is unfinished."""
    try:
        manifest = json.loads((cached.folder / "manifest.json").read_text())
        return str(manifest["dataset"]), str(manifest["version"]), str(manifest["size"])
    except (OSError, ValueError, KeyError):
        dataset, version, size = cached.name.rsplit("-", 2)
        return dataset, version, size


def delete(cached: CachedDataset) -> None:
    """Remove a dataset from the cache; what remains after a kill in between is unfinished, never half a dataset."""
    going = cached.folder.with_name(f"{cached.name}.partial")
    if cached.folder != going:
        shutil.rmtree(going, ignore_errors=True)
        os.replace(cached.folder, going)
    shutil.rmtree(going)
    cached.folder.with_name(f"{cached.name}.lock").unlink(missing_ok=True)


def _weigh(folder: Path) -> tuple[int, int]:
    """Bytes and number of the files below a folder."""
    total = count = 0
    for path, _, names in os.walk(folder):
        for name in names:
            total += os.lstat(os.path.join(path, name)).st_size  # noqa: PTH118 - much faster over many files
            count += 1
    return total, count
