"""dp2bench rehearse."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from dp2bench.core.results import Result
    from dp2bench.engine.suite import AnySuite


def rehearse(
    suite: Annotated[
        str, typer.Argument(help="A suite that needs data or weights (`dp2bench list suites`).")
    ] = "paper",
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for everything. [default: dp2bench-runs/rehearsal-of-<suite>]", show_default=False
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Steps at once. [default: one per processor without a GPU, as memory allows]",
            show_default=False,
        ),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the random weights (3 GB for `paper`) and finished steps.")
    ] = False,
) -> None:
    """Run a whole suite on tiny data and random weights, before anybody has the real ones.

    Makes datasets of a few synthetic pictures in the exact official layouts,
    and random weights in files of the official names and shapes. Then runs
    every row of the suite twice, with schedules cut to seconds, checks that
    each missing file is named, and writes every report. The numbers mean
    nothing; what counts is that every row runs on this machine. After a stop,
    the same command goes on.

    Example: dp2bench rehearse market1501
    """
    from rich.console import Console

    from dp2bench.cli.run import execute_suite
    from dp2bench.core.errors import SuiteError
    from dp2bench.engine import missing
    from dp2bench.engine import suite as suites
    from dp2bench.rehearsal import datasets, weights
    from dp2bench.rehearsal.suites import cut

    asked = suites.load(suite)
    brought = [d for part in asked.parts for d in part.datasets if d.name in datasets.BUILDERS]
    if len(brought) < sum(len(part.datasets) for part in asked.parts):
        raise SuiteError(
            f"The suite {asked.name} has datasets that are not brought: it needs no rehearsal.",
            f"Rehearse one of {', '.join(datasets.BUILDERS)}, or paper.",
        )
    rehearsed = cut(asked)
    folder = out or Path("dp2bench-runs") / rehearsed.name
    console = Console()
    _use(folder)
    data = folder / "data"
    if not data.is_dir():
        needed = missing.check(rehearsed, None)
        _said(console, len(needed.missing), "files are listed as missing, each with its command", folder)
    for dataset in brought:
        if not (data / dataset.name).is_dir():
            partial = data / f"{dataset.name}.partial"
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            datasets.BUILDERS[dataset.name](partial)
            partial.rename(data / dataset.name)
    _said(console, len(brought), "datasets in their official layouts", data)
    with console.status("random weights in the official files"):
        weights.write([m.name for m in missing.check(rehearsed, data).missing])
        names = weights.written()
    if not names:
        raise SuiteError("The rehearsal wrote no weights, so that none can be missing.", "Report this.")
    _said(console, len(names), "files of random weights", folder / "weights")
    if still := missing.check(rehearsed, data).missing:
        raise SuiteError(f"A rehearsal cannot make {', '.join(m.name for m in still)}.", "Report this.")

    def run() -> Sequence[Result]:
        execute_suite(
            rehearsed,
            folder / "run",
            command=f"dp2bench rehearse {suite}",
            threads=None,
            device="auto",
            workers=workers,
            data_root=data,
        )
        return _results(folder / "run")

    results = run()
    _said(console, len(results), "rows, none failed", folder / "run")
    before = _bytes(folder / "run")
    run()
    if _bytes(folder / "run") != before:
        raise SuiteError("The same run wrote other results.", "Report this.")
    _said(console, len(before), "results have the same bytes when it is run again", folder / "run")
    _without_a_file(console, rehearsed, data, names, results)
    _reports(console, folder / "run", results)
    if not keep:
        for name in ("weights", "cache"):
            shutil.rmtree(folder / name, ignore_errors=True)


def _use(folder: Path) -> None:
    """Keep the rehearsal's weights, steps and history apart from the user's."""
    for variable, name in (
        ("DP2BENCH_WEIGHTS", "weights"),
        ("DP2BENCH_CACHE", "cache"),
        ("DP2BENCH_HISTORY", "history.sqlite"),
    ):
        os.environ[variable] = str((folder / name).resolve())


def _said(console: Console, count: int, what: str, where: Path) -> None:
    from dp2bench.cli.terminal import tell

    tell(console, f"{count} {what} ({where})", label="ok:", style="green")


def _results(folder: Path) -> Sequence[Result]:
    from dp2bench.reports.load import load_run

    return load_run(folder).results


def _bytes(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted((folder / "results").rglob("*.json"))}


def _without_a_file(
    console: Console, suite: AnySuite, data: Path, names: Sequence[str], whole: Sequence[Result]
) -> None:
    """Take each file of weights away in turn: it alone is named, and the rows that need it are absent."""
    from dp2bench.core.errors import SuiteError
    from dp2bench.engine import missing
    from dp2bench.weights import catalogue

    for name in names:
        path = catalogue.installed(name)
        if path is None:
            raise SuiteError(f"The random weights {name} are gone.", "Delete the folder and rehearse again.")
        aside = path.with_name(f"{path.name}.aside")
        path.rename(aside)
        try:
            needed = missing.check(suite, data)
        finally:
            aside.rename(path)
        said = str(needed.error(suite.name)) if needed.missing else ""
        if (
            [m.name for m in needed.missing] != [name]
            or f"weights fetch {name}" not in said
            or not needed.reasons
        ):
            raise SuiteError(
                f"Without {name}, this was said to be missing: {said or 'nothing'}.", "Report this."
            )
        if len(needed.cells) != len(whole):
            raise SuiteError(
                f"Without {name}, {len(needed.cells)} rows are known of {len(whole)}.", "Report this."
            )
    _said(console, len(names), "files taken away, each in turn: it is named, with its command and rows", data)


def _reports(console: Console, folder: Path, results: Sequence[Result]) -> None:
    from dp2bench.core.errors import SuiteError
    from dp2bench.reports.report import write_report

    written = write_report(folder)
    if not {"methods.tex", "references.bib", "licences.md"} <= {path.name for path in written}:
        raise SuiteError(f"{folder / 'report'} lacks files for a publication.", "Report this.")
    methods = {r.spec.method for r in results}
    for path in written:
        if path.stem == "report":
            text = path.read_text("utf-8")
            if lacking := sorted(m for m in methods if m not in text):
                raise SuiteError(f"{path} lacks the rows {', '.join(lacking)}.", "Report this.")
    _said(console, len(written), "files of the report have every row", folder / "report")
