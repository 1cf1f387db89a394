"""Errors that a user can act on: what is wrong, where, and what to do next."""

from __future__ import annotations


class Dp2benchError(Exception):
    """A problem with the user's input or machine. The command line prints it without a traceback.

    Args:
        problem: what is wrong and where, naming the file, key or plug-in.
        remedy: what to do next, as an instruction.

    """

    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(problem, remedy)
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.problem} {self.remedy}".strip()


class PictureError(Dp2benchError):
    """A file that cannot be read as a picture; the run goes on without it and counts it."""


class DatasetError(Dp2benchError):
    """A dataset that is missing, incomplete, or not in its official layout."""


class PluginError(Dp2benchError):
    """A method, task, dataset or detector that is unknown, registered twice, or fails to import."""


class SuiteError(Dp2benchError):
    """A suite file that does not validate; the message points at line and key."""


class ResultError(Dp2benchError):
    """A result file that cannot be read: broken, not a result, or of a schema version this dp2bench does not know."""
