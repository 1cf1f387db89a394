"""Surface Guided GANs as a method: its generator as an inpainter, and the published pipeline around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from dp2bench.core.contracts import MethodMeta
from dp2bench.core.errors import Dp2benchError
from dp2bench.core.seeds import Seed, derive_seed
from dp2bench.core.types import Anonymized, CropBatch, Image, Missed, People
from dp2bench.deepprivacy2 import generator_weights
from dp2bench.deepprivacy2.inpainter import GeneratorInpainter, Precision, Truncation
from dp2bench.inpainting.anonymizer import Fallback, InpaintingAnonymizer, Pending
from dp2bench.inpainting.crops import GREY, OUTSIDE, TOO_SMALL
from dp2bench.weights.digests import check_record

if TYPE_CHECKING:
    from torch import Tensor

    from dp2bench.deepprivacy2.surface_guided_crops import GuidedCrop

Pipeline = Literal["dp2bench", "published"]
NO_SURFACE = "no surface, and the published pipeline fills nobody without one"


class SurfaceGuidedInpainter(GeneratorInpainter):
    """Fills holes with a `SurfaceGuidedUNet`; arguments as in `GeneratorInpainter`.

    Styles belong to vertices, so there are no cluster centres: ``truncation`` is ``none`` or ``mean``.
    """

    def __init__(self, *args: Any, **settings: Any) -> None:
        if settings.get("truncation") == "multi-modal":
            raise ValueError("truncation is none or mean for a surface-guided generator, not 'multi-modal'")
        super().__init__(*args, **settings)

    @property
    def style_space(self) -> None:
        """None: a person's style is one for each vertex, no vector."""

    def _inputs(
        self, network: Any, crops: CropBatch, rows: NDArray[np.intp], seeds: Sequence[Seed]
    ) -> dict[str, Tensor]:
        import torch

        images = torch.from_numpy(crops.images[rows]).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)
        holes = torch.from_numpy(crops.masks[rows])[:, None].float()
        vertices = np.full(crops.masks[rows].shape, -1, np.int32)
        for row, i in enumerate(rows):
            name = crops.templates[i] if crops.templates else None
            if crops.surfaces is not None and name is not None and self.knows(name):
                vertices[row] = np.where(crops.masks[i], crops.surfaces[i], -1)
        names = [crops.templates[i] if crops.templates else None for i in rows]
        return self.arguments_of(network, images, holes, vertices, names, seeds)

    def arguments_of(
        self,
        network: Any,
        images: Tensor,
        holes: Tensor,
        vertices: NDArray[np.int32],
        named: Sequence[str | None],
        seeds: Sequence[Seed],
    ) -> dict[str, Any]:
        """The network's arguments.

        Args:
            network: of `network`.
            images: (B, 3, h, w) float32 in -1..1.
            holes: (B, 1, h, w) float32, 1 where to synthesise.
            vertices: (B, h, w) ids, -1 where there is no surface.
            named: the template of each crop's surface, None where it has none.
            seeds: one a crop.

        """
        import torch

        from dp2bench.core import templates
        from dp2bench.deepprivacy2.generators.mapping import sample_latents

        known = vertices >= 0
        embedding = np.zeros((*vertices.shape, network.cse_nc), np.float32)
        for row, name in enumerate(named):
            if name is not None and known[row].any():
                embedding[row][known[row]] = templates.get(name).embed(vertices[row][known[row]])
        given: dict[str, Any] = {
            "condition": images * (1 - holes),
            "mask": 1 - holes,
            "z": sample_latents(seeds, network.z_channels),
            "vertices": torch.from_numpy(np.maximum(vertices, 0).astype(np.int64))[:, None],
            "embedding": torch.from_numpy(embedding).permute(0, 3, 1, 2),
            "E_mask": torch.from_numpy(known)[:, None].float(),
        }
        given = {name: value.to(self.device) for name, value in given.items()}
        given["psi"] = None if self.truncation == "none" else self.psi
        return given


class PublishedPipeline:
    """Surface Guided GANs' own anonymizer (see `surface_guided_crops`).

    Everybody with a surface is filled from the original picture, so a person's neighbours are in the background of their crop.
    Surfaces are taken pixel by pixel from the detector's map; the published code interpolates embeddings first.

    Args:
        inpainter: the generator.
        meta: what it declares.
        fallback: ``none`` leaves people without a surface and tight boxes under 32 x 32 pixels, as published, and reports them;
            ``mask-out`` paints them grey.

    """

    def __init__(self, inpainter: SurfaceGuidedInpainter, meta: MethodMeta, fallback: Fallback) -> None:
        self.inpainter, self.meta, self.fallback = inpainter, meta, fallback

    def anonymize(self, image: Image, people: People, *, seed: Seed) -> Anonymized:
        """Replace the people in a picture."""
        from dp2bench.deepprivacy2 import surface_guided_crops as geometry

        size = self.inpainter.crop_size
        crops: list[GuidedCrop] = []
        fills: list[NDArray[np.uint8]] = []
        painted: list[NDArray[np.bool_]] = []
        missed: list[Missed] = []
        for i in np.argsort(-people.scores, kind="stable").tolist():
            covered = _covered(people, i, image.shape[:2])
            if not covered.any():
                missed.append(Missed(i, OUTSIDE))
                continue
            box = _box(people, i, covered)
            mask = covered[box[1] : box[3], box[0] : box[2]]
            tight = geometry.tight_box(mask, box)
            surface = people.surfaces[i]
            usable = surface is not None and self.inpainter.knows(surface.template)
            if not usable or not geometry.keeps(tight):
                if self.fallback == "none":
                    missed.append(Missed(i, TOO_SMALL if usable else NO_SURFACE))
                else:
                    painted.append(covered)
                continue
            assert surface is not None
            where = geometry.crop_box(tight, (image.shape[0], image.shape[1]), int(mask.sum()))
            vertices = np.full(image.shape[:2], -1, np.int32)
            x0, y0, x1, y1 = (int(v) for v in surface.box)
            vertices[y0:y1, x0:x1] = surface.vertices
            shown = vertices[box[1] : box[3], box[0] : box[2]]
            crop = geometry.cut(image, mask, box, where, size)
            fills.append(self._fill(crop, shown, box, surface.template, derive_seed(seed, _who(people, i))))
            crops.append(crop)
        out, changed = geometry.stitch(image, crops, fills)
        for covered in painted:
            left = covered & ~changed
            out[left] = GREY
            changed |= left
        return Anonymized(out, changed, tuple(sorted(missed)))

    def _fill(
        self,
        crop: GuidedCrop,
        vertices: NDArray[np.int32],
        box: Sequence[int],
        template: str,
        seed: Seed,
    ) -> NDArray[np.uint8]:
        import torch
        from torch.nn import functional as F

        from dp2bench.deepprivacy2 import surface_guided_crops as geometry

        # One more than the id, so that 0 is no surface, in the padding too.
        placed = geometry.place(torch.from_numpy(vertices + 1)[None, None].float(), box, crop.box)
        there = F.interpolate(placed, self.inpainter.crop_size, mode="nearest")[:, 0].numpy()
        ids = np.where(crop.surface[:, 0].numpy() > 0, np.rint(there).astype(np.int32) - 1, -1)
        network = self.inpainter.network()
        with torch.inference_mode():
            given = self.inpainter.arguments_of(
                network, crop.image, crop.hole, ids.astype(np.int32), [template], [seed]
            )
            made = network(**given)["img"].float()
        levels = (made / 2 + 0.5).clamp_(0, 1).mul_(255).round_().to(torch.uint8)
        return np.asarray(levels[0].permute(1, 2, 0).cpu().numpy(), np.uint8)


def _covered(people: People, person: int, size: tuple[int, ...]) -> NDArray[np.bool_]:
    """(H, W), what the detector says of a person: mask and surface, or the box."""
    out = np.zeros(size[:2], np.bool_)
    surface = people.surfaces[person]
    if surface is not None:
        x0, y0, x1, y1 = (int(v) for v in surface.box)
        out[y0:y1, x0:x1] = surface.vertices >= 0
    if people.masks is not None:
        out |= people.masks[person]
    if not out.any():
        x0, y0 = np.floor(people.boxes[person, :2]).clip(0).astype(int)
        x1, y1 = np.ceil(people.boxes[person, 2:]).clip(0).astype(int)
        out[y0:y1, x0:x1] = True
    return out


def _box(people: People, person: int, covered: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """The detector's box in whole pixels, grown where the mask leaves it."""
    rows, columns = np.flatnonzero(covered.any(1)), np.flatnonzero(covered.any(0))
    x0, y0, x1, y1 = np.rint(people.boxes[person]).astype(int).tolist()
    height, width = covered.shape
    return (
        max(0, min(x0, int(columns[0]))),
        max(0, min(y0, int(rows[0]))),
        min(width, max(x1, int(columns[-1]) + 1)),
        min(height, max(y1, int(rows[-1]) + 1)),
    )


def _who(people: People, person: int) -> int:
    return person if people.track_ids is None else int(people.track_ids[person])


def make(
    meta: MethodMeta,
    *,
    weights: str | Path | None = None,
    pipeline: Pipeline = "dp2bench",
    truncation: Truncation = "mean",
    psi: float | None = None,
    fallback: Fallback | None = None,
    pending: Pending = "masked",
    feather: float = 0.0,
    device: str | None = None,
    precision: Precision = "auto",
    batch_size: int | None = None,
    compile: bool = False,  # noqa: A002 - as torch calls it
) -> InpaintingAnonymizer | PublishedPipeline:
    """Surface Guided GANs (Hukkelas et al. 2023): bodies, each pixel styled by the vertex that it shows.

    Args:
        meta: what the method is called and declares.
        weights: of the generator: a path, a name, ``official``, or None for what the package embeds.
        pipeline: ``dp2bench``: crops and stitching as for DeepPrivacy2, so that generators are compared and nothing else; people
            without a surface are filled with it unknown. ``published``: as in the paper's code, see `PublishedPipeline`.
        truncation: ``none`` or ``mean``.
        psi: how much of a person's own style is left, 0 to 1. None takes what the weights recommend: 0 as published.
        fallback: see `InpaintingAnonymizer`; None takes ``mask-out``. The published pipeline knows ``none`` and ``mask-out``.
        pending: see `InpaintingAnonymizer`; the published pipeline has everybody visible to everybody.
        feather: see `InpaintingAnonymizer`; not in the published pipeline.
        device: see `GeneratorInpainter`.
        precision: see `GeneratorInpainter`.
        batch_size: see `GeneratorInpainter`.
        compile: see `GeneratorInpainter`.

    """
    if pipeline not in get_args(Pipeline):
        raise ValueError(f"pipeline is {' or '.join(get_args(Pipeline))}, not {pipeline!r}")
    fallback = fallback or "mask-out"
    if pipeline == "published" and (fallback == "generate" or feather):
        raise ValueError("the published pipeline knows fallback none or mask-out, and no feather")
    path = generator_weights.resolve(weights, "surface-guided")
    check_record(path)
    file = generator_weights.describe(path)
    if file.role != "surface-guided":
        raise Dp2benchError(
            f"{path} is a generator for {file.role!r}, and {meta.name} needs a surface-guided one.",
            "Give other weights (`dp2bench weights list`).",
        )
    inner = MethodMeta(meta.name, scope="body", deterministic=False, uses_masked_pixels=False)
    one = SurfaceGuidedInpainter(
        file,
        inner,
        truncation=truncation,
        psi=psi,
        device=device,
        precision=precision,
        batch_size=batch_size,
        compile=compile,
    )
    seen = pipeline == "published" or pending == "visible"
    arguments: dict[str, Any] = {
        "pipeline": pipeline,
        "generators": {"surface-guided": one.arguments()},
        "fallback": fallback,
    }
    if pipeline == "dp2bench":
        arguments |= {"pending": pending, "feather": feather}
    declared = replace(
        meta,
        weights=(file.weights(),),
        deterministic=one.deterministic,
        uses_masked_pixels=seen,  # people not yet replaced are in the background of others
        arguments=arguments,
    )
    if pipeline == "published":
        return PublishedPipeline(one, declared, fallback)
    return InpaintingAnonymizer(one, meta=declared, fallback=fallback, pending=pending, feather=feather)
