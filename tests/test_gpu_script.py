"""The script for GPUs runs, measures what it says, and goes on where it was stopped: on a processor, with a small network."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "gpu.py"


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_script_measures_piece_by_piece(tmp_path):
    pytest.importorskip("lightning_fabric", reason='training needs `pip install "dp2bench[train]"`')
    out = tmp_path / "gpu.json"

    def run(seconds: float) -> str:
        command = [sys.executable, str(SCRIPT), "--device", "cpu", "--tiny", "--out", str(out)]
        done = subprocess.run(
            [*command, "--seconds", str(seconds)],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run(0.01)
    first = json.loads(out.read_text()) if out.exists() else {}
    said = run(1000)
    pieces = json.loads(out.read_text())
    assert not any("failed" in piece for name, piece in pieces.items() if name != "about")
    assert {"pipeline", "training batch 2", "floor float32", "generator float32 batch 2"} <= pieces.keys()
    assert pieces["pipeline"]["people/s"] > 0
    assert 0 <= pieces["pipeline"]["idle"] < 1
    assert pieces["generator float32 batch 2"]["people/s"] > 0
    assert "of floor" in said
    again = run(1000)
    assert json.loads(out.read_text()) == pieces | first
    assert "generator float32 batch 2:" not in again  # measured before
