"""The rooms of the house and who may use whom: read from the imports, wherever they stand."""

import runpy
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from dp2bench.engine.imports import imports_of

PLAN = runpy.run_path(str(Path(__file__).resolve().parents[1] / "docs" / "architecture.py"))
MODULES = PLAN["modules"]()
room, ARROWS = PLAN["room"], PLAN["ARROWS"]


def test_every_room_is_in_the_plan():
    assert {room(m) for m in MODULES} <= {*ARROWS}
    assert {*ARROWS} == {*PLAN["ROOMS"]} == {name for level in PLAN["LEVELS"] for name in level}


@pytest.mark.parametrize("name", sorted(ARROWS))
def test_arrows(name):
    wrong = [
        f"{module}:{i.line} imports {i.module}"
        for module, i in PLAN["imports_across"]()
        if room(module) == name and room(i.module) not in ARROWS[name]
    ]
    assert not wrong, "\n".join(wrong)


def test_no_circles_even_through_imports_inside_functions():
    names = set(MODULES)
    graph = {
        m: {i.module for i in imports_of(m) if i.module in names and i.moment != "typing"} - {m}
        for m in MODULES
    }
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_the_drawing_is_that_of_the_imports():
    assert PLAN["DRAWING"].read_text("utf-8") == PLAN["draw"](), "run python docs/architecture.py"
