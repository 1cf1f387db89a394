"""dp2bench run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from dp2bench.core.results import Result
    from dp2bench.engine.suite import AnySuite


def run(
    suite: Annotated[
        str, typer.Argument(help="A shipped suite (`dp2bench list suites`) or the path of a YAML file.")
    ] = "mini",
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for results and report. [default: dp2bench-runs/<suite>]", show_default=False
        ),
    ] = None,
    data_root: Annotated[
        Path | None, typer.Option(help="Where the datasets lie that you bring (Market-1501, ...).")
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Processor threads of a step. [default: all this process may use, shared among workers]",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Steps at once, each in a process of its own. [default: 2 without a GPU, where there are 2 processors]",
            show_default=False,
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "auto",
    every_table: Annotated[
        bool,
        typer.Option("--all", help="Print every table, not the overview alone; the report has them all."),
    ] = False,
    allow_missing: Annotated[
        bool,
        typer.Option(
            "--allow-missing",
            help="Run what can be run; rows whose data or weights are missing stay absent, with the reason.",
        ),
    ] = False,
) -> None:
    """Run a suite: anonymize, attack, score, and print the overview.

    Finished steps are cached by content: stop with Ctrl-C and run the same command again to go on; run it twice and the second run
    takes seconds. Exit code 1 when a result failed, 2 when datasets or weights are not there: all of them are listed before any work.

    Example: dp2bench run smoke --out /tmp/smoke
    """
    from dp2bench.core.errors import Dp2benchError
    from dp2bench.engine import suite as suites

    specification = suites.load(suite)
    if data_root is not None and not data_root.is_dir():
        raise Dp2benchError(
            f"The folder {data_root} given as --data-root is not there.",
            "Give the folder that holds the dataset.",
        )
    execute_suite(
        specification,
        out or Path("dp2bench-runs") / specification.name,
        command=f"dp2bench run {suite}",
        data_root=data_root,
        threads=threads,
        workers=workers,
        device=device,
        every_table=every_table,
        allow_missing=allow_missing,
    )


def execute_suite(
    suite: AnySuite,
    folder: Path,
    *,
    command: str,
    threads: int | None,
    device: str,
    workers: int | None = None,
    data_root: Path | None = None,
    every_table: bool = False,
    why_missed: bool = False,
    allow_missing: bool = False,
) -> None:
    """Run a suite with progress, print its overview (or every table), write its report; typer.Exit(1) when a result failed.

    ``why_missed`` also prints why people count as failed open, for methods that are not the control.
    """
    from rich.console import Console

    from dp2bench.cli.progress import TerminalObserver
    from dp2bench.cli.terminal import tell
    from dp2bench.core.machine import default_threads, pick_device
    from dp2bench.engine.executor import LocalExecutor
    from dp2bench.engine.history import record
    from dp2bench.engine.run import run_suite
    from dp2bench.engine.store import Store
    from dp2bench.reports.report import print_table, write_report
    from dp2bench.reports.terminal import print_overview

    console = Console()
    store = Store()
    device = pick_device(device)
    processors = default_threads()
    workers = workers or (2 if device == "cpu" and processors > 1 else 1)
    parts = [
        (name, {getattr(c, "label", c) for part in suite.parts for c in getattr(part, f"{name}s")})
        for name in ("method", "dataset", "task", "seed")
    ]
    summary = ", ".join(f"{len(items)} {name}{'s' if len(items) > 1 else ''}" for name, items in parts)
    tell(console, f"{summary}; cache {store.root}", label=f"{suite.name}:", style="bold")
    with TerminalObserver(console) as observer:
        finished = run_suite(
            suite,
            folder,
            executor=LocalExecutor(store, workers),
            store=store,
            observer=observer,
            threads=threads or max(1, processors // workers),
            device=device,
            command=command,
            data_root=data_root,
            prepare_progress=observer.progress("prepare data"),
            allow_missing=allow_missing,
        )
    if observer.reused:
        console.print(f"[dim]{observer.reused} finished steps reused[/]")
    print_overview(finished.results, console)
    if every_table:
        print_table(finished.results, console, command)
    if why_missed:
        _print_reasons(console, finished.results)
    tell(console, f"Report: {write_report(folder)[0].parent}")
    if warning := record(finished.results):
        tell(console, warning, label="Not recorded in the history:", style="yellow")
    absent = Counter(r.error.message for r in finished.results if r.status == "skipped" and r.error)
    for reason, count in absent.items():
        tell(console, reason, label=f"{count} row{'s' if count > 1 else ''} absent:", style="yellow")
    if finished.failed:
        for result in finished.results:
            if result.error and result.status == "error":
                where = f"{result.spec.method} / {result.spec.dataset} / {result.spec.task}"
                tell(console, result.error.message, label=f"{where}:", style="red")
        raise typer.Exit(1)


def _print_reasons(console: Console, results: Sequence[Result]) -> None:
    """Why people count as failed open, once for each method and dataset."""
    from dp2bench.cli.terminal import tell

    said: set[tuple[str, str, str]] = set()
    for result in results:
        reasons = result.coverage.missed_reasons if result.coverage else {}
        for reason, count in reasons.items():
            key = (result.spec.method, result.spec.dataset, reason)
            if result.spec.method != "identity" and key not in said:
                said.add(key)
                tell(
                    console,
                    f"{count} people of {key[1]}: {reason}",
                    label=f"{key[0]}, failed open:",
                    style="red",
                )
