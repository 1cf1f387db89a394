"""dp2bench plan."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from dp2bench.engine.cost import Work
    from dp2bench.engine.missing import Requirements


def plan(
    suite: Annotated[
        str, typer.Argument(help="A shipped suite (`dp2bench list suites`) or the path of a YAML file.")
    ] = "paper",
    data_root: Annotated[Path | None, typer.Option(help="Folder of the datasets that you bring.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: every row, file and step.")] = False,
) -> None:
    """Say what a suite needs and costs, before anything runs.

    Prints rows by dataset, files that are there or missing, disk space, and
    estimated hours on one GPU, for several kinds of GPU. Nothing is run or
    downloaded.

    Example: dp2bench plan paper --data-root /data
    """
    from rich.console import Console

    from dp2bench.engine import cost, missing
    from dp2bench.engine import suite as suites

    asked = suites.load(suite)
    needed = missing.check(asked, data_root)
    steps = cost.work(needed.cells)
    if as_json:
        typer.echo(json.dumps(_as_json(asked.name, needed, steps), indent=1))
        return
    console = Console()
    _print_rows(console, needed, steps)
    _print_files(console, needed)


def _print_rows(console: Console, needed: Requirements, steps: Sequence[Work]) -> None:
    from rich.table import Table

    from dp2bench.cli.terminal import tell
    from dp2bench.engine import cost

    table = Table(box=None, pad_edge=False)
    table.add_column("dataset")
    for title in ("rows", "absent", "disk"):
        table.add_column(title, justify="right", no_wrap=True)
    for gpu in cost.GPUS:
        table.add_column(gpu, justify="right", no_wrap=True)
    labels = list(dict.fromkeys(c.dataset.label for c in needed.cells))
    for label in [*labels, "together"] if len(labels) > 1 else labels:
        mine = [s for s in steps if label in (s.dataset, "together")]
        rows = [c for c in needed.cells if label in (c.dataset.label, "together")]
        absent = sum((c.dataset.label, c.method.label, c.task.label) in needed.reasons for c in rows)
        known = bool(mine)
        table.add_row(
            label,
            str(len(rows)),
            str(absent),
            _gigabytes(sum(s.gigabytes for s in mine)) if known else "?",
            *(_hours(sum(s.hours(gpu) for s in mine)) if known else "?" for gpu in cost.GPUS),
        )
    console.print(table)
    tell(console, "")
    console.print(cost.HOW, highlight=False)
    if strange := cost.unknown(needed.cells):
        tell(console, f"Not counted, because their cost is unknown: {', '.join(strange)}.")


def _print_files(console: Console, needed: Requirements) -> None:
    from rich.table import Table
    from rich.text import Text

    from dp2bench.cli.terminal import tell

    tell(console, "")
    if not needed.missing:
        tell(console, "Every file is there.", style="green")
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("missing", overflow="fold", max_width=30)
    table.add_column("size", overflow="fold", max_width=22)
    table.add_column("licence", overflow="fold")
    for one in needed.missing:
        table.add_row(*map(Text, (one.name, one.size or "not stated", one.licence)))
    console.print(table)
    tell(console, "")
    console.print(Text(needed.error("").remedy))


def _gigabytes(amount: float) -> str:
    return f"{amount:.0f} GB" if amount >= 10 else f"{amount:.1f} GB"


def _hours(amount: float) -> str:
    return f"{amount:.0f} h" if amount >= 10 else f"{amount:.1f} h"


def _as_json(name: str, needed: Requirements, steps: Sequence[Work]) -> dict[str, Any]:
    from dataclasses import asdict

    from dp2bench.engine import cost

    return {
        "suite": name,
        "rows": [
            {
                "dataset": c.dataset.label,
                "method": c.method.label,
                "task": c.task.label,
                "detector": c.detector,
                "absent": needed.reasons.get((c.dataset.label, c.method.label, c.task.label)),
            }
            for c in needed.cells
        ],
        "missing": [asdict(m) for m in needed.missing],
        "steps": [{**asdict(s), "hours": {gpu: round(s.hours(gpu), 3) for gpu in cost.GPUS}} for s in steps],
        "how": cost.HOW,
    }
