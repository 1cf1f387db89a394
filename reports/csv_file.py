"""Every score as a line of numbers, for other programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from dp2bench.core.results import Result
from dp2bench.reports.groups import groups, known_people, printable
from dp2bench.reports.texts import NO_COVERAGE, failure_text

COLUMNS = (
    "dataset", "dataset_version", "task", "settings", "kind", "method", "run", "status", "score", "value", "ci95_low", "ci95_high",
    "chance", "unit",
    "higher_is_better", "n", "seeds", "anonymized", "known", "failed_open", "undetected", "note", "command", "scenario", "metric", "subset",
    "chance_high", "p_value", "lift",
)  # fmt: skip


def scores(results: Sequence[Result], command: str = "", runs: Sequence[str] = ()) -> str:
    """All scores, a line each, as unrounded numbers. A failed result is a line with its reason under
    ``note``.
    """
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for group in groups(results, runs):
        for index, label, result in zip(group.indices, group.labels, group.results, strict=True):
            base: dict[str, object] = {
                "dataset": group.dataset,
                "dataset_version": result.provenance.dataset_version if result.provenance else "",
                "task": group.task,
                "settings": group.settings,
                "kind": group.kind,
                "method": label,
                "run": runs[index] if runs else "",
                "status": result.status,
                "seeds": " ".join(map(str, result.spec.seeds)),
                "command": command,
            }
            if result.coverage is not None:
                base |= {
                    "anonymized": result.coverage.anonymized,
                    "known": known_people(result.coverage),
                    "failed_open": result.coverage.failed_open,
                    "undetected": "unknown"
                    if result.coverage.undetected is None
                    else result.coverage.undetected,
                }
            if result.status != "ok":
                writer.writerow(base | {"note": failure_text(result)})
                continue
            for score in result.scores:
                metric = result.metric(score)
                row = base | {
                    "score": score.name,
                    "scenario": score.scenario,
                    "metric": score.metric,
                    "subset": score.subset,
                    "unit": metric.unit,
                    "higher_is_better": metric.higher_is_better,
                    "n": score.n,
                }
                if printable(result, score):
                    low, high = score.ci95 or ("", "")
                    told = ("chance", "chance_high", "p_value", "lift")
                    known = {key: v for key in told if (v := getattr(score, key)) is not None}
                    row |= {"value": score.value, "ci95_low": low, "ci95_high": high, **known}
                else:
                    row["note"] = NO_COVERAGE
                writer.writerow(row)
    return stream.getvalue()
