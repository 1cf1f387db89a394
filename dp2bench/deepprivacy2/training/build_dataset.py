"""A training set of one's own: crops in FDH's layout out of any pictures, filtered automatically (DeepPrivacy2, section 4).

The criteria are those of the paper for FDH: the quality of the picture, vertices on each part of the body, agreement of the
mask with the surface, and of the keypoints with the surface. Their measures and limits here are ours, and are written down
beside the crops with what each of them removed.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dp2bench.core import templates
from dp2bench.core.contracts import Dataset, Detector, Progress, no_progress
from dp2bench.core.errors import Dp2benchError, PictureError
from dp2bench.core.hashing import name_bytes
from dp2bench.core.types import Image, People, Sample, SampleId, SurfaceMap
from dp2bench.datasets.crops import Crop
from dp2bench.datasets.fdh import HEIGHT, TEMPLATE_FILE, WIDTH, members
from dp2bench.datasets.shards import ShardWriter, empty_folder
from dp2bench.detection.ensemble import Ensemble
from dp2bench.inpainting import crops as cutting

REPORT = "filtered.json"


@dataclass(frozen=True)
class Filters:
    """Limits that a person must hold to become a crop; None leaves a criterion out.

    Attributes:
        surface: people without a surface are left out; otherwise no crop has one.
        score: of the detection, at least.
        height: of the person's crop in the picture, in pixels, at least: smaller ones would be enlarged.
        sharpness: variance of the Laplacian of the crop's luminance (0..255) at 288 x 160, at least.
        contrast: standard deviation of that luminance, at least.
        inside: share of the crop that lies in the picture, at least.
        vertices_per_part: different vertices seen on a part for it to count as seen.
        parts: share of the template's parts that are seen, at least; where a template names no parts, the share of its
            vertices times ten.
        surface_iou: intersection over union of mask and surface, at least; of an ensemble, the mask of its instance network.
        keypoints_on_surface: share of the visible keypoints (not the hidden ones) that lie on the surface or within 3 % of the crop's
            height of it, at least.

    """

    surface: bool = True
    score: float | None = 0.5
    height: float | None = 96
    sharpness: float | None = 20
    contrast: float | None = 12
    inside: float | None = 0.7
    vertices_per_part: int = 8
    parts: float | None = 0.3
    surface_iou: float | None = 0.4
    keypoints_on_surface: float | None = 0.7


def measure_crop(
    image: Image, people: People, person: int, region: cutting.Region, crop: Crop, filters: Filters
) -> dict[str, float]:
    """What the filters judge, by the name of their limit; criteria without data (no surface, no keypoints) are left out."""
    light = cv2.cvtColor(crop.image, cv2.COLOR_RGB2GRAY)
    x0, y0, x1, y1 = region.box
    wx0, wy0, wx1, wy1 = region.window
    measured = {
        "score": float(people.scores[person]),
        "height": float(y1 - y0),
        "sharpness": float(cv2.Laplacian(light, cv2.CV_64F).var()),
        "contrast": float(light.std()),
        "inside": (wx1 - wx0) * (wy1 - wy0) / ((x1 - x0) * (y1 - y0)),
    }
    if crop.vertices is None:
        return measured
    surface = people.surfaces[person]
    assert surface is not None
    on_surface = crop.vertices >= 0
    template = templates.get(surface.template)
    seen = np.unique(crop.vertices[on_surface])
    if template.parts is None:
        measured["parts"] = min(1.0, 10 * len(seen) / len(template))
    else:
        counts = np.bincount(template.parts[seen], minlength=len(template.part_names))
        measured["parts"] = float((counts >= filters.vertices_per_part).mean())
    if crop.person is not None and (crop.person | on_surface).any():
        measured["surface_iou"] = float((crop.person & on_surface).sum() / (crop.person | on_surface).sum())
    if people.keypoints is None:
        return measured
    # what another person hides is annotated where nothing of the surface is seen
    visible = (crop.keypoints[:, 2] > 0) & (people.keypoints[person, :, 2] == 2)
    if visible.any():
        reach = 2 * round(0.03 * HEIGHT) + 1
        near = cv2.dilate(
            on_surface.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
        )
        columns = np.clip((crop.keypoints[visible, 0] * WIDTH).astype(int), 0, WIDTH - 1)
        rows = np.clip((crop.keypoints[visible, 1] * HEIGHT).astype(int), 0, HEIGHT - 1)
        measured["keypoints_on_surface"] = float(near[rows, columns].mean())
    return measured


def limited(filters: Filters) -> dict[str, float]:
    """The criteria that have a limit, with it."""
    return {
        name: limit
        for name, limit in asdict(filters).items()
        if limit is not None and name not in {"surface", "vertices_per_part"}
    }


def failed(measured: dict[str, float], filters: Filters) -> str | None:
    """The first limit that is not held, or None."""
    return next((n for n, limit in limited(filters).items() if measured.get(n, limit) < limit), None)


def unchecked(measured: dict[str, float], filters: Filters) -> list[str]:
    """The criteria that have a limit and nothing to hold against it."""
    return [name for name in limited(filters) if name not in measured]


def crops_of(image: Image, people: People) -> list[tuple[int, cutting.Region, Crop]]:
    """Every person of a picture as a crop of 288 x 160, cut as the anonymizer cuts; people without a region are left out."""
    plan = cutting.plan_crops(people, (image.shape[0], image.shape[1]), "body", (HEIGHT, WIDTH))
    crops = []
    for region in (*plan.small, *plan.regions):
        person = region.person
        surface = people.surfaces[person]
        keypoints = np.zeros((17, 3), np.float32)
        if people.keypoints is not None:
            keypoints = cutting.keypoints_in_crop(people.keypoints[person], region)
            keypoints[:, :2] /= np.array([WIDTH, HEIGHT], np.float32)
            keypoints[:, 2] = (keypoints[:, 2] > 0) & ((keypoints[:, :2] >= 0) & (keypoints[:, :2] <= 1)).all(
                1
            )
        crop = Crop(
            "",
            cutting.extract_crop(image, region),
            region.crop_mask.view(np.bool_),
            keypoints,
            None if surface is None else cutting.surface_in_crop(surface, region),
            _mask(people, person, region),
        )
        crops.append((person, region, crop))
    return crops


def _mask(people: People, person: int, region: cutting.Region) -> NDArray[np.bool_] | None:
    """(288, 160) the person's mask in the crop, sampled as surfaces are."""
    if people.masks is None:
        return None
    x0, y0, x1, y1 = region.window
    inside = np.where(people.masks[person, y0:y1, x0:x1], 0, -1).astype(np.int32)
    whole = SurfaceMap("", np.array(region.window, np.int32), inside)
    return cutting.surface_in_crop(whole, region) >= 0


def split_of(source: str, validation: float) -> str:
    """``train`` or ``val``, by the name of the source picture alone: all crops of one picture are on one side."""
    share = int.from_bytes(hashlib.blake2b(name_bytes(source), digest_size=8).digest(), "big") / 2**64
    return "val" if share < validation else "train"


def build_dataset(
    dataset: Dataset,
    detector: Detector,
    out: Path,
    *,
    filters: Filters = Filters(),
    validation: float = 0.02,
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Write the crops of everybody found in a dataset's pictures who holds the filters, in FDH's layout.

    Args:
        dataset: pictures of any layout; all its splits are used, and ``val`` is drawn anew.
        detector: finds the people, bound to the dataset where it looks them up there; its surfaces must name one template.
        out: empty or new folder: ``train/out-000000.tar``, ``val/...`` and the report ``filtered.json``.
        filters: who becomes a crop.
        validation: share of the pictures whose crops go to ``val``.
        progress: called with (pictures done, pictures).

    Returns:
        The report: pictures read, unreadable ones by name, people found, crops by split, people removed by criterion,
        crops that a criterion was and was not to be checked on, by criterion, the detector, the limits, and the 5th, 50th and 95th
        percentile of every measure.

    Raises:
        Dp2benchError: nobody is left, the folder is not empty, or surfaces of several templates were found.

    """
    for split in ("train", "val"):
        empty_folder(out / split)
    bound = detector.for_dataset(dataset)
    samples = [(split, s) for split in dataset.meta.splits for s in dataset.samples(split)]
    counts = _Counts(filters)
    with ShardWriter(out / "train") as train, ShardWriter(out / "val") as val:
        for done, (split, sample) in enumerate(samples, 1):
            try:
                image = dataset.read(sample)
            except PictureError as error:
                counts.unreadable[f"{split}/{sample.id}"] = error.problem
                continue
            side = split_of(str(sample.id), validation)
            for person, crop in _kept_crops(bound, image, sample, filters, counts):
                counts.kept[side] += 1
                key = f"{_safe(split, sample.id)}-{person:03d}"
                (train if side == "train" else val).write(
                    key, members(crop if filters.surface else replace(crop, vertices=None))
                )
            progress(done, len(samples))
    if len(counts.templates) > 1:
        raise Dp2benchError(
            f"Surfaces of several templates were found: {', '.join(sorted(counts.templates))}.",
            "Build one dataset with one detector of surfaces.",
        )
    if not counts.kept:
        why = ", ".join(f"{n} by {name}" for name, n in counts.removed.most_common()) or "nobody was found"
        raise Dp2benchError(
            f"No crop is left of {counts.people} people in {len(samples)} pictures ({why}).",
            "Loosen the filters or choose another detector.",
        )
    if counts.templates and filters.surface:
        (out / TEMPLATE_FILE).write_text(counts.templates.pop(), "utf-8")
    report = {
        "pictures": len(samples),
        **counts.report(),
        "detector": f"{detector.meta.name} {detector.meta.revision}",
        "limits": asdict(filters),
        "percentiles_5_50_95": counts.percentiles(),
    }
    (out / REPORT).write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    return report


class _Counts:
    """What became of the people of a dataset."""

    def __init__(self, filters: Filters) -> None:
        self.filters = filters
        self.removed: Counter[str] = Counter()
        self.kept: Counter[str] = Counter()
        self.checked: Counter[str] = Counter()
        self.not_checked: Counter[str] = Counter()
        self.values: dict[str, list[float]] = {}
        self.unreadable: dict[str, str] = {}
        self.templates: set[str] = set()
        self.people = 0

    def judge(self, measured: dict[str, float], *, has_surface: bool) -> bool:
        """Count one person's crop; whether it is kept."""
        for name, value in measured.items():
            self.values.setdefault(name, []).append(value)
        reason = "surface" if self.filters.surface and not has_surface else failed(measured, self.filters)
        if reason:
            self.removed[reason] += 1
            return False
        missing = unchecked(measured, self.filters)
        self.not_checked.update(missing)
        self.checked.update(set(limited(self.filters)) - set(missing))
        return True

    def report(self) -> dict[str, Any]:
        return {
            "unreadable": self.unreadable,
            "people": self.people,
            "crops": dict(sorted(self.kept.items())),
            "removed": dict(self.removed.most_common()),
            "checked": {name: self.checked[name] for name in limited(self.filters)},
            "not_checked": dict(self.not_checked.most_common()),
        }

    def percentiles(self) -> dict[str, list[float]]:
        return {
            name: [round(float(v), 3) for v in np.percentile(values, [5, 50, 95])]
            for name, values in sorted(self.values.items())
        }


def _kept_crops(
    detector: Detector, image: Image, sample: Sample, filters: Filters, counts: _Counts
) -> Iterator[tuple[int, Crop]]:
    """The crops of those in a picture who hold the filters, with each one's place among the people."""
    if isinstance(detector, Ensemble):  # its masks are unions with the surface, which agree with the surface
        parts = detector.parts(image, sample)
        masks, people = parts[0], detector.combined(*parts, image)
    else:
        masks = people = detector.detect([image], [sample])[0]
    counts.people += len(people)
    counts.templates |= {s.template for s in people.surfaces if s is not None}
    cut = crops_of(image, people)
    counts.removed.update(["outside"] * (len(people) - len(cut)))
    for person, region, crop in cut:
        own = _mask(masks, person, region) if person < len(masks) else None
        measured = measure_crop(image, people, person, region, replace(crop, person=own), filters)
        if counts.judge(measured, has_surface=crop.vertices is not None):
            yield person, crop


def _safe(split: str, name: SampleId) -> str:
    """A key for an archive: letters, digits, dashes; unique by a digest of the whole name."""
    stem = "".join(c if c.isalnum() and c.isascii() else "-" for c in Path(name).stem)[:40]
    return f"{stem}-{hashlib.blake2b(name_bytes(f'{split}/{name}'), digest_size=4).hexdigest()}"
