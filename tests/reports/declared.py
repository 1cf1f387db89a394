"""What results of tests declare of their scores."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dp2bench.core.results import Metric, Scenario, Score
from dp2bench.core.upgrades import first_names

SCENARIOS = {
    "clear-clear": Scenario(clear_only=True),
    "clear-anonymized": Scenario(control="clear-clear"),
    "anonymized-anonymized": Scenario(control="clear-clear"),
    "clear": Scenario(clear_only=True),
}


def called(name: str) -> dict[str, str]:
    """The fields of a score that is called so."""
    return dict(zip(("scenario", "metric", "subset"), first_names(name), strict=True))


def declarations(scores: Iterable[Score], metric: Metric | None = None) -> dict[str, Any]:
    """`Result.metrics` and `Result.scenarios` of these scores, all with the same unit and direction."""
    scores = list(scores)
    return {
        "metrics": {s.metric: metric or Metric(higher_is_better=False) for s in scores},
        "scenarios": {
            name: scenario for name, scenario in SCENARIOS.items() if any(s.scenario == name for s in scores)
        },
    }
