import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from typer.testing import CliRunner

from dp2bench.cli.main import app
from dp2bench.core.errors import Dp2benchError
from dp2bench.deepprivacy2 import generator_weights
from dp2bench.deepprivacy2.generators import files, networks
from dp2bench.weights import catalogue as weights
from dp2bench.weights import digests, embedded

pytestmark = pytest.mark.e2e


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("DP2BENCH_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path / "weights"


def run(*arguments):
    return CliRunner().invoke(app, ["weights", *map(str, arguments)])


def test_list_names_all_and_where_they_are(folder):
    result = run("list", "--places")
    assert result.exit_code == 0
    for name, known in weights.catalogue().items():
        assert name in result.output
        assert all(place.url in result.output for place in known.places)
        assert known.licence in result.output
    assert str(folder) in result.output
    assert "detectors embedded-*" in result.output


def test_path_of_what_is_not_there_says_how_to_get_it():
    result = run("path", "fdf256_stylegan")
    assert isinstance(result.exception, Dp2benchError)
    assert "dp2bench weights fetch fdf256_stylegan" in result.exception.remedy
    assert isinstance(run("path", "unheard-of").exception, Dp2benchError)


def test_the_embedded_detector_has_a_path_and_is_verified(tmp_path, monkeypatch):
    shipped = embedded.path("embedded-detector")
    assert run("path", "embedded-detector").output.strip() == str(shipped)
    for given in ((), ("embedded-detector",)):
        result = run("verify", *given)
        assert result.exit_code == 0, result.output
        assert "ok embedded-detector: matches the sha256" in result.output
    assert "mini-face" not in run("verify", "embedded-detector").output
    changed = tmp_path / "embedded-detector.safetensors"
    changed.write_bytes(shipped.read_bytes()[:-1] + b"?")
    monkeypatch.setattr(embedded, "FOLDER", tmp_path)
    result = run("verify", "embedded-detector")
    assert result.exit_code == 1
    assert "bad embedded-detector" in result.output
    assert "Reinstall dp2bench" in result.output


def test_an_official_checkpoint_is_imported_verified_and_used(
    tmp_path, folder, monkeypatch, random_generators
):
    """The whole way of a user with a downloaded file, at the size of the small network."""
    file = generator_weights.describe(random_generators["face"])
    network, _ = files.load(file)
    source = tmp_path / "downloaded.ckpt"
    torch.save({"EMA_generator": network.state_dict(), "global_step": 7}, source)
    known = dict(weights.catalogue())
    known["fdf256_stylegan"] = weights.Entry(**{**vars(known["fdf256_stylegan"]), "md5": digests.md5(source)})
    monkeypatch.setattr(weights, "catalogue", lambda: known)
    monkeypatch.setattr(networks, "build", lambda name, b=networks.build: b(file.config))
    result = run("import", source, "--as", "fdf256_stylegan")
    assert result.exit_code == 0, result.exception
    path = folder / "fdf256_stylegan.safetensors"
    assert digests.sha256(path) in result.output
    assert source.is_file(), "the user's own file stays"
    assert run("path", "fdf256_stylegan").output.strip() == str(path)
    assert "ok fdf256_stylegan: matches its record" in run("verify").output
    assert generator_weights.resolve("official", "face") == path
    with path.open("r+b") as stream:
        stream.seek(-1, 2)
        stream.write(b"\x7f")
    result = run("verify", "fdf256_stylegan")
    assert result.exit_code == 1
    assert "bad fdf256_stylegan" in result.output
    assert run("verify", "dsfd").exit_code == 1


def test_files_that_cannot_be_imported(tmp_path, folder):
    assert isinstance(run("import", tmp_path / "gone", "--as", "dsfd").exception, Dp2benchError)
    page = tmp_path / "page.ckpt"
    page.write_bytes(b"<html>")
    result = run("import", page, "--as", "fdf256_stylegan")
    assert "its MD5 is" in str(result.exception)
    result = run("import", page, "--as", "mask_rcnn_R_50_FPN_3x")
    assert isinstance(result.exception, Dp2benchError)
    assert not folder.exists() or list(folder.iterdir()) == []


def test_nothing_here_is_said(folder):
    assert run("verify").exit_code == 0


def test_a_folder_through_deepprivacy2(tmp_path, random_generators):
    pictures = tmp_path / "in"
    pictures.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (120, 80, 3), np.uint8)
    Pillow.fromarray(noise).save(pictures / "a.png")
    (pictures / "empty.png").write_bytes(b"")
    given = ["-a", f"cse={random_generators['body-cse']}", "-a", "person=none", "-a", "face=none"]
    runner = CliRunner()
    result = runner.invoke(
        app,
        [
            "anonymize",
            str(pictures),
            str(tmp_path / "out"),
            "-m",
            "deepprivacy2",
            "--detector",
            "full-image",
            *given,
        ],
    )
    assert result.exit_code == 1, result.exception
    assert "empty.png" in result.output
    assert [p.name for p in (tmp_path / "out").rglob("*.png")] == ["a.png"]
    made = np.asarray(Pillow.open(next((tmp_path / "out").rglob("a.png"))))
    assert (made != noise).any(-1).mean() > 0.5


def test_deepprivacy2_without_weights_is_one_message(tmp_path, monkeypatch):
    monkeypatch.setattr(generator_weights, "embedded", dict)
    Pillow.new("RGB", (40, 80)).save(tmp_path / "a.png")
    result = CliRunner().invoke(
        app, ["anonymize", str(tmp_path / "a.png"), str(tmp_path / "b.png"), "-m", "deepprivacy2"]
    )
    assert isinstance(result.exception, Dp2benchError)
    assert "dp2bench weights fetch fdh_styleganL" in result.exception.remedy
    assert not (tmp_path / "b.png").exists()
