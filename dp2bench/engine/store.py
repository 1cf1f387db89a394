"""Finished steps by content key: a folder appears whole or not at all, however a run ends, and one of several machines makes it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import shutil
import tarfile
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

from dp2bench.core.errors import Dp2benchError, writing
from dp2bench.core.locks import wait_for
from dp2bench.core.paths import cache_root
from dp2bench.core.remote import Remote, is_url, local_path

_MACHINE = "".join(c if c.isalnum() or c in "-._" else "-" for c in platform.node()) or "machine"


class Store:
    """Outputs of steps under ``root``, which several machines may share.

    No lock need hold between machines: each works in a folder of its own. Two that do the same step at once both do it, and the one
    that is finished first publishes it; renaming a folder is atomic.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or cache_root()

    @property
    def place(self) -> str:
        """What `open_store` opens it by, on any machine."""
        return str(self.root.absolute())

    def path(self, key: str) -> Path:
        """Where the finished step lies, or will, on this machine."""
        return self.root / "steps" / key[:2] / key

    def has(self, key: str) -> bool:
        """Whether the step is finished."""
        return self.path(key).is_dir()

    def folder(self, key: str) -> Path:
        """The files of a finished step."""
        return self.path(key)

    @contextlib.contextmanager
    def working(self, key: str) -> Iterator[Path]:
        """A folder to do a step in, kept after a kill so that the step may go on from there; published on success.

        One process of this machine at a time works on a key; another waits and then finds it finished (the folder yielded is thrown away).
        """
        work = self.root / "work" / _MACHINE / key
        try:
            work.parent.mkdir(parents=True, exist_ok=True)
            lock = wait_for(work.parent / f"{key}.lock")
        except OSError as error:
            raise Dp2benchError(
                f"The cache folder {self.root} cannot be written: {error.strerror}.",
                "Free some space, or point DP2BENCH_CACHE at a folder you may write to.",
            ) from error
        with lock:
            work.mkdir(exist_ok=True)
            yield work
            if self.has(key):
                shutil.rmtree(work)
            else:
                self._publish(key, work)
            Path(lock.name).unlink(missing_ok=True)

    def _publish(self, key: str, work: Path) -> None:
        """Move a step's folder into place, unless another machine was faster."""
        self.path(key).parent.mkdir(parents=True, exist_ok=True)
        try:
            work.rename(self.path(key))
        except OSError:
            if not self.has(key):
                raise
            shutil.rmtree(work)


class ObjectStore(Store):
    """Outputs of steps in an object store, with copies on this machine, where steps work.

    A step is ``steps/<key>-<attempt>.tar``, and its name, size and sha256 in ``steps/<key>.json``, which is written only where there is
    none (a conditional put): the first of several machines wins, whatever they do at once. What another machine made is fetched when it is needed.

    Args:
        url: where it is.

    """

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        super().__init__(cache_root() / "stores" / hashlib.sha256(self._url.encode()).hexdigest()[:16])
        self._remote: Remote | None = None
        self._listed: set[str] | None = None

    def __getstate__(self) -> dict[str, object]:
        return {"_url": self._url, "root": self.root, "_remote": None, "_listed": None}

    @property
    def place(self) -> str:
        """See `Store.place`."""
        return self._url

    @property
    def remote(self) -> Remote:
        """The place itself."""
        if self._remote is None:
            self._remote = Remote(self._url)
        return self._remote

    def has(self, key: str) -> bool:
        """See `Store.has`."""
        if super().has(key):  # only what is published is kept here
            return True
        if self._listed is None:
            self._listed = {name.rpartition("/")[2] for name in self.remote.files("steps")}
        return f"{key}.json" in self._listed or self.remote.exists(f"steps/{key}.json")

    def folder(self, key: str) -> Path:
        """See `Store.folder`; fetched where this machine has it not."""
        if not self.path(key).is_dir():
            self._fetch(key)
        return self.path(key)

    def _publish(self, key: str, work: Path) -> None:
        attempt = f"steps/{key}-{uuid.uuid4().hex[:8]}.tar"
        with tempfile.TemporaryDirectory(dir=self.root) as folder:
            packed = Path(folder, "step.tar")
            with writing(packed):
                links = _pack(work, packed)
            about = {"data": attempt, "links": links, "sha256": _sha256(packed)}
            self.remote.upload(str(packed), attempt)
        if self.remote.create(f"steps/{key}.json", json.dumps(about, sort_keys=True).encode()):
            super()._publish(key, work)
        else:
            self.remote.delete(attempt)
            shutil.rmtree(work)

    def _fetch(self, key: str) -> None:
        about = json.loads(self.remote.read(f"steps/{key}.json"))
        self.root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.root) as folder:
            packed, whole = Path(folder, "step.tar"), Path(folder, "whole")
            with writing(self.root):
                self.remote.download(about["data"], str(packed))
                if _sha256(packed) != about["sha256"]:
                    raise Dp2benchError(
                        f"{self.remote.url}/{about['data']} is not what was written there: its sha256 differs.",
                        f"Delete {self.remote.url}/steps/{key}.json, and the step is done again.",
                    )
                with tarfile.open(packed) as archive:
                    archive.extractall(whole, filter="data")
                for name, target in about["links"].items():
                    (whole / name).symlink_to(target)
                super()._publish(key, whole)


def _pack(folder: Path, target: Path) -> dict[str, str]:
    """Write a folder to a tar file. Links stay out: where they lead to, by their names."""
    links = {
        path.relative_to(folder).as_posix(): str(path.readlink())
        for path in sorted(folder.rglob("*"))
        if path.is_symlink()
    }

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        if member.issym():
            return None
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        return member

    with tarfile.open(target, "w") as archive:
        archive.add(folder, ".", filter=plain)
    return links


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def open_store(place: str | None = None) -> Store:
    """The store at a folder or URL; that of this machine's cache where nothing is named."""
    place = place or os.environ.get("DP2BENCH_STORE")
    if not place:
        return Store()
    if not is_url(place):
        return Store(Path(place))
    path = local_path(place)
    return ObjectStore(place) if path is None else Store(path)


class Journal:
    """``journal.jsonl`` of a run: each step that was finished or found finished, with its wall time."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, **entry: object) -> None:
        """Append one line, whole."""
        with writing(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry, sort_keys=True) + "\n")
