"""dp2bench train."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Train generators, on your own data or on the embedded people.", no_args_is_help=True)


@app.command()
def generator(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE", help="A YAML file, or the name of a recipe that comes with dp2bench."
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", help="Folder of the run; a run that was stopped goes on from its checkpoint there."
        ),
    ],
    data_root: Annotated[
        Path | None,
        typer.Option(help="Folder of the dataset, where the recipe's dataset is not made by dp2bench."),
    ] = None,
    images: Annotated[
        int | None, typer.Option(min=1, help="Crops to show in all, in place of the recipe's number.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "auto",
    processes: Annotated[
        int, typer.Option(min=1, help="Processes that share each batch: GPUs, or CPU processes.")
    ] = 1,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read crops, a training process.")] = 0,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="Processor threads a process. [default: all, shared]", show_default=False),
    ] = None,
    packed: Annotated[
        bool,
        typer.Option(
            "--pack/--no-pack",
            help="Resize all crops once and keep them beside the run; turn off where they would not fit on the disk.",
        ),
    ] = True,
) -> None:
    """Train a generator against a discriminator, as DeepPrivacy2 is trained.

    The folder fills with curve.csv, previews/, tensorboard/ (see it with `tensorboard --logdir OUT`), checkpoint.pt and, at the
    end, generator.safetensors for `--method deepprivacy2`. Ctrl-C or a kill loses what came after the last checkpoint; the same
    command goes on from it, to the same result as if it had never stopped.

    A recipe's keys: name, generator (a network's name or its arguments), discriminator (kind: stylegan2 or projected), data
    (dataset, arguments, split), images, batch_size, learning_rate, r1 (weight, every), ema (half_life, rampup), flip, precision
    (32-true, bf16-mixed, 16-mixed), seed, log_every, preview_every, checkpoint_every.

    Example: dp2bench train generator passersby-body --out runs/body
    """
    from dp2bench.core.errors import Dp2benchError
    from dp2bench.deepprivacy2.training.recipe import load

    wanted = load(recipe, {} if images is None else {"images": images})
    try:
        from lightning_fabric import Fabric
    except ImportError as error:
        raise Dp2benchError(
            "Training needs Lightning Fabric, which is not installed.",
            "Install it: pip install 'dp2bench[train]'",
        ) from error

    import torch
    from rich.console import Console

    from dp2bench.cli.progress import TerminalObserver
    from dp2bench.core import registry
    from dp2bench.deepprivacy2.training.crops import pack
    from dp2bench.deepprivacy2.training.loop import Training
    from dp2bench.engine.plan import default_threads

    if device not in {"auto", "cpu", "cuda"}:
        raise Dp2benchError(f"There is no device {device!r}.", "Use cpu, cuda or auto.")
    on_gpu = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    if on_gpu and torch.cuda.device_count() < processes:
        raise Dp2benchError(
            f"{processes} processes need as many GPUs; this machine has {torch.cuda.device_count()}.",
            "Lower --processes, or train with --device cpu.",
        )
    torch.set_num_threads(threads or max(1, default_threads() // processes))
    fabric = Fabric(
        accelerator="cuda" if on_gpu else "cpu",
        devices=processes,
        strategy="ddp" if processes > 1 else "auto",
        precision=wanted.precision,
    )
    fabric.launch()
    console = Console(quiet=not fabric.is_global_zero)
    arguments = dict(wanted.data.arguments)
    if data_root is not None:
        arguments["root"] = str(data_root)
    dataset = registry.create("datasets", wanted.data.dataset, arguments)
    if not hasattr(dataset, "crops"):
        raise Dp2benchError(
            f"{wanted.data.dataset} is no dataset of crops.",
            "Use one like fdh, fdf256, passersby-fdh or passersby-fdf (`dp2bench list datasets`).",
        )
    height, width = (int(v) for v in wanted.network["imsize"])
    try:
        with TerminalObserver(console) as observer:
            if fabric.is_global_zero:
                dataset.prepare(observer.progress("dataset"))
            fabric.barrier()
            sources = {}
            for split in {wanted.data.split, wanted.data.preview_split}:
                source = dataset.crops(split)
                if packed and split == wanted.data.split:
                    folder = out / "packed" / f"{split}-{height}x{width}"
                    if fabric.is_global_zero:
                        pack(source, (height, width), folder, observer.progress("packing"))
                    fabric.barrier()
                    source = pack(source, (height, width), folder)
                sources[split] = source
            training = Training(
                wanted,
                out,
                sources[wanted.data.split],
                fabric,
                previews=sources[wanted.data.preview_split],
                workers=workers,
            )
            file = training.run(observer.progress("crops"))
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped. The same command goes on from the last checkpoint.\n")
        raise typer.Exit(130) from None
    if file is not None:
        console.print(f"generator  {file}", highlight=False, soft_wrap=True)
