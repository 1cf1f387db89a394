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
from dp2bench.core.contracts import DatasetMeta, Progress, Task, no_progress
from dp2bench.core.errors import Dp2benchError, writing
from dp2bench.core.images import is_picture_name, write_image
from dp2bench.core.results import CLUSTER, Coverage, Failure, Result, ResultSpec, Score, content_key
from dp2bench.engine.executor import Executor, Observer, StepOutcome
from dp2bench.engine.missing import check
from dp2bench.engine.plan import make_plan
from dp2bench.engine.step import Cell, Plan, make_method
from dp2bench.engine.steps import write_json
from dp2bench.engine.store import Journal, Store
from dp2bench.engine.suite import AnySuite
from dp2bench.metrics.intervals import bootstrap_interval, cluster_interval

PICTURES = 8
"""People shown under every method in the report."""


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, its results, and how its steps ended."""

    folder: Path
    results: tuple[Result, ...]
    outcomes: Mapping[str, StepOutcome]

    @property
    def failed(self) -> bool:
        """Whether any result failed. Rows that were left out on purpose, ``skipped``, did not."""
        return any(r.status == "error" for r in self.results)


Units = Mapping[str, Mapping[str, float]]
"""{score name: {unit id: value}}"""


def pool_seeds(per_seed: Sequence[Sequence[Score]], units: Sequence[Units]) -> tuple[Score, ...]:
    """One score a name, of the seeds that have it: means over seeds, and the value of each.

    The interval speaks of other units (queries, pictures), not of other trainings: `per_seed` does. A task that gives one for each seed
    has the last word; the mean of their bounds is taken, which is right where seeds go up and down together and too wide otherwise. Else
    it is a bootstrap over units (over clusters, where units say theirs) of their values averaged over seeds, where every seed measured
    the same ones. A p value of several seeds
    is twice their mean, which holds however they depend on each other (Vovk and Wang, Biometrika 2020).
    """
    pooled = []
    for name in dict.fromkeys(s.name for scores in per_seed for s in scores):
        same = [s for scores in per_seed for s in scores if s.name == name]
        values = tuple(s.value for s in same)
        p_value = _mean([s.p_value for s in same])
        pooled.append(
            same[0].model_copy(
                update={
                    "value": float(np.mean(values)),
                    "per_seed": values,
                    "ci95": _interval(same, [u[name] for u in units if name in u]),
                    "chance": _mean([s.chance for s in same]),
                    "chance_high": _mean([s.chance_high for s in same]),
                    "lift": _mean([s.lift for s in same]),
                    "p_value": p_value if p_value is None or len(same) == 1 else min(1.0, 2 * p_value),
                }
            )
        )
    return tuple(pooled)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else None


def _interval(same: Sequence[Score], units: Sequence[Mapping[str, float]]) -> tuple[float, float] | None:
    given = [s.ci95 for s in same if s.ci95 is not None]
    if len(given) == len(same):
        low, high = np.mean(given, axis=0)
        return float(low), float(high)
    if len(units) < len(same) or any(u.keys() != units[0].keys() for u in units):
        return None
    names = sorted(units[0])
    values = np.mean([[u[k] for k in names] for u in units], axis=0)
    if names and all(CLUSTER in name for name in names):
        return cluster_interval(values, [name.partition(CLUSTER)[0] for name in names], seed=0)
    return bootstrap_interval(values, seed=0)


def pool_units(units: Sequence[Units]) -> dict[str, dict[str, float]]:
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


def _place(cell: Cell) -> tuple[str, str, str]:
    return cell.dataset.label, cell.method.label, cell.task.label


def _spec(cell: Cell) -> ResultSpec:
    return ResultSpec(
        method=cell.method.label,
        method_arguments={"folder": cell.method.folder}
        if cell.method.folder
        else {"plugin": cell.method.name, **cell.method.arguments},
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
    outcomes: Mapping[str, StepOutcome],
    store: Store,
    data: DatasetMeta,
    device: str,
    threads: int,
) -> Result:
    spec = _spec(cell)
    run_id = content_key(spec)
    failure = next((o.failure for key in cell.evaluations.values() if (o := outcomes[key]).failure), None)
    if failure is not None:
        return Result(run_id=run_id, spec=spec, status="error", error=failure)
    folders = [store.folder(key) for key in cell.evaluations.values()]
    per_seed = [
        [Score.model_validate(s) for s in json.loads((f / "scores.json").read_text("utf-8"))] for f in folders
    ]
    units = [json.loads((f / "units.json").read_text("utf-8")) for f in folders]
    coverages = [
        Coverage.model_validate_json((store.folder(k) / "coverage.json").read_text("utf-8"))
        for k in cell.anonymized.values()
    ]
    scores = pool_seeds(per_seed, units)
    method = make_method(cell.method)
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
        scores=scores,
        metrics={name: m for name, m in task.meta.metrics.items() if any(s.metric == name for s in scores)},
        scenarios={
            name: c for name, c in task.meta.scenarios.items() if any(s.scenario == name for s in scores)
        },
        columns=task.meta.columns,
        figures=task.meta.figures,
        coverage=max(
            coverages, key=lambda c: c.failed_open
        ),  # seeds may differ only where a method is random; the worst is printed
        provenance=provenance.collect(
            dataset_version=data.version,
            dataset_fingerprint=plan.fingerprints[cell.dataset.label],
            device=device,
            threads=threads,
            weights={w.name: w.sha256 for w in method.meta.weights},
            licences={
                data.name: data.licence,
                **{w.name: w.licence for w in method.meta.weights},
                **cell.licences,
            },
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


def _absent(cell: Cell, reason: str) -> Result:
    """The row of what is not on this machine."""
    spec = _spec(cell)
    return Result(
        run_id=content_key(spec),
        spec=spec,
        status="skipped",
        error=Failure(step="", kind="missing", message=f"{reason}."),
    )


def run_suite(
    suite: AnySuite,
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
    allow_missing: bool = False,
) -> Run:
    """Do everything a suite asks for and write ``out/results/<method>/<dataset>/<task>.json`` with its evidence (`keep_evidence`),
    ``run.json`` and ``journal.jsonl``.

    The result files and ``run.json`` are the same bytes for the same work, whether cached, resumed or new; times are in the journal.
    With ``allow_missing``, rows whose dataset or weights are not there are results of status ``skipped``.

    Raises:
        MissingFilesError: lists everything that is missing, before any work.

    """
    needed = check(suite, data_root)
    if needed.missing and (needed.runnable is None or not allow_missing):
        raise needed.error(suite.name)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Dp2benchError(
            f"The run folder {out} cannot be made: {error.strerror}.", "Choose another with --out."
        ) from error
    plan = make_plan(
        needed.runnable or suite,
        data_root=data_root,
        threads=threads,
        device=device,
        progress=prepare_progress,
        opened=needed.datasets,
    )
    journal = Journal(out / "journal.jsonl")

    class _Journaled:
        def begin(self, step: Any) -> Progress:
            return observer.begin(step)

        def end(self, outcome: StepOutcome) -> None:
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
    datasets = needed.datasets
    planned = {_place(cell): cell for cell in plan.cells}
    for row in needed.cells:
        cell = planned.get(_place(row), row)
        result = (
            _absent(cell, needed.reasons[_place(row)])
            if cell is row
            else _result(cell, plan, outcomes, store, datasets[cell.dataset.label].meta, device, threads)
        )
        relative = Path("results", cell.method.label, cell.dataset.label, f"{cell.task.label}.json")
        with writing(out / relative):
            (out / relative).parent.mkdir(parents=True, exist_ok=True)
            partial = (out / relative).with_suffix(".partial")
            partial.write_text(result.to_json(), "utf-8")
            partial.replace(out / relative)
        keep_evidence(
            out / relative,
            {seed: store.folder(key) for seed, key in cell.evaluations.items()}
            if result.status == "ok"
            else {},
        )
        results.append(result)
        paths.append(relative.as_posix())
    for label, dataset in datasets.items():
        done = {
            c.method.label: (store.folder(k) / "dataset", outcomes[k].step.payload["splits"])
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
