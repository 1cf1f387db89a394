"""An anonymiser around an inpainter: cut people out, fill the holes, paste them (DeepPrivacy2, section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dp2bench.core import cutting
from dp2bench.core.contracts import Inpainter, MethodMeta
from dp2bench.core.crops import FaceCrop
from dp2bench.core.cutting import Region
from dp2bench.core.seeds import Seed, derive_seed
from dp2bench.core.types import Anonymized, CropBatch, Image, Missed, People
from dp2bench.deepprivacy2 import stitching
from dp2bench.deepprivacy2.stitching import Operator

Fallback = Literal["mask-out", "none"]
Waiting = Literal["blank", "visible"]


class InpaintingAnonymizer:
    """Recursive stitching: people in ascending order of covered pixels, each filled from the picture with the
    earlier ones.

    Where ``inpainter.meta.sees_hole`` is False, holes are grey in the picture before a crop is resized: no
    pixel of the output depends on a pixel in its person's hole, and with ``waiting="blank"`` on a pixel in
    anybody's hole.

    An inpainter may have more attributes: ``smooth = True`` where its output has no detail, so that its crops
    can be resized bilinearly; ``uses_conditions = False`` where it has no use for surfaces and keypoints;
    ``operator`` (see `stitching.apply_operator`) where it is a separable linear filter, for speed.

    Args:
        inpainter: fills the holes.
        meta: what the whole declares; the inpainter's own where omitted. Its scope must be ``body`` or
            ``face``.
        fallback: a body whose crop is under 32x32 pixels, which the published code leaves as it is:
            ``mask-out`` paints its dilated mask grey, ``none`` reports it as missed. A person without a
            visible face is missed in scope ``face`` either way: there is no face to replace.
        waiting: what an inpainter that does not see holes gets of other people not yet replaced: ``blank``
            makes them part of the crop's hole, ``visible`` leaves them in the background, as the published
            code does.
        face_crop: definition of the crop around a face.
        batch_size: most crops in one call of ``fill``; does not change the output.

    """

    def __init__(
        self,
        inpainter: Inpainter,
        *,
        meta: MethodMeta | None = None,
        fallback: Fallback = "mask-out",
        waiting: Waiting = "blank",
        face_crop: FaceCrop = "fdf256",
        batch_size: int = 16,
    ) -> None:
        self.meta = inpainter.meta if meta is None else meta
        scope = self.meta.scope
        if scope not in {"body", "face"}:
            raise ValueError(
                f"InpaintingAnonymizer replaces bodies or faces, not scope {scope!r} of {self.meta.name}"
            )
        if fallback not in {"mask-out", "none"} or waiting not in {"blank", "visible"} or batch_size < 1:
            raise ValueError(f"unknown fallback {fallback!r}, waiting {waiting!r} or batch_size {batch_size}")
        self.scope: Literal["body", "face"] = "face" if scope == "face" else "body"
        self.inpainter = inpainter
        self.fallback = fallback
        self.waiting = waiting
        self.face_crop = face_crop
        self.batch_size = batch_size
        self.operator: Operator | None = getattr(inpainter, "operator", None)
        self.quick = bool(getattr(inpainter, "smooth", False))

    def anonymize(self, image: Image, people: People, *, seed: Seed) -> Anonymized:
        """Replace the people in a picture.

        Each person's seed is derived from ``seed`` and the track id, or the index where there are no tracks.
        """
        h, w = image.shape[:2]
        regions, small, missed = cutting.plan(
            people, (h, w), self.scope, self.inpainter.crop_size, face_crop=self.face_crop
        )
        out = image.copy()
        changed = np.zeros((h, w), np.bool_)
        if self.fallback == "none":
            missed += [Missed(r.person, cutting.TOO_SMALL) for r in small]
            small = []
        for region in (*small, *regions):
            stitching.mark(changed, region)
        for region in small:
            stitching.paint(out, region)
        hidden: NDArray[np.bool_] | None = None
        if not self.inpainter.meta.sees_hole and self.waiting == "blank":
            cutting.blank_out(out, changed.view(np.uint8))
            hidden = changed.copy()
        for layer in stitching.layers(regions):
            cropped = [r for r in layer if not self._fill_directly(out, r)]
            for start in range(0, len(cropped), self.batch_size):
                chunk = cropped[start : start + self.batch_size]
                seeds = [derive_seed(seed, _who(people, r.person)) for r in chunk]
                batch = self._crops(out, people, chunk, hidden)
                filled = self.inpainter.fill(batch, seeds=seeds)
                if filled.shape != batch.images.shape or filled.dtype != np.uint8:
                    raise ValueError(
                        f"{self.meta.name} filled {filled.dtype} {filled.shape}, "
                        f"expected uint8 {batch.images.shape}"
                    )
                if not self.quick:
                    # Resizing reads across the rim of the hole, where a fill may hold anything.
                    filled = np.where(batch.holes[..., None], filled, batch.images)
                for region, crop in zip(chunk, filled, strict=True):
                    stitching.paste(out, region, crop, quick=self.quick)
                    if hidden is not None:
                        hidden[region.slices][region.hole.view(np.bool_)] = False
        return Anonymized(out, changed, tuple(sorted(missed)))

    def _fill_directly(self, image: Image, region: Region) -> bool:
        """Fill an enlarged region by the inpainter's ``operator``, if it has one."""
        (h, w), (x0, y0, x1, y1) = self.inpainter.crop_size, region.box
        if self.operator is None or y1 - y0 > h or x1 - x0 > w:
            return False
        stitching.apply_operator(image, region, self.operator, self.scope)
        return True

    def _crops(
        self, image: Image, people: People, regions: Sequence[Region], hidden: NDArray[np.bool_] | None
    ) -> CropBatch:
        """The crops of regions whose windows do not overlap."""
        blank = not self.inpainter.meta.sees_hole
        size = (len(regions), *self.inpainter.crop_size)
        images = np.empty((*size, 3), np.uint8)
        holes = np.empty(size, np.bool_)
        outside = np.empty(size, np.bool_)
        for i, region in enumerate(regions):
            images[i] = cutting.cut(image, region, scope=self.scope, blank=blank, quick=self.quick)
            holes[i] = region.crop_hole
            outside[i] = region.outside()
            if hidden is not None:
                others = cutting.cut_mask(hidden.view(np.uint8), region).view(np.bool_)
                holes[i] |= others
                images[i][others] = cutting.GREY
        # An inpainter that has no use for them says so: sampling a surface costs as much as a cheap fill.
        conditions = getattr(self.inpainter, "uses_conditions", True)
        known = conditions and any(people.surfaces[r.person] is not None for r in regions)
        surfaces = templates = keypoints = None
        if known:
            maps = [people.surfaces[r.person] for r in regions]
            surfaces = np.stack([cutting.surface_in_crop(m, r) for m, r in zip(maps, regions, strict=True)])
            templates = tuple(None if m is None else m.template for m in maps)
        if conditions and people.keypoints is not None:
            keypoints = np.stack([cutting.keypoints_in_crop(people.keypoints[r.person], r) for r in regions])
        return CropBatch(images, holes, outside, surfaces, templates or (None,) * len(regions), keypoints)


def _who(people: People, person: int) -> int:
    return person if people.track_ids is None else int(people.track_ids[person])
