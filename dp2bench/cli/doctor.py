"""dp2bench doctor."""

from __future__ import annotations


def doctor() -> None:
    """Show what is installed, what this machine offers, and what each part still needs."""
    import platform
    from importlib.metadata import PackageNotFoundError, requires, version

    from rich.console import Console
    from rich.table import Table

    from dp2bench import __version__
    from dp2bench.core import registry
    from dp2bench.core.errors import PluginError
    from dp2bench.core.paths import cache_root
    from dp2bench.engine import suite as suites
    from dp2bench.engine.plan import default_threads

    console = Console()
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_row("dp2bench", __version__)
    table.add_row("python", f"{platform.python_version()} on {platform.platform()}")
    for line in requires("dp2bench") or []:
        if "extra ==" in line:
            continue
        name = line.split(";")[0].split(">")[0].split("=")[0].split("<")[0].split("[")[0].strip()
        try:
            table.add_row(name, version(name))
        except PackageNotFoundError:
            table.add_row(name, "[red]missing[/]: pip install " + name)
    try:
        import torch

        table.add_row(
            "device",
            torch.cuda.get_device_name(0)
            if torch.cuda.is_available()
            else f"cpu, {default_threads()} threads",
        )
    except ImportError as error:
        table.add_row("device", f"[red]torch does not import[/]: {error}")
    root = cache_root()
    table.add_row(
        "cache",
        f"{root} ({'there' if root.is_dir() else 'made on first use'}; set DP2BENCH_CACHE to move it)",
    )
    for kind in ("methods", "tasks", "datasets", "detectors"):
        for name in registry.names(kind):
            try:
                loaded = registry.load(kind, name)
            except PluginError as error:
                table.add_row(f"{kind[:-1]} {name}", f"[red]broken[/]: {error.problem}")
                continue
            if kind == "datasets":
                table.add_row(
                    f"dataset {name}",
                    "must be brought: --data-root"
                    if getattr(loaded, "needs_root", False)
                    else "embedded, made on first use",
                )
    for name in suites.names():
        needs = [
            c.name
            for c in suites.load(name).datasets
            if getattr(registry.load("datasets", c.name), "needs_root", False)
        ]
        table.add_row(f"suite {name}", "needs " + ", ".join(needs) + " (--data-root)" if needs else "ready")
    console.print(table)
