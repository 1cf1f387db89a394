"""Whether somebody real is shown under another name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from dp2bench.attacks.adaptive import ensemble_features
from dp2bench.attacks.learning import Projection, Rows, cosine_distances, discriminant
from dp2bench.core.attacks import Attack, AttackMeta, Measurement, Split, Version, View
from dp2bench.core.contracts import RunContext

RARE = 0.01
"""Share of clear pictures that look as much like somebody else as an answer must to count."""


class Swap(Attack):
    """For each anonymized picture the most similar clear one of *anybody else*, in the train split or the test split.

    A method that pastes real people under other names hides everybody from re-identification and shows people all the same. An
    anonymized picture counts as somebody real where it is closer to a clear picture of another person than all but one in a hundred
    clear pictures are; by chance one in a hundred is.
    """

    meta: ClassVar[AttackMeta] = AttackMeta(
        name="swap",
        title="real people under other names",
        claim="The output shows a real person, under another's name.",
        main_metric="shown",
        positive="swap",
        negative="grey-picture",
        identifies=False,
    )

    def fit(self, train: Split, context: RunContext) -> None:
        """Learn to tell people apart on clear pictures."""
        # with the cameras' colours: a picture that was taken from another camera is itself under any name
        rows = ensemble_features(train, "clear")
        known = train.clear.identities > 0
        self.project: Projection = discriminant(rows[known], train.clear.identities[known])
        self.train_rows: Rows = self.project(rows)
        self.train_people = train.clear.identities

    def score(self, query: Split, gallery: Split, context: RunContext) -> Sequence[Measurement]:
        """See `Attack.score`."""
        views = [s.clear for s in (query, gallery)]
        clear = np.concatenate([self._seen(s, s.clear) for s in (query, gallery)])
        other = np.concatenate([self._seen(s, s.anonymized) for s in (query, gallery)])
        who = np.concatenate([v.identities for v in views])
        pool = np.concatenate([clear, self.train_rows])
        # those of the train split are other people, whatever they are called there
        people = np.concatenate([who, -1 - self.train_people])
        usual = _nearest_other(clear, who, pool, people)
        bound = np.quantile(usual[who > 0], RARE)
        shown = (_nearest_other(other, who, pool, people) < bound).astype(float)[who > 0]
        names = np.array([n for v in views for n in v.names])[who > 0].tolist()
        return [
            Measurement(
                metric="shown",
                value=float(shown.mean()),
                units=dict(zip(names, shown.tolist(), strict=True)),
                clusters=dict(zip(names, who[who > 0].tolist(), strict=True)),
                chance=RARE,
                clear=float((usual[who > 0] < bound).mean()),
            )
        ]

    def _seen(self, split: Split, view: View) -> Rows:
        version: Version = "clear" if view is split.clear else "anonymized"
        return self.project(ensemble_features(split, version))


def _nearest_other(
    rows: Rows, who: NDArray[np.int64], pool: Rows, people: NDArray[np.int64]
) -> NDArray[np.float32]:
    """(N,) distance to the nearest picture of somebody else; distractors, who may be anybody, are nobody else of each other."""
    nearest = np.full(len(rows), np.inf, np.float32)
    for start in range(0, len(rows), 256):
        block = slice(start, start + 256)
        distances = cosine_distances(rows[block], pool)
        distances[who[block, None] == people[None]] = np.inf
        nearest[block] = distances.min(1)
    return nearest
