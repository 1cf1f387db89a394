"""What files hold, as one number."""

from __future__ import annotations

import hashlib
from pathlib import Path


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
