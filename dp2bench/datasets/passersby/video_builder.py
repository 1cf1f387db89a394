"""How the clips of `passersby-video` are made: people who cross a square, filmed by a fixed camera."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from dp2bench.core.images import decode_image
from dp2bench.core.seeds import derive_seed, generator
from dp2bench.core.types import Image
from dp2bench.datasets.crops import png
from dp2bench.datasets.passersby.generation import truth
from dp2bench.datasets.passersby.generation.builder import DatasetBuilder
from dp2bench.datasets.passersby.generation.chunks import Arrays, join_blobs, split_blobs
from dp2bench.datasets.passersby.rendering.body import Floats, rotation
from dp2bench.datasets.passersby.rendering.camera import Camera, camera_at
from dp2bench.datasets.passersby.rendering.dressing import ClothedMesh, dress
from dp2bench.datasets.passersby.rendering.identities import make_identity
from dp2bench.datasets.passersby.rendering.posing import pose_person, random_pose
from dp2bench.datasets.passersby.rendering.street import StreetView, render_street
from dp2bench.datasets.passersby.rendering.street_layout import build_setting
from dp2bench.datasets.video import SegmentWriter, VideoInfo, encoder_for
from dp2bench.datasets.video import join as join_segments

STREAM = "passersby-video"
SPLIT = "all"
CLIPS, TRACKS = "clips", "gt"
"""Folders: ``clips/0000.mp4``, and ``gt/0000.txt`` in the format of the MOTChallenge."""
_EYE, _PITCH = (0.0, -12.0, 2.7), 0.11
_HALF = 0.53
"""Half the width that the camera sees, over the distance."""
_STEP = 0.42
"""Radians that a leg swings to either side."""
_CYCLE = 4 * 0.85 * np.sin(_STEP)
"""Metres of two steps, so that feet stay where they are put."""


@dataclass(frozen=True)
class Size:
    """Clips, their length in seconds and frames a second, width and height, and how many people walk in each."""

    clips: int
    seconds: int
    rate: int
    frame: tuple[int, int]
    people: int


SIZES = {
    "smoke": Size(clips=1, seconds=2, rate=5, frame=(192, 108), people=4),
    "mini": Size(clips=1, seconds=20, rate=10, frame=(640, 360), people=14),
    "large": Size(clips=24, seconds=20, rate=25, frame=(1280, 720), people=18),
}


@dataclass(frozen=True)
class Walk:
    """Somebody who goes straight on: at ``start`` (x, y) at time ``begin``, by ``pace`` (x, y) metres a second, for ``seconds``."""

    person: int
    start: tuple[float, float]
    pace: tuple[float, float]
    begin: float
    seconds: float

    def at(self, time: float) -> tuple[float, float] | None:
        """Where they are at a time, or None before and after the walk."""
        t = time - self.begin
        if not 0 <= t <= self.seconds:
            return None
        return self.start[0] + t * self.pace[0], self.start[1] + t * self.pace[1]

    @property
    def yaw(self) -> float:
        """Where they look: ahead."""
        return float(np.arctan2(self.pace[0], -self.pace[1]))


def walks(clip: int, size: Size, wide: float) -> list[Walk]:
    """Who walks where in a clip: most across the view, some along it; nobody walks through anybody."""
    r = generator(derive_seed(STREAM, "walks", clip))
    farthest = min(13.0, (wide - 1.3) / _HALF)
    walking: list[Walk] = []
    for k in range(size.people):
        for _ in range(200):
            speed, side = float(r.uniform(0.95, 1.6)), float(r.choice([-1, 1]))
            if r.random() < 0.75:
                away = float(r.uniform(4.5, farthest))
                reach = _HALF * away + 0.8
                slant = float(r.uniform(-0.12, 0.12))
                start, pace = (-side * reach, _EYE[1] + away), (side * speed, slant * speed)
                seconds = 2 * reach / speed
            else:
                start, pace = (side * float(r.uniform(1.2, 2.6)), _EYE[1] + 22.0), (0.0, -speed)
                seconds = 20.5 / speed
            walk = Walk(k, start, pace, float(r.uniform(-0.7 * seconds, size.seconds - 1)), seconds)
            if all(_apart(walk, other, size.seconds) for other in walking):
                walking.append(walk)
                break
    return walking


def _apart(a: Walk, b: Walk, seconds: int) -> bool:
    times = np.arange(0, seconds, 0.1)
    pairs = [(p, q) for t in times if (p := a.at(float(t))) and (q := b.at(float(t)))]
    return all((p[0] - q[0]) ** 2 + (p[1] - q[1]) ** 2 > 0.6**2 for p, q in pairs)


def stride(at_rest: dict[str, Floats], phase: float) -> dict[str, Floats]:
    """The bones of `random_pose` in the middle of a step: two steps are 2 pi of ``phase``."""

    def turn(*v: float) -> Floats:
        return rotation(v)

    # Nearly a triangle wave: the leg that stands goes back as fast as the body goes on.
    swing = _STEP * float(np.arcsin(0.97 * np.sin(phase)) / np.arcsin(0.97))
    forward = float(np.cos(phase))
    knees = {"L": 0.08 + 0.85 * max(0.0, -forward), "R": 0.08 + 0.85 * max(0.0, forward)}
    return {
        **at_rest,
        "upperarm01.L": turn(-0.8 * swing, 0, 0).dot(turn(0, 0.6, 0)),
        "upperarm01.R": turn(0.8 * swing, 0, 0).dot(turn(0, -0.6, 0)),
        "upperleg01.L": turn(swing, 0, 0).dot(turn(0, 0.07, 0)),
        "upperleg01.R": turn(-swing, 0, 0).dot(turn(0, -0.07, 0)),
        "lowerleg01.L": turn(knees["L"], 0, 0),
        "lowerleg01.R": turn(knees["R"], 0, 0),
        "spine03": turn(0.04, 0, 0.2 * swing),
    }


class ClipScene:
    """One clip's square, camera and people, dressed when they are first needed."""

    def __init__(self, clip: int, size: Size) -> None:
        r = generator(derive_seed(STREAM, "place", clip))
        self.clip, self.size = clip, size
        self.place = build_setting(r, "square")
        width = size.frame[0]
        self.camera: Camera = camera_at(_EYE, float(r.normal(0, 0.02)), _PITCH, width / 2 / _HALF, size.frame)
        self.walks = walks(clip, size, self.place.wide)
        self._dressed: dict[int, tuple[ClothedMesh, dict[str, Floats]]] = {}

    def render_frame(self, frame: int) -> tuple[StreetView, list[int]]:
        """One frame, and the number of each person."""
        time = frame / self.size.rate
        people, chosen = [], []
        for walk in self.walks:
            at = walk.at(time)
            if at is None or abs(at[0]) > _HALF * (at[1] - _EYE[1]) + 1.2 or at[1] < _EYE[1] + 1.2:
                continue
            if walk.person not in self._dressed:
                at_rest = random_pose(generator(derive_seed(STREAM, "pose", self.clip, walk.person)), "walk")
                self._dressed[walk.person] = (
                    dress(make_identity(STREAM, self.number(walk.person)), True),
                    at_rest,
                )
            mesh, at_rest = self._dressed[walk.person]
            gone = float(np.hypot(*walk.pace)) * (time - walk.begin)
            people.append(pose_person(mesh, stride(at_rest, 2 * np.pi * gone / _CYCLE), yaw=walk.yaw, at=at))
            chosen.append(walk.person)
        # The same draws for every frame: exposure, colour and grain stay as they are.
        return render_street(
            self.place, people, self.camera, generator(derive_seed(STREAM, "film", self.clip))
        ), chosen

    def number(self, person: int) -> int:
        """A person's number over all clips; track and identity are it plus one."""
        return self.clip * self.size.people + person


@dataclass(frozen=True)
class SampleSpec:
    """One frame that is to be rendered."""

    clip: int
    frame: int
    size: str

    @property
    def name(self) -> str:
        """As the frame's sample is called."""
        return f"{self.clip:04d}/{self.frame:06d}"


class VideoBuilder(DatasetBuilder[SampleSpec]):
    """Makes `passersby-video`: clips, tracks, the people of each frame, the attributes of each identity."""

    name = "passersby-video"
    version = "2.1"
    sizes = SIZES

    def plan(self, size: str) -> list[list[SampleSpec]]:
        """A second a chunk."""
        n = self.sizes[size]
        return [
            [SampleSpec(clip, second * n.rate + k, size) for k in range(n.rate)]
            for clip in range(n.clips)
            for second in range(n.seconds)
        ]

    def make_chunk(self, chunk: list[SampleSpec]) -> Arrays:
        """Pictures and maps as PNG files, people as JSON."""
        scene = ClipScene(chunk[0].clip, self.sizes[chunk[0].size])
        pictures, maps, people = [], [], []
        for spec in chunk:
            view, chosen = scene.render_frame(spec.frame)
            pictures.append(png(view.picture))
            maps.append(truth.surfaces_png(view))
            people.append([truth.person_row(s, scene.number(chosen[s.index]) + 1) for s in view.people])
        data, first = join_blobs([*pictures, *maps, json.dumps(people).encode()])
        return {"data": data, "first": first}

    def assemble(self, size: str, parts: Iterator[Arrays], root: Path) -> None:
        """Encode a clip as its frames come."""
        n = self.sizes[size]
        for folder in (CLIPS, TRACKS, truth.FOLDER):
            (root / folder).mkdir()
        info = video_info(n)
        everybody: dict[str, list[dict[str, Any]]] = {}
        for clip in range(n.clips):
            (root / truth.FOLDER / "surfaces" / SPLIT / f"{clip:04d}").mkdir(parents=True)
            with ClipWriter(root / CLIPS / f"{clip:04d}.mp4", info) as writer:
                for second in range(n.seconds):
                    blobs = split_blobs((part := next(parts))["data"], part["first"])
                    rows = json.loads(blobs[-1])
                    for k in range(n.rate):
                        spec = SampleSpec(clip, second * n.rate + k, size)
                        writer.write(decode_image(blobs[k], spec.name), spec.frame)
                        target = root / truth.FOLDER / "surfaces" / SPLIT / f"{spec.name}.png"
                        target.write_bytes(blobs[n.rate + k])
                        everybody[spec.name] = rows[k]
            mine = {k: v for k, v in everybody.items() if k.startswith(f"{clip:04d}/")}
            (root / TRACKS / f"{clip:04d}.txt").write_text(mot_challenge(mine))
        numbers = sorted({p["identity"] for rows in everybody.values() for p in rows})
        truth.write_tables(root, {SPLIT: everybody}, ((i, make_identity(STREAM, i - 1)) for i in numbers))


def mot_challenge(frames: dict[str, list[dict[str, Any]]]) -> str:
    """The tracks of a clip in the MOTChallenge's format: frame from 1, id, left, top, width, height, 1, class, visibility.

    Visibility is the share of the keypoints in the picture that nothing hides.
    """
    lines = []
    for name, people in frames.items():
        for p in people:
            x0, y0, x1, y1 = p["box"]
            states = [v for _, _, v in p["keypoints"] if v > 0]
            seen = sum(v == 2 for v in states) / max(1, len(states))
            frame = int(name.rpartition("/")[2]) + 1
            lines.append(f"{frame},{p['identity']},{x0},{y0},{x1 - x0},{y1 - y0},1,1,{seen:.2f}\n")
    return "".join(lines)


def video_info(size: Size) -> VideoInfo:
    """How the clips of a size are encoded."""
    (w, h), rate = size.frame, Fraction(size.rate)
    return VideoInfo(w, h, rate, 1 / rate, size.seconds * size.rate, float(size.seconds), Fraction(1), ())


class ClipWriter:
    """Encodes the frames of a clip; the file is there when it is whole."""

    def __init__(self, path: Path, info: VideoInfo) -> None:
        self._path, self._info = path, info
        self._part = path.with_suffix(".nut")
        self._segment = SegmentWriter(self._part, info, encoder_for(path))

    def write(self, image: Image, frame: int) -> None:
        """Add the frame of this number; numbers must grow."""
        self._segment.write(image, frame)

    def __enter__(self) -> ClipWriter:
        self._segment.__enter__()
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self._segment.__exit__(kind, error, trace)
        if kind is None:
            join_segments([self._part], self._path, self._info)
            self._part.unlink()
