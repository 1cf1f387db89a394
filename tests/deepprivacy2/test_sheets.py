"""Sheets of datasets and of generators, through the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from dp2bench.cli.main import app
from dp2bench.core.errors import Dp2benchError
from dp2bench.core.images import read_image
from dp2bench.datasets.crops import Crop
from dp2bench.deepprivacy2 import sheets
from dp2bench.inpainting.crops import GREY

SMOKE = ["passersby-fdh", "-a", "size=smoke"]


@pytest.fixture
def command(rendered_cache, monkeypatch):
    monkeypatch.setenv("DP2BENCH_CACHE", str(rendered_cache))

    def run(*given):
        result = CliRunner().invoke(app, ["train", *map(str, given)])
        if isinstance(result.exception, Dp2benchError):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result

    return run


def some_crop() -> Crop:
    r = np.random.default_rng(0)
    hole = np.zeros((36, 20), bool)
    hole[6:30, 5:15] = True
    vertices = np.where(hole, 7, -1).astype(np.int32)
    points = np.full((17, 3), (0.5, 0.25, 1), np.float32)
    return Crop("a", r.integers(0, 256, (36, 20, 3), np.uint8), hole, points, vertices)


def test_a_batch_has_the_hole_masked_and_the_rest_as_it_is():
    crop = some_crop()
    batch = sheets.as_batch([crop, crop], "passersby-13380", (36, 20))
    assert np.array_equal(batch.masks[0], crop.hole)
    assert (batch.images[0][crop.hole] == GREY).all()
    assert np.array_equal(batch.images[0][~crop.hole], crop.image[~crop.hole])
    assert batch.surfaces is not None
    assert np.array_equal(batch.surfaces[0], crop.vertices)
    assert batch.keypoints is not None
    assert batch.keypoints[0, 0].tolist() == [10, 9, 1]


def test_a_dataset_is_shown_in_three_rows(command, tmp_path: Path):
    command("show", *SMOKE, "--count", 4, "--out", tmp_path / "sheet.png")
    sheet = read_image(tmp_path / "sheet.png")
    assert sheet.shape == (3 * 288, 4 * 160, 3)
    hole = (sheet[288:576] == GREY).all(2)
    assert 0.05 < hole.mean() < 0.8
    assert (sheet[576:][~hole] == 0).mean() > 0.99  # no surface outside the hole


@pytest.mark.parametrize("weights", ["mini-body-cse", "mini-body"])
def test_a_generator_fills_the_hole_alone_and_differently(command, tmp_path: Path, weights):
    command("preview", weights, *SMOKE, "--count", 3, "--samples", 2, "--out", tmp_path / "sheet.png")
    rows = read_image(tmp_path / "sheet.png").reshape(4, 144, 3 * 80, 3).astype(int)
    hole = (rows[1] == GREY).all(2)
    assert np.abs(rows[2] - rows[0])[~hole].max() <= 1
    assert np.abs(rows[2] - rows[0])[hole].mean() > 10
    assert np.abs(rows[2] - rows[3])[hole].mean() > 5


@pytest.mark.parametrize("role", ["surface-guided", "keypoint-guided"])
def test_generators_of_another_make_are_shown(command, tmp_path: Path, random_generators, role):
    if role not in random_generators:
        pytest.skip(f"no random weights for {role}")
    command(
        "preview", random_generators[role], *SMOKE, "--count", 2, "--samples", 1, "--out", tmp_path / "a.png"
    )
    assert read_image(tmp_path / "a.png").shape[0] % 3 == 0


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["show", "passersby-coco"], "no dataset of crops"),
        (["show", *SMOKE, "--split", "query"], "no split"),
        (["preview", "no-such.safetensors", *SMOKE], "no-such"),
        (["preview", "mini-body", *SMOKE, "--truncation", "some"], "truncation is"),
        (["preview", "mini-body", *SMOKE, "--edit", "a text that nobody searched"], "No direction is known"),
    ],
)
def test_what_cannot_be_shown_is_one_message(command, tmp_path: Path, given, words):
    with pytest.raises(Dp2benchError, match=words):
        command(*given, "--out", tmp_path / "a.png")
