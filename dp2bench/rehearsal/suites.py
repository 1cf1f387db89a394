"""Suites cut to seconds: every row stays, with schedules, sizes and numbers of a rehearsal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from dp2bench.engine.missing import REHEARSED
from dp2bench.engine.suite import AnySuite, Component, MethodChoice, Suite, SuiteSet

C = TypeVar("C", bound=Component)
_RCNN: Mapping[str, Any] = {
    "iterations": 2, "steps": [1], "warmup": 1, "batch_size": 2, "learning_rate": 1e-4, "sizes": [64], "largest": 112, "rois": 8, "detections": 4,
}  # fmt: skip
TASKS: Mapping[str, Mapping[str, Any]] = {
    "market1501-reid": {
        "epochs": 2, "batch_size": 4, "height": 64, "width": 32, "fixbase_epochs": 1, "permutations": 2,
    },
    "coco-keypoints": _RCNN,
    "cityscapes-instances": _RCNN,
    "image-quality": {"size": 32, "lpips_size": 32, "limit": 8, "paths": 2},
    "runtime": {"people": [1, 2], "repeats": 1},
}  # fmt: skip
"""Settings of tasks that a rehearsal has in place of a suite's, as far as the suite or the task has them."""
_SMALL: Mapping[str, Any] = {"short": 48, "long": 96}
DETECTORS: Mapping[str, Mapping[str, Any]] = {
    "deepprivacy2": {**_SMALL, "max_detections": 1, "face_arguments": {"long": 128}},
    "cse": {**_SMALL, "max_detections": 1},
    "dsfd": {"long": 128},
    "with-keypoints": {"arguments": {"long": 128}, "keypoints_arguments": _SMALL},
}
COUNTED = ("market1501", "coco", "cityscapes")
"""Datasets that compare their number of pictures with the published one unless they are told not to."""


_DESCRIPTION = "A rehearsal on a few made pictures, with random weights: its numbers mean nothing."


def cut(suite: AnySuite) -> AnySuite:
    """The suite as it is rehearsed: the same rows, named ``rehearsal-of-...``."""
    if isinstance(suite, SuiteSet):
        parts = tuple(_cut(part) for part in suite.parts)
        named = {"name": REHEARSED + suite.name, "description": _DESCRIPTION}
        return suite.model_copy(update={**named, "suites": parts})
    return _cut(suite)


def _cut(suite: Suite) -> Suite:
    return suite.model_copy(
        update={
            "name": REHEARSED + suite.name,
            "description": _DESCRIPTION,
            "seeds": suite.seeds[:1],
            "detector": _with(suite.detector, DETECTORS),
            "datasets": tuple(
                _given(d, {"official": False}) if d.name in COUNTED else d for d in suite.datasets
            ),
            "methods": tuple(_method(m) for m in suite.methods),
            "tasks": tuple(
                _with(t, TASKS).model_copy(update={"seeds": t.seeds and t.seeds[:1]}) for t in suite.tasks
            ),
        }
    )


def _method(method: MethodChoice) -> MethodChoice:
    if method.detector is None:
        return method
    return method.model_copy(update={"detector": _with(method.detector, DETECTORS)})


def _with(component: C, table: Mapping[str, Mapping[str, Any]]) -> C:
    return _given(component, table.get(component.name, {}))


def _given(component: C, more: Mapping[str, Any]) -> C:
    """The component with further arguments; mappings among them are added to those that are there."""
    arguments = dict(component.arguments)
    for key, value in more.items():
        before = arguments.get(key)
        arguments[key] = {**before, **value} if isinstance(before, Mapping) else value
    return component.model_copy(update={"arguments": arguments})
