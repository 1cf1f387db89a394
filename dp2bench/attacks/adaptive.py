"""Re-identification by an attacker who learned from the method's output."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from dp2bench.attacks.learning import Rows, normalized
from dp2bench.attacks.networks import ENSEMBLE
from dp2bench.attacks.retrieval import GRID, RetrievalAttack
from dp2bench.core.attacks import AttackMeta, Split, Version


def ensemble_features(split: Split, version: Version) -> Rows:
    """(N, D): the features of every frozen network side by side, each scaled to unit length."""
    view = split.view(version)
    return np.concatenate([normalized(view.features(name)) for name in ENSEMBLE], 1)


class Adaptive(RetrievalAttack):
    """Frozen features of two OSNets and EfficientNet-Lite0, and an LDA learned on the anonymized train split.

    Nothing is trained but the LDA: what a network learned about clear people is enough to read what a method leaves, once it is told
    which of its features still mean something (Kuppa et al. and others name it a parrot attack; arXiv 2304.01635).
    """

    meta: ClassVar[AttackMeta] = AttackMeta(
        name="adaptive",
        title="adaptive re-identification",
        claim="Someone who has anonymized pictures of other people, with names, finds people again in new ones.",
        positive="colour-leak",
        negative="grey-picture",
    )
    scenarios = GRID

    def describe(self, split: Split, version: Version) -> Rows:
        """See `RetrievalAttack.describe`."""
        return ensemble_features(split, version)
