"""How the crops of `passersby-fdh` are made: a picture of somebody, cut by the library as it cuts for a generator."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dp2bench.core.types import SurfaceMap
from dp2bench.datasets.crops import Crop
from dp2bench.datasets.fdh import HEIGHT, TEMPLATE_FILE, WIDTH, members
from dp2bench.datasets.passersby.generation.builder import Arrays, Recipe, cut, join
from dp2bench.datasets.passersby.rendering import portraits
from dp2bench.datasets.passersby.rendering.portraits import Shot, Size
from dp2bench.datasets.passersby.rendering.template import NAME as TEMPLATE
from dp2bench.datasets.shards import ShardWriter
from dp2bench.inpainting import crops as cutting

STREAM = "passersby-fdh"
SIZES = {
    "smoke": Size(train=12, val=6, each=2),
    "mini": Size(train=288, val=64, each=2),
    "medium": Size(train=4_800, val=320, each=2),
    "large": Size(train=40_000, val=2_000, each=4),
}


def shoot(shot: Shot) -> Crop:
    """Take and cut one crop; depends on the shot alone."""
    for attempt in portraits.attempts(STREAM, shot, away=3.0):
        r = attempt.r
        height = int(r.integers(180, 330))
        size = round(height * float(r.uniform(0.6, 0.9))), height
        camera = portraits.view(r, attempt.actor, size, float(r.uniform(0.66, 0.9)))
        if r.random() < 0.25:
            camera = portraits.zoomed(
                camera, attempt.actor, float(r.uniform(1.2, 2)), float(r.uniform(0.02, 0.12))
            )
        picture, seen = portraits.take(
            attempt, camera, portraits.neighbours(STREAM, r), thing=bool(r.random() < 0.1)
        )
        if seen is None or (seen.surface != -1).sum() < 0.06 * picture.shape[0] ** 2:
            continue
        people = portraits.as_people(seen, picture.shape[:2])
        region = cutting.plan(people, picture.shape[:2], "body", (HEIGHT, WIDTH)).regions[0]
        surface = people.surfaces[0]
        assert surface is not None
        # Where the person is, sampled as the surface is.
        silhouette = SurfaceMap(
            surface.template, surface.box, np.where(seen.surface != -1, 0, -1).astype(np.int32)
        )
        assert people.keypoints is not None
        keypoints = cutting.keypoints_in_crop(people.keypoints[0], region)
        keypoints[:, :2] /= np.array([WIDTH, HEIGHT], np.float32)
        crop = Crop(
            shot.key,
            cutting.extract_crop(picture, region),
            region.crop_mask.view(np.bool_),
            keypoints,
            cutting.surface_in_crop(surface, region),
            cutting.surface_in_crop(silhouette, region) >= 0,
        )
        if (crop.keypoints[:, 2] > 0).sum() >= 5:
            return crop
    raise AssertionError("attempts end with an error of their own")


class FDHCropsRecipe(Recipe[Shot]):
    """Makes `passersby-fdh`: FDH's archives, the name of the template, identities and attributes."""

    name = "passersby-fdh"
    version = "2.1"
    sizes = SIZES

    def plan(self, size: str) -> list[list[Shot]]:
        """Eight crops a chunk."""
        return portraits.chunks(portraits.plan(SIZES[size]), 8)

    def make_chunk(self, chunk: list[Shot]) -> Arrays:
        """The members of each crop, as bytes."""
        made = [members(shoot(shot)) for shot in chunk]
        data, first = join([blob for crop in made for blob in crop.values()])
        return {"data": data, "first": first, "endings": np.array([list(crop) for crop in made])}

    def assemble(self, size: str, parts: Iterator[Arrays], root: Path) -> None:
        """Write the archives as the crops come."""
        shots = portraits.plan(SIZES[size])
        writers = {split: ShardWriter(root / split) for split in ("train", "val")}
        todo = iter(shots)
        for part in parts:
            blobs = iter(cut(part["data"], part["first"]))
            for endings in part["endings"]:
                shot = next(todo)
                writers[shot.split].write(shot.key, {str(e): next(blobs) for e in endings})
        for writer in writers.values():
            writer.close()
        (root / TEMPLATE_FILE).write_text(TEMPLATE)
        portraits.write_annotations(root, STREAM, shots)
