"""MSMT17: person re-identification over fifteen cameras, in the lists that its authors publish (Wei et al., CVPR 2018)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from dp2bench.core.contracts import DatasetMeta
from dp2bench.core.errors import DatasetError
from dp2bench.core.files import copy_file
from dp2bench.core.types import Sample, SampleId
from dp2bench.datasets.missing import format_missing
from dp2bench.datasets.reid import TEST_IDENTITIES, ReidDataset, below

VERSIONS = {"MSMT17_V1": ("train", "test"), "MSMT17_V2": ("mask_train_v2", "mask_test_v2")}
"""Folder of each version, and the folders of its pictures; in version 2 faces are blurred."""
LISTS = {split: f"list_{split}.txt" for split in ("train", "val", "query", "gallery")}
"""File of each split: a line a picture, ``0000/0000_000_01_0303morning_0015_0.jpg 0``, the name below its folder and the identity."""
_NAME = re.compile(r"(?:.*/)?[^/_]+_[^/_]+_(\d+)(?:_[^/]*)?\.(?:jpg|png)")


class MSMT17(ReidDataset):
    """MSMT17 in its official layout, version 1 or 2.

    Labels of a sample: ``identity``, ``camera`` (from 1). Identities of the lists begin with 0, in training and test anew: here they
    begin with 1, and those of query and gallery after `TEST_IDENTITIES`.

    Args:
        root: the folder that holds ``list_train.txt`` and the others, or one that holds ``MSMT17_V1``, ``MSMT17_V2`` or (torchreid's
            layout) one of them in ``msmt17``.
        official: whether `verify` compares the number of pictures and identities with the published ones.

    """

    layout: ClassVar[str] = "msmt17"
    get_it = (
        "Request MSMT17 from its authors (Wei et al., CVPR 2018; their page is gone), unpack it, and give the folder that holds "
        "list_train.txt, list_val.txt, list_query.txt and list_gallery.txt."
    )
    expected_counts: ClassVar[Mapping[str, tuple[int, int]] | None] = {
        "train": (30_248, 1_041),
        "val": (2_373, 1_041),
        "query": (11_659, 3_060),
        "gallery": (82_161, 3_060),
    }

    def __init__(self, root: Path, *, official: bool = True) -> None:
        places = [place for version in VERSIONS for place in (version, f"msmt17/{version}")]
        found = below(root, *places, holds=tuple(LISTS.values()))
        version = next((v for v, (train, _) in VERSIONS.items() if (found / train).is_dir()), "MSMT17_V1")
        meta = DatasetMeta(
            name="msmt17",
            version=version.removeprefix("MSMT17_"),
            licence="for research, by agreement with its authors",
            splits=tuple(LISTS),
            homepage="http://www.pkuvmc.com/publications/msmt17.html",
            description="126,441 boxes of 4,101 people seen by fifteen cameras",
        )
        self._train, self._test = VERSIONS[version]
        super().__init__(meta, found, official=official)
        self.is_copy = False

    def folders(self) -> Sequence[str]:
        """See `ReidDataset.folders`."""
        return self._train, self._test

    def label_files(self) -> Sequence[str]:
        """See `ReidDataset.label_files`."""
        return tuple(LISTS.values())

    def _place(self, split: str) -> str:
        return LISTS[split]

    def _folder(self, split: str) -> str:
        return self._train if split in ("train", "val") else self._test

    def _listed(self, split: str) -> list[tuple[str, int]]:
        """Names and identities as they stand in the list."""
        path = self.root / LISTS[split]
        if not path.is_file():
            raise DatasetError(f"{self.meta.name} lacks the file {path}.", self.get_it)
        listed = []
        for number, line in enumerate(path.read_text("utf-8", errors="surrogateescape").splitlines(), 1):
            name, _, identity = line.rpartition(" ")
            if not identity.isdecimal() or _NAME.fullmatch(name) is None or ".." in Path(name).parts:
                raise DatasetError(
                    f"{path}, line {number}: {line[:80]!r} is not a picture and its identity, as "
                    "'0000/0000_000_01_0303morning_0015_0.jpg 0', with the camera in third place of the name.",
                    "Use the list that came with the dataset.",
                )
            listed.append((name, int(identity)))
        return listed

    def _read(self, split: str) -> Iterable[Sample]:
        folder = self._folder(split)
        there = set(self.pictures_in(folder))
        first = 1 if folder == self._train else TEST_IDENTITIES + 1
        for name, identity in sorted(self._listed(split)):
            if name in there:
                match = _NAME.fullmatch(name)
                assert match is not None  # `_listed` has seen to it
                labels = {"identity": first + identity, "camera": int(match[1])}
                yield Sample(SampleId(name), self.root / folder / name, labels)

    def verify(self) -> None:
        """See `ReidDataset.verify`; also that lists and folders name the same pictures.

        Raises:
            DatasetError: says what is missing and where to get it.

        """
        super().verify()
        for splits in (("train", "val"), ("query", "gallery")):
            folder = self._folder(splits[0])
            listed = {name for split in splits for name, _ in self._listed(split)}
            there = set(self.pictures_in(folder))
            if strange := sorted(there - listed):
                raise DatasetError(
                    f"{len(strange)} pictures in {self.root / folder} are in no list: {format_missing(strange, self.meta.name)}.",
                    "Add them to a list, or remove them: nobody is overlooked silently.",
                )
            if not self.is_copy and (gone := sorted(listed - there)):
                raise DatasetError(
                    f"{self.root / folder} lacks {len(gone):,} pictures of the lists: {format_missing(gone, self.meta.name)}.",
                    self.get_it,
                )

    def written(self, out: Path, split: str, sample: Sample) -> Path:
        """See `Dataset.written`."""
        return out / self._folder(split) / sample.id

    def _write_labels(self, out: Path) -> None:
        for file in self.label_files():
            copy_file(self.root / file, out / file)

    def open(self, root: Path) -> MSMT17:
        """The dataset at another root, of any number of pictures."""
        opened = MSMT17(root, official=False)
        opened.meta, opened.is_copy = self.meta, True
        opened._train, opened._test = self._train, self._test
        return opened
