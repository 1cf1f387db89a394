"""What a detector finds on rendered scenes: AP, recall by size, faces, what people are found as, and what of them is covered.

Run: python benchmarks/detector.py [--detector photo] [--option pose=heavy] [--weights FILE] [--dataset passersby-coco] [--size mini]
     [--pictures N] [--preview FOLDER]

AP is pycocotools' on the person class of the val split, crowds ignored; it needs passersby-coco. Everything else is of everybody
in the pictures, members of crowds too, at the thresholds of the detector: a box counts as found from an overlap of 0.5, a face
from 0.4. "Covered" is the share of people's pixels that lie in anybody's mask or face box, and what `mask-out` replaces with it, which
widens masks as every body method does: what is not covered may stay visible.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import platform
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from dp2bench.core import registry, templates
from dp2bench.core.images import write_image
from dp2bench.core.seeds import Seed
from dp2bench.core.types import Category, People
from dp2bench.datasets.passersby.rendering.body import kit
from dp2bench.detection.compact.networks import TEMPLATE
from dp2bench.detection.ensemble import deepprivacy2
from dp2bench.detection.preview import draw_people
from dp2bench.metrics.coverage import SIZES, match, size_of

AT_REST = kit().template
"""(V, 3) metres of the body at rest: how far apart on it two vertices are."""


def average_precision(
    dataset: Any, split: str, rows: list[dict[str, Any]], image_ids: list[int]
) -> dict[str, float]:
    """AP and AP50 of boxes and masks."""
    out = {}
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(dataset.annotations / f"instances_{split}2017.json"))
        for kind in ("bbox", "segm"):
            evaluation = COCOeval(truth, truth.loadRes([dict(row) for row in rows]), kind)
            evaluation.params.imgIds, evaluation.params.catIds = image_ids, [1]
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
            out |= {f"{kind} AP": evaluation.stats[0], f"{kind} AP50": evaluation.stats[1]}
    return out


class CoverageCounter:
    """Counts of everybody."""

    def __init__(self) -> None:
        self.people: Counter[str] = Counter()
        self.found: Counter[str] = Counter()
        self.share: Counter[str] = Counter()
        self.faces = self.faces_found = self.faces_alone = self.nobody = self.detections = 0
        self.pixels = self.covered = self.replaced = self.background = self.everything = 0
        self.distances: list[NDArray[np.float64]] = []
        self.parts: Counter[bool] = Counter()

    def add(self, truth: People, got: People, replaced: NDArray[np.bool_]) -> None:
        """One picture, and the pixels that a body method replaces in it."""
        assert truth.masks is not None
        assert got.masks is not None
        persons = np.flatnonzero(got.categories != Category.FACE)
        partner = match(truth.boxes, got.boxes[persons])
        self.detections += len(persons)
        self.nobody += len(persons) - int((partner >= 0).sum())
        everything = got.masks.any(0) if len(got) else np.zeros(truth.masks.shape[1:], bool)
        self.pixels += int(truth.masks.sum())
        self.covered += int((truth.masks & everything).sum())
        self.replaced += int((truth.masks & replaced).sum())
        self.background += int((replaced & ~truth.masks.any(0)).sum())
        self.everything += int(replaced.sum())
        faces = np.full((len(got), 4), np.nan) if got.faces is None else got.faces
        seen = np.isfinite(faces).all(1)
        assert truth.faces is not None
        there = np.isfinite(truth.faces).all(1)
        self.faces += int(there.sum())
        hit = match(truth.faces[there], faces[seen], 0.4) >= 0
        self.faces_found += int(hit.sum())
        self.faces_alone += int(seen.sum()) - int(hit.sum())
        face_of = np.zeros(len(truth), bool)
        face_of[np.flatnonzero(there)[hit]] = True
        for i, j in enumerate(partner):
            size = size_of(float(truth.masks[i].sum()))
            self.people[size] += 1
            self.found[size] += j >= 0
            if j >= 0:
                kind = got.categories[persons[j]]
                self.share["surface" if kind == Category.PERSON_WITH_SURFACE else "mask only"] += 1
                self._surface(truth, i, got, int(persons[j]))
            else:
                self.share["face only" if face_of[i] else "missed"] += 1

    def _surface(self, truth: People, i: int, got: People, j: int) -> None:
        a, b = truth.surfaces[i], got.surfaces[j]
        if a is None or b is None:
            return
        x0, y0 = np.maximum(a.box[:2], b.box[:2])
        x1, y1 = np.minimum(a.box[2:], b.box[2:])
        if x1 <= x0 or y1 <= y0:
            return
        left, right = (
            s.vertices[y0 - s.box[1] : y1 - s.box[1], x0 - s.box[0] : x1 - s.box[0]] for s in (a, b)
        )
        both = (left >= 0) & (right >= 0)
        parts = templates.get(TEMPLATE).parts
        assert parts is not None
        right_part = parts[left[both]] == parts[right[both]]
        self.parts[True] += int(right_part.sum())
        self.parts[False] += int((~right_part).sum())
        self.distances.append(np.linalg.norm(AT_REST[left[both]] - AT_REST[right[both]], axis=1))


def main() -> None:
    """Detect, score, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--detector", default="deepprivacy2")
    parser.add_argument("--option", action="append", default=[], metavar="KEY=VALUE", help="of --detector")
    parser.add_argument("--weights", type=Path, help="of the embedded detector")
    parser.add_argument("--dataset", default="passersby-coco")
    parser.add_argument("--size", default="mini")
    parser.add_argument("--split", default="val")
    parser.add_argument("--pictures", type=int)
    parser.add_argument("--preview", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    dataset = registry.create("datasets", given.dataset, {"size": given.size})
    dataset.prepare()
    embedded = given.detector == "deepprivacy2"
    detector = (
        deepprivacy2(weights=given.weights)
        if embedded
        else registry.create(
            "detectors", given.detector, dict(option.split("=", 1) for option in given.option)
        )
    )
    mask_out = registry.create("methods", "mask-out", {})
    counter, rows, ids = CoverageCounter(), [], []
    samples = dataset.samples(given.split)[: given.pictures]
    spent = 0.0
    for sample in samples:
        image = dataset.read(sample)
        start = time.perf_counter()
        got = detector.detect([image], [sample])[0]
        spent += time.perf_counter() - start
        counter.add(dataset.people(sample), got, mask_out.anonymize(image, got, seed=Seed(0)).changed)
        if given.preview is not None:
            write_image(given.preview / f"{Path(sample.id).name}.jpg", draw_people(image, got))
        if "image_id" not in sample.labels:
            continue
        ids.append(sample.labels["image_id"])
        for i in np.flatnonzero(got.categories != Category.FACE):
            x0, y0, x1, y1 = got.boxes[i].tolist()
            assert got.masks is not None
            rows.append(
                {
                    "image_id": ids[-1],
                    "category_id": 1,
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "segmentation": rle.encode(np.asfortranarray(got.masks[i].view(np.uint8))),
                    "score": float(got.scores[i]),
                }
            )
    print(
        f"{platform.processor() or platform.machine()}, {given.threads} thread(s); {detector.meta.weights[0].name}"
    )
    print(f"{detector.meta.weights[0].sha256}")
    print(
        f"{dataset.meta.name} {dataset.meta.version} {given.split}: {len(samples)} pictures, {sum(counter.people.values())} people"
    )
    if rows:
        for name, value in average_precision(dataset, given.split, rows, ids).items():
            print(f"{name:22} {100 * value:6.1f}")
    for name, (low, high) in SIZES.items():
        print(
            f"recall {name:15} {_percent(counter.found[name], counter.people[name])}  ({low:.0f} to {high:.0f} pixels)"
        )
    total = sum(counter.people.values())
    print(f"{'recall':22} {_percent(sum(counter.found.values()), total)}")
    print(f"{'pixels covered':22} {_percent(counter.covered, counter.pixels)}")
    print(f"{'· with what widens':22} {_percent(counter.replaced, counter.pixels)}")
    print(f"{'· background in that':22} {_percent(counter.background, counter.everything)}")
    print(f"{'face recall':22} {_percent(counter.faces_found, counter.faces)}")
    print(
        f"faces without a face   {_percent(counter.faces_alone, counter.faces_alone + counter.faces_found)} of the boxes"
    )
    print(f"boxes without a person {_percent(counter.nobody, counter.detections)} of the boxes")
    print(
        f"surfaces: right part   {_percent(counter.parts[True], sum(counter.parts.values()))} of the pixels with a vertex"
    )
    if counter.distances:
        print(
            f"surfaces: off by       {100 * np.median(np.concatenate(counter.distances)):6.1f} cm (median pixel)"
        )
    for name in ("surface", "mask only", "face only", "missed"):
        print(f"share {name:16} {_percent(counter.share[name], total)}")
    print(f"seconds a picture      {spent / max(1, len(samples)):6.2f}")


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / max(1, whole):6.1f} % ({part:,} of {whole:,})"


if __name__ == "__main__":
    main()
