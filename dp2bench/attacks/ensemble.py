"""Re-identification by attackers who know clear pictures only, together and without the cameras' colours."""

from __future__ import annotations

from typing import ClassVar

from dp2bench.attacks.adaptive import ensemble_features
from dp2bench.attacks.learning import Rows
from dp2bench.attacks.retrieval import RetrievalAttack
from dp2bench.core.attacks import AttackMeta, Scenario, Split, Version


class Ensemble(RetrievalAttack):
    """The features of `Adaptive` as they are: the strongest attacker who never saw the method."""

    meta: ClassVar[AttackMeta] = AttackMeta(
        name="ensemble",
        title="clear-trained ensemble",
        claim="Someone who never saw the method's output finds people in it.",
    )
    scenarios = (Scenario("clear", "clear", "anonymized"), Scenario("clear", "anonymized", "anonymized"))
    learns = False

    def describe(self, split: Split, version: Version) -> Rows:
        """See `RetrievalAttack.describe`."""
        return ensemble_features(split, version)
