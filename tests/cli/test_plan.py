"""`dp2bench plan`: rows, files, disk and hours before anything is done."""

import json

import pytest
from typer.testing import CliRunner

from dp2bench.cli.main import app
from dp2bench.engine import cost, missing, suite


@pytest.fixture(autouse=True)
def nothing_there(tmp_path, monkeypatch):
    monkeypatch.setenv("DP2BENCH_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("COLUMNS", "80")


def test_a_plan_fits_a_terminal_and_says_everything():
    told = CliRunner().invoke(app, ["plan", "paper"])
    assert told.exit_code == 0, told.output
    assert max(map(len, told.output.splitlines())) <= 80
    for word in (
        "market1501",
        "coco",
        "cityscapes",
        "fdh",
        "fdf256",
        "together",
        "H100",
        "GTX 1080",
        "dsfd",
        "481 MB",
    ):
        assert word in told.output
    assert "factor of" in told.output


def test_a_plan_as_json_has_every_row_and_file():
    told = CliRunner().invoke(app, ["plan", "fdh", "--json"])
    plan = json.loads(told.output)
    assert {r["method"] for r in plan["rows"]} == {m.label for m in suite.load("fdh").methods}
    assert all("dataset fdh" in r["absent"] for r in plan["rows"])
    assert {"fdh", "fdh_styleganL", "vgg16"} <= {m["name"] for m in plan["missing"]}
    assert all(set(s["hours"]) == set(cost.GPUS) for s in plan["steps"])


def test_a_dataset_nobody_counted_is_said():
    told = CliRunner().invoke(app, ["plan", "smoke"])
    assert told.exit_code == 0, told.output
    assert "dataset passersby-reid" in " ".join(told.output.split())
    assert "Every file is there" in told.output


def cells(name, tmp_path):
    return missing.check(suite.load(name), tmp_path).cells


def test_the_published_picture_takes_what_was_published():
    flop = cost.operations()
    twelve = (
        flop["mask_rcnn_X_101_32x8d_FPN_3x"] + flop["cse_R_101_FPN_DL_soft_s1x"] + flop["dsfd per megapixel"]
    )
    seconds = (twelve + 12 * flop["fdh_styleganL"]) / 1000 / (cost.GPUS["GTX 1080"] * cost.SHARE)
    assert seconds == pytest.approx(2.8, rel=0.1)  # what the share was taken from


def test_every_method_trains_and_the_control_once(tmp_path):
    steps = cost.work(cells("coco", tmp_path))
    trained = [s for s in steps if "train on" in s.what]
    assert len(trained) == len(suite.load("coco").methods)  # identity's is the clear one
    zoo = 90_000 * 0.315 * 8  # of eight V100
    assert trained[0].v100_seconds == pytest.approx(zoo)
    assert trained[0].hours("V100") == pytest.approx(zoo / 3600)


def test_more_seeds_cost_more(tmp_path):
    once = suite.load("market1501")
    hours = [
        sum(s.hours("A100") for s in cost.work(missing.check(some, tmp_path).cells))
        for some in (once, once.model_copy(update={"seeds": (0, 1)}))
    ]
    assert hours[1] > 1.3 * hours[0]
