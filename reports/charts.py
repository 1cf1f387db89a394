"""Charts of a report, each once: the rows it shows, how it is drawn for print (matplotlib) and on the page (Vega-Lite).

A task needs no chart of its own: its scores are drawn by `intervals`, those of small, medium and large people by `by_size`. One that
leaves a file in its artefacts may have more: add a function to `OF_ARTEFACT` under the file's name. It gets the group of results and
their evidence, and returns None where there is nothing to draw.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dp2bench.core.results import Metric, Result, Score, score_name
from dp2bench.reports import tables
from dp2bench.reports.load import Artifacts, Report
from dp2bench.reports.tables import Column, Group

# Okabe and Ito: told apart by colour-blind readers. The page has lighter ones for dark mode, under the same names.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B8860B", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P")
DASHES = ((1, 0), (6, 2), (2, 2), (8, 2, 2, 2))
"""With more series than colours, the next dash: colour and dash together name a series."""
_CSS_COLOURS = tuple(f"var(--series-{i + 1})" for i in range(len(COLOURS)))
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


def shorten(label: str) -> str:
    """A label that leaves room for the figure."""
    return label if len(label) <= _WIDE else label[: _WIDE - 1] + "…"


def shown(value: float, unit: str) -> float:
    """The value as charts show it: fractions in percent."""
    return 100 * value if unit == "fraction" else value


def _explained(metric: Metric) -> str:
    """``percent, lower is better``."""
    unit = "percent" if metric.unit == "fraction" else metric.unit
    return f"{unit}, {'higher' if metric.higher_is_better else 'lower'} is better"


def _select(name: str, label: str, options: Sequence[str], value: str | None = None) -> dict[str, Any]:
    """A parameter; one that has a choice gets a drop-down list."""
    chosen = value if value in options else options[0]
    parameter: dict[str, Any] = {"name": name, "value": chosen}
    if len(options) > 1:
        parameter["bind"] = {"input": "select", "options": list(options), "name": f"{label} "}
    return parameter


def _number(value: float) -> float:
    """Rounded for the page, where more digits only cost room."""
    return float(f"{value:.5g}")


def _series(labels: Sequence[str]) -> dict[str, Any]:
    """Encoding that gives each method its colour and, when these run out, another dash."""
    domain = list(labels)
    return {
        "color": {
            "field": "method",
            "title": None,
            "scale": {
                "domain": domain,
                "range": [_CSS_COLOURS[i % len(COLOURS)] for i in range(len(domain))],
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


def _style(i: int) -> dict[str, Any]:
    dash = DASHES[i // len(COLOURS) % len(DASHES)]
    return {"color": COLOURS[i % len(COLOURS)], "linestyle": "-" if dash == (1, 0) else (0, dash)}


def _visible(results: Sequence[Result]) -> list[int]:
    return [i for i, r in enumerate(results) if r.status == "ok"]


def intervals(group: Group, anchor: str) -> Chart | None:
    """Every score of a group with its interval and chance, a row for each method."""
    rows: list[dict[str, Any]] = []
    for label, result in zip(group.labels, group.results, strict=True):
        for score in result.scores:
            if result.status != "ok" or not tables.printable(result, score):
                continue
            unit = result.metric(score).unit
            low, high = score.ci95 or (score.value, score.value)
            row = {
                "method": label,
                "score": score.name,
                "value": _number(shown(score.value, unit)),
                "low": _number(shown(low, unit)),
                "high": _number(shown(high, unit)),
                "text": tables.format_score(result, score),
                "people": tables.format_coverage(result.coverage),
                "n": score.n,
            }
            if score.chance is not None:
                row["chance"] = _number(shown(score.chance, unit))
            rows.append(row)
    if not rows:
        return None
    names = [n for n in group.score_names if any(row["score"] == n for row in rows)]
    main = group.main_score.name if group.main_score is not None else None
    order = [label for label in group.labels if any(row["method"] == label for row in rows)]
    units = {n: _explained(group.metric(n)) for n in names}
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
        "params": [_select("shown", "Score", names, main)],
        "transform": [{"filter": "datum.score == shown"}],
        "title": {
            "text": {"expr": "shown"},
            "subtitle": {"expr": f"({_lookup(units)})[shown]"},
            "anchor": "start",
        },
        "width": "container",
        "height": 26 * len(order) + 10,
        "encoding": {"y": y, "tooltip": tooltip},
        "layer": [
            {
                "mark": {"type": "rule", "strokeWidth": 2, "color": _CSS_COLOURS[0]},
                "encoding": {
                    "x": {"field": "low", "type": "quantitative", "title": None, "scale": {"zero": True}},
                    "x2": {"field": "high"},
                },
            },
            *([tick] if chance else []),
            {
                "mark": {"type": "point", "filled": True, "size": 90, "opacity": 1, "color": _CSS_COLOURS[0]},
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


_SIZES = ("all", "small", "medium", "large")
_SHAPES = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross")


def by_size(group: Group, anchor: str) -> Chart | None:
    """Scores of small, medium and large people side by side (COCO: sides of 32 and 96 pixels), where a task has such scores."""
    bases = list(
        dict.fromkeys(
            (s.scenario, s.metric) for r in group.results for s in r.scores if s.subset in _SIZES[1:]
        )
    )
    rows: list[dict[str, Any]] = []
    titles: dict[str, str] = {}
    for label, result in zip(group.labels, group.results, strict=True):
        for score in result.scores:
            size = score.subset or "all"
            if (score.scenario, score.metric) not in bases or size not in _SIZES:
                continue
            base, metric = score_name(score.metric, score.scenario), result.metric(score)
            titles.setdefault(base, _explained(metric))
            if result.status != "ok" or not tables.printable(result, score):
                continue
            low, high = score.ci95 or (score.value, score.value)
            rows.append(
                {
                    "method": label,
                    "score": base,
                    "size": size,
                    "value": _number(shown(score.value, metric.unit)),
                    "low": _number(shown(low, metric.unit)),
                    "high": _number(shown(high, metric.unit)),
                    "text": tables.format_score(result, score),
                }
            )
    if not any(row["size"] != "all" for row in rows):
        return None
    methods = [label for label in group.labels if any(row["method"] == label for row in rows)]
    sizes = [size for size in _SIZES if any(row["size"] == size for row in rows)]
    names = list(titles)
    main = group.main_score.name if group.main_score is not None else None
    color = _series(methods)["color"]
    # colours come again after six methods, then with another shape
    turn = [(i + i // len(COLOURS)) % len(_SHAPES) for i in range(len(methods))]
    x = {"field": "size", "type": "ordinal", "sort": sizes, "title": "size of the person", "axis": {"labelAngle": 0, "grid": False}}  # fmt: skip
    spec = {
        "data": {"values": rows},
        "params": [_select("shown", "Score", names, main)],
        "transform": [{"filter": "datum.score == shown"}],
        "title": {
            "text": {"expr": "shown"},
            "subtitle": {"expr": f"({_lookup(titles)})[shown]"},
            "anchor": "start",
        },
        "width": "container",
        "height": 260,
        "encoding": {
            "x": x,
            "xOffset": {"field": "method", "sort": methods},
            "color": color,
            "tooltip": [{"field": "method"}, {"field": "size"}, {"field": "text", "title": "score [95 %]"}],
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

    def draw(figure: Any) -> None:
        panels = figure.subplots(1, len(names), squeeze=False)[0]
        for panel, base in zip(panels, names, strict=True):
            for i, method in enumerate(methods):
                own = [r for r in rows if (r["method"], r["score"]) == (method, base)]
                panel.errorbar(
                    [sizes.index(r["size"]) + 0.7 * ((i + 0.5) / len(methods) - 0.5) for r in own],
                    [r["value"] for r in own],
                    yerr=np.abs([[r["value"] - r["low"] for r in own], [r["high"] - r["value"] for r in own]]),
                    fmt=MARKERS[turn[i]], color=COLOURS[i % len(COLOURS)], linewidth=1, markersize=3.5,
                    label=shorten(method),
                )  # fmt: skip
            panel.set_xticks(range(len(sizes)), sizes)
            panel.set_title(f"{base}, {titles[base]}", loc="left", fontsize=7)
            _plain(panel)
        panels[-1].legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=7, frameon=False)

    return Chart(
        name=f"{anchor}-size",
        title="By the size of people",
        caption="Small, medium and large as COCO has them: less than 32 x 32 pixels, up to 96 x 96, and more. Line: 95 % interval.",
        alt=f"Scores of {len(methods)} methods on {group.dataset} under {group.task} for people of each size, with 95 percent intervals. "
        "The table of all scores holds the same numbers.",
        spec=spec,
        draw=draw,
        size=(3.4 * len(names) + 1.8, 3.1),
    )


def _lookup(table: Mapping[str, str]) -> str:
    """A Vega expression of a table."""
    return json.dumps(table, ensure_ascii=False)


def _pairs(columns: Sequence[Column]) -> list[tuple[Column, Column]]:
    scored = [c for c in columns if c.score is not None]
    privacy = [c for c in scored if c.kind == "privacy"]
    return [(p, other) for other in scored if other.kind != "privacy" for p in privacy]


def _point(column: Column, result: Result | None) -> tuple[float, float, float] | None:
    if result is None or result.status != "ok" or column.score is None:
        return None
    score = result.find(column.score.name)
    if score is None or not tables.printable(result, score):
        return None
    low, high = score.ci95 or (score.value, score.value)
    unit = result.metric(score).unit
    return shown(score.value, unit), shown(low, unit), shown(high, unit)


def trade_off(report: Report) -> Chart | None:
    """Identity left against every other main score: who is private AND useful."""
    columns, table = tables.overview(report.results, report.names)
    pairs = _pairs(columns)
    titles = dict(zip(columns, tables.overview_titles(columns), strict=True))
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
    name = {c: titles[c] if c.kind == "privacy" else f"{c.kind}: {titles[c]}" for pair in drawn for c in pair}
    rows = [
        {
            "method": label, "privacy": name[p], "other": name[o],
            "y": _number(y[0]), "y1": _number(y[1]), "y2": _number(y[2]),
            "x": _number(x[0]), "x1": _number(x[1]), "x2": _number(x[2]),
        }
        for (p, o), points in drawn.items()
        for label, y, x in points
    ]  # fmt: skip
    across = list(dict.fromkeys(name[o] for _, o in drawn))
    x_of = {
        "type": "quantitative",
        "title": "the other score",
        "scale": {"zero": False, "nice": False, "padding": 24},
    }
    y_of = {"type": "quantitative", "title": "identity left", "scale": {"zero": True}}
    line = {"type": "rule", "color": _CSS_COLOURS[0], "opacity": 0.55, "strokeWidth": 1.5}
    spec = {
        "data": {"values": rows},
        "params": [
            _select("up", "Privacy", list(dict.fromkeys(name[p] for p, _ in drawn))),
            _select("along", "Against", across),
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
        "title": {"text": {"expr": "'↕ ' + up"}, "subtitle": {"expr": "'↔ ' + along"}, "anchor": "start"},
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
                "mark": {"type": "point", "filled": True, "size": 90, "opacity": 1, "color": _CSS_COLOURS[0]},
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
            _plain(panel)

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


def _plain(panel: Any) -> None:
    panel.grid(color="0.9", linewidth=0.6)
    panel.set_axisbelow(True)
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)


def _scenarios(objects: Iterable[Mapping[str, Any]], main: Score | None) -> list[str]:
    """Scenarios of a re-identification, the main one first and the control last."""
    names = dict.fromkeys(name for o in objects for name in o)
    first = main.scenario if main is not None else ""
    return sorted(names, key=lambda n: (n != first, n == "clear-clear"))


def _curves(group: Group, evidence: Sequence[Artifacts]) -> dict[str, list[Mapping[str, Any]]]:
    """``reid.json`` of every seed by method's label; methods that may not be shown are left out."""
    found = {}
    for i in _visible(group.results):
        result = group.results[i]
        # the curves say what the scores say, and so need a coverage as they do
        if all(tables.printable(result, s) for s in result.scores) and (
            objects := evidence[i].objects("reid.json")
        ):
            found[group.labels[i]] = list(objects)
    return found


def _mean(objects: Sequence[Mapping[str, Any]], scenario: str, key: str) -> Any:
    """Mean over seeds, (N,) float64; None where no seed has it."""
    curves = [o[scenario][key] for o in objects if scenario in o]
    return np.mean(curves, axis=0) if curves else None


_RANKS = 20


def match_curves(group: Group, evidence: Sequence[Artifacts], anchor: str) -> Chart | None:
    """CMC: share of queries whose person is among the first k answers."""
    by_method = _curves(group, evidence)
    if not by_method:
        return None
    scenarios = _scenarios((o for objects in by_method.values() for o in objects), group.main_score)
    curves = {
        (label, scenario): (100 * cmc[:_RANKS], 100 * _mean(objects, scenario, "chance")[:_RANKS])
        for label, objects in by_method.items()
        for scenario in scenarios
        if (cmc := _mean(objects, scenario, "cmc")) is not None
    }
    rows = [
        {"method": label, "scenario": scenario, "rank": k + 1, "share": _number(v)}
        for (label, scenario), (cmc, _) in curves.items()
        for k, v in enumerate(cmc)
    ]
    floors = {s: np.mean([c for (_, t), (_, c) in curves.items() if t == s], axis=0) for s in scenarios}
    rows += [
        {"scenario": s, "rank": k + 1, "chance": _number(v)}
        for s, floor in floors.items()
        for k, v in enumerate(floor)
    ]
    x = {"field": "rank", "type": "quantitative", "title": "rank k", "scale": {"domain": [1, _RANKS]}}
    y_scale = {"domain": [0, 100]}
    labels = list(by_method)
    spec = {
        "data": {"values": rows},
        "params": [_select("scenario", "Query-gallery", scenarios)],
        "transform": [{"filter": "datum.scenario == scenario"}],
        "width": "container",
        "height": 320,
        "layer": [
            {
                "transform": [{"filter": "isValid(datum.share)"}],
                "params": [
                    {"name": "pick", "select": {"type": "point", "fields": ["method"]}, "bind": "legend"}
                ],
                "mark": {"type": "line", "strokeWidth": 2.2, "tooltip": True},
                "encoding": {
                    "x": x,
                    "y": {
                        "field": "share",
                        "type": "quantitative",
                        "title": "found by rank k, percent",
                        "scale": y_scale,
                    },
                    **_series(labels),
                    "opacity": {"condition": {"param": "pick", "value": 1}, "value": 0.15},
                },
            },
            {
                "transform": [{"filter": "isValid(datum.chance)"}],
                "mark": {"type": "line", "strokeWidth": 1.5, "strokeDash": [2, 3], "color": "var(--muted)"},
                "encoding": {"x": x, "y": {"field": "chance", "type": "quantitative", "scale": y_scale}},
            },
        ],
    }
    drawn = [s for s in scenarios if s != "clear-clear"] or scenarios

    def draw(figure: Any) -> None:
        panels = figure.subplots(1, len(drawn), squeeze=False, sharey=True)[0]
        for panel, scenario in zip(panels, drawn, strict=True):
            for i, label in enumerate(labels):
                if (label, scenario) in curves:
                    cmc = curves[label, scenario][0]
                    panel.plot(range(1, len(cmc) + 1), cmc, label=shorten(label), linewidth=1.3, **_style(i))
            floor = floors[scenario]
            panel.plot(range(1, len(floor) + 1), floor, ":", color="0.4", linewidth=1, label="chance")
            panel.set_title(scenario, loc="left", fontsize=8)
            panel.set_xlabel("rank k")
            panel.set_xticks([1, *range(5, _RANKS + 1, 5)])
            panel.set_ylim(0, 101)
            _plain(panel)
        panels[0].set_ylabel("found by rank k, percent")
        panels[-1].legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=7, frameon=False)

    at = [k for k in (1, 2, 5, 10, 20) if k <= max(len(c) for c, _ in curves.values())]
    return Chart(
        name=f"{anchor}-cmc",
        title="How soon the right person comes (CMC)",
        caption="Share of queries whose person is among the first k answers of the gallery; higher means less private. Dotted: chance. "
        "Mean over seeds. Choose a method in the legend to see it alone.",
        alt=f"Cumulative match characteristic of {len(labels)} methods over ranks 1 to {_RANKS}; numbers in the table below.",
        spec=spec,
        draw=draw,
        size=(3.4 * len(drawn) + 1.8, 3.1),
        table=(
            ["method", "query-gallery", *(f"rank {k}" for k in at)],
            [
                [label, scenario, *(f"{cmc[k - 1]:.1f}" for k in at)]
                for (label, scenario), (cmc, _) in curves.items()
            ],
        ),
    )


def _overlap(mated: Any, other: Any) -> float:
    """Share of two normalised histograms that lies on top of each other: 1 where nothing tells them apart."""
    return float(np.minimum(mated, other).sum())


def pair_distances(group: Group, evidence: Sequence[Artifacts], anchor: str) -> Chart | None:
    """Histograms of the attacker's distances: pictures of one person against pictures of two."""
    by_method = _curves(group, evidence)
    scenarios = _scenarios((o for objects in by_method.values() for o in objects), group.main_score)
    kept: dict[tuple[str, str], tuple[Any, Any, Any]] = {}
    for label, objects in by_method.items():
        for scenario in scenarios:
            # seeds are trained anew and have scales of their own: the first is shown
            curve = next((o[scenario] for o in objects if scenario in o), None)
            if curve is None or not sum(curve["mated"]) or not sum(curve["non_mated"]):
                continue
            mated, other = (np.array(curve[k], float) for k in ("mated", "non_mated"))
            kept[label, scenario] = (np.array(curve["edges"]), mated / mated.sum(), other / other.sum())
    if not kept:
        return None
    pairs = ("same person", "different people")
    rows = [
        {
            "method": label, "scenario": scenario, "pair": pair, "x": _number(edges[b]), "share":
            _number(100 * share[b]),
        }
        for (label, scenario), (edges, *shares) in kept.items()
        for pair, share in zip(pairs, shares, strict=True)
        for b in range(_last(shares) + 1)
    ]  # fmt: skip
    labels = list(by_method)
    spec = {
        "data": {"values": rows},
        "params": [_select("scenario", "Query-gallery", scenarios)],
        "transform": [{"filter": "datum.scenario == scenario"}],
        "facet": {"field": "method", "sort": labels, "title": None, "header": {"labelAnchor": "start"}},
        "columns": 1,
        "align": "all",
        "spec": {
            "height": 64,
            "mark": {
                "type": "area",
                "interpolate": "step-after",
                "opacity": 0.45,
                "line": {"strokeWidth": 1.5},
                "tooltip": True,
            },
            "encoding": {
                "x": {
                    "field": "x",
                    "type": "quantitative",
                    "title": "distance",
                    "axis": {"tickCount": 5},
                },
                "y": {
                    "field": "share", "type": "quantitative", "stack": None, "title": "% of pairs",
                    "axis": {"tickCount": 2},
                },
                "color": {
                    "field": "pair", "title": None,
                    "scale": {"domain": list(pairs), "range": [_CSS_COLOURS[1], _CSS_COLOURS[0]]},
                },
            },
        },
        "resolve": {"scale": {"y": "independent"}},
    }  # fmt: skip
    shown_scenario = scenarios[0]
    drawn = [label for label in labels if (label, shown_scenario) in kept]
    wide = min(3, max(1, len(drawn)))
    deep = math.ceil(len(drawn) / wide)

    def draw(figure: Any) -> None:
        panels = figure.subplots(deep, wide, squeeze=False, sharex=True).ravel()
        for panel in panels[len(drawn) :]:
            panel.set_visible(False)
        for panel, label in zip(panels, drawn, strict=False):
            edges, mated, other = kept[label, shown_scenario]
            for share, colour, name in ((mated, COLOURS[1], pairs[0]), (other, COLOURS[0], pairs[1])):
                panel.stairs(100 * share, edges, fill=True, alpha=0.4, color=colour, label=name)
            panel.set_title(shorten(label), loc="left", fontsize=8)
            _plain(panel)
        figure.supxlabel(f"distance, {shown_scenario}", fontsize=8)
        figure.supylabel("percent of pairs", fontsize=8)
        figure.legend(
            *panels[0].get_legend_handles_labels(),
            loc="outside upper right",
            ncols=2,
            fontsize=7,
            frameon=False,
        )

    return Chart(
        name=f"{anchor}-distances",
        title="How far apart the attacker sees people",
        caption="Distances between pictures of the same person by different cameras, and of different people. The more the two lie on top of each "
        "other, the less the attacker can tell. First seed.",
        alt=f"Histograms of distances for {len(drawn)} methods; the overlap of the two is in the table below.",
        spec=spec,
        draw=draw if drawn else None,
        size=(2.4 * wide, 1.7 * deep + 0.4),
        table=(
            ["method", "query-gallery", "overlap of the two histograms, percent"],
            [[label, s, f"{100 * _overlap(m, o):.1f}"] for (label, s), (_, m, o) in kept.items()],
        ),
    )


def _last(shares: Sequence[Any]) -> int:
    """The last bin in which there is anything, and one more so that the step comes down."""
    filled = [int(np.flatnonzero(share)[-1]) for share in shares]
    return min(max(filled) + 1, len(shares[0]) - 1)


OF_ARTEFACT: Mapping[str, Sequence[Callable[[Group, Sequence[Artifacts], str], Chart | None]]] = {
    "reid.json": (match_curves, pair_distances)
}
"""By a file that tasks leave in their artefacts: the charts it gives."""


def of_group(report: Report, group: Group, anchor: str) -> list[Chart]:
    """Every chart of a dataset and task."""
    evidence = [report.evidence[i] for i in group.indices]
    charts = [intervals(group, anchor), by_size(group, anchor)]
    for name, makers in OF_ARTEFACT.items():
        if any(e.files(name) for e in evidence):
            charts += [make(group, evidence, anchor) for make in makers]
    return [chart for chart in charts if chart is not None]


def anchors(groups: Sequence[Group]) -> list[str]:
    """A name for each group that may stand in a file's name and an address; no two are alike."""
    names: list[str] = []
    for group in groups:
        plain = "".join(
            c if c.isascii() and c.isalnum() else "-" for c in f"{group.dataset}-{group.task}".lower()
        )
        name, n = plain, 2
        while name in names:
            name, n = f"{plain}-{n}", n + 1
        names.append(name)
    return names
