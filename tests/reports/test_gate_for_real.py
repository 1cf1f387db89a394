"""The gate on real trainings: ten pairs of runs with different seeds pass, ten with a weaker pixelation fail.

Six attackers are trained once; every way of splitting them into two runs of three makes a pair (there are ten).
Measured on two cores: about half an hour. DP2BENCH_GATE_TEST_FOLDER names a folder that keeps trainings and runs for the next time.
"""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest

from dp2bench.engine.executor import LocalExecutor
from dp2bench.engine.run import run_suite
from dp2bench.engine.store import Store
from dp2bench.engine.suite import Component, Suite, TaskChoice
from dp2bench.reports import gate
from dp2bench.reports.load import Run, load_run

SIZE = os.environ.get("DP2BENCH_GATE_TEST_SIZE", "mini")
EPOCHS = 10


class _Quiet:
    def begin(self, step):
        return lambda done, total: None

    def end(self, outcome) -> None:
        assert outcome.failure is None, outcome.failure


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_ten_of_ten(tmp_path):
    root = Path(os.environ.get("DP2BENCH_GATE_TEST_FOLDER") or tmp_path)
    store = Store(root / "cache")

    def run(seeds: tuple[int, ...], block: int) -> Run:
        folder = root / f"pixelate-{block}-{'-'.join(map(str, seeds))}"
        suite = Suite(
            name="gate",
            seeds=seeds,
            datasets=(Component(name="passersby-reid", arguments={"size": SIZE}),),
            methods=(Component(name=f"pixelate-{block}", label="mine"), Component(name="pixelate-16")),
            tasks=(TaskChoice(name="market1501-reid", arguments={"epochs": EPOCHS}),),
        )
        run_suite(
            suite, folder, executor=LocalExecutor(store), store=store, observer=_Quiet(), threads=1, device="cpu",
            command="",
        )  # fmt: skip
        return load_run(folder)

    splits = [
        (base, tuple(sorted({*range(6)} - {*base})))
        for base in itertools.combinations(range(6), 3)
        if 0 in base
    ]
    assert len(splits) == 10
    for base, head in splits:
        accepted = run(base, 8)
        assert gate.compare(accepted, run(head, 8)).passed, (base, head)
        leak = gate.compare(accepted, run(head, 16))
        assert {(r.method, r.verdict) for r in leak.failures} == {("mine", "worse")}, (base, head)
