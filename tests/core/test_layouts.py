"""The groups of layouts that tasks name: each is a registered dataset's."""

from __future__ import annotations

import pytest

from dp2bench.core import layouts, registry


@pytest.fixture(scope="module")
def registered():
    return {registry.layout(name) for name in registry.names("datasets")}


@pytest.mark.parametrize("group", ["REID", "CROPS", "SCENES", "ONE_PERSON", "PICTURES"])
def test_every_name_is_a_registered_layout(group, registered):
    assert set(getattr(layouts, group)) <= registered


def test_every_layout_of_pictures_is_in_a_group(registered):
    assert registered - set(layouts.PICTURES) == {"video", "coco-cse"}  # videos; surfaces alone


def test_tasks_name_registered_layouts(registered):
    for name in registry.names("tasks"):
        assert set(registry.layouts(name)) <= registered, name
