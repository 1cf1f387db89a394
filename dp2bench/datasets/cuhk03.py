"""CUHK03 as torchreid unpacks it: pictures in a folder, and JSON files with who is where (Li et al., CVPR 2014; Zhong et al., CVPR 2017)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from dp2bench.core.contracts import DatasetMeta
from dp2bench.core.errors import DatasetError
from dp2bench.core.files import copy_file, write_bytes
from dp2bench.core.types import Sample, SampleId
from dp2bench.datasets.missing import format_missing
from dp2bench.datasets.reid import TEST_IDENTITIES, ReidDataset, below

KINDS = ("detected", "labeled")
SPLITS = ("train", "query", "gallery")
_NAME = re.compile(r"\d_\d{3}_[12]_\d{2}\.png")
_ARCHIVE = "cuhk03_release/cuhk-03.mat"
_LEFT_OUT = b"Left out of this copy: it holds the pictures as they were. torchreid asks only whether the file is there.\n"


class Cuhk03(ReidDataset):
    """CUHK03 by the protocol of 767 and 700 identities, in the layout of torchreid's reader.

    Labels of a sample: ``identity``, ``camera`` (1 or 2, the side of the pair). Identities of the JSON begin with 0 in training: here
    they begin with 1, and those of query and gallery after `TEST_IDENTITIES`. Query and gallery have no picture in common.

    A copy has everything that torchreid's reader asks for. Its JSON files name the pictures with the copy's own path, as that reader
    wants it; the archive ``cuhk-03.mat``, which holds the clear pictures, is a note in its place.

    Args:
        root: the folder that holds ``images_detected`` and ``splits_new_detected.json``, or one that holds ``cuhk03``.
        labeled: read the boxes that people drew, rather than a detector's.
        official: whether `verify` compares the number of pictures and identities with the published ones.

    """

    layout: ClassVar[str] = "cuhk03"
    get_it = (
        "Request CUHK03 from its authors (http://www.ee.cuhk.edu.hk/~xgwang/CUHK_identification.html), and let torchreid unpack it: "
        "`torchreid.reid.data.datasets.image.cuhk03.CUHK03(root=FOLDER)`."
    )
    _counts: ClassVar[Mapping[str, Mapping[str, tuple[int, int]]]] = {
        "detected": {"train": (7_365, 767), "query": (1_400, 700), "gallery": (5_332, 700)},
        "labeled": {"train": (7_368, 767), "query": (1_400, 700), "gallery": (5_328, 700)},
    }

    def __init__(self, root: Path, *, labeled: bool = False, official: bool = True) -> None:
        self.labeled, self.kind = labeled, KINDS[labeled]
        meta = DatasetMeta(
            name="cuhk03",
            version=f"new-{self.kind}",
            licence="for research, by agreement with its authors",
            splits=SPLITS,
            homepage="http://www.ee.cuhk.edu.hk/~xgwang/CUHK_identification.html",
            description="14,097 boxes of 1,467 people, each seen by two cameras",
        )
        found = below(root, "cuhk03", holds=(f"images_{self.kind}", self._json(self.kind)))
        super().__init__(meta, found, official=official)
        self.is_copy = False
        self._table: Mapping[str, list[tuple[str, int, int]]] | None = None

    @staticmethod
    def _json(kind: str, protocol: str = "new") -> str:
        return f"splits_{protocol}_{kind}.json"

    def folders(self) -> Sequence[str]:
        """See `ReidDataset.folders`."""
        return (f"images_{self.kind}",)

    def label_files(self) -> Sequence[str]:
        """See `ReidDataset.label_files`."""
        return (self._json(self.kind),)

    def _expected(self) -> Mapping[str, tuple[int, int]]:
        return self._counts[self.kind]

    def _listed(self, split: str) -> list[tuple[str, int, int]]:
        """Name, identity and camera as they stand in the JSON."""
        if self._table is None:
            path = self.root / self._json(self.kind)
            if not path.is_file():
                raise DatasetError(f"{self.meta.name} lacks the file {path}.", self.get_it)
            self._table = _read_splits(path)
        return self._table[split]

    def _read(self, split: str) -> Iterable[Sample]:
        (folder,) = self.folders()
        there = set(self.pictures_in(folder))
        first = 1 if split == "train" else TEST_IDENTITIES + 1
        for name, identity, camera in sorted(self._listed(split)):
            if name in there:
                labels = {"identity": first + identity, "camera": camera + 1}
                yield Sample(SampleId(name), self.root / folder / name, labels)

    def verify(self) -> None:
        """See `ReidDataset.verify`; also that every picture of the JSON is there. Pictures of no split stay aside, as with torchreid.

        Raises:
            DatasetError: says what is missing and where to get it.

        """
        super().verify()
        (folder,) = self.folders()
        there = set(self.pictures_in(folder))
        gone = sorted({name for split in SPLITS for name, _, _ in self._listed(split)} - there)
        if gone and not self.is_copy:
            raise DatasetError(
                f"{self.root / folder} lacks {len(gone):,} pictures of {self._json(self.kind)}: {format_missing(gone, self.meta.name)}.",
                self.get_it,
            )

    def written(self, out: Path, split: str, sample: Sample) -> Path:
        """See `Dataset.written`."""
        return out / f"images_{self.kind}" / sample.id

    def _write_labels(self, out: Path) -> None:
        for kind in KINDS:
            (out / f"images_{kind}").mkdir(exist_ok=True)
            config = f"cuhk03_new_protocol_config_{kind}.mat"
            if (self.root / config).is_file():
                copy_file(self.root / config, out / config)
            for protocol in ("new", "classic"):
                name = self._json(kind, protocol)
                if (self.root / name).is_file():
                    moved = _moved(self.root / name, (out / f"images_{kind}").absolute())
                    write_bytes(out / name, json.dumps(moved, indent=4).encode())
        write_bytes(out / _ARCHIVE, _LEFT_OUT)

    def open(self, root: Path) -> Cuhk03:
        """The dataset at another root, of any number of pictures."""
        opened = Cuhk03(root, labeled=self.labeled, official=False)
        opened.meta, opened.is_copy = self.meta, True
        return opened


def _json_of(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"{path} cannot be read as JSON: {error}.", "Let torchreid write it again."
        ) from error


def _read_splits(path: Path) -> dict[str, list[tuple[str, int, int]]]:
    """The first split of a file of torchreid's: name, identity and camera (from 0) of each picture."""
    content = _json_of(path)
    try:
        table = {
            split: [(Path(where).name, int(who), int(camera)) for where, who, camera in content[0][split]]
            for split in SPLITS
        }
    except (TypeError, ValueError, KeyError, IndexError) as error:
        raise DatasetError(
            f"{path} is not a list with train, query and gallery, each of [path, identity, camera].",
            "Let torchreid write it again.",
        ) from error
    for split, rows in table.items():
        for name, _, _ in rows:
            if _NAME.fullmatch(name) is None:
                raise DatasetError(
                    f"{path}: {split} lists {name!r}, which is not named as 1_001_1_01.png.",
                    "Let torchreid write it again.",
                )
    return table


def _moved(path: Path, pictures: Path) -> Any:
    """The content of a file of splits, with the pictures in another folder."""
    content = _json_of(path)
    return [
        {
            key: [[str(pictures / Path(row[0]).name), *row[1:]] for row in rows] if key in SPLITS else rows
            for key, rows in split.items()
        }
        for split in content
    ]
