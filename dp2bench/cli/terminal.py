"""Words on the terminal. Whatever comes from outside is shown as it is: no markup, no control characters."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from dp2bench.core.printable import printable


def tell(console: Console, text: str, *, label: str = "", style: str = "") -> None:
    """Print a paragraph, behind a coloured label if there is one."""
    line = (
        Text.assemble((f"{printable(label)} ", style), printable(text))
        if label
        else Text(printable(text), style)
    )
    console.print(line, soft_wrap=True)


def tell_each(console: Console, texts: list[str], *, label: str, style: str, most: int = 50) -> None:
    """A paragraph for each text; of very many the rest is counted."""
    for text in texts[:most]:
        tell(console, text, label=label, style=style)
    if len(texts) > most:
        tell(console, f"… and {len(texts) - most} more", label=label, style=style)
