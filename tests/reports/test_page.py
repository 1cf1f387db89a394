from __future__ import annotations

import itertools
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from dp2bench.reports import charts, csv_file, figures
from dp2bench.reports.groups import anchors, groups
from dp2bench.reports.load import ReportError, load_report
from dp2bench.reports.page import render
from dp2bench.reports.trade_off import trade_off

from .synthetic import METHODS, TASKS, write_many


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_many(tmp_path_factory.mktemp("many") / "tonight")


@pytest.fixture(scope="module")
def page(many: Path) -> str:
    return render(load_report([many]))


class _Outline(HTMLParser):
    """What is in the page, without its scripts and styles."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._inside: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._inside.append(tag)

    def handle_endtag(self, tag):
        if tag in ("script", "style"):
            self._inside.pop()

    def handle_data(self, data):
        if not self._inside:
            self.text += data


def outline(page: str) -> _Outline:
    parser = _Outline()
    parser.feed(page)
    return parser


def test_page_is_one_file_that_asks_for_nothing(page):
    assert len(page) < 6_000_000
    tags = outline(page).tags
    for tag, attributes in tags:
        for name in ("src", "href"):
            address = attributes.get(name) or ""
            assert address.startswith(("data:", "#")) or not address, (tag, address)
    assert not any(tag in ("iframe", "object", "embed", "form") for tag, _ in tags)
    policy = next(a["content"] for t, a in tags if t == "meta" and a.get("http-equiv"))
    assert policy.startswith("default-src 'none'")
    assert "url(" not in (Path(charts.__file__).parent / "templates" / "page.css").read_text()


def test_page_says_everything(page):
    text = outline(page).text
    for method in METHODS:
        assert method in text
    for dataset, task in TASKS:
        assert f"{task} on {dataset}" in text
    for part in (
        "1012 open", "no face: 1000", "abcdef0123456789", "git checkout c0ffee", "dp2bench run synthetic --threads 2 --device cpu",
        "RuntimeError: <b>out of memory</b> & more",
    ):  # fmt: skip
        assert part in text, part
    assert "<b>" not in page.split("<script")[0]


def test_page_is_accessible_in_its_structure(page):
    tags = outline(page).tags
    assert all(a.get("alt") is not None for t, a in tags if t == "img")
    assert sum(t == "h1" for t, _ in tags) == sum(t == "main" for t, _ in tags) == 1
    levels = [int(t[1]) for t, _ in tags if re.fullmatch(r"h[1-6]", t)]
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))
    ids = [a["id"] for _, a in tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert {a["href"][1:] for t, a in tags if t == "a"} <= set(ids)
    specs = json.loads(re.search(r'id="specs">(.*?)</script>', page)[1])
    assert all(spec["description"] for spec in specs.values())
    assert {a["data-spec"] for _, a in tags if "data-spec" in a} == specs.keys()


def test_equal_results_give_equal_bytes(many, page):
    assert render(load_report([many])) == page


def test_hostile_names_stay_text(tmp_path, make):
    result = make("</script><script>alert(1)</script>")
    spec = result.spec.model_copy(update={"dataset": '"><img src=x onerror=alert(2)>'})
    run = tmp_path / "run"
    run.mkdir()
    (run / "result.json").write_text(result.model_copy(update={"spec": spec}).to_json())
    (run / "run.json").write_text(json.dumps({"results": ["result.json"], "suite": "<i>", "command": "<u>"}))
    found = outline(render(load_report([run])))
    assert not any(t in ("img", "i", "u") for t, _ in found.tags)
    assert "alert(1)" in found.text
    assert sum(t == "script" for t, _ in found.tags) == 3


def test_runs_without_evidence_or_with_a_broken_picture_still_have_a_page(run_folder):
    text = outline(render(load_report([run_folder]))).text
    assert "no coverage" in text
    assert "none" in text


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("cmc.json", "{"),
        ("cmc.json", '{"clear-anonymized": {"x": [1, 2], "y": [0.5]}}'),
        ("distances.json", '{"clear-anonymized": {"edges": [0, 1], "counts": {"a": [-1]}}}'),
        ("people/found.json", '{"clear-anonymized": [{"picture": "../../run.json", "label": ""}]}'),
    ],
)
def test_broken_evidence_names_its_file(tmp_path, file, text):
    run = write_many(tmp_path / "run", ("blur",))
    path = next(run.rglob(f"seed-0/{file}"))
    path.write_text(text)
    with pytest.raises(ReportError, match=re.escape(str(path))):
        render(load_report([run]))


def test_several_runs_stand_side_by_side(many, tmp_path):
    other = write_many(tmp_path / "last-night", ("blur", "fawkes"), shift=0.1)
    report = load_report([many, other, many])
    assert len(report.runs) == 2
    group = groups(report.results, report.names)[0]
    assert "blur (tonight)" in group.labels
    assert "blur (last-night)" in group.labels
    assert "fawkes" in group.labels
    text = outline(render(report)).text
    assert "2 runs" in text
    assert "passersby-reid (last-night)" in text
    csv = csv_file.scores(report.results, "", report.names)
    assert ",last-night," in csv


def test_runs_in_folders_of_one_name_are_told_apart(tmp_path):
    folders = [write_many(tmp_path / day / "mini", ("blur",)) for day in ("monday", "tuesday")]
    assert set(load_report(folders).names) == set(map(str, folders))


@pytest.mark.slow
def test_charts_show_what_is_stored(many):
    report = load_report([many])
    gathered = groups(report.results, report.names)
    drawn = {
        c.name: c
        for g, a in zip(gathered, anchors(gathered), strict=True)
        for c in charts.of_group(report, g, a)
    }
    cmc = drawn["passersby-reid-market1501-reid-cmc"]
    stored = json.loads((many / "results/blur/passersby-reid/market1501-reid/seed-0/cmc.json").read_text())[
        "clear-anonymized"
    ]
    assert next(row for row in cmc.table[1] if row[0] == "identity")[:2] == ["identity", "clear-anonymized"]
    assert cmc.table[0] == ["method", "scenario", "rank k 1", "rank k 5"]
    rows = [
        r
        for r in cmc.spec["data"]["values"]
        if r.get("method") == "blur" and r["panel"] == "clear-anonymized"
    ]
    assert [r["y"] for r in rows] == pytest.approx([100 * v for v in stored["y"][:20]], rel=1e-4)
    distances = drawn["passersby-reid-market1501-reid-distances"]
    same = [
        r["share"] for r in distances.spec["data"]["values"]
        if (r["method"], r["panel"], r["group"]) == ("blur", "clear-anonymized", "same person")
    ]  # fmt: skip
    assert sum(same) == pytest.approx(100, abs=0.01)
    for chart in (cmc, distances, trade_off(report)):
        vector = figures.vector(chart)
        assert vector["pdf"].startswith(b"%PDF")
        assert b"<svg" in vector["svg"]
        assert vector == figures.vector(chart)
    sizes = drawn["passersby-coco-coco-keypoints-by-size"]
    assert [(r["subset"], r["value"]) for r in sizes.spec["data"]["values"] if r["method"] == "identity"] == [
        ("all", 52), ("medium", 45), ("large", 60),
    ]  # fmt: skip
    assert figures.vector(sizes)["pdf"].startswith(b"%PDF")
    assert [n for n in drawn if n.endswith("-size")] == [
        "passersby-coco-coco-keypoints-by-size", "passersby-coco-detection-coverage-by-size",
    ]  # fmt: skip
    found = drawn["passersby-coco-detection-coverage-by-size"].spec["data"]["values"]
    assert {r["subset"] for r in found} == {"all", "small"}
    failed = drawn["passersby-coco-coco-keypoints-scores"].spec["data"]["values"]
    assert "deepprivacy2-unconditional" not in {r["method"] for r in failed}


def test_trade_off_needs_privacy_and_something_else(tmp_path, write, make):
    assert trade_off(load_report([write(tmp_path / "run", [make("blur")], pictures=False)])) is None


def test_curves_without_coverage_are_not_shown(tmp_path):
    run = write_many(tmp_path / "run", ("blur", "mask-out"))
    path = run / "results/blur/passersby-reid/market1501-reid.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"coverage": None}))
    report = load_report([run])
    group = groups(report.results, report.names)[0]
    for chart in charts.of_group(report, group, "a"):
        shown = {
            r.get("method") for r in chart.spec["data"]["values"]
            if "anonymized" in r.get("panel", "") or "anonymized" in r.get("score", "")
        }  # fmt: skip
        assert "blur" not in shown, chart.name
    shutil.rmtree(run / "pictures")
    assert "Before and after" not in outline(render(report)).text


def test_anchors_differ(make):
    gathered = groups([make("blur", dataset="A b"), make("blur", dataset="a-B")])
    assert anchors(gathered) == ["a-b-market1501-reid", "a-b-market1501-reid-2"]


def test_seeds_that_were_measured_at_other_places_are_not_averaged(tmp_path):
    run = write_many(tmp_path / "run", ("blur",))
    other = next(run.rglob("seed-1/cmc.json"))
    other.write_text('{"clear-anonymized": {"x": [1, 3], "y": [0, 0]}}')
    report = load_report([run])
    drawn = {c.name: c for c in charts.of_group(report, groups(report.results)[0], "a")}
    first = json.loads(next(run.rglob("seed-0/cmc.json")).read_text())["clear-anonymized"]["y"][0]
    rows = [r for r in drawn["a-cmc"].spec["data"]["values"] if r.get("method") == "blur"]
    shown = next(r["y"] for r in rows if (r["panel"], r["x"]) == ("clear-anonymized", 1))
    assert shown == pytest.approx(100 * first, rel=1e-4)


def test_people_and_drawings_of_a_task_are_on_the_page(page):
    found = outline(page)
    assert "Found most easily" in found.text
    assert "person 0, AP 90 %" in found.text
    assert "person 4, AP 86 %" not in found.text  # four of each method
    drawings = [a["alt"] for t, a in found.tags if t == "img" and a.get("class") == "drawing"]
    assert drawings == [f"Stages: {method}" for method in METHODS]
