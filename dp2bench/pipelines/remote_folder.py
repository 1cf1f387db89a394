"""A folder of an object store, done in batches that come to this machine, go back, and are noted when they are there.

    list -> fetch (a thread, one batch ahead) -> work on a folder here -> upload -> note

What lies here at a time are two batches. A kill costs one, and so do two machines that are given the same command: each batch is whoever's.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from dp2bench.core.errors import Dp2benchError
from dp2bench.core.paths import UNFINISHED
from dp2bench.core.remote import Remote
from dp2bench.core.temporary import TemporaryFolder

FILES = 1000
"""Of a batch, at most."""
BYTES = 512 << 20
"""Of a batch, at most; a single file may be larger."""
_NOTES = UNFINISHED.removesuffix(".jsonl")
Noted = Mapping[str, Any]
"""What became of a batch, as JSON."""


@dataclass(frozen=True)
class Batch:
    """Files that are done together, with a name that changes when one of them does."""

    names: tuple[str, ...]
    identity: str


def batches(files: Mapping[str, Mapping[str, Any]]) -> list[Batch]:
    """Files by name, with what the store says of them, in batches. What belongs together by its name stays together."""
    made: list[Batch] = []
    names: list[str] = []
    size = 0
    digest = hashlib.sha256()
    stem = ""

    def close() -> None:
        nonlocal names, size, digest
        if names:
            made.append(Batch(tuple(names), digest.hexdigest()[:32]))
        names, size, digest = [], 0, hashlib.sha256()

    for name, about in sorted(files.items()):
        path = PurePosixPath(name)
        of = f"{path.parent}/{path.name.partition('.')[0]}"
        bytes_of = int(about.get("size") or 0)
        if of != stem and (len(names) >= FILES or size + bytes_of > BYTES):
            close()
        stem = of
        names.append(name)
        size += bytes_of
        stamp = about.get("ETag") or about.get("etag") or about.get("mtime") or about.get("created")
        digest.update(f"{name}\0{bytes_of}\0{stamp}\0".encode("utf-8", "surrogateescape"))
    close()
    return made


class RemoteFolder:
    """A folder that becomes another one, batch by batch.

    Args:
        source: URL of what there is.
        target: URL of where it goes.
        settings: whatever changes the outcome; a target that was begun with others is not gone on with.

    Raises:
        Dp2benchError: there is nothing in the source, or something else in the target.

    """

    def __init__(self, source: str, target: str, settings: Mapping[str, Any]) -> None:
        self.source, self.target = Remote(source), Remote(target)
        if _within(target, source) or _within(source, target):
            raise Dp2benchError(
                f"One of {self.source.url} and {self.target.url} lies inside the other.",
                "Choose an OUT beside IN.",
            )
        self.refused: list[str] = []
        found = self.source.files()
        folders = {str(folder) for name in found for folder in PurePosixPath(name).parents}
        files = {name: about for name, about in found.items() if self._holds(name, folders)}
        if not files:
            raise Dp2benchError(
                f"{self.source.url} holds no files.",
                "Give the URL of a folder that holds pictures or videos.",
            )
        self.batches = batches(files)
        self.files = len(files)
        self._settings = json.dumps(
            {**settings, "source": self.source.url}, sort_keys=True, default=str
        ).encode()
        self._check_target()

    def _holds(self, name: str, folders: Collection[str]) -> bool:
        """Whether a name can be one of a file here, where these are folders."""
        if not name or name.endswith("/"):
            return False  # what some tools put into a store for a folder
        good = name not in folders and all(part not in {"", ".", ".."} for part in name.split("/"))
        if not good:
            self.refused.append(f"{self.source.url}/{name} has a name that no folder can hold.")
        return good

    def _check_target(self) -> None:
        begun = f"{_NOTES}/settings.json"
        if not self.target.exists(begun):
            if self.target.files():
                raise Dp2benchError(
                    f"{self.target.url} is not empty.",
                    "Choose a new place, so that nothing of an earlier run is mixed in.",
                )
            self.target.create(begun, self._settings)
        if self.target.read(begun) != self._settings:
            raise Dp2benchError(
                f"{self.target.url} was begun with other settings and is not finished.",
                "Give the command it was begun with, or choose a new place.",
            )

    def run(self, work: Callable[[Path, Path], Noted]) -> Iterator[Noted]:
        """Do every batch that is not done: ``work`` makes what is in one folder into what it leaves in another, and says what became of it.

        Yields what was said of each batch, in order, by this run or an earlier one.
        """
        pool = ThreadPoolExecutor(1)
        with TemporaryFolder("dp2bench-remote-") as folder:
            coming = pool.submit(self._fetch, self.batches[0], folder / "in-0")
            try:
                for k, batch in enumerate(self.batches):
                    fetched = coming.result()
                    if k + 1 < len(self.batches):
                        coming = pool.submit(self._fetch, self.batches[k + 1], folder / f"in-{k + 1}")
                    yield (
                        self._work(work, batch, fetched, folder / f"out-{k}")
                        if isinstance(fetched, Path)
                        else fetched
                    )
            finally:
                pool.shutdown(cancel_futures=True)

    def _work(self, work: Callable[[Path, Path], Noted], batch: Batch, here: Path, out: Path) -> Noted:
        text = json.dumps(work(here, out), default=str)
        for path, url in ((here, self.source.url), (out, self.target.url)):
            text = text.replace(str(path), url)
        self._upload(out)
        self.target.write(self._note(batch), text.encode())
        for used in (here, out):
            shutil.rmtree(used, ignore_errors=True)
        said: Noted = json.loads(text)
        return said

    def _note(self, batch: Batch) -> str:
        return f"{_NOTES}/{batch.identity}.json"

    def _fetch(self, batch: Batch, target: Path) -> Path | Noted:
        """A batch as files of this machine, or what was said of it where it is done."""
        try:
            said: Noted = json.loads(self.target.read(self._note(batch)))
        except (FileNotFoundError, ValueError):
            self.source.download_all(batch.names, target)
            return target
        return said

    def _upload(self, out: Path) -> None:
        paths = sorted(path for path in out.rglob("*") if path.is_file())
        self.target.upload_all({path.relative_to(out).as_posix(): path for path in paths})

    def close(self) -> None:
        """The target is whole: forget what was noted."""
        for name in self.target.files(_NOTES):
            self.target.delete(name)
        self.target.delete_folder(_NOTES)


def _within(inner: str, outer: str) -> bool:
    return f"{inner.rstrip('/')}/".startswith(f"{outer.rstrip('/')}/")
