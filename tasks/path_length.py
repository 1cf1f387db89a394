"""Perceptual path length: how evenly the pictures of a generator change with its style (Karras et al., CVPR 2019, in w)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dp2bench.core.contracts import CropAnonymizer, Dataset, RunContext, StyleSpace
from dp2bench.core.errors import DatasetError
from dp2bench.core.seeds import Seed, derive_seed, generator
from dp2bench.core.types import CropBatch

EPSILON = 1e-4
"""Share of a path between two styles that is walked."""
PUBLISHED_SIDE = 64
"""Pixels of the square that torch-fidelity compares."""


def record_path_lengths(
    clear: Dataset,
    split: str,
    paths: int,
    distances: Sequence[tuple[str, Any]],
    context: RunContext,
    *,
    published: bool = False,
) -> None:
    """Record lengths of one path a person, between the styles of two seeds, at a random place of it: the squared distance of two pictures `EPSILON`
    apart, over its square; the mean without the shortest and the longest percent.

    Styles are not truncated, the generators compute in float32, and crops keep their size; pixels around the mask are known and never
    differ. Nothing for a method that has no such generator.

    Args:
        clear: whose people are replaced.
        split: of the dataset.
        paths: the most people; pictures are taken evenly spaced over the split.
        distances: metrics, and networks whose ``distances`` compares (1, H, W, 3) float32 pictures, 0 to 255.
        context: of the task; takes the scores, under the scenario ``crops``.
        published: measure as DeepPrivacy2's code: at the start of the path, of pictures cut to whole numbers and shrunk to
            `PUBLISHED_SIDE` pixels.

    Raises:
        DatasetError: the method fills nobody of the split.

    """
    from dp2bench.metrics.quality import kept_lengths

    method = None if context.method is None else context.method()
    if not isinstance(method, CropAnonymizer) or method.inpainter.style_space is None:
        return
    found: dict[str, list[float]] = {}
    for name, space, crop in _crops(clear, split, method, context):
        near, far = _ends(space, crop, derive_seed(context.seed, "path", name), published=published)
        found[name] = [float(d.distances(near, far)[0]) / EPSILON**2 for _, d in distances]
        context.progress(len(found), paths)
        if len(found) == paths:
            break
    if not found:
        raise DatasetError(
            f"{method.meta.name} fills nobody in the split {split} of {clear.meta.name}.",
            "Leave `paths` out, or use a dataset with larger people.",
        )
    for (metric, _), lengths in zip(distances, np.array(list(found.values())).T, strict=True):
        kept = kept_lengths(lengths)
        paths_kept = {k: float(v) for k, v, use in zip(found, lengths, kept, strict=True) if use}
        context.record(metric, paths_kept, scenario="crops")


def _crops(
    clear: Dataset, split: str, method: CropAnonymizer, context: RunContext
) -> Iterator[tuple[str, StyleSpace, CropBatch]]:
    """Names of people, the styles of who fills them, and their crops as batches of one, as far as a generator with styles is asked to."""
    samples = clear.samples(split)
    found: Mapping[str, Any] = context.people.get(split, {})
    for i in generator(derive_seed(context.seed, "pictures")).permutation(len(samples)):
        sample = samples[i]
        people = found.get(sample.id)
        if people is None or not len(people):
            continue
        crops = method.crops(clear.read(sample), people, seed=derive_seed(context.seed, sample.id))
        styled = ((space, crop) for inpainter, crop in crops if (space := inpainter.style_space) is not None)
        for n, (space, crop) in enumerate(styled):
            yield f"{sample.id}:{n}", space, crop


def _ends(
    space: StyleSpace, crop: CropBatch, seed: Seed, *, published: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Two pictures (1, h, w, 3), 0 to 255, whose styles lie `EPSILON` of a random path apart; see `record_path_lengths`."""
    import torch

    start, end = (torch.from_numpy(space.styles([derive_seed(seed, name)])[0]) for name in ("from", "to"))
    place = 0.0 if published else float(generator(derive_seed(seed, "place")).random())
    near, far = (
        space.render(crop, torch.lerp(start, end, at)[None].numpy()) for at in (place, place + EPSILON)
    )
    return (_as_published(near), _as_published(far)) if published else (near, far)


def _as_published(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """Whole grey levels, shrunk as torch-fidelity does (its ``mode="area"`` is another than OpenCV's where ratios are not whole)."""
    import torch

    whole = torch.from_numpy(np.floor(picture.clip(0, 255)).astype(np.float32)).permute(0, 3, 1, 2)
    shrunk = torch.nn.functional.interpolate(whole, (PUBLISHED_SIDE, PUBLISHED_SIDE), mode="area")
    return np.ascontiguousarray(shrunk.permute(0, 2, 3, 1).numpy())
