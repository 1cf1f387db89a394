"""Read a run's folder, and say what is wrong with it where it cannot be read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dp2bench.core.errors import Dp2benchError, ResultError
from dp2bench.core.results import Result, read_result


class ReportError(Dp2benchError):
    """A run's folder that cannot be reported on."""


@dataclass(frozen=True)
class Run:
    """A run as it lies on disk: at least one result, in the suite's order; ``command`` is empty where none
    was recorded.
    """

    folder: Path
    suite: str
    command: str
    results: tuple[Result, ...]

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the methods, each once, in the suite's order."""
        return tuple(dict.fromkeys(result.spec.method for result in self.results))


def _read_object(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ReportError(f"{path} cannot be read: {error.strerror or error}.", "Repeat the run.") from error
    except ValueError as error:  # broken JSON and broken UTF-8
        raise ReportError(
            f"{path} is not JSON: {error}.", "Delete the file and repeat the run; it fills the gap."
        ) from error
    if not isinstance(value, dict):
        raise ReportError(f"{path} holds a {type(value).__name__}, not an object.", "Repeat the run.")
    return value


def load_result(path: Path) -> Result:
    """One result file, of this schema version or an older one."""
    try:
        return read_result(path.read_bytes(), str(path))
    except OSError as error:
        raise ReportError(f"{path} cannot be read: {error.strerror or error}.", "Repeat the run.") from error
    except ResultError as error:
        raise ReportError(error.problem, error.remedy) from error


def load_run(folder: Path) -> Run:
    """A run's folder with all its results; ReportError names the file that is missing or broken."""
    if not folder.is_dir():
        raise ReportError(f"There is no run folder {folder}.", "Name the folder that `dp2bench run` wrote.")
    index = folder / "run.json"
    if not index.is_file():
        raise ReportError(
            f"{folder} is not a run folder: it has no run.json.", "Name the folder that `dp2bench run` wrote."
        )
    value = _read_object(index)
    listed = value.get("results")
    if not isinstance(listed, list) or not all(isinstance(item, str) for item in listed):
        raise ReportError(f"{index}: `results` must be a list of file names.", "Repeat the run.")
    if not listed:
        raise ReportError(
            f"{index} lists no results: the run has not finished anything.", "Let the run go on first."
        )
    root = folder.resolve()
    results = []
    for item in listed:
        path = folder / item
        if not path.resolve().is_relative_to(root):
            raise ReportError(
                f"{index} lists {item!r}, which lies outside the run's folder.", "Correct the path."
            )
        results.append(load_result(path))
    return Run(folder, str(value.get("suite", "")), str(value.get("command", "")), tuple(results))
