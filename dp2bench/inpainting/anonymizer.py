"""An anonymizer around inpainters: cut people out, fill their masks, paste them (DeepPrivacy2, section 3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar, cast, get_args

import numpy as np
from numpy.typing import NDArray

from dp2bench.core.contracts import (
    CropAnonymizer,
    FaceCrop,
    FillRequest,
    FillRequests,
    Inpainter,
    MethodMeta,
)
from dp2bench.core.numbers import check_range, check_whole
from dp2bench.core.profiling import span
from dp2bench.core.seeds import Seed, derive_seed
from dp2bench.core.types import Anonymized, Category, CropBatch, Image, Missed, People
from dp2bench.inpainting import crops as cutting
from dp2bench.inpainting import stitching
from dp2bench.inpainting.crop_boxes import SMALLEST_CROP
from dp2bench.inpainting.crops import Region
from dp2bench.inpainting.filling import fill, fill_alone

Fallback = Literal["mask-out", "generate", "none"]
Pending = Literal["masked", "visible"]
Part = Literal["body", "face"]
InpainterSelector = Callable[[People], Sequence["Inpainter | None"]]
"""Who fills each person of a picture; None where nobody can."""
_T = TypeVar("_T")
NOBODY = "no generator for this kind of detection"


@dataclass(frozen=True)
class _Work:
    """A picture while its people are replaced.

    Attributes:
        image: (H, W, 3) uint8, filled in place.
        changed: (H, W) bool, everything that is replaced.
        hidden: (H, W) bool, what is masked and not yet filled; None where an inpainter may see it.
        regions: to inpaint, in this order.
        inpainters: who fills each person; None where nobody can.
        missed: who is left.

    """

    image: Image
    changed: NDArray[np.bool_]
    hidden: NDArray[np.bool_] | None
    regions: list[Region]
    inpainters: Sequence[Inpainter | None]
    missed: list[Missed]


class InpaintingAnonymizer(CropAnonymizer):
    """Recursive stitching: people in ascending order of covered pixels, each filled from the picture with the
    earlier ones.

    Where ``inpainter.meta.uses_masked_pixels`` is False, masks are grey in the picture before a crop is resized: no
    pixel of the output depends on a pixel in its person's mask, and with ``pending="masked"`` on a pixel in
    anybody's mask.

    Args:
        inpainter: fills the masks.
        meta: what the whole declares; the inpainter's own where omitted. Its scope must be ``body`` or
            ``face``.
        select_inpainter: sends each person to one of several inpainters, which replace the face or the body as the scope
            of their meta says; everybody goes to ``inpainter`` where omitted. All must agree on ``uses_masked_pixels``.
        fallback: a body whose crop is under 32x32 pixels, which the published code leaves as it is, and who is
            routed to nobody: ``mask-out`` paints the dilated mask (the face box) grey, ``none`` reports them as
            missed; ``generate`` fills small bodies like all others and paints who is routed to nobody. A person
            without a visible face is missed in scope ``face`` either way: there is no face to replace.
        pending: what an inpainter that does not see masked pixels gets of other people not yet replaced: ``masked``
            makes them part of the crop's mask, ``visible`` leaves them in the background, as the published
            code does.
        face_crop: definition of the crop around a face, where an inpainter's traits name none.
        feather: width of a soft edge inside the mask, as a share of the square root of the crop's area in the
            picture; 0 for a hard edge, as the published code has it. See `stitching.soften`.
        batch_size: most crops in one call of ``inpaint``; does not change the output.

    """

    def __init__(
        self,
        inpainter: Inpainter,
        *,
        meta: MethodMeta | None = None,
        select_inpainter: InpainterSelector | None = None,
        fallback: Fallback = "mask-out",
        pending: Pending = "masked",
        face_crop: FaceCrop = "fdf256",
        feather: float = 0.0,
        batch_size: int = 16,
    ) -> None:
        if not isinstance(inpainter, Inpainter):
            raise TypeError(
                f"{type(inpainter).__name__} is no inpainter: derive it from dp2bench.core.contracts.Inpainter"
            )
        self.meta = inpainter.meta if meta is None else meta
        scope = self.meta.scope
        if scope not in {"body", "face"}:
            raise ValueError(
                f"InpaintingAnonymizer replaces bodies or faces, not scope {scope!r} of {self.meta.name}"
            )
        if fallback not in get_args(Fallback):
            raise ValueError(f"fallback is {' or '.join(get_args(Fallback))}, not {fallback!r}")
        if pending not in get_args(Pending):
            raise ValueError(f"pending is {' or '.join(get_args(Pending))}, not {pending!r}")
        check_whole("batch_size", batch_size)
        check_range("feather", feather, 0, 0.5)
        self.scope: Part = "face" if scope == "face" else "body"
        self.inpainter = inpainter
        self.select_inpainter = select_inpainter
        self.fallback = fallback
        self.pending = pending
        self.face_crop = face_crop
        self.feather = feather
        self.batch_size = batch_size
        self.blank = not inpainter.meta.uses_masked_pixels

    def anonymize(self, image: Image, people: People, *, seed: Seed) -> Anonymized:
        """Replace the people in a picture.

        Each person's seed is derived from ``seed`` and the track id, or the index where there are no tracks.
        """
        return fill_alone(self.fill_requests(image, people, seed=seed))

    def crops(self, image: Image, people: People, *, seed: Seed) -> Iterator[tuple[Inpainter, CropBatch]]:
        """Every crop that an inpainter is handed for a picture, as a batch of one, in the order of filling.

        What a ``linear_operator`` fills without a crop is not among them.
        """
        requests = self.fill_requests(image, people, seed=seed)
        request = next(requests, None)
        while request is not None:
            for i in range(len(request.crops)):
                yield request.inpainter, request.crops.row(i)
            try:
                request = requests.send(fill(request))
            except StopIteration:
                return

    def fill_requests(self, image: Image, people: People, *, seed: Seed) -> FillRequests:
        """See `BatchedAnonymizer.fill_requests`."""
        work = self._begin(image, people)
        for inpainter, chunk in self._chunks(work):
            fast_resize = inpainter.traits.low_frequency
            seeds = [derive_seed(seed, _identity(people, r.person)) for r in chunk]
            with span("crop"):
                batch = self._crops(work, people, chunk, inpainter)
            filled = yield FillRequest(inpainter, batch, seeds)
            with span("stitch"):
                if not fast_resize:
                    # Resizing reads across the rim of the mask, where a fill may hold anything.
                    filled = np.where(batch.masks[..., None], filled, batch.images)
                for region, crop in zip(chunk, filled, strict=True):
                    stitching.paste(
                        work.image,
                        region,
                        crop,
                        fast_resize=fast_resize,
                        feather=self.feather,
                        unknown=work.hidden,
                    )
                    if work.hidden is not None:
                        work.hidden[region.slices][region.mask.view(np.bool_)] = False
        return Anonymized(work.image, work.changed, tuple(sorted(work.missed)))

    def _begin(self, image: Image, people: People) -> _Work:
        """The picture with everybody hidden who has to be, and what is still to do in it."""
        h, w = image.shape[:2]
        inpainters = (
            [self.inpainter] * len(people)
            if self.select_inpainter is None
            else list(self.select_inpainter(people))
        )
        regions, painted, missed = self._plan(people, inpainters, (h, w))
        out = image.copy()
        changed = np.zeros((h, w), np.bool_)
        for region in (*painted, *regions):
            stitching.mark(changed, region)
        for region in painted:
            stitching.fill_grey(out, region)
        hidden: NDArray[np.bool_] | None = None
        if self.blank and self.pending == "masked":
            cutting.blank_out(out, changed.view(np.uint8))
            hidden = changed.copy()
        return _Work(out, changed, hidden, regions, inpainters, missed)

    def _plan(
        self, people: People, inpainters: Sequence[Inpainter | None], size: tuple[int, int]
    ) -> tuple[list[Region], list[Region], list[Missed]]:
        """Regions to fill in ascending order of covered pixels, regions to paint, and who is missed."""
        regions: list[Region] = []
        painted: list[Region] = []
        missed: list[Missed] = []
        for inpainter in _distinct(inpainters):
            indices = [i for i, one in enumerate(inpainters) if one is inpainter]
            part = self.scope if inpainter is None else _part(inpainter)
            own_crop = None if inpainter is None else inpainter.traits.face_crop
            some, small, gone = cutting.plan_crops(
                _faces_as_such(people.take(indices)),
                size,
                part,
                (inpainter or self.inpainter).crop_size,
                smallest=0 if self.fallback == "generate" else SMALLEST_CROP,
                face_crop=own_crop or self.face_crop,
            )
            some, small = ([replace(r, person=indices[r.person]) for r in rs] for rs in (some, small))
            missed += [Missed(indices[m.person], m.reason) for m in gone]
            if inpainter is None:
                some, small = [], [*some, *small]
            if self.fallback == "none":
                missed += [
                    Missed(r.person, NOBODY if inpainter is None else cutting.TOO_SMALL) for r in small
                ]
                small = []
            regions += some
            painted += small
        return (
            sorted(regions, key=lambda r: (r.pixels, r.person)),
            sorted(painted, key=lambda r: (r.pixels, r.person)),
            missed,
        )

    def _chunks(self, work: _Work) -> Iterator[tuple[Inpainter, list[Region]]]:
        """Regions whose windows do not overlap, by inpainter; what has a ``linear_operator`` is filled on the way."""
        for layer in stitching.non_overlapping_batches(work.regions):
            for inpainter in _distinct([cast("Inpainter", work.inpainters[r.person]) for r in layer]):
                own = [r for r in layer if work.inpainters[r.person] is inpainter]
                cropped = [r for r in own if not _fill_directly(work.image, r, inpainter)]
                for start in range(0, len(cropped), self.batch_size):
                    yield inpainter, cropped[start : start + self.batch_size]

    def _crops(
        self, work: _Work, people: People, regions: Sequence[Region], inpainter: Inpainter
    ) -> CropBatch:
        """The crops of regions whose windows do not overlap."""
        part, traits = _part(inpainter), inpainter.traits
        size = (len(regions), *inpainter.crop_size)
        images = np.empty((*size, 3), np.uint8)
        masks = np.empty(size, np.bool_)
        outside = np.empty(size, np.bool_)
        for i, region in enumerate(regions):
            images[i] = cutting.extract_crop(
                work.image, region, scope=part, blank=self.blank, fast_resize=traits.low_frequency
            )
            masks[i] = region.crop_mask
            outside[i] = region.outside()
            if work.hidden is not None:
                others = cutting.extract_mask(work.hidden.view(np.uint8), region).view(np.bool_)
                masks[i] |= others
                images[i][others] = cutting.GREY
        # Sampling a surface costs as much as a cheap fill.
        known = traits.uses_conditions and any(people.surfaces[r.person] is not None for r in regions)
        surfaces = templates = keypoints = None
        if known:
            maps = [people.surfaces[r.person] for r in regions]
            surfaces = np.stack([cutting.surface_in_crop(m, r) for m, r in zip(maps, regions, strict=True)])
            templates = tuple(None if m is None else m.template for m in maps)
        if traits.uses_conditions and people.keypoints is not None:
            keypoints = np.stack([cutting.keypoints_in_crop(people.keypoints[r.person], r) for r in regions])
        return CropBatch(images, masks, outside, surfaces, templates or (None,) * len(regions), keypoints)


def _distinct(inpainters: Sequence[_T]) -> list[_T]:
    """Each object once, in order."""
    return list({id(one): one for one in inpainters}.values())


def _part(inpainter: Inpainter) -> Part:
    return "face" if inpainter.meta.scope == "face" else "body"


def _fill_directly(image: Image, region: Region, inpainter: Inpainter) -> bool:
    """Fill an enlarged region by the inpainter's ``linear_operator``, if it has one."""
    operator = inpainter.traits.linear_operator
    (h, w), (x0, y0, x1, y1) = inpainter.crop_size, region.box
    if operator is None or y1 - y0 > h or x1 - x0 > w:
        return False
    with span("inpaint"):
        stitching.apply_operator(image, region, operator, _part(inpainter))
    return True


def _faces_as_such(people: People) -> People:
    """Detections of faces alone get their box as the face, where the detector has not said so."""
    alone = people.categories == Category.FACE
    faces = np.full((len(people), 4), np.nan, np.float32) if people.faces is None else people.faces
    without = alone & ~np.isfinite(faces).all(1)
    if not without.any():
        return people
    return replace(people, faces=np.where(without[:, None], people.boxes, faces))


def _identity(people: People, person: int) -> int:
    return person if people.track_ids is None else int(people.track_ids[person])
