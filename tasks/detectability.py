"""Whether outputs can be told from real pictures, on any dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from dp2bench.core.chance import p_value, quantile
from dp2bench.core.contracts import Dataset, RunContext, Task, TaskMeta
from dp2bench.core.errors import DatasetError, Dp2benchError
from dp2bench.core.layouts import PICTURES
from dp2bench.core.results import CLUSTER, Metric
from dp2bench.core.seeds import derive_seed
from dp2bench.metrics.intervals import cluster_interval

if TYPE_CHECKING:
    from dp2bench.core.attacks import Measurement

FEWEST = 20
"""Windows without which nothing is learned."""
METRIC = "detected"


class Detectability(Task):
    """The attack `detectability` on windows around people: learned on one half of the people, asked about the other, and the other way round.

    People whom nobody names are as many as there are pictures: a picture's people are all in one half.

    Args:
        split: of the dataset; by default the one that the field tests on.
        size: pixels to whose square windows are resized.
        limit: the most windows.

    """

    meta: ClassVar[TaskMeta] = TaskMeta(
        name="detectability",
        version="1",
        kind="quality",
        main_score=METRIC,
        layouts=PICTURES,
        metrics={
            METRIC: Metric(
                higher_is_better=False,
                title="outputs told from real pictures (AUC)",
                description="Area under the ROC curve of a classifier that learned from other people; 50 % by chance.",
            )
        },
        description="How well a classifier that learned from other people tells outputs from real pictures; 50 % by chance.",
        reference="arXiv 1912.11035 (CNN-generated images are surprisingly easy to spot).",
    )

    def __init__(self, *, split: str | None = None, size: int = 128, limit: int = 800) -> None:
        self.split, self.size, self.limit = split, int(size), int(limit)
        if self.size < 32 or self.limit < FEWEST:
            raise Dp2benchError(
                f"detectability: size {self.size} and limit {self.limit} are too small.",
                f"size is 32 or more, limit {FEWEST} or more.",
            )

    @property
    def arguments(self) -> Mapping[str, Any]:
        """See `Task.arguments`."""
        return {"split": self.split, "size": self.size, "limit": self.limit}

    def splits(self, dataset: Dataset) -> Sequence[str]:
        """See `Task.splits`."""
        from dp2bench.tasks.image_quality import test_split

        return (test_split(dataset, self.split),)

    def run(self, clear: Dataset, anonymized: Dataset, context: RunContext) -> None:
        """See `Task.run`. Units are windows, named ``identity::sample:person``; intervals draw identities or pictures."""
        from dp2bench.attacks.detectability import Detectability as Attack
        from dp2bench.attacks.kinds import halves
        from dp2bench.attacks.networks import extractor
        from dp2bench.attacks.views import load_windows

        (split,) = self.splits(clear)
        extract = extractor(
            context.cache, device=context.device, threads=context.threads, progress=context.progress
        )
        size = (self.size, self.size)
        found = context.people.get(split, {})
        windows = load_windows(clear, anonymized, split, size, extract, found, most=self.limit)
        who = windows.clear.identities
        people = len(np.unique(who))
        if len(windows.clear) < FEWEST or people < 8:
            raise DatasetError(
                f"The {split} split of {clear.meta.name} has {len(windows.clear)} windows of {people} people or pictures; "
                f"{FEWEST} of 8 are needed.",
                "Take a larger dataset.",
            )
        half = halves(who, derive_seed(context.seed, "halves"))
        parts = windows.take(half), windows.take(~half)
        measured: list[Measurement] = []
        for train, test in (parts, parts[::-1]):
            attack = Attack()
            attack.fit(train, context)
            nobody = test.take(np.zeros(0, np.intp))
            measured += attack.score(test, nobody, context)
        units = {k: v for m in measured for k, v in m.units.items()}
        clusters = {k: v for m in measured for k, v in m.clusters.items()}
        share = np.array([len(m.units) for m in measured]) / len(units)
        null = np.sum([s * m.null for s, m in zip(share, measured, strict=True)], axis=0)
        value = float(np.mean(list(units.values())))
        context.record(
            METRIC,
            {f"{clusters[name]}{CLUSTER}{name}": v for name, v in units.items()},
            chance=0.5,
            chance_high=quantile(null),
            p_value=p_value(null, value),
            ci95=cluster_interval(
                list(units.values()), list(clusters.values()), seed=derive_seed(context.seed, "identities")
            ),
        )
