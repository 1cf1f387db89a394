"""The pictures of `passersby-reid`: who is seen by which camera, and how one picture is taken."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from dp2bench.core.seeds import derive_seed, generator
from dp2bench.core.types import Image
from dp2bench.datasets.passersby.generation.builder import DatasetBuilder
from dp2bench.datasets.passersby.generation.chunks import Arrays, join_blobs, pack_arrays, split_blobs
from dp2bench.datasets.passersby.generation.encoding import encode_jpeg
from dp2bench.datasets.passersby.rendering.camera import STYLES, Camera, CameraStyle
from dp2bench.datasets.passersby.rendering.dressing import dress
from dp2bench.datasets.passersby.rendering.identities import JACKETS, Identity, make_identity, without_jacket
from dp2bench.datasets.passersby.rendering.posing import PosedPerson, pose_person, random_pose
from dp2bench.datasets.passersby.rendering.scene import render_scene
from dp2bench.datasets.passersby.rendering.visibility import VisiblePerson
from dp2bench.datasets.reid import FOLDERS

WIDTH, HEIGHT = 64, 128

_FACING = (0.1, 0.6, -0.6, 0.3, -0.3, -0.8)
_BALANCE = (
    (1.05, 1.0, 0.91), (0.93, 0.99, 1.07), (1.08, 1.0, 0.88), (0.98, 1.03, 0.97), (0.94, 1.0, 1.04), (1.03, 0.98, 1.02),
)  # fmt: skip
_GAIN = (1.2, 1.0, 1.05, 1.2, 1.1, 1.0)
_CONTRAST = (1.0, 0.92, 1.05, 1.05, 0.9, 1.03)
CAMERAS = tuple(
    replace(style, facing=facing, balance=balance, gain=gain, contrast=contrast, blur=min(style.blur, 0.35))
    for style, facing, balance, gain, contrast in zip(
        STYLES, _FACING, _BALANCE, _GAIN, _CONTRAST, strict=True
    )
)
"""One place each. Their colours differ more than those of other datasets, and are the same in every picture: a network
learns to undo them, a histogram cannot. People pass them half from the front, so that most of a print is seen by two."""


@dataclass(frozen=True)
class Size:
    """How much a size holds: identities, cameras, pictures of each identity before each camera."""

    train: int
    test: int
    cameras: int
    per_camera: int
    query_cameras: int
    gallery: int
    distractors: int
    junk: int


SIZES = {
    "smoke": Size(
        train=12, test=12, cameras=3, per_camera=1, query_cameras=2, gallery=1, distractors=4, junk=2
    ),
    "mini": Size(
        train=128, test=48, cameras=6, per_camera=2, query_cameras=3, gallery=2, distractors=60, junk=20
    ),
    "large": Size(
        train=400, test=400, cameras=6, per_camera=4, query_cameras=3, gallery=2, distractors=1000, junk=200
    ),
}


@dataclass(frozen=True)
class SampleSpec:
    """One picture of the plan."""

    split: str
    identity: int
    """0 for a distractor, -1 for junk."""
    camera: int
    frame: int
    stream: str
    person: int
    """Which identity of the stream is shown."""

    @property
    def name(self) -> str:
        """The file's name: identity, camera, sequence, frame and box."""
        who = "-1" if self.identity < 0 else f"{self.identity:04d}"
        return f"{who}_c{self.camera + 1}s1_{self.frame:06d}_00.jpg"


JACKETS_OFF = 2 / 3
"""Share of those with a jacket or coat who take it off before some cameras: of all people about a quarter."""


@cache
def jacket_off(stream: str, person: int) -> tuple[int, ...]:
    """The cameras, two to four of the six, before which somebody wears no jacket; none for most people."""
    r = generator(derive_seed("passersby-reid", "jacket", stream, person))
    if make_identity(stream, person).top not in JACKETS or r.random() >= JACKETS_OFF:
        return ()
    cameras = r.permutation(len(CAMERAS))[: int(r.integers(2, 5))]
    return tuple(sorted(int(c) for c in cameras))


def carries_bag(stream: str, person: int, camera: int) -> bool:
    """Whether somebody has their bag with them, if they own one."""
    day = generator(derive_seed("passersby-reid", "day", stream, person, camera))
    return bool(day.random() < 0.9)


def worn(stream: str, person: int, camera: int) -> Identity:
    """What somebody wears before a camera."""
    identity = make_identity(stream, person)
    return without_jacket(identity) if camera in jacket_off(stream, person) else identity


def attributes(stream: str, person: int, cameras: int) -> dict[str, Any]:
    """Somebody's look and what of it changes: before which cameras, from 1, jacket or bag are missing, and the shirt under the jacket.

    ``under_*`` is None for those who keep their jacket on or have none.
    """
    identity = make_identity(stream, person)
    off = [c + 1 for c in jacket_off(stream, person) if c < cameras]
    under = asdict(without_jacket(identity)) if off else {}
    left = [c + 1 for c in range(cameras) if identity.bag != "none" and not carries_bag(stream, person, c)]
    shirt = ("top", "sleeve", "pattern", "top_colour", "second_colour")
    return {
        **identity.attributes(),
        "without_jacket": off,
        **{f"under_{name}": under.get(name) for name in shirt},
        "without_bag": left,
    }


def render_sample(spec: SampleSpec, *, vacant: bool = False) -> tuple[Image, list[VisiblePerson]]:
    """One picture; depends on the spec alone. ``vacant`` leaves its people out."""
    r = generator(derive_seed("passersby-reid", "shot", spec.split, spec.identity, spec.camera, spec.frame))
    style = CAMERAS[spec.camera]
    camera = Camera.looking(float(r.uniform(4.5, 9)), float(r.uniform(*style.height)), 0.9, (WIDTH, HEIGHT))
    # What is worn and carried is a matter of the day, that is of person and camera.
    day = spec.stream, spec.person, spec.camera
    main = _somebody(r, style, worn(*day), (0.0, 0.0), carries_bag(*day))
    shift = float(r.normal(0, 0.018)), float(r.normal(0, 0.012))
    camera = camera.framing(main.points, float(r.uniform(0.9, 0.97)), shift)
    camera = _bad_box(r, camera, junk=spec.identity <= 0)
    if spec.identity == 0 and r.random() < 0.4:
        empty: list[VisiblePerson] = []
        return render_scene([], camera, style, r).picture, empty
    people = [main]
    if r.random() < 0.06:
        people.append(_stranger(r, style))
    view = render_scene(people, camera, style, r, thing=bool(r.random() < 0.05), vacant=vacant, soft=1.0)
    return view.picture, view.people


def _somebody(
    r: np.random.Generator, style: CameraStyle, identity: Identity, at: tuple[float, float], bag: bool
) -> PosedPerson:
    """An identity at a place, who mostly faces as people do before this camera."""
    kinds = ("walk", "stand", "walk", "phone", "walk", "wave")
    away = 0.2 if r.random() < 0.95 else 2.0
    yaw = style.facing + float(r.normal(0, away))
    mesh = dress(identity, bag)
    pose = random_pose(r, kinds[int(r.choice(6, p=[0.4, 0.3, 0.2, 0.06, 0.02, 0.02]))])
    return pose_person(mesh, pose, yaw=yaw, at=at)


def _stranger(r: np.random.Generator, style: CameraStyle) -> PosedPerson:
    """Somebody else, partly before or behind the person at the origin."""
    side = float(r.choice([-1, 1]))
    near = r.random() < 0.45
    at = (
        (side * float(r.uniform(0.34, 0.55)), -float(r.uniform(0.45, 0.9)))
        if near
        else (side * float(r.uniform(0.25, 0.6)), float(r.uniform(0.5, 2)))
    )
    identity = make_identity("reid-stranger", 1_000_000 + int(r.integers(1 << 20)))
    return _somebody(r, style, identity, at, True)


def _bad_box(r: np.random.Generator, camera: Camera, *, junk: bool) -> Camera:
    """The camera as a detector's box would have it that misses the feet now and then; where it is junk, much of the person."""
    w, h = camera.size
    if r.random() < 0.08:
        zoom, drop = float(r.uniform(1.08, 1.25)), float(r.uniform(0.0, 0.06))
        x, y = camera.centre
        camera = replace(
            camera, focal=camera.focal * zoom, centre=(w / 2 + (x - w / 2) * zoom, (y + drop * h) * zoom)
        )
    if junk:
        zoom = float(r.uniform(1.2, 1.8))
        x, y = camera.centre
        camera = replace(
            camera,
            focal=camera.focal * zoom,
            centre=(
                (x + w * float(r.choice([-0.28, 0.28]))) * zoom - w * (zoom - 1) / 2,
                y * zoom - h * float(r.uniform(0, zoom - 1)),
            ),
        )
    return camera


class ReidBuilder(DatasetBuilder[SampleSpec]):
    """Makes `passersby-reid`: Market-1501's folders, the people of each split, the attributes of each identity."""

    name = "passersby-reid"
    version = "2.2"
    sizes = SIZES

    def plan(self, size: str) -> list[list[SampleSpec]]:
        """The pictures of a size, in chunks that are made together (about one identity each)."""
        n = self.sizes[size]
        chunks = [
            [
                SampleSpec("train", i + 1, c, 100 * i + k, "reid-train", i)
                for c in range(n.cameras)
                for k in range(n.per_camera)
            ]
            for i in range(n.train)
        ]
        for i in range(n.test):
            identity, first = n.train + 1 + i, 100 * (n.train + i)
            turn = generator(derive_seed("passersby-reid", "query", i)).permutation(n.cameras)
            specs = [
                SampleSpec("query", identity, int(c), first, "reid-test", i) for c in turn[: n.query_cameras]
            ]
            specs += [
                SampleSpec("gallery", identity, c, first + 1 + k, "reid-test", i)
                for c in range(n.cameras)
                for k in range(n.gallery)
            ]
            chunks.append(specs)
        extra = [
            SampleSpec("gallery", 0, k % n.cameras, 900_000 + k, "reid-stranger", k)
            for k in range(n.distractors)
        ]
        extra += [
            SampleSpec("gallery", -1, k % n.cameras, 950_000 + k, "reid-test", k % n.test)
            for k in range(n.junk)
        ]
        chunks += [extra[k : k + 12] for k in range(0, len(extra), 12)]
        return chunks

    def make_chunk(self, chunk: list[SampleSpec]) -> Arrays:
        """Take the pictures of a chunk."""
        names, pictures, count, people = [], [], [], []
        for spec in chunk:
            picture, visible = render_sample(spec)
            quality = generator(derive_seed("passersby-reid", "jpeg", spec.name)).integers(
                *CAMERAS[spec.camera].quality
            )
            names.append(f"{spec.split}/{spec.name}")
            pictures.append(encode_jpeg(picture, int(quality)))
            count.append(len(visible))
            people += visible
        pictures_joined, picture_first = join_blobs(pictures)
        surfaces_joined, surface_first = join_blobs([zlib.compress(s.surface.tobytes(), 6) for s in people])
        return {
            "names": np.array(names),
            "pictures": pictures_joined,
            "picture_first": picture_first,
            "first": np.cumsum([0, *count]),
            "boxes": np.array([s.box for s in people], np.int32).reshape(-1, 4),
            "keypoints": np.array([s.keypoints for s in people], np.float32).reshape(-1, 17, 3),
            "faces": np.array([s.face for s in people], np.float32).reshape(-1, 4),
            "main": np.array([s.index == 0 for s in people], bool),
            "surfaces": surfaces_joined,
            "surface_first": surface_first,
        }

    def assemble(self, size: str, parts: Iterator[Arrays], root: Path) -> None:
        """Write pictures as they come, then annotations and attributes."""
        for folder in (*FOLDERS.values(), "annotations"):
            (root / folder).mkdir()
        rows: dict[str, list[tuple[str, list[Any], list[bytes]]]] = {split: [] for split in FOLDERS}
        for part in parts:
            pictures = split_blobs(part["pictures"], part["picture_first"])
            surfaces = split_blobs(part["surfaces"], part["surface_first"])
            for i, full in enumerate(part["names"]):
                split, name = str(full).split("/")
                (root / FOLDERS[split] / name).write_bytes(pictures[i])
                mine = range(int(part["first"][i]), int(part["first"][i + 1]))
                people = [{k: part[k][j] for k in ("boxes", "keypoints", "faces", "main")} for j in mine]
                rows[split].append((name, people, [surfaces[j] for j in mine]))
        for split, pictures_of in rows.items():
            (root / "annotations" / f"{split}.npz").write_bytes(pack_arrays(_table(pictures_of)))
        n = self.sizes[size]
        table = {i + 1: attributes("reid-train", i, n.cameras) for i in range(n.train)}
        table |= {n.train + 1 + i: attributes("reid-test", i, n.cameras) for i in range(n.test)}
        (root / "annotations" / "attributes.json").write_text(json.dumps(table, indent=1))


def _table(rows: list[tuple[str, list[Any], list[bytes]]]) -> Arrays:
    """The annotations of a split by picture: its name, its people, their compressed surfaces."""
    rows = sorted(rows, key=lambda row: row[0])
    people = [p for _, persons, _ in rows for p in persons]
    surfaces, surface_first = join_blobs([blob for _, _, blobs in rows for blob in blobs])
    return {
        "names": np.array([name for name, _, _ in rows]),
        "first": np.cumsum([0, *(len(persons) for _, persons, _ in rows)]),
        "boxes": np.array([p["boxes"] for p in people], np.int32).reshape(-1, 4),
        "keypoints": np.array([p["keypoints"] for p in people], np.float32).reshape(-1, 17, 3),
        "faces": np.array([p["faces"] for p in people], np.float32).reshape(-1, 4),
        "main": np.array([p["main"] for p in people], bool),
        "surfaces": surfaces,
        "surface_first": surface_first,
    }
