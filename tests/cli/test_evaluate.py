"""What people type after `dp2bench evaluate`: folders of any name, and one clear message for what cannot be."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image as Pillow
from typer.testing import CliRunner

from dp2bench.cli.main import app
from dp2bench.core.errors import Dp2benchError
from dp2bench.engine.evaluation import suite_of_folders

pytestmark = pytest.mark.e2e


def evaluate(clear, anonymized, *arguments):
    given = ["evaluate", "--clear", str(clear), "--anonymized", str(anonymized), *arguments]
    return CliRunner().invoke(app, given)


@pytest.fixture
def folders(tmp_path):
    for folder in ("bounding_box_train", "query", "bounding_box_test"):
        for camera in (1, 2):
            picture = tmp_path / "clear" / folder / f"0002_c{camera}s1_000451_03.jpg"
            picture.parent.mkdir(parents=True, exist_ok=True)
            Pillow.fromarray(np.full((128, 64, 3), 90 * camera, np.uint8)).save(picture)
    shutil.copytree(tmp_path / "clear", tmp_path / "out")
    return tmp_path / "clear", tmp_path / "out"


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("out (1)", "out-1"),
        ("blur+noise, v2", "blur-noise-v2"),
        ("a  b", "a-b"),
        ("identity", "identity-anonymized"),
        ("Identity", "Identity-anonymized"),
        ("Stra\u00dfe", "Stra\u00dfe"),
        ("cafe\u0301", "caf\u00e9"),
        ("(+)", "anonymized"),
        ("__", "anonymized"),
        ("masked.v1_2-b", "masked.v1_2-b"),
    ],
)
def test_every_folder_has_a_name_for_the_table(tmp_path, name, label):
    (tmp_path / name).mkdir()
    assert suite_of_folders(tmp_path, tmp_path / name).methods[1].label == label


@pytest.mark.slow
def test_folders_of_strange_names_are_evaluated(folders, tmp_path):
    clear, out = folders
    for name, label in (("out (1)+,", "out-1"), ("identity", "identity-anonymized")):
        out = out.rename(tmp_path / name)
        result = evaluate(clear, out, "-t", "detection-coverage", "--out", str(tmp_path / "run"))
        assert result.exit_code == 0, result.output
        assert (tmp_path / "run" / "results" / label / "market1501" / "detection-coverage.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--seeds", "0,0"], "different"),
        (["--seeds=-1"], "different"),
        (["--seeds", f"{10**30}"], "different"),
        (["--seeds", "0,x"], "whole numbers"),
        (["-a", "x=["], "x=["),
        (["-a", "x"], "key=value"),
        (["-a", "x=.nan"], "finite"),
        (["-a", "x=2020-13-45"], "month"),
        (["-t", "my task"], "my task"),
        (["--dataset", "a b"], "a b"),
        (["--detector", "a b"], "a b"),
        (["--label", "a (b)"], "a (b)"),
        (["--label", "identity"], "control"),
    ],
)
def test_what_cannot_be_is_said_in_one_message(folders, arguments, word):
    result = evaluate(*folders, *arguments)
    assert isinstance(result.exception, Dp2benchError)
    assert word in result.exception.problem
    assert result.exception.remedy


def test_a_suite_may_name_a_folder_where_it_names_methods(folders, tmp_path, monkeypatch):
    """Scored like by `dp2bench evaluate`, and never timed: nothing says how its pictures were made."""
    clear, out = folders
    monkeypatch.chdir(out.parent)
    suite = tmp_path / "both.yaml"
    suite.write_text(
        f"""
name: both
detector: full-image
datasets: [{{name: market1501, arguments: {{root: "{clear}", official: false}}}}]
methods: [identity, {{folder: "{out.name}", label: theirs}}]
tasks: [detection-coverage, {{name: runtime, arguments: {{people: [12], repeats: 1}}, methods: [theirs]}}]
"""
    )
    result = CliRunner().invoke(app, ["run", str(suite), "--out", str(tmp_path / "a"), "--workers", "1"])
    assert result.exit_code == 1  # of runtime
    assert "no method to time: the pictures were made elsewhere" in " ".join(result.output.split())
    evaluate(clear, out, "-t", "detection-coverage", "--label", "theirs", "--out", str(tmp_path / "b"))
    a, b = (
        json.loads(
            (tmp_path / run / "results" / "theirs" / "market1501" / "detection-coverage.json").read_text()
        )
        for run in ("a", "b")
    )
    assert a["scores"] == b["scores"]
    assert a["coverage"] == b["coverage"]
    assert a["spec"]["method_arguments"] == {"folder": out.name}


def _said(result):
    return " ".join((result.output + str(result.exception or "")).split())


@pytest.mark.parametrize(
    ("rename", "pattern"),
    [
        (lambda name: name.replace(".jpg", "_anonymized.jpg"), "{stem}_anonymized{suffix}"),
        pytest.param(lambda name: name.replace(".jpg", ".png"), "{stem}.png", marks=pytest.mark.slow),
        pytest.param(lambda name: f"anon-{name}", "anon-{name}", marks=pytest.mark.slow),
    ],
)
def test_pictures_that_the_tool_renamed(folders, tmp_path, rename, pattern):
    clear, out = folders
    for path in list(out.rglob("*.jpg")):
        with Pillow.open(path) as picture:
            grey = Pillow.new("RGB", picture.size, (127, 127, 127))
        path.unlink()
        grey.save(path.with_name(rename(path.name)))
    without = evaluate(clear, out, "-t", "detection-coverage", "--out", str(tmp_path / "run"))
    assert without.exit_code != 0
    guess = pattern.replace("{name}", "{stem}{suffix}")
    assert f"--pattern '{guess}'" in _said(without)
    told = evaluate(
        clear, out, "-t", "detection-coverage", "--out", str(tmp_path / "run"), "--pattern", pattern
    )
    assert told.exit_code == 0, told.output
    assert (tmp_path / "run" / "results" / "out").is_dir()
    for wrong, word in (
        ("{stem}_x{suffix}", "fits no picture"),
        ("{stm}", "cannot be used"),
        ("{stem.a}", "cannot be used"),
        ("{stem[a]}", "cannot be used"),
        (".", "no name of a file"),
        ("a/{name}", "no name of a file"),
    ):
        result = evaluate(clear, out, "--out", str(tmp_path / "run2"), "--pattern", wrong)
        assert word in _said(result)


def test_why_people_of_a_resized_folder_failed_open_is_said(folders, tmp_path):
    clear, out = folders
    for path in out.rglob("*.jpg"):
        Pillow.open(path).resize((32, 64)).save(path)
    result = evaluate(clear, out, "-t", "detection-coverage", "--out", str(tmp_path / "run"))
    assert "another size" in _said(result), result.output


def test_workers_and_threads_are_those_that_were_asked_for(folders, monkeypatch):
    from dp2bench.cli import run

    told = {}
    monkeypatch.setattr(run, "execute_suite", lambda *_, **given: told.update(given))
    result = evaluate(*folders, "-t", "detection-coverage", "--workers", "3", "--threads", "2")
    assert result.exit_code == 0, result.output
    assert (told["workers"], told["threads"]) == (3, 2)
