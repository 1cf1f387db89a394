"""Identity left against every other main score: who is private AND useful."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from dp2bench.core.results import Result
from dp2bench.reports import tables, texts
from dp2bench.reports.chart import (
    COLOURS,
    CSS_COLOURS,
    MARKERS,
    Chart,
    plain,
    rounded,
    select,
    shorten,
    shown,
)
from dp2bench.reports.groups import printable
from dp2bench.reports.load import Report
from dp2bench.reports.tables import Column


def _pairs(columns: Sequence[Column]) -> list[tuple[Column, Column]]:
    scored = [c for c in columns if c.score is not None]
    privacy = [c for c in scored if c.kind == "privacy"]
    return [(p, other) for other in scored if other.kind != "privacy" for p in privacy]


def _point(column: Column, result: Result | None) -> tuple[float, float, float] | None:
    if result is None or result.status != "ok" or column.score is None:
        return None
    score = result.find(column.score.name)
    if score is None or not printable(result, score):
        return None
    low, high = score.ci95 or (score.value, score.value)
    unit = result.metric(score).unit
    return shown(score.value, unit), shown(low, unit), shown(high, unit)


def _title(column: Column) -> str:
    if column.score is None:
        return column.title
    arrow = texts.arrow(column.group.metric(column.score.name))
    return f"{tables.words(column.group, column.score.name)} {arrow} ({column.dataset}, {column.group.name})"


def trade_off(report: Report) -> Chart | None:
    """Identity left against every other main score: who is private AND useful."""
    columns, table = tables.overview(report.results, report.names)
    pairs = _pairs(columns)
    titles = {c: _title(c) for c in columns}
    drawn: dict[tuple[Column, Column], list[tuple[str, Any, Any]]] = {}
    for privacy, other in pairs:
        points = [
            (label, y, x)
            for label, results in table
            if (y := _point(privacy, results[columns.index(privacy)])) is not None
            and (x := _point(other, results[columns.index(other)])) is not None
        ]
        if points:
            drawn[privacy, other] = points
    if not drawn:
        return None
    name = {c: titles[c] for pair in drawn for c in pair}
    rows = [
        {
            "method": label, "privacy": name[p], "other": name[o],
            "y": rounded(y[0]), "y1": rounded(y[1]), "y2": rounded(y[2]),
            "x": rounded(x[0]), "x1": rounded(x[1]), "x2": rounded(x[2]),
        }
        for (p, o), points in drawn.items()
        for label, y, x in points
    ]  # fmt: skip
    across = list(dict.fromkeys(name[o] for _, o in drawn))
    x_of = {
        "type": "quantitative",
        "title": across[0],
        "scale": {"zero": False, "nice": False, "padding": 24},
    }
    y_of = {"type": "quantitative", "title": "identity left", "scale": {"zero": True}}
    line = {"type": "rule", "color": CSS_COLOURS[0], "opacity": 0.55, "strokeWidth": 1.5}
    spec = {
        "data": {"values": rows},
        "params": [
            select("up", "Privacy", list(dict.fromkeys(name[p] for p, _ in drawn))),
            select("along", "Against", across),
        ],
        "transform": [
            {"filter": "datum.privacy == up && datum.other == along"},
            {
                "joinaggregate": [
                    {"op": "min", "field": "x", "as": "first"},
                    {"op": "max", "field": "x", "as": "last"},
                ]
            },
            {"calculate": "datum.x - datum.first > (datum.last - datum.first) / 2", "as": "right"},
        ],
        "usermeta": {"axisTitles": {"left": "up", "bottom": "along"}},  # the signals that say what is chosen
        "width": "container",
        "height": 380,
        "encoding": {
            "tooltip": [
                {"field": "method"},
                {"field": "y", "title": "identity left"},
                {"field": "x", "title": "other"},
            ]
        },
        "layer": [
            {
                "mark": line,
                "encoding": {
                    "x": {"field": "x1", **x_of},
                    "x2": {"field": "x2"},
                    "y": {"field": "y", **y_of},
                },
            },
            {
                "mark": line,
                "encoding": {
                    "x": {"field": "x", **x_of},
                    "y": {"field": "y1", **y_of},
                    "y2": {"field": "y2"},
                },
            },
            {
                "mark": {"type": "point", "filled": True, "size": 90, "opacity": 1, "color": CSS_COLOURS[0]},
                "encoding": {"x": {"field": "x", **x_of}, "y": {"field": "y", **y_of}},
            },
            {
                # a name to the right of a point at the right would leave the chart
                "mark": {
                    "type": "text",
                    "align": {"expr": "datum.right ? 'right' : 'left'"},
                    "dx": {"expr": "datum.right ? -8 : 8"},
                    "dy": -8,
                },
                "encoding": {
                    "x": {"field": "x", **x_of},
                    "y": {"field": "y", **y_of},
                    "text": {"field": "method"},
                },
            },
        ],
    }

    wide = min(3, len(drawn))
    deep = math.ceil(len(drawn) / wide)

    def draw(figure: Any) -> None:
        panels = figure.subplots(deep, wide, squeeze=False).ravel()
        for panel in panels[len(drawn) :]:
            panel.set_visible(False)
        for panel, ((p, o), points) in zip(panels, drawn.items(), strict=False):
            for i, (label, y, x) in enumerate(points):
                panel.errorbar(
                    [x[0]], [y[0]], xerr=[[x[0] - x[1]], [x[2] - x[0]]], yerr=[[y[0] - y[1]], [y[2] - y[0]]],
                    fmt=MARKERS[i % len(MARKERS)], color=COLOURS[i % len(COLOURS)], capsize=2.5, linewidth=1.1,
                    markersize=5,
                )  # fmt: skip
                panel.annotate(
                    shorten(label), (x[0], y[0]), xytext=(5, 4), textcoords="offset points", fontsize=7
                )
            panel.set_xlabel(titles[o], fontsize=7)
            panel.set_ylabel(titles[p], fontsize=7)
            plain(panel)

    return Chart(
        name="privacy-utility",
        title="Privacy against use",
        caption="Each point is a method, with 95 % intervals; lower is more private. The arrow in a score's name says where better lies: "
        "↑ to the right, ↓ to the left.",
        alt=f"Scatter plot of identity left against {', '.join(across)}; the overview table holds the same numbers.",
        spec=spec,
        draw=draw,
        size=(4.0 * wide, 3.3 * deep),
    )
