"""The labels of a made dataset as hashes of what they say, which come with the package: they are the same on every machine.

`write_labels` writes the hashes of a new version.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatch
from functools import lru_cache
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dp2bench.core.errors import DatasetError

SIZES = ("smoke", "mini")
"""The sizes whose hashes come with the package."""
PICTURES = ("*.jpg", "*.mp4", "leftImg8bit/*", "*/images/*", "*.image.png")
"""What is no label: equal to a grey level between machines, not to the bit. Members of archives are named as files beside them."""


def kind_hashes(root: Path, threads: int = 2) -> dict[str, str]:
    """Hexadecimal sha256 of each kind of label of a dataset, by its pattern of names, e.g. ``gtFine/**/*_gtFine_labelIds.png``.

    Of what the labels say, so that it does not depend on who wrote the files: values of JSON, shapes, types and values of arrays,
    decoded pixels of PNG.
    """
    kinds: dict[str, Any] = {}
    files = sorted(p for p in root.rglob("*") if p.is_file() and p != root / "manifest.json")
    with ThreadPoolExecutor(threads) as pool:
        for hashes in pool.map(lambda path: _hashes(root, path), files):
            for kind, digest in hashes:
                kinds.setdefault(kind, hashlib.sha256()).update(digest)
    return {name: kinds[name].hexdigest() for name in sorted(kinds)}


@lru_cache
def shipped_hashes() -> Mapping[str, Mapping[str, str]]:
    """`kind_hashes` by the name of a dataset's folder, e.g. ``passersby-coco-2.1-mini``."""
    hashes: dict[str, dict[str, str]] = json.loads(shipped_hashes_file().read_text("utf-8"))
    return hashes


def differing(name: str, mine: Mapping[str, str]) -> list[str]:
    """Kinds of labels of a dataset, by the name of its folder, that the package has other hashes of, or none."""
    theirs = shipped_hashes()[name]
    return sorted(k for k in {*mine, *theirs} if mine.get(k) != theirs.get(k))


def shipped_hashes_file() -> Path:
    """Where the hashes of `shipped_hashes` are kept."""
    return Path(str(resources.files(__package__))) / "labels.json"


def _hashes(root: Path, path: Path) -> list[tuple[str, bytes]]:
    """For each label of a file, an archive's members among them: its kind, and a hash of name and value."""
    hashes = []
    for name, content in _contents(path.relative_to(root).as_posix(), path):
        if not any(fnmatch(name, picture) for picture in PICTURES):
            for part, value in _values(name, content):
                digest = hashlib.sha256(f"{name}\0".encode() + value).digest()
                hashes.append((_kind(name) + part, digest))
    return hashes


def _contents(name: str, path: Path) -> Iterator[tuple[str, bytes]]:
    if path.suffix != ".tar":
        yield name, path.read_bytes()
        return
    with tarfile.open(path) as archive:
        for member in archive:
            opened = archive.extractfile(member)
            if opened is not None:
                yield f"{name.rpartition('/')[0]}/{member.name}", opened.read()


def _values(name: str, content: bytes) -> Iterator[tuple[str, bytes]]:
    """What a file says as bytes, by part where it has parts."""
    suffix = Path(name).suffix
    if suffix == ".json":
        yield "", json.dumps(json.loads(content), sort_keys=True, separators=(",", ":")).encode()
    elif suffix == ".png":
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
        if pixels is None:
            raise DatasetError(
                f"{name} is no PNG file that can be read.", "Delete the dataset; it is made again."
            )
        yield "", _plain(pixels)
    elif suffix == ".npy":
        yield "", _plain(np.load(io.BytesIO(content), allow_pickle=False))
    elif suffix == ".npz":
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            for part in arrays.files:
                if part == "surfaces":  # compressed, which zlib's versions do differently
                    joined, places = arrays[part].tobytes(), arrays["surface_first"].tolist()
                    yield f" {part}", b"".join(zlib.decompress(joined[a:b]) for a, b in pairwise(places))
                elif part != "surface_first":
                    yield f" {part}", _plain(arrays[part])
    else:
        yield "", content


def _plain(array: NDArray[Any]) -> bytes:
    little = array.astype(array.dtype.newbyteorder("<"))
    return f"{little.dtype.str} {little.shape}\0".encode() + little.tobytes()


def _kind(name: str) -> str:
    """The pattern of a file's name: what numbers it, and folders within folders, do not count."""
    *folders, file = name.split("/")
    return "/".join(
        [*folders[:1], *(["**"] if folders[1:] else []), re.sub(r"^([a-z]+_)?\d{4,}(_\d+)?", "*", file)]
    )
