"""Detections on disk: one .npz a split, masks and surfaces cut to their boxes and packed. Never pickled."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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


def save_people(path: Path, people: Mapping[str, People]) -> None:
    """Write {sample id: People} so that `load_people` gives back equal arrays."""
    index: list[dict[str, Any]] = []
    blobs = bytearray()

    def put(array: NDArray[Any]) -> list[int]:
        data = zlib.compress(np.ascontiguousarray(array).tobytes(), 1)
        blobs.extend(data)
        return [len(blobs) - len(data), len(data)]

    for name, group in people.items():
        row: dict[str, Any] = {"id": name, "n": len(group), "masks": None, "surfaces": []}
        for key in _DTYPES:
            value = getattr(group, key)
            row[key] = None if value is None else put(value)
        if group.masks is not None:
            row["size"] = list(group.masks.shape[1:])
            row["masks"] = []
            for mask in group.masks:
                ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
                window = (
                    (int(ys[0]), int(ys[-1]) + 1, int(xs[0]), int(xs[-1]) + 1) if len(ys) else (0, 0, 0, 0)
                )
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
        index.append(row)
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        np.savez(
            file,
            index=np.frombuffer(json.dumps(index).encode(), np.uint8),
            blobs=np.frombuffer(bytes(blobs), np.uint8),
        )
    os.replace(partial, path)


class PeopleFile(Mapping[str, People]):
    """People by sample id, decoded when they are asked for."""

    def __init__(self, path: Path) -> None:
        try:
            with np.load(path, allow_pickle=False) as archive:
                self._rows = {row["id"]: row for row in json.loads(archive["index"].tobytes())}
                self._blobs = archive["blobs"].tobytes()
        except (OSError, ValueError, KeyError) as error:
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
        return People(masks=masks, surfaces=surfaces, **arrays)


def load_people(path: Path) -> PeopleFile:
    """Open what `save_people` wrote. Raises DatasetError for a broken file."""
    return PeopleFile(path)
