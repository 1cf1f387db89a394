"""The functions for programs and notebooks: documented examples run, and give what the commands give."""

from __future__ import annotations

import doctest
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image as Pillow
from typer.testing import CliRunner

import dp2bench
from dp2bench import api
from dp2bench.cli.main import app
from dp2bench.core.contracts import Detector
from dp2bench.core.errors import Dp2benchError, PictureError, PluginError
from dp2bench.core.images import read_image, write_image
from dp2bench.core.types import Anonymized, People


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch):
    """On a busy machine two threads wait for each other most of the time."""
    monkeypatch.setattr(api, "default_threads", lambda: 1)


PAGE = Path(__file__).resolve().parents[1] / "docs" / "python-api.md"


def test_the_examples_of_the_docstrings():
    found = doctest.testmod(api)
    assert found.failed == 0
    assert found.attempted >= 6


def test_the_package_shows_its_functions_and_loads_nothing():
    assert set(api.__all__) == set(dp2bench.__all__) <= set(dir(dp2bench))
    code = (
        "import sys, dp2bench; dir(dp2bench); "
        "print(sorted({'torch', 'numpy', 'pandas', 'matplotlib', 'cv2', 'dp2bench.api'} & sys.modules.keys()));"
        "dp2bench.list_methods(); print(sorted({'torch', 'pandas', 'matplotlib'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines() == ["[]", "[]"], done.stderr
    with pytest.raises(AttributeError, match="no attribute 'anonymise'"):
        dp2bench.anonymise  # noqa: B018


def test_the_page_runs_from_top_to_bottom(tmp_path, monkeypatch, market, tiny_suite):
    """With a small dataset in the place of Market-1501 and a small suite."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    write_image(tmp_path / "street.jpg", rng.integers(0, 256, (480, 320, 3), np.uint8))
    shutil.copytree(market, tmp_path / "clear")
    for path in sorted((tmp_path / "clear").rglob("*.jpg")):
        grey = np.full_like(read_image(path), 127)
        write_image(tmp_path / "anonymized" / path.relative_to(tmp_path / "clear"), grey)
    text = tiny_suite.read_text("utf-8")
    (tmp_path / "suite.yaml").write_text(re.sub(r"^name: .*$", "name: tiny", text, flags=re.M), "utf-8")
    space: dict = {}
    for code in re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.S | re.M):
        exec(compile(code, PAGE.name, "exec"), space)

    run, scores = space["run"], space["scores"]
    assert run.failures == {}
    assert set(run.table.index) == {"identity", "mask-out"}
    assert set(scores.run) == {"evaluate", "tiny"}
    assert scores.value.dtype == float
    assert scores[scores.method == "anonymized"].failed_open.eq(0).all()
    mine = scores[
        (scores.run == "tiny") & (scores.method == "mask-out") & (scores.score == "clear-anonymized.mAP")
    ]
    assert mine.value.item() == run.table.loc["mask-out", "clear-anonymized.mAP"]
    assert "identity-left" in space["figures"]
    html = run._repr_html_()
    assert html.count("<table") == 1
    assert html.count("<img") == len(space["figures"]) >= 2
    assert "mask-out" in html
    assert (tmp_path / "dp2bench-runs" / "tiny" / "report" / "report.html").is_file()
    assert repr(dp2bench.open_run("dp2bench-runs/tiny")) == "<Evaluation dp2bench-runs/tiny: 2 results>"


def test_a_failed_result_is_said_and_shown(tmp_path, monkeypatch, tiny_suite):
    """A task of the folder one works in, which fails."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "failing_task.py").write_text(
        "from dp2bench.tasks.detection_coverage import DetectionCoverage\n"
        "class Failing(DetectionCoverage):\n"
        "    def run(self, clear, anonymized, context):\n"
        "        raise RuntimeError('the lens is dirty')\n"
    )
    suite = tmp_path / "broken.yaml"
    text = tiny_suite.read_text("utf-8")
    suite.write_text(text[: text.index("tasks:")] + "tasks: ['failing_task:Failing']\n", "utf-8")
    with pytest.warns(UserWarning, match="has no result: .*the lens is dirty") as warned:
        run = dp2bench.run_suite(suite, "out", progress=False)
    assert len(run.failures) == len(run.results) == len(warned) == 2
    assert run.table.isna().all(None)
    assert "the lens is dirty" in run._repr_html_()
    assert set(run.scores.status) == {"error"}
    assert repr(run).endswith("2 results, 2 of them failed>")


@pytest.mark.parametrize("method", ["blur", "deepprivacy2-no-cse"])
def test_a_path_gives_the_bytes_of_the_command(tmp_path, method):
    path = tmp_path / "p.png"
    write_image(path, np.random.default_rng(1).integers(0, 256, (160, 90, 3), np.uint8))
    done = CliRunner().invoke(
        app, ["anonymize", str(path), str(tmp_path / "o.png"), "-m", method, "--detector", "full-image"]
    )
    assert done.exit_code == 0, done.output
    made = dp2bench.anonymize(path, method, detector="full-image")
    assert np.array_equal(made.image, read_image(tmp_path / "o.png"))
    assert np.array_equal(Pillow.open(__import__("io").BytesIO(made._repr_png_())), made.image)


class Left(Detector):
    from dp2bench.core.contracts import ComponentMeta as _Meta

    meta = _Meta("left")

    def detect(self, images, samples):
        return [People.of([[0, 0, i.shape[1] / 2, i.shape[0]]]) for i in images]


def test_any_picture_and_own_parts():
    pixels = np.random.default_rng(1).integers(0, 256, (80, 60, 3), np.uint8)
    expected = dp2bench.anonymize(pixels, "mask-out", detector=Left())
    assert isinstance(expected, Anonymized)
    assert expected.changed[:, :30].all()
    picture = Pillow.fromarray(pixels)
    assert np.array_equal(dp2bench.anonymize(picture, "mask-out", detector=Left()).image, expected.image)
    turned = picture.transpose(Pillow.Transpose.ROTATE_90)
    turned.getexif()[0x0112] = 6
    assert np.array_equal(dp2bench.anonymize(turned, "mask-out", detector=Left()).image, expected.image)
    clear = Pillow.new("RGBA", (60, 80), (9, 9, 9, 0))
    assert (dp2bench.anonymize(clear, "identity", detector="full-image").image == 255).all()
    grey = dp2bench.anonymize(pixels[..., 0], "identity", detector="full-image").image
    assert np.array_equal(grey, np.repeat(pixels[..., :1], 3, 2))


@pytest.mark.parametrize(
    ("given", "error", "word"),
    [
        ({"image": "nowhere.png"}, PictureError, "does not exist"),
        ({"image": np.zeros((4, 4, 3))}, PictureError, "float64"),
        ({"image": np.zeros((4, 4, 4), np.uint8)}, PictureError, r"\(4, 4, 4\)"),
        ({"image": np.zeros((0, 4, 3), np.uint8)}, PictureError, "no pixels"),
        ({"method": "blurr"}, PluginError, "Did you mean"),
        ({"method": "blur", "method_arguments": {"sigmas": 3}}, PluginError, "sigmas"),
        ({"detector": Left(), "detector_arguments": {"x": 1}}, Dp2benchError, "made already"),
        ({"detector": "annotations"}, Dp2benchError, "there is none here"),
    ],
)
def test_what_cannot_be_is_said(given, error, word):
    with pytest.raises(error, match=word):
        dp2bench.anonymize(**{"image": np.zeros((40, 40, 3), np.uint8), "method": "blur", **given})


def test_lists_and_results_that_are_not_there(tmp_path):
    assert {"market1501-reid", "runtime"} <= set(dp2bench.list_tasks())
    assert "annotations" in dp2bench.list_detectors()
    assert "passersby-reid" in dp2bench.list_datasets()
    for read in (dp2bench.load_results, dp2bench.open_run):
        with pytest.raises(Dp2benchError, match="no run"):
            read(tmp_path)
    with pytest.raises(Dp2benchError, match="not there"):
        dp2bench.evaluate(tmp_path / "a", tmp_path)


@pytest.mark.slow
def test_the_suite_of_the_docstring(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = dp2bench.run_suite("smoke", progress=False)
    assert run.failures == {}
    assert isinstance(run.table, pd.DataFrame)
