"""dp2bench doctor."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

FURTHER: dict[str, dict[str, str]] = {
    "market1501-reid": {
        "pretrained": "true starts the attacker from ImageNet weights, which torchreid downloads",
    },
    "image-quality": {
        "inception_weights": "a file you bring, for fid and kid",
        "lpips_backbone": "lpips-alexnet (`dp2bench weights convert`), or a file you bring and the extra lpips, for lpips",
        "vgg_weights": "`weights fetch vgg16 vgg16-lpips` for lpips_vgg and ppl",
    },
    "coco-keypoints": {
        "model": "keypoint-rcnn downloads ImageNet weights or takes backbone_weights; detectron2-keypoint-rcnn needs detectron2",
    },
    "cityscapes-instances": {
        "model": "mask-rcnn downloads ImageNet weights or takes backbone_weights; detectron2-mask-rcnn needs detectron2",
    },
}
"""What some settings of a task need beyond the package, by task and setting; without them it runs on what is embedded."""

EXTRAS = {
    "video": "to anonymize videos",
    "heif": "to anonymize HEIC pictures",
    "train": "to train generators on several GPUs",
    "postgres": "for a history in PostgreSQL",
    "lpips": "for the score lpips, and PPL",
}
"""What the extras for users are for; the others are for developers."""


def doctor(
    imports: Annotated[
        bool,
        typer.Option(
            "--imports",
            help="Also import torch and every plug-in, which takes seconds, to see which are broken.",
        ),
    ] = False,
) -> None:
    """Show what is installed, what this machine offers, and what each part still needs."""
    import platform
    from importlib.metadata import PackageNotFoundError, version
    from importlib.util import find_spec

    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from dp2bench import __version__
    from dp2bench.core import registry
    from dp2bench.core.errors import Dp2benchError, PluginError
    from dp2bench.core.paths import cache_root
    from dp2bench.engine import suite as suites

    console = Console()
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_row("dp2bench", __version__)
    table.add_row("python", f"{platform.python_version()} on {platform.platform()}")
    for name, extra in _requirements():
        if extra in EXTRAS or not extra:
            try:
                found = version(name)
            except PackageNotFoundError:
                found = (
                    f"[yellow]not here[/]: pip install 'dp2bench\\[{extra}]' {EXTRAS[extra]}"
                    if extra
                    else f"[red]missing[/]: pip install {name}"
                )
            table.add_row(f"{name} ({extra})" if extra else name, found)
    detectron2 = find_spec("detectron2")
    table.add_row(
        "detectron2", "here" if detectron2 else "not here; only what is called detectron2-… needs it"
    )
    table.add_row("device", _device(imports=imports))
    root = cache_root()
    table.add_row(
        "cache",
        f"{escape(str(root))} ({'there' if root.is_dir() else 'made on first use'}; set DP2BENCH_CACHE to move it)",
    )
    for kind in ("methods", "tasks", "datasets", "detectors"):
        for name in registry.names(kind):
            try:
                if imports or not registry.module_of(kind, name).startswith("dp2bench."):
                    registry.load(kind, name)
            except PluginError as error:
                table.add_row(f"{kind[:-1]} {name}", f"[red]broken[/]: {escape(error.problem)}")
                continue
            if kind == "datasets":
                brought = registry.needs_root(name)
                said = "must be brought: --data-root" if brought else "embedded, made on first use"
                table.add_row(f"dataset {name}", said)
            elif kind == "tasks":
                table.add_row(f"task {name}", escape(_needs_of_task(name, registry.layouts(name))))
            elif kind == "methods":
                try:
                    registry.create(kind, name, {})
                except Dp2benchError as error:
                    table.add_row(f"method {name}", f"[yellow]needs more[/]: {escape(str(error))}")
    for name in suites.names():
        needs = [
            c.name for part in suites.load(name).parts for c in part.datasets if registry.needs_root(c.name)
        ]
        table.add_row(f"suite {name}", "needs " + ", ".join(needs) + " (--data-root)" if needs else "ready")
    console.print(table)


def _device(*, imports: bool) -> str:
    """What networks run on. torch is asked where there may be a GPU."""
    from rich.markup import escape

    from dp2bench.core.machine import default_threads, may_have_gpu

    if imports or may_have_gpu():
        try:
            import torch
        except ImportError as error:
            return f"[red]torch does not import[/]: {escape(str(error))}"
        if torch.cuda.is_available():
            return torch.cuda.get_device_name(0)
    return f"cpu, {default_threads()} threads"


def _requirements() -> Iterator[tuple[str, str]]:
    """Name and extra ('' for none) of each package that dp2bench asks for on this Python."""
    import re
    from importlib.metadata import requires

    for line in requires("dp2bench") or []:
        name = re.match(r"[\w.-]+", line)
        extra = re.search(r"extra == ['\"](\w+)['\"]", line)
        if name is not None:
            yield name[0], extra[1] if extra else ""


def _needs_of_task(name: str, layouts: tuple[str, ...]) -> str:
    """Which datasets a task can read, the embedded ones first, and what some of its settings need."""
    from dp2bench.core import registry
    from dp2bench.core.errors import PluginError

    embedded: list[str] = []
    brought: list[str] = []
    for dataset in registry.names("datasets"):
        try:
            known, must_be_brought = registry.layout(dataset), registry.needs_root(dataset)
        except PluginError:
            continue
        if known in layouts:
            (brought if must_be_brought else embedded).append(dataset)
    parts = [f"ready on {', '.join(embedded)}"] if embedded else []
    if brought:
        parts.append(f"bring {', '.join(brought)}")
    parts += [f"{setting}: {what}" for setting, what in FURTHER.get(name, {}).items()]
    return "; ".join(parts) or "needs a dataset that no installed package brings"
