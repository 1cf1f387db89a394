from __future__ import annotations

import pytest

from dp2bench.reports import published_comparison
from dp2bench.reports.load import load_report
from dp2bench.reports.report import write_report
from dp2bench.tasks.cityscapes_instances import CityscapesInstances
from dp2bench.tasks.coco_keypoints import CocoKeypoints

from .declared import declarations


def market(result, model="osnet_x1_0", value=0.825):
    spec = result.spec.model_copy(update={"dataset": "market1501"})
    provenance = result.provenance.model_copy(update={"arguments_effective": {"model": model}})
    scores = tuple(
        s.model_copy(update={"value": value, "ci95": (value - 0.01, value + 0.01)})
        if s.name == "clear-clear.mAP"
        else s
        for s in result.scores
    )
    return result.model_copy(update={"spec": spec, "provenance": provenance, "scores": scores})


def test_ours_stands_beside_the_published_number_of_the_same_model_and_data(tmp_path, make, write):
    numbers, absent = published_comparison.published(
        [market(make("blur")), market(make("identity"), value=0.70), make("mask-out")]
    )
    assert absent
    measured = [n for n in numbers if n.ours]
    assert [(n.control.model, n.control.metric) for n in measured] == [("osnet_x1_0", "mAP")]
    assert measured[0].text == "82.5 [81.5, 83.5], agrees; 70.0 [69.0, 71.0], differs"
    assert "not measured" in {n.text for n in numbers}
    run = write(tmp_path / "run", [market(make("blur"))], pictures=False)
    (text,) = write_report(run, formats=["md"])
    assert "## Published numbers" in text.read_text()
    assert (
        "| osnet\\_x1\\_0 | market1501 | mAP | 82.6 ± 0.3 | 82.5 [81.5, 83.5], agrees |" in text.read_text()
    )
    (page,) = write_report(run, formats=["html"])
    assert "1 of the" in page.read_text()


WHOLE = {"model": "mask-rcnn", "iterations": 24_000, "batch_size": 8}


@pytest.mark.parametrize(
    ("task", "dataset", "arguments", "value", "published"),
    [
        (CocoKeypoints, "coco", {"model": "keypoint-rcnn"}, 0.641, ["keypoint_rcnn_R_50_FPN_1x", "keypoint AP", "agrees"]),
        (CocoKeypoints, "coco", {"model": "keypoint-rcnn", "iterations": 270_000}, 0.641, ["keypoint_rcnn_R_50_FPN_3x", "keypoint AP", "differs"]),
        (CocoKeypoints, "coco", {"model": "small"}, 0.641, None),
        (CityscapesInstances, "cityscapes", WHOLE, 0.36, None),
        (CityscapesInstances, "cityscapes", WHOLE | {"start_weights": "coco.pth"}, 0.36, ["mask_rcnn_R_50_FPN", "mask AP", "agrees"]),
        (CityscapesInstances, "cityscapes", {"model": "mask-rcnn", "iterations": 100, "batch_size": 8}, 0.36, None),
    ],
)  # fmt: skip
def test_downstream_tasks_meet_their_controls(
    make, tmp_path, monkeypatch, task, dataset, arguments, value, published
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "coco.pth").write_bytes(b"weights")
    result = make("blur")
    provenance = result.provenance.model_copy(
        update={"arguments_effective": dict(task(**arguments).arguments)}  # what a run writes
    )
    score = result.scores[0].model_copy(
        update={"scenario": "clear", "metric": "AP", "value": value, "ci95": None}
    )
    spec = result.spec.model_copy(update={"dataset": dataset})
    ours = result.model_copy(
        update={"spec": spec, "provenance": provenance, "scores": (score,), **declarations([score])}
    )
    measured = [n for n in published_comparison.published([ours])[0] if n.ours]
    assert [
        [n.control.model, n.control.metric, n.text.rpartition(", ")[2]] for n in measured
    ] == ([published] if published else [])  # fmt: skip


def test_without_a_match_nothing_is_claimed(tmp_path, make, write):
    run = write(tmp_path / "run", [make("blur")], pictures=False)
    assert not any(n.ours for n in published_comparison.published(load_report([run]).results)[0])
    (text,) = write_report(run, formats=["md"])
    assert "Published numbers" not in text.read_text()
