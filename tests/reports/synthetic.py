"""A run's folder with many methods and tasks of every kind, in the stored format. Its numbers are made up and mean nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from dp2bench.core.figures import (
    Answer,
    Curve,
    Curves,
    Histogram,
    Histograms,
    PeopleSheet,
    Picture,
    Sighting,
    Subsets,
    write_data,
)
from dp2bench.core.results import Coverage, Failure, Metric, Provenance, Result, ResultSpec, Score

from .declared import SCENARIOS, called

METHODS = (
    "identity", "mask-out-face", "blur", "blur-face", "pixelate-16", "pixelate-8", "deepprivacy2-full-body",
    "deepprivacy2-unconditional", "mask-out",
)  # fmt: skip
TASKS = {
    ("passersby-reid", "market1501-reid"): "privacy",
    ("passersby-reid", "image-quality"): "quality",
    ("passersby-coco", "coco-keypoints"): "utility",
    ("passersby-coco", "detection-coverage"): "coverage",
    ("passersby-coco", "runtime"): "cost",
}
SEEDS = (0, 1)
FAILED = ("deepprivacy2-unconditional", "coco-keypoints")


METRICS = {
    **{name: Metric(higher_is_better=False) for name in ("mAP", "rank-1", "rank-5")},
    **{name: Metric(higher_is_better=False, unit="distance") for name in ("fid", "kid")},
    **{name: Metric(higher_is_better=True) for name in ("AP", "AP50", "found")},
    "seconds-per-picture": Metric(higher_is_better=False, unit="s"),
}


def _score(name: str, value: float, width: float, chance=None) -> Score:
    named = called(name)
    high = min(1.0, value + width) if METRICS[named["metric"]].unit == "fraction" else value + width
    return Score(
        **named, value=value, n=144, chance=chance,
        ci95=(max(0.0, value - width), high), per_seed=(value - width / 4, value + width / 4),
    )  # fmt: skip


def _scores(task: str, level: float) -> tuple[Score, ...]:
    """``level``: 1 where everything is left as it is, 0 where nothing is."""
    if task == "market1501-reid":
        return tuple(
            _score(f"{s}.{m}", v, 0.03, chance=0.035)
            for s, scale in (("clear-clear", 1.0), ("clear-anonymized", level), ("anonymized-anonymized", level * 0.95))
            for m, v in (("mAP", 0.025 + 0.38 * scale), ("rank-1", 0.02 + 0.55 * scale), ("rank-5", 0.1 + 0.7 * scale))
        )  # fmt: skip
    if task == "image-quality":
        return (
            _score("fid", 90 * (1 - level) + 0.5, 4.0),
            _score("kid", 0.08 * (1 - level) + 0.0001, 0.002),
        )
    if task == "coco-keypoints":
        return tuple(
            _score(n, v * (0.3 + 0.7 * level), 0.02)
            for n, v in (("AP", 0.52), ("AP50", 0.8), ("APm", 0.45), ("APl", 0.6))
        )
    if task == "detection-coverage":
        return (_score("found", 0.93, 0.015), _score("found.small", 0.71, 0.04))
    return (_score("seconds-per-picture", 0.02 + 0.4 * (1 - level), 0.01),)


FIGURES = {
    "market1501-reid": (
        Curves(
            title="How soon", file="cmc.json", x="rank k", y="found", x_range=(1, 20), table_at=(1, 5, 99)
        ),
        Histograms(title="How far", file="distances.json", x="distance", of="pairs"),
        PeopleSheet(title="Found most easily", file="people/found.json"),
    ),
    "coco-keypoints": (Subsets(title="By size", metrics=("AP",), subsets=("medium", "large"), x="size"),),
    "detection-coverage": (Subsets(title="By size", metrics=("found",)),),
    "runtime": (Picture(title="Stages", file="stages.png"),),
}


def _reid(rng: np.random.Generator, level: float, folder: Path) -> None:
    edges = np.linspace(0, 2, 61)
    curves, distances, found = {}, {}, {}
    for scenario in ("clear-clear", "clear-anonymized", "anonymized-anonymized"):
        here = 1.0 if scenario == "clear-clear" else level
        mated = np.histogram(rng.normal(1.3 - 0.6 * here, 0.15, 500).clip(0, 2), edges)[0]
        other = np.histogram(rng.normal(1.35, 0.15, 5000).clip(0, 2), edges)[0]
        ranks = np.arange(1, 51)
        curves[scenario] = Curve(
            x=ranks.tolist(),
            y=(1 - (0.97 - 0.55 * here) * ranks**-0.6).tolist(),
            chance=(1 - 0.97 * ranks**-0.05).tolist(),
        )
        distances[scenario] = Histogram(
            edges=edges.tolist(), counts={"same person": mated.tolist(), "different people": other.tolist()}
        )
        if scenario == "clear-clear":
            continue
        pictures = folder / "people" / scenario
        pictures.mkdir(parents=True)
        found[scenario] = []
        for person in range(5):
            names = [f"query-{person}.jpg", *(f"gallery-{person}-{a}.jpg" for a in range(5))]
            for a, name in enumerate(names):
                _person(person if a in (0, 1) else 7 * a + person, here if a else 1).save(pictures / name)
            query, *others = (f"people/{scenario}/{name}" for name in names)
            answers = [Answer(picture=n, label=f"answer {a}", right=a == 0) for a, n in enumerate(others)]
            found[scenario].append(
                Sighting(picture=query, label=f"person {person}, AP {90 - person} %", answers=answers)
            )
    write_data(folder / "cmc.json", curves)
    write_data(folder / "distances.json", distances)
    write_data(folder / "people" / "found.json", found)


def _person(who: int, level: float, size: tuple[int, int] = (64, 128)) -> Image.Image:
    rng = np.random.default_rng(who)
    w, h = size
    picture = Image.new("RGB", size, tuple(int(v) for v in rng.integers(150, 220, 3)))
    draw = ImageDraw.Draw(picture)
    draw.ellipse((w * 0.38, h * 0.06, w * 0.62, h * 0.2), fill=(224, 172, 105))
    draw.rectangle(
        (w * 0.28, h * 0.2, w * 0.72, h * 0.58), fill=tuple(int(v) for v in rng.integers(0, 255, 3))
    )
    draw.rectangle(
        (w * 0.32, h * 0.58, w * 0.68, h * 0.95), fill=tuple(int(v) for v in rng.integers(0, 255, 3))
    )
    blocks = max(2, round(w * max(level, 0.03)))
    small = picture.resize((blocks, max(2, blocks * h // w)), Image.Resampling.BOX)
    return small.resize(size, Image.Resampling.NEAREST)


def write_many(folder: Path, methods: tuple[str, ...] = METHODS, shift: float = 0.0) -> Path:
    """A whole run; ``shift`` moves every privacy score, as another night's generator would."""
    names = []
    for i, method in enumerate(methods):
        level = min(1.0, max(0.0, 1 - i / max(1, len(methods) - 1) + shift))
        for (dataset, task), kind in TASKS.items():
            spec = ResultSpec(
                method=method, method_arguments={"plugin": method}, dataset=dataset, task=task, detector="annotations",
                seeds=SEEDS,
            )  # fmt: skip
            relative = Path("results", method, dataset, f"{task}.json")
            path = folder / relative
            path.parent.mkdir(parents=True, exist_ok=True)
            names.append(relative.as_posix())
            if (method, task) == FAILED:
                error = Failure(step="anonymize", kind="RuntimeError", message="<b>out of memory</b> & more")
                path.write_text(Result(run_id="e" * 64, spec=spec, status="error", error=error).to_json())
                continue
            scores = _scores(task, level)
            missed = 1000 if method == "identity" else 40 * ("face" in method)
            result = Result(
                run_id=f"{i:064d}", spec=spec, status="ok", main_score=_main(task), scores=scores,
                figures=FIGURES.get(task, ()), metrics={s.metric: METRICS[s.metric] for s in scores},
                scenarios={k: v for k, v in SCENARIOS.items() if any(s.scenario == k for s in scores)},
                coverage=Coverage(
                    pictures=400, found=1000, anonymized=1000 - missed, missed=missed, pictures_without_detection=3,
                    missed_reasons={"no face": missed} if missed else {}, undetected=12,
                ),
                provenance=Provenance(
                    dp2bench="0.1.0", git_commit="c0ffee" * 6 + "cafe", git_dirty=False, python="3.11.9",
                    platform="Linux-6.1-x86_64", packages={"numpy": "2.3.0", "torch": "2.9.0"}, device="cpu", threads=2,
                    dataset_version="1.2", dataset_fingerprint="abcdef0123456789" * 4, seeds=SEEDS,
                    task={"name": task, "kind": kind, "version": "1", "reference": "A reference, 2026."},
                    arguments_effective={"epochs": 20},
                ),
            )  # fmt: skip
            path.write_text(result.to_json())
            rng = np.random.default_rng(i)
            units = {s.name: {f"u{u:03d}": s.value for u in range(5)} for s in scores}
            path.with_suffix(".units.json").write_text(json.dumps(units))
            for seed in SEEDS:
                artefacts = path.with_suffix("") / f"seed-{seed}"
                artefacts.mkdir(parents=True)
                if task == "market1501-reid":
                    _reid(rng, level, artefacts)
                if task == "runtime":
                    _person(i, level, (300, 200)).save(artefacts / "stages.png")
    for dataset, size in (("passersby-reid", (64, 128)), ("passersby-coco", (320, 240))):
        for i, method in enumerate(("clear", *methods)):
            target = folder / "pictures" / method / dataset / "query"
            target.mkdir(parents=True)
            level = 1.0 if i < 2 else 1 - (i - 1) / len(methods)
            for person in range(8):
                _person(person, level, size).save(target / f"{person:04d}_c1s1_000001_00.jpg", quality=92)
    index = {
        "schema_version": 1, "suite": "synthetic", "command": "dp2bench run synthetic", "results": names,
        "specification": {"name": "synthetic", "seeds": list(SEEDS), "methods": list(methods)},
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(index))
    return folder


def _main(task: str) -> str:
    return {
        "market1501-reid": "clear-anonymized.mAP", "image-quality": "fid", "coco-keypoints": "AP",
        "detection-coverage": "found", "runtime": "seconds-per-picture",
    }[task]  # fmt: skip
