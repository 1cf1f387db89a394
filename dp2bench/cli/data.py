"""dp2bench data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Datasets that are made on this machine: list, make, verify, delete; and surface templates.",
    no_args_is_help=True,
)

_Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="[NAME]...", help="Datasets; all that are made where none is named."),
]
_Name = Annotated[str, typer.Argument(metavar="NAME", help="A dataset that is made, e.g. passersby-reid.")]
_Size = Annotated[str, typer.Option("--size", help="smoke, mini or large; some have medium.")]


@app.command("list")
def list_() -> None:
    """List the datasets that were made here, with their size on disk.

    Example: dp2bench data list
    """
    from rich.console import Console
    from rich.filesize import decimal
    from rich.table import Table

    from dp2bench.cli.terminal import tell
    from dp2bench.core.paths import cache_root
    from dp2bench.datasets.passersby.generation import cache

    console = Console()
    datasets = cache.contents()
    table = Table("name", "version", "size", "on disk", "files", "state", box=None, pad_edge=False)
    for item in datasets:
        table.add_row(*cache.version_and_size(item), decimal(item.bytes), f"{item.files:,}", item.state)
    if datasets:
        console.print(table)
        console.print(f"\n{decimal(sum(item.bytes for item in datasets))} in all", highlight=False)
    else:
        console.print("Nothing has been made yet: `dp2bench data make`, or on first use.", highlight=False)
    tell(console, f"folder: {cache_root() / 'datasets'}")


@app.command()
def make(
    names: _Names = None,
    size: _Size = "mini",
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Processes that render, one processor each. [default: one per processor, at most 8, as memory allows]",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Make datasets that are not there yet; what was stopped goes on where it stopped.

    Example: dp2bench data make --size mini
    """
    import time

    from rich.console import Console
    from rich.filesize import decimal
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from dp2bench.cli.terminal import tell
    from dp2bench.datasets.passersby.generation import cache
    from dp2bench.datasets.passersby.generation.workers import shared_workers

    console = Console()
    with shared_workers(workers):
        for name in names or cache.generated_names():
            data = cache.create(name, size)
            if data.root.exists():
                tell(console, f"{name} ({size}) is there.")
                continue
            begin = time.perf_counter()
            columns = (
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
            )
            with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
                task = bars.add_task(name, total=None)

                def show(done: int, total: int, bars: Progress = bars, task: object = task) -> None:
                    bars.update(task, completed=done, total=total)  # type: ignore[arg-type]

                data.prepare(show)
            made = next(item for item in cache.contents() if item.folder == data.root)
            tell(
                console,
                f"{name} ({size}) made in {time.perf_counter() - begin:.0f} s: {made.files:,} files, {decimal(made.bytes)}.",
            )


@app.command()
def verify(
    names: _Names = None, size: Annotated[str, typer.Option("--size", help="Of the datasets named.")] = "mini"
) -> None:
    """Compare every file of datasets with the hashes that were taken when they were made: those named, or all that are there.

    Of small sizes the labels are compared with those of other machines too, which the package knows. Exit code 1 if they differ.

    Example: dp2bench data verify
    """
    from rich.console import Console

    from dp2bench.cli.terminal import tell
    from dp2bench.datasets.passersby.generation import cache

    console = Console()
    if names:
        wanted = [(name, size) for name in names]
    else:
        there = [cache.version_and_size(item) for item in cache.contents() if item.state == "whole"]
        wanted = [(name, its_size) for name, _, its_size in there]
    differ = False
    for name, its_size in wanted:
        data = cache.create(name, its_size)
        data.verify()
        own = data.generated.own_labels()
        differ = differ or bool(own)
        tell(
            console,
            f"{name} ({its_size}) is as it was made{', with labels of its own: ' + ', '.join(own) if own else ''}.",
        )
    if not wanted:
        console.print("Nothing has been made yet.", highlight=False)
    if differ:
        raise typer.Exit(1)


@app.command()
def delete(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Datasets, e.g. passersby-reid.")
    ] = None,
    size: Annotated[str | None, typer.Option("--size", help="Only this size.")] = None,
    older: Annotated[
        bool, typer.Option("--older", help="Those of other versions and those unfinished.")
    ] = False,
    everything: Annotated[bool, typer.Option("--all", help="Everything that was made.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete datasets that were made; they are made again on first use.

    Example: dp2bench data delete passersby-reid --size large
    """
    from rich.filesize import decimal

    from dp2bench.core.errors import DatasetError
    from dp2bench.datasets.passersby.generation import cache

    if not names and not older and not everything:
        raise DatasetError("Nothing was named to be deleted.", "Name datasets, or give --older or --all.")
    for name in names or ():
        if name not in cache.generated_names():
            raise DatasetError(f"{name} is not made by the package.", "See `dp2bench data list`.")
    chosen = []
    for item in cache.contents():
        dataset, _, its_size = cache.version_and_size(item)
        named = (not names or dataset in names) and (size is None or its_size == size)
        if named and (not older or item.state != "whole"):
            chosen.append(item)
    if not chosen:
        typer.echo("Nothing to delete.")
        return
    for item in chosen:
        typer.echo(f"{item.folder}  {decimal(item.bytes)}  {item.state}")
    if not yes:
        typer.confirm(f"Delete {decimal(sum(item.bytes for item in chosen))}?", abort=True)
    for item in chosen:
        cache.delete(item)
    typer.echo(f"Deleted {len(chosen)}.")


@app.command()
def path(name: _Name, size: _Size = "mini") -> None:
    """Print the folder of a dataset, making it first where it is not there.

    Example: cd "$(dp2bench data path passersby-coco --size smoke)"
    """
    from dp2bench.datasets.passersby.generation import cache

    data = cache.create(name, size)
    data.prepare()
    typer.echo(data.root)


@app.command()
def attributes(
    name: _Name,
    size: _Size = "mini",
    out: Annotated[
        Path | None, typer.Option("--out", help="CSV file; printed where it is not given.")
    ] = None,
) -> None:
    """Everybody's body, age, skin, hair and clothes as one CSV table, a row an identity.

    Example: dp2bench data attributes passersby-reid --out people.csv
    """
    import csv
    import io

    from dp2bench.datasets.passersby.generation import cache

    looks = cache.create(name, size).attributes()
    columns = ["identity", *dict.fromkeys(key for look in looks.values() for key in look)]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for identity, look in sorted(looks.items()):
        plain = {k: " ".join(map(str, v)) if isinstance(v, list) else v for k, v in look.items()}
        writer.writerow({"identity": identity, **plain})
    if out is None:
        typer.echo(text.getvalue(), nl=False)
    else:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text.getvalue(), "utf-8")
        typer.echo(f"{out}: {len(looks):,} identities")


@app.command()
def template(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A surface template, e.g. smpl-27554.")],
    weights: Annotated[
        Path | None, typer.Option("--weights", help="A CSE checkpoint that holds its embeddings; once.")
    ] = None,
    symmetry: Annotated[
        Path | None,
        typer.Option(
            help="DensePose's symmetry_smpl_27554.pkl: which vertex mirrors which, for flips; once."
        ),
    ] = None,
) -> None:
    """Show a surface template, or take its embeddings out of a checkpoint so that it is known from then on.

    Example: dp2bench data template smpl-27554 --weights model_final_1d3314.pkl
    """
    from dp2bench.core import templates
    from dp2bench.core.errors import Dp2benchError

    if weights is not None:
        if name != "smpl-27554":
            raise Dp2benchError(f"The template {name!r} comes with its package.", "Leave out --weights.")
        from dp2bench.detection.rcnn.template import register_smpl

        register_smpl(weights)
    if symmetry is not None:
        if name != "smpl-27554":
            raise Dp2benchError(f"The template {name!r} knows its sides.", "Leave out --symmetry.")
        from dp2bench.detection.rcnn.template import add_symmetry

        add_symmetry(symmetry)
    found = templates.get(name)
    mirrored = "known" if found.mirrored is not None else "unknown"
    typer.echo(
        f"{found.name}: {len(found):,} vertices, {found.embeddings.shape[1]} dimensions, left and right {mirrored}"
    )
    if found.part_names:
        typer.echo(f"parts: {', '.join(found.part_names)}")
    typer.echo(f"licence: {found.licence}")
