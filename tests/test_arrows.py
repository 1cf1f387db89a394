"""The rooms of the house and who may use whom: read from the imports, wherever they stand."""

from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from pkgutil import walk_packages

import pytest

import dp2bench
from dp2bench.engine.imports import imports_of

ARROWS = {
    "core": set(),
    "networks": {"core"},
    "weights": {"core"},
    "inpainting": {"core"},
    "metrics": {"core", "networks"},
    "datasets": {"core", "inpainting"},
    "detection": {"core", "networks", "weights", "inpainting", "metrics"},
    "deepprivacy2": {"core", "networks", "weights", "inpainting", "metrics", "datasets", "detection"},
    "attacks": {"core", "networks", "weights", "metrics", "datasets", "detection", "inpainting"},
    "downstream": {"core", "networks", "weights", "metrics", "datasets"},
    "pipelines": {"core", "datasets", "detection", "inpainting", "metrics"},
    "engine": {"core", "metrics", "pipelines"},
    "baselines": {"core", "inpainting"},
    "reports": {"core"},
    "suites": set(),
}
"""What each room may import. `cli` may import everything; `tasks` everything but it, the engine and the reports."""
BELOW_TASKS = {*ARROWS} - {"engine", "baselines", "reports", "suites"}


def modules() -> list[str]:
    import_module("dp2bench.tasks")
    found = [m.name for m in walk_packages(dp2bench.__path__, "dp2bench.")]
    mapped = ["tasks", "baselines", "reports", "suites"]
    for name in mapped:  # in a development install these folders lie elsewhere
        package = import_module(f"dp2bench.{name}")
        found += [f"dp2bench.{name}", *(m.name for m in walk_packages(package.__path__, f"dp2bench.{name}."))]
    return sorted({m for m in found if not m.endswith("__main__") and "migrations" not in m})


def room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[0] == "dp2bench" else ""


MODULES = modules()


def test_all_rooms_are_known():
    assert {room(m) for m in MODULES} == {*ARROWS, "tasks", "cli", "api"} - (
        {"api"} - {room(m) for m in MODULES}
    )


@pytest.mark.parametrize("name", sorted({room(m) for m in MODULES} - {"cli", "api"}))
def test_arrows(name):
    allowed = {name, "", *(BELOW_TASKS if name == "tasks" else ARROWS[name])}
    wrong = [
        f"{module}:{i.line} imports {i.module}"
        for module in MODULES
        if room(module) == name
        for i in imports_of(module)
        if i.module.startswith("dp2bench.") and room(i.module) not in allowed
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
