"""Charts that tasks declare, drawn from the files that they left: curves and histograms."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dp2bench.core.figures import Curve, Curves, Histograms
from dp2bench.reports.chart import (
    COLOURS,
    CSS_COLOURS,
    Chart,
    line_style,
    plain,
    rounded,
    select,
    series,
    shorten,
    slug,
)
from dp2bench.reports.groups import Group
from dp2bench.reports.load import Artifacts

Array = NDArray[np.float64]


def ordered_panels(group: Group, names: Iterable[str]) -> list[str]:
    """Scenarios of a figure, that of the main score first and those of clear pictures alone last."""
    main = group.main_score.scenario if group.main_score is not None else ""
    return sorted(dict.fromkeys(names), key=lambda name: (name != main, _clear_only(group, name)))


def _clear_only(group: Group, panel: str) -> bool:
    return any(r.scenarios[panel].clear_only for r in group.results if panel in r.scenarios)


def _averaged(seeds: Sequence[Mapping[str, Curve]], panel: str) -> tuple[Array, Array, Array | None] | None:
    """Places, and values and chance averaged over the seeds that were measured at the same places; None where no seed has the panel."""
    curves = [panels[panel] for panels in seeds if panel in panels]
    same = [c for c in curves if c.x == curves[0].x]
    if not same:
        return None
    chances = [c.chance for c in same if c.chance is not None]
    return (
        np.array(same[0].x),
        np.mean([c.y for c in same], axis=0),
        np.mean(chances, axis=0) if chances else None,
    )


def curves(group: Group, figure: Curves, evidence: Sequence[Artifacts], anchor: str) -> Chart | None:
    """A line for each method, and what knowing nothing gives; None where no method may be shown or left any."""
    seeds = {group.labels[i]: found for i in group.shown if (found := evidence[i].curves(figure.file))}
    panels = ordered_panels(group, (name for found in seeds.values() for one in found for name in one))
    scale = 100.0 if figure.unit == "fraction" else 1.0
    low, high = figure.x_range or (-math.inf, math.inf)
    lines: dict[tuple[str, str], tuple[Array, Array]] = {}
    chances: dict[str, list[tuple[Array, Array]]] = {panel: [] for panel in panels}
    for label, found in seeds.items():
        for panel in panels:
            if (averaged := _averaged(found, panel)) is None:
                continue
            x, y, chance = averaged
            inside = (x >= low) & (x <= high)
            lines[label, panel] = x[inside], scale * y[inside]
            if chance is not None:
                chances[panel].append((x[inside], scale * chance[inside]))
    if not any(len(x) for x, _ in lines.values()):
        return None
    # chance is estimated for each method anew: the mean of those at the same places
    floors = {
        panel: (same[0][0], np.mean([c for x, c in same if np.array_equal(x, same[0][0])], axis=0))
        for panel, same in chances.items()
        if same
    }
    rows = [
        {"method": label, "panel": panel, "x": rounded(a), "y": rounded(b)}
        for (label, panel), (x, y) in lines.items()
        for a, b in zip(x, y, strict=True)
    ]
    rows += [
        {"panel": panel, "x": rounded(a), "chance": rounded(b)}
        for panel, (x, y) in floors.items()
        for a, b in zip(x, y, strict=True)
    ]
    y_title = f"{figure.y}, {'percent' if figure.unit == 'fraction' else figure.unit}".rstrip(", ")
    labels = list(seeds)
    x_of: dict[str, Any] = {"field": "x", "type": "quantitative", "title": figure.x}
    if figure.x_range is not None:
        x_of["scale"] = {"domain": list(figure.x_range)}
    y_of: dict[str, Any] = {"type": "quantitative"}
    if figure.unit == "fraction":
        y_of["scale"] = {"domain": [0, 100]}
    spec = {
        "data": {"values": rows},
        "params": [select("panel", "Scenario", panels)],
        "transform": [{"filter": "datum.panel == panel"}],
        "width": "container",
        "height": 320,
        "layer": [
            {
                "transform": [{"filter": "isValid(datum.y)"}],
                "params": [
                    {"name": "pick", "select": {"type": "point", "fields": ["method"]}, "bind": "legend"}
                ],
                "mark": {"type": "line", "strokeWidth": 2.2, "tooltip": True},
                "encoding": {
                    "x": x_of,
                    "y": {"field": "y", "title": y_title, **y_of},
                    **series(labels),
                    "opacity": {"condition": {"param": "pick", "value": 1}, "value": 0.15},
                },
            },
            {
                "transform": [{"filter": "isValid(datum.chance)"}],
                "mark": {"type": "line", "strokeWidth": 1.5, "strokeDash": [2, 3], "color": "var(--muted)"},
                "encoding": {"x": x_of, "y": {"field": "chance", **y_of}},
            },
        ],
    }
    drawn = [p for p in panels if not _clear_only(group, p)] or panels

    def draw(print_figure: Any) -> None:
        axes = print_figure.subplots(1, len(drawn), squeeze=False, sharey=True)[0]
        for panel, name in zip(axes, drawn, strict=True):
            for i, label in enumerate(labels):
                if (label, name) in lines:
                    panel.plot(*lines[label, name], label=shorten(label), linewidth=1.3, **line_style(i))
            if name in floors:
                panel.plot(*floors[name], ":", color="0.4", linewidth=1, label="chance")
            panel.set_title(name, loc="left", fontsize=8)
            panel.set_xlabel(figure.x)
            if figure.unit == "fraction":
                panel.set_ylim(0, 101)
            plain(panel)
        axes[0].set_ylabel(y_title)
        axes[-1].legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=7, frameon=False)

    at = [v for v in figure.table_at if any(v in x for x, _ in lines.values())]
    table = [
        [label, panel, *(f"{y[x == v][0]:.4g}" if v in x else "–" for v in at)]
        for (label, panel), (x, y) in lines.items()
    ]
    dotted = " Dotted: chance." if floors else ""
    return Chart(
        name=f"{anchor}-{slug(Path(figure.file).stem)}",
        title=figure.title,
        caption=f"{figure.caption}{dotted} Mean over seeds. Choose a method in the legend to see it alone.".strip(),
        alt=f"{figure.title}: {figure.y} by {figure.x}, lines of {len(labels)} methods.",
        spec=spec,
        draw=draw,
        size=(3.4 * len(drawn) + 1.8, 3.1),
        table=(["method", "scenario", *(f"{figure.x} {v:g}" for v in at)], table) if at else ((), ()),
    )


def histograms(group: Group, figure: Histograms, evidence: Sequence[Artifacts], anchor: str) -> Chart | None:
    """How groups of values are spread, a panel for each method; None where no method may be shown or left any."""
    found = {group.labels[i]: seeds[0] for i in group.shown if (seeds := evidence[i].histograms(figure.file))}
    panels = ordered_panels(group, (name for one in found.values() for name in one))
    kept = {
        (label, panel): found[label][panel]
        for label in found
        for panel in panels
        if panel in found[label] and all(map(sum, found[label][panel].counts.values()))
    }
    if not kept:
        return None
    shares = {key: {name: _normalised(c) for name, c in h.counts.items()} for key, h in kept.items()}
    names = list(dict.fromkeys(name for groups in shares.values() for name in groups))
    colours = {name: (1, 0, 2, 3, 4, 5)[i % len(COLOURS)] for i, name in enumerate(names)}
    rows = [
        {
            "method": label, "panel": panel, "group": name, "x": rounded(histogram.edges[b]),
            "share": rounded(100 * shares[label, panel][name][b]),
        }
        for (label, panel), histogram in kept.items()
        for name in histogram.counts
        for b in range(_last(shares[label, panel].values()) + 1)
    ]  # fmt: skip
    labels = list(found)
    spec = {
        "data": {"values": rows},
        "params": [select("panel", "Scenario", panels)],
        "transform": [{"filter": "datum.panel == panel"}],
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
                "x": {"field": "x", "type": "quantitative", "title": figure.x, "axis": {"tickCount": 5}},
                "y": {
                    "field": "share", "type": "quantitative", "stack": None, "title": f"% of {figure.of}",
                    "axis": {"tickCount": 2},
                },
                "color": {
                    "field": "group", "title": None,
                    "scale": {"domain": names, "range": [CSS_COLOURS[colours[n]] for n in names]},
                },
            },
        },
        "resolve": {"scale": {"y": "independent"}},
    }  # fmt: skip
    first = panels[0]
    drawn = [label for label in labels if (label, first) in kept]
    wide = min(3, max(1, len(drawn)))
    deep = math.ceil(len(drawn) / wide)

    def draw(print_figure: Any) -> None:
        axes = print_figure.subplots(deep, wide, squeeze=False, sharex=True).ravel()
        for panel in axes[len(drawn) :]:
            panel.set_visible(False)
        for panel, label in zip(axes, drawn, strict=False):
            for name, share in shares[label, first].items():
                colour = COLOURS[colours[name]]
                panel.stairs(
                    100 * share, kept[label, first].edges, fill=True, alpha=0.4, color=colour, label=name
                )
            panel.set_title(shorten(label), loc="left", fontsize=8)
            plain(panel)
        print_figure.supxlabel(f"{figure.x}, {first}" if first else figure.x, fontsize=8)
        print_figure.supylabel(f"percent of {figure.of}", fontsize=8)
        print_figure.legend(
            *axes[0].get_legend_handles_labels(),
            loc="outside upper right",
            ncols=2,
            fontsize=7,
            frameon=False,
        )

    overlaps = [
        [label, panel, f"{100 * float(np.minimum(*groups.values()).sum()):.1f}"]
        for (label, panel), groups in shares.items()
        if len(groups) == 2
    ]
    return Chart(
        name=f"{anchor}-{slug(Path(figure.file).stem)}",
        title=figure.title,
        caption=f"{figure.caption} First seed.".strip(),
        alt=f"Histograms of the {figure.x} of {figure.of} for {len(labels)} methods; their overlap is in the table below.",
        spec=spec,
        draw=draw if drawn else None,
        size=(2.4 * wide, 1.7 * deep + 0.4),
        table=(["method", "scenario", "overlap of the two histograms, percent"], overlaps)
        if overlaps
        else ((), ()),
    )


def _normalised(counts: Sequence[float]) -> Array:
    values: Array = np.array(counts, float)
    values /= values.sum()
    return values


def _last(shares: Iterable[Array]) -> int:
    """The last bin in which there is anything, and one more so that the step comes down."""
    bins = list(shares)
    return min(max(int(np.flatnonzero(share)[-1]) for share in bins) + 1, len(bins[0]) - 1)
