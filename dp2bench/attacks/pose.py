"""Re-identification by pose: the proportions of a skeleton."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from dp2bench.attacks.learning import Rows
from dp2bench.attacks.retrieval import RetrievalAttack
from dp2bench.core.attacks import AttackMeta, Scenario, Split, Version

_BONES = (
    (5, 6), (11, 12), (5, 11), (6, 12), (5, 7), (7, 9), (6, 8), (8, 10), (11, 13), (13, 15), (12, 14), (14, 16), (0, 5), (0, 6),
    (1, 2), (3, 4),
)  # fmt: skip


def relative(keypoints: NDArray[np.float32]) -> Rows:
    """(N, 66): (N, 17, 3) keypoints around their centre, scaled to the height of the body, and the lengths of bones.

    Points that nobody knows are at the centre.
    """
    known = keypoints[..., 2:] > 0
    count = np.maximum(known.sum(1, keepdims=True), 1)
    centre = (keypoints[..., :2] * known).sum(1, keepdims=True) / count
    points = np.where(known, keypoints[..., :2] - centre, 0)
    height = np.maximum(np.ptp(points[..., 1], axis=1), 1)[:, None, None]
    points = points / height
    bones = np.stack(
        [
            np.linalg.norm(points[:, a] - points[:, b], axis=1) * (known[:, a, 0] & known[:, b, 0])
            for a, b in _BONES
        ],
        1,
    )
    both = np.concatenate([points.reshape(len(points), -1), known.reshape(len(known), -1) * 0.1, bones], 1)
    out: Rows = both.astype(np.float32)
    return out


class Pose(RetrievalAttack):
    """The true keypoints of a person, which an inpainter that is guided by pose or surface keeps.

    The same for every method that keeps pose: it says what keeping pose costs, not what one method does. ``anonymized`` is what the
    view brings as keypoints, those of the clear picture unless somebody detected others.
    """

    meta: ClassVar[AttackMeta] = AttackMeta(
        name="pose",
        title="pose",
        claim="The proportions of the skeleton, which a method that is guided by it keeps, tell who it was.",
        needs=frozenset({"keypoints"}),
        negative="one-skeleton",
        headline=False,
    )
    scenarios = (Scenario("anonymized", "anonymized", "anonymized"),)
    # Few numbers, all of them told exactly: which is right is asked of train identities.
    shrinkages = (0.01, 0.03, 0.1, 0.3)

    def describe(self, split: Split, version: Version) -> Rows:
        """See `RetrievalAttack.describe`."""
        keypoints = split.view(version).keypoints
        assert keypoints is not None
        return relative(keypoints)
