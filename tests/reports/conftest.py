from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dp2bench.core.results import Coverage, Failure, Provenance, Result, ResultSpec, Score

from .declared import called, declarations

PROVENANCE = Provenance(
    dp2bench="0.1.0", git_commit=None, git_dirty=None, python="3.11", platform="Linux", packages={},
    device="cpu", threads=1, dataset_version="2", dataset_fingerprint="abcdef0123456789",
)  # fmt: skip


def make_result(method: str, level: float | None = 0.5, **given: Any) -> Result:
    """A result with three scenarios around ``level``; None for one that failed."""
    spec = ResultSpec(
        method=method,
        dataset=given.pop("dataset", "passersby-reid"),
        task="market1501-reid",
        detector="annotations",
        seeds=(0, 1),
        method_arguments=given.pop("arguments", {}),
    )
    if level is None:
        error = Failure(step="anonymize", kind="RuntimeError", message="no memory & 100% of |GPU_0|\nfull")
        return Result(run_id="r" * 16, spec=spec, status="error", error=error)

    def score(name: str, value: float, n: int = 750) -> Score:
        ci = (max(0.0, value - 0.021), min(1.0, value + 0.023))
        return Score(**called(name), value=value, n=n, chance=0.013, ci95=ci, per_seed=(value,))

    scores = (
        score("clear-anonymized.mAP", level), score("clear-anonymized.rank-1", min(1, level * 1.1)),
        score("anonymized-anonymized.mAP", min(1, level * 1.05)), score("clear-clear.mAP", 0.826),
    )  # fmt: skip
    coverage = Coverage(
        pictures=400, found=815, anonymized=812, missed=3, pictures_without_detection=0, undetected=5
    )
    return Result(
        run_id="r" * 16, spec=spec, status="ok", main_score="clear-anonymized.mAP", scores=scores,
        coverage=given.pop("coverage", coverage), provenance=PROVENANCE, **declarations(scores),
    )  # fmt: skip


@pytest.fixture
def results() -> list[Result]:
    return [
        make_result("identity", 0.81),
        make_result("blur", 0.44),
        make_result("pixelate-8", 0.12, arguments={"block": 8}),
        make_result("pixelate-8", 0.07, arguments={"block": 16}),
        make_result("mask-out", None),
        make_result("deepprivacy2", 0.05, coverage=None),
    ]


def write_run(folder: Path, results: list[Result], pictures: bool = True) -> Path:
    names = []
    for i, result in enumerate(results):
        path = folder / "results" / f"{result.spec.method}-{i}" / result.spec.dataset / "market1501-reid.json"
        path.parent.mkdir(parents=True)
        path.write_text(result.to_json())
        names.append(path.relative_to(folder).as_posix())
    index = {
        "suite": "smoke",
        "results": names,
        "command": "dp2bench run smoke --seed 0_1",
        "started": "whenever",
    }
    (folder / "run.json").write_text(json.dumps(index))
    if pictures:
        for method in ("clear", "identity", "blur", "pixelate-8"):
            split = folder / "pictures" / method / "passersby-reid" / "query"
            split.mkdir(parents=True)
            for person in range(10):
                for camera in (1, 2):
                    rng = np.random.default_rng(person)
                    picture = np.full((128, 64, 3), 200, np.uint8)
                    picture[20:110, 16:48] = rng.integers(0, 255, 3)
                    picture[6:22, 24:40] = (224, 172, 105)
                    if method == "blur":
                        picture[:] = picture.mean((0, 1)).astype(np.uint8)
                    if method == "pixelate-8" and person == 3:
                        continue
                    Image.fromarray(picture).save(split / f"{person:04d}_c{camera}.png")
        (folder / "pictures/blur/passersby-reid/query/0001_c1.png").write_bytes(b"no picture")
    return folder


@pytest.fixture
def run_folder(tmp_path: Path, results: list[Result]) -> Path:
    return write_run(tmp_path / "run", results)


@pytest.fixture
def make() -> Callable[..., Result]:
    return make_result


@pytest.fixture
def write() -> Callable[..., Path]:
    return write_run
