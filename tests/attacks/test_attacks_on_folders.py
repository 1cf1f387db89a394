"""Attacks on a folder of crops in Market-1501's official layout, where nobody is annotated: masks come from the detector."""

from __future__ import annotations

import json
import shutil

import pytest
from typer.testing import CliRunner

from dp2bench.cli.main import app
from dp2bench.core.images import read_image, write_image
from dp2bench.datasets.passersby.reid import PassersbyReID

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
ATTACKS = "silhouette,output-silhouette,linkability,detectability,membership,memorization,attributes,pose"


@pytest.fixture
def folders(rendered_cache, monkeypatch, tmp_path):
    """Rendered people as plain files, and their masks painted grey."""
    monkeypatch.setenv("DP2BENCH_CACHE", str(rendered_cache))
    dataset = PassersbyReID("smoke")
    for split, folder in (
        ("train", "bounding_box_train"),
        ("query", "query"),
        ("gallery", "bounding_box_test"),
    ):
        for sample in dataset.samples(split):
            (tmp_path / "clear" / folder).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(sample.path, tmp_path / "clear" / folder / sample.path.name)
            picture = read_image(sample.path)
            for mask in dataset.people(sample).masks:
                picture[mask] = 127
            write_image(tmp_path / "grey" / folder / sample.path.name, picture)
    return tmp_path / "clear", tmp_path / "grey"


def test_they_run_and_what_nobody_knows_is_left_out_by_name(folders, tmp_path, monkeypatch):
    clear, grey = folders
    monkeypatch.setenv("DP2BENCH_CACHE", str(tmp_path / "cache"))
    names = f"[{ATTACKS.replace(',', ', ')}]"
    given = [
        "evaluate",
        "--clear",
        clear,
        "--anonymized",
        grey,
        "-t",
        "privacy-attacks",
        "-a",
        f"attacks={names}",
    ]
    run = tmp_path / "run"
    result = CliRunner().invoke(app, [*map(str, given), "--detector", "embedded-mask", "--out", str(run)])
    assert result.exit_code == 0, result.output
    (found,) = run.rglob("results/grey/**/privacy-attacks.json")
    scores = {s["metric"] for s in json.loads(found.read_text())["scores"]}
    assert {"mAP", "linked", "detected", "member-told", "reproduced"} <= scores
    told = [json.loads(f.read_text()) for f in run.rglob("attacks.json")]
    assert told
    assert all("nobody knows" in t["left_out"]["attributes"] for t in told)
    assert all("silhouette" not in t["left_out"] for t in told)
