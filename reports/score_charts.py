"""Charts of scores: each with its interval, and those of several subsets side by side."""

from __future__ import annotations

from typing import Any

import numpy as np

from dp2bench.core.figures import Subsets
from dp2bench.core.results import score_name
from dp2bench.reports.chart import (
    COLOURS,
    CSS_COLOURS,
    MARKERS,
    Chart,
    explained,
    lookup,
    plain,
    rounded,
    select,
    series,
    shorten,
    shown,
    slug,
)
from dp2bench.reports.groups import Group, printable
from dp2bench.reports.texts import format_coverage, format_score


def intervals(group: Group, anchor: str) -> Chart | None:
    """Every score of a group with its interval and chance, a row for each method."""
    rows: list[dict[str, Any]] = []
    for label, result in zip(group.labels, group.results, strict=True):
        for score in result.scores:
            if result.status != "ok" or not printable(result, score):
                continue
            unit = result.metric(score).unit
            low, high = score.ci95 or (score.value, score.value)
            row = {
                "method": label,
                "score": score.name,
                "value": rounded(shown(score.value, unit)),
                "low": rounded(shown(low, unit)),
                "high": rounded(shown(high, unit)),
                "text": format_score(result, score),
                "people": format_coverage(result.coverage),
                "n": score.n,
            }
            if score.chance is not None:
                row["chance"] = rounded(shown(score.chance, unit))
            rows.append(row)
    if not rows:
        return None
    names = [n for n in group.score_names if any(row["score"] == n for row in rows)]
    main = group.main_score.name if group.main_score is not None else None
    order = [label for label in group.labels if any(row["method"] == label for row in rows)]
    units = {n: explained(group.metric(n)) for n in names}
    tooltip = [
        {"field": "method"},
        {"field": "text", "title": "score [95 %]"},
        {"field": "chance"},
        {"field": "people"},
        {"field": "n"},
    ]
    y = {"field": "method", "type": "nominal", "sort": order, "title": None, "axis": {"labelLimit": 190}}
    chance = any("chance" in row for row in rows)
    tick = {
        "mark": {"type": "tick", "thickness": 2, "size": 16, "color": "var(--muted)"},
        "transform": [{"filter": "isValid(datum.chance)"}],
        "encoding": {"x": {"field": "chance", "type": "quantitative"}},
    }
    spec = {
        "data": {"values": rows},
        "params": [select("shown", "Score", names, main)],
        "transform": [{"filter": "datum.score == shown"}],
        "title": {
            "text": {"expr": "shown"},
            "subtitle": {"expr": f"({lookup(units)})[shown]"},
            "anchor": "start",
        },
        "width": "container",
        "height": 26 * len(order) + 10,
        "encoding": {"y": y, "tooltip": tooltip},
        "layer": [
            {
                "mark": {"type": "rule", "strokeWidth": 2, "color": CSS_COLOURS[0]},
                "encoding": {
                    "x": {"field": "low", "type": "quantitative", "title": None, "scale": {"zero": True}},
                    "x2": {"field": "high"},
                },
            },
            *([tick] if chance else []),
            {
                "mark": {"type": "point", "filled": True, "size": 90, "opacity": 1, "color": CSS_COLOURS[0]},
                "encoding": {"x": {"field": "value", "type": "quantitative"}},
            },
        ],
    }
    return Chart(
        name=f"{anchor}-scores",
        title="Scores with intervals",
        caption="Dot: the score; line: its 95 % interval"
        + ("; grey tick: what knowing nothing gives (chance)." if chance else "."),
        alt=f"Scores of {len(order)} methods on {group.dataset} under {group.task}, with 95 percent intervals. "
        "The table above holds the same numbers.",
        spec=spec,
    )


ALL = "all"
_SHAPES = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross")


def _subset_rows(group: Group, figure: Subsets) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Rows to draw, and by score what it is measured in."""
    rows: list[dict[str, Any]] = []
    titles: dict[str, str] = {}
    for label, result in zip(group.labels, group.results, strict=True):
        for score in result.scores:
            wanted = not figure.subsets or score.subset in ("", *figure.subsets)
            if score.metric not in figure.metrics or not wanted:
                continue
            base, metric = score_name(score.metric, score.scenario), result.metric(score)
            titles.setdefault(base, explained(metric))
            if result.status != "ok" or not printable(result, score):
                continue
            low, high = score.ci95 or (score.value, score.value)
            rows.append(
                {
                    "method": label,
                    "score": base,
                    "subset": score.subset or ALL,
                    "value": rounded(shown(score.value, metric.unit)),
                    "low": rounded(shown(low, metric.unit)),
                    "high": rounded(shown(high, metric.unit)),
                    "text": format_score(result, score),
                }
            )
    # what has no subsets is drawn by `intervals`
    several = {row["score"] for row in rows if row["subset"] != ALL}
    return [r for r in rows if r["score"] in several], {k: v for k, v in titles.items() if k in several}


def subsets(group: Group, figure: Subsets, anchor: str) -> Chart | None:
    """Scores of several subsets side by side, as a task declares them; None where nothing was measured on any."""
    rows, titles = _subset_rows(group, figure)
    if not rows:
        return None
    names = list(titles)
    methods = [label for label in group.labels if any(row["method"] == label for row in rows)]
    there = dict.fromkeys(row["subset"] for row in rows)
    order = [s for s in (ALL, *(figure.subsets or [s for s in there if s != ALL])) if s in there]
    main = None if (score := group.main_score) is None else score_name(score.metric, score.scenario)
    # colours come again after six methods, then with another shape
    turn = [(i + i // len(COLOURS)) % len(_SHAPES) for i in range(len(methods))]
    x = {"field": "subset", "type": "ordinal", "sort": order, "title": figure.x or None, "axis": {"labelAngle": 0, "grid": False}}  # fmt: skip
    spec = {
        "data": {"values": rows},
        "params": [select("shown", "Score", names, main)],
        "transform": [{"filter": "datum.score == shown"}],
        "title": {
            "text": {"expr": "shown"},
            "subtitle": {"expr": f"({lookup(titles)})[shown]"},
            "anchor": "start",
        },
        "width": "container",
        "height": 260,
        "encoding": {
            "x": x,
            "xOffset": {"field": "method", "sort": methods},
            "color": series(methods)["color"],
            "tooltip": [{"field": "method"}, {"field": "subset"}, {"field": "text", "title": "score [95 %]"}],
        },
        "layer": [
            {
                "mark": {"type": "rule", "strokeWidth": 2},
                "encoding": {
                    "y": {"field": "low", "type": "quantitative", "title": None, "scale": {"zero": True}},
                    "y2": {"field": "high"},
                },
            },
            {
                "mark": {"type": "point", "filled": True, "size": 55, "opacity": 1},
                "encoding": {
                    "y": {"field": "value", "type": "quantitative"},
                    "shape": {
                        "field": "method",
                        "title": None,
                        "scale": {"domain": methods, "range": [_SHAPES[k] for k in turn]},
                    },
                },
            },
        ],
    }

    def draw(print_figure: Any) -> None:
        panels = print_figure.subplots(1, len(names), squeeze=False)[0]
        for panel, name in zip(panels, names, strict=True):
            for i, method in enumerate(methods):
                own = [r for r in rows if (r["method"], r["score"]) == (method, name)]
                panel.errorbar(
                    [order.index(r["subset"]) + 0.7 * ((i + 0.5) / len(methods) - 0.5) for r in own],
                    [r["value"] for r in own],
                    yerr=np.abs([[r["value"] - r["low"] for r in own], [r["high"] - r["value"] for r in own]]),
                    fmt=MARKERS[turn[i]], color=COLOURS[i % len(COLOURS)], linewidth=1, markersize=3.5,
                    label=shorten(method),
                )  # fmt: skip
            panel.set_xticks(range(len(order)), order)
            panel.set_xlabel(figure.x)
            panel.set_title(f"{name}, {titles[name]}", loc="left", fontsize=7)
            plain(panel)
        panels[-1].legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=7, frameon=False)

    return Chart(
        name=f"{anchor}-{slug(figure.title)}",
        title=figure.title,
        caption=f"{figure.caption} Line: 95 % interval.".strip(),
        alt=f"Scores of {len(methods)} methods on {group.dataset} under {group.task} for {', '.join(order)}, with 95 percent intervals. "
        "The table of all scores holds the same numbers.",
        spec=spec,
        draw=draw,
        size=(3.4 * len(names) + 1.8, 3.1),
    )
