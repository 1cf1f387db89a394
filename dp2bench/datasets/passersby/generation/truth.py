"""What is known of everybody in a scene, beside the official labels: who, which pixel shows which vertex, keypoints, face."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dp2bench.core.errors import DatasetError
from dp2bench.core.types import People, SurfaceMap
from dp2bench.datasets.passersby.generation.encoding import encode_png
from dp2bench.datasets.passersby.rendering.body import SKIN_VERTICES, Zone, kit
from dp2bench.datasets.passersby.rendering.identities import Identity
from dp2bench.datasets.passersby.rendering.street import StreetView
from dp2bench.datasets.passersby.rendering.template import NAME as TEMPLATE
from dp2bench.datasets.passersby.rendering.visibility import VisiblePerson

FOLDER = "passersby"
"""Folder of a dataset that holds what the official layout has no place for."""


def surfaces_png(view: StreetView) -> bytes:
    """The people of a view as a 16-bit PNG, (H, W, 3): number of the person from 1, vertex + 2, part + 1; 0 where nobody is.

    A vertex entry of 1 is something that is carried. Parts are those of `Zone`.
    """
    out = np.zeros((*view.things.shape, 3), np.uint16)
    part_of = np.append(kit().zone[:SKIN_VERTICES], Zone.BAG)
    for n, seen in enumerate(view.people):
        x0, y0, x1, y1 = seen.box
        mine = seen.surface != -1
        vertex = seen.surface[mine].astype(np.int64)
        out[y0:y1, x0:x1][mine] = np.stack(
            [
                np.full(len(vertex), n + 1),
                np.maximum(vertex + 2, 1),
                part_of[np.where(vertex < 0, -1, vertex)] + 1,
            ],
            1,
        )
    return encode_png(out[..., ::-1])


def person_row(seen: VisiblePerson, identity: int, **more: Any) -> dict[str, Any]:
    """One person as plain values, pixels to two digits."""
    return {
        "identity": identity,
        "box": seen.box.tolist(),
        "keypoints": [[round(float(x), 2), round(float(y), 2), int(v)] for x, y, v in seen.keypoints],
        "face": None if np.isnan(seen.face).any() else [round(float(v), 2) for v in seen.face],
        **more,
    }


def write_tables(
    root: Path, people: Mapping[str, Mapping[str, Any]], identities: Iterator[tuple[int, Identity]]
) -> None:
    """People by split and picture, and the attributes of every identity."""
    for split, pictures in people.items():
        (root / FOLDER / f"people_{split}.json").write_text(json.dumps(pictures, separators=(",", ":")))
    attributes = {number: identity.attributes() for number, identity in identities}
    (root / FOLDER / "attributes.json").write_text(json.dumps(attributes, indent=1))


class Truth:
    """Reads what was written beside the official labels.

    Args:
        root: the untouched dataset.

    """

    def __init__(self, root: Path) -> None:
        self.folder = root / FOLDER
        self._rows: dict[str, dict[str, list[dict[str, Any]]]] = {}

    def rows(self, split: str, name: str) -> list[dict[str, Any]]:
        """The people of a picture as plain values; DatasetError for a picture that is none of this dataset."""
        if split not in self._rows:
            self._rows[split] = json.loads((self.folder / f"people_{split}.json").read_text())
        if name not in self._rows[split]:
            raise DatasetError(
                f"{self.folder.parent.name} has no picture {name}.",
                "Open the copy with the size it was made from.",
            )
        return self._rows[split][name]

    def maps(self, split: str, name: str) -> NDArray[np.uint16]:
        """(H, W, 3) as in `surfaces_png`."""
        path = self.folder / "surfaces" / split / f"{name}.png"
        read = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if read is None:
            raise DatasetError(
                f"{path} is missing or damaged.", "Delete the dataset; it is made again on the next use."
            )
        return np.asarray(read[..., ::-1], np.uint16)

    def people(self, split: str, name: str) -> People:
        """The exact people of a picture, nearest last."""
        rows, maps = self.rows(split, name), self.maps(split, name)
        masks = np.zeros((len(rows), *maps.shape[:2]), bool)
        surfaces = []
        for n, row in enumerate(rows):
            x0, y0, x1, y1 = row["box"]
            split_blobs = maps[y0:y1, x0:x1]
            mine = split_blobs[..., 0] == n + 1
            masks[n, y0:y1, x0:x1] = mine
            vertices = np.where(
                mine & (split_blobs[..., 1] > 1), split_blobs[..., 1].astype(np.int32) - 2, -1
            )
            surfaces.append(SurfaceMap(TEMPLATE, np.array(row["box"], np.int32), vertices.astype(np.int32)))
        faces = [row["face"] or [np.nan] * 4 for row in rows]
        return People.of(
            [row["box"] for row in rows],
            masks=masks,
            keypoints=np.array([row["keypoints"] for row in rows], np.float32).reshape(-1, 17, 3),
            faces=np.array(faces, np.float32).reshape(-1, 4),
            surfaces=surfaces,
        )
