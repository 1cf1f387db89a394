"""How the crops of `passersby-fdh` are made: a picture of somebody, cut by the library as it cuts for a generator."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dp2bench.core.types import SurfaceMap
from dp2bench.datasets.crops import Crop
from dp2bench.datasets.fdh import HEIGHT, TEMPLATE_FILE, WIDTH, members
from dp2bench.datasets.passersby import crop_plan
from dp2bench.datasets.passersby.crop_plan import Size
from dp2bench.datasets.passersby.generation.builder import DatasetBuilder
from dp2bench.datasets.passersby.generation.chunks import Arrays, join_blobs, split_blobs
from dp2bench.datasets.passersby.rendering import portraits
from dp2bench.datasets.passersby.rendering.portraits import SampleSpec
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


def render_sample(spec: SampleSpec) -> Crop:
    """Take and cut one crop; depends on the spec alone."""
    for attempt in portraits.attempts(STREAM, spec, away=3.0):
        r = attempt.r
        height = int(r.integers(180, 330))
        size = round(height * float(r.uniform(0.6, 0.9))), height
        camera = portraits.frame_person(r, attempt.person, size, float(r.uniform(0.66, 0.9)))
        if r.random() < 0.25:
            camera = portraits.zoomed(
                camera, attempt.person, float(r.uniform(1.2, 2)), float(r.uniform(0.02, 0.12))
            )
        picture, seen = portraits.render_attempt(
            attempt, camera, portraits.neighbours(STREAM, r), thing=bool(r.random() < 0.1)
        )
        if seen is None or (seen.surface != -1).sum() < 0.06 * picture.shape[0] ** 2:
            continue
        people = portraits.people_of(seen, picture.shape[:2])
        region = cutting.plan_crops(people, picture.shape[:2], "body", (HEIGHT, WIDTH)).regions[0]
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
            spec.key,
            cutting.extract_crop(picture, region),
            region.crop_mask.view(np.bool_),
            keypoints,
            cutting.surface_in_crop(surface, region),
            cutting.surface_in_crop(silhouette, region) >= 0,
        )
        if (crop.keypoints[:, 2] > 0).sum() >= 5:
            return crop
    raise AssertionError("attempts end with an error of their own")


class FDHBuilder(DatasetBuilder[SampleSpec]):
    """Makes `passersby-fdh`: FDH's archives, the name of the template, identities and attributes."""

    name = "passersby-fdh"
    version = "2.1"
    sizes = SIZES

    def plan(self, size: str) -> list[list[SampleSpec]]:
        """Eight crops a chunk."""
        return crop_plan.chunks(crop_plan.plan(self.sizes[size]), 8)

    def make_chunk(self, chunk: list[SampleSpec]) -> Arrays:
        """The members of each crop, as bytes."""
        made = [members(render_sample(spec)) for spec in chunk]
        data, first = join_blobs([blob for crop in made for blob in crop.values()])
        return {"data": data, "first": first, "endings": np.array([list(crop) for crop in made])}

    def assemble(self, size: str, parts: Iterator[Arrays], root: Path) -> None:
        """Write the archives as the crops come."""
        specs = crop_plan.plan(self.sizes[size])
        writers = {split: ShardWriter(root / split) for split in ("train", "val")}
        todo = iter(specs)
        for part in parts:
            blobs = iter(split_blobs(part["data"], part["first"]))
            for endings in part["endings"]:
                spec = next(todo)
                writers[spec.split].write(spec.key, {str(e): next(blobs) for e in endings})
        for writer in writers.values():
            writer.close()
        (root / TEMPLATE_FILE).write_text(TEMPLATE)
        crop_plan.write_annotations(root, STREAM, specs)
