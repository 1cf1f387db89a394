"""Suite -> steps, each named by the hash of everything that can change its outcome."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dp2bench.core import registry
from dp2bench.core.contracts import Dataset, Progress, Task, Training, no_progress
from dp2bench.core.errors import SuiteError
from dp2bench.core.provenance import package_versions
from dp2bench.core.results import content_key
from dp2bench.engine.folder_source import FolderSource
from dp2bench.engine.imports import code_version, file_of
from dp2bench.engine.step import Cell, Plan, Step, make_dataset, make_method
from dp2bench.engine.suite import AnySuite, Component, MethodChoice, Suite, TaskChoice, rows
from dp2bench.pipelines.stream import files_of

PART = 2048
"""Files that a step looks at, at most; of more it is done in parts: what a kill costs, and what several workers share."""
RUNNER = "dp2bench.engine.steps"
"""The module that carries steps out: its code is part of every step's key."""


def _modules_named_in(arguments: Any) -> tuple[str, ...]:
    """Modules of plug-ins that arguments name as ``package.module:Class``, however deep: a step may run them."""
    if isinstance(arguments, str):
        module, colon, attribute = arguments.partition(":")
        named = bool(colon) and attribute.isidentifier() and all(p.isidentifier() for p in module.split("."))
        return (module,) if named and file_of(module) is not None else ()
    if isinstance(arguments, Mapping):
        arguments = arguments.values()
    elif not isinstance(arguments, (list, tuple)):
        return ()
    return tuple(module for value in arguments for module in _modules_named_in(value))


@dataclass(frozen=True)
class _PlugIn:
    """A component of the suite, made once, and everything about it that can change an outcome.

    Attributes:
        component: name, arguments and label.
        made: the method, detector or task.
        modules: where its factory is defined, and whatever its arguments name as ``package.module:Class``.

    """

    component: Component
    made: Any
    modules: tuple[str, ...]

    @staticmethod
    def make(kind: registry.Kind, component: Component) -> _PlugIn:
        made = registry.create(kind, component.name, component.arguments)
        named = _modules_named_in(component.arguments)
        return _PlugIn(component, made, (registry.module_of(kind, component.name), *named))

    @property
    def spec(self) -> dict[str, Any]:
        """What a worker makes it from."""
        return self.component.model_dump(mode="json")

    @property
    def identity(self) -> dict[str, Any]:
        """Name, arguments as passed and as effective, revision and weights; the code is the key's own part."""
        return {
            "name": self.component.name,
            "arguments": dict(self.component.arguments),
            **self.made.meta.identity(),
        }


@dataclass(frozen=True)
class _Method(_PlugIn):
    """A method, or the folder that stands in its place."""

    component: MethodChoice

    @staticmethod
    def of(choice: MethodChoice) -> _Method:
        made = make_method(choice)
        if isinstance(made, FolderSource):
            return _Method(choice, made, (FolderSource.__module__,))
        module = registry.module_of("methods", choice.name)
        return _Method(choice, made, (module, *_modules_named_in(choice.arguments)))

    @property
    def identity(self) -> dict[str, Any]:
        return {**super().identity, "folder": self.component.folder}


@dataclass(frozen=True)
class _Data:
    """A dataset that is ready: how a worker opens it, and the hash of its contents."""

    component: Component
    dataset: Dataset
    fingerprint: str
    module: str

    def in_files(self, splits: Sequence[str]) -> bool:
        """Whether a copy's pictures can be written one by one."""
        first = next(files_of(self.dataset, splits), None)
        return (
            first is not None
            and self.dataset.written(self.dataset.root, first.split, first.samples[0]) is not None
        )

    @property
    def spec(self) -> dict[str, Any]:
        root = {"root": str(self.dataset.root)} if self.dataset.needs_root else {}
        return {"name": self.component.name, "arguments": {**self.component.arguments, **root}}


@dataclass
class _Planner:
    """Adds steps, each once, however many cells need it."""

    threads: int
    device: str
    packages: Mapping[str, str]
    steps: dict[str, Step] = field(default_factory=dict)

    def add(
        self,
        kind: str,
        title: str,
        data: _Data,
        needs: Mapping[str, str],
        payload: Mapping[str, Any],
        identity: Mapping[str, Any],
        *modules: str,
        exclusive: bool = False,
    ) -> str:
        """The key of a step that runs the code of ``modules`` on ``data``."""
        python = ".".join(platform.python_version_tuple()[:2])
        key = content_key(
            {
                "kind": kind,
                "code": code_version((RUNNER, data.module, *modules)),
                "packages": {"python": python, **self.packages},
                "needs": dict(needs),
                "dataset": data.fingerprint,
                **identity,
            }
        )
        told = {"dataset": data.spec, **payload, "threads": self.threads, "device": self.device}
        self.steps.setdefault(key, Step(kind, title, key, dict(needs), told, exclusive))
        return key

    def detect(self, data: _Data, detector: _PlugIn, splits: Sequence[str]) -> str:
        return self._in_parts(
            "detect",
            f"detect people in {data.component.label} with {detector.component.label}",
            data,
            {},
            splits,
            {"detector": detector.spec},
            {"detector": detector.identity},
            *detector.modules,
        )

    def anonymize(self, data: _Data, method: _Method, people: str, splits: Sequence[str], seed: int) -> str:
        deterministic = method.made.meta.deterministic
        used = 0 if deterministic else seed
        return self._in_parts(
            "anonymize",
            f"anonymize {data.component.label} with {method.component.label}"
            + ("" if deterministic else f", seed {seed}"),
            data,
            {"people": people},
            splits,
            {"method": method.spec, "seed": used},
            {"method": method.identity, "seed": used},
            *method.modules,
            whole=method.component.folder is not None or not data.in_files(splits),
        )

    def _in_parts(
        self,
        kind: str,
        title: str,
        data: _Data,
        needs: Mapping[str, str],
        splits: Sequence[str],
        payload: Mapping[str, Any],
        identity: Mapping[str, Any],
        *modules: str,
        whole: bool = False,
    ) -> str:
        """Add a step that looks at every picture. One of many files is done in parts, each with a key of its own, and put together."""
        counts = {split: len(data.dataset.files(split)) for split in splits}
        parts = [
            (split, (start, min(start + PART, count)))
            for split, count in counts.items()
            for start in range(0, max(1, count), PART)
        ]
        put_together = dict(needs)
        for k, (split, part) in enumerate([] if whole or len(parts) == len(splits) else parts, 1):
            told = {"splits": [split], "part": part}
            put_together[f"part:{k:06d}"] = self.add(
                kind,
                f"{title}, part {k} of {len(parts)}",
                data,
                needs,
                {**payload, **told},
                {**identity, **told},
                *modules,
            )
        told = {"splits": splits}
        return self.add(kind, title, data, put_together, {**payload, **told}, {**identity, **told}, *modules)

    def train(
        self, data: _Data, task: _PlugIn, method: _Method, training: Training, anonymized: str, seed: int
    ) -> str:
        clear = training.on == "clear"
        learned = (
            f"clear {data.component.label}" if clear else f"{method.component.label} {data.component.label}"
        )
        return self.add(
            "train",
            f"train {training.role} on {learned}, seed {seed}",
            data,
            {} if clear else {"anonymized": anonymized},
            {"task": task.spec, "role": training.role, "seed": seed},
            {
                "task": task.component.name,
                "training": training.role,
                "on": training.on,
                "arguments": dict(training.arguments),
                "seed": seed,
                **self.hardware,
            },
            *task.modules,
        )

    def evaluate(
        self,
        data: _Data,
        task: _PlugIn,
        method: _Method,
        detector: _PlugIn,
        needs: Mapping[str, str],
        seed: int,
    ) -> str:
        return self.add(
            "evaluate",
            f"{task.component.label}: {method.component.label} on {data.component.label}, seed {seed}",
            data,
            needs,
            {"task": task.spec, "method": method.spec, "detector": detector.spec, "seed": seed},
            {
                "task": {**task.identity, "effective": dict(task.made.arguments)},
                "seed": seed,
                **self.hardware,
            },
            *task.modules,
            *method.modules,
            *detector.modules,
            exclusive=task.made.meta.exclusive,
        )

    @property
    def hardware(self) -> dict[str, Any]:
        return {"device": self.device, "threads": self.threads if self.device == "cpu" else 0}


def make_plan(
    suite: AnySuite,
    *,
    data_root: Path | None = None,
    threads: int,
    device: str,
    progress: Progress = no_progress,
    opened: Mapping[str, Dataset] | None = None,
) -> Plan:
    """Construct every component once (so that a wrong name fails before any work), prepare the data, and list the steps.

    ``opened`` are datasets by label that need no further check.
    """
    plans = [
        _plan_of(
            part, data_root=data_root, threads=threads, device=device, progress=progress, opened=opened or {}
        )
        for part in suite.parts
    ]
    steps = {step.key: step for plan in plans for step in plan.steps}
    fingerprints = {label: value for plan in plans for label, value in plan.fingerprints.items()}
    return Plan(tuple(steps.values()), tuple(cell for plan in plans for cell in plan.cells), fingerprints)


def _plan_of(
    suite: Suite,
    *,
    data_root: Path | None,
    threads: int,
    device: str,
    progress: Progress,
    opened: Mapping[str, Dataset],
) -> Plan:
    methods = [_Method.of(m) for m in suite.methods]
    tasks = {t.label: _PlugIn.make("tasks", t) for t in suite.tasks}
    detectors = _detectors(suite, methods)
    planner = _Planner(threads, device, package_versions())
    cells: list[Cell] = []
    fingerprints: dict[str, str] = {}
    datasets = _opened(suite, data_root, opened)
    asked = list(
        rows(
            suite, lambda data: datasets[data.label].layout, lambda task: tasks[task.label].made.meta.layouts
        )
    )
    for component in suite.datasets:
        dataset = datasets[component.label]
        dataset.prepare(progress)
        if not dataset.needs_root:
            dataset.verify()
        fingerprint = fingerprints[component.label] = dataset.fingerprint()
        module = registry.module_of("datasets", component.name)
        data = _Data(component, dataset, fingerprint, module)
        here = [(method, task) for of, method, task in asked if of == component]
        for method in methods:
            mine = [(task, tasks[task.label]) for choice, task in here if choice == method.component]
            detector = detectors[method.component.label]
            # one step for all that it finds people for
            sharing = [tasks[task.label].made for choice, task in here if detectors[choice.label] is detector]
            detected = _read_splits(dataset, sharing)
            cells += _cells(planner, suite, data, method, detector, mine, detected)
    if not cells:
        raise SuiteError(
            f"No task of the suite {suite.name} can read any of its datasets.",
            "`dp2bench list tasks` shows which layouts each reads.",
        )
    return Plan(tuple(planner.steps.values()), tuple(cells), fingerprints)


def _cells(
    planner: _Planner,
    suite: Suite,
    data: _Data,
    method: _Method,
    detector: _PlugIn,
    asked: Sequence[tuple[TaskChoice, _PlugIn]],
    detected_splits: Sequence[str],
) -> list[Cell]:
    """The results of one method on one dataset, under each task that is asked of it."""
    seeds = [s for s in suite.seeds if any(t.seeds is None or s in t.seeds for t, _ in asked)]
    if not seeds:
        return []
    people = planner.detect(data, detector, detected_splits)
    anonymized = {}
    for seed in seeds:
        # what no task reads under a seed is not anonymized for it; one that the seed does not change is made once, for all
        reading = [
            task.made
            for choice, task in asked
            if method.made.meta.deterministic or choice.seeds is None or seed in choice.seeds
        ]
        splits = _read_splits(data.dataset, reading)
        anonymized[seed] = planner.anonymize(data, method, people, splits, seed)
    cells = []
    for choice, task in asked:
        evaluations: dict[int, str] = {}
        for seed in choice.seeds or suite.seeds:
            needs = {"people": people, "anonymized": anonymized[seed]}
            trainings = task.made.trainings()
            for training in trainings:
                learned = _control(training, trainings) if method.made.meta.scope == "none" else training
                needs[f"train:{training.role}"] = planner.train(
                    data, task, method, learned, anonymized[seed], seed
                )
            evaluations[seed] = planner.evaluate(data, task, method, detector, needs, seed)
        cells.append(
            Cell(
                data.component,
                method.component,
                choice,
                detector.component.label,
                {seed: anonymized[seed] for seed in evaluations},
                evaluations,
                {w.name: w.licence for w in detector.made.meta.weights},
            )
        )
    return cells


def detector_of(suite: Suite, method: MethodChoice, own: str | None) -> Component:
    """Who finds people for a method: its detector in this suite, else that of its ``own``, else the suite's."""
    return method.detector or (Component(name=own) if own else suite.detector)


def _detectors(suite: Suite, methods: Sequence[_Method]) -> dict[str, _PlugIn]:
    """Who finds people for each method, by its label; each detector is made once."""
    made: list[_PlugIn] = []
    found = {}
    for method in methods:
        wanted = detector_of(suite, method.component, method.made.meta.detector)
        same = next((m for m in made if m.component == wanted), None)
        if same is None:
            same = _PlugIn.make("detectors", wanted)
            made.append(same)
        found[method.component.label] = same
    return found


def _opened(suite: Suite, data_root: Path | None, known: Mapping[str, Dataset]) -> dict[str, Dataset]:
    """The suite's datasets by label. Those that the user brings are checked, unless they are known."""
    opened = dict(known)
    for component in suite.datasets:
        if component.label not in opened:
            dataset = opened[component.label] = make_dataset(component, data_root)
            if dataset.needs_root:
                dataset.verify()
    return opened


def _read_splits(dataset: Dataset, tasks: Sequence[Task]) -> list[str]:
    """The splits that any of the tasks reads, in the dataset's order."""
    read = {split for task in tasks for split in task.splits(dataset)}
    return [split for split in dataset.meta.splits if split in read]


def _control(training: Training, trainings: Sequence[Training]) -> Training:
    """What a method that replaces nothing is trained on: the clear pictures, like the control that it is."""
    same = (t for t in trainings if t.on == "clear" and t.arguments == training.arguments)
    return training if training.on == "clear" else next(same, training)
