"""Market-1501: person re-identification over six cameras (Zheng et al., ICCV 2015)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from dp2bench.core.contracts import DatasetMeta
from dp2bench.core.errors import DatasetError
from dp2bench.core.types import Sample, SampleId
from dp2bench.datasets.reid import FOLDERS, BoundingBoxFolders, below

DISTRACTORS = "images"
"""Folder of the published 500,000 distractors (Market-1501+500k), which can be added to the gallery; torchreid reads it there too."""

_OFFICIAL = "Market-1501-v15.09.15"
_NAME = re.compile(r"(-1|\d{4})_c([1-6])s(\d+)_(\d+)_(\d+)\.jpg")
_DISTRACTOR_NAME = re.compile(r"(-1|\d+)_c([1-6]).*\.jpg")
_LAST_IDENTITY = 1501
_GET_IT = (
    "Download Market-1501-v15.09.15.zip (see https://zheng-lab.cecs.anu.edu.au/Project/project_reid.html), unpack it, "
    "and give the folder that holds bounding_box_train, query and bounding_box_test."
)
_GET_DISTRACTORS = f"Unpack distractors_500k.zip and name its folder {DISTRACTORS}, or leave distractors out."


class Market1501(BoundingBoxFolders):
    """Market-1501 in its official layout.

    Labels of a sample: ``identity`` (-1 junk, 0 distractor), ``camera`` (1..6), ``sequence``, ``frame``, ``box``.

    Args:
        root: the folder that holds ``bounding_box_train``, ``query`` and ``bounding_box_test``, or one that holds
            ``Market-1501-v15.09.15`` or (torchreid's layout) ``market1501/Market-1501-v15.09.15``.
        distractors: whether the pictures in the folder ``images`` beside these belong to the gallery, as with torchreid's
            ``market1501_500k=True``. They are anonymized with the others.
        official: whether `verify` compares the number of pictures and identities with the published ones.

    """

    layout: ClassVar[str] = "market1501"
    get_it = _GET_IT
    expected_counts: ClassVar[Mapping[str, tuple[int, int]] | None] = {
        "train": (12_936, 751),
        "query": (3_368, 750),
        "gallery": (19_732, 750),
    }

    def __init__(self, root: Path, *, distractors: bool = False, official: bool = True) -> None:
        meta = DatasetMeta(
            name="market1501",
            version="v15.09.15",
            licence="none given; published for research",
            splits=tuple(FOLDERS),
            homepage="https://zheng-lab.cecs.anu.edu.au/Project/project_reid.html",
            description="32,668 boxes of 1,501 people seen by six cameras, 64 x 128 pixels",
        )
        if distractors:
            meta = replace(meta, version=f"{meta.version}+500k")
        self.distractors = distractors
        places = (_OFFICIAL, f"market1501/{_OFFICIAL}", "market1501")
        super().__init__(meta, below(root, *places, holds=tuple(FOLDERS.values())), official=official)
        if distractors:
            self.get_it += f" {_GET_DISTRACTORS}"

    def folders(self) -> Sequence[str]:
        """See `ReidDataset.folders`."""
        return [*super().folders(), *[DISTRACTORS] * self.distractors]

    def labels(self, path: Path) -> Mapping[str, int]:
        """See `BoundingBoxFolders.labels`."""
        match = _NAME.fullmatch(path.name)
        if match is None or int(match[1]) > _LAST_IDENTITY:
            raise DatasetError(
                f"The name of {path} breaks Market-1501's pattern IIII_cCsS_FFFFFF_BB.jpg "
                f"(identity -1 or 0000..{_LAST_IDENTITY}, camera 1..6, sequence, frame, box; "
                "e.g. 0002_c1s1_000451_03.jpg).",
                "Rename the file or remove it from the dataset.",
            )
        identity, camera, sequence, frame, box = map(int, match.groups())
        return {"identity": identity, "camera": camera, "sequence": sequence, "frame": frame, "box": box}

    def _read(self, split: str) -> Iterable[Sample]:
        yield from super()._read(split)
        if split == "gallery" and self.distractors:
            yield from self._read_distractors()

    def _read_distractors(self) -> Iterable[Sample]:
        """The pictures that are added to the gallery; their ids begin with the folder's name."""
        folder = self.root / DISTRACTORS
        if not folder.is_dir():
            raise DatasetError(
                f"{self.meta.name} lacks the folder {folder} of the 500,000 distractors.",
                _GET_DISTRACTORS,
            )
        for path in sorted(folder.glob("*.jpg")):
            match = _DISTRACTOR_NAME.fullmatch(path.name)
            if match is None or int(match[1]) > _LAST_IDENTITY:
                raise DatasetError(
                    f"The name of {path} does not begin with an identity (-1 or 0..{_LAST_IDENTITY}) and a camera, as 0000_c1.",
                    "Rename the file or remove it from the dataset.",
                )
            labels = {"identity": int(match[1]), "camera": int(match[2]), "sequence": 0, "frame": 0, "box": 0}
            yield Sample(SampleId(f"{DISTRACTORS}/{path.name}"), path, labels)

    def _counted(self, split: str) -> Sequence[Sample]:
        return [s for s in self.samples(split) if not s.id.startswith(f"{DISTRACTORS}/")]

    def written(self, out: Path, split: str, sample: Sample) -> Path:
        """See `Dataset.written`."""
        if split == "gallery" and sample.id.startswith(f"{DISTRACTORS}/"):
            return out / sample.id
        return super().written(out, split, sample)

    def open(self, root: Path) -> Market1501:
        """The dataset at another root, of any number of pictures."""
        opened = Market1501(root, distractors=self.distractors, official=False)
        opened.meta = self.meta
        return opened
