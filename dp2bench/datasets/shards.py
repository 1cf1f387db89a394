"""Samples in tar files, as webdataset lays them out: the members of a sample follow each other and share the name before the dot.

Members are read by position and never extracted; arrays are read without unpickling.
"""

from __future__ import annotations

import io
import os
import struct
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dp2bench.core.errors import AnnotationError, DatasetError, writing

PATTERN = "out-{:06d}.tar"


class Shards:
    """The samples of a folder of tar files, in the order of the files' names and of the members within.

    Reading a sample is one read of the file's bytes per member and does not depend on what was read before; may be
    used from several threads and after a fork.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = sorted(folder.glob("*.tar"))
        self._rows: list[tuple[str, int, dict[str, tuple[int, int]]]] = []
        self._open: dict[tuple[int, int], int] = {}
        for number, file in enumerate(self.files):
            self._rows += [(key, number, members) for key, members in _index(file)]
        self._place = {key: i for i, (key, _, _) in enumerate(self._rows)}
        if len(self._place) < len(self._rows):
            twice = next(k for i, (k, _, _) in enumerate(self._rows) if self._place[k] != i)
            raise DatasetError(f"{folder} holds the sample {twice} more than once.", "Remove one of them.")

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def keys(self) -> list[str]:
        """The samples' names."""
        return [key for key, _, _ in self._rows]

    def key(self, place: int) -> str:
        """A sample's name."""
        return self._rows[place][0]

    def place(self, key: str) -> int | None:
        """Which sample has this name."""
        return self._place.get(key)

    def file(self, place: int) -> Path:
        """The tar file of a sample."""
        return self.files[self._rows[place][1]]

    def members(self, place: int) -> Mapping[str, bytes]:
        """All of a sample's members by what follows the first dot of their names, as the file has it."""
        return {ending: self.member(place, ending) for ending in self._rows[place][2]}

    def has(self, place: int, ending: str) -> bool:
        """Whether a sample has a member of this ending, in whatever case."""
        return self._find(place, ending) is not None

    def member(self, place: int, ending: str) -> bytes:
        """One member by its ending, in whatever case (webdataset does not tell ``E_mask.png`` from ``e_mask.png``)."""
        member = self._find(place, ending)
        key, number, _ = self._rows[place]
        if member is None:
            raise DatasetError(
                f"The sample {key} of {self.files[number]} has no {ending}.", "Get the archive again."
            )
        offset, size = member
        data = os.pread(self._handle(number), size, offset)
        if len(data) < size:
            raise DatasetError(
                f"{self.files[number]} ends within the sample {key}.", "Get the archive again."
            )
        return data

    def array(self, place: int, ending: str) -> NDArray[Any]:
        """A member that is an .npy file. Raises DatasetError where it is none, or one of objects."""
        try:
            values: NDArray[Any] = np.lib.format.read_array(
                io.BytesIO(self.member(place, ending)), allow_pickle=False
            )
        except DatasetError:
            raise
        except Exception as error:  # a damaged header is read as Python, and raises anything
            key, number, _ = self._rows[place]
            raise DatasetError(
                f"{key}.{ending} of {self.files[number]} is no array: {error}.", "Get the archive again."
            ) from error
        return values

    def _find(self, place: int, ending: str) -> tuple[int, int] | None:
        members = self._rows[place][2]
        if ending in members:
            return members[ending]
        return next((where for name, where in members.items() if name.lower() == ending.lower()), None)

    def _handle(self, number: int) -> int:
        # One descriptor a process and file; pread leaves no position behind that threads would share.
        mine = os.getpid(), number
        if mine not in self._open:
            self._open[mine] = os.open(self.files[number], os.O_RDONLY)
        return self._open[mine]

    def close(self) -> None:
        """Close the files that were opened; reading opens them again."""
        for (process, _), handle in self._open.items():
            if process == os.getpid():
                os.close(handle)
        self._open.clear()

    def __del__(self) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}


def _index(file: Path) -> Iterator[tuple[str, dict[str, tuple[int, int]]]]:
    """Each sample of a tar file: its key, and offset and size of each member by ending."""
    key = ""
    members: dict[str, tuple[int, int]] = {}
    try:
        length = file.stat().st_size
        with tarfile.open(file, "r:") as archive:
            for info in archive:
                if not info.isreg():
                    continue
                if info.size < 0 or info.offset_data + info.size > length:
                    raise tarfile.ReadError(f"it ends within {info.name}")
                if ".." in info.name.split("/") or info.name.startswith("/"):
                    raise tarfile.ReadError(f"the name {info.name} leads out of it")
                folder, _, name = info.name.rpartition("/")
                stem, dot, ending = name.partition(".")
                if not dot:
                    continue
                full = f"{folder}/{stem}" if folder else stem
                if full != key and members:
                    yield key, members
                    members = {}
                key = full
                if ending.lower() in {name.lower() for name in members}:
                    raise tarfile.ReadError(f"{info.name} is there twice")
                members[ending] = info.offset_data, info.size
                archive.members = []  # type: ignore[attr-defined]  # or it keeps every header in memory
    except (tarfile.TarError, OSError, EOFError, ValueError, OverflowError, struct.error) as error:
        raise AnnotationError(
            f"{file} is no tar file that can be read: {error}.", "Get the archive again."
        ) from error
    if members:
        yield key, members


class ShardWriter:
    """Writes samples to ``out-000000.tar``, ``out-000001.tar``, ...; equal samples give equal bytes.

    Args:
        folder: is made; must hold no tar files yet.
        most: samples in a file,
        bytes_: and about how many bytes, as the published archives have them.

    """

    def __init__(self, folder: Path, *, most: int = 1000, bytes_: int = 200 << 20) -> None:
        empty_folder(folder)
        self.folder, self.most, self.bytes = folder, most, bytes_
        self._number, self._count, self._size = -1, most, 0
        self._archives = Archives()

    def write(self, key: str, members: Mapping[str, bytes]) -> None:
        """Add a sample: its members by ending."""
        if self._count >= self.most or self._size >= self.bytes:
            self._number, self._count, self._size = self._number + 1, 0, 0
        self._archives.write(self.folder / PATTERN.format(self._number), key, members)
        self._count += 1
        self._size += sum(map(len, members.values()))

    def close(self) -> None:
        """Finish the file that is open."""
        self._archives.close()

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class Archives:
    """Adds samples to tar files, one of which is open at a time."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._archive: tarfile.TarFile | None = None

    def write(self, path: Path, key: str, members: Mapping[str, bytes]) -> None:
        """Add a sample to the end of a file, which is made where it is not there."""
        if path != self._path:
            self.close()
        with writing(path):
            if self._archive is None:
                self._path, self._archive = path, tarfile.open(path, "a:")  # noqa: SIM115 - closed by `close`
            for ending, data in members.items():
                info = tarfile.TarInfo(f"{key}.{ending}")
                info.size = len(data)
                self._archive.addfile(info, io.BytesIO(data))
        self._archive.members = []  # type: ignore[attr-defined]  # or it keeps every header in memory

    def close(self) -> None:
        """Finish the file that is open."""
        if self._archive is not None:
            archive, self._archive = self._archive, None
            with writing(self._path or ""):
                archive.close()

    def __enter__(self) -> Archives:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def empty_folder(folder: Path) -> None:
    """Make a folder for tar files. Raises DatasetError where it holds some already."""
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.glob("*.tar")):
        raise DatasetError(f"{folder} holds tar files already.", "Write to an empty folder.")


def npy(array: NDArray[Any]) -> bytes:
    """An .npy file as bytes."""
    out = io.BytesIO()
    np.save(out, array, allow_pickle=False)
    return out.getvalue()
