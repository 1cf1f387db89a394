"""Suite -> steps, each named by the hash of everything that can change its outcome."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dp2bench.core import registry
from dp2bench.core.contracts import Anonymizer, Dataset, Detector, Progress, Task, Training, no_progress
from dp2bench.core.errors import DatasetError, SuiteError
from dp2bench.core.provenance import package_versions
from dp2bench.core.results import content_key
from dp2bench.engine.store import code_version, plugin_source
from dp2bench.engine.suite import Component, Suite


@dataclass(frozen=True)
class Step:
    """One unit of work: plain data, so that any executor can ship it to a worker.

    ``needs`` are the keys of the steps whose folders it splits, by role; ``payload`` is everything else it is told.
    ``exclusive``: it measures time, so that nothing else should run beside it.
    """

    kind: str
    title: str
    key: str
    needs: Mapping[str, str] = field(default_factory=dict)
    payload: Mapping[str, Any] = field(default_factory=dict)
    exclusive: bool = False


@dataclass(frozen=True)
class Cell:
    """One result of the table: its components and the evaluation steps by seed."""

    dataset: Component
    method: Component
    task: Component
    detector: str
    anonymized: Mapping[int, str]
    evaluations: Mapping[int, str]


@dataclass(frozen=True)
class Plan:
    """Steps in an order that respects their needs, and the cells they fill."""

    steps: tuple[Step, ...]
    cells: tuple[Cell, ...]
    fingerprints: Mapping[str, str]


def make_dataset(component: Component, data_root: Path | None) -> Dataset:
    """The dataset of a suite; one that the user must bring takes its root from ``--data-root`` when the suite names none."""
    arguments = dict(component.arguments)
    factory = registry.load("datasets", component.name)
    if getattr(factory, "needs_root", False) and "root" not in arguments:
        if data_root is None:
            raise SuiteError(
                f"The dataset {component.name} must be brought by you.",
                "Say where it lies with --data-root, or `root:` under its arguments.",
            )
        arguments["root"] = data_root
    if "root" in arguments:
        arguments["root"] = Path(arguments["root"])
    dataset: Dataset = registry.create("datasets", component.name, arguments)
    return dataset


def _opened(suite: Suite, data_root: Path | None) -> dict[str, Dataset]:
    """The suite's datasets by label. Those that the user brings are checked at once, so that one message says all that is missing."""
    found = {c.label: make_dataset(c, data_root) for c in suite.datasets}
    problems: list[DatasetError] = []
    for dataset in found.values():
        if dataset.needs_root:
            try:
                dataset.verify()
            except DatasetError as error:
                problems.append(error)
    if len(problems) > 1:
        last = problems.pop()
        said = "\n".join(str(p) for p in problems)
        raise DatasetError(f"{said}\n{last.problem}", last.remedy)
    if problems:
        raise problems[0]
    return found


def _component_key(component: Component, instance: Any) -> dict[str, Any]:
    meta = instance.meta
    effective = getattr(meta, "arguments", None)
    return {
        "name": component.name,
        "arguments": dict(component.arguments),
        **({"effective": dict(effective)} if effective else {}),
        "revision": getattr(meta, "revision", getattr(meta, "version", "")),
        "weights": [w.sha256 for w in getattr(meta, "weights", ())],
        "source": plugin_source(instance),
    }


def make_plan(
    suite: Suite,
    *,
    data_root: Path | None = None,
    threads: int,
    device: str,
    progress: Progress = no_progress,
) -> Plan:
    """Construct every component once (so that a wrong name fails before any work), prepare the data, and list the steps."""
    methods: dict[str, Anonymizer] = {
        m.label: registry.create("methods", m.name, m.arguments) for m in suite.methods
    }
    tasks: dict[str, Task] = {t.label: registry.create("tasks", t.name, t.arguments) for t in suite.tasks}
    own = {m.meta.detector for m in methods.values() if m.meta.detector}
    detectors: dict[str, tuple[Component, Detector]] = {}
    for component in (suite.detector, *(Component(name=name) for name in sorted(own))):
        detectors[component.name] = (
            component,
            registry.create("detectors", component.name, component.arguments),
        )
    packages = {"python": ".".join(platform.python_version_tuple()[:2]), **package_versions()}
    hardware = {"device": device, "threads": threads if device == "cpu" else 0}
    steps: dict[str, Step] = {}
    cells: list[Cell] = []
    fingerprints: dict[str, str] = {}

    def add(
        kind: str,
        title: str,
        needs: Mapping[str, str],
        payload: Mapping[str, Any],
        identity: Mapping[str, Any],
        exclusive: bool = False,
    ) -> str:
        key = content_key(
            {
                "kind": kind,
                "code": code_version(kind),
                "packages": packages,
                "needs": dict(needs),
                **identity,
            }
        )
        steps.setdefault(
            key,
            Step(kind, title, key, dict(needs), {**payload, "threads": threads, "device": device}, exclusive),
        )
        return key

    datasets = _opened(suite, data_root)
    for component in suite.datasets:
        dataset = datasets[component.label]
        dataset.prepare(progress)
        if not dataset.needs_root:
            dataset.verify()
        fingerprint = fingerprints[component.label] = dataset.fingerprint()
        data = {
            "name": component.name,
            "arguments": {
                **component.arguments,
                **({"root": str(dataset.root)} if dataset.needs_root else {}),
            },
        }
        asked = {
            m.label: [
                t
                for t in suite.tasks
                if t.takes(component.label, m.label) and dataset.layout in tasks[t.label].meta.layouts
            ]
            for m in suite.methods
        }
        everywhere = _read_splits(dataset, [tasks[t.label] for chosen in asked.values() for t in chosen])
        for method_component in suite.methods:
            chosen = asked[method_component.label]
            seeds = [s for s in suite.seeds if any(t.seeds is None or s in t.seeds for t in chosen)]
            if not seeds:
                continue
            splits = _read_splits(dataset, [tasks[t.label] for t in chosen])
            method = methods[method_component.label]
            detector_component, detector = detectors[method.meta.detector or suite.detector.name]
            spec = detector_component.model_dump(mode="json")
            found = add(
                "detect",
                f"detect people in {component.label} with {detector_component.label}",
                {},
                {"dataset": data, "splits": everywhere, "detector": spec},
                {
                    "dataset": fingerprint,
                    "splits": everywhere,
                    "detector": _component_key(detector_component, detector),
                },
            )
            anonymized: dict[int, str] = {}
            for seed in seeds:
                used = 0 if method.meta.deterministic else seed
                anonymized[seed] = add(
                    "anonymize",
                    f"anonymize {component.label} with {method_component.label}"
                    + ("" if method.meta.deterministic else f", seed {seed}"),
                    {"people": found},
                    {
                        "dataset": data,
                        "splits": splits,
                        "method": method_component.model_dump(mode="json"),
                        "seed": used,
                    },
                    {
                        "dataset": fingerprint,
                        "splits": splits,
                        "method": _component_key(method_component, method),
                        "seed": used,
                    },
                )
            for task_component in chosen:
                task = tasks[task_component.label]
                described = {**_component_key(task_component, task), "effective": dict(task.arguments)}
                task_spec = task_component.model_dump(mode="json")
                evaluations: dict[int, str] = {}
                for seed in task_component.seeds or suite.seeds:
                    needs = {"people": found, "anonymized": anonymized[seed]}
                    trainings = task.trainings()
                    for training in trainings:
                        needs[f"train:{training.role}"] = _add_training(
                            add,
                            _control(training, trainings) if method.meta.scope == "none" else training,
                            component,
                            method_component,
                            data,
                            fingerprint,
                            anonymized[seed],
                            task_component,
                            described,
                            seed,
                            hardware,
                        )
                    evaluations[seed] = add(
                        "evaluate",
                        f"{task_component.label}: {method_component.label} on {component.label}, seed {seed}",
                        needs,
                        {
                            "dataset": data,
                            "task": task_spec,
                            "method": method_component.model_dump(mode="json"),
                            "detector": spec,
                            "seed": seed,
                        },
                        {"dataset": fingerprint, "task": described, "seed": seed, **hardware},
                        task.meta.exclusive,
                    )
                cells.append(
                    Cell(
                        component,
                        method_component,
                        task_component,
                        detector_component.label,
                        {seed: anonymized[seed] for seed in evaluations},
                        evaluations,
                    )
                )
    if not cells:
        raise SuiteError(
            f"No task of the suite {suite.name} can read any of its datasets.",
            "`dp2bench list tasks` shows which layouts each reads.",
        )
    return Plan(tuple(steps.values()), tuple(cells), fingerprints)


def _read_splits(dataset: Dataset, tasks: Sequence[Task]) -> list[str]:
    """The splits that any of the tasks reads, in the dataset's order."""
    read = {split for task in tasks for split in task.splits(dataset)}
    return [split for split in dataset.meta.splits if split in read]


def _control(training: Training, trainings: Sequence[Training]) -> Training:
    """What a method that replaces nothing is trained on: the clear pictures, like the control that it is."""
    same = (t for t in trainings if t.on == "clear" and t.arguments == training.arguments)
    return training if training.on == "clear" else next(same, training)


def _add_training(
    add: Any,
    training: Training,
    dataset: Component,
    method: Component,
    data: Mapping[str, Any],
    fingerprint: str,
    anonymized: str,
    task: Component,
    described: Mapping[str, Any],
    seed: int,
    hardware: Mapping[str, Any],
) -> str:
    clear = training.on == "clear"
    needs = {} if clear else {"anonymized": anonymized}
    identity = {
        "dataset": fingerprint,
        "task": {k: described[k] for k in ("name", "source")},
        "training": training.role,
        "on": training.on,
        "arguments": dict(training.arguments),
        "seed": seed,
        **hardware,
    }
    key: str = add(
        "train",
        f"train {training.role} on {'clear ' + dataset.label if clear else method.label + ' ' + dataset.label}, seed {seed}",
        needs,
        {"dataset": data, "task": task.model_dump(mode="json"), "role": training.role, "seed": seed},
        identity,
    )
    return key


def default_threads() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
