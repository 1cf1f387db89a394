import csv
import io
import json
import shutil

import pytest
from typer.testing import CliRunner

from dp2bench.cli.main import app
from dp2bench.core.errors import DatasetError, Dp2benchError
from dp2bench.datasets.passersby.generation import cache


def run(*words: str, answer: str | None = None) -> str:
    result = CliRunner().invoke(app, ["data", *words], input=answer, env={"COLUMNS": "80"})
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def made(rendered_cache, monkeypatch, tmp_path):
    """A cache of its own that holds the smallest dataset, an older version of it and one that was stopped."""
    monkeypatch.setenv("DP2BENCH_CACHE", str(rendered_cache))
    cache.create("passersby-fdf", "smoke").prepare()
    monkeypatch.setenv("DP2BENCH_CACHE", str(tmp_path))
    folder = cache.create("passersby-fdf", "smoke").root
    shutil.copytree(rendered_cache / "datasets" / folder.name, folder)
    older = folder.with_name("passersby-fdf-0.1-smoke")
    older.mkdir()
    manifest = {"dataset": "passersby-fdf", "version": "0.1", "size": "smoke", "sha256": {}}
    (older / "manifest.json").write_text(json.dumps(manifest))
    (folder.with_name("passersby-fdh-0.1-large.partial") / "parts").mkdir(parents=True)
    return folder


def test_an_empty_cache_says_how_to_fill_it():
    assert "Nothing has been made yet" in run("list")
    assert "Nothing has been made yet" in run("verify")


def test_list_shows_version_size_and_state(made):
    rows = [line.split() for line in run("list").splitlines() if line.startswith("passersby")]
    version = made.name.split("-")[2]
    assert [(r[0], r[1], r[2], r[-1]) for r in rows] == [
        ("passersby-fdf", "0.1", "smoke", "older"),
        ("passersby-fdf", version, "smoke", "whole"),
        ("passersby-fdh", "0.1", "large", "unfinished"),
    ]
    weight = next(item.bytes for item in cache.contents() if item.state == "whole")
    assert weight == sum(p.stat().st_size for p in made.rglob("*") if p.is_file())


def test_make_and_path_find_what_is_there(made):
    assert "is there" in run("make", "passersby-fdf", "--size", "smoke")
    assert run("path", "passersby-fdf", "--size", "smoke").strip() == str(made)


def test_verify_names_what_changed(made):
    assert "passersby-fdf (smoke) is as it was made" in run("verify")
    (made / "train" / "landmarks.npy").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"landmarks\.npy is not as it was made"):
        run("verify", "passersby-fdf", "--size", "smoke")


def test_delete_asks_and_removes_what_was_named(made):
    refused = CliRunner().invoke(app, ["data", "delete", "passersby-fdf"], input="n\n")
    assert refused.exit_code != 0
    assert made.is_dir()
    run("delete", "--older", "--yes")
    assert [item.state for item in cache.contents()] == ["whole"]
    assert "Nothing to delete" in run("delete", "passersby-fdf", "--size", "large", "--yes")
    run("delete", "passersby-fdf", answer="y\n")
    assert not any(made.parent.iterdir())
    with pytest.raises(DatasetError, match="Nothing was named"):
        run("delete")
    with pytest.raises(DatasetError, match="market1501 is not made"):
        run("delete", "market1501")


def test_attributes_are_a_table_of_everybody(made, tmp_path):
    rows = list(csv.DictReader(io.StringIO(run("attributes", "passersby-fdf", "--size", "smoke"))))
    looks = cache.create("passersby-fdf", "smoke").attributes()
    assert [int(r["identity"]) for r in rows] == sorted(looks)
    assert rows[0]["hair_style"] == looks[1]["hair_style"]
    assert [float(v) for v in rows[0]["skin"].split()] == pytest.approx(looks[1]["skin"])
    run("attributes", "passersby-fdf", "--size", "smoke", "--out", str(tmp_path / "a" / "b.csv"))
    assert len(list(csv.DictReader((tmp_path / "a" / "b.csv").open()))) == len(rows)


def test_templates_are_shown():
    assert "13,380 vertices, 16 dimensions, left and right known" in run("template", "passersby-13380")
    with pytest.raises(Dp2benchError, match="is not on this machine"):
        run("template", "smpl-27554")


def test_every_made_dataset_has_the_three_sizes():
    assert {"passersby-reid", "passersby-fdh", "passersby-fdf", "passersby-video"} <= set(
        cache.generated_names()
    )
    for name in cache.generated_names():
        assert [size for size in cache.sizes(name) if size != "medium"] == ["smoke", "mini", "large"]
