"""Distances too large for memory: one file at a time, and the same scores."""

from __future__ import annotations

from dp2bench.attacks import reid
from dp2bench.core.contracts import RunContext
from dp2bench.datasets.market1501 import Market1501
from dp2bench.tasks import market1501_reid as task_module


def test_distances_in_files_are_there_one_scenario_at_a_time(market, tmp_path, monkeypatch):
    data = Market1501(market, official=False)
    task = task_module.Market1501ReID(model="osnet_x0_25", epochs=1, height=64, width=32, permutations=2)
    (training,) = task.trainings()
    attacker = tmp_path / "attacker"
    attacker.mkdir()
    task.train(training, data, attacker, RunContext(seed=0, trained={}, artefacts=tmp_path))

    def run(name):
        artefacts = tmp_path / name / "artefacts"
        artefacts.mkdir(parents=True)
        context = RunContext(seed=0, trained={"attacker": attacker}, artefacts=artefacts)
        task.run(data, data, context)
        return context.scores

    in_memory = run("memory")
    there: list[list[str]] = []
    euclidean = reid.euclidean

    def counted(query, gallery, out):
        there.append([p.name for p in (tmp_path / "file").rglob("distances")])
        assert out is not None
        return euclidean(query, gallery, out)

    monkeypatch.setattr(reid, "euclidean", counted)
    monkeypatch.setattr(task_module, "_LARGE", 0)
    assert run("file") == in_memory
    assert there == [[]] * len(task_module.SCENARIOS)
    assert [p.name for p in (tmp_path / "file").iterdir()] == ["artefacts"]
