"""Errors that a user can act on: what is wrong, where, and what to do next."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


class Dp2benchError(Exception):
    """A problem with the user's input or machine. The command line prints it without a traceback.

    Args:
        problem: what is wrong and where, naming the file, key or plug-in.
        remedy: what to do next, as an instruction.
        details: further lines of the problem, where it is a list of things.

    """

    def __init__(self, problem: str, remedy: str = "", details: Sequence[str] = ()) -> None:
        super().__init__(problem, remedy, details)
        self.problem = problem
        self.remedy = remedy
        self.details = tuple(details)

    def __str__(self) -> str:
        return "\n".join((self.problem, *self.details, self.remedy) if self.details else (self.problem,)) + (
            f" {self.remedy}" if self.remedy and not self.details else ""
        )


class PictureError(Dp2benchError):
    """A file that cannot be read as a picture; the run goes on without it and counts it."""


class DatasetError(Dp2benchError):
    """A dataset that is missing, incomplete, or not in its official layout."""


class AnnotationError(DatasetError):
    """Annotations that are broken, or contradict themselves, each other, or their pictures: nobody knows who is in the picture."""

    def __init__(self, problem: str, remedy: str = "") -> None:
        # A file may name a picture in letters that no terminal can print.
        super().__init__(*(text.encode("utf-8", "backslashreplace").decode() for text in (problem, remedy)))


class PluginError(Dp2benchError):
    """A method, task, dataset or detector that is unknown, registered twice, or fails to import."""


class SuiteError(Dp2benchError):
    """A suite file that does not validate; the message points at line and key."""


class ResultError(Dp2benchError):
    """A result file that cannot be read: broken, not a result, or of a schema version this dp2bench does not know."""


_NO_PERMISSION = ("no permission", "Give yourself write permission on the folder, or choose another one.")
_NO_SPACE = ("no space is left", "Free space on that disk, or choose another folder, then run again.")
_DISK_PROBLEMS = {
    errno.ENOSPC: _NO_SPACE,
    errno.EDQUOT: _NO_SPACE,
    errno.EFBIG: (
        "it would be larger than the file system or a limit of this machine allows",
        "Choose a folder on another file system (FAT32 holds no file of 4 GB), or raise the limit (`ulimit -f`).",
    ),
    errno.EACCES: _NO_PERMISSION,
    errno.EPERM: _NO_PERMISSION,
    errno.EROFS: ("the file system is read-only", "Choose a folder on another file system."),
    errno.ENAMETOOLONG: ("its name is too long", "Choose a shorter file name or folder."),
    errno.EISDIR: ("a folder of that name exists", "Remove the folder or choose another name."),
    errno.ENOTDIR: ("a part of its path is a file", "Choose another folder."),
    errno.EEXIST: ("a part of its path is a file", "Choose another folder."),
}


def disk_error(error: OSError, path: str | Path = "", doing: str = "written") -> Dp2benchError | None:
    """What a full disk, a missing permission and the like mean to a user; None for any other error of the system.

    Args:
        error: as the system raised it.
        path: what was being written; else the file that ``error`` names.
        doing: what could not be done with it.

    """
    if error.errno not in _DISK_PROBLEMS:
        return None
    problem, remedy = _DISK_PROBLEMS[error.errno]
    return Dp2benchError(f"{path or error.filename or 'A file'} cannot be {doing}: {problem}.", remedy)


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Turns the system's errors while ``path`` is written into a Dp2benchError that names it: Python's own names no file when a
    disk is full.
    """
    try:
        yield
    except OSError as error:
        told = disk_error(error, path)
        raise told or Dp2benchError(
            f"{path} cannot be written: {error}.", "Check the path and the disk."
        ) from error
