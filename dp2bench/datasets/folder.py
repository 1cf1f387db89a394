"""A folder of pictures, or one picture: no labels, no annotations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar

from dp2bench.core.contracts import Dataset, DatasetMeta
from dp2bench.core.errors import DatasetError
from dp2bench.core.images import list_pictures, write_image
from dp2bench.core.types import Image, Sample, SampleId


class Folder(Dataset):
    """Every file under ``root`` that is named like a picture; a single picture is a folder of one."""

    layout: ClassVar[str] = "folder"
    needs_root: ClassVar[bool] = True

    def __init__(self, root: Path) -> None:
        self.root = root
        self.meta = DatasetMeta(name="folder", version="1", licence="the owner's", splits=("all",))
        self._samples: list[Sample] | None = None

    def samples(self, split: str) -> Sequence[Sample]:
        """See `Dataset.samples`; the only split is ``all``."""
        if split != "all":
            raise DatasetError(f"A folder has no split {split!r}.", "Its only split is 'all'.")
        if self._samples is None:
            if self.root.is_file():
                self._samples = [Sample(SampleId(self.root.name), self.root)]
            else:
                self._samples = [
                    Sample(SampleId(p.relative_to(self.root).as_posix()), p) for p in list_pictures(self.root)
                ]
        return self._samples

    def rewrite(self, out: Path, images: Iterable[tuple[str, SampleId, Image]]) -> Folder:
        """The same names under ``out``; a single picture is written to ``out`` itself, or into it where it is a folder."""
        for _, name, image in images:
            single = self.root.is_file() and not out.is_dir() and out.suffix
            write_image(out if single else out / name, image)
        return Folder(out)

    def verify(self) -> None:
        """Raises DatasetError for a folder that is missing or holds no picture."""
        self.samples("all")

    def open(self, root: Path) -> Folder:
        """Another folder."""
        return Folder(root)
