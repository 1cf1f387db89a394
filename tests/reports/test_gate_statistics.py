"""How often the gate is wrong, on simulated runs whose truth is known.

A run is a few attackers, shared by all methods, which find the same queries again: a query has a difficulty of its own, an attacker a
strength, a method and attacker an affinity, and every single rank is noisy. All on the logit scale of a query's average precision.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dp2bench.core.results import Coverage, Provenance, Result, ResultSpec, Score
from dp2bench.metrics.intervals import bootstrap_interval
from dp2bench.reports import gate
from dp2bench.reports.load import Run

QUERIES = 144
LEVELS = {"identity": 0.39, "blur": 0.25, "pixelate-16": 0.27, "pixelate-8": 0.16, "mask-out": 0.025}
"""Mean average precisions as the mini suite measured them."""
SCENARIOS = ("clear-anonymised", "anonymised-anonymised")
COVERAGE = Coverage(pictures=9, found=9, anonymised=9, missed=0, pictures_without_detection=0, unfound=0)
PROVENANCE = Provenance(
    dp2bench="0", git_commit=None, git_dirty=None, python="3", platform="", packages={}, device="cpu", threads=1,
    dataset_version="1", dataset_fingerprint="f",
)  # fmt: skip


def logit(x: float) -> float:
    return float(np.log(x / (1 - x)))


def simulate(folder: Path, world: int, seed: int, levels: dict[str, float], seeds: int = 2) -> Run:
    """``world`` draws the queries, which base and head share; ``seed`` the attackers and the noise, which they do not."""
    rng = np.random.default_rng(seed)
    strength = rng.normal(0, 0.12, seeds)
    results, paths = [], []
    for method, level in levels.items():
        scores, units = [], {}
        for scenario in ("clear-clear", *SCENARIOS):
            place = [*LEVELS].index(method) if scenario != "clear-clear" else 99
            truth = np.random.default_rng([world, place, len(scenario)])
            difficulty = truth.normal(logit(level if place < 99 else LEVELS["identity"]), 1.3, QUERIES)
            # clear pictures are scored by the same attacker for every method: the same numbers
            noise = rng if place < 99 else np.random.default_rng([seed, 99])
            values = 1 / (1 + np.exp(-(
                difficulty + strength[:, None] + noise.normal(0, 0.08, (seeds, 1)) + noise.normal(0, 0.5, (seeds, QUERIES))
            )))  # fmt: skip
            for name, found in (
                (f"{scenario}.mAP", values),
                (f"{scenario}.rank-1", (values > 0.5).astype(float)),
            ):
                pooled = found.mean(axis=0)
                units[name] = {f"{i:04d}.jpg": float(v) for i, v in enumerate(pooled)}
                scores.append(
                    Score(
                        name=name, value=float(pooled.mean()), higher_is_better=False, n=QUERIES,
                        ci95=bootstrap_interval(pooled, seed=0, resamples=200),
                        per_seed=tuple(float(v) for v in found.mean(axis=1)) if seeds > 1 else (),
                    )
                )  # fmt: skip
        spec = ResultSpec(
            method=method, dataset="d", task="t", detector="annotations", seeds=tuple(range(seeds))
        )
        results.append(
            Result(
                run_id="r",
                spec=spec,
                status="ok",
                scores=tuple(scores),
                coverage=COVERAGE,
                provenance=PROVENANCE,
            )
        )
        paths.append(folder / f"{seed}-{method}.json")
        paths[-1].with_suffix(".units.json").write_text(json.dumps(units))
    return Run(folder, "simulated", "", tuple(results), tuple(paths))


STRICT = gate.Policy(tolerance=0, alpha=0.05)
LEAKY = LEVELS | {"pixelate-8": LEVELS["pixelate-16"]}


@pytest.mark.parametrize("seeds", [2, 3])
def test_equal_runs_fail_no_oftener_than_alpha(tmp_path, seeds):
    worlds = 60
    alarms = sum(
        not gate.compare(
            simulate(tmp_path, world, 2 * world, LEVELS, seeds), simulate(tmp_path, world, 2 * world + 1, LEVELS, seeds), STRICT
        ).passed
        for world in range(worlds)
    )  # fmt: skip
    # two standard deviations of a binomial above alpha
    assert alarms <= worlds * 0.05 + 2 * (worlds * 0.05 * 0.95) ** 0.5


@pytest.mark.parametrize("world", range(10))
def test_a_planted_leak_fails_and_equal_runs_pass(tmp_path, world):
    # at alpha 0.05 ten equal pairs in a row would all pass six times out of ten
    policy = gate.Policy(alpha=0.01)
    base = simulate(tmp_path, world, 1000 + world, LEVELS, seeds=4)
    assert gate.compare(base, simulate(tmp_path, world, 2000 + world, LEVELS, seeds=4), policy).passed
    leak = gate.compare(base, simulate(tmp_path, world, 3000 + world, LEAKY, seeds=4), policy)
    assert {(r.method, r.verdict) for r in leak.failures} == {("pixelate-8", "worse")}


def test_pairing_finds_what_intervals_alone_miss(tmp_path):
    found = {True: 0, False: 0}
    for world in range(20):
        base = simulate(tmp_path, world, 4000 + world, LEVELS, seeds=3)
        head = simulate(tmp_path, world, 5000 + world, LEVELS | {"pixelate-8": 0.22}, seeds=3)
        found[True] += not gate.compare(base, head).passed
        for units in tmp_path.glob("*.units.json"):
            units.unlink()
        found[False] += not gate.compare(base, head).passed
    assert found[True] > found[False]
