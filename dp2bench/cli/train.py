"""dp2bench train."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from rich.console import Console

    from dp2bench.cli.progress import TerminalObserver
    from dp2bench.datasets.crops import Crops
    from dp2bench.deepprivacy2.training.recipe import GanConfig

app = typer.Typer(
    help="Train generators, the embedded detector and attackers, on your own data or on the embedded people.",
    no_args_is_help=True,
)


Out = Annotated[
    Path,
    typer.Option(
        "--out", "-o", help="Folder of the run; a run that was stopped goes on from its checkpoint there."
    ),
]
Device = Annotated[str, typer.Option(help="cpu, cuda, or auto.")]
Threads = Annotated[
    int | None, typer.Option(min=1, help="Processor threads. [default: all]", show_default=False)
]


def _check_start(start: Path | None, hint: str) -> None:
    from dp2bench.core.errors import Dp2benchError

    if start is not None and not start.is_file():
        raise Dp2benchError(f"There is no file {start} to start with.", hint)


def _dataset(name: str, arguments: Mapping[str, Any], root: Path | None) -> Any:
    """A dataset by its registered name, at ``root`` where one is given."""
    from dp2bench.core import registry

    given = dict(arguments) if root is None else {**arguments, "root": str(root)}
    return registry.create("datasets", name, given)


@contextmanager
def _observed(console: Console, last: str) -> Iterator[TerminalObserver]:
    """Show progress; Ctrl-C ends with a line that says where the same command goes on."""
    from dp2bench.cli.progress import TerminalObserver

    try:
        with TerminalObserver(console) as observer:
            yield observer
    except KeyboardInterrupt:
        sys.stderr.write(f"\nStopped. The same command goes on from the last {last}.\n")
        raise typer.Exit(130) from None


def _launch(device: str, processes: int, threads: int | None, precision: Any) -> Fabric:
    """Lightning Fabric with its processes started."""
    from dp2bench.core.errors import Dp2benchError
    from dp2bench.core.machine import default_threads, pick_device

    try:
        from lightning_fabric import Fabric
    except ImportError as error:
        raise Dp2benchError(
            "Training needs Lightning Fabric, which is not installed.",
            "Install it: pip install 'dp2bench[train]'",
        ) from error
    import torch

    on_gpu = pick_device(device) != "cpu"
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
        precision=precision,
    )
    fabric.launch()
    return fabric


def _crops_by_split(
    dataset: Any, recipe: GanConfig, folder: Path | None, fabric: Fabric, observer: TerminalObserver
) -> dict[str, Crops]:
    """The crops to learn from and to preview; the first resized once and kept in ``folder`` where one is given."""
    from dp2bench.deepprivacy2.training.crops import pack

    if fabric.is_global_zero:
        dataset.prepare(observer.progress("dataset"))
    fabric.barrier()
    height, width = (int(v) for v in recipe.network["imsize"])
    sources: dict[str, Crops] = {}
    for split in {recipe.data.split, recipe.data.preview_split}:
        source = dataset.crops(split)
        if folder is not None and split == recipe.data.split:
            packed = folder / f"{split}-{height}x{width}"
            if fabric.is_global_zero:
                pack(source, (height, width), packed, observer.progress("packing"))
            fabric.barrier()
            source = pack(source, (height, width), packed)
        sources[split] = source
    return sources


@app.command()
def generator(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE", help="A YAML file, or the name of a recipe that comes with dp2bench."
        ),
    ],
    out: Out,
    data_root: Annotated[
        Path | None,
        typer.Option(help="Folder of the dataset, where the recipe's dataset is not made by dp2bench."),
    ] = None,
    images: Annotated[
        int | None, typer.Option(min=1, help="Crops to show in all, in place of the recipe's number.")
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option(
            help="Begin with the networks of another run's checkpoint.pt, e.g. of half the resolution. [default: anew]",
            show_default=False,
        ),
    ] = None,
    device: Device = "auto",
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
    half: Annotated[
        bool, typer.Option("--half", help="Write the generator in float16, as those that dp2bench embeds.")
    ] = False,
) -> None:
    """Train a generator against a discriminator, as DeepPrivacy2 is trained.

    The folder fills with curve.csv, previews/, tensorboard/ (see it with `tensorboard --logdir OUT`), checkpoint.pt and, at the
    end, generator.safetensors for `--method deepprivacy2`. Ctrl-C or a kill loses what came after the last checkpoint; the same
    command goes on from it, to the same result as if it had never stopped.

    A recipe's keys: name, generator (a network's name or its arguments), discriminator (kind: stylegan2 or projected), data
    (dataset, arguments, split), images, batch_size, learning_rate, d_learning_rate, r1 (weight, every), reconstruction
    (weight, pixels, kl), ema (half_life, rampup), flip, precision (32-true, bf16-mixed, 16-mixed), seed, log_every,
    preview_every, checkpoint_every.

    Example: dp2bench train generator passersby-body --out runs/body
    """
    from rich.console import Console

    from dp2bench.cli.terminal import tell
    from dp2bench.core.errors import Dp2benchError
    from dp2bench.datasets.crops import CropDataset
    from dp2bench.deepprivacy2.training.recipe import load_recipe
    from dp2bench.weights.digests import sha256

    _check_start(start, "Give a run's checkpoint.pt.")
    changed: dict[str, Any] = {} if images is None else {"images": images}
    if start is not None:
        changed["start_sha256"] = sha256(start)
    config = load_recipe(recipe, changed)
    fabric = _launch(device, processes, threads, config.precision)
    dataset = _dataset(config.data.dataset, config.data.arguments, data_root)
    if not isinstance(dataset, CropDataset):
        raise Dp2benchError(
            f"{config.data.dataset} is no dataset of crops.",
            "Use one like fdh, fdf256, passersby-fdh or passersby-fdf (`dp2bench list datasets`).",
        )
    from dp2bench.deepprivacy2.training.loop import GanTraining

    console = Console(quiet=not fabric.is_global_zero)
    with _observed(console, "checkpoint") as observer:
        crops = _crops_by_split(dataset, config, out / "packed" if packed else None, fabric, observer)
        training = GanTraining(
            config,
            out,
            crops[config.data.split],
            fabric,
            previews=crops[config.data.preview_split],
            workers=workers,
        )
        if start is not None:
            training.start_from(start)
        file = training.run(observer.progress("crops"), half=half)
    if file is not None:
        tell(console, f"generator  {file}")


@app.command()
def detector(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE",
            help="A YAML file, or the name of a recipe that comes with dp2bench: passersby-people.",
        ),
    ],
    out: Out,
    data_root: Annotated[
        Path | None,
        typer.Option(help="Folder of the dataset, where the recipe's dataset is not made by dp2bench."),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="How often each picture is seen, in place of the recipe's number."),
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option(
            help="Begin with the weights (detector.safetensors, checkpoint.pt) of an earlier training. [default: with ImageNet's]",
            show_default=False,
        ),
    ] = None,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Train the embedded detector: people, masks, body surfaces and faces.

    The folder fills with recipe.json, checkpoint.pt after each epoch and, at the end, curve.csv and detector.safetensors, which
    the detectors embedded-mask, embedded-surface, embedded-face and deepprivacy2 take as `weights`. Ctrl-C or a kill loses what
    came after the last epoch; the same command goes on from it, to the same result as if it had never stopped.

    A recipe's keys: name, licence, data (dataset, arguments, split), channels, region, zoom, people, epochs, batch_size,
    learning_rate, weight_decay, precision (32-true, bf16-mixed), seed.

    Example: dp2bench train detector passersby-people --out runs/detector
    """
    import torch
    from rich.console import Console

    from dp2bench.cli.terminal import tell
    from dp2bench.core.machine import default_threads, pick_device
    from dp2bench.detection.compact.recipe import load_recipe
    from dp2bench.detection.compact.training import train_detector

    config = load_recipe(recipe, {} if epochs is None else {"epochs": epochs})
    _check_start(start, "Give a detector.safetensors.")
    chosen_device = pick_device(device)
    torch.set_num_threads(threads or default_threads())
    dataset = _dataset(config.data.dataset, config.data.arguments, data_root)
    console = Console()
    with _observed(console, "epoch") as observer:
        dataset.prepare(observer.progress("dataset"))
        file = train_detector(
            dataset,
            config,
            out,
            start=start,
            device=chosen_device,
            progress=observer.progress("steps"),
        )
    tell(console, f"detector  {file}")


@app.command()
def attacker(
    dataset: Annotated[
        str, typer.Argument(metavar="DATASET", help="One in Market-1501's layout, e.g. passersby-reid.")
    ],
    out: Out,
    argument: Annotated[
        list[str] | None,
        typer.Option(
            "--argument",
            "-a",
            help="A setting of the training, key=value; may be repeated. Keys: model, height, width, epochs, batch_size, learning_rate, "
            "weight_decay, label_smoothing, pretrained.",
        ),
    ] = None,
    data_root: Annotated[
        Path | None,
        typer.Option(help="Folder of the dataset, where it is not made by dp2bench."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the first weights, the order and the flips.")] = 0,
    device: Device = "auto",
    threads: Threads = None,
    half: Annotated[
        bool, typer.Option("--half", help="Write float16, as the attackers that dp2bench embeds.")
    ] = False,
) -> None:
    """Train a re-identification attacker on a dataset's clear train split, as the task market1501-reid does.

    The folder fills with checkpoint.pt after each epoch and, at the end, model.safetensors, which the task takes as `weights`, and
    curve.csv. Ctrl-C or a kill loses what came after the last epoch; the same command goes on from it.

    Example: dp2bench train attacker passersby-reid --argument epochs=20 --out runs/attacker
    """
    import torch
    from rich.console import Console

    from dp2bench.attacks import reid
    from dp2bench.cli.arguments import key_values
    from dp2bench.cli.terminal import tell
    from dp2bench.core import registry
    from dp2bench.core.errors import Dp2benchError
    from dp2bench.core.machine import default_threads, pick_device

    recipe = reid.recipe(key_values("--argument", argument))
    chosen_device = pick_device(device)
    torch.set_num_threads(threads or default_threads())
    data = _dataset(dataset, {}, data_root)
    if data.layout not in (layouts := registry.layouts("market1501-reid")):
        raise Dp2benchError(
            f"{dataset} names no identities.",
            f"Use a dataset in one of the layouts {', '.join(layouts)} (`dp2bench list datasets`).",
        )
    console = Console()
    with _observed(console, "epoch") as observer:
        data.prepare(observer.progress("dataset"))
        out.mkdir(parents=True, exist_ok=True)
        reid.train(
            data.samples("train"),
            recipe,
            out,
            seed=seed,
            data=f"{data.meta.name} {data.meta.version}",
            half=half,
            device=chosen_device,
            progress=observer.progress("steps"),
        )
    tell(console, f"attacker  {out / 'model.safetensors'}")


@app.command()
def crops(
    source: Annotated[
        Path,
        typer.Argument(metavar="IN", help="A folder of pictures, or a dataset's folder (with --dataset)."),
    ],
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="Empty or new folder for the crops, in FDH's layout.")
    ],
    detector: Annotated[
        str, typer.Option(help="Who finds the people (`dp2bench list detectors`); one that finds surfaces.")
    ] = "deepprivacy2",
    detector_argument: Annotated[
        list[str] | None,
        typer.Option(
            "--detector-argument", "-d", help="A setting of the detector, key=value; may be repeated."
        ),
    ] = None,
    detections: Annotated[
        Path | None,
        typer.Option(help="Use the people that `dp2bench detect` wrote down.", show_default=False),
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="Read IN as this dataset, e.g. coco.")] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            "--limit",
            "-l",
            help="A filter's limit, key=value; null turns it off. Keys: surface, score, height, sharpness, contrast, inside, "
            "vertices_per_part, parts, surface_iou, keypoints_on_surface. May be repeated.",
        ),
    ] = None,
    validation: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the pictures kept for validation.")
    ] = 0.02,
) -> None:
    """Make a training set for generators out of your own pictures: everybody found becomes a crop, unless a filter removes him.

    OUT/filtered.json tells how many each filter removed, how many it was and could not be checked on, and how the measures are spread,
    so that limits can be chosen. Whether keypoints lie on the surface is checked where somebody finds keypoints.

    For example:

    dp2bench train crops photos/ crops/ --detector deepprivacy2 -d keypoints=torchvision-keypoint-rcnn

    dp2bench train generator fdh_styleganL --data-root crops/ --out runs/mine
    """
    from dataclasses import fields

    from rich.console import Console

    from dp2bench.cli.arguments import key_values, saved_detections
    from dp2bench.cli.progress import TerminalObserver
    from dp2bench.cli.terminal import tell
    from dp2bench.core import registry
    from dp2bench.core.errors import Dp2benchError
    from dp2bench.datasets.folder import Folder
    from dp2bench.deepprivacy2.training.build_dataset import Filters, build_dataset

    limits = key_values("--limit", limit)
    if unknown := sorted(set(limits) - {f.name for f in fields(Filters)}):
        raise Dp2benchError(
            f"There is no filter {unknown[0]!r}.", f"Filters: {', '.join(f.name for f in fields(Filters))}."
        )
    if not source.exists():
        raise Dp2benchError(f"{source} is not there.", "Give the folder of the pictures.")
    arguments = key_values("--detector-argument", detector_argument)
    finder = (
        registry.create("detectors", detector, arguments)
        if detections is None
        else saved_detections(detections, arguments).make()
    )
    pictures = Folder(source) if dataset is None else registry.create("datasets", dataset, {"root": source})
    console = Console()
    with TerminalObserver(console) as observer:
        report = build_dataset(
            pictures,
            finder,
            out,
            filters=Filters(**limits),
            validation=validation,
            progress=observer.progress("pictures"),
        )
    tell(console, f"{_summary(report)}Written: {out}, with filtered.json")


def _summary(report: Mapping[str, Any]) -> str:
    """What became of the people of `crops`, in sentences that end with a space."""
    removed = ", ".join(f"{n} by {name}" for name, n in report["removed"].items()) or "nobody"
    unchecked = ", ".join(f"{name} on {n} crops" for name, n in report["not_checked"].items())
    agreement = "keypoints_on_surface"
    compared = report["checked"].get(agreement, 0)
    without = report["limits"]["surface"] and report["not_checked"].get(agreement)
    sentences = [
        f"{report['people']} people in {report['pictures']} pictures; crops: {report['crops']}; removed: {removed}. "
    ]
    if compared:
        sentences.append(f"Keypoints were held against the surface on {compared} crops. ")
    if unchecked:
        sentences.append(f"Not checked, for want of data: {unchecked}. ")
    if without and not compared:
        sentences.append("Keypoints come with `-d keypoints=torchvision-keypoint-rcnn`. ")
    return "".join(sentences)


Count = Annotated[int, typer.Option(min=1, max=200, help="Number of crops, evenly spread over the split.")]
Sheet = Annotated[Path, typer.Option("--out", "-o", help="Picture to write, e.g. sheet.png.")]
Root = Annotated[
    Path | None,
    typer.Option(help="Folder of the dataset, where it is not made by dp2bench.", show_default=False),
]
Split = Annotated[
    str | None, typer.Option(help="[default: the last one: validation or test]", show_default=False)
]
Setting = Annotated[
    list[str] | None,
    typer.Option(
        "--argument", "-a", help="A setting of the dataset, key=value, e.g. size=mini; may be repeated."
    ),
]


def _crops_of(
    console: Console, dataset: str, root: Path | None, argument: Sequence[str] | None, split: str | None
) -> Crops:
    """The crops of a split, made where dp2bench makes them."""
    from dp2bench.cli.arguments import key_values
    from dp2bench.core.errors import Dp2benchError
    from dp2bench.datasets.crops import CropDataset

    source = _dataset(dataset, key_values("--argument", argument), root)
    if not isinstance(source, CropDataset):
        raise Dp2benchError(
            f"{dataset} is no dataset of crops.",
            "Use one like fdh, fdf256, passersby-fdh or passersby-fdf (`dp2bench list datasets`).",
        )
    if split is not None and split not in source.meta.splits:
        raise Dp2benchError(
            f"{dataset} has no split {split!r}.", f"Take one of: {', '.join(source.meta.splits)}."
        )
    with _observed(console, "chunk") as observer:
        source.prepare(observer.progress("dataset"))
    return source.crops(split or source.meta.splits[-1])


@app.command()
def show(
    dataset: Annotated[str, typer.Argument(help="A dataset of crops: fdh, fdf256, passersby-fdh ...")],
    out: Sheet,
    count: Count = 12,
    split: Split = None,
    data_root: Root = None,
    argument: Setting = None,
) -> None:
    """Show crops of a dataset as a sheet: the picture with keypoints, the masked picture that a generator sees, and the surface.

    Example: dp2bench train show passersby-fdh -a size=mini --out sheet.png
    """
    from rich.console import Console

    from dp2bench.cli.terminal import tell
    from dp2bench.core.images import write_image
    from dp2bench.deepprivacy2 import sheets

    console = Console()
    write_image(out, sheets.dataset_sheet(_crops_of(console, dataset, data_root, argument, split), count))
    tell(console, f"sheet  {out}")


@app.command()
def preview(
    weights: Annotated[
        str,
        typer.Argument(metavar="GENERATOR", help="Weights: a name of `dp2bench weights list`, or a path."),
    ],
    dataset: Annotated[str, typer.Argument(help="Crops to inpaint: fdh, fdf256, passersby-fdh ...")],
    out: Sheet,
    count: Count = 12,
    samples: Annotated[int, typer.Option(min=1, max=50, help="Samples of each crop.")] = 3,
    truncation: Annotated[
        str, typer.Option(help="Truncation of latents: none, mean or multi-modal.", metavar="KIND")
    ] = "none",
    psi: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Truncation psi: the share of a person's own style. [default: what the weights recommend]",
            show_default=False,
        ),
    ] = None,
    edit: Annotated[
        list[str] | None,
        typer.Option(help="See `dp2bench anonymize --edit`; may be repeated.", show_default=False),
    ] = None,
    strength: Annotated[float, typer.Option(help="Strength of edits that state none.")] = 0.5,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the samples.")] = 0,
    split: Split = None,
    data_root: Root = None,
    argument: Setting = None,
) -> None:
    """Show how a generator inpaints crops as a sheet: the picture, the masked picture that the generator sees, and samples.

    Example: dp2bench train preview runs/body/generator.safetensors passersby-fdh -a size=mini --out sheet.png
    """
    from rich.console import Console

    from dp2bench.cli.terminal import tell
    from dp2bench.core.errors import Dp2benchError
    from dp2bench.core.images import write_image
    from dp2bench.deepprivacy2 import sheets

    console = Console()
    kind: Any = truncation
    try:
        inpainter = sheets.inpainter_of(
            weights, truncation=kind, psi=psi, edits=edit or (), strength=strength
        )
    except ValueError as error:
        raise Dp2benchError(f"The generator does not take these settings: {error}.", "See --help.") from error
    crops = _crops_of(console, dataset, data_root, argument, split)
    sheets.check_fits(inpainter.file, crops, dataset)
    write_image(out, sheets.generator_sheet(inpainter, crops, count, samples=samples, seed=seed))
    tell(console, f"sheet  {out}")
