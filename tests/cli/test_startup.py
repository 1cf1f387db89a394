"""What a command imports, counted in modules, since seconds depend on the machine."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image as Pillow

HEAVY = {"torch", "torchvision", "torchreid", "scipy", "numba", "matplotlib", "pandas", "sqlalchemy", "av"}
CODE = """
import json, sys
sys.argv = ['dp2bench', *json.loads(sys.argv[1])]
from dp2bench.cli.main import main
try: main()
except SystemExit as stop: assert not stop.code, stop.code
finally: print('LOADED', json.dumps(sorted(sys.modules)))
"""


def loaded(folder, *command: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", CODE, json.dumps(command)], capture_output=True, text=True, cwd=folder
    )
    assert done.returncode == 0, done.stdout[-500:] + done.stderr
    return set(json.loads(done.stdout.rpartition("LOADED")[2]))


def packages(modules: set[str]) -> set[str]:
    return {module.partition(".")[0] for module in modules}


@pytest.fixture
def astronaut(tmp_path):
    data = pytest.importorskip("skimage.data", reason="scikit-image carries the photograph")
    Pillow.fromarray(data.astronaut()).save(tmp_path / "astronaut.jpg")
    return tmp_path / "astronaut.jpg"


def test_faces_are_blurred_without_torch(astronaut, tmp_path):
    out = tmp_path / "out.jpg"
    modules = loaded(
        tmp_path, "anonymize", str(astronaut), str(out), "-m", "blur-face", "--detector", "centerface"
    )
    assert not packages(modules) & HEAVY
    assert not {m for m in modules if m.startswith(("dp2bench.engine", "dp2bench.reports", "dp2bench.tasks"))}
    assert len({m for m in modules if m.startswith("dp2bench")}) < 75
    before, after = (np.asarray(Pillow.open(path), int) for path in (astronaut, out))
    assert np.abs(before - after)[58:178, 181:270].mean() > 5


def test_a_network_of_torch_brings_no_compiler(astronaut, tmp_path):
    """torchvision.models imports torch._dynamo, which takes as long as torch."""
    modules = loaded(tmp_path, "detect", str(astronaut), "--out", str(tmp_path / "people.json"))
    assert "torch" in modules
    assert not packages(modules) & {"torchvision", "torchreid", "matplotlib", "pandas"}
    assert "torch._dynamo" not in modules


@pytest.mark.parametrize(
    "what", ["methods", "tasks", "datasets", "detectors", "attacks", "templates", "suites"]
)
def test_plug_ins_are_listed_without_importing_what_they_import(what, tmp_path):
    assert not packages(loaded(tmp_path, "list", what)) & HEAVY


def test_doctor_imports_no_torch_where_no_gpu_can_be(tmp_path):
    from dp2bench.core.machine import may_have_gpu

    if may_have_gpu():
        pytest.skip("torch is asked for the GPU's name")
    assert not packages(loaded(tmp_path, "doctor")) & HEAVY


def test_one_command_imports_no_other(tmp_path):
    commands = {m for m in loaded(tmp_path, "list", "suites") if m.startswith("dp2bench.cli.")}
    assert commands == {"dp2bench.cli.main", "dp2bench.cli.list_"}


@pytest.mark.slow
def test_a_run_from_the_cache_draws_nothing_and_needs_no_torch(tiny_suite, tmp_path, monkeypatch):
    monkeypatch.setenv("DP2BENCH_CACHE", str(tmp_path / "cache"))
    command = ("run", str(tiny_suite), "--out", str(tmp_path / "run"), "--device", "cpu")

    def files() -> dict[str, bytes]:
        return {
            p.relative_to(tmp_path).as_posix(): p.read_bytes()
            for p in (tmp_path / "run").rglob("*")
            if p.is_file() and p.name != "journal.jsonl"
        }

    assert packages(loaded(tmp_path, *command)) >= {"matplotlib", "vl_convert"}
    first = files()
    assert "run/report/report.html" in first
    again = packages(loaded(tmp_path, *command))
    assert not again & {"torch", "torchvision", "torchreid", "matplotlib", "vl_convert", "pandas", "numba"}
    assert files() == first
