"""`passersby-reid`: rendered people in the layout of Market-1501, made on first use."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from dp2bench.core.contracts import DatasetMeta, Progress, no_progress
from dp2bench.core.errors import DatasetError
from dp2bench.core.types import People, Sample, SurfaceMap
from dp2bench.datasets.market1501 import FOLDERS, Market1501
from dp2bench.datasets.passersby.generation.builder import Made
from dp2bench.datasets.passersby.reid_builder import HEIGHT, WIDTH, ReID

TEMPLATE = "passersby-13380"
"""The surface template: the vertices of this dataset's body."""


class PassersbyReID(Market1501):
    """Rendered passers-by: re-identification with exact masks, keypoints, faces and body surface.

    Args:
        size: ``smoke`` (seconds, for tests), ``mini`` (128 identities) or ``large`` (800); by default that of the dataset at
            ``root``, else ``mini``.
        root: a copy in this layout (e.g. an anonymized one); by default it is made in the cache, ``$DP2BENCH_CACHE``.

    """

    layout: ClassVar[str] = "market1501"
    needs_root: ClassVar[bool] = False

    def __init__(self, size: str | None = None, root: Path | None = None) -> None:
        self.made = Made(ReID(), size, root)
        self.size = self.made.size
        self.original = self.made.root
        """Where the untouched dataset is: annotations of a copy are looked up there."""
        super().__init__(self.original if root is None else Path(root), official=False)
        self.meta = DatasetMeta(
            name="passersby-reid",
            version=self.made.version,
            licence="CC0-1.0",
            splits=("train", "query", "gallery"),
            description="Rendered passers-by in the layout of Market-1501, made on this machine",
        )
        self._annotations: dict[str, dict[str, Any]] = {}

    @property
    def _is_original(self) -> bool:
        return self.root == self.original

    def prepare(self, progress: Progress = no_progress) -> None:
        """Make the dataset in the cache unless it is there, calling ``progress(done, total)`` with pictures."""
        self.made.prepare(progress)

    def samples(self, split: str) -> Sequence[Sample]:
        """See `Dataset.samples`; makes the dataset on first use."""
        if self._is_original:
            self.prepare()
        return super().samples(split)

    def open(self, root: Path) -> PassersbyReID:
        """A copy of the same size at another root; people are those of the original."""
        return PassersbyReID(self.size, root)

    def verify(self) -> None:
        """Compare every file with the manifest (original), or check the layout (copy); raises DatasetError."""
        if self._is_original:
            self.made.verify()
        super().verify()

    def attributes(self) -> dict[int, dict[str, Any]]:
        """What each identity looks like, by identity: body, skin, hair, clothes; before which cameras (from 1) they wear no jacket
        (``without_jacket``) and what then (``under_*``), and before which they have no bag with them (``without_bag``).
        """
        self.prepare()
        found = json.loads((self.original / "annotations" / "attributes.json").read_text())
        return {int(identity): look for identity, look in found.items()}

    def people(self, sample: Sample) -> People:
        """The exact people of a picture, the one it is named after first; also for the samples of a copy."""
        data = self._of_split(self._split(sample))
        i = data["index"].get(str(sample.id))
        if i is None:
            raise DatasetError(
                f"passersby-reid ({self.size}) has no picture {sample.id}.",
                "Open the copy with the size it was made from.",
            )
        mine = range(int(data["first"][i]), int(data["first"][i + 1]))
        masks = np.zeros((len(mine), HEIGHT, WIDTH), bool)
        surfaces = []
        for mask, j in zip(masks, mine, strict=True):
            box: NDArray[np.int32] = data["boxes"][j]
            x0, y0, x1, y1 = (int(v) for v in box)
            blob = data["surfaces"][
                int(data["surface_first"][j]) : int(data["surface_first"][j + 1])
            ].tobytes()
            ids = np.frombuffer(zlib.decompress(blob), np.int16).reshape(y1 - y0, x1 - x0)
            mask[y0:y1, x0:x1] = ids != -1
            surfaces.append(SurfaceMap(TEMPLATE, box.copy(), np.maximum(ids, -1).astype(np.int32)))
        where = slice(mine.start, mine.stop)
        return People.of(
            data["boxes"][where].astype(np.float32),
            masks=masks,
            keypoints=data["keypoints"][where].copy(),
            faces=data["faces"][where].copy(),
            surfaces=surfaces,
        )

    @staticmethod
    def _split(sample: Sample) -> str:
        folder = sample.path.parent.name
        for split, name in FOLDERS.items():
            if folder == name:
                return split
        raise DatasetError(f"{sample.path} is in none of the folders {', '.join(FOLDERS.values())}.")

    def _of_split(self, split: str) -> dict[str, Any]:
        if split not in self._annotations:
            self.prepare()
            with np.load(self.original / "annotations" / f"{split}.npz", allow_pickle=False) as file:
                data: dict[str, Any] = {name: file[name] for name in file.files}
            data["index"] = {str(name): i for i, name in enumerate(data["names"])}
            self._annotations[split] = data
        return self._annotations[split]
