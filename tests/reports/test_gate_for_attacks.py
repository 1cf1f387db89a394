"""The gate on real attacks: leaks fail ten times of ten, the same method with other seeds passes ten times of ten.

Drawn people, anonymized by noise in their masks. A pair of runs costs seconds; the default run takes three of each kind.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dp2bench.attacks.controls import grown, mask_out, swap, with_pictures
from dp2bench.core import registry
from dp2bench.core.attacks import Split
from dp2bench.core.contracts import RunContext
from dp2bench.core.results import Coverage, Provenance, Result, ResultSpec
from dp2bench.metrics.changes import unchanged_reason
from dp2bench.reports import gate
from dp2bench.reports.load import Run
from dp2bench.tasks.privacy_attacks import PrivacyAttacks, record_attacks

sys.path.insert(0, str(Path(__file__).parents[1] / "attacks"))
from world import world

ATTACKS = ("silhouette", "inside", "rim", "tracing", "swap")


@pytest.fixture(scope="module")
def clear() -> dict[str, Split]:
    return world(train=40, test=32)


def noise(split: Split, random: np.random.Generator, share: float = 0.0, grow: int = 2) -> Split:
    """What an inpainter does: smooth noise in masks that are a little too large, with a share of the true mean colour."""
    pictures = split.clear.pictures.copy()
    masks = split.clear.masks
    for picture, mask, hole in zip(pictures, masks, grown(masks, grow) if grow else masks, strict=True):
        made = random.integers(60, 200, 3) + random.normal(0, 25, (int(hole.sum()), 3))
        picture[hole] = ((1 - share) * made + share * picture[mask].mean(0)).clip(0, 255).astype(np.uint8)
    return with_pictures(split, pictures)


def blocks(split: Split, size: int) -> Split:
    """Means of blocks inside the masks."""
    pictures = split.clear.pictures.astype(np.float64)
    n, h, w, _ = pictures.shape
    small = pictures.reshape(n, h // size, size, w // size, size, 3).mean((2, 4))
    coarse = small.repeat(size, 1).repeat(size, 2)
    out = split.clear.pictures.copy()
    out[split.clear.masks] = coarse[split.clear.masks].astype(np.uint8)
    return with_pictures(split, out)


Method = Callable[[Split, np.random.Generator], Split]
LEAKS: dict[str, tuple[Method, Method]] = {
    "30 % of the true colour": (noise, lambda s, r: noise(s, r, 0.3)),
    "60 % of the true colour": (noise, lambda s, r: noise(s, r, 0.6)),
    "a mask six pixels too small": (noise, lambda s, r: noise(s, r, grow=-6)),
    "a swap": (noise, swap),
    "a weaker pixelation": (lambda s, r: blocks(s, 32), lambda s, r: blocks(s, 16)),
}


def run(clear: dict[str, Split], method: Method, seed: int, tmp_path: Path, missed: int = 0) -> Run:
    """A run of one method, as the engine writes it."""
    random = np.random.default_rng(seed)
    splits = {name: method(split, random) for name, split in clear.items()}
    context = RunContext(seed=0, trained={}, artefacts=tmp_path, threads=1)
    task = PrivacyAttacks(attacks=ATTACKS)
    record_attacks([registry.create("attacks", a, {}) for a in ATTACKS], splits, context)
    pictures = [(s.clear.pictures, s.anonymized.pictures, s.clear.masks) for s in splits.values()]
    left = (
        sum(bool(unchanged_reason(*row)) for split in pictures for row in zip(*split, strict=True)) + missed
    )
    found = sum(len(s.clear) for s in splits.values())
    meta = task.meta
    result = Result(
        run_id=str(seed),
        spec=ResultSpec(method="mine", dataset="drawn", task=meta.name, detector="drawn", seeds=(0,)),
        status="ok",
        main_score=meta.main_score,
        scores=tuple(s.model_copy(update={"per_seed": (s.value,)}) for s in context.scores),
        metrics=meta.metrics,
        scenarios=meta.scenarios,
        columns=meta.columns,
        coverage=Coverage(
            pictures=found, found=found, anonymized=found - left, missed=left, pictures_without_detection=0
        ),
        provenance=Provenance(
            dp2bench="0", git_commit=None, git_dirty=None, python="3", platform="", packages={}, device="cpu", threads=1,
            dataset_version="1", dataset_fingerprint="0",
        ),
    )  # fmt: skip
    return _kept(result, context, tmp_path / f"run-{seed}-{missed}-{id(method)}")


def _kept(result: Result, context: RunContext, folder: Path) -> Run:
    from dp2bench.engine.run import write_json
    from dp2bench.reports.load import load_run

    path = folder / "results" / "mine" / "drawn" / "privacy-attacks.json"
    path.parent.mkdir(parents=True)
    path.write_text(result.to_json(), "utf-8")
    write_json(path.with_suffix(".units.json"), {k: dict(v) for k, v in context.units.items()})
    write_json(
        folder / "run.json",
        {
            "schema_version": 1, "suite": "gate", "command": "", "specification": {},
            "results": [path.relative_to(folder).as_posix()],
        },
    )  # fmt: skip
    return load_run(folder)


@pytest.mark.slow
def test_another_seed_passes_and_a_leak_of_a_third_of_the_colour_fails(clear, tmp_path):
    base, equal = (run(clear, noise, seed, tmp_path) for seed in (0, 1))
    comparison = gate.compare(base, equal)
    assert comparison.passed, [(r.score, r.difference, r.verdict) for r in comparison.failures]
    leak = gate.compare(base, run(clear, LEAKS["30 % of the true colour"][1], 2, tmp_path))
    assert any(r.verdict == "worse" for r in leak.failures)


@pytest.mark.slow
def test_other_seeds_pass_ten_times_of_ten(clear, tmp_path):
    for i in range(10):
        base, head = (run(clear, noise, seed, tmp_path) for seed in (2 * i, 2 * i + 1))
        comparison = gate.compare(base, head)
        assert comparison.passed, [(r.score, r.difference, r.verdict) for r in comparison.failures]


@pytest.mark.parametrize("leak", LEAKS)
@pytest.mark.slow
def test_leaks_fail_ten_times_of_ten(clear, tmp_path, leak):
    method, worse = LEAKS[leak]
    for i in range(10):
        base, head = run(clear, method, 2 * i, tmp_path), run(clear, worse, 2 * i + 1, tmp_path)
        comparison = gate.compare(base, head)
        assert any(r.verdict == "worse" for r in comparison.failures), (leak, i)


@pytest.mark.slow
def test_fewer_detections_fail(clear, tmp_path):
    base, head = run(clear, mask_out, 0, tmp_path), run(clear, mask_out, 1, tmp_path, missed=1)
    failures = {r.score for r in gate.compare(base, head).failures}
    assert failures == {"coverage.share", "coverage.failed-open", "coverage.anonymized"}
