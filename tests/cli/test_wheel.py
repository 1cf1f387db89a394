"""What a user installs: the wheel alone, away from the sources and the network."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dp2bench.core.images import read_image, write_image
from dp2bench.datasets.passersby.coco import PassersbyCoco

PROJECT = Path(__file__).parents[2]
NOWHERE = "http://127.0.0.1:9"


@pytest.mark.slow
@pytest.mark.e2e
def test_the_wheel_anonymizes_a_picture_without_sources_and_network(tmp_path):
    pytest.importorskip("setuptools", minversion="77", reason="the wheel is built with it")
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(PROJECT / name, source)
    for name in ("dp2bench", "suites", "tasks", "baselines", "reports"):
        shutil.copytree(PROJECT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    dead = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), NOWHERE)
    environment = os.environ | dead | {name.lower(): url for name, url in dead.items()}
    environment |= {"NO_PROXY": "", "no_proxy": "", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}

    def python(*arguments: object, where: Path = tmp_path, **more: str) -> str:
        done = subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=where, env=environment | more, capture_output=True, text=True, timeout=500,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout

    pip = ("-m", "pip")
    python(*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path / "wheels", source)
    (wheel,) = (tmp_path / "wheels").glob("dp2bench-*.whl")
    installed = tmp_path / "installed"
    python(*pip, "install", "--no-deps", "--no-index", "--target", installed, wheel)
    shutil.rmtree(source)

    dataset = PassersbyCoco("smoke")
    picture = dataset.read(dataset.samples("val")[0])
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    write_image(elsewhere / "x.png", picture)
    more = {"PYTHONPATH": str(installed), "DP2BENCH_CACHE": str(tmp_path / "cache")}
    found = python("-c", "import dp2bench; print(dp2bench.__file__)", where=elsewhere, **more)
    assert Path(found.strip()).is_relative_to(installed)
    python(
        "-m", "dp2bench", "anonymize", "x.png", "out.png", "--method", "deepprivacy2", where=elsewhere, **more
    )
    made = read_image(elsewhere / "out.png")
    assert made.shape == picture.shape
    assert (np.asarray(made) != picture).any(-1).mean() > 0.005
