"""dp2bench evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer


def evaluate(
    clear: Annotated[Path, typer.Option(help="The dataset's folder with the original pictures.")],
    anonymised: Annotated[
        Path, typer.Option(help="The same folder, anonymised by any tool, with the same file names.")
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
            help="The method's name in the table. [default: the anonymised folder's name]", show_default=False
        ),
    ] = None,
    detector: Annotated[
        str, typer.Option(help="Who finds the people that should be anonymised, for the coverage.")
    ] = "whole-picture",
    argument: Annotated[
        list[str] | None,
        typer.Option("--argument", "-a", help="A setting of the task, e.g. -a epochs=30; may be repeated."),
    ] = None,
    seeds: Annotated[str, typer.Option(help="Seeds, separated by commas.")] = "0",
    out: Annotated[Path, typer.Option(help="Folder for results and report.")] = Path(
        "dp2bench-runs/evaluate"
    ),
    threads: Annotated[Optional[int], typer.Option(min=1, help="Processor threads.")] = None,  # noqa: UP045
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "auto",
) -> None:
    """Score a folder that any other tool anonymised.

    Coverage is measured by comparing the two folders inside each person: somebody whose pixels look unchanged counts as failed open.

    Example: dp2bench evaluate --clear Market-1501 --anonymised Market-1501-mine -a epochs=30
    """
    import yaml

    from dp2bench.cli.run import carry_out
    from dp2bench.core.errors import Dp2benchError
    from dp2bench.engine.suite import Component, Suite, TaskChoice

    for folder in (clear, anonymised):
        if not folder.is_dir():
            raise Dp2benchError(f"The folder {folder} is not there.", "Give the dataset's folder.")
    arguments = {}
    for pair in argument or []:
        key, equals, value = pair.partition("=")
        if not equals:
            raise Dp2benchError(f"--argument {pair!r} has no '='.", "Write it as key=value.")
        arguments[key] = yaml.safe_load(value)
    try:
        numbers = tuple(int(s) for s in seeds.split(","))
    except ValueError as error:
        raise Dp2benchError(
            f"--seeds {seeds!r} are not whole numbers.", "Write e.g. --seeds 0,1,2."
        ) from error
    data = {"root": str(clear.resolve())} | (
        {"official": False} if dataset in {"market1501", "coco", "cityscapes"} else {}
    )
    suite = Suite(
        name="evaluate",
        seeds=numbers,
        detector=Component(name=detector),
        datasets=(Component(name=dataset, arguments=data),),
        tasks=(TaskChoice(name=task, arguments=arguments),),
        methods=(
            Component(name="identity"),
            Component(
                name="dp2bench.engine.ready_made:ReadyMade",
                label=label or anonymised.resolve().name.replace(" ", "-"),
                arguments={"root": str(anonymised.resolve())},
            ),
        ),
    )
    carry_out(
        suite,
        out,
        command=f"dp2bench evaluate --clear {clear} --anonymised {anonymised} --task {task}",
        threads=threads,
        device=device,
    )
