"""`dp2bench run` on what is partly there: exit code 2 and a list, or rows that are absent with the reason."""

import json
import subprocess
import sys

import pytest

TEXT = """name: partly
datasets: [{{name: market1501, arguments: {{root: {root}, official: false}}}}]
detector: full-image
methods: [identity, mask-out, {{name: deepprivacy2, arguments: {{weights: official}}}}]
tasks: [{{name: market1501-reid, arguments: {{epochs: 1, batch_size: 4, height: 32, width: 16}}}}]
"""


@pytest.fixture
def run(tmp_path, market, monkeypatch):
    monkeypatch.setenv("DP2BENCH_WEIGHTS", str(tmp_path / "weights"))
    (tmp_path / "partly.yaml").write_text(TEXT.format(root=market))

    def told(*more):
        command = [
            sys.executable,
            "-m",
            "dp2bench",
            "run",
            "partly.yaml",
            "--out",
            "out",
            "--workers",
            "1",
            *more,
        ]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    return told


@pytest.mark.e2e
@pytest.mark.slow
def test_the_rest_runs_and_the_row_is_absent_with_its_reason(run, tmp_path):
    refused = run()
    assert refused.returncode == 2
    assert "dp2bench weights fetch fdh_styleganL" in refused.stderr
    assert "--allow-missing" in refused.stderr
    assert not (tmp_path / "out").exists()
    done = run("--allow-missing")
    assert done.returncode == 0, done.stderr
    assert "1 row absent: weights fdh_styleganL" in done.stdout
    results = {
        p.parent.parent.name: json.loads(p.read_text())
        for p in (tmp_path / "out" / "results").glob("*/*/market1501-reid.json")
    }
    assert {m: r["status"] for m, r in results.items()} == {
        "identity": "ok", "mask-out": "ok", "deepprivacy2": "skipped",
    }  # fmt: skip
    report = (tmp_path / "out" / "report" / "report.md").read_text()
    assert r"absent: weights fdh\_styleganL" in report  # as Markdown has underscores
