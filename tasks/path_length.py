"""Perceptual path length: how evenly the pictures of a generator change with its style (Karras et al., CVPR 2019, in w)."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dp2bench.core.contracts import Dataset, RunContext
from dp2bench.core.errors import DatasetError
from dp2bench.core.seeds import Seed, derive_seed, generator
from dp2bench.core.types import CropBatch

if TYPE_CHECKING:
    from dp2bench.inpainting.anonymizer import InpaintingAnonymizer

EPSILON = 1e-4
"""Share of a path between two styles that is walked."""


def record_path_lengths(
    clear: Dataset, split: str, paths: int, distances: Sequence[tuple[str, Any]], context: RunContext
) -> None:
    """Record lengths of one path a person, between the styles of two seeds, at a random place of it: the squared distance of two pictures `EPSILON`
    apart, over its square; the mean without the shortest and the longest percent.

    Styles are not truncated, the generators compute in float32, and crops keep their size; pixels around the hole are known and never
    differ. Nothing for a method that has no such generator.

    Args:
        clear: whose people are replaced.
        split: of the dataset.
        paths: the most people; pictures are taken evenly spaced over the split.
        distances: metrics, and networks whose ``distances`` compares (1, H, W, 3) float32 pictures, 0 to 255.
        context: of the task; takes the scores, under the scenario ``crops``.

    Raises:
        DatasetError: the method fills nobody of the split.

    """
    from dp2bench.inpainting.anonymizer import InpaintingAnonymizer
    from dp2bench.metrics.quality import kept_lengths

    method = None if context.method is None else context.method()
    if not isinstance(method, InpaintingAnonymizer) or not _has_styles(method.inpainter):
        return
    networks: dict[int, Any] = {}
    found: dict[str, list[float]] = {}
    for name, inpainter, crop in _crops(clear, split, method, context):
        if id(inpainter) not in networks:
            networks[id(inpainter)] = _network(inpainter)
        seed = derive_seed(context.seed, "path", name)
        near, far = _ends(inpainter, networks[id(inpainter)], crop, seed)
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


def _has_styles(inpainter: Any) -> bool:
    from dp2bench.deepprivacy2.inpainter import GeneratorInpainter

    return isinstance(inpainter, GeneratorInpainter) and not inpainter.needs_keypoints


def _crops(
    clear: Dataset, split: str, method: InpaintingAnonymizer, context: RunContext
) -> Iterator[tuple[str, Any, CropBatch]]:
    """Names of people, who fills them, and their crops as batches of one, as far as a generator with styles is asked to."""
    asked: list[tuple[Any, CropBatch]] = []
    known: set[int] = set()

    def watch(inpainter: Any) -> None:
        original = inpainter.inpaint

        def inpaint(crops: CropBatch, *, seeds: Sequence[Seed]) -> NDArray[np.uint8]:
            asked.extend((inpainter, _row(crops, i)) for i in range(len(crops)))
            filled: NDArray[np.uint8] = original(crops, seeds=seeds)
            return filled

        inpainter.inpaint = inpaint
        known.add(id(inpainter))

    samples = clear.samples(split)
    found: Mapping[str, Any] = context.people.get(split, {})
    for i in generator(derive_seed(context.seed, "pictures")).permutation(len(samples)):
        sample = samples[i]
        people = found.get(sample.id)
        if people is None or not len(people):
            continue
        for inpainter in (
            [method.inpainter] if method.select_inpainter is None else method.select_inpainter(people)
        ):
            if _has_styles(inpainter) and id(inpainter) not in known:
                watch(inpainter)
        asked.clear()
        method.anonymize(clear.read(sample), people, seed=derive_seed(context.seed, sample.id))
        for n, (inpainter, crop) in enumerate(asked):
            yield f"{sample.id}:{n}", inpainter, crop


def _row(crops: CropBatch, i: int) -> CropBatch:
    def one(values: Any) -> Any:
        return None if values is None else values[i : i + 1].copy()

    return CropBatch(
        one(crops.images),
        one(crops.masks),
        one(crops.outside),
        one(crops.surfaces),
        crops.templates[i : i + 1] if crops.templates else crops.templates,
        one(crops.keypoints),
    )


def _ends(
    inpainter: Any, network: Any, crop: CropBatch, seed: Seed
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Two pictures (1, h, w, 3), 0 to 255, whose styles lie `EPSILON` of a random path apart."""
    import torch

    whole = copy.copy(inpainter)
    whole.truncation = "none"
    rows = np.zeros(1, np.intp)
    with torch.inference_mode():
        given = whole._inputs(network, crop, rows, [derive_seed(seed, "from")])
        start = network.style_net(given.pop("z"))
        end = network.style_net(whole._inputs(network, crop, rows, [derive_seed(seed, "to")])["z"])
        place = float(generator(derive_seed(seed, "place")).random())
        made = [
            network(**given, w=torch.lerp(start, end, at))["img"].add(1).mul(127.5).permute(0, 2, 3, 1)
            for at in (place, place + EPSILON)
        ]
    near, far = (picture.float().cpu().numpy() for picture in made)
    return near, far


def _network(inpainter: Any) -> Any:
    """The generator once more, as it was trained: the one that fills may compute in half precision, which knows no such steps."""
    from dp2bench.deepprivacy2.generators import files

    return files.load(inpainter.file)[0].to(inpainter.device)
