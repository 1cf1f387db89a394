"""Shared by blur and pixelation at picture level: strength follows the size of the person, not of a crop."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from dp2bench.core.contracts import MethodMeta
from dp2bench.core.seeds import Seed
from dp2bench.core.types import Anonymized, Image, People
from dp2bench.inpainting import crops as cutting
from dp2bench.inpainting import stitching
from dp2bench.inpainting.crops import Region

Window = tuple[int, int, int, int]


class ImageLevel:
    """Replaces each dilated mask by an effect computed from the original picture; the largest person is
    pasted last.

    Args:
        meta: what the method declares.
        effect: (picture, region, (x0, y0, x1, y1)) -> (y1-y0, x1-x0, 3) uint8 for that window of the picture.

    """

    def __init__(
        self, meta: MethodMeta, effect: Callable[[Image, Region, Window], NDArray[np.uint8]]
    ) -> None:
        self.meta = meta
        self.effect = effect

    def anonymize(self, image: Image, people: People, *, seed: Seed) -> Anonymized:
        """Replace the people of a picture."""
        h, w = image.shape[:2]
        regions, _, missed = cutting.plan_crops(people, (h, w), "body", (288, 160), smallest=0)
        out = image.copy()
        changed = np.zeros((h, w), np.bool_)
        for region in regions:
            x, y, width, height = cutting.bounds(region.mask)
            x0, y0 = region.window[0] + x, region.window[1] + y
            window = (x0, y0, x0 + width, y0 + height)
            mask = region.mask[y : y + height, x : x + width]
            made = self.effect(image, region, window)
            cutting.put(out[y0 : y0 + height, x0 : x0 + width], made, np.ascontiguousarray(mask))
            stitching.mark(changed, region)
        return Anonymized(out, changed, tuple(missed))
