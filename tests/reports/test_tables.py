from __future__ import annotations

import csv
import io
import json
import math
import re
import shutil
import subprocess

import pytest

from dp2bench.core.results import Coverage
from dp2bench.reports import csv_file, groups, latex, markdown, tables, texts
from dp2bench.reports.load import load_report
from dp2bench.reports.report import write_report

from .declared import called, declarations
from .synthetic import METHODS, TASKS, write_many


@pytest.mark.parametrize(
    ("name", "clear_only"),
    [
        ("clear-anonymized.mAP", False),
        ("anonymized-anonymized.rank-1", False),
        ("clear-clear.mAP", True),
        ("mAP", False),
        ("clear.AP", True),
        ("clear-undeclared.AP", False),
    ],
)
def test_only_a_declared_scenario_of_clear_pictures_is_shown_without_a_coverage(make, name, clear_only):
    score = make("blur").scores[0].model_copy(update=called(name))
    result = make("blur", coverage=None).model_copy(update={"scores": (score,), **declarations([score])})
    assert result.clear_only(score) is clear_only
    assert (texts.format_score(result, score) == "no coverage") is not clear_only


def test_frame_hides_what_may_not_be_shown(results):
    frame = tables.frame(results)
    assert list(frame.index) == [
        "identity",
        "blur",
        "pixelate-8(block=8)",
        "pixelate-8(block=16)",
        "mask-out",
        "deepprivacy2",
    ]
    assert frame.loc["identity", "clear-anonymized.mAP"] == 0.81
    assert frame.loc["mask-out"].isna().all()
    assert math.isnan(frame.loc["deepprivacy2", "clear-anonymized.mAP"])
    assert frame.loc["deepprivacy2", "clear-clear.mAP"] == 0.826


def test_markdown(results):
    text = markdown.scores(results, "dp2bench run")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert [re.match(r"\| ([^ |]+)", row)[1] for row in rows[2:]] == [
        "identity", "blur", "pixelate-8(block=8)", "pixelate-8(block=16)", "mask-out", "deepprivacy2"
    ]  # fmt: skip
    assert rows[3].startswith("| blur | 44.0 [41.9, 46.3] | 1.3 |")
    assert rows[3].endswith("| 99.0 % (812/820), 8 open |")
    assert r"error: RuntimeError: no memory &amp; 100% of \|GPU\_0\| full" in rows[6]
    assert rows[7].count("no coverage") == 3
    assert "5.0 [" not in rows[7]
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1
    for part in ("n = 750", "seeds: 0, 1", "version 2 (abcdef012345)", "command: dp2bench run"):
        assert part in text


def test_coverage_is_never_rounded_up_to_full():
    coverage = Coverage(
        pictures=1, found=100_000, anonymized=99_999, missed=1, pictures_without_detection=0, undetected=None
    )
    assert texts.format_coverage(coverage) == "99.9 % (99999/100000), 1 open (undetected unknown)"


def test_coverage_of_nobody_is_none(make):
    nobody = Coverage(pictures=1, found=0, anonymized=0, missed=0, pictures_without_detection=1, undetected=0)
    result = make("blur", 0.1, coverage=nobody)
    assert texts.format_score(result, result.scores[0]) == "no coverage"


def test_datasets_get_their_own_tables_and_mixed_versions_a_warning(make):
    text = markdown.scores([make("blur"), make("blur", dataset="market1501")])
    assert text.count("### ") == 2
    assert "blur(" not in text
    other = make("identity")
    other = other.model_copy(
        update={"provenance": other.provenance.model_copy(update={"dataset_version": "3"})}
    )
    assert "WARNING" in markdown.scores([make("blur"), other])


def test_groups_of_one_task_under_two_settings_are_told_apart(make):
    def with_settings(**arguments):
        result = make("blur")
        return result.model_copy(
            update={"spec": result.spec.model_copy(update={"task_arguments": {"rank": 5, **arguments}})}
        )

    results = [with_settings(epochs=2), with_settings(epochs=40), with_settings()]
    assert [g.name for g in groups.groups(results)] == [
        f"market1501-reid (epochs={n})" for n in ("2", "40", "default")
    ]
    columns, _ = tables.overview(results)
    assert len({c.title for c in columns if c.score is not None}) == 3
    assert groups.groups(results[:1])[0].name == "market1501-reid"


def test_csv(results):
    lines = list(csv.DictReader(io.StringIO(csv_file.scores(results, "c"))))
    assert lines[0]["value"] == "0.81"
    assert (lines[0]["anonymized"], lines[0]["known"], lines[0]["failed_open"]) == ("812", "820", "8")
    bare = [line for line in lines if line["method"] == "deepprivacy2"]
    assert [line["value"] for line in bare] == ["", "", "", "0.826"]
    assert [line["note"] for line in bare] == ["no coverage"] * 3 + [""]
    assert [line["note"] for line in lines if line["method"] == "mask-out"] == [
        "error: RuntimeError: no memory & 100% of |GPU_0| full"
    ]


def test_latex_escaping():
    raw = r"a\b&c%d$e#f_g{h}i~j^k<l>m|n–o[p]"
    assert latex.escape(raw) == (
        r"a\textbackslash{}b\&c\%d\$e\#f\_g\{h\}i\textasciitilde{}j\textasciicircum{}k\textless{}l\textgreater{}m"
        r"\textbar{}n--o{[}p{]}"
    )


def test_latex_is_balanced(results):
    text = latex.scores(results, "dp2bench run a_b")
    bare = re.sub(r"\\[\\{}&%$#_]", "", text)
    assert bare.count("{") == bare.count("}")
    assert not re.search(r"[%$#_~^]", bare)
    columns = len(re.search(r"\{@\{\}(l r*|lr*)@\{\}\}", text)[1])
    body = text.split("\\midrule\n")[1].split("\\bottomrule")[0].splitlines()
    for row in body:
        spans = sum(int(n) - 1 for n in re.findall(r"\\multicolumn\{(\d+)\}", row))
        assert len(re.findall(r"(?<!\\)&", row)) + 1 + spans == columns
        assert row.endswith(r" \\")
    for word in (r"\toprule", r"\midrule", r"\bottomrule", r"\end{tabular}", r"a\_b"):
        assert word in text


def test_overview_has_every_kind_in_order(tmp_path):
    report = load_report([write_many(tmp_path / "run")])
    columns, rows = tables.overview(report.results)
    assert [c.kind for c in columns] == [
        "privacy",
        "utility",
        "quality",
        "coverage",
        "coverage",
        "coverage",
        "cost",
    ]
    assert [label for label, _ in rows] == list(METHODS)
    text = markdown.overview(report.results).splitlines()
    assert "| privacy: passersby-reid: clear-anonymized.mAP ↓ | utility: passersby-coco: AP ↑ |" in text[0]
    assert "| cost: passersby-coco: seconds-per-picture (s) ↓ |" in text[0]
    blur = next(line for line in text if line.startswith("| blur |"))
    assert "| 31.0 [28.0, 34.0] | 42.9 [40.9, 44.9] | 23.00 [19.00, 27.00] |" in blur
    assert "98.8 % (1000/1012), 12 open" in blur
    assert next(line for line in text if "unconditional" in line).split(" | ")[2] == "error"


def test_only_privacy_needs_a_coverage_to_be_shown(tmp_path):
    report = load_report([write_many(tmp_path / "run", ("blur",))])
    for result, kind in zip(report.results, TASKS.values(), strict=True):
        bare = result.model_copy(update={"coverage": None})
        assert groups.kind_of(bare) == kind
        assert groups.printable(bare, bare.score(bare.main_score)) is (kind != "privacy")
    older = report.results[1].provenance.model_copy(update={"task": {}})
    assert groups.kind_of(report.results[1].model_copy(update={"provenance": older})) == "privacy"


def test_latex_compiles(tmp_path, results, make):
    pdflatex = shutil.which("pdflatex")
    if pdflatex is None:
        pytest.skip("no pdflatex on PATH; test_latex_is_balanced looks at the structure")
    run = write_many(tmp_path / "run")
    write_report(run, tmp_path, ["tex"])
    body = (tmp_path / "report.tex").read_text()
    body += latex.scores(
        [*results, make(r"a\b&c%d$e#f_g{h}i~j^k<l>m|n–o[p]é", dataset="o_o")], "dp2bench run a_b"
    )
    (tmp_path / "whole.tex").write_text(
        "\\documentclass{article}\n\\usepackage[landscape,paperwidth=60cm]{geometry}\n\\usepackage{booktabs}\n"
        f"\\begin{{document}}\n{body}\n\\end{{document}}\n"
    )
    done = subprocess.run(
        [pdflatex, "-interaction=nonstopmode", "-halt-on-error", "whole.tex"],
        cwd=tmp_path, capture_output=True, text=True, errors="replace",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "whole.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (-0.00001, "distance", "0.0000"),
        (-0.0001, "fraction", "0.0"),
        (-0.0123, "distance", "-0.0123"),
        (0.4567, "fraction", "45.7"),
    ],
)
def test_nothing_is_not_negative(value, unit, text):
    assert texts.format_number(value, unit) == text


def test_what_the_suite_says_of_itself_stands_first(tmp_path):
    run = write_many(tmp_path / "run")
    index = json.loads((run / "run.json").read_text())
    index["specification"]["description"] = "A rehearsal: its numbers mean nothing."
    (run / "run.json").write_text(json.dumps(index))
    write_report(run)
    markdown = (run / "report" / "report.md").read_text()
    assert markdown.index("numbers mean nothing") < markdown.index("## Overview")
    page = (run / "report" / "report.html").read_text()
    assert page.index("numbers mean nothing") < page.index("<nav")
    assert (run / "report" / "paper" / "methods.tex").read_text().startswith("% A rehearsal")
