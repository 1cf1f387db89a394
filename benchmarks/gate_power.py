"""How often the gate finds a leak, and how often it raises a false alarm: real attacks on rendered people, run after run.

Run: python benchmarks/gate_power.py [--size mini] [--repeats 10] [--folder gate-power] [--figure gate-power.svg]

A run is the task privacy-attacks on one version of passersby-reid. BASE is deepprivacy2 (or pixelate-8) with one seed; HEAD is the same
with the next seed (it must pass), or one of these (it must fail): 10, 30 or 60 % of each person's true mean colour blended into what
was synthesised; masks six pixels too small; every picture another person's clear one; one person in twenty left as they are; blocks of
twice the size. The colours are blended in under the same seed, as in a nightly run of the same suite, and under the next seed, as in a
generator that was trained anew. What was computed is kept in the folder, and the same command goes on from there.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dp2bench.attacks.controls import grown, swap, with_pictures
from dp2bench.attacks.networks import extractor
from dp2bench.attacks.views import load_splits
from dp2bench.core import registry
from dp2bench.core.attacks import Split
from dp2bench.core.contracts import RunContext
from dp2bench.core.results import Coverage, Provenance, Result, ResultSpec
from dp2bench.core.seeds import derive_seed
from dp2bench.datasets.passersby.reid import PassersbyReID
from dp2bench.engine.run import write_json
from dp2bench.metrics.changes import unchanged_reason
from dp2bench.reports import gate
from dp2bench.reports.load import load_run
from dp2bench.tasks.privacy_attacks import MINI, SPLITS, PrivacyAttacks, record_attacks

Pictures = NDArray[np.uint8]
Splits = Mapping[str, Split]
Change = Callable[[Split, Pictures, np.random.Generator], Split]
"""Clear pictures with their masks, what the method made of them, and chance: what is published."""


def as_made(split: Split, made: Pictures, random: np.random.Generator) -> Split:
    """No leak."""
    return with_pictures(split, made)


def colour(share: float) -> Change:
    """A share of each person's true mean colour, blended in."""

    def change(split: Split, made: Pictures, random: np.random.Generator) -> Split:
        out = made.copy()
        for picture, clear, mask in zip(out, split.clear.pictures, _masks(split), strict=True):
            if mask.any():
                mean = clear[mask].mean(0)
                picture[mask] = ((1 - share) * picture[mask] + share * mean).round().astype(np.uint8)
        return with_pictures(split, out)

    return change


def small_masks(split: Split, made: Pictures, random: np.random.Generator) -> Split:
    """The outer six pixels of everybody are the original's."""
    inner = grown(_masks(split), -6)
    return with_pictures(split, np.where(inner[..., None], made, split.clear.pictures))


def swapped(split: Split, made: Pictures, random: np.random.Generator) -> Split:
    """Another person's clear picture."""
    return swap(split, random)


def fewer(split: Split, made: Pictures, random: np.random.Generator) -> Split:
    """One in twenty is left."""
    left = random.random(len(made)) < 0.05
    return with_pictures(split, np.where(left[:, None, None, None], split.clear.pictures, made))


LEAKS: Mapping[str, Change] = {
    "10 % of the true colour": colour(0.1),
    "30 % of the true colour": colour(0.3),
    "60 % of the true colour": colour(0.6),
    "masks six pixels too small": small_masks,
    "a swap of people": swapped,
    "one in twenty left": fewer,
}


def _masks(split: Split) -> NDArray[np.bool_]:
    assert split.clear.masks is not None
    return split.clear.masks


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", default="mini", help="of passersby-reid")
    parser.add_argument("--repeats", type=int, default=10, help="pairs of runs of each kind")
    parser.add_argument("--folder", type=Path, default=Path("gate-power"), help="keeps runs and features")
    parser.add_argument("--figure", type=Path, help="write the shares as a picture")
    options = parser.parse_args()
    dataset = PassersbyReID(options.size)
    dataset.prepare()
    extract = extractor(options.folder / "features", threads=int(os.environ.get("OMP_NUM_THREADS", "1")))
    clear = load_splits(dataset, dataset, SPLITS, (128, 64), extract, {})
    made = _Made(dataset, clear, options.folder)
    found: dict[str, list[bool]] = {}

    def tell(kind: str, failed: bool) -> None:
        found.setdefault(kind, []).append(failed)
        print(f"{kind}: failed {sum(found[kind])} of {len(found[kind])}", flush=True)

    for i in range(options.repeats):
        for kind, method, base, change, head, seed in _pairs(i):
            one = made.run(method, base, "as made", as_made)
            two = made.run(head, seed, kind, change)
            comparison = gate.compare(load_run(one), load_run(two))
            under = ", same seed" if seed == base and not method.startswith("pixelate") else ""
            tell(
                f"{method}: {kind}{under}",
                any(r.verdict in ("worse", "changed") for r in comparison.failures),
            )
            if kind == "another seed" and not comparison.passed:
                print("  ", [(r.score, r.difference, r.interval, r.verdict) for r in comparison.failures])
    print("\n| BASE: HEAD | failed | of |\n|:--|--:|--:|")
    for kind, failed in found.items():
        print(f"| {kind} | {sum(failed)} | {len(failed)} |")
    if options.figure:
        _draw(found, options.figure)


def _pairs(i: int) -> Sequence[tuple[str, str, int, Change, str, int]]:
    """What is compared in one round: kind, method and seed of BASE, what is done to HEAD, and HEAD's method and seed."""
    name = "deepprivacy2"
    return [
        *((kind, name, i, change, name, i) for kind, change in LEAKS.items() if "colour" in kind),
        ("another seed", name, i, as_made, name, i + 1),
        *((kind, name, i, change, name, i + 1) for kind, change in LEAKS.items()),
        ("coarser blocks", "pixelate-8", i, as_made, "pixelate-16", i),
    ]


class _Made:
    """Runs, made once each."""

    def __init__(self, dataset: PassersbyReID, clear: Splits, folder: Path) -> None:
        self.dataset, self.clear, self.folder = dataset, clear, folder
        self._pictures: dict[tuple[str, int], dict[str, Pictures]] = {}

    def run(self, method: str, seed: int, kind: str, change: Change) -> Path:
        """The folder of a run."""
        if method.startswith("pixelate"):
            seed = 0  # there is nothing random in it
        name = f"{method}-{seed}-{'as made' if change is as_made else kind}".replace(" ", "-").replace(
            "%", ""
        )
        folder = self.folder / name
        if (folder / "run.json").exists():
            return folder
        random = np.random.default_rng(derive_seed(seed, kind))
        pictures = self.pictures(method, seed)
        splits = {name: change(split, pictures[name], random) for name, split in self.clear.items()}
        _write_run(splits, folder, self.folder / "artefacts")
        return folder

    def pictures(self, method: str, seed: int) -> dict[str, Pictures]:
        """Every picture of the splits, anonymized."""
        if (method, seed) not in self._pictures:
            self._pictures.clear()  # one seed at a time
            anonymizer = registry.create("methods", method, {})
            out = {}
            for split, views in self.clear.items():
                samples = {s.id: s for s in self.dataset.samples(split)}
                rows = []
                for name in views.clear.names:
                    sample = samples[name]
                    people = self.dataset.people(sample)
                    assert people is not None
                    given = derive_seed(seed, split, sample.id)
                    rows.append(anonymizer.anonymize(self.dataset.read(sample), people, seed=given).image)
                out[split] = np.stack(rows)
            self._pictures[method, seed] = out
        return self._pictures[method, seed]


def _write_run(splits: Splits, folder: Path, artefacts: Path) -> None:
    """A run of one method, as the engine writes it."""
    artefacts.mkdir(parents=True, exist_ok=True)
    context = RunContext(seed=0, trained={}, artefacts=artefacts, threads=1)
    task = PrivacyAttacks()
    record_attacks([registry.create("attacks", name, {}) for name in MINI], splits, context)
    rows = [(s.clear.pictures, s.anonymized.pictures, _masks(s)) for s in splits.values()]
    left = sum(bool(unchanged_reason(*row)) for split in rows for row in zip(*split, strict=True))
    found = sum(len(s.clear) for s in splits.values())
    result = Result(
        run_id=folder.name,
        spec=ResultSpec(
            method="mine", dataset="passersby-reid", task=task.meta.name, detector="annotations", seeds=(0,)
        ),
        status="ok",
        main_score=task.meta.main_score,
        scores=tuple(s.model_copy(update={"per_seed": (s.value,)}) for s in context.scores),
        metrics=task.meta.metrics,
        scenarios=task.meta.scenarios,
        columns=task.meta.columns,
        coverage=Coverage(
            pictures=found, found=found, anonymized=found - left, missed=left, pictures_without_detection=0, undetected=0
        ),
        provenance=_PROVENANCE,
    )  # fmt: skip
    path = folder / "results" / "mine" / "passersby-reid" / f"{task.meta.name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(result.to_json(), "utf-8")
    write_json(path.with_suffix(".units.json"), {k: dict(v) for k, v in context.units.items()})
    told: dict[str, Any] = {"schema_version": 1, "suite": "gate", "command": "", "specification": {}}
    write_json(folder / "run.json", told | {"results": [path.relative_to(folder).as_posix()]})


_PROVENANCE = Provenance(
    dp2bench="0", git_commit=None, git_dirty=None, python="3", platform="", packages={}, device="cpu", threads=1,
    dataset_version="1", dataset_fingerprint="0",
)  # fmt: skip


def _draw(found: Mapping[str, Sequence[bool]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 0.4 * len(found) + 1), layout="constrained")
    axes = figure.subplots()
    shares = [100 * sum(f) / len(f) for f in found.values()]
    axes.barh(list(found), shares, color=["#d55e00" if "another seed" in k else "#0072b2" for k in found])
    axes.invert_yaxis()
    axes.set(xlim=(0, 100), xlabel="comparisons that failed, percent")
    figure.savefig(path)


if __name__ == "__main__":
    print(json.dumps({"threads": os.environ.get("OMP_NUM_THREADS", "all")}))
    main()
