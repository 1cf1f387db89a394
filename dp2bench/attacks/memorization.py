"""Whether a generator gives away whom it learned from: people of the train split against people whom it never saw.

The train split of a dataset is what its own generators learned from. For a generator that learned from other pictures, both splits
are strangers, and neither attack should find anything: that is the control of every run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from dp2bench.attacks.adaptive import ensemble_features
from dp2bench.attacks.kinds import measure_kinds
from dp2bench.attacks.learning import Rows, normalized
from dp2bench.attacks.retrieval import PERMUTATIONS
from dp2bench.core.attacks import Attack, AttackMeta, Measurement, Split, Version
from dp2bench.core.contracts import RunContext
from dp2bench.core.seeds import derive_seed

_VERSIONS: tuple[Version, ...] = ("clear", "anonymized")


class Membership(Attack):
    """Members' outputs are nearer to their originals than outputs for others are (GAN-Leaks, arXiv 1909.03935).

    The score is the area under the ROC curve of that nearness, people of the train split against test people; 0.5 by chance. The floor
    deals out anew who is a member. Units of train people are named ``train/``, and their identities are negative.
    """

    meta: ClassVar[AttackMeta] = AttackMeta(
        name="membership",
        title="membership",
        claim="It can be told whom the generator learned from.",
        main_metric="member-told",
        positive="overfitted",
        negative="fresh-looks",
        identifies=False,
    )

    def fit(self, train: Split, context: RunContext) -> None:
        """How near the members' outputs are."""
        known = train.clear.identities > 0
        self.near = _nearness(train)[known]
        self.who = -1 - train.clear.identities[known]
        self.names = [f"train/{n}" for n, k in zip(train.clear.names, known, strict=True) if k]

    def score(self, query: Split, gallery: Split, context: RunContext) -> Sequence[Measurement]:
        """See `Attack.score`."""
        who = np.concatenate([s.clear.identities for s in (query, gallery)])
        near = np.concatenate([_nearness(s) for s in (query, gallery)])
        names = [n for s in (query, gallery) for n in s.clear.names]
        known = np.flatnonzero(who > 0)
        return [
            measure_kinds(
                self.meta.main_metric,
                np.concatenate([self.near, near[known]]),
                np.arange(len(self.near) + len(known)) < len(self.near),
                np.concatenate([self.who, who[known]]),
                [*self.names, *(names[i] for i in known)],
                seed=derive_seed(context.seed, "membership"),
            )
        ]


def _nearness(split: Split) -> Rows:
    """(N,) how alike each output is to its original, as networks see them."""
    a, b = (normalized(ensemble_features(split, v)) for v in _VERSIONS)
    return np.asarray((a * b).sum(1), np.float32)


class Memorization(Attack):
    """Whose real picture is nearest to an output: one that the generator learned from, or one that it never saw?

    As many people of the train split as there are test people, and as many pictures of them, stand against each other. An output's own
    person is left out, and so is one of the train split, so that both sides stay equal. The score is the share of outputs that are
    nearest to a train picture (the distance to the closest record of synthetic data, arXiv 2107.06018). The floor deals out anew who is
    of the train split.
    """

    meta: ClassVar[AttackMeta] = AttackMeta(
        name="memorization",
        title="memorization",
        claim="The output reproduces somebody whom the generator learned from.",
        main_metric="reproduced",
        positive="memorized",
        negative="fresh-looks",
        identifies=False,
    )

    def fit(self, train: Split, context: RunContext) -> None:
        """The real pictures of the train split, as networks see them."""
        self.rows = normalized(ensemble_features(train, "clear"))
        self.who = -1 - train.clear.identities

    def score(self, query: Split, gallery: Split, context: RunContext) -> Sequence[Measurement]:
        """See `Attack.score`."""
        parts = (query, gallery)
        who = np.concatenate([s.clear.identities for s in parts])
        real, output = (
            np.concatenate([normalized(ensemble_features(s, v)) for s in parts]) for v in _VERSIONS
        )
        names = [n for s in parts for n in s.clear.names]
        random = np.random.default_rng(derive_seed(context.seed, "memorization"))
        sides = [np.unique(w[w != nobody]) for w, nobody in ((self.who, -1), (who, 0))]
        count = min(len(side) for side in sides)
        members, others = (random.permutation(side)[:count] for side in sides)
        drawn = np.sort(np.concatenate([members, others]))  # members' numbers are negative, and come first
        pool, people = np.concatenate([self.rows, real]), np.concatenate([self.who, who])
        # as many pictures of either side too: of two equal sides the one with more pictures is nearer
        there = np.flatnonzero(np.isin(people, drawn))
        parted = there[people[there] < 0], there[people[there] > 0]
        least = min(map(len, parted))
        kept = np.concatenate([random.permutation(rows)[:least] for rows in parted])
        asked = who > 0
        paired = dict(zip(others.tolist(), members.tolist(), strict=True))
        left_out = np.array([(w, paired.get(w, w)) for w in who[asked].tolist()]).reshape(-1, 2)
        nearest = _nearest_person(output[asked], left_out, pool[kept], people[kept])
        place = np.searchsorted(drawn, nearest)
        member = drawn < 0
        units = member[place].astype(float)
        null = np.array([random.permutation(member)[place].mean() for _ in range(PERMUTATIONS)])
        asked_names = [n for n, a in zip(names, asked, strict=True) if a]
        return [
            Measurement(
                metric=self.meta.main_metric,
                value=float(units.mean()),
                units=dict(zip(asked_names, units.tolist(), strict=True)),
                clusters=dict(zip(asked_names, who[asked].tolist(), strict=True)),
                null=null,
                chance=0.5,
            )
        ]


def _nearest_person(
    rows: Rows, left_out: NDArray[np.int64], pool: Rows, people: NDArray[np.int64]
) -> NDArray[np.int64]:
    """(N,) whose picture of the pool is nearest to each row, other than those of the (N, 2) ``left_out``."""
    nearest = np.empty(len(rows), np.int64)
    for start in range(0, len(rows), 256):
        block = slice(start, start + 256)
        alike = rows[block] @ pool.T
        alike[(left_out[block, :, None] == people).any(1)] = -np.inf
        nearest[block] = people[alike.argmax(1)]
    return nearest
