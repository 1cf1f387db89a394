"""dp2bench anonymize."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def anonymize(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="IN", help="A picture, a folder of pictures, or a dataset's folder (with --dataset)."
        ),
    ],
    target: Annotated[
        Path,
        typer.Argument(
            metavar="OUT",
            help="Where the anonymised picture, folder or dataset goes. Must not exist yet as a folder with files.",
        ),
    ],
    method: Annotated[
        str,
        typer.Option("--method", "-m", help="A method (`dp2bench list methods`) or package.module:Class."),
    ],
    detector: Annotated[
        str, typer.Option(help="Who finds the people (`dp2bench list detectors`).")
    ] = "whole-picture",
    dataset: Annotated[
        str | None,
        typer.Option(help="Read IN as this dataset, e.g. market1501, and write the same layout."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of random methods.")] = 0,
) -> None:
    """Anonymise a picture, a folder, or a dataset.

    Files that are no picture are reported and left out, never copied through. Exit code 1 when anything was left out or anybody missed.

    Example: dp2bench anonymize photos/ anonymised/ --method blur
    """
    from rich.console import Console

    from dp2bench.cli.progress import TerminalObserver
    from dp2bench.core import registry
    from dp2bench.core.errors import Dp2benchError
    from dp2bench.datasets.folder import Folder
    from dp2bench.engine.anonymise import anonymise_dataset

    console = Console()
    if not source.exists():
        raise Dp2benchError(f"{source} is not there.", "Give the path of a picture or a folder.")
    if target.resolve() == source.resolve():
        raise Dp2benchError(
            f"IN and OUT are the same: {source}.", "Choose another OUT; originals are never overwritten."
        )
    if source.is_dir() and target.resolve().is_relative_to(source.resolve()):
        raise Dp2benchError(
            f"OUT ({target}) lies inside IN ({source}).",
            "Choose an OUT outside, or its pictures would be taken for input the next time.",
        )
    if target.is_dir() and source.is_dir() and any(target.iterdir()):
        raise Dp2benchError(
            f"The folder {target} is not empty.",
            "Choose a new folder, so that nothing of an earlier run is mixed in.",
        )
    if dataset:
        opened = registry.create("datasets", dataset, {"root": source})
        opened.verify()
    else:
        opened = Folder(source)
    how = registry.create("methods", method, {})
    who = registry.create("detectors", how.meta.detector or detector, {})
    with TerminalObserver(console) as observer:
        tally = anonymise_dataset(
            opened, who, how, target, seed, observer.progress(f"anonymise with {method}")
        )
    for problem in tally.unreadable:
        console.print(f"[yellow]left out:[/] {problem}", highlight=False, soft_wrap=True)
    coverage = tally.coverage()
    summary = (
        f"{coverage.pictures} pictures, {coverage.found} people found by {who.meta.name}, {coverage.anonymised} anonymised, "
        f"{coverage.missed} missed; {coverage.pictures_without_detection} pictures without anybody found, "
        f"{coverage.unreadable} files left out."
    )
    console.print(summary, highlight=False, soft_wrap=True)
    for reason, count in coverage.missed_reasons.items():
        console.print(f"[red]missed:[/] {count} people: {reason}", highlight=False, soft_wrap=True)
    if coverage.unreadable or coverage.missed:
        raise typer.Exit(1)
