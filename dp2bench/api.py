"""The functions for programs and notebooks. They stand in the package itself: ``import dp2bench; dp2bench.anonymize("street.jpg")``.

Each does what the command of its name does, and returns what it made instead of printing it. Names without an underscore here and in the
modules of ``docs/api.md`` are public; everything else may change without notice.
"""

from __future__ import annotations

import base64
import io
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dp2bench.core import registry
from dp2bench.core.contracts import Anonymizer, Detector, no_progress
from dp2bench.core.errors import Dp2benchError, PictureError
from dp2bench.core.images import from_pillow, read_image
from dp2bench.core.machine import default_threads, pick_device
from dp2bench.core.results import Result, canonical_json
from dp2bench.core.seeds import derive_seed
from dp2bench.core.types import Anonymized, Image, People, Sample, SampleId
from dp2bench.engine import suite as suites
from dp2bench.engine.evaluation import suite_of_folders
from dp2bench.engine.suite import AnySuite, Suite, SuiteSet

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from PIL.Image import Image as PillowImage

    from dp2bench.engine.executor import Observer
    from dp2bench.reports.load import Report

__all__ = [
    "Evaluation",
    "anonymize",
    "evaluate",
    "list_datasets",
    "list_detectors",
    "list_methods",
    "list_suites",
    "list_tasks",
    "load_results",
    "open_run",
    "run_suite",
]


def anonymize(
    image: str | Path | Image | PillowImage,
    method: str | Anonymizer = "deepprivacy2",
    *,
    detector: str | Detector | None = None,
    people: People | None = None,
    seed: int = 0,
    method_arguments: Mapping[str, Any] | None = None,
    detector_arguments: Mapping[str, Any] | None = None,
) -> Anonymized:
    """Replace the people of one picture. Nobody is left silently: look at ``missed``.

    >>> import dp2bench, numpy as np
    >>> street = np.full((240, 320, 3), 90, np.uint8)
    >>> made = dp2bench.anonymize(street, "blur", detector="full-image")
    >>> made.image.shape, int(made.changed.sum()), made.missed
    ((240, 320, 3), 76800, ())

    Args:
        image: path of a picture, (H, W, 3) uint8 RGB or (H, W) uint8 grey values, or a Pillow image.
        method: name of a method (`list_methods`), ``package.module:Class``, or an instance.
        detector: who finds the people (`list_detectors`), or an instance; a method's own goes first. None takes ``photo``, for photographs.
        people: who is in the picture, where you know; nobody is looked for then.
        seed: of random methods.
        method_arguments: settings of a method that is named.
        detector_arguments: settings of a detector that is named.

    Returns:
        The picture, the pixels that were replaced, and who was missed. In a notebook it is shown as a picture.

    Raises:
        PictureError: the image cannot be read.
        PluginError: an unknown name or setting.

    """
    pixels, name = _pixels(image)
    how = _made("methods", method, method_arguments)
    if people is None:
        who = _made("detectors", how.meta.detector or detector or "photo", detector_arguments)
        (people,) = who.detect([pixels], [Sample(SampleId(name), Path(name))])
    made: Anonymized = how.anonymize(pixels, people, seed=derive_seed(seed, "all", name))
    return made


def evaluate(
    clear: str | Path,
    anonymized: str | Path,
    task: str = "market1501-reid",
    *,
    arguments: Mapping[str, Any] | None = None,
    dataset: str = "market1501",
    detector: str = "full-image",
    seeds: Sequence[int] = (0,),
    label: str | None = None,
    out: str | Path = "dp2bench-runs/evaluate",
    threads: int | None = None,
    device: str = "auto",
    progress: bool = True,
) -> Evaluation:
    """Score a folder that any other tool anonymized, beside the clear pictures as its control.

    Args:
        clear: the dataset's folder with the original pictures.
        anonymized: the same folder, anonymized, with the same file names.
        task: one of `list_tasks`, or ``package.module:Class``.
        arguments: settings of the task, e.g. ``{"epochs": 30}``.
        dataset: how to read the folders; one of `list_datasets`.
        detector: who finds the people that should be anonymized, for the coverage.
        seeds: different numbers from 0 on.
        label: the method's name in tables; the anonymized folder's name where None.
        out: folder for the results.
        threads: processor threads; all that this process may use where None.
        device: ``cpu``, ``cuda``, or ``auto``.
        progress: say what is being done.

    Raises:
        Dp2benchError: a folder, a name or a setting cannot be. A result that fails is no error: it is in `Evaluation.failures`.

    """
    suite = suite_of_folders(
        Path(clear),
        Path(anonymized),
        task=task,
        arguments=arguments,
        dataset=dataset,
        detector=detector,
        seeds=seeds,
        label=label,
    )
    command = f"dp2bench.evaluate({str(clear)!r}, {str(anonymized)!r}, {task!r})"
    return _run(suite, Path(out), command, None, threads, 1, device, progress=progress)


def run_suite(
    suite: str | Path | AnySuite = "mini",
    out: str | Path | None = None,
    *,
    data_root: str | Path | None = None,
    threads: int | None = None,
    workers: int = 1,
    device: str = "auto",
    progress: bool = True,
) -> Evaluation:
    """Run a suite: anonymize, attack and score. Finished steps are cached: run it again and it goes on where it was stopped.

    >>> import dp2bench
    >>> run = dp2bench.run_suite("smoke", progress=False)  # doctest: +SKIP
    >>> run.table  # doctest: +SKIP

    Args:
        suite: one of `list_suites`, the path of a YAML file, or a `Suite`.
        out: folder for the results; ``dp2bench-runs/<suite>`` where None.
        data_root: where the datasets lie that you bring.
        threads: processor threads of a step; all that this process may use, shared among workers, where None.
        workers: steps at once, each in a process of its own from 2 on. A script then needs ``if __name__ == "__main__":`` around
            what it does.
        device: ``cpu``, ``cuda``, or ``auto``.
        progress: say what is being done.

    Raises:
        Dp2benchError: the suite or its data cannot be. A result that fails is no error: it is in `Evaluation.failures`.

    """
    loaded = suite if isinstance(suite, (Suite, SuiteSet)) else suites.load(str(suite))
    folder = Path("dp2bench-runs") / loaded.name if out is None else Path(out)
    root = None if data_root is None else Path(data_root)
    command = f"dp2bench.run_suite({suite if isinstance(suite, str) else loaded.name!r})"
    return _run(loaded, folder, command, root, threads, workers, device, progress=progress)


def load_results(*folders: str | Path) -> pd.DataFrame:
    """Every score of one run or several, a row each, unrounded: what ``report.csv`` holds.

    Columns say what was measured (dataset, task, method, scenario, metric, subset, unit, higher_is_better), the value with its interval,
    chance and number of units, and the coverage beside it. A score whose coverage is not known has no value, and its ``note`` says so;
    a result that failed is one row.

    Args:
        folders: what `run_suite`, `evaluate` or ``dp2bench run`` wrote.

    Raises:
        ReportError: a folder holds no run, or a broken one.

    """
    from dp2bench.reports.load import load_report

    return _frame(load_report([Path(folder) for folder in folders]))


def open_run(folder: str | Path) -> Evaluation:
    """A finished run's folder, with its tables and figures. Raises ReportError where it holds no run."""
    from dp2bench.reports.load import load_run

    return Evaluation(Path(folder), load_run(Path(folder)).results)


def list_methods() -> list[str]:
    """Names of the installed anonymization methods.

    >>> import dp2bench
    >>> "deepprivacy2" in dp2bench.list_methods()
    True

    """
    return registry.names("methods")


def list_tasks() -> list[str]:
    """Names of the installed benchmark tasks."""
    return registry.names("tasks")


def list_datasets() -> list[str]:
    """Names of the datasets that can be read."""
    return registry.names("datasets")


def list_detectors() -> list[str]:
    """Names of the installed detectors."""
    return registry.names("detectors")


def list_suites() -> list[str]:
    """Names of the suites that come with the package.

    >>> import dp2bench
    >>> "smoke" in dp2bench.list_suites()
    True

    """
    return suites.names()


@dataclass(frozen=True)
class Evaluation:
    """A finished run. In a notebook it shows its tables and what has a figure.

    Attributes:
        folder: where everything lies.
        results: one for each method, dataset and task.

    """

    folder: Path
    results: tuple[Result, ...]

    @property
    def table(self) -> pd.DataFrame:
        """Scores by method, and by dataset and task where there are several. What failed or lacks its coverage is NaN."""
        from dp2bench.reports import tables

        return tables.frame(self.results)

    @property
    def scores(self) -> pd.DataFrame:
        """Every score, a row each; see `load_results`."""
        return _frame(self._report)

    @property
    def failures(self) -> dict[str, str]:
        """Why a result is missing, by ``method / dataset / task``."""
        return {
            f"{r.spec.method} / {r.spec.dataset} / {r.spec.task}": r.error.message if r.error else r.status
            for r in self.results
            if r.status != "ok"
        }

    def figures(self) -> dict[str, Figure]:
        """The report's figures by name, as matplotlib draws them."""
        from dp2bench.reports import figures

        return figures.matplotlib_figures(self._report)

    def write_report(self, out: str | Path | None = None) -> Path:
        """Write the whole report, in the run's folder where ``out`` is None; the path of its page for the browser."""
        from dp2bench.reports.report import write_report

        written = write_report(self.folder, None if out is None else Path(out))
        return next(path for path in written if path.suffix == ".html")

    @property
    def _report(self) -> Report:
        from dp2bench.reports.load import load_report

        return load_report([self.folder])

    def __repr__(self) -> str:
        failed = f", {len(self.failures)} of them failed" if self.failures else ""
        return f"<Evaluation {self.folder}: {len(self.results)} results{failed}>"

    def _repr_html_(self) -> str:
        import pandas as pd

        from dp2bench.reports import figures, tables
        from dp2bench.reports.groups import groups

        parts = []
        for group in groups(self.results):
            header, rows = tables.grid(group)
            table = pd.DataFrame([row + [""] * (len(header) - len(row)) for row in rows], columns=header)
            parts.append(f"<p><b>{escape(group.dataset)}: {escape(group.name)}</b></p>")
            parts.append(table.to_html(index=False, border=0))
        for name, figure in self.figures().items():
            encoded = base64.b64encode(figures.png(figure)).decode()
            parts.append(
                f'<img alt="{escape(name)}" style="max-width: 100%" src="data:image/png;base64,{encoded}">'
            )
        return "\n".join(parts)


def _run(
    suite: AnySuite,
    out: Path,
    command: str,
    data_root: Path | None,
    threads: int | None,
    workers: int,
    device: str,
    *,
    progress: bool,
) -> Evaluation:
    from dp2bench.engine import run
    from dp2bench.engine.executor import LocalExecutor
    from dp2bench.engine.history import record
    from dp2bench.engine.store import open_store

    store = open_store()

    def go(observer: Observer) -> run.Run:
        return run.run_suite(
            suite,
            out,
            executor=LocalExecutor(store, workers),
            store=store,
            observer=observer,
            threads=threads or max(1, default_threads() // workers),
            device=pick_device(device),
            command=command,
            data_root=data_root,
        )

    if progress:
        from rich.console import Console

        from dp2bench.cli.progress import TerminalObserver

        with TerminalObserver(Console()) as observer:
            finished = go(observer)
    else:
        finished = go(_Silent())
    if warning := record(finished.results):
        warnings.warn(f"Not recorded in the history: {warning}", stacklevel=3)
    made = Evaluation(finished.folder, finished.results)
    for what, why in made.failures.items():
        warnings.warn(f"{what} has no result: {why}", stacklevel=3)
    return made


class _Silent:
    """See `Observer`."""

    def begin(self, step: object) -> Any:
        return no_progress

    def end(self, outcome: object) -> None:
        pass


NUMBERS = (
    "value", "ci95_low", "ci95_high", "chance", "chance_high", "p_value", "lift", "n", "anonymized", "known", "failed_open", "undetected",
)  # fmt: skip
"""Columns of `load_results` that hold numbers."""


def _frame(report: Report) -> pd.DataFrame:
    import pandas as pd

    from dp2bench.reports import csv_file

    # A label may look like a number or like one of pandas' words for nothing.
    text = io.StringIO(csv_file.scores(report.results, report.command, report.names))
    table = pd.read_csv(text, dtype=str, keep_default_na=False)
    for column in NUMBERS:
        table[column] = pd.to_numeric(table[column], errors="coerce")
    table["higher_is_better"] = table["higher_is_better"].map({"True": True, "False": False})
    return table


def _pixels(image: str | Path | Image | PillowImage) -> tuple[Image, str]:
    """(H, W, 3) uint8, and the name that the seed of random methods follows."""
    if isinstance(image, (str, Path)):
        return read_image(image), Path(image).name
    if not isinstance(image, np.ndarray):
        return from_pillow(image), "picture"
    if image.dtype != np.uint8 or image.ndim not in {2, 3} or (image.ndim == 3 and image.shape[2] != 3):
        raise PictureError(
            f"An array of {image.dtype} {image.shape} is no picture.",
            "Give (H, W, 3) uint8 RGB, 0 to 255, or (H, W) uint8 grey values.",
        )
    if not image.size:
        raise PictureError("The picture has no pixels.", "Give (H, W, 3) uint8 RGB, 0 to 255.")
    return (np.repeat(image[..., None], 3, 2) if image.ndim == 2 else image), "picture"


def _made(kind: registry.Kind, wanted: Any, arguments: Mapping[str, Any] | None) -> Any:
    """A plug-in by name, kept for the next call; an instance as it is."""
    if isinstance(wanted, str):
        return _cached(kind, wanted, canonical_json(dict(arguments or {})))
    if arguments:
        raise Dp2benchError(
            f"A {type(wanted).__name__} that is made already takes no settings.",
            "Give its name, or leave the settings out.",
        )
    return wanted


@lru_cache(maxsize=4)
def _cached(kind: registry.Kind, name: str, arguments: str) -> Any:
    return registry.create(kind, name, json.loads(arguments))
