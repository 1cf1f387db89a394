"""dp2bench history, as a user meets it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from . import program

pytestmark = pytest.mark.e2e
PROGRAM = str(Path(sys.executable).with_name("dp2bench"))
SAMPLES = sorted((Path(__file__).resolve().parents[1] / "data" / "results").glob("*.json"))


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return program.run("history", *arguments, **environment)


def test_import_print_plot_export(tmp_path):
    folder = tmp_path / "results"
    folder.mkdir()
    for i, days in enumerate((3, 1, 2)):
        changed = json.loads(SAMPLES[0].read_text("utf-8"))
        changed["provenance"]["git_commit"] = f"{i}" * 40
        path = folder / f"{i}.json"
        path.write_text(json.dumps(changed))
        os.utime(path, (1_760_000_000 + days * 86400,) * 2)
    assert run("import", folder).stdout == "3 result files, 3 of them new\n"
    shown = run("--task", "market1501-reid", "--method", "blur", "--plot", tmp_path / "new" / "blur.svg")
    assert shown.returncode == 0, shown.stderr
    lines = [line.split() for line in shown.stdout.splitlines() if line.strip().startswith("2025-10")]
    assert [line[2][:9] for line in lines] == ["1" * 9, "2" * 9, "0" * 9]
    assert max(map(len, shown.stdout.splitlines()[:-1])) <= 80
    assert "anonymized" in shown.stdout
    assert ET.parse(tmp_path / "new" / "blur.svg").getroot().tag.endswith("svg")
    assert run("export", tmp_path / "out").returncode == 0
    exported = {p.read_bytes() for p in (tmp_path / "out").glob("*.json") if p.name != "recorded.json"}
    assert exported == {p.read_bytes() for p in folder.iterdir()}


def test_bad_input_is_named(tmp_path):
    broken = tmp_path / "x.json"
    broken.write_text('{"schema_version": 99}')
    for arguments, message in (
        (["import", tmp_path / "absent"], "There is no"),
        (["import", broken], "schema version 99"),
        (["--method", "nobody"], "holds no such score"),
        (["--history", "mysql://x/y"], "mysql"),
    ):
        done = run(*arguments)
        assert done.returncode == 2, done.stdout
        assert message in done.stderr
        assert "What to do" in done.stderr
        assert "Traceback" not in done.stderr
    assert "switched off" in run(DP2BENCH_HISTORY="off").stderr


def test_a_plot_with_an_unknown_ending(tmp_path):
    assert run("import", SAMPLES[0]).returncode == 0
    done = run("--plot", tmp_path / "plot.xyz")
    assert done.returncode == 2
    assert ".svg" in done.stderr
