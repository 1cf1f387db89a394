"""What a chart is, and the look that all of them share."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dp2bench.core.results import Metric

# Okabe and Ito: told apart by colour-blind readers. The page has lighter ones for dark mode, under the same names.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B8860B", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P")
DASHES = ((1, 0), (6, 2), (2, 2), (8, 2, 2, 2))
"""With more series than colours, the next dash: colour and dash together name a series."""
CSS_COLOURS = tuple(f"var(--series-{i + 1})" for i in range(len(COLOURS)))
_WIDE = 40


@dataclass(frozen=True)
class Chart:
    """One figure.

    Attributes:
        name: of its file and anchor.
        title: heading.
        caption: what is seen and how to read it.
        alt: what it shows, for those who do not see it.
        spec: Vega-Lite, without colours of text and grid, which the page gives.
        draw: puts it onto an empty matplotlib figure of ``size`` inches; None where print has nothing to add.
        size: inches, for print.
        table: header and rows of the numbers behind it; empty where the score table has them.

    """

    name: str
    title: str
    caption: str
    alt: str
    spec: Mapping[str, Any]
    draw: Callable[[Any], None] | None = None
    size: tuple[float, float] = (7.2, 4.0)
    table: tuple[Sequence[str], Sequence[Sequence[str]]] = field(default=((), ()))


def slug(text: str) -> str:
    """A text as it may stand in a file's name and an address."""
    return "".join(c if c.isascii() and c.isalnum() else "-" for c in text.lower()).strip("-")


def shorten(label: str) -> str:
    """A label that leaves room for the figure."""
    return label if len(label) <= _WIDE else label[: _WIDE - 1] + "…"


def shown(value: float, unit: str) -> float:
    """The value as charts show it: fractions in percent."""
    return 100 * value if unit == "fraction" else value


def explained(metric: Metric) -> str:
    """``percent, lower is better``."""
    unit = "percent" if metric.unit == "fraction" else metric.unit
    return f"{unit}, {'higher' if metric.higher_is_better else 'lower'} is better"


def select(name: str, label: str, options: Sequence[str], value: str | None = None) -> dict[str, Any]:
    """A parameter; one that has a choice gets a drop-down list."""
    chosen = value if value in options else options[0]
    parameter: dict[str, Any] = {"name": name, "value": chosen}
    if len(options) > 1:
        parameter["bind"] = {"input": "select", "options": list(options), "name": f"{label} "}
    return parameter


def rounded(value: float) -> float:
    """Rounded for the page, where more digits only cost room."""
    return float(f"{value:.5g}")


def series(labels: Sequence[str]) -> dict[str, Any]:
    """Encoding that gives each method its colour and, when these run out, another dash."""
    domain = list(labels)
    return {
        "color": {
            "field": "method",
            "title": None,
            "scale": {
                "domain": domain,
                "range": [CSS_COLOURS[i % len(COLOURS)] for i in range(len(domain))],
            },
        },
        "strokeDash": {
            "field": "method",
            "title": None,
            "scale": {
                "domain": domain,
                "range": [list(DASHES[i // len(COLOURS) % len(DASHES)]) for i in range(len(domain))],
            },
        },
    }


def line_style(i: int) -> dict[str, Any]:
    dash = DASHES[i // len(COLOURS) % len(DASHES)]
    return {"color": COLOURS[i % len(COLOURS)], "linestyle": "-" if dash == (1, 0) else (0, dash)}


def lookup(table: Mapping[str, str]) -> str:
    """A Vega expression of a table."""
    return json.dumps(table, ensure_ascii=False)


def plain(panel: Any) -> None:
    panel.grid(color="0.9", linewidth=0.6)
    panel.set_axisbelow(True)
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)
