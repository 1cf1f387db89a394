"""What each kind of step does, given the folders of the steps it needs and a folder to leave its own files in."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dp2bench.core import registry
from dp2bench.core.contracts import Dataset, Progress, RunContext, Task
from dp2bench.core.errors import Dp2benchError, writing
from dp2bench.core.paths import cache_root
from dp2bench.core.people_io import load_people, save_people
from dp2bench.core.provenance import package_versions
from dp2bench.core.results import Coverage, content_key
from dp2bench.engine.folder_source import FolderSource
from dp2bench.engine.step import Step, make_dataset, make_method
from dp2bench.engine.suite import Component, MethodChoice
from dp2bench.pipelines import anonymize as _anonymize
from dp2bench.pipelines import stream


def _create(kind: registry.Kind, spec: Mapping[str, Any]) -> Any:
    return registry.create(kind, spec["name"], spec.get("arguments", {}))


def _dataset(step: Step) -> Dataset:
    """The dataset; made where another machine planned, and this one has it not."""

    def ready(spec: Mapping[str, Any]) -> Dataset:
        dataset = make_dataset(Component.model_validate(dict(spec)), None)
        dataset.prepare()
        return dataset

    dataset: Dataset = _kept_between(step, "dataset", ready)
    return dataset


_kept: dict[str, tuple[str, Any]] = {}


def _kept_between(step: Step, role: str, make: Callable[[Any], Any]) -> Any:
    """What ``make`` makes of a component of the payload. Between parts it is kept, with what it has listed or loaded."""
    spec = step.payload[role]
    if "part" not in step.payload:
        _kept.clear()
        return make(spec)
    name = json.dumps(spec, sort_keys=True, default=str)
    if _kept.get(role, ("",))[0] != name:
        _kept[role] = name, make(spec)
    return _kept[role][1]


def _empty(folder: Path) -> None:
    """Drop what an earlier, killed attempt left: only trainings know how to go on from it."""
    for entry in folder.iterdir():
        shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()


def write_json(path: Path, value: Any) -> None:
    """Canonical JSON, atomically."""
    partial = path.with_name(path.name + ".partial")
    text = json.dumps(value, sort_keys=True, indent=1, allow_nan=False) + "\n"
    with writing(path):
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)


def detect(step: Step, needs: Mapping[str, Path], out: Path, progress: Progress) -> None:
    """People by split; of a step in parts the parts' put together."""
    _empty(out)
    parts, splits = _parts(needs), step.payload["splits"]
    if parts:
        for split in splits:
            found = [load_people(part / f"{split}.npz") for part in parts if (part / f"{split}.npz").exists()]
            save_people(out / f"{split}.npz", ((name, file[name]) for file in found for name in file))
        return
    detector = _kept_between(step, "detector", lambda spec: _create("detectors", spec))
    _anonymize.detect(_dataset(step), detector, splits, out, progress, step.payload.get("part"))


def anonymize(step: Step, needs: Mapping[str, Path], out: Path, progress: Progress) -> None:
    """The anonymized copy and what became of the people; of a step in parts the parts' put together."""
    _empty(out)
    dataset, splits, parts = _dataset(step), step.payload["splits"], _parts(needs)
    if parts:
        _anonymize.joined_copy(
            dataset, splits, [part / "dataset" for part in parts], out / "dataset", progress
        )
        coverages = [json.loads((part / "coverage.json").read_text("utf-8")) for part in parts]
        coverage = Coverage.of_parts([Coverage.model_validate(c) for c in coverages])
        left: dict[str, dict[str, Any]] = {}
        for part in parts:
            for split, pictures in json.loads((part / "missed.json").read_text("utf-8")).items():
                left.setdefault(split, {}).update(pictures)
        unreadable = [
            text for part in parts for text in json.loads((part / "unreadable.json").read_text("utf-8"))
        ]
        _write_coverage(out, coverage, left, unreadable)
        return
    method = _kept_between(step, "method", lambda spec: make_method(MethodChoice.model_validate(dict(spec))))
    people = {split: load_people(needs["people"] / f"{split}.npz") for split in splits}
    counter = _anonymize.CoverageCounter()
    if isinstance(method, FolderSource):
        ready = method.dataset(dataset, splits)
        counter = _anonymize.measured_coverage(dataset, ready, people, progress)
        (out / "dataset").symlink_to(method.root, target_is_directory=True)
    else:
        copy, seed, find = out / "dataset", step.payload["seed"], stream.found_before(people)
        pictures = _anonymize.anonymized_pictures(
            dataset,
            splits,
            lambda files, _: stream.anonymize_files(dataset, files, find, method, seed, out=copy),
            counter,
            progress,
            part=step.payload.get("part"),
        )
        with stream.altering(method):
            if "part" in step.payload:
                copy.mkdir()
                for _ in pictures:
                    pass
            else:
                dataset.rewrite(copy, pictures)
    _write_coverage(out, counter.coverage(), counter.left, counter.unreadable)


def _parts(needs: Mapping[str, Path]) -> list[Path]:
    """The folders of the steps that did this one in parts, in order."""
    return [needs[role] for role in sorted(needs) if role.startswith("part:")]


def _write_coverage(out: Path, coverage: Coverage, left: Mapping[str, Any], unreadable: list[str]) -> None:
    write_json(out / "coverage.json", coverage.model_dump(mode="json"))
    write_json(out / "missed.json", left)
    write_json(out / "unreadable.json", unreadable)


def _missed(path: Path) -> dict[str, dict[str, dict[int, str]]]:
    left = json.loads(path.read_text("utf-8"))
    return {
        split: {name: {int(i): why for i, why in people.items()} for name, people in pictures.items()}
        for split, pictures in left.items()
    }


def _context(step: Step, needs: Mapping[str, Path], out: Path, progress: Progress) -> RunContext:
    device, threads = step.payload["device"], step.payload["threads"]
    import torch

    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    trained = {name.removeprefix("train:"): path for name, path in needs.items() if name.startswith("train:")}
    return RunContext(
        seed=step.payload["seed"],
        trained=trained,
        artefacts=out,
        device=device,
        threads=threads,
        progress=progress,
    )


def train(step: Step, needs: Mapping[str, Path], out: Path, progress: Progress) -> None:
    task: Task = _create("tasks", step.payload["task"])
    dataset = _dataset(step)
    if "anonymized" in needs:
        dataset = dataset.open(needs["anonymized"] / "dataset")
    training = next(t for t in task.trainings() if t.role == step.payload["role"])
    task.train(training, dataset, out, _context(step, needs, out, progress))


def evaluate(step: Step, needs: Mapping[str, Path], out: Path, progress: Progress) -> None:
    _empty(out)
    task: Task = _create("tasks", step.payload["task"])
    clear = _dataset(step)
    artefacts = out / "artefacts"
    artefacts.mkdir()
    context = _context(step, needs, artefacts, progress)
    context.people = {path.stem: load_people(path) for path in needs["people"].glob("*.npz")}
    context.missed = _missed(needs["anonymized"] / "missed.json")
    method = MethodChoice.model_validate(dict(step.payload["method"]))
    if method.folder is None:
        context.method = lambda: _create("methods", step.payload["method"])
    context.detector = lambda: _create("detectors", step.payload["detector"]).for_dataset(clear)
    context.cache = cache_root() / "shared" / content_key(package_versions())
    task.run(clear, clear.open(needs["anonymized"] / "dataset"), context)
    check_declared(task, context)
    write_json(out / "scores.json", [s.model_dump(mode="json") for s in context.scores])
    write_json(out / "units.json", {name: dict(values) for name, values in context.units.items()})


def check_declared(task: Task, context: RunContext) -> None:
    """Dp2benchError where a task recorded nothing, or something that its meta does not declare."""
    name = task.meta.name
    if not context.scores:
        raise Dp2benchError(
            f"The task {name} recorded no score.", "Call context.record in its run, for each score."
        )
    for score in context.scores:
        if score.metric not in task.meta.metrics:
            raise Dp2benchError(
                f"The task {name} recorded the metric {score.metric!r}, which it does not declare.",
                "Add it to the metrics of its TaskMeta, with its direction and unit.",
            )
        if score.scenario and score.scenario not in task.meta.scenarios:
            raise Dp2benchError(
                f"The task {name} recorded under the scenario {score.scenario!r}, which it does not declare.",
                "Add it to the scenarios of its TaskMeta.",
            )


STEP_RUNNERS: Mapping[str, Callable[[Step, Mapping[str, Path], Path, Progress], None]] = {
    "detect": detect,
    "anonymize": anonymize,
    "train": train,
    "evaluate": evaluate,
}
