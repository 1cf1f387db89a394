"""How often the gate is wrong, on simulated runs whose truth is known.

A run is a few attackers, shared by all methods, which look for the same queries again. On the logit scale of a query's average
precision: a query has a difficulty of its own, an attacker a strength, which shows less on clear pictures and hardly near chance, a
method and scenario an affinity to an attacker, and every single ranking is noisy. A query is found within the first k where the same
quantity passes a threshold, so the four scores of a scenario go together. The spreads are those of six attackers (OSNet x0.25, 10 epochs)
on Passersby mini: from attacker to attacker 3 to 4 points of mAP and 4 to 9 of rank-1, which go together by about 0.8.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from dp2bench.core.results import Coverage, Provenance, Result, ResultSpec, Score
from dp2bench.reports import gate
from dp2bench.reports.load import Artifacts, Run

from .declared import declarations

QUERIES = 144
CLEAR = 0.53
LEVELS = {"identity": 0.53, "blur": 0.38, "pixelate-16": 0.38, "pixelate-8": 0.20, "mask-out": 0.025}
"""Mean average precisions."""
LEAKS = {
    "pixelate-8 is pixelate-16": ("pixelate-8", 0.38),
    "pixelate-8 is half as far": ("pixelate-8", 0.28),
    "mask-out leaves a little": ("mask-out", 0.10),
}
FIRST = {"rank-1": -0.9, "rank-5": -1.9, "rank-10": -2.4}
CHANCE = {"mAP": 0.025, "rank-1": 0.018, "rank-5": 0.06, "rank-10": 0.10}
SPREAD_OF_QUERIES, NOISE = 0.8, 0.8
COVERAGE = Coverage(pictures=9, found=9, anonymized=9, missed=0, pictures_without_detection=0, undetected=0)
PROVENANCE = Provenance(
    dp2bench="0", git_commit=None, git_dirty=None, python="3", platform="", packages={}, device="cpu", threads=1,
    dataset_version="1", dataset_fingerprint="f",
)  # fmt: skip
UNITS: dict[Path, dict[str, dict[str, float]]] = {}


@pytest.fixture(autouse=True)
def units_in_memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(Artifacts, "units", lambda self: UNITS.get(self.path, {}))
    yield
    UNITS.clear()


def centre(level: float) -> float:
    """Where the logits of queries must lie for their average precisions to have the mean ``level``."""
    grid = np.linspace(-7, 7, 2801)
    quantiles = np.random.default_rng(0).normal(0, np.hypot(SPREAD_OF_QUERIES, NOISE), 4000)
    means = [float(np.mean(1 / (1 + np.exp(-(g + quantiles))))) for g in grid[::20]]
    return float(np.interp(level, means, grid[::20]))


CENTRES = {
    level: centre(level) for level in {*LEVELS.values(), CLEAR, *(level for _, level in LEAKS.values())}
}


def simulate(
    world: int, seed: int, levels: Mapping[str, float] = LEVELS, seeds: int = 3, units: bool = True
) -> Run:
    """``world`` draws the queries, which base and head share; ``seed`` the attackers and the noise, which they do not."""
    rng = np.random.default_rng([1, seed])
    strength = rng.normal(0, 1, (seeds, 1))
    scenarios = {
        "clear-clear": 0.15 * strength + rng.normal(0, 0.06, (seeds, 1)),
        "clear-anonymized": 0.25 * strength + rng.normal(0, 0.06, (seeds, 1)),
        "anonymized-anonymized": 0.22 * strength + rng.normal(0, 0.06, (seeds, 1)),
    }
    clear_noise = rng.normal(0, NOISE, (seeds, QUERIES))
    results, paths = [], []
    for place, (method, level) in enumerate(levels.items()):
        scores, kept = [], {}
        for scenario, power in scenarios.items():
            clear = scenario == "clear-clear"
            truth = np.random.default_rng([2, world, 99 if clear else place, len(scenario)])
            values = CENTRES[CLEAR if clear else level] + truth.normal(0, SPREAD_OF_QUERIES, QUERIES)
            if clear:  # scored by the same attacker for every method: the same numbers
                values = values + power + clear_noise
            else:
                values = values + min(level / 0.15, 1) * (power + rng.normal(0, 0.07, (seeds, 1)))
                values = values + rng.normal(0, NOISE, (seeds, QUERIES))
            found = {
                "mAP": 1 / (1 + np.exp(-values)),
                **{k: (values > v).astype(float) for k, v in FIRST.items()},
            }
            for metric, each in found.items():
                pooled = each.mean(axis=0)
                mean, half = float(pooled.mean()), 1.96 * float(pooled.std(ddof=1)) / QUERIES**0.5
                name = f"{scenario}.{metric}"
                kept[name] = dict(zip(map(str, range(QUERIES)), pooled.tolist(), strict=True))
                scores.append(
                    Score(
                        metric=metric, scenario=scenario, value=mean, n=QUERIES, ci95=(mean - half, mean + half),
                        per_seed=tuple(each.mean(axis=1).tolist()) if seeds > 1 else (), chance=CHANCE[metric],
                    )
                )  # fmt: skip
        spec = ResultSpec(
            method=method, dataset="d", task="t", detector="annotations", seeds=tuple(range(seeds))
        )
        results.append(
            Result(
                run_id="r", spec=spec, status="ok", main_score="clear-anonymized.mAP", scores=tuple(scores),
                coverage=COVERAGE, provenance=PROVENANCE, **declarations(scores),
            )
        )  # fmt: skip
        paths.append(Path(f"{seed}-{method}.json"))
        if units:
            UNITS[paths[-1]] = kept
    return Run(Path("simulated"), "simulated", "", tuple(results), tuple(paths))


def false_alarms(seeds: int, worlds: int, *policies: gate.Policy) -> list[int]:
    """How many pairs of equal runs fail, under each policy."""
    counts = [0] * len(policies)
    for world in range(worlds):
        base, head = (simulate(world, 2 * world + i, seeds=seeds) for i in range(2))
        for i, policy in enumerate(policies):
            counts[i] += not gate.compare(base, head, policy).passed
        UNITS.clear()
    return counts


def found_leaks(seeds: int, worlds: int, leak: str, policy: gate.Policy, units: bool = True) -> int:
    """How many pairs fail for the method that leaks, and for no other."""
    method, level = LEAKS[leak]
    count = 0
    for world in range(worlds):
        base = simulate(world, 1_000_000 + 2 * world, seeds=seeds, units=units)
        head = simulate(world, 1_000_001 + 2 * world, LEVELS | {method: level}, seeds, units)
        failures = gate.compare(base, head, policy).failures
        count += {(r.method, r.verdict) for r in failures} == {(method, "worse")}
        UNITS.clear()
    return count


def most(chance: float, draws: int) -> float:
    """Three standard deviations of a binomial above its mean."""
    return draws * chance + 3 * (draws * chance * (1 - chance)) ** 0.5


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_equal_runs_fail_no_oftener_than_alpha(seeds):
    assert false_alarms(seeds, 30, gate.Policy(tolerance=0))[0] <= most(0.01, 30)


@pytest.mark.parametrize("world", range(10))
def test_a_planted_leak_fails_and_equal_runs_pass(world):
    policy = gate.Policy()
    base = simulate(world, 1000 + world, seeds=4)
    assert gate.compare(base, simulate(world, 2000 + world, seeds=4), policy).passed
    leaky = LEVELS | {"pixelate-8": LEVELS["pixelate-16"]}
    leak = gate.compare(base, simulate(world, 3000 + world, leaky, seeds=4), policy)
    assert {(r.method, r.verdict) for r in leak.failures} == {("pixelate-8", "worse")}


@pytest.mark.parametrize(("seeds", "power"), [(3, 0.85), (5, 0.99)])
def test_a_weaker_pixelation_is_found(seeds, power):
    missed = 20 - found_leaks(seeds, 20, "pixelate-8 is pixelate-16", gate.Policy())
    assert missed <= most(1 - power, 20)


def test_pairing_finds_what_intervals_alone_miss():
    leak, policy = "pixelate-8 is half as far", gate.Policy()
    assert found_leaks(5, 20, leak, policy) > found_leaks(5, 20, leak, policy, units=False)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seeds", [1, 2, 3, 5])
def test_how_often_the_gate_is_wrong(seeds, capsys):
    """The tables of docs/gate.md: pytest -m slow tests/reports/test_gate_statistics.py"""
    levels = (0.05, 0.01)
    alarms = dict(
        zip(levels, false_alarms(seeds, 1000, *(gate.Policy(alpha=a) for a in levels)), strict=True)
    )
    found = {leak: found_leaks(seeds, 200, leak, gate.Policy()) for leak in LEAKS}
    with capsys.disabled():
        print(f"\n{seeds} seeds: equal runs that failed, of 1000: {alarms}; leaks found, of 200: {found}")
    if seeds > 1:  # one seed knows nothing of others
        assert all(count <= most(alpha, 1000) for alpha, count in alarms.items())
