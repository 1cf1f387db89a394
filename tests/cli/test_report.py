"""`dp2bench report`: one run or several, and the formats asked for."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest
from typer.testing import CliRunner

from dp2bench.cli.main import app
from dp2bench.core.errors import Dp2benchError

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def write_many():
    package = ModuleType("tests_of_reports")
    package.__path__ = [str(Path(__file__).parents[1] / "reports")]
    sys.modules[package.__name__] = package
    return importlib.import_module("tests_of_reports.synthetic").write_many


def test_formats_are_chosen_and_several_runs_compared(tmp_path, write_many):
    runs = [write_many(tmp_path / name, ("blur", "mask-out")) for name in ("monday", "tuesday")]
    done = CliRunner().invoke(
        app, ["report", *map(str, runs), "--out", str(tmp_path / "both"), "-f", "html", "-f", "csv"]
    )
    assert done.exit_code == 0, done.output
    assert {p.name for p in (tmp_path / "both").iterdir()} == {"report.html", "report.csv"}
    assert "blur (monday)" in (tmp_path / "both" / "report.html").read_text()
    assert "blur (tuesday)" in done.output
    assert not (runs[0] / "report").exists()


def test_everything_is_written_by_default(tmp_path, write_many):
    run = write_many(tmp_path / "run", ("blur", "mask-out"))
    assert CliRunner().invoke(app, ["report", str(run)]).exit_code == 0
    names = {p.relative_to(run / "report").as_posix() for p in (run / "report").rglob("*") if p.is_file()}
    assert {
        "report.md",
        "report.csv",
        "report.tex",
        "report.html",
        "identity-left.svg",
        "figures/privacy-utility.pdf",
    } <= names


def test_mistakes_are_explained(tmp_path, write_many):
    run = write_many(tmp_path / "run", ("blur",))
    with pytest.raises(Dp2benchError, match="no format docx") as caught:
        CliRunner().invoke(app, ["report", str(run), "-f", "docx"], catch_exceptions=False)
    assert "html (one page" in caught.value.remedy
    with pytest.raises(Dp2benchError, match="no run folder"):
        CliRunner().invoke(app, ["report", str(run), str(tmp_path / "absent")], catch_exceptions=False)
    (tmp_path / "file").write_text("")
    with pytest.raises(Dp2benchError, match="cannot be made"):
        CliRunner().invoke(app, ["report", str(run), "--out", str(tmp_path / "file")], catch_exceptions=False)


def test_help_teaches():
    text = " ".join(CliRunner().invoke(app, ["report", "--help"]).output.split())
    for part in ("no network", "booktabs", "last-night", "-f html"):
        assert part in text
