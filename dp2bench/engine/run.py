"""Run a suite: plan, execute, and write one result file for each method, dataset and task."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dp2bench.core import provenance, registry
from dp2bench.core.contracts import Progress, Task, no_progress
from dp2bench.core.errors import Dp2benchError, writing
from dp2bench.core.images import is_picture_name, write_image
from dp2bench.core.results import Coverage, Result, ResultSpec, Score, content_key
from dp2bench.engine.executor import Executor, Observer, Outcome
from dp2bench.engine.plan import make_plan
from dp2bench.engine.step import Cell, Plan, make_dataset
from dp2bench.engine.steps import write_json
from dp2bench.engine.store import Journal, Store
from dp2bench.engine.suite import Suite
from dp2bench.metrics.intervals import bootstrap_interval

PICTURES = 8
"""People shown under every method in the report."""


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, its results, and how its steps ended."""

    folder: Path
    results: tuple[Result, ...]
    outcomes: Mapping[str, Outcome]

    @property
    def failed(self) -> bool:
        """Whether any result is missing."""
        return any(r.status != "ok" for r in self.results)


def pool_seeds(
    per_seed: Sequence[Sequence[Score]], units: Sequence[Mapping[str, Mapping[str, float]]]
) -> tuple[Score, ...]:
    """One score a name: the mean over seeds. Its interval is a bootstrap over units (queries, pictures) of the values averaged
    over seeds, where every seed measured the same units; it speaks of other units, not of other trainings: `per_seed` does.
    """
    pooled = []
    for score in per_seed[0]:
        same = [next(s for s in scores if s.name == score.name) for scores in per_seed]
        values = tuple(s.value for s in same)
        chances = [s.chance for s in same if s.chance is not None]
        tables = [u.get(score.name) for u in units]
        interval = score.ci95 if len(same) == 1 else None
        first = tables[0]
        if first and all(t is not None and t.keys() == first.keys() for t in tables):
            interval = bootstrap_interval(
                np.mean([[t[k] for k in sorted(first)] for t in tables if t], axis=0), seed=0
            )
        pooled.append(
            score.model_copy(
                update={
                    "value": float(np.mean(values)),
                    "per_seed": values,
                    "ci95": interval,
                    "chance": float(np.mean(chances)) if chances else None,
                }
            )
        )
    return tuple(pooled)


def pool_units(units: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, float]]:
    """The values behind each score, averaged over seeds: {score name: {unit id: value}}; only the scores for which every seed
    measured the same units, so that the mean over units is the score.
    """
    return {
        name: {unit: float(np.mean([u[name][unit] for u in units])) for unit in sorted(first)}
        for name, first in sorted(units[0].items())
        if all(name in u and u[name].keys() == first.keys() for u in units)
    }


def keep_evidence(result: Path, seeds: Mapping[int, Path]) -> None:
    """Put what a report and a paired comparison need beside a result file, so that the run's folder can travel without the cache.

    ``<task>.units.json`` holds the pooled values of single queries or pictures, ``<task>/seed-<seed>/`` what the task left in
    ``RunContext.artefacts``. Whatever an earlier run left there is dropped.

    Args:
        result: the result's file.
        seeds: folder of the finished evaluation by seed; empty where the result failed.

    """
    folder, units = result.with_suffix(""), result.with_suffix(".units.json")
    shutil.rmtree(folder, ignore_errors=True)
    units.unlink(missing_ok=True)
    if not seeds:
        return
    write_json(units, pool_units([json.loads((f / "units.json").read_text("utf-8")) for f in seeds.values()]))
    for seed, source in seeds.items():
        if any((source / "artefacts").iterdir()):
            shutil.copytree(source / "artefacts", folder / f"seed-{seed}")


def _spec(cell: Cell) -> ResultSpec:
    return ResultSpec(
        method=cell.method.label,
        method_arguments={"plugin": cell.method.name, **cell.method.arguments},
        dataset=cell.dataset.label,
        dataset_arguments=cell.dataset.arguments,
        task=cell.task.label,
        task_arguments=cell.task.arguments,
        detector=cell.detector,
        seeds=tuple(cell.evaluations),
    )


def _result(
    cell: Cell,
    plan: Plan,
    outcomes: Mapping[str, Outcome],
    store: Store,
    dataset_version: str,
    device: str,
    threads: int,
) -> Result:
    spec = _spec(cell)
    run_id = content_key(spec)
    failure = next((o.failure for key in cell.evaluations.values() if (o := outcomes[key]).failure), None)
    if failure is not None:
        return Result(run_id=run_id, spec=spec, status="error", error=failure)
    folders = [store.path(key) for key in cell.evaluations.values()]
    per_seed = [
        [Score.model_validate(s) for s in json.loads((f / "scores.json").read_text("utf-8"))] for f in folders
    ]
    units = [json.loads((f / "units.json").read_text("utf-8")) for f in folders]
    coverages = [
        Coverage.model_validate_json((store.path(k) / "coverage.json").read_text("utf-8"))
        for k in cell.anonymized.values()
    ]
    method = registry.create("methods", cell.method.name, cell.method.arguments)
    task: Task = registry.create("tasks", cell.task.name, cell.task.arguments)
    keys = {
        key
        for seed in spec.seeds
        for key in (cell.evaluations[seed], *outcomes[cell.evaluations[seed]].step.needs.values())
    }
    return Result(
        run_id=run_id,
        spec=spec,
        status="ok",
        main_score=task.meta.main_score,
        scores=pool_seeds(per_seed, units),
        coverage=max(
            coverages, key=lambda c: c.failed_open
        ),  # seeds may differ only where a method is random; the worst is printed
        provenance=provenance.collect(
            dataset_version=dataset_version,
            dataset_fingerprint=plan.fingerprints[cell.dataset.label],
            device=device,
            threads=threads,
            weights={w.name: w.sha256 for w in method.meta.weights},
            arguments_passed=dict(cell.task.arguments),
            arguments_effective=dict(task.arguments),
            method={k: v for k, v in vars(method.meta).items() if k != "weights"},
            task={k: getattr(task.meta, k) for k in ("name", "version", "kind", "reference")},
            seeds=spec.seeds,
            steps=tuple(sorted(keys)),
        ),
    )


def keep_pictures(
    folder: Path, dataset: Any, label: str, anonymized: Mapping[str, tuple[Path, Sequence[str]]]
) -> None:
    """Copy a few pictures, evenly spaced over the people, under every method: what the report's contact sheet shows.

    Args:
        folder: the run's.
        dataset: the clear one.
        label: the dataset's.
        anonymized: folder and splits by method; the pictures are of the split that most methods have, rather of a late one.

    """
    names = list(dataset.meta.splits)
    split = max(
        names, key=lambda s: (sum(s in r for _, r in anonymized.values()), s == "query", names.index(s))
    )
    samples = dataset.samples(split)
    chosen = (
        [samples[i] for i in np.unique(np.linspace(0, len(samples) - 1, PICTURES).round().astype(int))]
        if samples
        else []
    )
    shown = {method: dataset.open(root) for method, (root, splits) in anonymized.items() if split in splits}
    for method, opened in {"clear": dataset, **shown}.items():
        source = {s.id: s for s in opened.samples(split)}
        target = folder / "pictures" / method / label / split
        target.mkdir(parents=True, exist_ok=True)
        for sample in chosen:
            if sample.id not in source:
                continue
            path, name = source[sample.id].path, Path(sample.id).name
            if path.is_file() and is_picture_name(path):
                shutil.copyfile(path, target / name)
            else:  # an archive's member or a frame of a video
                write_image(target / f"{name}.png", opened.read(source[sample.id]))


def run_suite(
    suite: Suite,
    out: Path,
    *,
    executor: Executor,
    store: Store,
    observer: Observer,
    threads: int,
    device: str,
    command: str,
    data_root: Path | None = None,
    prepare_progress: Progress = no_progress,
) -> Run:
    """Do everything a suite asks for and write ``out/results/<method>/<dataset>/<task>.json`` with its evidence (`keep_evidence`),
    ``run.json`` and ``journal.jsonl``.

    The result files and ``run.json`` are the same bytes for the same work, whether cached, resumed or new; times are in the journal.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Dp2benchError(
            f"The run folder {out} cannot be made: {error.strerror}.", "Choose another with --out."
        ) from error
    plan = make_plan(suite, data_root=data_root, threads=threads, device=device, progress=prepare_progress)
    journal = Journal(out / "journal.jsonl")

    class _Journaled:
        def begin(self, step: Any) -> Progress:
            return observer.begin(step)

        def end(self, outcome: Outcome) -> None:
            journal.add(
                key=outcome.step.key,
                kind=outcome.step.kind,
                title=outcome.step.title,
                seconds=round(outcome.seconds, 3),
                cached=outcome.cached,
                error=outcome.failure.message if outcome.failure else None,
                details=outcome.details,
            )
            observer.end(outcome)

    outcomes = executor.run(plan.steps, _Journaled())
    results: list[Result] = []
    paths: list[str] = []
    datasets = {c.label: make_dataset(c, data_root) for c in suite.datasets}
    for cell in plan.cells:
        result = _result(
            cell, plan, outcomes, store, datasets[cell.dataset.label].meta.version, device, threads
        )
        relative = Path("results", cell.method.label, cell.dataset.label, f"{cell.task.label}.json")
        with writing(out / relative):
            (out / relative).parent.mkdir(parents=True, exist_ok=True)
            partial = (out / relative).with_suffix(".partial")
            partial.write_text(result.to_json(), "utf-8")
            partial.replace(out / relative)
        keep_evidence(
            out / relative,
            {seed: store.path(key) for seed, key in cell.evaluations.items()}
            if result.status == "ok"
            else {},
        )
        results.append(result)
        paths.append(relative.as_posix())
    for label, dataset in datasets.items():
        done = {
            c.method.label: (store.path(k) / "dataset", outcomes[k].step.payload["splits"])
            for c in plan.cells
            if c.dataset.label == label
            for k in list(c.anonymized.values())[:1]
            if store.has(k)
        }
        keep_pictures(out, dataset, label, done)
    write_json(
        out / "run.json",
        {
            "schema_version": 1,
            "suite": suite.name,
            "command": command,
            "specification": suite.model_dump(mode="json"),
            "results": paths,
        },
    )
    return Run(out, tuple(results), outcomes)
