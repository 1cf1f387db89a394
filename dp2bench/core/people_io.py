"""Detections on disk: one .npz a split, masks and surfaces cut to their boxes and packed. Never pickled."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from dp2bench.core.errors import DatasetError
from dp2bench.core.types import People, SurfaceMap

_DTYPES: dict[str, Any] = {
    "boxes": np.float32,
    "keypoints": np.float32,
    "faces": np.float32,
    "categories": np.int8,
    "scores": np.float32,
    "track_ids": np.int64,
}


def save_people(path: Path, people: Iterable[tuple[str, People]]) -> None:
    """Write (sample id, People) so that `load_people` gives back equal arrays.

    People are written as they come and not kept, so that memory does not grow with the number of pictures.
    """
    # The format says how long an array is before its values: they wait in files that have no name and vanish when a run is killed.
    with tempfile.TemporaryFile(dir=path.parent) as index, tempfile.TemporaryFile(dir=path.parent) as blobs:
        index.write(b"[")
        for i, (name, group) in enumerate(people):
            index.write((", " if i else "").encode() + json.dumps(_written(name, group, blobs)).encode())
        index.write(b"]")
        partial = path.with_name(path.name + ".partial")
        with zipfile.ZipFile(partial, "w") as archive:
            for member, values in (("index", index), ("blobs", blobs)):
                with archive.open(f"{member}.npy", "w", force_zip64=True) as file:
                    header = {"descr": "|u1", "fortran_order": False, "shape": (values.tell(),)}
                    np.lib.format.write_array_header_1_0(file, header)
                    values.seek(0)
                    shutil.copyfileobj(values, file)
    os.replace(partial, path)


def _written(name: str, group: People, blobs: IO[bytes]) -> dict[str, Any]:
    """The index's row of a picture, whose arrays are appended to ``blobs``."""

    def put(array: NDArray[Any]) -> list[int]:
        data = zlib.compress(np.ascontiguousarray(array).tobytes(), 1)
        at = blobs.tell()
        blobs.write(data)
        return [at, len(data)]

    size = None if group.image_size is None else list(group.image_size)
    row: dict[str, Any] = {"id": name, "n": len(group), "size": size, "masks": None, "surfaces": []}
    for key in _DTYPES:
        value = getattr(group, key)
        row[key] = None if value is None else put(value)
    if group.masks is not None:
        row["masks"] = []
        for mask in group.masks:
            ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            window = (int(ys[0]), int(ys[-1]) + 1, int(xs[0]), int(xs[-1]) + 1) if len(ys) else (0, 0, 0, 0)
            row["masks"].append(
                [*window, *put(np.packbits(mask[window[0] : window[1], window[2] : window[3]]))]
            )
    for surface in group.surfaces:
        row["surfaces"].append(
            surface
            and [
                surface.template,
                *surface.box.tolist(),
                *surface.vertices.shape,
                *put(surface.vertices.astype(np.int32)),
            ]
        )
    return row


class PeopleFile(Mapping[str, People]):
    """People by sample id, decoded when they are asked for."""

    def __init__(self, path: Path) -> None:
        try:
            with np.load(path, allow_pickle=False) as archive:
                self._rows = {row["id"]: row for row in json.loads(archive["index"].tobytes())}
                self._blobs = archive["blobs"]
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise DatasetError(
                f"{path} holds no detections that can be read: {error}.",
                "Delete it and run again; it will be made anew.",
            ) from error

    def __iter__(self) -> Any:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def _get(self, at: int, length: int, dtype: Any) -> NDArray[Any]:
        return np.frombuffer(zlib.decompress(self._blobs[at : at + length]), dtype)

    def __getitem__(self, name: str) -> People:
        row = self._rows[name]
        n = row["n"]
        arrays: dict[str, Any] = {
            k: None
            if row[k] is None
            else self._get(row[k][0], row[k][1], dtype).reshape(
                n, *{"boxes": (4,), "faces": (4,), "keypoints": (17, 3)}.get(k, ())
            )
            for k, dtype in _DTYPES.items()
        }
        masks = None
        if row["masks"] is not None:
            masks = np.zeros((n, *row["size"]), np.bool_)
            for mask, (y0, y1, x0, x1, at, length) in zip(masks, row["masks"], strict=True):
                mask[y0:y1, x0:x1] = np.unpackbits(
                    self._get(at, length, np.uint8), count=(y1 - y0) * (x1 - x0)
                ).reshape(y1 - y0, x1 - x0)
        surfaces = tuple(
            s
            and SurfaceMap(
                s[0], np.array(s[1:5], np.int32), self._get(s[7], s[8], np.int32).reshape(s[5], s[6])
            )
            for s in row["surfaces"]
        )
        size = row.get("size")  # files of earlier versions have it where there are masks
        return People(
            masks=masks, surfaces=surfaces, image_size=None if size is None else tuple(size), **arrays
        )


def load_people(path: Path) -> PeopleFile:
    """Open what `save_people` wrote. Raises DatasetError for a broken file."""
    return PeopleFile(path)
