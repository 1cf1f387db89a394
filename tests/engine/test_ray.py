"""Steps on a Ray cluster: the bytes of a local run, whatever is lost on the way."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

import pytest
import yaml

from dp2bench.core.errors import Dp2benchError
from dp2bench.engine import plan
from dp2bench.engine import suite as suites
from dp2bench.engine.executor import LocalExecutor
from dp2bench.engine.run import run_suite
from dp2bench.engine.store import Store

PLUGINS = """
import os, time
from pathlib import Path
from dp2bench.baselines.mask_out import mask_out_body
from dp2bench.core.contracts import MethodMeta

class Slow:
    meta = MethodMeta(name="slow")
    def __init__(self, folder):
        open(os.path.join(folder, f"loaded-{os.getpid()}"), "a").write("x")
        self._method, self._folder = mask_out_body(), Path(folder)
    def anonymize(self, image, people, *, seed):
        # Until somebody else works too: then a machine that is lost was working.
        begun = time.monotonic()
        while len([*self._folder.glob("loaded-*")]) < 3 and (self._folder / "several").exists() and time.monotonic() < begun + 300:
            time.sleep(0.1)
        time.sleep(0.3)
        return self._method.anonymize(image, people, seed=seed)

class Deadly:
    meta = MethodMeta(name="deadly")
    def anonymize(self, image, people, *, seed):
        os._exit(3)
"""


class Watching:
    """Calls ``at`` when the first part of the slow method has ended."""

    def __init__(self, at=lambda: None):
        self.progress, self.at, self.ended = [], at, 0

    def begin(self, step):
        return lambda done, total: self.progress.append((step.title, done, total))

    def end(self, outcome):
        if "part" in outcome.step.payload and "slow" in outcome.step.title and not outcome.cached:
            self.ended += 1
            if self.ended == 1:
                self.at()


def files(root: Path) -> dict[str, str]:
    return {
        p.relative_to(root).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(root.rglob("*"))
        if p.is_file()
    }


@pytest.fixture
def suite(tiny_suite, tmp_path, monkeypatch):
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "ray_plugins.py").write_text(PLUGINS)
    monkeypatch.syspath_prepend(str(tmp_path / "plugins"))
    monkeypatch.setattr(plan, "PART", 4)

    def write(*methods):
        content = yaml.safe_load(tiny_suite.read_text())
        content |= {"methods": [*methods], "tasks": ["detection-coverage"], "seeds": [0]}
        tiny_suite.write_text(yaml.safe_dump(content))
        return suites.load(str(tiny_suite))

    yield write
    sys.modules.pop("ray_plugins", None)


def go(suite, out: Path, executor, observer):
    return run_suite(
        suite,
        out,
        executor=executor,
        store=executor.store,
        observer=observer,
        threads=1,
        device="cpu",
        command="test",
    )


@pytest.fixture
def cluster(monkeypatch):
    """A head without processors for steps; ``add_node(num_cpus=…)`` adds a machine. All are processes here."""
    ray = pytest.importorskip("ray", reason='Ray needs `pip install "dp2bench[ray]"`')
    from ray.cluster_utils import Cluster

    # Ray gives a machine's agents 15 seconds to start, which is too little for all that a dashboard needs where others work too.
    monkeypatch.setattr(ray._private.utils, "get_dashboard_dependency_error", lambda: ImportError("left out"))
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    yield made
    made.shutdown()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_lost_machine_costs_its_steps_and_no_bytes(suite, cluster, tmp_path, monkeypatch):
    from dp2bench.engine.ray_executor import RayExecutor, _Actors

    lost, gone = [], _Actors._gone
    monkeypatch.setattr(
        _Actors, "_gone", lambda self, hand, error: [lost.append(hand.step), *gone(self, hand, error)][1:]
    )

    slow = {"name": "ray_plugins:Slow", "label": "slow", "arguments": {"folder": str(tmp_path)}}
    asked = suite("identity", slow)
    quiet = go(asked, tmp_path / "quiet", LocalExecutor(Store(tmp_path / "quiet cache")), Watching())
    assert [r.status for r in quiet.results] == ["ok", "ok"]
    for loaded in tmp_path.glob("loaded-*"):
        loaded.unlink()
    machines = [cluster.add_node(num_cpus=1) for _ in range(2)]

    def lose():
        cluster.remove_node(machines[0], allow_graceful=False)
        cluster.add_node(num_cpus=1)

    (tmp_path / "several").touch()
    watching = Watching(lose)
    with RayExecutor(Store(tmp_path / "cache"), cluster.address) as executor:
        run = go(asked, tmp_path / "run", executor, watching)
    assert [r.status for r in run.results] == ["ok", "ok"]
    assert files(tmp_path / "run" / "results") == files(tmp_path / "quiet" / "results")
    anonymized = {k for k, o in run.outcomes.items() if o.step.kind == "anonymize"}
    for key in anonymized:
        assert files(executor.store.path(key)) == files(Store(tmp_path / "quiet cache").path(key))
    parts = [o.step for o in run.outcomes.values() if "part" in o.step.payload and "slow" in o.step.title]
    assert lost
    assert {step.key for step in lost} <= {step.key for step in parts}
    loaded = {
        p.name: len(p.read_text()) for p in tmp_path.glob("loaded-*") if p.name != f"loaded-{os.getpid()}"
    }
    assert len(loaded) in {2, 3}  # the new machine may be there when everything is done
    assert sum(loaded.values()) < len(parts)  # processes keep what they have loaded
    assert watching.progress


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_step_that_kills_every_process_fails_alone(suite, cluster, tmp_path):
    from dp2bench.engine import ray_executor

    cluster.add_node(num_cpus=2)
    with ray_executor.RayExecutor(Store(tmp_path / "cache"), cluster.address) as executor:
        executor.gpu_share = 1
        with pytest.raises(Dp2benchError, match="No machine of the cluster has 1 processors and 1 GPU"):
            executor.run([], Watching())
        executor.gpu_share = 0
        run = go(suite("identity", "ray_plugins:Deadly"), tmp_path / "run", executor, Watching())
    assert [r.status for r in run.results] == ["ok", "error"]
    assert "4 processes of this step were lost" in run.results[1].error.message


def test_without_ray_the_extra_is_named(monkeypatch, tmp_path):
    from dp2bench.engine.ray_executor import RayExecutor

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(Dp2benchError, match=r"dp2bench\[ray\]"):
        RayExecutor(Store(tmp_path))
