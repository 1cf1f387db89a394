"""Re-identification by outline alone: no pixel of the person is looked at."""

from __future__ import annotations

from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from dp2bench.attacks.learning import Rows
from dp2bench.attacks.networks import OUTLINE_SIZE, OUTLINES
from dp2bench.attacks.retrieval import ADAPTED, RetrievalAttack
from dp2bench.core.attacks import AttackMeta, Scenario, Split, Version
from dp2bench.metrics.changes import changed_pixels

VISIBLE = 0.1
"""Where less than this share of a person's pixels changed, their outline is there to be seen."""


def replaced_region(split: Split) -> NDArray[np.bool_]:
    """(N, H, W): what the method replaced, read off the two versions; the person's true mask where it replaced nothing of them."""
    masks = split.clear.masks
    assert masks is not None
    regions = np.stack(
        [changed_pixels(a, b) for a, b in zip(split.clear.pictures, split.anonymized.pictures, strict=True)]
    )
    inside = (regions & masks).sum((1, 2)) / np.maximum(masks.sum((1, 2)), 1)
    regions[inside < VISIBLE] = masks[inside < VISIBLE]
    return regions


def reduced(masks: NDArray[np.bool_]) -> Rows:
    """(N, 1152): masks at 24 x 48, values 0..1."""
    small = [
        cv2.resize(m.astype(np.float32), OUTLINE_SIZE, interpolation=cv2.INTER_AREA).ravel() for m in masks
    ]
    return np.stack(small)


class Silhouette(RetrievalAttack):
    """The outline of what was replaced, learned from other people's outlines.

    An upper bound for whoever sees the region well: every method that replaces exactly a person's pixels publishes it. The control,
    ``clear-clear-clear``, is the outline of the true mask.
    """

    meta: ClassVar[AttackMeta] = AttackMeta(
        name="silhouette",
        title="silhouette",
        claim="The outline of the replaced region tells who was replaced.",
        needs=frozenset({"masks"}),
        positive="mask-out",
        negative="grey-picture",
    )
    scenarios = (*ADAPTED, Scenario("both", "clear", "anonymized"))

    def describe(self, split: Split, version: Version) -> Rows:
        """See `RetrievalAttack.describe`."""
        masks = split.clear.masks if version == "clear" else replaced_region(split)
        assert masks is not None
        return reduced(masks)


class OutputSilhouette(RetrievalAttack):
    """The outline as the embedded detector's body network segments it in a picture, of the output as of clear pictures.

    What whoever holds the output alone can see of the outline; `Silhouette` is told it.
    """

    meta: ClassVar[AttackMeta] = AttackMeta(
        name="output-silhouette",
        title="silhouette, segmented",
        claim="The outline that a detector sees in the output tells who it was.",
        positive="clear",
        negative="grey-picture",
    )
    scenarios = (*ADAPTED, Scenario("both", "clear", "anonymized"))

    def describe(self, split: Split, version: Version) -> Rows:
        """See `RetrievalAttack.describe`."""
        return split.view(version).features(OUTLINES)
