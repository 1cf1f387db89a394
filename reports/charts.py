"""Every chart of a group of results: its scores, and what its task declares."""

from __future__ import annotations

from dataclasses import replace

from dp2bench.core.figures import Curves, Histograms, Subsets
from dp2bench.reports import figure_charts, score_charts
from dp2bench.reports.chart import Chart
from dp2bench.reports.groups import Group, anchors, groups
from dp2bench.reports.load import Report
from dp2bench.reports.trade_off import trade_off


def of_report(report: Report) -> list[Chart]:
    """Every chart: privacy against use, then those of each dataset and task."""
    found = [trade_off(report)]
    gathered = groups(report.results, report.names)
    for group, anchor in zip(gathered, anchors(gathered), strict=True):
        found += of_group(report, group, anchor)
    return [chart for chart in found if chart is not None]


def of_group(report: Report, group: Group, anchor: str) -> list[Chart]:
    """Every chart of a dataset and task."""
    evidence = [report.evidence[i] for i in group.indices]
    charts = [score_charts.intervals(group, anchor)]
    for figure in group.figures:
        if isinstance(figure, Subsets):
            charts.append(score_charts.subsets(group, figure, anchor))
        elif isinstance(figure, Curves):
            charts.append(figure_charts.curves(group, figure, evidence, anchor))
        elif isinstance(figure, Histograms):
            charts.append(figure_charts.histograms(group, figure, evidence, anchor))
    named: dict[str, Chart] = {}
    for chart in charts:
        if chart is not None:
            name, n = chart.name, 2
            while name in named:
                name, n = f"{chart.name}-{n}", n + 1
            named[name] = replace(chart, name=name)
    return list(named.values())
