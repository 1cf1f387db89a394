"""How far anonymized pictures are from the clear ones, as sets (Fréchet and kernel distance) and one by one (perceptual distance)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from dp2bench.core.contracts import Dataset, RunContext, Task, TaskMeta
from dp2bench.core.errors import DatasetError, Dp2benchError
from dp2bench.core.layouts import ONE_PERSON, PICTURES
from dp2bench.core.results import Metric, Scenario
from dp2bench.core.seeds import derive_seed
from dp2bench.core.types import Image, Sample
from dp2bench.tasks.path_length import record_path_lengths
from dp2bench.weights import catalogue
from dp2bench.weights.digests import sha256

Region = Literal["crops", "pictures"]
MARGIN = 0.1
"""Share of a person's box that a crop is wider on each side."""
SMALLEST = 16
"""Pixels of a box's shorter side under which there is too little to judge."""
FEWEST = 8
"""Crops or pictures that are compared."""
FEWEST_PATHS = 2

CHUNK = 256
"""The most pictures in memory at once, and features in one file of the cache."""
CHUNK_BYTES = 1 << 26
"""Where the pictures of a chunk take more than this, it ends: pictures of 2048x1024 come by 11."""
Version = Literal["clear", "anonymized"]
VERSIONS: tuple[Version, ...] = ("clear", "anonymized")


def _distance(title: str) -> Metric:
    return Metric(higher_is_better=False, unit="distance", title=title)


@dataclass(frozen=True)
class _Unit:
    """What is compared: a picture, or one person's window in it."""

    name: str
    clear: tuple[Dataset, Sample]
    anonymized: tuple[Dataset, Sample]
    box: tuple[int, int, int, int] | None


class ImageQuality(Task):
    """FID, KID and LPIPS where their weights are brought; the same distances on EfficientNet-Lite0's features always, under other names.

    Args:
        regions: ``crops`` (people) and ``pictures`` (whole ones).
        split: of the dataset; the test split by default.
        size: side of the square that everything is resized to for MobileNetV2 and EfficientNet, in pixels (LPIPS: 256). Inception is given
            pictures as they are and resizes them itself.
        limit: most crops, and most pictures, that are compared: evenly spaced over the split.
        inception_weights: local file weights-inception-2015-12-05-6726825d.pth, or its name ``inception-2015-12-05``; adds ``fid`` and ``kid``.
        clip_weights: local file of CLIP's ViT-B/32, for open_clip (extra ``text``); adds ``fid_clip``.
        lpips_backbone: local file alexnet-owt-7be5be79.pth, or ``lpips-alexnet`` for what `dp2bench weights convert` made; adds ``lpips``.
        paths: how many perceptual path lengths are measured, one a person; 0 for none. Only of methods whose generators have
            styles, and not on pictures made elsewhere. Adds ``crops.path_length_efficientnet``.
        vgg_weights: local file vgg16-397923af.pth, or its name ``vgg16``; with the next adds ``lpips_vgg``, and ``crops.ppl`` where
            there are ``paths``.
        published_paths: measure path lengths as DeepPrivacy2's code does, see `record_path_lengths`: ``crops.ppl_published`` in place of
            ``crops.ppl``.
        vgg_heads: local file weights-vgg16-lpips.pth of torch-fidelity, or its name ``vgg16-lpips``.

    """

    meta: ClassVar[TaskMeta] = TaskMeta(
        name="image-quality",
        version="4",
        kind="quality",
        main_score="crops.kd_mobilenet",
        layouts=PICTURES,
        metrics={
            "fid": _distance("Fréchet inception distance"),
            "kid": _distance("kernel inception distance"),
            "fid_clip": _distance("Fréchet distance of CLIP's features"),
            "lpips": _distance("learned perceptual distance"),
            "lpips_vgg": _distance("learned perceptual distance, VGG-16"),
            "ppl": _distance("perceptual path length"),
            "ppl_published": _distance("perceptual path length as in DeepPrivacy2's code"),
            "kd_mobilenet": _distance("kernel distance"),
            "fd_mobilenet": _distance("Fréchet distance of MobileNet's features"),
            "kd_efficientnet": _distance(
                "kernel distance of EfficientNet's features, which the embedded generators' discriminator sees too"
            ),
            "fd_efficientnet": _distance("Fréchet distance of the same"),
            "perceptual_efficientnet": _distance("perceptual distance of EfficientNet's maps"),
            "path_length_efficientnet": _distance("path length by EfficientNet's maps"),
        },
        scenarios={
            "crops": Scenario(description="windows around people"),
            "pictures": Scenario(description="whole pictures"),
        },
        description="Distance of anonymized from clear pictures: kernel, Fréchet and perceptual; FID, KID, LPIPS, PPL with their weights.",
        reference="Heusel et al., NeurIPS 2017 (FID); Bińkowski et al., ICLR 2018 (KID); Zhang et al., CVPR 2018 (LPIPS); "
        "Karras et al., CVPR 2019 (PPL).",
    )

    def __init__(
        self,
        *,
        regions: Sequence[Region] = ("crops", "pictures"),
        split: str | None = None,
        size: int = 224,
        limit: int = 10_000,
        inception_weights: str | None = None,
        clip_weights: str | None = None,
        lpips_backbone: str | None = None,
        paths: int = 0,
        vgg_weights: str | None = None,
        vgg_heads: str | None = None,
        lpips_size: int = 256,
        published_paths: bool = False,
    ) -> None:
        unknown = sorted(set(regions) - {"crops", "pictures"})
        if unknown or not regions:
            raise Dp2benchError(
                f"image-quality: unknown region {', '.join(unknown) or '(none)'}.",
                "There are: crops, pictures.",
            )
        if min(size, lpips_size) < 32 or limit < FEWEST:
            raise Dp2benchError(
                f"image-quality: size {size}, lpips_size {lpips_size} or limit {limit} is too small.",
                f"Use sizes of at least 32 pixels and a limit of at least {FEWEST}.",
            )
        self.regions = tuple(regions)
        self.split = split
        self.size = size
        self.lpips_size = lpips_size
        self.limit = limit
        if lpips_backbone == "lpips-alexnet":
            from dp2bench.weights import packages

            lpips_backbone = str(packages.installed(lpips_backbone))
        self.lpips_backbone = lpips_backbone
        self.clip_weights = clip_weights
        if paths and paths < FEWEST_PATHS:
            raise Dp2benchError(
                f"image-quality: {paths} paths are too few.", f"Use 0 for none, or at least {FEWEST_PATHS}."
            )
        self.paths = paths
        self.published_paths = published_paths
        if bool(vgg_weights) != bool(vgg_heads):
            raise Dp2benchError(
                "image-quality: vgg_weights and vgg_heads are two files of one network.", "Give both or none."
            )
        brought = {
            "inception_weights": inception_weights,
            "vgg_weights": vgg_weights,
            "vgg_heads": vgg_heads,
        }
        found = catalogue.find(brought, "The task 'image-quality'")
        self.inception_weights: str | None = found["inception_weights"]
        self.vgg_weights: str | None = found["vgg_weights"]
        self.vgg_heads: str | None = found["vgg_heads"]
        if "crops" not in self.regions:
            self.meta = replace(self.meta, main_score="pictures.kd_mobilenet")  # type: ignore[misc]

    @property
    def arguments(self) -> Mapping[str, Any]:
        """See `Task.arguments`; weights by their sha256."""
        from dp2bench.networks import mobilenet
        from dp2bench.networks.efficientnet import SHA256

        brought = {
            name: path and sha256(Path(path)) if path and Path(path).is_file() else path
            for name, path in (
                ("inception_weights", self.inception_weights),
                ("lpips_backbone", self.lpips_backbone),
                *([("clip_weights", self.clip_weights)] if self.clip_weights else []),
                ("vgg_weights", self.vgg_weights),
                ("vgg_heads", self.vgg_heads),
            )
        }
        return {
            "regions": list(self.regions),
            "split": self.split,
            "size": self.size,
            "lpips_size": self.lpips_size,
            "limit": self.limit,
            "paths": self.paths,
            "published_paths": self.published_paths,
            "efficientnet_weights": SHA256,
            "mobilenet_weights": mobilenet.digest(),
            **brought,
        }

    def splits(self, dataset: Dataset) -> Sequence[str]:
        """See `Task.splits`."""
        return (test_split(dataset, self.split),)

    def run(self, clear: Dataset, anonymized: Dataset, context: RunContext) -> None:
        """See `Task.run`. Perceptual distances are means over crops or pictures; those of sets have no units."""
        from dp2bench.metrics.features import (
            LPIPS,
            VGGLPIPS,
            CLIPFeatures,
            EfficientNetFeatures,
            InceptionFeatures,
            MobileNetFeatures,
        )

        efficientnet = EfficientNetFeatures(context.device)
        extractors: list[tuple[Any, int | None]] = [
            (MobileNetFeatures(context.device), self.size),
            (efficientnet, self.size),
        ]
        distances: list[tuple[str, Any, int | None]] = [("perceptual_efficientnet", efficientnet, self.size)]
        if self.inception_weights:
            extractors.append((InceptionFeatures(Path(self.inception_weights), context.device), None))
        if self.clip_weights:
            extractors.append((CLIPFeatures(Path(self.clip_weights), context.device), None))
        if self.lpips_backbone:
            distances.append(("lpips", LPIPS(Path(self.lpips_backbone), context.device), self.lpips_size))
        vgg = None
        if self.vgg_weights and self.vgg_heads:
            vgg = VGGLPIPS(Path(self.vgg_weights), Path(self.vgg_heads), context.device)
            # crops are of one size, and keep it
            distances.append(("lpips_vgg", vgg, None if clear.layout in ONE_PERSON else self.lpips_size))
        regions = [r for r in self.regions if r == "crops" or clear.layout not in ONE_PERSON]
        for region in regions:
            units = self._units(region, clear, anonymized, context)
            for extractor, size in extractors:
                _record_set_distances(region, units, extractor, size, context)
            for metric, network, size in distances:
                _record_pair_distance(region, metric, units, network, size, context)
        if self.paths and self.published_paths and vgg is None:
            raise Dp2benchError(
                "image-quality: published_paths without vgg_weights and vgg_heads.", "Give the two files."
            )
        if self.paths:
            split = test_split(clear, self.split)
            lengths: list[tuple[str, Any]] = [("path_length_efficientnet", efficientnet)]
            if vgg is not None and not self.published_paths:
                lengths.append(("ppl", vgg))
            record_path_lengths(clear, split, self.paths, lengths, context)
            if self.published_paths:
                record_path_lengths(
                    clear, split, self.paths, [("ppl_published", vgg)], context, published=True
                )

    def _units(self, region: Region, clear: Dataset, anonymized: Dataset, context: RunContext) -> list[_Unit]:
        split = test_split(clear, self.split)
        others = {s.id: (anonymized, s) for s in anonymized.samples(split)}
        samples = [s for s in clear.samples(split) if s.id in others]
        if region == "pictures" or clear.layout in ONE_PERSON:
            units = [_Unit(s.id, (clear, s), others[s.id], None) for s in samples]
        else:
            units = [
                _Unit(f"{s.id}:{i}", (clear, s), others[s.id], box)
                for s in samples
                for i, box in _boxes(clear, s, split, context)
            ]
        if len(units) < FEWEST:
            raise DatasetError(
                f"The split {split} of {clear.meta.name} has {len(units)} {region} to compare, fewer than {FEWEST}.",
                "Check that the anonymized folder holds the same pictures, and that people were found.",
            )
        if len(units) > self.limit:
            units = [units[i] for i in np.linspace(0, len(units) - 1, self.limit).round().astype(int)]
        return units


def test_split(dataset: Dataset, wanted: str | None) -> str:
    """The split asked for; else the one that the field tests on; else the last."""
    if wanted is not None:
        return wanted
    return next((s for s in ("gallery", "val", "test") if s in dataset.meta.splits), dataset.meta.splits[-1])


def _boxes(
    clear: Dataset, sample: Sample, split: str, context: RunContext
) -> list[tuple[int, tuple[int, int, int, int]]]:
    """Windows around the annotated people, or the found ones where the dataset has no annotation."""
    people = clear.people(sample)
    if people is None:
        people = context.people.get(split, {}).get(sample.id)
    boxes = []
    for i, (x0, y0, x1, y1) in enumerate([] if people is None else people.boxes.tolist()):
        w, h = x1 - x0, y1 - y0
        if min(w, h) >= SMALLEST:
            margins = (-MARGIN * w, -MARGIN * h, MARGIN * w, MARGIN * h)
            x, y, right, below = (round(v + m) for v, m in zip((x0, y0, x1, y1), margins, strict=True))
            boxes.append((i, (max(0, x), max(0, y), right, below)))
    return boxes


def _chunks(units: Sequence[_Unit], version: Version, size: int | None) -> Iterator[list[Image]]:
    """The windows or pictures, some at a time; resized to a square by area where they shrink and bilinearly where they grow, unless
    ``size`` is None.
    """
    chunk: list[Image] = []
    last: tuple[Sample, Image] | None = None
    for unit in units:
        dataset, sample = getattr(unit, version)
        if last is None or last[0] is not sample:
            last = sample, dataset.read(sample)
        picture = last[1]
        if unit.box is not None:
            x0, y0, x1, y1 = unit.box
            picture = picture[y0:y1, x0:x1]
        # a copy, lest a small window keep its whole picture in memory
        chunk.append(picture.copy() if size is None else _square(picture, size))
        if len(chunk) == CHUNK or sum(p.nbytes for p in chunk) >= CHUNK_BYTES:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _square(picture: Image, size: int) -> Image:
    shrinks = picture.shape[0] > size or picture.shape[1] > size
    resized = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return np.asarray(resized, np.uint8)


def _features(
    units: Sequence[_Unit], version: Version, extractor: Any, size: int | None, context: RunContext
) -> NDArray[np.float32]:
    """Features of all units; those of a chunk are kept in the cache under the hash of its pictures and the network."""
    parts: list[NDArray[np.float32]] = []
    done = 0
    for pictures in _chunks(units, version, size):
        name = hashlib.sha256(f"{extractor.sha256} {size} {context.device}\0".encode())
        for picture in pictures:
            name.update(f"{picture.shape}\0".encode() + picture.tobytes())
        kept = context.cache / "features" / f"{name.hexdigest()}.npy" if context.cache else None
        if kept is not None and kept.is_file():
            parts.append(np.load(kept, allow_pickle=False))
        else:
            parts.append(extractor.features(pictures if size is None else np.stack(pictures)))
            if kept is not None:
                _keep(kept, parts[-1])
        done += len(pictures)
        context.progress(done, len(units))
    return np.concatenate(parts)


def _keep(path: Path, features: NDArray[np.float32]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    with partial.open("wb") as file:
        np.save(file, features)
    partial.replace(path)


def _record_set_distances(
    region: Region, units: Sequence[_Unit], extractor: Any, size: int | None, context: RunContext
) -> None:
    from dp2bench.metrics import quality

    official = extractor.name == "inception"
    a, b = (_features(units, v, extractor, size, context) for v in VERSIONS)
    if extractor.name == "clip":
        value = quality.frechet_distance(a, b)
        interval = quality.jackknife_interval(
            quality.frechet_distance_fast, a, b, value, seed=derive_seed(context.seed, region, "fid_clip")
        )
        context.record("fid_clip", scenario=region, value=value, n=len(units), ci95=interval)
        return
    kernel = quality.kernel_inception_distance(a, b) if official else quality.paired_kernel_distance(a, b)
    frechet = quality.frechet_distance(a, b)
    names = ("fid", "kid") if official else (f"fd_{extractor.name}", f"kd_{extractor.name}")
    for metric, value, statistic in (
        (names[0], frechet, quality.frechet_distance_fast),
        (names[1], kernel, quality.paired_kernel_distance),
    ):
        interval = quality.jackknife_interval(
            statistic, a, b, value, seed=derive_seed(context.seed, region, metric)
        )
        context.record(metric, scenario=region, value=value, n=len(units), ci95=interval)


def _record_pair_distance(
    region: Region, metric: str, units: Sequence[_Unit], network: Any, size: int | None, context: RunContext
) -> None:
    parts: list[NDArray[np.float64]] = []
    done = 0
    for pairs in zip(*(_chunks(units, v, size) for v in VERSIONS), strict=True):
        parts.append(network.distances(*(np.stack(pictures) for pictures in pairs)))
        done += len(pairs[0])
        context.progress(done, len(units))
    values = np.concatenate(parts)
    context.record(metric, {u.name: float(v) for u, v in zip(units, values, strict=True)}, scenario=region)
