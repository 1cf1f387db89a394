"""The original picture: the upper bound of utility and the lower bound of privacy."""

from __future__ import annotations

import numpy as np

from dp2bench.core.contracts import MethodMeta
from dp2bench.core.seeds import Seed
from dp2bench.core.types import Anonymized, Image, Missed, People


class Identity:
    """Changes nothing; everybody in the picture is missed."""

    meta = MethodMeta("identity", scope="none", description="Changes nothing.")

    def anonymize(self, image: Image, people: People, *, seed: Seed) -> Anonymized:
        """A copy of the picture."""
        missed = tuple(Missed(i, "left as it is") for i in range(len(people)))
        return Anonymized(image.copy(), np.zeros(image.shape[:2], np.bool_), missed)
