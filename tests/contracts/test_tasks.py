"""What every registered task must fulfil."""

from __future__ import annotations

import json
from importlib.metadata import entry_points

import pytest

from dp2bench.core import registry
from dp2bench.core.contracts import Task, TaskMeta, Training
from dp2bench.core.errors import Dp2benchError, PluginError
from dp2bench.core.results import canonical_json, score_name

TASKS = {e.name: e for e in entry_points(group="dp2bench.tasks")}
LAYOUTS = {registry.load("datasets", name).layout for name in registry.names("datasets")} | {"video"}


@pytest.fixture(params=sorted(TASKS))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def task(name: str) -> Task:
    return registry.create("tasks", name, {})


def test_meta(name, task):
    assert isinstance(task, Task)
    assert isinstance(task.meta, TaskMeta)
    assert task.meta.name == name
    assert task.meta.version
    assert task.meta.main_score
    assert set(task.meta.layouts) <= LAYOUTS
    assert task.meta.layouts
    assert task.meta.kind in {"privacy", "utility", "quality", "coverage", "cost"}
    assert task.meta.description.endswith(".")
    assert "\n" not in task.meta.description
    assert task.meta.reference


def test_scores_are_declared(task):
    meta = task.meta
    assert all(name and "." not in name for name in (*meta.metrics, *meta.scenarios))
    assert all(metric.title for metric in meta.metrics.values())
    assert all(scenario.control in {"", *meta.scenarios} for scenario in meta.scenarios.values())
    whole = [score_name(m, s) for m in meta.metrics for s in ("", *meta.scenarios)]
    for name in (meta.main_score, *meta.columns):
        assert any(name == known or name.startswith(f"{known}.") for known in whole), name
    assert not meta.columns or meta.main_score in meta.columns


def test_arguments_are_plain_complete_and_make_the_same_task_again(name, task):
    text = canonical_json(dict(task.arguments))
    assert json.loads(text) == json.loads(canonical_json(dict(registry.create("tasks", name, {}).arguments)))


def test_trainings_have_their_own_names_and_plain_arguments(task):
    trainings = task.trainings()
    assert all(isinstance(t, Training) for t in trainings)
    assert len({t.role for t in trainings}) == len(trainings)
    for training in trainings:
        canonical_json(dict(training.arguments))


def test_an_unknown_argument_is_named(name):
    with pytest.raises((PluginError, Dp2benchError), match="no_such_argument"):
        registry.create("tasks", name, {"no_such_argument": 1})
