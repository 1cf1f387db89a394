"""`passersby-video`: people who cross a square, filmed by a fixed camera, with the track of each; made on first use."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from dp2bench.core.contracts import Dataset, DatasetMeta, Progress, no_progress
from dp2bench.core.errors import DatasetError
from dp2bench.core.images import decode_image
from dp2bench.core.seeds import derive_seed, generator
from dp2bench.core.types import Image, People, Sample, SampleId
from dp2bench.datasets.crops import png
from dp2bench.datasets.passersby.generation import truth
from dp2bench.datasets.passersby.generation.builder import Arrays, Made, Recipe, cut, join
from dp2bench.datasets.passersby.rendering import street
from dp2bench.datasets.passersby.rendering.body import Floats, rotation
from dp2bench.datasets.passersby.rendering.people import Dressed, act, dress, look, pose
from dp2bench.datasets.passersby.rendering.scene import Camera
from dp2bench.datasets.video import SegmentWriter, Video, VideoInfo, encoder_for
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
    found: list[Walk] = []
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
            if all(_apart(walk, other, size.seconds) for other in found):
                found.append(walk)
                break
    return found


def _apart(a: Walk, b: Walk, seconds: int) -> bool:
    times = np.arange(0, seconds, 0.1)
    pairs = [(p, q) for t in times if (p := a.at(float(t))) and (q := b.at(float(t)))]
    return all((p[0] - q[0]) ** 2 + (p[1] - q[1]) ** 2 > 0.6**2 for p, q in pairs)


def stride(at_rest: dict[str, Floats], phase: float) -> dict[str, Floats]:
    """The bones of `pose` in the middle of a step: two steps are 2 pi of ``phase``."""

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


class Set:
    """One clip's square, camera and cast, built when it is first needed."""

    def __init__(self, clip: int, size: Size) -> None:
        r = generator(derive_seed(STREAM, "place", clip))
        self.clip, self.size = clip, size
        self.place = street.build(r, "square")
        width = size.frame[0]
        self.camera: Camera = street.camera_at(
            _EYE, float(r.normal(0, 0.02)), _PITCH, width / 2 / _HALF, size.frame
        )
        self.walks = walks(clip, size, self.place.wide)
        self._cast: dict[int, tuple[Dressed, dict[str, Floats]]] = {}

    def film(self, frame: int) -> tuple[street.View, list[int]]:
        """One frame, and the number of each actor."""
        time = frame / self.size.rate
        actors, who = [], []
        for walk in self.walks:
            at = walk.at(time)
            if at is None or abs(at[0]) > _HALF * (at[1] - _EYE[1]) + 1.2 or at[1] < _EYE[1] + 1.2:
                continue
            if walk.person not in self._cast:
                at_rest = pose(generator(derive_seed(STREAM, "pose", self.clip, walk.person)), "walk")
                self._cast[walk.person] = dress(look(STREAM, self.number(walk.person)), True), at_rest
            dressed, at_rest = self._cast[walk.person]
            gone = float(np.hypot(*walk.pace)) * (time - walk.begin)
            actors.append(act(dressed, stride(at_rest, 2 * np.pi * gone / _CYCLE), yaw=walk.yaw, at=at))
            who.append(walk.person)
        # The same draws for every frame: exposure, colour and grain stay as they are.
        return street.render(
            self.place, actors, self.camera, generator(derive_seed(STREAM, "film", self.clip))
        ), who

    def number(self, person: int) -> int:
        """A person's number over all clips; track and identity are it plus one."""
        return self.clip * self.size.people + person


@dataclass(frozen=True)
class Take:
    """One frame of the plan."""

    clip: int
    frame: int
    size: str

    @property
    def name(self) -> str:
        """As the frame's sample is called."""
        return f"{self.clip:04d}/{self.frame:06d}"


class VideoRecipe(Recipe[Take]):
    """Makes `passersby-video`: clips, tracks, the people of each frame, the attributes of each identity."""

    name = "passersby-video"
    version = "2.1"
    sizes = SIZES

    def plan(self, size: str) -> list[list[Take]]:
        """A second a chunk."""
        n = SIZES[size]
        return [
            [Take(clip, second * n.rate + k, size) for k in range(n.rate)]
            for clip in range(n.clips)
            for second in range(n.seconds)
        ]

    def make_chunk(self, chunk: list[Take]) -> Arrays:
        """Pictures and maps as PNG files, people as JSON."""
        stage = Set(chunk[0].clip, SIZES[chunk[0].size])
        pictures, maps, people = [], [], []
        for shot in chunk:
            view, who = stage.film(shot.frame)
            pictures.append(png(view.picture))
            maps.append(truth.surfaces_png(view))
            people.append([truth.row(s, stage.number(who[s.actor]) + 1) for s in view.seen])
        data, first = join([*pictures, *maps, json.dumps(people).encode()])
        return {"data": data, "first": first}

    def assemble(self, size: str, parts: Iterator[Arrays], root: Path) -> None:
        """Encode a clip as its frames come."""
        n = SIZES[size]
        for folder in (CLIPS, TRACKS, truth.FOLDER):
            (root / folder).mkdir()
        info = video_info(n)
        everybody: dict[str, list[dict[str, Any]]] = {}
        for clip in range(n.clips):
            (root / truth.FOLDER / "surfaces" / SPLIT / f"{clip:04d}").mkdir(parents=True)
            with ClipWriter(root / CLIPS / f"{clip:04d}.mp4", info) as writer:
                for second in range(n.seconds):
                    blobs = cut((part := next(parts))["data"], part["first"])
                    rows = json.loads(blobs[-1])
                    for k in range(n.rate):
                        shot = Take(clip, second * n.rate + k, size)
                        writer.write(decode_image(blobs[k], shot.name), shot.frame)
                        target = root / truth.FOLDER / "surfaces" / SPLIT / f"{shot.name}.png"
                        target.write_bytes(blobs[n.rate + k])
                        everybody[shot.name] = rows[k]
            mine = {k: v for k, v in everybody.items() if k.startswith(f"{clip:04d}/")}
            (root / TRACKS / f"{clip:04d}.txt").write_text(mot_challenge(mine))
        numbers = sorted({p["identity"] for rows in everybody.values() for p in rows})
        truth.write_tables(root, {SPLIT: everybody}, ((i, look(STREAM, i - 1)) for i in numbers))


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


class PassersbyVideo(Dataset):
    """Rendered people who cross a square, filmed by a fixed camera; `People.track_ids` are their identities.

    Samples are frames, ``0000/000012`` the 13th of the first clip; reading them in order is quick. Labels: ``clip``,
    ``frame``, ``seconds``. Grain, exposure and background stand still.

    Args:
        size: ``smoke`` (2 s), ``mini`` (20 s at 10 frames a second, 640 x 360) or ``large`` (24 clips at 25, 1280 x 720);
            by default that of the dataset at ``root``, else ``mini``.
        root: a copy in this layout (e.g. an anonymized one); by default it is made in the cache, ``$DP2BENCH_CACHE``.

    """

    layout: ClassVar[str] = "video"

    def __init__(self, size: str | None = None, root: Path | None = None) -> None:
        self.made = Made(VideoRecipe(), size, root)
        self.size = self.made.size
        self.original = self.made.root
        """Where the untouched dataset is: the people of a copy are looked up there."""
        self.root = self.original if root is None else Path(root)
        self.meta = DatasetMeta(
            name="passersby-video",
            version=self.made.version,
            licence="CC0-1.0",
            splits=(SPLIT,),
            description="Rendered passers-by who cross a square, with tracks, made on this machine",
        )
        self._truth = truth.Truth(self.original)
        self._samples: list[Sample] | None = None
        self._playing: tuple[Path, int, Iterator[tuple[int, Image]]] | None = None

    def prepare(self, progress: Progress = no_progress) -> None:
        """Make the dataset in the cache unless it is there, calling ``progress(done, total)`` with frames."""
        self.made.prepare(progress)

    def samples(self, split: str) -> Sequence[Sample]:
        """The frames of every clip; the only split is ``all``."""
        if split != SPLIT:
            raise DatasetError(f"{self.meta.name} has no split {split!r}.", f"Its only split is {SPLIT!r}.")
        if self._samples is None:
            self.prepare()
            rate = SIZES[self.size].rate
            clips = sorted((self.root / CLIPS).glob("*.mp4"))
            if not clips:
                raise DatasetError(
                    f"{self.root / CLIPS} holds no clips.", "Give the root of a rewritten copy, or none."
                )
            self._samples = [
                Sample(
                    SampleId(f"{clip.stem}/{frame:06d}"),
                    clip / f"{frame:06d}",
                    {"clip": clip.stem, "frame": frame, "seconds": frame / rate},
                )
                for clip in clips
                for frame, _ in self._numbered(clip)
            ]
        return self._samples

    def _numbered(self, clip: Path) -> Iterator[tuple[int, Image]]:
        video = Video(clip)
        for frame in video:
            yield round(frame.pts * video.info.time_base * SIZES[self.size].rate), frame.image

    def read(self, sample: Sample) -> Image:
        """See `Dataset.read`. A frame that follows the one read before costs one decoding, any other a whole clip's."""
        clip, wanted = sample.path.parent, int(sample.path.name)
        if self._playing is None or self._playing[0] != clip or self._playing[1] >= wanted:
            self._playing = clip, -1, self._numbered(clip)
        for number, image in self._playing[2]:
            self._playing = clip, number, self._playing[2]
            if number == wanted:
                return image
        self._playing = None
        raise DatasetError(f"{clip} has no frame {wanted}.", "Use one of the dataset's samples.")

    def people(self, sample: Sample) -> People:
        """The exact people of a frame with their tracks, nearest last; also for the samples of a copy."""
        self.prepare()
        found = self._truth.people(SPLIT, sample.id, sample)
        tracks = [p["identity"] for p in self._truth.rows(SPLIT, sample.id)]
        return replace(found, track_ids=np.array(tracks, np.int64))

    def rewrite(self, out: Path, images: Iterable[tuple[str, SampleId, Image]]) -> PassersbyVideo:
        """A copy with these pictures as its frames, in the order of `samples`; tracks are copied.

        Raises:
            DatasetError: a picture is not one of this dataset or comes out of order, or ``out`` is this dataset.

        """
        out = Path(out)
        if out.resolve() == self.root.resolve():
            raise DatasetError(f"{out} is the dataset itself.", "Write the copy to another folder.")
        known = {s.id: i for i, s in enumerate(self.samples(SPLIT))}
        for folder in (CLIPS, TRACKS):
            (out / folder).mkdir(parents=True, exist_ok=True)
        writer: ClipWriter | None = None
        name, last = "", -1
        try:
            for _, sample_id, image in images:
                if known.get(sample_id, -1) <= last:
                    raise DatasetError(
                        f"{self.meta.name} has no frame {sample_id} after the one before it.",
                        "Hand over frames in the order of the samples.",
                    )
                last = known[sample_id]
                clip, _, frame = sample_id.partition("/")
                if writer is None or clip != name:
                    if writer is not None:
                        writer.__exit__(None, None, None)
                    name, writer = clip, ClipWriter(out / CLIPS / f"{clip}.mp4", video_info(SIZES[self.size]))
                    tracks = (self.original / TRACKS / f"{clip}.txt").read_bytes()
                    (out / TRACKS / f"{clip}.txt").write_bytes(tracks)
                writer.write(image, int(frame))
        except BaseException as error:
            if writer is not None:
                writer.__exit__(type(error), error, error.__traceback__)
            raise
        if writer is not None:
            writer.__exit__(None, None, None)
        return self.open(out)

    def open(self, root: Path) -> PassersbyVideo:
        """A copy of the same size at another root."""
        return PassersbyVideo(self.size, root)

    def verify(self) -> None:
        """Compare every file with the manifest (original), and decode the clips; raises DatasetError."""
        if self.root == self.original:
            self.made.verify()
        self.samples(SPLIT)

    def fingerprint(self) -> str:
        """sha256 over version and clips."""
        digest = hashlib.sha256(self.meta.version.encode())
        self.prepare()
        for clip in sorted((self.root / CLIPS).glob("*.mp4")):
            digest.update(f"{clip.name}\0".encode() + hashlib.sha256(clip.read_bytes()).digest())
        return digest.hexdigest()

    def attributes(self) -> dict[int, dict[str, Any]]:
        """What each identity looks like: body, skin, hair, clothes, by identity."""
        self.prepare()
        return self._truth.attributes()
