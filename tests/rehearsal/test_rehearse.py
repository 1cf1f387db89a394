"""The paper's suites from end to end: every row, every report, run twice, files taken away."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from dp2bench.cli.main import app
from dp2bench.core.errors import Dp2benchError
from dp2bench.detection.rcnn import network as rcnn
from dp2bench.engine import missing, suite
from dp2bench.rehearsal import weights
from dp2bench.rehearsal.suites import cut
from dp2bench.weights import catalogue
from dp2bench.weights.digests import REHEARSAL, check_sha256, is_rehearsal
from dp2bench.weights.reading import read_state

TABLES = ("market1501", "coco", "cityscapes", "fdh", "fdf256")
OURS = tuple(n for n in suite.names() if n.endswith("-ours"))


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("DP2BENCH_WEIGHTS", str(tmp_path / "weights"))


@pytest.mark.parametrize("name", [*TABLES, *OURS, "paper"])
def test_a_cut_suite_has_the_same_rows(tmp_path, name):
    whole = missing.check(suite.load(name), tmp_path).cells
    rehearsed = missing.check(cut(suite.load(name)), tmp_path)  # raises where a cut setting is none
    rows = [(c.dataset.label, c.method.label, c.task.label, c.detector) for c in rehearsed.cells]
    assert rows == [(c.dataset.label, c.method.label, c.task.label, c.detector) for c in whole]
    needed = {m.name for m in rehearsed.missing if m.kind == "weights"}
    assert needed <= {*weights.STATES, *catalogue.names("generator")}


def test_every_network_of_the_catalogue_can_be_rehearsed():
    assert set(weights.STATES) == {*catalogue.names("detector"), *catalogue.names("network")}


def test_random_files_pass_for_official_ones_here_alone(tmp_path):
    weights.write(["cse_R_50_FPN_s1x", "osnet_x1_0", "resnet50", "fdh_styleganL_nocse"])
    folder = catalogue.folder()
    for name in ("cse_R_50_FPN_s1x", "osnet_x1_0", "resnet50", "fdh_styleganL_nocse"):
        assert is_rehearsal(catalogue.installed(name))
    cse = read_state(catalogue.installed("cse_R_50_FPN_s1x"))
    assert {k: tuple(v.shape) for k, v in cse.items()} == dict(
        rcnn.shapes(rcnn.ARCHITECTURES["cse_R_50_FPN_s1x"])
    )
    known = catalogue.entry("resnet50")
    check_sha256(folder / known.file, known)
    elsewhere = tmp_path / known.file
    elsewhere.write_bytes((folder / known.file).read_bytes())
    with pytest.raises(Dp2benchError, match="not the published resnet50"):
        check_sha256(elsewhere, known)
    state = torch.load(folder / known.file, weights_only=True)
    state["fc.bias"] += 1
    torch.save(state, folder / known.file)
    with pytest.raises(Dp2benchError, match="not the published resnet50"):
        check_sha256(folder / known.file, known)


def test_weights_that_are_there_are_never_replaced(tmp_path):
    folder = catalogue.folder()
    folder.mkdir()
    (folder / "mine.safetensors").write_bytes(b"mine")
    with pytest.raises(Dp2benchError, match="a folder of its own"):
        weights.write(["resnet50"])


def test_a_rehearsal_that_goes_on_knows_what_it_wrote_before():
    weights.write(["resnet50"])
    weights.write(["osnet_x1_0"])
    assert sorted(weights.written()) == ["osnet_x1_0", "resnet50"]


def test_real_runs_refuse_the_weights_of_a_rehearsal(tmp_path, monkeypatch):
    weights.write(["osnet_x1_0"])
    told = CliRunner().invoke(app, ["run", "market1501", "--data-root", str(tmp_path)])
    assert isinstance(told.exception, Dp2benchError)
    assert "random weights of a rehearsal" in str(told.exception)


def test_a_suite_of_rendered_people_needs_no_rehearsal(tmp_path):
    told = CliRunner().invoke(app, ["rehearse", "smoke", "--out", str(tmp_path / "x")])
    assert isinstance(told.exception, Dp2benchError)
    assert "needs no rehearsal" in str(told.exception)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", [*TABLES, *OURS, "paper"])
def test_the_whole_suite(tmp_path, name):
    command = [sys.executable, "-m", "dp2bench", "rehearse", name, "--out", str(tmp_path / "out")]
    told = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert told.returncode == 0, told.stdout[-3000:] + told.stderr[-3000:]
    assert told.stdout.count("ok:") == 7
    assert re.search(r"\b[1-9]\d* files taken away", told.stdout)
    results = [
        json.loads(p.read_text())
        for p in (tmp_path / "out" / "run" / "results").rglob("*.json")
        if "units" not in p.name and p.parent.parent.parent.name == "results"
    ]
    assert len(results) == len(missing.check(suite.load(name), tmp_path).cells)
    assert {r["status"] for r in results} == {"ok"}
    filled = [r for r in results if r["spec"]["method"].startswith(("deepprivacy2", "surface"))]
    assert all(r["coverage"]["anonymized"] > 0 for r in filled)
    assert all(np.isfinite(s["value"]) for r in results for s in r["scores"])
    assert (tmp_path / "out" / "run" / "report" / "report.html").is_file()
    assert not (tmp_path / "out" / "weights").exists()
    assert not list((tmp_path / "out").rglob(REHEARSAL))
