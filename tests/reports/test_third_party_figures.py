"""A task that this project has never heard of gets its curve, its people and its drawing into the report by declaring them."""

from __future__ import annotations

import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from dp2bench.reports import charts
from dp2bench.reports.groups import anchors, groups
from dp2bench.reports.load import load_report
from dp2bench.reports.report import write_report

TASK = '''
import shutil

import numpy as np
from PIL import Image

from dp2bench.core.contracts import Task, TaskMeta
from dp2bench.core.figures import Answer, Curve, Curves, PeopleSheet, Picture, Sighting, Subsets, write_data
from dp2bench.core.images import read_image
from dp2bench.core.results import Metric


class Brightness(Task):
    """How many pictures lie within a step of grey levels of the clear ones."""

    meta = TaskMeta(
        name="brightness",
        version="1",
        kind="quality",
        main_score="near",
        layouts=("market1501",),
        metrics={"near": Metric(higher_is_better=True, title="pictures nearly as bright")},
        figures=(
            Curves(title="Nearness by step", file="steps/curve.json", x="grey levels", y="as bright", table_at=(8, 32)),
            PeopleSheet(title="Brightest", file="brightest.json"),
            Picture(title="A grey field", file="field.png"),
            Subsets(title="By camera", metrics=("near",), x="camera"),
        ),
    )
    arguments = {}

    def splits(self, dataset):
        return ("query",)

    def run(self, clear, anonymized, context):
        after = {s.id: s for s in anonymized.samples("query")}
        samples = clear.samples("query")
        change = {
            s.id: abs(float(read_image(s.path).mean()) - float(read_image(after[s.id].path).mean())) for s in samples
        }
        near = {name: float(value < 16) for name, value in change.items()}
        context.record("near", near)
        for camera in (1, 2):
            ids = [s.id for s in samples if s.labels["camera"] == camera]
            context.record("near", {name: near[name] for name in ids}, subset=f"camera {camera}")
        steps = (8, 16, 32)
        (context.artefacts / "steps").mkdir()
        shares = [np.mean([value < step for value in change.values()]) for step in steps]
        write_data(context.artefacts / "steps" / "curve.json", {"": Curve(x=steps, y=shares)})
        shown = max(samples, key=lambda s: read_image(after[s.id].path).mean())
        shutil.copyfile(shown.path, context.artefacts / "query.jpg")
        shutil.copyfile(after[shown.id].path, context.artefacts / "answer.jpg")
        answer = Answer(picture="answer.jpg", label="the same place", right=True)
        write_data(
            context.artefacts / "brightest.json",
            {"": [Sighting(picture="query.jpg", label="the brightest", answers=(answer,))]},
        )
        Image.new("RGB", (40, 20), (128, 128, 128)).save(context.artefacts / "field.png")
'''


class _Pictures(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.alts: list[str] = []
        self.headings = ""
        self._heading = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._heading = tag == "h3"
        if tag == "img" and (dict(attrs).get("src") or "").startswith("data:image/"):
            self.alts.append(dict(attrs).get("alt") or "")

    def handle_data(self, data: str) -> None:
        if self._heading:
            self.headings += f"{data}\n"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, market: Path) -> Path:
    folder = tmp_path_factory.mktemp("third party")
    (folder / "brightness.py").write_text(TASK)
    (folder / "suite.yaml").write_text(
        f"""schema_version: 1
name: third-party
detector: full-image
datasets:
  - {{name: market1501, arguments: {{root: "{market}", official: false}}}}
methods: [identity, mask-out]
tasks: [{{name: "brightness:Brightness", label: brightness}}]
"""
    )
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); sys.argv[1:2] = [];"
        "from dp2bench.cli.main import main; main()"
    )
    command = [sys.executable, "-c", program, str(folder), "run", str(folder / "suite.yaml")]
    done = subprocess.run(
        [*command, "--out", str(folder / "run"), "--threads", "1", "--workers", "1"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "run"


@pytest.mark.slow
def test_its_figures_are_drawn(run):
    report = load_report([run])
    (group,) = groups(report.results)
    drawn = {chart.title: chart for chart in charts.of_group(report, group, anchors([group])[0])}
    assert list(drawn) == ["Scores with intervals", "Nearness by step", "By camera"]
    curve = drawn["Nearness by step"]
    assert curve.name == "market1501-brightness-curve"
    assert curve.table[0] == ["method", "scenario", "grey levels 8", "grey levels 32"]
    identity = [row for row in curve.spec["data"]["values"] if row.get("method") == "identity"]
    assert [(row["x"], row["y"]) for row in identity] == [(8, 100), (16, 100), (32, 100)]
    rows = drawn["By camera"].spec["data"]["values"]
    assert {row["subset"] for row in rows} == {"all", "camera 1", "camera 2"}
    assert {row["value"] for row in rows if row["method"] == "identity"} == {100}


@pytest.mark.slow
def test_its_pictures_are_on_the_page_and_its_curve_in_print(run, tmp_path):
    written = write_report(run, tmp_path, ["html", "figures"])
    assert "market1501-brightness-curve.pdf" in {path.name for path in written}
    page = _Pictures()
    page.feed((tmp_path / "report.html").read_text("utf-8"))
    assert {"Brightest", "A grey field"} <= set(page.headings.splitlines())
    for alt in ("Query: the brightest", "Answer 1: the same person", "A grey field: mask-out"):
        assert alt in page.alts


def test_reports_know_no_task():
    from importlib.metadata import entry_points

    names = {entry.name for entry in entry_points(group="dp2bench.tasks")}
    names |= {name.replace("-", "_") for name in names}
    for path in sorted(Path(charts.__file__).parent.glob("*.py")):
        text = path.read_text("utf-8")
        assert not [name for name in names if name in text], path
