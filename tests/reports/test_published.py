from __future__ import annotations

import pytest

from dp2bench.reports import published
from dp2bench.reports.load import ReportError
from dp2bench.reports.published import expected_names, load_expected, parse_expected


def test_the_packaged_file():
    expected = load_expected()
    found = {
        c.model: (expected.control(c.model, "rank-1").value, expected.control(c.model, "mAP").value)
        for c in expected.controls
    }
    assert found == {
        "osnet_x1_0": (94.2, 82.6), "osnet_x0_75": (93.7, 81.2), "osnet_x0_5": (92.5, 79.8),
        "osnet_x0_25": (91.2, 75.0), "resnet50": (87.9, 70.4),
    }  # fmt: skip
    assert expected.absent
    assert all(absent.reason for absent in expected.absent)


def test_agreement():
    control = load_expected().control("osnet_x1_0", "mAP")
    assert control.agrees(0.8285)
    assert not control.agrees(0.82)
    with pytest.raises(KeyError, match="osnet_x0_25"):
        load_expected().control("absent", "mAP")


@pytest.mark.parametrize("name", expected_names())
def test_every_file_gives_sources_and_reasons(name):
    expected = load_expected(name)
    for entry in (*expected.controls, *expected.absent):
        assert len(entry.reason) > 20
        assert "http" in entry.source.document


def test_controls_of_the_training_tables():
    keypoints = load_expected("keypoints")
    for schedule, box, points in (("1x", 53.6, 64.0), ("3x", 55.4, 65.5)):
        model = f"keypoint_rcnn_R_50_FPN_{schedule}"
        assert keypoints.control(model, "box AP", "coco").value == box
        assert keypoints.control(model, "keypoint AP", "coco").value == points
    assert load_expected("instances").control("mask_rcnn_R_50_FPN", "mask AP", "cityscapes").value == 36.5
    assert {c.metric: c.value for c in load_expected("detection").controls} == {
        "persons with CSE": 45, "persons by Mask R-CNN alone": 52, "test pictures without detection": 10,
    }  # fmt: skip
    runtime = load_expected("runtime").controls[0]
    assert runtime.value == 2.8
    assert runtime.agrees(2.9)
    assert not runtime.agrees(0.028)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("protocol: p\ncontrols: []\nsurplus: 1", "expected:3: surplus"),
        ("protocol: p", "neither"),
        ("protocol: p\ncontrols: [{model: a, value: 3.0}]", r"controls\.0"),
        (
            "protocol: p\ncontrols: []\nabsent: [{cells: a, value: 1, reason: r}]",
            r"absent\.0",
        ),
        ("protocol: [", "not valid YAML"),
        ("", r"\(top\)"),
    ],
)
def test_closed(text, message):
    with pytest.raises(ReportError, match=message):
        parse_expected(text)


def test_unknown_name():
    with pytest.raises(ReportError, match="no published numbers"):
        load_expected("absent")


def test_every_table_has_rows_and_columns_that_suites_have():
    from dp2bench.core import registry
    from dp2bench.engine import suite

    assert len(published.tables()) == 5
    for table in published.tables().values():
        asked = suite.load(table.dataset)
        assert set(table.rows.values()) <= {m.label for m in asked.methods}
        assert table.task in {t.label for t in asked.tasks}
        metrics = registry.load("tasks", table.task).meta.metrics
        for score in table.columns.values():
            assert set(score.split(".")) & set(metrics), score


FILLED = """protocol: the paper
tables:
  - cells: re-identification on Market-1501
    source: {document: "https://arxiv.org/abs/2211.09454", table: "4"}
    tolerance: 1.0
    values:
      original: {mAP: 81.0, R1: 93.0}
      DeepPrivacy2: {mAP: 5.0}
"""


def test_brought_cells_become_numbers(tmp_path):
    (tmp_path / "my.yaml").write_text(FILLED)
    numbers, filled = published.fill([tmp_path / "my.yaml"])
    assert filled == {"re-identification on Market-1501"}
    assert [(c.model, c.metric, c.value, c.measured_as.method, c.measured_as.score) for c in numbers] == [
        ("original", "mAP", 81.0, "identity", "clear-anonymized.mAP"),
        ("original", "R1", 93.0, "identity", "clear-anonymized.rank-1"),
        ("DeepPrivacy2", "mAP", 5.0, "deepprivacy2", "clear-anonymized.mAP"),
    ]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("cells: re-", "cells: no-", "no table 'no-identification"),
        ("original:", "orignal:", "no row orignal"),
        ("R1:", "rank:", "no column rank"),
        ("tolerance: 1.0", "tolerance: 0", ":5: tables.0.tolerance"),
        ("mAP: 5.0", "mAP: much", ":8: tables.0.values.DeepPrivacy2.mAP"),
        ("mAP: 5.0", "mAP: 500.0", "500.0 percent is more than everything"),
    ],
)
def test_what_is_brought_is_validated(tmp_path, old, new, said):
    (tmp_path / "my.yaml").write_text(FILLED.replace(old, new, 1))
    with pytest.raises(ReportError) as caught:
        published.fill([tmp_path / "my.yaml"])
    assert said in str(caught.value)
