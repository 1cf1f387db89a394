"""Reports that were written before, kept by their content: equal results are drawn once."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import zipfile
from collections.abc import Callable, Collection, Mapping
from importlib import metadata, resources
from pathlib import Path

from dp2bench.core.hashing import content_sha256
from dp2bench.core.paths import cache_root
from dp2bench.reports.load import Report

_PACKAGES = ("matplotlib", "numpy", "pillow", "jinja2", "markupsafe", "pyyaml", "vl-convert-python")
"""What draws: with another version, the same results may give other bytes."""
_KEPT = ("run.json", "results", "pictures")
"""What a report shows of a run's folder."""

Contents = Mapping[str, bytes | None]
"""Files by name; None for one that is not to be there."""


def key_of(report: Report, formats: Collection[str]) -> str:
    """sha256 over everything that a report's bytes depend on: results, evidence and pictures, names, the code and what it draws with."""
    digest = hashlib.sha256()

    def add(*parts: str) -> None:
        for part in parts:
            digest.update(f"{len(part)}:{part}".encode())

    add(platform.python_version(), *sorted(formats), *report.run_names, *(run.name for run in report.runs))
    for package in _PACKAGES:
        add(package, metadata.version(package))
    for package in ("dp2bench.reports", "dp2bench.core"):
        folder = Path(str(resources.files(package)))
        for path in _files(folder):
            if path.suffix != ".pyc":
                add(path.relative_to(folder).as_posix(), content_sha256(path))
    add(*(content_sha256(path) for path in report.expected if path.is_file()))
    for run in report.runs:
        add("run")
        for name in _KEPT:
            for path in _files(run.folder / name):
                add(path.relative_to(run.folder).as_posix(), content_sha256(path))
    return digest.hexdigest()


def _files(path: Path) -> list[Path]:
    """A file, or those of a folder and its folders, in the order of their names."""
    return [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())


def remembered(key: str, make: Callable[[], Contents]) -> Contents:
    """What was made under a key before; it is made, and kept, where nothing was. Of a cache that cannot be written nobody hears."""
    path = cache_root() / "reports" / f"{key}.zip"
    try:
        with zipfile.ZipFile(path) as archive:
            absent = archive.comment.decode().split()
            return {**dict.fromkeys(absent), **{name: archive.read(name) for name in archive.namelist()}}
    except (OSError, zipfile.BadZipFile):  # never made, or its writing was killed
        contents = make()
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.partial")
        with zipfile.ZipFile(partial, "w") as archive:
            archive.comment = " ".join(name for name, content in contents.items() if content is None).encode()
            for name, content in contents.items():
                if content is not None:
                    archive.writestr(name, content)
        partial.replace(path)
    return contents
