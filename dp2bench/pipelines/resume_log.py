"""What of a folder is finished, so that the same command goes on where it was stopped, however it was."""

from __future__ import annotations

import json
import os
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from dp2bench.core.errors import Dp2benchError, writing
from dp2bench.core.files import TEMPORARY, flush_to_disk, write_bytes
from dp2bench.core.hashing import Content, content_sha256, stamp
from dp2bench.core.paths import UNFINISHED


class ResumeLog:
    """The files of a folder that are finished.

    It lies in the folder until that is whole: a line for the settings, and a line a file with its original's `Content`. Of a million lines
    only the places are held. Whether an original is what it was is told by its stamp, and where that is another, by its sha256.

    Args:
        folder: where the anonymized pictures go.
        settings: whatever changes the outcome; a journal of other settings is not gone on from.

    Raises:
        Dp2benchError: the folder holds files, and they are not the beginning of this.

    """

    NAME = UNFINISHED

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self._path = folder / self.NAME
        self._folder = folder
        self._head = json.dumps(dict(settings), sort_keys=True, default=str)
        self._lines: BinaryIO | None = None
        self._count, self._next = 0, 0
        self._index: tuple[array[int], array[int]] | None = None
        if self._path.exists():
            self._read()
        elif folder.is_dir() and any(not name.startswith(TEMPORARY) for name in _names_in(folder)):
            raise Dp2benchError(
                f"The folder {folder} is not empty.",
                "Choose a new folder, so that nothing of an earlier run is mixed in.",
            )

    def _read(self) -> None:
        """Compare the settings, and count the lines."""
        self._lines = self._path.open("rb")
        head = self._lines.readline()
        if head != f"{self._head}\n".encode():
            self._lines.close()
            raise Dp2benchError(
                f"The folder {self._folder} was begun with other settings and is not finished.",
                "Give the command it was begun with, or choose a new folder.",
            )
        # a line that has no end was being written when the run was killed
        while block := self._lines.read(1 << 20):
            self._count += block.count(b"\n")
        self._lines.seek(len(head))
        self._next = len(head)

    def __len__(self) -> int:
        return self._count

    def begin(self) -> None:
        """Lay the journal into the folder, before anything else is, and take away what a killed run was writing."""
        with writing(self._path):
            self._folder.mkdir(parents=True, exist_ok=True)
            remove_unfinished(self._folder)
            if self._lines is None:
                write_bytes(self._path, f"{self._head}\n".encode())
            else:
                _end_last_line(self._path)

    def finished(
        self, name: str, original: str | Path, target: str | Path | None
    ) -> Mapping[str, Any] | None:
        """What was noted of a file that is finished and whose original is what it was then; else None.

        Args:
            name: of the file; those that come in the order in which they were finished are found at once.
            original: its path.
            target: that of what was written.

        """
        if self._lines is None or target is None or not os.access(target, os.F_OK):
            return None
        try:
            now = f"{_BEGIN}{_as_json(name)}{_STAMP}{stamp(original)}{_SHA256}".encode()
        except OSError:  # it is gone
            return None
        line = self._lines.readline()
        noted = _noted(line[len(now) + 64 :]) if line.startswith(now) else None
        if noted is None:
            line = self._line(_key(name), line)
            noted = _noted(line[len(now) + 64 :]) if line.startswith(now) else _noted_of(line, Path(original))
        self._next += len(line)
        return noted

    def _line(self, key: bytes, follows: bytes) -> bytes:
        """The last line that begins so, if there is one; what is read next is what follows it.

        Args:
            key: of a file.
            follows: the line that was read last, which may be another one's.

        """
        assert self._lines is not None
        if self._index is None and not follows:
            return b""  # all lines came in the order that was asked for, and there are no more
        hashes, places = self._found()
        k = bisect_right(hashes, hash(key)) - 1
        if k >= 0 and hashes[k] == hash(key):
            self._lines.seek(places[k])
            if (line := self._lines.readline()).startswith(key):
                self._next = places[k]
                return line
        self._lines.seek(self._next)
        return b""

    def _found(self) -> tuple[array[int], array[int]]:
        """Hashes of how lines begin, sorted, and where these lines are; of several of one file the last."""
        if self._index is None:
            import numpy as np

            assert self._lines is not None
            self._lines.seek(0)
            stamp_follows = _STAMP.encode()
            hashes, places, place = array("q"), array("q"), len(self._lines.readline())
            for line in self._lines:
                # One without a stamp, or without an end, was torn when the machine lost its power.
                end = line.find(stamp_follows) + len(stamp_follows)
                if end > len(stamp_follows) and line.endswith(b"}\n"):
                    hashes.append(hash(line[:end]))
                    places.append(place)
                place += len(line)
            order = np.argsort(hashes, kind="stable")
            ordered = np.asarray(hashes)[order]
            last = np.append(ordered[1:] != ordered[:-1], [True])[: len(ordered)]
            self._index = (
                array("q", ordered[last].tobytes()),
                array("q", np.asarray(places)[order][last].tobytes()),
            )
        return self._index

    def finish(self, name: str, original: Content, target: Path | None, **noted: Any) -> None:
        """Note that the anonymized version of a file is written; what is noted is on the disk, also after a loss of power.

        Args:
            name: of the file.
            original: what it was made from.
            target: what was written; None where it is on the disk already.
            noted: about it.

        """
        if target is not None:
            flush_to_disk(target)
        with writing(self._path), self._path.open("ab") as file:
            file.write(self.line(name, original, noted))

    @staticmethod
    def line(name: str, original: Content, noted: Mapping[str, Any]) -> bytes:
        """The line of a file."""
        content = f"{original.stamp}{_SHA256}{original.sha256}".encode()
        return _key(name) + content + _NOTED + json.dumps(noted).encode() + b"}\n"

    def withdraw(self) -> None:
        """Leave nothing behind where nothing was written."""
        if not len(self) and all(name == self.NAME for name in _names_in(self._folder)):
            self.close()
            self._folder.rmdir()

    def close(self) -> None:
        """The folder is whole."""
        if self._lines is not None:
            self._lines.close()
        self._path.unlink(missing_ok=True)


_BEGIN, _STAMP, _SHA256, _NOTED = '{"id": ', ', "stamp": "', '", "sha256": "', b'", "noted": '
_as_json = json.JSONEncoder().encode


def _key(name: str) -> bytes:
    """How the line of a file begins, up to its stamp."""
    return f"{_BEGIN}{_as_json(name)}{_STAMP}".encode()


@lru_cache(1024)  # most are the same
def _noted(end: bytes) -> Mapping[str, Any] | None:
    """What the end of a line notes, after the sha256; None where it was torn when the machine lost its power."""
    if not end.startswith(_NOTED):
        return None
    try:
        noted: Mapping[str, Any] = json.loads(end.removeprefix(_NOTED).removesuffix(b"}\n"))
    except ValueError:
        return None
    return noted


def _noted_of(line: bytes, original: Path) -> Mapping[str, Any] | None:
    """What a line notes, if it is whole and the original holds what it held then."""
    try:
        row = json.loads(line)
        noted: Mapping[str, Any] | None = row["noted"] if row["sha256"] == content_sha256(original) else None
    except (OSError, ValueError):
        return None
    return noted


def _end_last_line(path: Path) -> None:
    """Cut off what follows the last whole line."""
    with path.open("r+b") as file:
        size = end = file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - 65_536)
            file.seek(start)
            last = file.read(end - start).rfind(b"\n")
            if last >= 0:
                end = start + last + 1
                break
            end = start
        if end < size:
            file.truncate(end)


def _names_in(folder: Path) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            yield entry.name


def remove_unfinished(folder: Path) -> None:
    """Delete what a killed run was writing to: files that nobody else knows."""
    waiting = [str(folder)]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                elif entry.name.startswith(TEMPORARY) and len(entry.name) == len(TEMPORARY) + 8:
                    Path(entry.path).unlink(missing_ok=True)
