"""How the crops of `passersby-fdf` are made: a picture of what the library would cut out around a face."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dp2bench.core.types import People
from dp2bench.datasets.crops import Crop, png
from dp2bench.datasets.fdf import FDF256, LANDMARKS, write_arrays
from dp2bench.datasets.passersby import crop_plan
from dp2bench.datasets.passersby.crop_plan import Size
from dp2bench.datasets.passersby.generation.builder import DatasetBuilder
from dp2bench.datasets.passersby.generation.chunks import Arrays, join_blobs, split_blobs
from dp2bench.datasets.passersby.rendering import portraits
from dp2bench.datasets.passersby.rendering.body import kit
from dp2bench.datasets.passersby.rendering.portraits import SampleSpec
from dp2bench.inpainting import crops as cutting
from dp2bench.inpainting.crop_boxes import face_crop_box

STREAM = "passersby-fdf"
SIZES = {
    "smoke": Size(train=8, val=4, each=2),
    "mini": Size(train=128, val=32, each=2),
    "medium": Size(train=1_440, val=160, each=2),
    "large": Size(train=30_000, val=2_000, each=4),
}
SIDE = FDF256.resolution
SMALLEST = 64
"""Pixels of the longer side of a face in its picture, as FDF256 asks for."""


def render_sample(spec: SampleSpec) -> Crop:
    """Render one crop; depends on the spec alone."""
    face_vertices = kit().face
    for attempt in portraits.attempts(STREAM, spec, away=0.6):
        r = attempt.r
        camera = portraits.frame_person(r, attempt.person, (1600, 1200), 0.5)
        face = camera.project(attempt.person.points[: len(face_vertices)][face_vertices])[:, :2]
        wanted = float(np.exp(r.uniform(np.log(SMALLEST + 2), np.log(200))))
        zoom = wanted / float((face.max(0) - face.min(0)).max())
        camera = portraits.zoomed(camera, attempt.person, zoom, 0.3)
        face = camera.project(attempt.person.points[: len(face_vertices)][face_vertices])[:, :2]
        box = np.concatenate([np.floor(face.min(0)), np.ceil(face.max(0))])
        window = face_crop_box(box, (camera.size[1], camera.size[0]))
        picture, seen = portraits.render_attempt(
            attempt,
            portraits.shifted(camera, window),
            portraits.neighbours(STREAM, r),
            thing=bool(r.random() < 0.05),
        )
        if seen is None or not np.isfinite(seen.face).all():
            continue
        box -= np.tile(window[:2], 2)
        people = People.of([box], faces=np.array([box], np.float32))
        region = cutting.plan_crops(people, picture.shape[:2], "face", (SIDE, SIDE)).regions[0]
        x, y, w, h = cutting.bounds(region.crop_mask)
        points = (
            portraits.shifted(camera, window).project(attempt.person.keypoints)[:LANDMARKS, :2]
            / picture.shape[0]
        )
        return Crop(
            spec.key,
            cutting.extract_crop(picture, region, scope="face"),
            region.crop_mask.view(np.bool_),
            np.c_[points, np.ones(LANDMARKS)].astype(np.float32),
            box=np.array([x, y, x + w, y + h], np.float32),
        )
    raise AssertionError("attempts end with an error of their own")


class FDFBuilder(DatasetBuilder[SampleSpec]):
    """Makes `passersby-fdf`: FDF256's folders, identities and attributes."""

    name = "passersby-fdf"
    version = "2.1"
    sizes = SIZES

    def plan(self, size: str) -> list[list[SampleSpec]]:
        """Eight crops a chunk."""
        return crop_plan.chunks(crop_plan.plan(self.sizes[size]), 8)

    def make_chunk(self, chunk: list[SampleSpec]) -> Arrays:
        """Pictures as PNG files, boxes, landmarks."""
        made = [render_sample(spec) for spec in chunk]
        data, first = join_blobs([png(crop.image) for crop in made])
        return {
            "data": data,
            "first": first,
            "boxes": np.array([crop.box for crop in made], np.int64),
            "landmarks": np.array([crop.keypoints[:, :2] for crop in made], np.float32),
        }

    def assemble(self, size: str, parts: Iterator[Arrays], root: Path) -> None:
        """Write pictures as they come, then boxes and landmarks."""
        specs = crop_plan.plan(self.sizes[size])
        for split in ("train", "val"):
            (root / split / FDF256.images).mkdir(parents=True)
        boxes, landmarks = [], []
        todo = iter(specs)
        for part in parts:
            for picture in split_blobs(part["data"], part["first"]):
                spec = next(todo)
                (root / spec.split / FDF256.images / f"{spec.number}.png").write_bytes(picture)
            boxes.append(part["boxes"])
            landmarks.append(part["landmarks"])
        n = self.sizes[size].train
        for split, rows in (("train", slice(n)), ("val", slice(n, None))):
            write_arrays(
                root / split, FDF256.boxes, np.concatenate(boxes)[rows], np.concatenate(landmarks)[rows]
            )
        crop_plan.write_annotations(root, STREAM, specs)
