"""How scores, coverages and failures are written, so that no privacy score stands without its coverage and interval."""

from __future__ import annotations

import math

from dp2bench.core.results import Coverage, Metric, Result, Score
from dp2bench.reports.groups import kind_of, known_people, printable

NO_COVERAGE = "no coverage"
DASH = "–"


def format_number(value: float, unit: str) -> str:
    """Fractions in percent with one digit, everything else with four digits that matter, but no more than four behind the point."""
    if unit == "fraction":
        return f"{round(100 * value, 1) + 0.0:.1f}"
    size = math.floor(math.log10(abs(value))) if value else 0
    digits = min(4, max(0, 3 - size))
    return f"{round(value, digits) + 0.0:.{digits}f}"  # -0.0 + 0.0 is 0.0


def with_unit(name: str, metric: Metric) -> str:
    """``KID``, ``seconds.12 (s)``: a score's name with its unit, unless it is a fraction or has none."""
    return name if metric.unit in ("fraction", "", "1") else f"{name} ({metric.unit})"


def format_score(result: Result, score: Score) -> str:
    """``12.3 [10.1, 14.6]`` (fractions in percent), or ``no coverage``."""
    if not printable(result, score):
        return NO_COVERAGE
    unit = result.metric(score).unit
    text = format_number(score.value, unit)
    if score.ci95 is not None:
        return f"{text} [{format_number(score.ci95[0], unit)}, {format_number(score.ci95[1], unit)}]"
    return f"{text} [no interval]" if kind_of(result) == "privacy" and not result.clear_only(score) else text


def format_chance(result: Result, score: Score | None) -> str:
    """What an attacker who knows nothing gets, in the score's unit."""
    if score is None or score.chance is None:
        return DASH
    return format_number(score.chance, result.metric(score).unit)


def format_coverage(coverage: Coverage | None) -> str:
    """``99.0 % (812/820), 8 open``: anonymized of the known people, and how many failed open.

    Without ground truth nobody knows how many people were not found, and the text says so.
    """
    if coverage is None or coverage.share is None:
        return NO_COVERAGE
    # 99.96 % is not "100.0 %": only a full count may print as full
    known = known_people(coverage)
    share = 1000 * coverage.anonymized // known / 10
    unknown = " (undetected unknown)" if coverage.undetected is None else ""
    return f"{share:.1f} % ({coverage.anonymized}/{known}), {coverage.failed_open} open{unknown}"


ABSENT = "absent"
"""What tables call a row that was not run because something is not on this machine."""


def failure_text(result: Result, limit: int = 160) -> str:
    """``error: ...`` or ``absent: ...`` in one line."""
    text: str = ABSENT if result.status == "skipped" else result.status
    if result.error is not None:
        kind = "" if result.status == "skipped" else f"{result.error.kind}: "
        text = " ".join(f"{text}: {kind}{result.error.message}".split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def arrow(metric: Metric) -> str:
    """``↑`` where a higher value is better, ``↓`` where a lower one is."""
    return "↑" if metric.higher_is_better else "↓"
