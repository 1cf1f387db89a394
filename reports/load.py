"""Read a run's folder, and say what is wrong with it where it cannot be read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from dp2bench.core.errors import Dp2benchError, ResultError
from dp2bench.core.figures import Curve, Histogram, Sighting
from dp2bench.core.results import Result, read_result
from dp2bench.core.upgrades import first_name


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
    paths: tuple[Path, ...] = ()
    """The results' files, in the same order."""
    specification: Mapping[str, Any] = field(default_factory=dict)
    """The whole suite as it was run; empty where none was recorded."""

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.folder.resolve().name

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
    specification = value.get("specification")
    return Run(
        folder,
        str(value.get("suite", "")),
        str(value.get("command", "")),
        tuple(results),
        tuple(folder / item for item in listed),
        specification if isinstance(specification, dict) else {},
    )


_CURVES: TypeAdapter[dict[str, Curve]] = TypeAdapter(dict[str, Curve])
_HISTOGRAMS: TypeAdapter[dict[str, Histogram]] = TypeAdapter(dict[str, Histogram])
_SIGHTINGS: TypeAdapter[dict[str, tuple[Sighting, ...]]] = TypeAdapter(dict[str, tuple[Sighting, ...]])
_Data = TypeVar("_Data")


def _read_data(path: Path, form: TypeAdapter[_Data]) -> _Data:
    try:
        return form.validate_python(_read_object(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "top level"
        raise ReportError(
            f"{path} is not the data of a figure: {where}: {first['msg']}.",
            "Write it with dp2bench.core.figures.write_data, and repeat the run.",
        ) from error


@dataclass(frozen=True)
class Artifacts:
    """What lies beside one result: the values of single queries or pictures, and the files its task left for each seed.

    Nothing of it is needed: results of older runs have none.
    """

    path: Path
    """The result's file."""
    seeds: tuple[int, ...]

    def units(self) -> Mapping[str, Mapping[str, float]]:
        """{score name: {unit: value}}, averaged over seeds; empty where none was kept."""
        path = self.path.with_suffix(".units.json")
        if not path.is_file():
            return {}
        units = _read_object(path)
        if _read_object(self.path).get("schema_version") == 1:
            units = {first_name(name): values for name, values in units.items()}
        return units

    def files(self, name: str) -> tuple[Path, ...]:
        """The file of that name of every seed that has one, in the order of the seeds."""
        found = [self.path.with_suffix("") / f"seed-{seed}" / name for seed in self.seeds]
        return tuple(path for path in found if path.is_file())

    def curves(self, name: str) -> tuple[Mapping[str, Curve], ...]:
        """The curves of every seed, by panel; ReportError names the file that is broken."""
        return tuple(_read_data(path, _CURVES) for path in self.files(name))

    def histograms(self, name: str) -> tuple[Mapping[str, Histogram], ...]:
        """The histograms of every seed, by panel; ReportError names the file that is broken."""
        return tuple(_read_data(path, _HISTOGRAMS) for path in self.files(name))

    def sightings(self, name: str) -> tuple[Mapping[str, tuple[Sighting, ...]], ...]:
        """The people of every seed, by panel; ReportError names the file that is broken."""
        return tuple(_read_data(path, _SIGHTINGS) for path in self.files(name))


@dataclass(frozen=True)
class Report:
    """One or several runs, reported on together; ``expected`` are files of published numbers that somebody brings."""

    runs: tuple[Run, ...]
    expected: tuple[Path, ...] = ()

    @property
    def results(self) -> tuple[Result, ...]:
        """Of all runs, one run after the other."""
        return tuple(result for run in self.runs for result in run.results)

    @property
    def run_names(self) -> tuple[str, ...]:
        """The name of each run: its folder's own, and its path where two folders are called the same."""
        alone = [run.name for run in self.runs]
        return tuple(run.name if alone.count(run.name) == 1 else str(run.folder) for run in self.runs)

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each result's run."""
        return tuple(name for run, name in zip(self.runs, self.run_names, strict=True) for _ in run.results)

    @property
    def evidence(self) -> tuple[Artifacts, ...]:
        """Of each result."""
        return tuple(
            Artifacts(path, result.spec.seeds)
            for run in self.runs
            for path, result in zip(run.paths, run.results, strict=True)
        )

    @property
    def title(self) -> str:
        """The suites' names, each once."""
        return ", ".join(dict.fromkeys(run.suite or run.name for run in self.runs))

    @property
    def description(self) -> str:
        """What the suites say of themselves, each once."""
        told = (str(run.specification.get("description", "")) for run in self.runs)
        return " ".join(filter(None, dict.fromkeys(told)))

    @property
    def command(self) -> str:
        """The command of the run, or those of all runs."""
        return "; ".join(dict.fromkeys(run.command for run in self.runs if run.command))


def load_report(folders: Sequence[Path], expected: Sequence[Path] = ()) -> Report:
    """Several runs' folders; a folder named twice is taken once. ``expected``: see `Report`."""
    runs = tuple(load_run(folder) for folder in {f.resolve(): f for f in folders}.values())
    return Report(runs, tuple(expected))
