"""What files hold, as one number."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import NamedTuple

_UNSURE = 3_000_000_000
"""ns within which a file can be written again without another time: FAT's clock ticks every two seconds."""


def name_bytes(name: str) -> bytes:
    """A file's name as bytes to be hashed: UTF-8, and where the name is none, something as good."""
    return name.encode("utf-8", "surrogatepass")


def content_sha256(path: Path) -> str:
    """Hexadecimal sha256 of a file; of a folder, of the names and contents of all files in it."""
    digest = hashlib.sha256()
    if path.is_dir():
        for file in sorted(p for p in path.rglob("*") if p.is_file()):
            digest.update(name_bytes(file.relative_to(path).as_posix()) + b"\0")
            digest.update(bytes.fromhex(content_sha256(file)))
        return digest.hexdigest()
    with path.open("rb") as opened:
        while block := opened.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def stamp(path: str | Path) -> str:
    """Size, times and place of a file, which change whenever its content does, but see `content_of`. Raises OSError."""
    about = os.stat(path)  # noqa: PTH116 - of millions
    return f"{about.st_size}-{about.st_mtime_ns}-{about.st_ctime_ns}-{about.st_ino}"


class Content(NamedTuple):
    """What a file held: its sha256, and its `stamp` before that was taken; empty where it was written so lately that no stamp can tell."""

    stamp: str
    sha256: str


def content_of(path: Path) -> Content:
    """What a file holds now. Raises OSError."""
    before, about = stamp(path), path.stat()
    lately = time.time_ns() - max(about.st_mtime_ns, about.st_ctime_ns) < _UNSURE
    return Content("" if lately else before, content_sha256(path))
