"""The published tables' layout, a paragraph on methods, references and licences of a run."""

import json
import re

import pytest

from dp2bench.core.results import Coverage, Failure, Metric, Provenance, Result, ResultSpec, Score
from dp2bench.reports import published
from dp2bench.reports.report import write_report

EXPECTED = """protocol: the paper
tables:
  - cells: re-identification on Market-1501
    source: {document: "https://arxiv.org/abs/2211.09454", table: "4"}
    tolerance: 1.0
    values: {original: {mAP: 81.5}}
"""


def result(method, value=None):
    spec = ResultSpec(
        method=method, method_arguments={"plugin": method}, dataset="market1501", task="market1501-reid",
        detector="deepprivacy2", seeds=(0, 1),
    )  # fmt: skip
    if value is None:
        why = "weights fdh_styleganL not on this machine."
        return Result(
            run_id=method, spec=spec, status="skipped", error=Failure(step="", kind="missing", message=why)
        )
    return Result(
        run_id=method,
        spec=spec,
        status="ok",
        main_score="clear-anonymized.mAP",
        scores=(Score(metric="mAP", scenario="clear-anonymized", value=value, n=10),),
        metrics={"mAP": Metric(higher_is_better=False)},
        coverage=Coverage(pictures=10, found=10, anonymized=10, missed=0, pictures_without_detection=0),
        provenance=Provenance(
            dp2bench="0.1.0", git_commit="a" * 40, git_dirty=False, python="3.11", platform="x", packages={"torch": "2.14"},
            device="cpu", threads=1, dataset_version="v15.09.15", dataset_fingerprint="f" * 64,
            licences={"market1501": "none given", "dsfd.pth": "not stated"}, task={"version": "1", "kind": "privacy"},
            arguments_effective={"model": "osnet_x1_0"}, seeds=(0, 1),
        ),
    )  # fmt: skip


@pytest.fixture
def run(tmp_path):
    results = [result("identity", 0.823), result("blur", 0.4), result("deepprivacy2")]
    names = []
    for one in results:
        path = tmp_path / "run" / "results" / one.spec.method / "market1501" / "market1501-reid.json"
        path.parent.mkdir(parents=True)
        path.write_text(one.to_json())
        names.append(str(path.relative_to(tmp_path / "run")))
    (tmp_path / "run" / "run.json").write_text(
        json.dumps({"suite": "market1501", "command": "c", "results": names})
    )
    (tmp_path / "my.yaml").write_text(EXPECTED)
    return tmp_path / "run"


def test_a_table_has_every_row_with_the_published_number_behind_ours(run, tmp_path):
    write_report(run, tmp_path / "out", ["paper"], [tmp_path / "my.yaml"])
    files = {p.name: p.read_text() for p in (tmp_path / "out" / "paper").iterdir()}
    assert set(files) == {
        "re-identification-on-market-1501.tex",
        "methods.tex",
        "references.bib",
        "licences.md",
    }
    table = files["re-identification-on-market-1501.tex"]
    assert r"original & 82.3 (81.5) & -- & -- \\" in table
    assert r"blur & 40.0 & -- & -- \\" in table
    assert r" & mAP $\downarrow$ & R1 & R5 \\" in table
    for row in published.tables()["re-identification on Market-1501"].rows:
        assert re.search(rf"^{re.escape(row)} & ", table, re.MULTILINE)
    assert "DeepPrivacy2: absent: weights fdh" in table
    assert "mask-out: not in this run." in table
    assert table.count(r"\begin{tabular}") == table.count(r"\end{tabular}") == 1
    methods = files["methods.tex"]
    for word in (
        "dp2bench 0.1.0",
        "commit aaaaaaaaaaaa",
        "market1501 (v15.09.15)",
        "Seeds: 0, 1",
        "torch 2.14",
    ):
        assert word in methods
    cited = set(re.findall(r"\\nocite\{(.*)\}", methods)[0].split(","))
    assert {"zheng2015market", "zhou2019osnet", "li2019dsfd"} <= cited
    assert "cordts2016cityscapes" not in cited
    assert set(re.findall(r"@\w+\{([^,]+),", files["references.bib"])) == cited
    assert "| dsfd.pth | not stated |" in files["licences.md"]


def test_the_brought_number_stands_on_the_page_and_in_markdown(run, tmp_path):
    write_report(run, tmp_path / "out", ["md", "html"], [tmp_path / "my.yaml"])
    text = (tmp_path / "out" / "report.md").read_text()
    assert "81.5 ± 1" in text
    assert "82.3" in text.split("Published numbers")[1]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "81.5 ± 1" in page
    assert "absent: weights fdh_styleganL" in page


def test_every_citation_has_an_entry():
    import yaml

    from dp2bench.reports import paper

    keys = {key for some in yaml.safe_load(paper._read("citations.yaml")).values() for key in some}
    assert keys <= set(re.findall(r"@\w+\{([^,]+),", paper._read("references.bib")))
