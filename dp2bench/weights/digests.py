"""What a file of weights is checked against: its record, and the digests that its publisher gives."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from dp2bench.core.errors import Dp2benchError
from dp2bench.weights.catalogue import Entry


def sha256(path: Path) -> str:
    """Of a file's content; remembered while size and time of change stay the same."""
    status = path.stat()
    return _digest(str(path.resolve()), status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=256)
def _digest(path: str, size: int, changed: int) -> str:
    with Path(path).open("rb") as file:
        return (
            hashlib.file_digest(file, "sha256").hexdigest()
            if hasattr(hashlib, "file_digest")
            else _slow(file)
        )


def _slow(file: Any, kind: str = "sha256") -> str:
    digest = hashlib.new(kind, usedforsecurity=kind != "md5")
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def md5(path: Path) -> str:
    """Of a file's content: what some publishers give; tells damage, not tampering."""
    with path.open("rb") as file:
        return _slow(file, "md5")


def record(path: Path) -> Path:
    """The file that keeps a weights file's sha256 since it was fetched or imported, as ``sha256sum -c`` reads it."""
    return path.with_name(path.name + ".sha256")


def write_record(path: Path) -> None:
    """Keep a file's sha256 beside it."""
    record(path).write_text(f"{sha256(path)}  {path.name}\n", encoding="utf-8")


def check_record(path: Path) -> bool:
    """Whether a file has a record of its sha256; what generators and detectors are asked before they are used.

    Raises:
        Dp2benchError: it has changed since it was fetched or imported.

    """
    if not record(path).is_file():
        return False
    expected = record(path).read_text("utf-8").partition(" ")[0]
    if (got := sha256(path)) != expected:
        raise Dp2benchError(
            f"{path} has changed since it was fetched or imported: its sha256 is {got}, its record says {expected}.",
            f"Delete it and {record(path).name}, and fetch or import it again.",
        )
    return True


REHEARSAL = "rehearsal.json"
"""In a folder of weights, what `dp2bench rehearse` wrote there in place of published files: sha256 by name."""


def is_rehearsal(path: Path) -> bool:
    """Whether a file holds the random numbers of a rehearsal, so that nobody's digest can be asked of it."""
    listed = path.parent / REHEARSAL
    if not listed.is_file() or not path.is_file():
        return False
    known: dict[str, str] = json.loads(listed.read_text("utf-8"))
    return known.get(path.name) == sha256(path)


def check_md5(path: Path, known: Entry) -> None:
    """Raise a Dp2benchError if a published file is not the one its authors name."""
    if known.md5 and not is_rehearsal(path) and (got := md5(path)) != known.md5:
        raise Dp2benchError(
            f"{path} is not the published {known.name}: its MD5 is {got}, published is {known.md5}.",
            "It is damaged, incomplete or another file: download it again.",
        )


def check_sha256(path: Path, known: Entry) -> None:
    """Raise a Dp2benchError if a published file's sha256 is another, as far as its authors give it."""
    published = known.sha256 or known.sha256_begins
    if published and not (got := sha256(path)).startswith(published) and not is_rehearsal(path):
        raise Dp2benchError(
            f"{path} is not the published {known.name}: its sha256 is {got}, published is {published}{'' if known.sha256 else '…'}.",
            "It is damaged, incomplete or another file: download it again.",
        )


def verify(path: Path, known: Entry | None = None) -> str:
    """Compare a file with its record and with every digest that its authors give; one line that says which those are.

    Raises:
        Dp2benchError: one differs.

    """
    against = ["its record"] if check_record(path) else []
    if known is not None and path.name == known.file:
        check_sha256(path, known)
        check_md5(path, known)
        against += ["the published sha256"] * bool(known.sha256)
        against += ["the digits that are published of its sha256"] * bool(known.sha256_begins)
        against += ["the published MD5"] * bool(known.md5)
    return f"matches {' and '.join(against)}" if against else "readable; nothing to compare it with"
