"""Scores with their values, results with what their task declares, and results of every earlier schema."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp2bench.core.contracts import RunContext
from dp2bench.core.errors import ResultError
from dp2bench.core.results import Metric, Result, Scenario, Score, read_result, score_name
from dp2bench.core.upgrades import first_name, first_names

SAMPLES = Path(__file__).resolve().parents[1] / "data" / "results"


@pytest.fixture
def context(tmp_path):
    return RunContext(seed=0, trained={}, artefacts=tmp_path)


def test_one_call_records_a_score_and_the_values_behind_it(context):
    score = context.record("AP", {"b": 0.5, "a": 0.25}, scenario="clear", subset="small", chance=0.1)
    assert (score.name, score.value, score.n, score.chance) == ("clear.AP.small", 0.375, 2, 0.1)
    assert context.scores == [score]
    assert context.units == {"clear.AP.small": {"b": 0.5, "a": 0.25}}
    pseudo = context.record("AP", {"a": 0.5, "b": 0.7}, value=0.61, n=9)
    assert (pseudo.name, pseudo.value, pseudo.n) == ("AP", 0.61, 9)
    bare = context.record("fid", value=3.0, n=40, ci95=(2.0, 4.0), p_value=0.5, lift=0.2, chance_high=0.3)
    assert "fid" not in context.units
    assert (bare.ci95, bare.p_value, bare.lift, bare.chance_high) == ((2.0, 4.0), 0.5, 0.2, 0.3)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "neither units nor a value"),
        ({"units": {}}, "neither units nor a value"),
        ({"value": 1.0}, "say n"),
        ({"units": {"a": float("nan")}, "value": 1.0}, "not finite"),
        ({"units": {"a": float("inf")}}, "finite"),
        ({"value": 1.0, "n": 1, "p_value": 2.0}, "p_value"),
        ({"value": 1.0, "n": 1, "lift": float("inf")}, "finite"),
    ],
)
def test_what_cannot_be_recorded(context, given, message):
    with pytest.raises(ValueError, match=message):
        context.record("m", **given)
    assert context.scores == []
    assert context.units == {}


def test_nothing_is_recorded_twice(context):
    context.record("m", value=1.0, n=1, scenario="a")
    with pytest.raises(ValueError, match=r"a\.m is recorded twice"):
        context.record("m", value=1.0, n=1, scenario="a")


def result(*scores: Score, **given) -> Result:
    spec = {"method": "blur", "dataset": "d", "task": "t", "detector": "annotations", "seeds": [0]}
    metrics = {s.metric: Metric(higher_is_better=False) for s in scores}
    return Result.model_validate(
        {"run_id": "r", "spec": spec, "status": "ok", "scores": scores, "metrics": metrics} | given
    )


def test_a_result_declares_every_metric_it_holds():
    with pytest.raises(ValueError, match="'m' of 's.m' is not declared"):
        result(Score(metric="m", scenario="s", value=1, n=1), metrics={})


def test_the_control_is_the_main_metric_of_the_declared_scenario():
    scores = [
        Score(metric=metric, scenario=scenario, value=0.5, n=1)
        for scenario in ("clear-clear", "clear-anonymized", "other")
        for metric in ("mAP", "rank-1")
    ]
    declared = {
        "clear-clear": Scenario(clear_only=True),
        "clear-anonymized": Scenario(control="clear-clear"),
    }
    one = result(*scores, scenarios=declared, main_score="clear-anonymized.mAP")
    control = one.control(one.score("clear-anonymized.rank-1"))
    assert control is not None
    assert control.name == "clear-clear.mAP"
    assert one.control(one.score("clear-clear.mAP")) is None
    assert one.control(one.score("other.mAP")) is None
    assert [s.name for s in one.scores if one.clear_only(s)] == ["clear-clear.mAP", "clear-clear.rank-1"]
    assert one.main == one.score("clear-anonymized.mAP")
    with pytest.raises(KeyError, match=r"other\.mAP"):
        one.score("absent")


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("clear-anonymised.mAP", ("clear-anonymized", "mAP", "")),
        ("anonymised-anonymised.rank-10", ("anonymized-anonymized", "rank-10", "")),
        ("AP", ("", "AP", "")),
        ("APm", ("", "AP", "medium")),
        ("difference.ARl", ("difference", "AR", "large")),
        ("person.AP", ("", "AP", "person")),
        ("clear.rider.AP50", ("clear", "AP50", "rider")),
        ("AP50.small", ("", "AP50", "small")),
        ("anonymised.small", ("", "anonymized", "small")),
        ("share.person_with_surface", ("", "share", "person_with_surface")),
        ("crops.kd_efficientnet", ("crops", "kd_efficientnet", "")),
        ("seconds.12", ("", "seconds", "12")),
        ("seconds_per_person", ("", "seconds_per_person", "")),
        ("found", ("", "found", "")),
        ("a.b.c", ("a.b", "c", "")),
    ],
)
def test_names_of_schema_1_are_taken_apart(name, fields):
    assert first_names(name) == fields


@given(st.text(st.sampled_from("abAPm.1-_"), min_size=1, max_size=12))
def test_a_name_is_taken_apart_once(name):
    scenario, metric, subset = first_names(name)
    assert first_name(name) == score_name(metric, scenario, subset)
    assert first_name(first_name(name)) == first_name(name)


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("v1-*.json")), ids=lambda p: p.stem)
def test_schema_1_keeps_every_number_and_gets_its_declarations(path):
    old, new = json.loads(path.read_text("utf-8")), read_result(path.read_bytes(), path.name)
    assert new.main_score == "clear-anonymized.mAP"
    assert new.main is not None
    assert [s.name for s in new.scores] == [
        s["name"].replace("anonymised", "anonymized") for s in old["scores"]
    ]
    for before, after in zip(old["scores"], new.scores, strict=True):
        assert (before["value"], before["n"], before["chance"]) == (after.value, after.n, after.chance)
        assert tuple(before["ci95"]) == after.ci95
        assert tuple(before["per_seed"]) == after.per_seed
        assert new.metric(after) == Metric(higher_is_better=before["higher_is_better"], unit=before["unit"])
    assert [name for name, s in new.scenarios.items() if s.clear_only] == ["clear-clear"]
    assert new.control(new.main) == new.score("clear-clear.mAP")
    assert new.coverage is not None
    assert (new.coverage.anonymized, new.coverage.undetected) == (118, 0)
    assert new.provenance is not None
    assert new.provenance.arguments_effective["scenarios"] == [
        "clear-clear", "clear-anonymized", "anonymized-anonymized",
    ]  # fmt: skip
    again = read_result(new.to_json().encode(), "again")
    assert again == new


def first(**changes) -> bytes:
    value = json.loads((SAMPLES / "v1-first.json").read_text("utf-8"))
    return json.dumps(value | changes).encode()


def test_scores_of_schema_1_that_share_a_metrics_name_alone_keep_their_own_unit():
    common = {"n": 1, "value": 2.0, "higher_is_better": False}
    scores = [{"name": "a.m", "unit": "s", **common}, {"name": "b.m", "unit": "MiB", **common}]
    new = read_result(first(scores=scores, main_score="b.m"), "x")
    assert [(s.name, new.metric(s).unit) for s in new.scores] == [("a.m", "s"), ("b.m", "MiB")]


@pytest.mark.parametrize(
    "changes",
    [{"scores": [7]}, {"scores": [{"value": 1.0}]}, {"scores": 3}, {"spec": []}, {"coverage": 1}, {"provenance": "x"}],
)  # fmt: skip
def test_a_broken_file_of_schema_1_is_named(changes):
    with pytest.raises(ResultError, match=r"broken\.json"):
        read_result(first(**changes), "broken.json")
