"""Mask-out: people become mid-grey (DeepPrivacy2, section 5, "mask-out")."""

from __future__ import annotations

from typing import Literal

import numpy as np

from dp2bench.core.contracts import MethodMeta
from dp2bench.core.seeds import Seed
from dp2bench.core.types import Anonymized, Image, People
from dp2bench.inpainting import crops as cutting
from dp2bench.inpainting import stitching


class MaskOut:
    """Paints the mask of every person with 127, the zero of a network's range [-1, 1].

    A constant needs no crop, so nobody is too small for it.
    """

    def __init__(self, meta: MethodMeta, crop_size: tuple[int, int]) -> None:
        self.meta = meta
        self.crop_size = crop_size
        self.scope: Literal["body", "face"] = "face" if meta.scope == "face" else "body"

    def anonymize(self, image: Image, people: People, *, seed: Seed) -> Anonymized:
        """Paint the people of a picture."""
        h, w = image.shape[:2]
        regions, _, missed = cutting.plan_crops(people, (h, w), self.scope, self.crop_size, smallest=0)
        out = image.copy()
        changed = np.zeros((h, w), np.bool_)
        for region in regions:
            stitching.fill_grey(out, region)
            stitching.mark(changed, region)
        return Anonymized(out, changed, tuple(missed))


def mask_out_body() -> MaskOut:
    """Mid-grey over the dilated masks of people."""
    meta = MethodMeta(
        "mask-out", uses_masked_pixels=False, description="Mid-grey over every person's dilated mask."
    )
    return MaskOut(meta, (288, 160))


def mask_out_face() -> MaskOut:
    """Mid-grey over face boxes."""
    meta = MethodMeta(
        "mask-out-face", scope="face", uses_masked_pixels=False, description="Mid-grey over every face box."
    )
    return MaskOut(meta, (256, 256))
