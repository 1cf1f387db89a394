"""One person before a camera, as others meet them by chance: what `passersby-fdh` and `passersby-fdf` are cut out of."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dp2bench.core.seeds import derive_seed, generator
from dp2bench.core.types import Image, People, Sample, SurfaceMap
from dp2bench.datasets.passersby.rendering.people import Actor, act, dress, look, pose
from dp2bench.datasets.passersby.rendering.scene import STYLES, Camera, Seen, Style, render
from dp2bench.datasets.passersby.rendering.template import NAME as TEMPLATE

IDENTITIES, ATTRIBUTES = "annotations/identities.json", "annotations/attributes.json"
_KINDS = {"walk": 0.42, "stand": 0.34, "phone": 0.16, "wave": 0.08}


@dataclass(frozen=True)
class Size:
    """How many crops a size holds in each split, and how many of each identity."""

    train: int
    val: int
    each: int


@dataclass(frozen=True)
class Shot:
    """One crop of the plan."""

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


def plan(size: Size) -> list[Shot]:
    """The crops of a size: those of one identity follow each other, and no identity is in both splits."""
    shots = []
    people = -(-size.train // size.each)
    for split, first, count, before in (("train", 0, size.train, 0), ("val", size.train, size.val, people)):
        for k in range(count):
            person = k // size.each
            shots.append(Shot(split, first + k, before + person + 1, person))
    return shots


def chunks(shots: list[Shot], most: int) -> list[list[Shot]]:
    """Shots in chunks that are made together."""
    return [shots[k : k + most] for k in range(0, len(shots), most)]


def attributes(stream: str, shots: list[Shot]) -> dict[int, dict[str, Any]]:
    """What each identity looks like, by identity."""
    who = {s.identity: (f"{stream}-{s.split}", s.person) for s in shots}
    return {identity: look(*person).attributes() for identity, person in who.items()}


class Attempt(NamedTuple):
    """A setting for a shot: the draws that are left over, the camera's style, and who stands at the origin."""

    r: np.random.Generator
    style: Style
    actor: Actor


def attempts(stream: str, shot: Shot, away: float) -> Iterator[Attempt]:
    """Settings for a shot, one after the other until one shows the person well enough.

    Args:
        stream: of identities; each split has one of its own.
        shot: who, and the seed.
        away: standard deviation in radians of the angle between the camera and where the person looks; 3: anywhere.

    """
    for k in range(50):
        r = generator(derive_seed(stream, "shot", shot.split, shot.number, k))
        style = STYLES[int(r.integers(len(STYLES)))]
        kind = str(r.choice(list(_KINDS), p=list(_KINDS.values())))
        dressed = dress(look(f"{stream}-{shot.split}", shot.person), bool(r.random() < 0.9))
        yield Attempt(r, style, act(dressed, pose(r, kind), yaw=float(r.normal(0, away))))
    raise RuntimeError(f"no setting shows person {shot.person} of {stream} well enough")


def neighbours(stream: str, r: np.random.Generator) -> list[Actor]:
    """Nobody, or somebody beside or behind the person at the origin."""
    if r.random() > 0.25:
        return []
    who = look(f"{stream}-stranger", int(r.integers(1 << 20)))
    at = float(r.choice([-1, 1]) * r.uniform(0.4, 1.1)), float(r.uniform(-0.3, 2.5))
    return [act(dress(who, True), pose(r, "walk"), yaw=float(r.normal(0, 2)), at=at)]


def view(r: np.random.Generator, actor: Actor, size: tuple[int, int], fill: float) -> Camera:
    """A camera that shows the whole person in a picture of (width, height), filling about this share of its height."""
    camera = Camera.looking(float(r.uniform(3.5, 9)), float(r.uniform(1.2, 3.4)), 0.9, size)
    return camera.framing(actor.points, fill, (float(r.normal(0, 0.05)), float(r.normal(0, 0.02))))


def shifted(camera: Camera, box: Any) -> Camera:
    """The window (x0, y0, x1, y1), in pixels, of what a camera sees, as a camera of its own."""
    x0, y0, x1, y1 = (int(v) for v in box)
    return replace(camera, centre=(camera.centre[0] - x0, camera.centre[1] - y0), size=(x1 - x0, y1 - y0))


def zoomed(camera: Camera, actor: Actor, zoom: float, top: float) -> Camera:
    """Zoomed in about the middle, the head at a share ``top`` of the height: feet leave the picture."""
    (w, h), x = camera.size, camera.centre[0]
    closer = replace(camera, focal=camera.focal * zoom, centre=(w / 2 + (x - w / 2) * zoom, 0.0))
    highest = float(closer.project(actor.points)[:, 1].min())
    return replace(closer, centre=(closer.centre[0], top * h - highest))


def take(attempt: Attempt, camera: Camera, others: list[Actor], *, thing: bool) -> tuple[Image, Seen | None]:
    """The picture, and what is seen of the person at the origin."""
    picture, seen = render([attempt.actor, *others], camera, attempt.style, attempt.r, thing=thing)
    return picture, next((s for s in seen if s.actor == 0), None)


def as_people(seen: Seen, size: tuple[int, int]) -> People:
    """The person as People of the picture of (height, width)."""
    x0, y0, x1, y1 = (int(v) for v in seen.box)
    mask = np.zeros((1, *size), bool)
    mask[0, y0:y1, x0:x1] = seen.surface != -1
    surface = SurfaceMap(TEMPLATE, seen.box, np.maximum(seen.surface, -1).astype(np.int32))
    return People.of(
        [seen.box], masks=mask, keypoints=seen.keypoints[None], faces=seen.face[None], surfaces=(surface,)
    )


def write_annotations(root: Path, stream: str, shots: list[Shot]) -> None:
    """Who each crop shows, by split and key, and what each identity looks like."""
    who: dict[str, dict[str, int]] = {}
    for s in shots:
        who.setdefault(s.split, {})[s.key] = s.identity
    (root / "annotations").mkdir()
    (root / IDENTITIES).write_text(json.dumps(who))
    (root / ATTRIBUTES).write_text(json.dumps(attributes(stream, shots), indent=1))


def labelled(samples: Sequence[Sample], root: Path, split: str) -> list[Sample]:
    """Samples of a split with the identity of whom they show, as `write_annotations` left it in ``root``."""
    who = json.loads((root / IDENTITIES).read_text())[split]
    return [Sample(s.id, s.path, {"identity": who[Path(s.id).stem.zfill(6)]}) for s in samples]


def read_attributes(root: Path) -> dict[int, dict[str, Any]]:
    """What each identity looks like, as `write_annotations` left it."""
    return {int(who): looks for who, looks in json.loads((root / ATTRIBUTES).read_text()).items()}
