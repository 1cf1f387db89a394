"""What a suite needs that is not on this machine, all of it before any work: datasets and weights, and the rows that want for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dp2bench.core import registry
from dp2bench.core.contracts import Dataset
from dp2bench.core.errors import DatasetError, Dp2benchError, SuiteError
from dp2bench.engine.plan import detector_of
from dp2bench.engine.step import Cell, make_dataset, make_method
from dp2bench.engine.suite import AnySuite, Component, MethodChoice, Suite, SuiteSet, rows
from dp2bench.weights import catalogue
from dp2bench.weights.catalogue import MissingWeightsError
from dp2bench.weights.digests import REHEARSAL

REHEARSED = "rehearsal-of-"
"""What the names of rehearsed suites begin with."""


class MissingFilesError(Dp2benchError):
    """Files that a suite needs and that are not there; names each with where it comes from."""


@dataclass(frozen=True)
class MissingFile:
    """A dataset or a file of weights.

    Attributes:
        kind: which of the two.
        name: the dataset's label, or the catalogue's name of the weights.
        problem: what is not there, for a dataset.
        how: how it comes, as an instruction.
        source: address.
        size: of the download, in words; empty where nobody says it.
        licence: as far as its publisher states one.
        needed_by: who needs it: methods, detectors and tasks, with the dataset.

    """

    kind: Literal["dataset", "weights"]
    name: str
    problem: str
    how: str
    source: str
    size: str
    licence: str
    needed_by: tuple[str, ...]


@dataclass(frozen=True)
class Requirements:
    """What of a suite can be run.

    Attributes:
        missing: what is not there.
        cells: every row of its tables, in the suite's order; those that cannot be run too.
        reasons: why not, by dataset, method and task.
        runnable: the suite without what is missing; None where nothing is left.
        datasets: those that are there, by label, checked.

    """

    missing: tuple[MissingFile, ...]
    cells: tuple[Cell, ...]
    reasons: Mapping[tuple[str, str, str], str]
    runnable: AnySuite | None
    datasets: Mapping[str, Dataset]

    def error(self, suite: str) -> MissingFilesError:
        """The message that lists what is missing."""
        lines = []
        for one in self.missing:
            told = ", ".join((one.size or "size not stated", f"licence: {one.licence}"))
            lines.append(f"- {one.kind} {one.name}: {one.problem or told}")
            lines += [f"  {told}"] if one.problem else []
            lines += [
                f"  {one.how}",
                *([f"  from {one.source}"] if one.source else []),
                f"  for {_some(one.needed_by)}",
            ]
        names = [m.name for m in self.missing if m.kind == "weights"]
        do = ["Bring the datasets with --data-root."] if len(names) < len(self.missing) else []
        if names:
            do.append(
                f"Run `dp2bench weights fetch {' '.join(names)}`. What its place no longer gives, download elsewhere "
                "(`dp2bench weights list --places`) and run `dp2bench weights import FILE --as NAME`."
            )
        if self.runnable is not None:
            do.append("Or run the rest with --allow-missing: its rows stay absent, with the reason.")
        count = "one thing that is" if len(self.missing) == 1 else f"{len(self.missing)} things that are"
        return MissingFilesError(
            f"The suite {suite} needs {count} not on this machine:",
            " ".join(do),
            lines,
        )


@dataclass
class _Need:
    """What a component lacks."""

    weights: tuple[str, ...] = ()
    made: Any = None


@dataclass
class _Gathered:
    """What is missing, and for whom, in the order of finding."""

    needed_by: dict[str, dict[str, None]] = field(default_factory=dict)
    sets: dict[str, DatasetError | SuiteError] = field(default_factory=dict)

    def add(self, name: str, who: str) -> None:
        self.needed_by.setdefault(name, {})[who] = None

    def files(self, components: Mapping[str, Component]) -> tuple[MissingFile, ...]:
        return tuple(
            _dataset_file(components[name], self.sets[name], tuple(who))
            if name in self.sets
            else _weights_file(name, tuple(who))
            for name, who in self.needed_by.items()
        )


def check(suite: AnySuite, data_root: Path | None) -> Requirements:
    """Make every component of a suite, and say what is missing.

    Raises:
        Dp2benchError: something else than a missing file: a wrong name, an argument that cannot be, a folder of random weights.

    """
    if (catalogue.folder() / REHEARSAL).is_file() and not suite.name.startswith(REHEARSED):
        raise SuiteError(
            f"{catalogue.folder()} holds the random weights of a rehearsal: they say nothing of any method.",
            "Delete it, or let DP2BENCH_WEIGHTS name another folder.",
        )
    gathered = _Gathered()
    cells: list[Cell] = []
    reasons: dict[tuple[str, str, str], str] = {}
    datasets: dict[str, Dataset] = {}
    left: list[Suite] = []
    for part in suite.parts:
        found, why = _cells(part, data_root, gathered, datasets)
        cells += found
        reasons |= why
        if (runnable := _without(part, found, why)) is not None:
            left.append(runnable)
    files = gathered.files({d.label: d for part in suite.parts for d in part.datasets})
    rest: AnySuite | None = None
    if left:
        rest = suite.model_copy(update={"suites": tuple(left)}) if isinstance(suite, SuiteSet) else left[0]
    return Requirements(files, tuple(cells), reasons, rest, datasets)


def _cells(
    suite: Suite, data_root: Path | None, gathered: _Gathered, datasets: dict[str, Dataset]
) -> tuple[list[Cell], dict[tuple[str, str, str], str]]:
    tasks = {t.label: _need("tasks", t) for t in suite.tasks}
    methods = {m.label: _method_need(m) for m in suite.methods}
    who = {
        m.label: detector_of(
            suite, m, getattr(getattr(methods[m.label].made, "meta", None), "detector", None)
        )
        for m in suite.methods
    }
    detectors = {label: _need("detectors", component) for label, component in who.items()}
    cells: list[Cell] = []
    reasons: dict[tuple[str, str, str], str] = {}
    problems = {data.label: _open(data, data_root, datasets) for data in suite.datasets}

    def layout(data: Component) -> str:
        return datasets[data.label].layout if data.label in datasets else _layout(data)

    for data, method, task in rows(suite, layout, lambda task: _layouts(task, tasks)):
        seeds = dict.fromkeys(task.seeds or suite.seeds, "")
        cells.append(Cell(data, method, task, who[method.label].label, {}, seeds))
        lacking = []
        if (problem := problems[data.label]) is not None:
            gathered.sets[data.label] = problem
            gathered.add(data.label, "every row")
            lacking.append(f"dataset {data.label}")
        for what, need in (
            (f"method {method.label}", methods[method.label]),
            (f"detector {who[method.label].label}", detectors[method.label]),
            (f"task {task.label}", tasks[task.label]),
        ):
            for name in need.weights:
                gathered.add(name, f"{what} ({data.label})")
            lacking += [f"weights {name}" for name in need.weights]
        if lacking:
            reasons[data.label, method.label, task.label] = (
                f"{', '.join(dict.fromkeys(lacking))} not on this machine"
            )
    return cells, reasons


def _without(
    suite: Suite, cells: Sequence[Cell], reasons: Mapping[tuple[str, str, str], str]
) -> Suite | None:
    """The suite without what cannot be run; None where nothing is left."""
    kept = [c for c in cells if (c.dataset.label, c.method.label, c.task.label) not in reasons]
    if not kept:
        return None
    there = {kind: {getattr(c, kind).label for c in kept} for kind in ("dataset", "method", "task")}
    tasks = []
    for task in suite.tasks:
        if task.label in there["task"]:
            mine = [c for c in kept if c.task.label == task.label]
            update = {
                f"{kind}s": tuple(dict.fromkeys(getattr(c, kind).label for c in mine))
                for kind in ("dataset", "method")
            }
            tasks.append(task.model_copy(update=update))
    return suite.model_copy(
        update={
            "datasets": tuple(d for d in suite.datasets if d.label in there["dataset"]),
            "methods": tuple(m for m in suite.methods if m.label in there["method"]),
            "tasks": tuple(tasks),
        }
    )


def _need(kind: registry.Kind, component: Component) -> _Need:
    try:
        return _Need(made=registry.create(kind, component.name, component.arguments))
    except MissingWeightsError as error:
        return _Need(error.names)


def _method_need(choice: MethodChoice) -> _Need:
    try:
        return _Need(made=make_method(choice))
    except MissingWeightsError as error:
        return _Need(error.names)


def _open(
    data: Component, data_root: Path | None, datasets: dict[str, Dataset]
) -> DatasetError | SuiteError | None:
    """Put a dataset among those that are there, or say what is wrong with it. One that is made on first use is there."""
    needs_root = registry.needs_root(data.name)
    try:
        dataset = make_dataset(data, data_root)
        if needs_root:
            dataset.verify()
    except (DatasetError, SuiteError) as error:
        if not needs_root:
            raise
        return error
    datasets[data.label] = dataset
    return None


def _layout(data: Component) -> str:
    known = registry.dataset_class(data.name)
    return "" if known is None else known.layout


def _layouts(task: Component, made: Mapping[str, _Need]) -> Sequence[str]:
    """That a task can read, also where it cannot be made."""
    meta = getattr(made[task.label].made or registry.load("tasks", task.name), "meta", None)
    return () if meta is None else meta.layouts


def _dataset_file(data: Component, error: Dp2benchError, who: tuple[str, ...]) -> MissingFile:
    meta = None
    if (known := registry.dataset_class(data.name)) is not None:
        try:
            meta = known(root=Path(data.label)).meta  # type: ignore[call-arg]
        except (Dp2benchError, TypeError, OSError):
            meta = None
    return MissingFile(
        "dataset",
        data.label,
        error.problem,
        error.remedy,
        meta.homepage if meta else "",
        meta.download if meta else "",
        meta.licence if meta else "not stated",
        who,
    )


def _weights_file(name: str, who: tuple[str, ...]) -> MissingFile:
    known = catalogue.entry(name)
    first = known.places[0] if known.places else None
    return MissingFile(
        "weights",
        name,
        "",
        f"dp2bench weights {f'fetch {name}' if first else f'import FILE --as {name}'}",
        f"{first.url} ({first.reachable})" if first else "wherever you have it: no address is known",
        f"{known.megabytes:,} MB" if known.megabytes else "",
        known.licence,
        who,
    )


def _some(names: Sequence[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
