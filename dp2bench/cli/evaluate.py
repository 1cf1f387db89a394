"""dp2bench evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    clear: Annotated[Path, typer.Option(help="The dataset's folder with the original pictures.")],
    anonymized: Annotated[
        Path, typer.Option(help="The same folder, anonymized by any tool, with the same file names.")
    ],
    task: Annotated[
        str, typer.Option("--task", "-t", help="A task (`dp2bench list tasks`).")
    ] = "market1501-reid",
    dataset: Annotated[
        str, typer.Option(help="How to read the folders (`dp2bench list datasets`).")
    ] = "market1501",
    label: Annotated[
        str | None,
        typer.Option(
            help="The method's name in the table. [default: the anonymized folder's name]", show_default=False
        ),
    ] = None,
    pattern: Annotated[
        str | None,
        typer.Option(
            help="How the tool renamed its pictures, with {stem}, {suffix} or {name} of the original: '{stem}_anonymized{suffix}', "
            "'{stem}.png'.",
            show_default=False,
        ),
    ] = None,
    detector: Annotated[
        str, typer.Option(help="Who finds the people that should be anonymized, for the coverage.")
    ] = "full-image",
    argument: Annotated[
        list[str] | None,
        typer.Option("--argument", "-a", help="A setting of the task, e.g. -a epochs=30; may be repeated."),
    ] = None,
    seeds: Annotated[str, typer.Option(help="Seeds, separated by commas.")] = "0",
    out: Annotated[Path, typer.Option(help="Folder for results and report.")] = Path(
        "dp2bench-runs/evaluate"
    ),
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Steps at once, each in a process of its own. [default: one per processor without a GPU, at most 8, as memory allows]",
            show_default=False,
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Processor threads of a step. [default: all this process may use, shared among workers]",
            show_default=False,
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "auto",
) -> None:
    """Score a folder that any other tool anonymized.

    Coverage is measured by comparing the two folders inside each person: somebody whose pixels look unchanged counts as failed open.

    A tool that renamed its pictures is told by --pattern.

    Example: dp2bench evaluate --clear Market-1501 --anonymized Market-1501-mine -a epochs=30
    """
    from dp2bench.cli.arguments import key_values
    from dp2bench.cli.run import execute_suite
    from dp2bench.engine.evaluation import suite_of_folders
    from dp2bench.engine.suite import label_of

    renamed = _by_original_names(clear, anonymized, pattern, out / "by-original-names")
    suite = suite_of_folders(
        clear,
        renamed,
        task=task,
        arguments=key_values("--argument", argument),
        dataset=dataset,
        detector=detector,
        seeds=_seeds(seeds),
        label=label if label or renamed == anonymized else label_of(anonymized),
    )
    execute_suite(
        suite,
        out,
        command=f"dp2bench evaluate --clear {clear} --anonymized {anonymized} --task {task}",
        threads=threads,
        workers=workers,
        device=device,
        why_missed=True,
    )


def _by_original_names(clear: Path, anonymized: Path, pattern: str | None, out: Path) -> Path:
    """The anonymized folder under the names of the clear one; an error that names the pattern where it can be guessed."""
    from dp2bench.core.errors import Dp2benchError
    from dp2bench.engine.renaming import by_original_names, guessed_pattern

    for folder in (clear, anonymized):
        if not folder.is_dir():
            raise Dp2benchError(f"The folder {folder} is not there.", "Give the dataset's folder.")
    if pattern is not None:
        return by_original_names(clear, anonymized, pattern, out)
    if (guess := guessed_pattern(clear, anonymized)) is not None:
        raise Dp2benchError(
            f"{anonymized} has not the names of {clear}: its pictures seem to be called {guess}.",
            f"Give --pattern '{guess}'.",
        )
    return anonymized


def _seeds(text: str) -> tuple[int, ...]:
    from dp2bench.core.errors import Dp2benchError

    try:
        numbers = tuple(int(s) for s in text.split(","))
    except ValueError as error:
        raise Dp2benchError(
            f"--seeds {text!r} are not whole numbers.", "Write e.g. --seeds 0,1,2."
        ) from error
    if len(set(numbers)) != len(numbers) or not all(0 <= n < 2**63 for n in numbers):
        raise Dp2benchError(
            f"--seeds {text!r} are not different numbers from 0 to 2^63 - 1.", "Write e.g. --seeds 0,1,2."
        )
    return numbers
