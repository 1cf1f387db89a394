"""dp2bench run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from dp2bench.core.results import Result
    from dp2bench.engine.executor import Executor
    from dp2bench.engine.store import Store
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
            help="Steps at once, each in a process of its own. [default: one per processor without a GPU, at most 8, as memory allows; with Ray as many "
            "as its machines have room for]",
            show_default=False,
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "auto",
    executor: Annotated[
        str, typer.Option(help="Where steps run: local, or ray for the machines of a Ray cluster.")
    ] = "local",
    address: Annotated[
        str,
        typer.Option(
            help="With Ray: address of its cluster; auto for this machine's, local for a new one here."
        ),
    ] = "auto",
    gpu_share: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="With Ray: GPUs per step, such as 0.5. [default: 1 on a GPU, else 0]",
            show_default=False,
        ),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            help="Folder or URL (s3://bucket/folder) for finished steps; machines may share it. [default: DP2BENCH_STORE, or in the cache]",
            show_default=False,
        ),
    ] = None,
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
    takes seconds. Machines that share a store share their steps.

    Exit code 1 when a result failed, 2 when datasets or weights are not there: all of them are listed before any work.

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
        cluster=_cluster(executor, address, gpu_share),
        store_at=store,
        every_table=every_table,
        allow_missing=allow_missing,
    )


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster: its address, and the GPUs of a step, None for one where there are GPUs."""

    address: str
    gpu_share: float | None = None


def _cluster(executor: str, address: str, gpu_share: float | None) -> Cluster | None:
    from dp2bench.core.errors import Dp2benchError

    if executor not in {"local", "ray"}:
        raise Dp2benchError(f"There is no executor {executor!r}.", "Use --executor local or --executor ray.")
    return Cluster(address, gpu_share) if executor == "ray" else None


def execute_suite(
    suite: AnySuite,
    folder: Path,
    *,
    command: str,
    threads: int | None,
    device: str,
    workers: int | None = None,
    cluster: Cluster | None = None,
    store_at: str | None = None,
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
    from dp2bench.core.remote import without_password
    from dp2bench.engine.history import record
    from dp2bench.engine.run import run_suite
    from dp2bench.engine.store import open_store
    from dp2bench.reports.report import print_table, write_report
    from dp2bench.reports.terminal import print_overview

    console = Console()
    store = open_store(store_at)
    parts = [
        (name, {getattr(c, "label", c) for part in suite.parts for c in getattr(part, f"{name}s")})
        for name in ("method", "dataset", "task", "seed")
    ]
    summary = ", ".join(f"{len(items)} {name}{'s' if len(items) > 1 else ''}" for name, items in parts)
    with ExitStack() as connected:
        executor, threads, device = (
            _local(store, workers, threads, device)
            if cluster is None
            else _on_cluster(connected, cluster, store, workers, threads, device)
        )
        tell(
            console, f"{summary}; cache {without_password(store.place)}", label=f"{suite.name}:", style="bold"
        )
        observer = connected.enter_context(TerminalObserver(console))
        finished = run_suite(
            suite,
            folder,
            executor=executor,
            store=store,
            observer=observer,
            threads=threads,
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


def _local(store: Store, workers: int | None, threads: int | None, device: str) -> tuple[Executor, int, str]:
    """Who carries steps out on this machine, the threads of a step, and its device."""
    from dp2bench.core.machine import default_threads, default_workers, pick_device
    from dp2bench.engine.executor import LocalExecutor

    device, processors = pick_device(device), default_threads()
    workers = workers or (default_workers() if device == "cpu" else 1)
    return LocalExecutor(store, workers), threads or max(1, processors // workers), device


def _on_cluster(
    connected: ExitStack,
    cluster: Cluster,
    store: Store,
    workers: int | None,
    threads: int | None,
    device: str,
) -> tuple[Executor, int, str]:
    """Who carries steps out on a cluster, the threads of a step, and its device."""
    from dp2bench.engine.ray_executor import RayExecutor

    executor = RayExecutor(store, cluster.address, workers, threads or 1)
    connected.enter_context(executor)
    device = executor.device(device)
    share = cluster.gpu_share
    executor.gpu_share = (1.0 if device != "cpu" else 0.0) if share is None else share
    return executor, threads or 1, device


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
