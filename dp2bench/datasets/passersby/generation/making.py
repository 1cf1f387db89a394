"""Making a dataset: its chunks by worker processes that can be killed at any time, and a folder that appears whole."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from dp2bench.core.contracts import Progress
from dp2bench.core.locks import wait_for
from dp2bench.datasets.passersby.generation import labels
from dp2bench.datasets.passersby.generation.builder import DatasetBuilder
from dp2bench.datasets.passersby.generation.chunks import chunk_file, is_readable, read_chunk
from dp2bench.datasets.passersby.generation.workers import make_chunks


def make(builder: DatasetBuilder[Any], size: str, root: Path, progress: Progress) -> None:
    """Make a size at ``root`` unless it is there; goes on where an earlier attempt was killed."""
    root.parent.mkdir(parents=True, exist_ok=True)
    with wait_for(root.with_name(f"{root.name}.lock")):  # nobody else makes it meanwhile
        if root.exists():
            return
        partial = root.with_name(f"{root.name}.partial")
        parts = partial / "parts"
        parts.mkdir(parents=True, exist_ok=True)
        for unfinished in parts.glob("*.tmp"):
            unfinished.unlink()
        chunks = builder.plan(size)
        total = sum(map(len, chunks))
        missing = [k for k in range(len(chunks)) if not is_readable(chunk_file(parts, k))]
        done = total - sum(len(chunks[k]) for k in missing)
        progress(done, total)
        for k in make_chunks(builder, size, parts, missing):
            done += len(chunks[k])
            progress(done, total)
        whole = partial / "whole"
        shutil.rmtree(whole, ignore_errors=True)
        whole.mkdir()
        builder.assemble(size, (read_chunk(chunk_file(parts, k)) for k in range(len(chunks))), whole)
        write_manifest(builder, size, whole)
        whole.rename(root)
        shutil.rmtree(partial)


def write_manifest(builder: DatasetBuilder[Any], size: str, root: Path) -> None:
    """Write which dataset this is, what its size holds, and the sha256 of every file and of what its labels say."""
    files = sorted(p for p in root.rglob("*") if p.is_file())
    hashes = {p.relative_to(root).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
    manifest = {
        "dataset": builder.name,
        "version": builder.version,
        "size": size,
        "holds": repr(builder.sizes[size]),
        **({"labels": labels.kind_hashes(root)} if size in labels.SIZES else {}),
        "sha256": dict(sorted(hashes.items())),
    }
    (root / "manifest.json").write_text(json.dumps(manifest, indent=1))
