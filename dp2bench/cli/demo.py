"""dp2bench demo."""

from __future__ import annotations

from typing import Annotated

import typer


def demo(
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to serve on; 0 takes any that is free.")
    ] = 7860,
    seconds: Annotated[
        float, typer.Option(min=0, help="Longest part of a video that is taken; 0 for all of it.")
    ] = 20.0,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = True,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Processor threads. [default: all]", show_default=False)
    ] = None,
) -> None:
    """Try methods on a photograph, a short video or a camera, on a local page.

    Drop a picture, see who is found, choose who is replaced and how, and compare before and after. Nothing leaves the machine: the page
    is served on 127.0.0.1 only and contacts no other server, and its pictures are deleted when it is closed.

    For example: dp2bench demo
    """
    from dp2bench.core.machine import default_threads, limit_threads

    limit_threads(threads or default_threads())
    from rich.console import Console

    from dp2bench.demo.server import serve

    console = Console()

    def ready(address: str) -> None:
        console.print(f"Open {address}  (Ctrl-C stops it, and deletes what was shown there)", highlight=False)
        if browser:
            import webbrowser

            webbrowser.open(address)

    try:
        serve(port, seconds=seconds, ready=ready)
    except KeyboardInterrupt:
        console.print("Stopped. What was shown there is deleted.")
        raise typer.Exit(130) from None
