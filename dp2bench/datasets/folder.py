"""A folder of pictures, or one picture: no labels, no annotations."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable, Iterator, Sequence
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
from dp2bench.core.lazy import Lazy
from dp2bench.core.listing import Listing, Paths, list_files
from dp2bench.core.types import Image, Sample, SampleId, page_ids


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
            if self.root.is_file():
                here = self.root.parent
                self._listing = Listing(Paths(here, [self.root.name]), Paths(here))
            else:
                self._listing = list_files(self.root)
        return self._listing

    def samples(self, split: str) -> Sequence[Sample]:
        """See `Dataset.samples`; the only split is ``all``."""
        if self._samples is None or split != "all":
            self._samples = [sample for file in self.files(split) for sample in file]
        return self._samples

    def files(self, split: str) -> Sequence[tuple[Sample, ...]]:
        """See `Dataset.files`: each is opened, to count its pages, when it is asked for."""
        if split != "all":
            raise DatasetError(f"A folder has no split {split!r}.", "Its only split is 'all'.")
        pictures = self.listing.pictures
        return Lazy(len(pictures), lambda k: self._pages(pictures[k]))

    def places(self, out: Path, split: str) -> Iterator[tuple[str, str, str | None]]:
        """See `Dataset.places`."""
        pictures, copy, is_one = self.listing.pictures, str(out), self._is_one(out)
        root = str(pictures.root)
        for name in pictures.names():
            yield name, f"{root}/{name}", copy if is_one else f"{copy}/{name}"

    def _pages(self, path: Path) -> tuple[Sample, ...]:
        name = path.relative_to(self.listing.pictures.root).as_posix()
        pages = count_pages(path)
        if pages == 1:
            return (Sample(SampleId(name), path),)
        return tuple(
            Sample(sample, path, {"file": name, "page": page, "pages": pages})
            for page, sample in enumerate(page_ids(name, pages))
        )

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
        return out if self._is_one(out) else out / str(sample.labels.get("file", sample.id))

    def _is_one(self, out: Path) -> bool:
        """Whether a single picture goes to this very file."""
        return self.root.is_file() and not out.is_dir() and bool(out.suffix)

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
        by_id: dict[SampleId, Sample] = {}
        pages: list[tuple[Sample, Image]] = []
        for split, name, image in images:
            if image is None:
                continue
            by_id = by_id or {sample.id: sample for sample in self.samples("all")}
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
