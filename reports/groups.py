"""Results that may stand together: one dataset and one task, and what is common to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dp2bench.core.figures import Figure
from dp2bench.core.results import Coverage, Metric, Result, Score, canonical_json

KINDS = ("privacy", "utility", "quality", "coverage", "cost")
"""Kinds of tasks, in the order in which tables show them."""


def kind_of(result: Result) -> str:
    """What the result's task measures: one of `KINDS`.

    A result that does not say counts as one of privacy, for which the rules of printing are the strictest; results from before
    kinds were kept are all of re-identification.
    """
    kind = result.provenance.task.get("kind") if result.provenance is not None else None
    return kind if kind in KINDS else "privacy"


def known_people(coverage: Coverage) -> int:
    """People the dataset or the detector knows of."""
    return coverage.found + (coverage.undetected or 0)


def printable(result: Result, score: Score) -> bool:
    """Whether the score may be shown: a privacy score needs a coverage of at least one known person."""
    return (
        kind_of(result) != "privacy"
        or result.clear_only(score)
        or (result.coverage is not None and known_people(result.coverage) > 0)
    )


@dataclass(frozen=True)
class Group:
    """Results that may stand in one table: one dataset and one task. ``labels`` tell the methods apart."""

    dataset: str
    task: str
    results: tuple[Result, ...]
    labels: tuple[str, ...]
    indices: tuple[int, ...] = ()
    """Where each result stands in the sequence that was grouped."""
    settings: str = ""
    """The settings that tell it from other groups of the same dataset and task; empty where there is no other."""

    @property
    def name(self) -> str:
        """The task, with the settings that tell it from others of that name."""
        return f"{self.task} ({self.settings})" if self.settings else self.task

    @property
    def kind(self) -> str:
        """What the task measures: one of `KINDS`."""
        return next((kind_of(r) for r in self.results if r.provenance is not None), "privacy")

    @property
    def main_score(self) -> Score | None:
        """The main score of the first result that has one: its name, metric and scenario are those of all."""
        return next((r.main for r in self.results if r.main is not None), None)

    @property
    def score_names(self) -> tuple[str, ...]:
        """All names, in order of first appearance."""
        return tuple(dict.fromkeys(score.name for result in self.results for score in result.scores))

    @property
    def main_names(self) -> tuple[str, ...]:
        """The columns that the task declares, or its main metric under every scenario; every name where there is neither."""
        declared = next((r.columns for r in self.results if r.columns), ())
        if declared:
            return tuple(name for name in declared if name in self.score_names)
        main = self.main_score
        if main is None:
            return self.score_names
        return tuple(
            name
            for name in self.score_names
            if (score := self.first(name)[1]).metric == main.metric and score.subset == main.subset
        )

    @property
    def figures(self) -> tuple[Figure, ...]:
        """What the task declares to be shown, each once."""
        found: list[Figure] = []
        for result in self.results:
            found += [figure for figure in result.figures if figure not in found]
        return tuple(found)

    @property
    def shown(self) -> tuple[int, ...]:
        """Which results may be shown whole: figures say what the scores say, and so need a coverage as they do."""
        return tuple(
            i
            for i, result in enumerate(self.results)
            if result.status == "ok" and all(printable(result, score) for score in result.scores)
        )

    def first(self, name: str) -> tuple[Result, Score]:
        """The first result that has the score; KeyError where none has."""
        for result in self.results:
            if (score := result.find(name)) is not None:
                return result, score
        raise KeyError(name)

    def metric(self, name: str) -> Metric:
        """Unit and direction of the score of that name."""
        result, score = self.first(name)
        return result.metric(score)

    def clear_only(self, name: str) -> bool:
        """Whether the score of that name says nothing of anonymized pictures."""
        result, score = self.first(name)
        return result.clear_only(score)

    def chance_of(self, name: str) -> bool:
        """Whether any result knows this score's chance."""
        return any((s := result.find(name)) is not None and s.chance is not None for result in self.results)


def told_apart(columns: Sequence[tuple[str, Group]]) -> list[str]:
    """What follows each title so that no two are equal: nothing, or the dataset, the task, or both."""
    ways: tuple[Callable[[Group], str], ...] = (
        lambda _: "",
        lambda g: f", {g.dataset}",
        lambda g: f", {g.name}",
        lambda g: f", {g.dataset}, {g.name}",
    )
    more = [""] * len(columns)
    for title in {title for title, _ in columns}:
        same = [i for i, (other, _) in enumerate(columns) if other == title]
        for way in ways:
            found = [way(columns[i][1]) for i in same]
            if len(set(found)) == len(same):
                break
        for i, text in zip(same, found, strict=True):
            more[i] = text
    return more


def headline(gathered: Sequence[Group]) -> Group | None:
    """The privacy results that stand for all: those that choose a worst attacker, or else the first ones."""
    private = [g for g in gathered if g.kind == "privacy" and g.main_score is not None]
    chosen = [g for g in private if any(r.main is not None and r.main.by for r in g.results)]
    return next(iter([*chosen, *private]), None)


def _labels(results: Sequence[Result], runs: Sequence[str]) -> tuple[str, ...]:
    labels = [r.spec.method for r in results]
    for longer in (
        lambda r, run: r.spec.method + run,
        lambda r, run: f"{r.spec.method}{_arguments(r)}{run}",
        lambda r, run: f"{r.spec.method}{_arguments(r)} @{r.spec.detector}{run}",
        lambda r, run: f"{r.spec.method}{_arguments(r)} @{r.spec.detector} #{r.run_id[:8]}{run}",
    ):
        twice = {label for label in labels if labels.count(label) > 1}
        labels = [
            longer(r, f" ({run})" if len(set(runs)) > 1 else "") if label in twice else label
            for r, run, label in zip(results, runs, labels, strict=True)
        ]
    return tuple(labels)


def _arguments(result: Result) -> str:
    arguments = result.spec.method_arguments
    return (
        f"({', '.join(f'{k}={canonical_json(v)}' for k, v in sorted(arguments.items()))})"
        if arguments
        else ""
    )


def groups(results: Sequence[Result], runs: Sequence[str] = ()) -> tuple[Group, ...]:
    """Results by dataset and task, everything in order of first appearance.

    Args:
        results: of one or several runs.
        runs: name of each result's run, put behind a method that several runs have.

    """
    found: dict[tuple[str, str, str], list[int]] = {}
    for i, result in enumerate(results):
        spec = result.spec
        found.setdefault(
            (spec.dataset, spec.task, canonical_json([spec.dataset_arguments, spec.task_arguments])), []
        ).append(i)
    gathered = []
    for (dataset, task, _), members in found.items():
        chosen = [results[i] for i in members]
        labels = _labels(chosen, [runs[i] if runs else "" for i in members])
        others = [results[m[0]] for (d, t, _), m in found.items() if (d, t) == (dataset, task)]
        settings = _settings(chosen[0], others)
        gathered.append(Group(dataset, task, tuple(chosen), labels, tuple(members), settings))
    return tuple(gathered)


def _settings(result: Result, others: Sequence[Result]) -> str:
    """The settings of dataset and task that not all of these have alike: ``epochs=40``."""

    def given(r: Result) -> dict[str, str]:
        arguments = {**r.spec.dataset_arguments, **r.spec.task_arguments}
        return {key: canonical_json(value) for key, value in arguments.items()}

    mine, all_of_them = given(result), [given(other) for other in others]
    keys = sorted({key for one in all_of_them for key in one})
    differ = [key for key in keys if len({one.get(key) for one in all_of_them}) > 1]
    return ", ".join(f"{key}={mine.get(key, 'default')}" for key in differ)


def anchors(groups: Sequence[Group]) -> list[str]:
    """A name for each group that may stand in a file's name and an address; no two are alike."""
    names: list[str] = []
    for group in groups:
        plain = "".join(
            c if c.isascii() and c.isalnum() else "-" for c in f"{group.dataset}-{group.task}".lower()
        )
        name, n = plain, 2
        while name in names:
            name, n = f"{plain}-{n}", n + 1
        names.append(name)
    return names
