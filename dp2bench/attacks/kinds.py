"""How well a number tells two kinds of people's pictures apart, with a floor that deals the kinds out to the people anew."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dp2bench.attacks.retrieval import PERMUTATIONS
from dp2bench.core.attacks import Measurement
from dp2bench.metrics.separation import separate


def measure_kinds(
    metric: str,
    numbers: NDArray[np.floating],
    first: NDArray[np.bool_],
    who: NDArray[np.int64],
    names: Sequence[str],
    *,
    seed: int,
    permutations: int = PERMUTATIONS,
) -> Measurement:
    """The area under the ROC curve, 0.5 by chance.

    Args:
        metric: its name.
        numbers: (N,) one a picture.
        first: (N,) whether a picture is of the kind whose numbers are thought to be higher. All pictures of a person are of one kind.
        who: (N,) the person of each picture.
        names: of the pictures.
        seed: of the floor.
        permutations: of the floor.

    """
    found = separate(numbers[first], numbers[~first])
    # what a picture adds, so that the mean over all pictures is the area
    units = np.empty(len(numbers))
    for rows, shares in ((first, found.first), (~first, found.second)):
        units[rows] = found.auc + (shares - found.auc) * len(numbers) / rows.sum()
    _, start, member = np.unique(who, return_index=True, return_inverse=True)
    kind = first[start]
    random = np.random.default_rng(seed)
    null = []
    for _ in range(permutations):
        dealt = random.permutation(kind)[member]
        null.append(separate(numbers[dealt], numbers[~dealt]).auc)
    return Measurement(
        metric=metric,
        value=float(units.mean()),
        units=dict(zip(names, units.tolist(), strict=True)),
        clusters=dict(zip(names, who.tolist(), strict=True)),
        null=np.array(null),
        chance=0.5,
    )


def halves(who: NDArray[np.int64], seed: int) -> NDArray[np.bool_]:
    """(N,) whether each row's person is in the first half of the people, who are parted at random."""
    people, member = np.unique(who, return_inverse=True)
    half: NDArray[np.bool_] = (np.random.default_rng(seed).permutation(len(people)) % 2 == 0)[member]
    return half
