"""Result files of earlier schema versions, brought to the next one as plain JSON values."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from dp2bench.core.renames import current_name

_SIZES = ("small", "medium", "large")
_SUBSETS = frozenset({*_SIZES, "face", "person", "person_with_surface"})
_CLASSES = frozenset({"person", "rider"})
_COCO_SIZES = {"s": "small", "m": "medium", "l": "large"}
_BY_SIZE = {"kind": "subsets", "title": "By the size of people", "subsets": _SIZES, "x": "size of the person"}
_SCENARIO = re.compile(r"(clear|anonymised)-(clear|anonymised)")


def first_names(name: str) -> tuple[str, str, str]:
    """Scenario, metric and subset of a score of schema 1, which hid them in its name.

    ``clear-anonymised.mAP``, ``crops.fid``, ``found.small``, ``seconds.12``, ``clear.person.AP`` and ``APm`` are all of its forms.
    """
    parts = [part for part in name.replace("anonymised", "anonymized").split(".") if part] or [name]
    metric, subset = parts.pop(), ""
    if parts and (metric in _SUBSETS or metric.isdigit()):
        metric, subset = parts.pop(), metric
    elif parts and parts[-1] in _CLASSES:
        subset = parts.pop()
    elif re.fullmatch("A[PR][sml]", metric):
        metric, subset = metric[:2], _COCO_SIZES[metric[2]]
    return ".".join(parts), metric, subset


def first_name(name: str) -> str:
    """The present name of a score of schema 1."""
    return ".".join(filter(None, first_names(name)))


def _spelled(value: Any) -> Any:
    """Settings, with the scenarios' names as they are spelled today."""
    if isinstance(value, dict):
        return {key: _spelled(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_spelled(item) for item in value]
    if isinstance(value, str) and _SCENARIO.fullmatch(value):
        return value.replace("anonymised", "anonymized")
    return value


def _from_first(value: dict[str, Any]) -> dict[str, Any]:
    """Schema 1: names that hide scenario and subset, unit and direction on each score."""
    value = {**value, "schema_version": 2}
    if isinstance(value.get("main_score"), str):
        value["main_score"] = first_name(value["main_score"])
    if isinstance(value.get("coverage"), dict):
        renamed = {"anonymised": "anonymized", "unfound": "undetected"}
        value["coverage"] = {renamed.get(key, key): item for key, item in value["coverage"].items()}
    for owner, keys in (
        ("spec", ("dataset_arguments", "task_arguments")),
        ("provenance", ("arguments_passed", "arguments_effective")),
    ):
        if isinstance(value.get(owner), dict):
            spelled = {key: _spelled(value[owner][key]) for key in keys if key in value[owner]}
            value[owner] = {**value[owner], **spelled}
    if isinstance(value.get("spec"), dict) and isinstance(value["spec"].get("detector"), str):
        value["spec"]["detector"] = current_name("detectors", value["spec"]["detector"])
    if not isinstance(value.get("scores"), list):
        return value
    metrics: dict[str, dict[str, Any]] = {}
    scores = []
    for score in value["scores"]:
        if not isinstance(score, dict) or not isinstance(score.get("name"), str):
            scores.append(score)  # for the schema to complain about
            continue
        own = {key: item for key, item in score.items() if key not in ("name", "unit", "higher_is_better")}
        declared = {key: score[key] for key in ("unit", "higher_is_better") if key in score}
        scenario, metric, subset = first_names(score["name"])
        if metrics.setdefault(metric, declared) != declared:
            # two scores that share a metric's name and nothing else
            scenario, metric, subset = "", first_name(score["name"]), ""
            metrics[metric] = declared
        scores.append({**own, "scenario": scenario, "metric": metric, "subset": subset})
    scenarios = {s["scenario"] for s in scores if isinstance(s, dict) and s.get("scenario")}
    control = "clear-clear" if "clear-clear" in scenarios else ""
    value["scores"] = scores
    value["metrics"] = metrics
    value["scenarios"] = {
        name: {"clear_only": True} if set(name.split("-")) == {"clear"} else {"control": control}
        for name in sorted(scenarios)
    }
    sized = [s["metric"] for s in scores if isinstance(s, dict) and s.get("subset") in _SIZES]
    if sized:
        value["figures"] = [{**_BY_SIZE, "metrics": list(dict.fromkeys(sized))}]
    return value


UPGRADES: Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _from_first}
"""From a schema version to the next. Samples of every version lie in tests/data/results and stay readable."""
