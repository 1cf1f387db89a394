"""dp2bench verify-mark."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def verify_mark(
    pictures: Annotated[list[Path], typer.Argument(metavar="PICTURE...", help="Pictures to check.")],
    key: Annotated[
        str, typer.Option("--key", "-k", help="Key of the watermark. @FILE reads it from a file.")
    ] = ...,  # type: ignore[assignment]
) -> None:
    """Say whether pictures carry the watermark of a key (`dp2bench anonymize --watermark KEY`).

    The mark is found after JPEG, halving and cropping where enough of it is left: about 8,000 pixels, a person of 60x200. In a picture
    without the mark, it seems to be found at most once in 20,000 times. Exit code 1 when a picture has none.

    For example: dp2bench verify-mark street.jpg --key "our own secret"
    """
    from rich.console import Console

    from dp2bench.cli.arguments import secret
    from dp2bench.core.altered import source_type_of
    from dp2bench.core.images import read_image
    from dp2bench.inpainting import watermark

    console = Console()
    key = watermark.check_key(secret(key))
    missing = 0
    for path in pictures:
        finding = watermark.find(read_image(path), key)
        missing += not finding.found
        said = source_type_of(path.read_bytes())
        words = "[green]marked[/]" if finding.found else "[yellow]no mark found[/]"
        console.print(
            f"{words}  score {finding.score:.1f}, by chance in {min(1, finding.false_alarm):.1g} of pictures at most, "
            f"scale {finding.scale:.2g}  {path}" + (f"  says {said}" if said else ""),
            highlight=False,
            soft_wrap=True,
        )
    if missing:
        raise typer.Exit(1)
