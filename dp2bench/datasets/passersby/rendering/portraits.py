"""One person before a camera, as others meet them by chance: what `passersby-fdh` and `passersby-fdf` are cut out of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from dp2bench.core.seeds import derive_seed, generator
from dp2bench.core.types import Image, People, SurfaceMap
from dp2bench.datasets.passersby.rendering.camera import STYLES, Camera, CameraStyle
from dp2bench.datasets.passersby.rendering.dressing import dress
from dp2bench.datasets.passersby.rendering.identities import make_identity
from dp2bench.datasets.passersby.rendering.posing import PosedPerson, pose_person, random_pose
from dp2bench.datasets.passersby.rendering.scene import render_scene
from dp2bench.datasets.passersby.rendering.template import NAME as TEMPLATE
from dp2bench.datasets.passersby.rendering.visibility import VisiblePerson

_KINDS = {"walk": 0.42, "stand": 0.34, "phone": 0.16, "wave": 0.08}


@dataclass(frozen=True)
class SampleSpec:
    """One crop that is to be rendered."""

    split: str
    number: int
    """Unique over the splits; the crop's name."""
    identity: int
    """Unique over the splits, from 1."""
    person: int
    """Which identity of the split's stream of identities."""

    @property
    def key(self) -> str:
        """The crop's name."""
        return f"{self.number:06d}"


class Attempt(NamedTuple):
    """A setting for a sample: the draws that are left over, the camera's style, and who stands at the origin."""

    r: np.random.Generator
    style: CameraStyle
    person: PosedPerson


def attempts(stream: str, spec: SampleSpec, away: float) -> Iterator[Attempt]:
    """Settings for a sample, one after the other until one shows the person well enough.

    Args:
        stream: of identities; each split has one of its own.
        spec: who, and the seed.
        away: standard deviation in radians of the angle between the camera and where the person looks; 3: anywhere.

    """
    for k in range(50):
        r = generator(derive_seed(stream, "shot", spec.split, spec.number, k))
        style = STYLES[int(r.integers(len(STYLES)))]
        kind = str(r.choice(list(_KINDS), p=list(_KINDS.values())))
        dressed = dress(make_identity(f"{stream}-{spec.split}", spec.person), bool(r.random() < 0.9))
        yield Attempt(r, style, pose_person(dressed, random_pose(r, kind), yaw=float(r.normal(0, away))))
    raise RuntimeError(f"no setting shows person {spec.person} of {stream} well enough")


def neighbours(stream: str, r: np.random.Generator) -> list[PosedPerson]:
    """Nobody, or somebody beside or behind the person at the origin."""
    if r.random() > 0.25:
        return []
    identity = make_identity(f"{stream}-stranger", int(r.integers(1 << 20)))
    at = float(r.choice([-1, 1]) * r.uniform(0.4, 1.1)), float(r.uniform(-0.3, 2.5))
    return [pose_person(dress(identity, True), random_pose(r, "walk"), yaw=float(r.normal(0, 2)), at=at)]


def frame_person(r: np.random.Generator, person: PosedPerson, size: tuple[int, int], fill: float) -> Camera:
    """A camera that shows the whole person in a picture of (width, height), filling about this share of its height."""
    camera = Camera.looking(float(r.uniform(3.5, 9)), float(r.uniform(1.2, 3.4)), 0.9, size)
    return camera.framing(person.points, fill, (float(r.normal(0, 0.05)), float(r.normal(0, 0.02))))


def shifted(camera: Camera, box: Any) -> Camera:
    """The window (x0, y0, x1, y1), in pixels, of what a camera sees, as a camera of its own."""
    x0, y0, x1, y1 = (int(v) for v in box)
    return replace(camera, centre=(camera.centre[0] - x0, camera.centre[1] - y0), size=(x1 - x0, y1 - y0))


def zoomed(camera: Camera, person: PosedPerson, zoom: float, top: float) -> Camera:
    """Zoomed in about the middle, the head at a share ``top`` of the height: feet leave the picture."""
    (w, h), x = camera.size, camera.centre[0]
    closer = replace(camera, focal=camera.focal * zoom, centre=(w / 2 + (x - w / 2) * zoom, 0.0))
    highest = float(closer.project(person.points)[:, 1].min())
    return replace(closer, centre=(closer.centre[0], top * h - highest))


def render_attempt(
    attempt: Attempt, camera: Camera, others: list[PosedPerson], *, thing: bool
) -> tuple[Image, VisiblePerson | None]:
    """The picture, and what is seen of the person at the origin."""
    view = render_scene([attempt.person, *others], camera, attempt.style, attempt.r, thing=thing)
    return view.picture, next((s for s in view.people if s.index == 0), None)


def people_of(seen: VisiblePerson, size: tuple[int, int]) -> People:
    """The person as People of the picture of (height, width)."""
    x0, y0, x1, y1 = (int(v) for v in seen.box)
    mask = np.zeros((1, *size), bool)
    mask[0, y0:y1, x0:x1] = seen.surface != -1
    surface = SurfaceMap(TEMPLATE, seen.box, np.maximum(seen.surface, -1).astype(np.int32))
    return People.of(
        [seen.box], masks=mask, keypoints=seen.keypoints[None], faces=seen.face[None], surfaces=(surface,)
    )
