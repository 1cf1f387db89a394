"""dp2bench compare and dp2bench accept, as CI calls them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from .program import run

pytestmark = pytest.mark.e2e
PROGRAM = str(Path(sys.executable).with_name("dp2bench"))
SAMPLE = Path(__file__).resolve().parents[1] / "data" / "results" / "v1-with-task.json"


def write(folder: Path, shift: float = 0.0) -> Path:
    """A run of one method whose anonymized scores lie ``shift`` higher, with values of single queries."""
    (folder / "results" / "blur").mkdir(parents=True)
    result = json.loads(SAMPLE.read_text("utf-8"))
    units = {}
    for i, score in enumerate(result["scores"]):
        moved = 0.0 if score["name"].startswith("clear-clear") else shift
        values = [(0.1 + 0.01 * i) + 0.001 * (j % 7) + moved for j in range(score["n"])]
        units[score["name"]] = {f"{j}.jpg": v for j, v in enumerate(values)}
        score |= {"value": sum(values) / len(values), "ci95": None, "per_seed": []}
    path = folder / "results" / "blur" / "t.json"
    path.write_text(json.dumps(result))
    path.with_suffix(".units.json").write_text(json.dumps(units))
    (folder / "run.json").write_text(
        json.dumps({"suite": "s", "command": "", "results": ["results/blur/t.json"]})
    )
    return folder


def test_accept_then_compare(tmp_path):
    base, leak = write(tmp_path / "base"), write(tmp_path / "leak", 0.1)
    golden = tmp_path / "golden"
    accepted = run("accept", base, golden, "--reason", "first numbers")
    assert accepted.returncode == 0, accepted.stderr
    assert (golden / "results" / "blur" / "t.units.json").is_file()
    same = run("compare", golden, base)
    assert same.returncode == 0, same.stdout + same.stderr
    assert "passed" in same.stdout
    comment, junit = tmp_path / "out" / "comment.md", tmp_path / "out" / "junit.xml"
    failed = run("compare", golden, leak, "--markdown", comment, "--junit", junit)
    assert failed.returncode == 1
    assert "worse" in failed.stdout
    assert max(map(len, failed.stdout.splitlines())) <= 80
    assert "FAILED" in comment.read_text("utf-8")
    assert int(ET.parse(junit).getroot().attrib["failures"]) > 0
    policy = tmp_path / "policy.yaml"
    policy.write_text("tolerance: 0.2\n")
    assert run("compare", golden, leak, "--policy", policy).returncode == 0


def test_what_cannot_be_used_is_named(tmp_path):
    base = write(tmp_path / "base")
    policy = tmp_path / "policy.yaml"
    policy.write_text("alpha: 0.05\n\ntolerence: 0.1\n")
    (tmp_path / "empty").mkdir()
    for arguments, message in (
        (["compare", base, base, "--policy", policy], f"{policy}:3: tolerence: unknown key"),
        (["compare", base, tmp_path / "empty"], "no run.json"),
        (["compare", tmp_path / "absent", base], "no run folder"),
        (["accept", base, tmp_path / "golden", "--reason", " "], "no reason"),
        (["accept", base, base, "--reason", "x"], "inside one another"),
    ):
        done = run(*arguments)
        assert done.returncode == 2, done.stdout
        assert message in done.stderr
        assert "What to do" in done.stderr
        assert "Traceback" not in done.stderr
