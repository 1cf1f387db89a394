"""dp2bench list."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer


class What(str, Enum):
    """What can be listed."""

    methods = "methods"
    tasks = "tasks"
    datasets = "datasets"
    detectors = "detectors"
    attacks = "attacks"
    templates = "templates"
    suites = "suites"


def list_(what: Annotated[What, typer.Argument(help="What to list.")]) -> None:
    """List the methods, tasks, datasets, detectors, attacks, surface templates or suites that are installed."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from dp2bench.core import registry
    from dp2bench.core.errors import PluginError

    table = Table("name", "what it is", box=None, pad_edge=False)
    if what is What.suites:
        from dp2bench.engine import suite as suites

        for name in suites.names():
            table.add_row(name, suites.load(name).description.strip())
    else:
        kind: registry.Kind = what.value
        for name in registry.names(kind):
            try:
                table.add_row(name, escape(registry.describe(kind, name)))
            except PluginError as error:
                table.add_row(name, f"[red]broken:[/] {escape(error.problem)}")
    Console().print(table)
