"""A folder of pictures, or one picture: no labels, no annotations."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar

from dp2bench.core.contracts import Dataset, DatasetMeta
from dp2bench.core.errors import DatasetError
from dp2bench.core.images import (
    FORMATS,
    PictureFile,
    count_pages,
    read_bytes,
    rewrite_pages,
    target_format,
)
from dp2bench.core.listing import Listing, list_files
from dp2bench.core.types import Image, Sample, SampleId


class Folder(Dataset):
    """Every picture under ``root``; a single picture is a folder of one.

    A file of several pages or frames is several samples, ``scan.tif/00000000``, ``scan.tif/00000001``, …, as the frames of a video are.
    What else lies there is in `listing`.

    A file stays open while a picture that was read from it is in use, so that who writes it again decodes it once.
    """

    layout: ClassVar[str] = "folder"
    needs_root: ClassVar[bool] = True

    def __init__(self, root: Path) -> None:
        self.root = root
        self.meta = DatasetMeta(name="folder", version="2", licence="the owner's", splits=("all",))
        self._listing: Listing | None = None
        self._samples: list[Sample] | None = None
        self._open: dict[Path, tuple[PictureFile, list[weakref.ref[Image]]]] = {}
        self._opening = threading.Lock()

    @property
    def listing(self) -> Listing:
        """What lies under ``root``."""
        if self._listing is None:
            self._listing = Listing([self.root]) if self.root.is_file() else list_files(self.root)
        return self._listing

    def samples(self, split: str) -> Sequence[Sample]:
        """See `Dataset.samples`; the only split is ``all``."""
        if split != "all":
            raise DatasetError(f"A folder has no split {split!r}.", "Its only split is 'all'.")
        if self._samples is None:
            self._samples = [sample for path in self.listing.pictures for sample in self._pages(path)]
        return self._samples

    def _pages(self, path: Path) -> list[Sample]:
        name = path.name if path == self.root else path.relative_to(self.root).as_posix()
        pages = count_pages(path)
        if pages == 1:
            return [Sample(SampleId(name), path)]
        return [
            Sample(SampleId(f"{name}/{page:08d}"), path, {"file": name, "page": page, "pages": pages})
            for page in range(pages)
        ]

    def _file(self, path: Path) -> tuple[PictureFile, list[weakref.ref[Image]]]:
        """The file, opened, and who uses its pictures; the last one stays open."""
        with self._opening:
            if path not in self._open:
                for other in [
                    p for p, (_, users) in self._open.items() if not any(u() is not None for u in users)
                ]:
                    self._open.pop(other)[0].close()
                self._open[path] = PictureFile(read_bytes(path), str(path)), []
            return self._open[path]

    def read(self, sample: Sample) -> Image:
        """See `Dataset.read`. A file whose pages cannot be written again under its name counts as one that cannot be read."""
        file, users = self._file(sample.path)
        target_format(file, sample.path)
        image = file.page(sample.labels.get("page", 0)).image()
        users.append(weakref.ref(image))
        return image

    def written(self, out: Path, split: str, sample: Sample) -> Path:
        """See `Dataset.written`: the file of the same name; a single picture goes to ``out`` itself unless that is a folder."""
        if self.root.is_file() and not out.is_dir() and out.suffix:
            return out
        return out / str(sample.labels.get("file", sample.id))

    def write(
        self, out: Path, split: str, samples: Sequence[Sample], images: Sequence[Image]
    ) -> tuple[str, ...]:
        """See `Dataset.write`: all pages of the file, with its depth and colours; see `rewrite_pages`."""
        return rewrite_pages(self._file(samples[0].path)[0], self.written(out, split, samples[0]), images)

    def rewrite(self, out: Path, images: Iterable[tuple[str, SampleId, Image | None]]) -> Folder:
        """The same names under ``out``, each file with all its pages, depth and colours; the pages of a file must follow each other.

        Raises:
            PictureError: a file cannot hold its pictures.

        """
        by_id = {sample.id: sample for sample in self.samples("all")}
        pages: list[tuple[Sample, Image]] = []
        for split, name, image in images:
            if image is None:
                continue
            pages.append((by_id[name], image))
            if len(pages) == by_id[name].labels.get("pages", 1):
                self.write(out, split, *zip(*pages, strict=True))
                pages = []
        return Folder(out)

    def verify(self) -> None:
        """Raises DatasetError for a folder that is missing or holds no picture."""
        if not self.samples("all"):
            raise DatasetError(
                f"The folder {self.root} holds no pictures.",
                f"Put pictures there; names that end in {', '.join(FORMATS)} are read.",
            )

    def open(self, root: Path) -> Folder:
        """Another folder."""
        return Folder(root)
