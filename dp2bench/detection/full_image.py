"""One person a picture, filling it: the honest detector for datasets of person crops when no network is at hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dp2bench.core.contracts import ComponentMeta, Detector
from dp2bench.core.types import Category, Image, People, Sample


class FullImage(Detector):
    """The picture's rectangle is the person's box and mask. Nothing of the picture stays, background included.

    Args:
        faces: the pictures are faces, cut out: their rectangle is a face's.

    """

    def __init__(self, *, faces: bool = False) -> None:
        self.faces = faces
        self.meta = ComponentMeta(name="full-image", revision="1-faces" if faces else "1")

    def detect(self, images: Sequence[Image], samples: Sequence[Sample]) -> list[People]:
        """One person, or face, for each picture."""
        del samples
        return [
            People.of(
                [[0, 0, im.shape[1], im.shape[0]]],
                masks=np.ones((1, *im.shape[:2]), np.bool_),
                faces=np.array([[0, 0, im.shape[1], im.shape[0]]], np.float32) if self.faces else None,
                categories=[Category.FACE if self.faces else Category.PERSON],
            )
            for im in images
        ]
