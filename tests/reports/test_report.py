from __future__ import annotations

import io

import pytest
from PIL import Image
from rich.console import Console

from dp2bench.reports import cache, figures, report
from dp2bench.reports.load import load_report, load_run
from dp2bench.reports.report import print_table, write_report

FILES = [
    "contact-sheet.png", "identity-left.pdf", "identity-left.png", "identity-left.svg", "paper/licences.md",
    "paper/methods.tex", "paper/references.bib", "report.csv", "report.html", "report.md", "report.tex",
]  # fmt: skip


def names(written, run):
    return sorted(path.relative_to(run / "report").as_posix() for path in written)


def test_report_is_complete_and_deterministic(run_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("DP2BENCH_CACHE", str(tmp_path / "cache"))
    first = write_report(run_folder)
    assert names(first, run_folder) == FILES
    monkeypatch.setenv("DP2BENCH_CACHE", str(tmp_path / "another cache"))
    second = write_report(run_folder, tmp_path / "elsewhere")
    for a, b in zip(first, second, strict=True):
        assert a.read_bytes() == b.read_bytes(), a.name
    assert b"CreationDate" not in (run_folder / "report/identity-left.pdf").read_bytes()
    assert not Image.open(run_folder / "report/identity-left.png").info.keys() & {"Software", "Creation Time"}
    text = (run_folder / "report/report.md").read_text()
    assert "## All scores" in text
    assert "clear-anonymized.rank-1" in text.split("## All scores")[1]


def test_an_equal_report_is_not_drawn_again(run_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("DP2BENCH_CACHE", str(tmp_path / "cache"))
    first = {path.name: path.read_bytes() for path in write_report(run_folder, formats=["md", "figures"])}
    drawn = []
    real = report._contents
    monkeypatch.setattr(report, "_contents", lambda *given: drawn.append(given) or real(*given))
    again = write_report(run_folder, tmp_path / "elsewhere", formats=["figures", "md"])
    assert not drawn
    assert {path.name: path.read_bytes() for path in again} == first
    write_report(run_folder, formats=["md"])
    assert len(drawn) == 1
    for picture in [p for p in (run_folder / "pictures").rglob("*") if p.is_file()]:
        Image.new("RGB", (64, 128), "red").save(picture, "PNG")
    changed = {path.name: path.read_bytes() for path in write_report(run_folder, formats=["md", "figures"])}
    assert len(drawn) == 2
    assert changed["contact-sheet.png"] != first["contact-sheet.png"]
    assert changed["report.md"] == first["report.md"]


def test_what_is_broken_or_cannot_be_kept_is_made_again(tmp_path, monkeypatch):
    monkeypatch.setenv("DP2BENCH_CACHE", str(tmp_path))
    made = {"a/b.svg": b"1", "gone.png": None}
    calls = []

    def make():
        calls.append(1)
        return made

    assert cache.remembered("k", make) == cache.remembered("k", make) == made
    assert len(calls) == 1
    (tmp_path / "reports" / "k.zip").write_bytes(b"PK broken")
    assert cache.remembered("k", make) == made
    assert len(calls) == 2
    monkeypatch.setenv("DP2BENCH_CACHE", "/dev/null/nowhere")
    assert cache.remembered("k", make) == made


def test_report_ignores_a_users_matplotlibrc(run_folder):
    import matplotlib as mpl

    before = figures.identity_left(load_report([run_folder]))
    with mpl.rc_context({"axes.facecolor": "black", "figure.dpi": 50, "savefig.bbox": "tight"}):
        assert figures.identity_left(load_report([run_folder])) == before


def test_figures_without_anything_to_draw_are_left_out(tmp_path, write, make):
    run = write(tmp_path / "run", [make("mask-out", None)], pictures=False)
    stale = run / "report" / "identity-left.png"
    stale.parent.mkdir()
    stale.write_bytes(b"old")
    assert names(write_report(run), run) == FILES[4:]
    assert not stale.exists()


def test_usefulness_is_not_drawn_as_identity_left(tmp_path, write, make):
    result = make("blur")
    metrics = {k: m.model_copy(update={"higher_is_better": True}) for k, m in result.metrics.items()}
    run = write(tmp_path / "run", [result.model_copy(update={"metrics": metrics})])
    assert figures.identity_left(load_report([run])) == {}


def test_contact_sheet_prefers_different_people(run_folder):
    keys = {f"passersby-reid/query/{p:04d}_c{c}.png" for p in range(10) for c in (1, 2)}
    columns = figures.columns_of_people(sorted(keys), {"clear": keys}, 8)
    assert [key[-11:-7] for key in columns] == [f"{p:04d}" for p in range(8)]
    stale = run_folder / "pictures" / "of-an-earlier-run" / "passersby-reid" / "query"
    stale.mkdir(parents=True)
    (stale / "0000_c1.png").write_bytes(b"")
    sheet = Image.open(io.BytesIO(figures.contact_sheet(load_run(run_folder))))
    assert sheet.size == (150 + 8 * 102, 6 + 4 * 198)


def test_contact_sheet_shows_crops_of_people_rather_than_streets(tmp_path):
    keys = ["broken/val/0.png", "persons/query/1.png", "streets/val/2.png"]
    for key, size in zip(keys[1:], ((8, 16), (16, 8)), strict=True):
        (tmp_path / "clear" / key).parent.mkdir(parents=True)
        Image.new("RGB", size).save(tmp_path / "clear" / key)
    (tmp_path / "clear" / keys[0]).mkdir(parents=True)
    files = {"clear": set(keys)}
    assert figures._of_one_person(keys, files, tmp_path) == [keys[1]]
    assert figures._of_one_person([keys[2]], files, tmp_path) == [keys[2]]


@pytest.mark.parametrize("width", [80, 120])
def test_print_table(results, width):
    stream = io.StringIO()
    print_table(results, Console(file=stream, width=width, color_system=None), "dp2bench run smoke")
    lines = stream.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    blur = next(line for line in lines if line.lstrip().startswith("blur"))
    assert blur.split() == ["blur", "44.0", "[41.9,", "46.3]", "1.3", "812/820", "8"]
    assert any(line.lstrip().startswith("deepprivacy2") and "no coverage" in line for line in lines)
    assert any(line.lstrip().startswith("mask-out") and "error:" in line for line in lines)
