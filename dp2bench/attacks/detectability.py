"""Whether outputs can be told from real pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from dp2bench.attacks.adaptive import ensemble_features
from dp2bench.attacks.kinds import halves, measure_kinds
from dp2bench.attacks.learning import Rows, logistic
from dp2bench.core.attacks import Attack, AttackMeta, Measurement, Split, Version
from dp2bench.core.contracts import RunContext
from dp2bench.core.seeds import derive_seed

PENALTY = 0.05
"""Of the regression's squared coefficients, as a share of the mean loss."""


class Detectability(Attack):
    """Logistic regression on the features of the adaptive attacker: real pictures of the train people against outputs for them.

    The score is the area under the ROC curve on people who were not learned from, 0.5 by chance (as in arXiv 1912.11035). Half of
    them are shown as they were and the other half as they came out: who has an output's original needs no classifier.
    """

    meta: ClassVar[AttackMeta] = AttackMeta(
        name="detectability",
        title="detectability",
        claim="Outputs can be told from real pictures, so whoever looks knows who was anonymized.",
        main_metric="detected",
        positive="mask-out",
        negative="re-encoded",
        identifies=False,
    )

    def fit(self, train: Split, context: RunContext) -> None:
        """One regression; cameras keep their colours, which both kinds share."""
        rows = np.concatenate([ensemble_features(train, "clear"), ensemble_features(train, "anonymized")])
        output = np.repeat([False, True], len(train.clear))
        self.scale: Rows = np.maximum(rows.std(0), 1e-6)
        self.weights, _ = logistic(rows / self.scale, output, penalty=len(rows) * PENALTY)

    def score(self, query: Split, gallery: Split, context: RunContext) -> Sequence[Measurement]:
        """See `Attack.score`."""
        parts = (query, gallery)
        who = np.concatenate([s.clear.identities for s in parts])
        output = halves(who, derive_seed(context.seed, "outputs"))
        versions: tuple[Version, ...] = ("clear", "anonymized")
        said = {
            v: np.concatenate([ensemble_features(s, v) / self.scale @ self.weights for s in parts])
            for v in versions
        }
        names = [name for s in parts for name in s.clear.names]
        numbers = np.where(output, said["anonymized"], said["clear"])
        seed = derive_seed(context.seed, "detectability")
        return [measure_kinds(self.meta.main_metric, numbers, output, who, names, seed=seed)]
