"""dp2bench edits."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Directions that change what a generator synthesises: list them, search one for a text.",
    no_args_is_help=True,
)

Generator = Annotated[
    str,
    typer.Option(
        "--generator", "-g", help="Weights of a generator: a name of `dp2bench weights list` or a path."
    ),
]


@app.command("list")
def list_() -> None:
    """Show the attributes that can be edited without text, and the directions that were searched on this machine."""
    from rich.console import Console

    from dp2bench.core.paths import cache_root
    from dp2bench.deepprivacy2 import directions

    console = Console()
    known = directions.known()
    console.print("Attributes of the embedded generators, for --edit attribute=value:", highlight=False)
    for attribute, values in directions.VALUES.items():
        has = [v for v in values if any(key.endswith(f"/{attribute}={v}") for key in known)]
        console.print(f"  {attribute:<8} {', '.join(has) or 'none'}", highlight=False)
    found = sorted((cache_root() / "edits").glob("*/*.safetensors"))
    console.print(f"Searched on this machine: {len(found)}", highlight=False)
    for path in found:
        console.print(f"  {path.parent.name}  {path.stem}  {path}", highlight=False, soft_wrap=True)


@app.command()
def search(
    prompt: Annotated[
        str, typer.Argument(metavar="TEXT", help="What people are to look like: 'red jacket'.")
    ],
    generator: Generator = "mini-body-cse",
    clip: Annotated[
        Path | None,
        typer.Option(
            help="CLIP's weights as a local file, for open_clip; nothing is downloaded. [default: $DP2BENCH_CLIP]",
            show_default=False,
        ),
    ] = None,
    clip_model: Annotated[str, typer.Option(help="Its architecture, as open_clip calls it.")] = "ViT-B-16",
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Another file for the direction, to share.", show_default=False),
    ] = None,
    dataset: Annotated[str, typer.Option(help="Crops to search with.")] = "passersby-fdh",
    data_root: Annotated[
        Path | None, typer.Option(help="Its folder, where dp2bench does not make it.", show_default=False)
    ] = None,
    crops: Annotated[int, typer.Option(min=1, help="Crops in all, as published.")] = 1_280,
    batch_size: Annotated[int, typer.Option(min=1, help="Crops at once; the published search takes 1.")] = 1,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Seed of latents. [default: none, as the published search in fact has it]",
            show_default=False,
        ),
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda.", show_default=False)] = None,
) -> None:
    """Search a direction for a text with CLIP, as StyleMC does.

    Example: dp2bench edits search "red jacket" --clip ViT-B-16.pt
    """
    from rich.console import Console

    from dp2bench.cli.progress import TerminalObserver
    from dp2bench.core import registry
    from dp2bench.deepprivacy2 import editing, generator_weights, text_search

    prompt = editing.check_prompt(prompt)
    encoder = text_search.load_clip(clip, clip_model, device)
    file = generator_weights.describe(generator_weights.resolve(generator, "body-cse"))
    arguments = {"root": str(data_root)} if data_root else {}
    source = registry.create("datasets", dataset, arguments)
    target = out or editing.folder(file) / f"{editing.slug(prompt)}.safetensors"
    console = Console()
    with TerminalObserver(console) as observer:
        text_search.search(
            file,
            prompt,
            encoder,
            source,
            target,
            crops=crops,
            batch_size=batch_size,
            seed=seed,
            device=device,
            progress=observer.progress(f"search {prompt!r}"),
        )
    console.print(f"direction  {target}", highlight=False, soft_wrap=True)
