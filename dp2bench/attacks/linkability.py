"""Whether two outputs can be told to be of one person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from dp2bench.attacks.adaptive import ensemble_features
from dp2bench.attacks.learning import Projection, centred, cosine_distances, discriminant
from dp2bench.attacks.retrieval import PERMUTATIONS
from dp2bench.core.attacks import Attack, AttackMeta, Measurement, Split, Version, View
from dp2bench.core.contracts import RunContext
from dp2bench.core.seeds import derive_seed
from dp2bench.metrics.floors import relabel
from dp2bench.metrics.separation import equal_error_threshold, separate

MOST = (400, 2000)
"""Queries and gallery pictures whose pairs are looked at; of more they are drawn."""


class Linkability(Attack):
    """Pairs of outputs, taken by different cameras: do they show one person? The distance of `Adaptive` answers.

    ``linked`` is the area under the ROC curve over pairs, 0.5 by chance; ``equal-accuracy`` is the share of pairs of either kind that is
    answered rightly at one threshold for all, where both errors are equally frequent (1 - equal error rate). Every query counts the same.
    Finding somebody in a gallery asks who is nearest; this asks whether a single pair can be trusted (as arXiv 2011.07018 does for records).

    Two outputs of one *picture* share background and outline, so they are linked whatever the method; they are not asked about.
    """

    meta: ClassVar[AttackMeta] = AttackMeta(
        name="linkability",
        title="linkability",
        claim="Two outputs can be told to be of one person.",
        main_metric="linked",
        positive="own-look",
        negative="fresh-looks",
        identifies=False,
    )

    def fit(self, train: Split, context: RunContext) -> None:
        """One LDA for outputs, and one for clear pictures."""
        known = train.clear.identities > 0
        versions: tuple[Version, ...] = ("anonymized", "clear")
        self.projections: dict[Version, Projection] = {
            v: discriminant(_seen(train, v)[known], train.clear.identities[known]) for v in versions
        }

    def score(self, query: Split, gallery: Split, context: RunContext) -> Sequence[Measurement]:
        """See `Attack.score`."""
        random = np.random.default_rng(derive_seed(context.seed, "pairs"))
        rows = [
            np.sort(random.permutation(len(s.clear))[:most])
            for s, most in zip((query, gallery), MOST, strict=True)
        ]
        views = [s.clear.take(r) for s, r in zip((query, gallery), rows, strict=True)]
        closeness = {}
        for version, project in self.projections.items():
            a, b = (project(_seen(s, version)[r]) for s, r in zip((query, gallery), rows, strict=True))
            closeness[version] = -cosine_distances(a, b)
        clear = {m.metric: m.value for m in measure_pairs(closeness["clear"], *views, seed=0, permutations=0)}
        return [
            Measurement(**{**vars(m), "clear": clear[m.metric]})
            for m in measure_pairs(
                closeness["anonymized"], *views, seed=derive_seed(context.seed, "linkability")
            )
        ]


def _seen(split: Split, version: Version) -> NDArray[np.float32]:
    return centred(ensemble_features(split, version), split.view(version).cameras)


def measure_pairs(
    closeness: NDArray[np.floating],
    query: View,
    gallery: View,
    *,
    seed: int,
    permutations: int = PERMUTATIONS,
) -> list[Measurement]:
    """Area under the ROC curve and accuracy at equal error rates over pairs of pictures by different cameras.

    Args:
        closeness: (Q, G), higher where a pair looks more like one person.
        query: Q pictures.
        gallery: G pictures.
        seed: of the floor, which permutes the queries' identities within cameras.
        permutations: of the floor.

    """
    apart = query.cameras[:, None] != gallery.cameras[None]

    def judge(
        identities: NDArray[np.int64],
    ) -> tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.float64]]:
        """The queries that can be asked about; of each what it adds to the area, and to the accuracy."""
        same = (identities[:, None] == gallery.identities[None]) & (identities[:, None] > 0)
        kinds = [same & apart, ~same & apart]
        asked = np.flatnonzero(kinds[0].any(1) & kinds[1].any(1))
        kinds = [k[asked] for k in kinds]
        numbers = [closeness[asked][k] for k in kinds]
        owners = [np.nonzero(k)[0] for k in kinds]
        counts = [k.sum(1) for k in kinds]
        weights = [1.0 / c[o] for c, o in zip(counts, owners, strict=True)]
        found = separate(*numbers, *weights)
        means = [
            np.bincount(o, v, minlength=len(asked)) / c
            for o, v, c in zip(owners, found[1:], counts, strict=True)
        ]
        threshold = equal_error_threshold(*numbers, *weights)
        right = [numbers[0] > threshold, numbers[1] <= threshold]
        accuracy = [
            np.bincount(o, r, minlength=len(asked)) / c for o, r, c in zip(owners, right, counts, strict=True)
        ]
        return asked, means[0] + means[1] - found.auc, (accuracy[0] + accuracy[1]) / 2

    asked, *units = judge(query.identities)
    random = np.random.default_rng(seed)
    nulls = np.array(
        [
            [u.mean() for u in judge(query.identities[relabel(query.identities, query.cameras, random)])[1:]]
            for _ in range(permutations)
        ]
    ).reshape(-1, 2)
    names = [query.names[i] for i in asked]
    return [
        Measurement(
            metric=metric,
            value=float(values.mean()),
            units=dict(zip(names, values.tolist(), strict=True)),
            clusters=dict(zip(names, query.identities[asked].tolist(), strict=True)),
            null=null,
            chance=float(null.mean()) if len(null) else 0.5,
        )
        for metric, values, null in zip(("linked", "equal-accuracy"), units, nulls.T, strict=True)
    ]
