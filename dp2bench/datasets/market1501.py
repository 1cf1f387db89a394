"""Market-1501: person re-identification over six cameras (Zheng et al., ICCV 2015)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import ClassVar

from dp2bench.core.contracts import Dataset, DatasetMeta
from dp2bench.core.errors import DatasetError
from dp2bench.core.images import is_picture_name, write_image
from dp2bench.core.types import Image, Sample, SampleId

FOLDERS = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}
"""Folder of each split."""

DISTRACTORS = "images"
"""Folder of the published 500,000 distractors (Market-1501+500k), which can be added to the gallery; torchreid reads it there too."""

JUNK = -1
"""Identity of gallery pictures that count neither as right nor as wrong."""

DISTRACTOR = 0
"""Identity of gallery pictures that show nobody of the query."""

_OFFICIAL = "Market-1501-v15.09.15"
_NAME = re.compile(r"(-1|\d{4})_c([1-6])s(\d+)_(\d+)_(\d+)\.jpg")
_DISTRACTOR_NAME = re.compile(r"(-1|\d+)_c([1-6]).*\.jpg")
_LAST_IDENTITY = 1501
_GET_IT = (
    "Download Market-1501-v15.09.15.zip (see https://zheng-lab.cecs.anu.edu.au/Project/project_reid.html), unpack it, "
    "and give the folder that holds bounding_box_train, query and bounding_box_test."
)


class Market1501(Dataset):
    """Market-1501 in its official layout.

    Labels of a sample: ``identity`` (-1 junk, 0 distractor), ``camera`` (1..6), ``sequence``, ``frame``, ``box``.

    Args:
        root: the folder that holds ``bounding_box_train``, ``query`` and ``bounding_box_test``, or one that holds
            ``Market-1501-v15.09.15`` or (torchreid's layout) ``market1501/Market-1501-v15.09.15``.
        distractors: whether the pictures in the folder ``images`` beside these belong to the gallery, as with torchreid's
            ``market1501_500k=True``. They are anonymized with the others.
        official: whether `verify` compares the number of pictures and identities with the published ones.

    """

    layout = "market1501"
    needs_root: ClassVar[bool] = True
    expected_counts: ClassVar[Mapping[str, tuple[int, int]] | None] = {
        "train": (12_936, 751),
        "query": (3_368, 750),
        "gallery": (19_732, 750),
    }
    """Published number of files and of identities (without junk and distractors) a split; None to check neither."""

    def __init__(self, root: Path, *, distractors: bool = False, official: bool = True) -> None:
        self.meta = DatasetMeta(
            name="market1501",
            version="v15.09.15",
            licence="none given; published for research",
            splits=tuple(FOLDERS),
            homepage="https://zheng-lab.cecs.anu.edu.au/Project/project_reid.html",
            description="32,668 boxes of 1,501 people seen by six cameras, 64 x 128 pixels",
        )
        root = Path(root).expanduser()
        places = [root, root / _OFFICIAL, root / "market1501" / _OFFICIAL, root / "market1501"]
        self.root = next((p for p in places if any((p / f).is_dir() for f in FOLDERS.values())), root)
        self.official, self.distractors = official, distractors
        if distractors:
            self.meta = replace(self.meta, version=f"{self.meta.version}+500k")
        self._samples: dict[str, tuple[Sample, ...]] = {}

    def samples(self, split: str) -> Sequence[Sample]:
        """The pictures of ``train``, ``query`` or ``gallery`` sorted by name, junk included."""
        if split not in self._samples:
            self._samples[split] = tuple(self._read(split))
        return self._samples[split]

    def _folder(self, split: str) -> Path:
        if split not in FOLDERS:
            raise DatasetError(
                f"{self.meta.name} has no split {split!r}.", f"Choose one of {', '.join(FOLDERS)}."
            )
        return self.root / FOLDERS[split]

    def _read(self, split: str) -> Iterable[Sample]:
        folder = self._folder(split)
        if not folder.is_dir():
            raise DatasetError(f"{self.meta.name} lacks the folder {folder}.", _GET_IT)
        for path in sorted(folder.rglob("*")):
            if not is_picture_name(path) or not path.is_file():
                continue
            if path.parent != folder:
                raise DatasetError(
                    f"{path} lies in a folder of its own, and Market-1501 has all pictures of a split in {folder}.",
                    "Move the pictures there, or remove the folder.",
                )
            yield Sample(SampleId(path.name), path, _labels(path))
        if split == "gallery" and self.distractors:
            yield from self._read_distractors()

    def _read_distractors(self) -> Iterable[Sample]:
        """The pictures that are added to the gallery; their ids begin with the folder's name."""
        folder = self.root / DISTRACTORS
        if not folder.is_dir():
            raise DatasetError(
                f"{self.meta.name} lacks the folder {folder} of the 500,000 distractors.",
                f"Unpack distractors_500k.zip and name its folder {DISTRACTORS}, or leave distractors out.",
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

    def _path(self, root: Path, split: str, sample_id: str) -> Path:
        """Where a picture lies below a root."""
        if split == "gallery" and sample_id.startswith(f"{DISTRACTORS}/"):
            return root / sample_id
        return root / FOLDERS[split] / sample_id

    def verify(self) -> None:
        """Check folders, names, queries without an answer and, for the official dataset, counts.

        Raises:
            DatasetError: says what is missing and where to get it.

        """
        absent = [folder for folder in FOLDERS.values() if not (self.root / folder).is_dir()]
        if absent:
            raise DatasetError(f"{self.meta.name} at {self.root} lacks {', '.join(absent)}.", _GET_IT)
        empty = [FOLDERS[split] for split in FOLDERS if not self.samples(split)]
        if empty:
            raise DatasetError(
                f"{self.meta.name} at {self.root} has no pictures in {', '.join(empty)}.", _GET_IT
            )
        problems = []
        if self.official and self.expected_counts is not None:
            for split, (files, people) in self.expected_counts.items():
                samples = [s for s in self.samples(split) if not s.id.startswith(f"{DISTRACTORS}/")]
                identities = {s.labels["identity"] for s in samples} - {JUNK, DISTRACTOR}
                if (len(samples), len(identities)) != (files, people):
                    problems.append(
                        f"{FOLDERS[split]} has {len(samples):,} pictures of {len(identities):,} identities "
                        f"instead of {files:,} of {people:,}"
                    )
        if problems:
            raise DatasetError(
                f"{self.meta.name} at {self.root} is not complete: {'; '.join(problems)}.", _GET_IT
            )
        unanswered = self._unanswered()
        if unanswered:
            shown = ", ".join(f"{identity:04d}" for identity in unanswered[:10])
            raise DatasetError(
                f"{self.meta.name} at {self.root}: {len(unanswered)} query identities have no picture of another "
                f"camera in {FOLDERS['gallery']}: {shown}{', ...' if len(unanswered) > 10 else ''}.",
                f"Add their gallery pictures or remove their queries. {_GET_IT}",
            )

    def _unanswered(self) -> list[int]:
        cameras: dict[int, set[int]] = {}
        for sample in self.samples("gallery"):
            cameras.setdefault(sample.labels["identity"], set()).add(sample.labels["camera"])
        asked, answered = set(), set()
        for sample in self.samples("query"):
            identity = sample.labels["identity"]
            asked.add(identity)
            if cameras.get(identity, set()) - {sample.labels["camera"]}:
                answered.add(identity)
        return sorted(asked - answered)

    def written(self, out: Path, split: str, sample: Sample) -> Path:
        """See `Dataset.written`."""
        return self._path(out, split, sample.id)

    def rewrite(self, out: Path, images: Iterable[tuple[str, SampleId, Image | None]]) -> Market1501:
        """A copy with these pictures: same folders and file names; what is not handed over is left out.

        Raises:
            DatasetError: a picture is not one of this dataset, or ``out`` holds pictures that were not handed over.

        """
        out = Path(out)
        if out.resolve() == self.root.resolve():
            raise DatasetError(f"{out} is the dataset itself.", "Write the copy to another folder.")
        handed: dict[str, set[str]] = {split: set() for split in FOLDERS}
        for folder in chain(FOLDERS.values(), [DISTRACTORS] * self.distractors):
            (out / folder).mkdir(parents=True, exist_ok=True)
        known: dict[str, set[str]] = {}
        for split, sample_id, image in images:
            if split not in known:
                known[split] = {sample.id for sample in self.samples(split)}
            if sample_id not in known[split]:
                raise DatasetError(
                    f"{self.meta.name} has no picture {sample_id} in {split}.",
                    "Hand over ids of its samples.",
                )
            if image is not None:
                write_image(self._path(out, split, sample_id), image)
            handed[split].add(sample_id)
        copy = self.open(out)
        for split, folder in FOLDERS.items():
            strange = sorted({sample.id for sample in copy.samples(split)} - handed[split])
            if strange:
                raise DatasetError(
                    f"{out / folder} holds {len(strange)} pictures of something else, e.g. {strange[0]}.",
                    "Write the copy to an empty folder.",
                )
        return copy

    def open(self, root: Path) -> Market1501:
        """The dataset at another root, of any number of pictures."""
        opened = Market1501(root, distractors=self.distractors, official=False)
        opened.meta = self.meta
        return opened


def _labels(path: Path) -> dict[str, int]:
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
