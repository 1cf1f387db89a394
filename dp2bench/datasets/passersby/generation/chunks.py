"""A finished chunk of a dataset: arrays in an .npz file that is whole or not there."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]


def pack_arrays(arrays: Arrays) -> bytes:
    """An .npz file as bytes."""
    out = io.BytesIO()
    np.savez(out, **arrays)  # type: ignore[arg-type,unused-ignore]
    return out.getvalue()


def join_blobs(blobs: Sequence[bytes]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Blobs end to end as one array, and the N + 1 places where they start and end; `split_blobs` is its inverse."""
    return np.frombuffer(b"".join(blobs), np.uint8), np.cumsum([0, *map(len, blobs)])


def split_blobs(joined: NDArray[np.uint8], places: NDArray[np.int64]) -> list[bytes]:
    """The blobs that were joined."""
    whole = joined.tobytes()
    return [whole[a:b] for a, b in zip(places[:-1].tolist(), places[1:].tolist(), strict=True)]


def join_columns(columns: Mapping[str, Sequence[bytes]]) -> dict[str, NDArray[Any]]:
    """Blobs by column as arrays ``column`` and ``column_first``; `split_columns` is its inverse."""
    arrays: dict[str, NDArray[Any]] = {}
    for name, blobs in columns.items():
        arrays[name], arrays[f"{name}_first"] = join_blobs(blobs)
    return arrays


def split_columns(arrays: Arrays, names: Sequence[str]) -> list[dict[str, bytes]]:
    """The rows of `join_columns`: of each item its blob by column."""
    columns = [split_blobs(arrays[name], arrays[f"{name}_first"]) for name in names]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that is never seen half written."""
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    unfinished.write_bytes(data)
    unfinished.replace(path)


def read_chunk(path: Path) -> Arrays:
    """The arrays of an .npz file."""
    with np.load(path, allow_pickle=False) as data:
        return {name: data[name] for name in data.files}


def is_readable(path: Path) -> bool:
    """Whether a chunk is there and whole."""
    try:
        read_chunk(path)
    except (OSError, ValueError, zipfile.BadZipFile):
        return False
    return True


def chunk_file(folder: Path, number: int) -> Path:
    """Where a chunk of this number is kept until the dataset is whole."""
    return folder / f"{number:05d}.npz"
