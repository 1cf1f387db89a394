"""Who was found, who was anonymized, and who failed open: by category, by size, against the annotated people where there are any."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from dp2bench.core.contracts import Dataset, RunContext, Task, TaskMeta
from dp2bench.core.errors import DatasetError, Dp2benchError
from dp2bench.core.figures import Subsets
from dp2bench.core.layouts import PICTURES
from dp2bench.core.results import Metric
from dp2bench.core.types import Category, People
from dp2bench.metrics.coverage import SIZES, match, size_of


class DetectionCoverage(Task):
    """Shares of people. Someone counts as anonymized who was found and whom the method did not report as missed.

    Without annotations the known people are the found ones, and nobody can tell who was never found.

    Args:
        split: one of the dataset's; all of them by default, as all are anonymized.
        iou: overlap of boxes from which a detection stands for an annotated person.

    """

    meta: ClassVar[TaskMeta] = TaskMeta(
        name="detection-coverage",
        version="1",
        kind="coverage",
        main_score="anonymized",
        layouts=PICTURES,
        metrics={
            "anonymized": Metric(higher_is_better=True, title="people anonymized"),
            "failed_open": Metric(higher_is_better=False, title="people left as they are"),
            "found": Metric(higher_is_better=True, title="annotated people found"),
            "share": Metric(higher_is_better=True, title="found people of the category"),
            "missed": Metric(higher_is_better=False, title="found people of the category left as they are"),
            "detections_without_person": Metric(
                higher_is_better=False, title="detections that stand for nobody annotated"
            ),
        },
        figures=(
            Subsets(
                title="By the size of people",
                caption="Small, medium and large as COCO has them: less than 32 x 32 pixels, up to 96 x 96, and more.",
                metrics=("anonymized", "failed_open", "found"),
                subsets=tuple(SIZES),
                x="size of the person",
            ),
        ),
        description="Shares of people found, anonymized and failed open, by category and size.",
        reference="DeepPrivacy2, WACV 2023, section 3.1 (categories); COCO (sizes).",
    )

    def __init__(self, *, split: str | None = None, iou: float = 0.5) -> None:
        if not 0 < iou <= 1:
            raise Dp2benchError(f"detection-coverage: iou {iou} is not within (0, 1].", "Use e.g. 0.5.")
        self.split = split
        self.iou = iou

    @property
    def arguments(self) -> Mapping[str, Any]:
        """See `Task.arguments`."""
        return {"split": self.split, "iou": self.iou}

    def splits(self, dataset: Dataset) -> Sequence[str]:
        """See `Task.splits`."""
        return (self.split,) if self.split else dataset.meta.splits

    def run(self, clear: Dataset, anonymized: Dataset, context: RunContext) -> None:
        """See `Task.run`. Every person is a unit of the scores, and a row of ``people.csv``."""
        rows: list[dict[str, Any]] = []
        extra = 0
        annotated_at_all = False
        splits = self.splits(clear)
        for split in splits:
            for sample in clear.samples(split):
                found = context.people.get(split, {}).get(sample.id)
                if found is None:  # a file that is no picture: nobody was looked for, and it is in no output
                    continue
                missed = context.missed.get(split, {}).get(sample.id, {})
                annotated = clear.people(sample)
                annotated_at_all |= annotated is not None
                name = f"{split}/{sample.id}"
                rows += _rows(name, found, annotated, missed, self.iou)
                if annotated is not None:
                    extra += len(found) - int((match(annotated.boxes, found.boxes, self.iou) >= 0).sum())
        if not rows:
            raise DatasetError(
                f"Nobody is annotated or found in {clear.meta.name} ({', '.join(splits)}).",
                "Choose another detector, or a dataset with people.",
            )
        with (context.artefacts / "people.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["person", "size", "category", "found", "anonymized", "reason"])
            writer.writeheader()
            writer.writerows(rows)
        _record(rows, extra, annotated_at_all, context)


def _rows(
    name: str, found: People, annotated: People | None, missed: Mapping[int, str], iou: float
) -> list[dict[str, Any]]:
    """One row a known person: the annotated ones, or the found ones where nobody annotated."""
    people = found if annotated is None else annotated
    partner = range(len(found)) if annotated is None else match(annotated.boxes, found.boxes, iou).tolist()
    rows = []
    for i, j in enumerate(partner):
        x0, y0, x1, y1 = people.boxes[i].tolist()
        area = float((x1 - x0) * (y1 - y0)) if people.masks is None else float(people.masks[i].sum())
        rows.append(
            {
                "person": f"{name}:{i}",
                "size": size_of(area),
                "category": Category(int(found.categories[j])).name.lower() if j >= 0 else "",
                "found": int(j >= 0),
                "anonymized": int(j >= 0 and j not in missed),
                "reason": "not found" if j < 0 else missed.get(j, ""),
            }
        )
    return rows


def _record(rows: list[dict[str, Any]], extra: int, annotated: bool, context: RunContext) -> None:
    def record(metric: str, subset: str, people: Mapping[str, float]) -> None:
        if people:
            context.record(metric, people, subset=subset)

    groups = {"": rows} | {size: [r for r in rows if r["size"] == size] for size in SIZES}
    for size, group in groups.items():
        record("anonymized", size, {r["person"]: float(r["anonymized"]) for r in group})
        record("failed_open", size, {r["person"]: 1.0 - r["anonymized"] for r in group})
        if annotated:
            record("found", size, {r["person"]: float(r["found"]) for r in group})
    there = [r for r in rows if r["found"]]
    for category in Category:
        label = category.name.lower()
        record("share", label, {r["person"]: float(r["category"] == label) for r in there})
        same = [r for r in there if r["category"] == label]
        record("missed", label, {r["person"]: 1.0 - r["anonymized"] for r in same})
    if annotated and (there or extra):
        n = extra + len(there)
        context.record("detections_without_person", value=extra / n, n=n)
