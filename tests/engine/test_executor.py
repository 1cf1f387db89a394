"""Steps at once in processes of their own."""

import sys

import pytest
import yaml

from dp2bench.core.contracts import no_progress
from dp2bench.engine import suite as suites
from dp2bench.engine.executor import LocalExecutor, critical_path_order
from dp2bench.engine.run import run_suite
from dp2bench.engine.step import Step
from dp2bench.engine.store import Store

PLUGINS = """
import os, time
from pathlib import Path
from dp2bench.core.contracts import MethodMeta, Task, TaskMeta
from dp2bench.core.results import Metric

LOG = Path(__file__).with_name("log")

class Exploding:
    meta = MethodMeta(name="exploding")
    def anonymize(self, image, people, *, seed):
        raise RuntimeError("boom")

class Dying:
    meta = MethodMeta(name="dying")
    def anonymize(self, image, people, *, seed):
        os._exit(3)

class Timed(Task):
    meta = None
    arguments = {}
    def __init__(self, alone=False):
        self.meta = TaskMeta("timed", "1", "cost", "s", ("market1501",), {"s": Metric(higher_is_better=False, unit="s")}, exclusive=alone)
        self.arguments = {"alone": alone}
    def splits(self, dataset):
        return ("query",)
    def trainings(self):
        return ()
    def run(self, clear, anonymized, context):
        begin = time.time()
        time.sleep(0.5)
        with LOG.open("a") as log:
            log.write(f"{self.meta.exclusive:d} {begin} {time.time()} {os.environ['OMP_NUM_THREADS']} {os.getpid()}\\n")
        context.record("s", value=1.0, n=1)
"""


class Watching:
    def __init__(self):
        self.begun, self.ended = [], []

    def begin(self, step):
        self.begun.append(step.key)
        return no_progress

    def end(self, outcome):
        self.ended.append(outcome.step.key)


@pytest.fixture
def go(tiny_suite, tmp_path, monkeypatch):
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "executor_plugins.py").write_text(PLUGINS)
    monkeypatch.syspath_prepend(str(tmp_path / "plugins"))
    yield lambda **changes: _go(tiny_suite, tmp_path, changes)
    sys.modules.pop("executor_plugins", None)


def _go(tiny_suite, tmp_path, changes):
    path = tmp_path / "suite.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(tiny_suite.read_text()) | changes))
    store, observer = Store(), Watching()
    run = run_suite(
        suites.load(str(path)),
        tmp_path / "run",
        executor=LocalExecutor(store, workers=2),
        store=store,
        observer=observer,
        threads=1,
        device="cpu",
        command="test",
    )
    return run, observer


def test_failures_and_dead_processes_are_records_and_the_rest_goes_on(go):
    run, observer = go(
        methods=["mask-out", "executor_plugins:Exploding", "executor_plugins:Dying"],
        tasks=["detection-coverage"],
        seeds=[0],
    )
    assert [r.status for r in run.results] == ["ok", "error", "error"]
    assert "boom" in run.results[1].error.message
    assert "ended with code 3" in run.results[2].error.message
    assert "--workers 1" in run.results[2].error.message
    assert sorted(observer.ended) == sorted(run.outcomes)  # each ended once
    assert len(observer.begun) == 5  # two evaluations were skipped


def test_what_measures_time_has_the_machine_to_itself(go, tmp_path):
    timed = "executor_plugins:Timed"
    go(
        methods=["mask-out", "identity"],
        tasks=[
            {"name": timed, "label": "alone", "arguments": {"alone": True}},
            {"name": timed, "label": "beside"},
        ],
        seeds=[0, 1],
    )
    rows = [line.split() for line in (tmp_path / "plugins" / "log").read_text().splitlines()]
    assert len(rows) == 8
    assert len({pid for *_, pid in rows}) == 2
    assert {row[3] for row in rows} == {"1"}  # more threads than processors would wait for each other
    spans = [(row[0] == "1", float(row[1]), float(row[2])) for row in rows]
    for i, (exclusive, begin, end) in enumerate(spans):
        others = spans[:i] + spans[i + 1 :]
        assert not exclusive or all(b >= end or e <= begin for _, b, e in others)


def test_the_longest_chain_begins_first():
    def step(kind, key, **needs):
        return Step(kind, key, key, needs, {"threads": 1}, False)

    steps = [
        step("detect", "d"),
        step("anonymize", "a", people="d"),
        step("evaluate", "e", anonymized="a"),
        step("detect", "d2"),
        step("anonymize", "a2", people="d2"),
        step("train", "t", anonymized="a2"),
        step("evaluate", "e2", **{"train:t": "t", "anonymized": "a2"}),
        step("evaluate", "e3", anonymized="a"),
    ]
    ordered = [s.key for s in critical_path_order(steps)]
    assert ordered == ["d2", "a2", "t", "d", "a", "e", "e2", "e3"]
    for s in steps:
        assert all(ordered.index(key) < ordered.index(s.key) for key in s.needs.values())
