"""`passersby-reid`: rendered people in the layout of Market-1501, made on first use."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dp2bench.core.errors import DatasetError
from dp2bench.core.types import People, Sample, SurfaceMap
from dp2bench.datasets.market1501 import Market1501
from dp2bench.datasets.passersby.base import RenderedDataset
from dp2bench.datasets.passersby.reid_builder import HEIGHT, WIDTH, ReidBuilder
from dp2bench.datasets.passersby.rendering.template import NAME as TEMPLATE
from dp2bench.datasets.reid import FOLDERS


class PassersbyReID(RenderedDataset, Market1501):
    """Rendered passers-by: re-identification with exact masks, keypoints, faces and body surface.

    `attributes` tell before which cameras (from 1) somebody wears no jacket (``without_jacket``) and what then (``under_*``), and
    before which they have no bag with them (``without_bag``).

    Args:
        size: ``smoke`` (seconds, for tests), ``mini`` (128 identities) or ``large`` (800); by default that of the dataset at
            ``root``, else ``mini``.
        root: a copy in this layout (e.g. an anonymized one); by default it is made in the cache, ``$DP2BENCH_CACHE``.

    """

    builder = ReidBuilder

    def __init__(self, size: str | None = None, root: Path | None = None) -> None:
        Market1501.__init__(self, self._bind(size, root), official=False)
        self.meta = self._describe(
            ("train", "query", "gallery"), "Rendered passers-by in the layout of Market-1501"
        )
        self._annotations: dict[str, dict[str, Any]] = {}

    def samples(self, split: str) -> Sequence[Sample]:
        """See `Dataset.samples`; makes the dataset on first use."""
        if self.is_original:
            self.prepare()
        return Market1501.samples(self, split)

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
