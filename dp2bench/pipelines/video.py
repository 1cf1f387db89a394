"""Anonymize a video: find people, link them from frame to frame, replace them; can be stopped anywhere and goes on from there."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dp2bench.core.contracts import Anonymizer, Detector, Progress, no_progress
from dp2bench.core.errors import Dp2benchError, writing
from dp2bench.core.hashing import content_sha256
from dp2bench.core.people_io import load_people, save_people
from dp2bench.core.seeds import Seed, derive_seed
from dp2bench.core.types import Image, People, Sample, SampleId
from dp2bench.datasets.video import (
    Frame,
    SegmentWriter,
    Selection,
    Video,
    VideoError,
    VideoOptions,
    encoder_for,
    join,
)
from dp2bench.detection import tracking
from dp2bench.detection.tracking import FrameBoxes, Tracks
from dp2bench.inpainting.filling import Pending, fill_together, nothing_to_fill, requests_of
from dp2bench.pipelines.stream import all_missed, altering

CHUNK = 16
"""Frames that are stored at once: what an interruption costs at most."""
BATCH = 8
"""Frames handed to a detector at once."""
GREY = 127
_GAP = 0.5
FORMAT = 2
"""Of intermediate results; those of another are not gone on from."""


def sample_of(path: Path, index: int, name: str = "") -> Sample:
    """What a detector is told about a frame: its name is ``clip.mp4/00000012``, or begins with ``name`` in the file's place."""
    return Sample(SampleId(f"{name or path.name}/{index:08d}"), path)


class Found(NamedTuple):
    """What was found in a video.

    Attributes:
        size: (H, W).
        times: seconds of each frame.
        failed: reasons by frame, of frames that are damaged or in which detection failed.
        tracks: who is who.
        store: the folder of the detections.

    """

    size: tuple[int, int]
    times: tuple[float, ...]
    failed: Mapping[int, str]
    tracks: Tracks
    store: Path

    def people(self, index: int) -> People:
        """The tracked people of a frame, with those whom no detector saw."""
        interpolated = self.tracks.interpolated[index]
        sources = [[(_detected(self.store, f), i) for f, i in b.sources] for b in interpolated]
        return tracking.at(
            _detected(self.store, index),
            self.tracks.ids[index],
            self.tracks.faces[index],
            interpolated,
            sources,
            self.size,
        )


def _quiet(title: str) -> Progress:
    del title
    return no_progress


def find_people(
    video: Video,
    detector: Detector,
    store: Path,
    *,
    name: str = "",
    max_gap: int = 15,
    extrapolate_frames: int = 3,
    progress: Progress = no_progress,
) -> Found:
    """Detect and track; ``name`` is for `sample_of`. Chunks of frames that ``store`` holds already are not detected again.

    A frame that is damaged, or in which detection fails unexpectedly, is noted in ``failed``; a `Dp2benchError` of the detector ends
    the work, for it would be the same in every frame.
    """
    store.mkdir(parents=True, exist_ok=True)
    notes: list[dict[str, Any]] = []
    frames = iter(video)
    for chunk in _chunks(frames, store, notes):
        notes.append(_detect_chunk(video, detector, chunk, store, len(notes), name, progress))
    rows = [row for note in notes for row in note["frames"]]
    rate, base = float(video.info.rate), video.info.time_base
    times = tuple(float(row["pts"] * base) for row in rows)
    boxes = [
        FrameBoxes(
            np.array(row["boxes"], np.float32).reshape(-1, 4),
            np.array(row["kinds"], np.int8),
            np.array([[np.nan] * 4 if f is None else f for f in row["faces"]], np.float32).reshape(-1, 4),
        )
        for row in rows
    ]
    size = (video.info.height, video.info.width)
    given = [row["tracks"] for row in rows]
    if any(given) and all(t is not None and min(t, default=0) >= 0 for t in given):
        # Detections that were tracked before and perhaps corrected by hand are taken as they are.
        tracks = Tracks([np.array(t, np.int64) for t in given], [b.faces for b in boxes], [[] for _ in boxes])
    else:
        tracks = tracking.track(
            boxes,
            size,
            times=[t * rate for t in times],
            max_gap=max_gap,
            extrapolate_frames=extrapolate_frames,
        )
    failed = {i: row["failed"] for i, row in enumerate(rows) if row["failed"]}
    return Found(size, times, failed, tracks, store)


def work_folder(target: Path) -> Path:
    """Where the intermediate results of a video lie that is written to ``target``, until it is whole."""
    return target.with_name(f".{target.name}.work")


def key_of(source: Path, detector: Detector, settings: Mapping[str, Any]) -> str:
    """Name of the folder of a video's detections: changes with the video, the detector and its settings."""
    given = {"format": FORMAT, "source": content_sha256(source), "settings": dict(settings)}
    return f"found-{_key(given | {'detector': repr(detector.meta)})}"


def anonymize_video(
    source: Path,
    detector: Detector,
    method: Anonymizer,
    target: Path,
    run_seed: int,
    *,
    max_gap: int = 15,
    extrapolate_frames: int = 3,
    audio: bool = True,
    keep_readable: bool = False,
    options: VideoOptions | None = None,
    name: str = "",
    settings: Mapping[str, Any] | None = None,
    progress_of: Callable[[str], Progress] = _quiet,
) -> dict[str, Any]:
    """Write ``target`` and, beside it, a report of who was anonymized; returns the report.

    One seed for the whole video: with the track it gives each person one latent. A frame that is damaged, or whose detection or
    anonymization fails, is written grey. Intermediate results lie in a hidden folder beside ``target`` until it is whole; the same call
    goes on from them.

    Args:
        source: the video.
        detector: finds the people.
        method: replaces them.
        target: a name that `encoder_for` knows.
        run_seed: of random methods.
        max_gap: see `tracking.track`.
        extrapolate_frames: see `tracking.track`.
        audio: copy the sound.
        keep_readable: of a video that is broken or cut off take the frames before; the report says so.
        options: what is taken of the video, and how it is encoded.
        name: of the video within its folder; part of the seed and of the frames' names. By default the file's.
        settings: whatever else changes the outcome; intermediate results of other settings are not used.
        progress_of: title to `Progress`.

    """
    options = options or VideoOptions()
    encoder = encoder_for(target, options.codec)
    video = Video(source, keep_readable=keep_readable, selection=options.selection)
    work, done = work_folder(target), target.with_name(f".{target.name}.done")
    shutil.rmtree(done, ignore_errors=True)
    chosen = dict(settings or {})
    if options.selection != Selection():
        chosen["selection"] = repr(options.selection)
    store = work / key_of(source, detector, chosen)
    with writing(work):
        found = find_people(
            video,
            detector,
            store,
            name=name,
            max_gap=max_gap,
            extrapolate_frames=extrapolate_frames,
            progress=progress_of("find people"),
        )
    given = {
        "format": FORMAT,
        "found": store.name,
        "method": repr(method.meta),
        "seed": run_seed,
        "name": name,
        "max_gap": max_gap,
        "trail": extrapolate_frames,
        "encoder": encoder,
        "quality": options.quality,
    }
    parts = work / f"made-{_key(given)}"
    seed = derive_seed(run_seed, name or source.name)
    progress = progress_of(f"anonymize with {method.meta.name}")
    notes: list[dict[str, Any]] = []
    with writing(parts):
        parts.mkdir(parents=True, exist_ok=True)
    for chunk in _chunks(iter(video), parts, notes):
        note = _anonymize_chunk(
            video, chunk, found, method, seed, parts, len(notes), encoder, options.quality, progress
        )
        notes.append(note)
    segments = [parts / f"{k:06d}.nut" for k in range(len(notes))]
    begin = video.info.begin + options.selection.start if options.selection.start else 0.0
    last = found.times[-1] + 1 / float(video.info.rate) + (begin or 0.0)
    short = video.broken or options.selection.end < math.inf
    report = _report(source, video, detector, method, run_seed, found, notes, audio=audio)
    with writing(target), altering(method):
        join(
            segments,
            target,
            video.info,
            sound_of=source if audio and video.info.audio else None,
            sound_from=begin,
            sound_until=last if short else math.inf,
        )
        _write_json(target.with_name(target.name + ".json"), report)
        # In one step, so that a run that is killed here is not taken for one that can be gone on with.
        os.replace(work, done)
        shutil.rmtree(done)
    return report


def _chunks(frames: Iterator[Frame], folder: Path, notes: list[dict[str, Any]]) -> Iterator[list[Frame]]:
    """The frames in groups of `CHUNK`; the notes of groups that ``folder`` holds already are appended to ``notes`` instead."""
    while True:
        path = folder / f"{len(notes):06d}.json"
        done = _read_json(path)
        group: list[Frame] = []
        for frame in frames:
            group.append(frame if done is None else replace(frame, image=_NOTHING))
            if len(group) == CHUNK:
                break
        if not group:
            return
        if done is not None and len(done["frames"]) == len(group):
            notes.append(done)
        else:
            if done is not None:
                raise VideoError(
                    f"The intermediate results in {folder} are of another video.",
                    "Delete the folder and run again.",
                )
            yield group


_NOTHING = np.zeros((0, 0, 3), np.uint8)


def _detect_chunk(
    video: Video,
    detector: Detector,
    chunk: Sequence[Frame],
    store: Path,
    number: int,
    name: str,
    progress: Progress,
) -> dict[str, Any]:
    people: dict[str, People] = {}
    rows: list[dict[str, Any]] = []
    for start in range(0, len(chunk), BATCH):
        batch = chunk[start : start + BATCH]
        for frame, (some, failed) in zip(batch, _detect(video, detector, batch, name), strict=True):
            people[str(frame.index)] = some
            faces = FrameBoxes.of(some).faces
            rows.append(
                {
                    "pts": frame.pts,
                    "failed": "damaged" if frame.damaged else failed,
                    "boxes": some.boxes.tolist(),
                    "kinds": FrameBoxes.of(some).kinds.tolist(),
                    "faces": [f.tolist() if np.isfinite(f).all() else None for f in faces],
                    # A frame without anybody does not say whether its detector tracks.
                    "tracks": some.track_ids.tolist()
                    if some.track_ids is not None
                    else []
                    if not len(some)
                    else None,
                }
            )
        progress(batch[-1].index + 1, max(video.info.expected_frames, batch[-1].index + 1))
    save_people(store / f"{number:06d}.npz", people.items())
    note = {"frames": rows}
    _write_json(store / f"{number:06d}.json", note)
    return note


def _detect(video: Video, detector: Detector, frames: Sequence[Frame], name: str) -> list[tuple[People, str]]:
    """(people, reason of failure or '') of each frame; after a failure of the group, one by one."""
    try:
        samples = [sample_of(video.path, f.index, name) for f in frames]
        found = detector.detect([f.image for f in frames], samples)
    except Dp2benchError:
        raise
    except Exception as error:  # noqa: BLE001 - a third party's detector may raise anything; its frames are then blanked
        if len(frames) == 1:
            height, width = frames[0].image.shape[:2]
            return [(People.none((height, width)), f"detection failed: {type(error).__name__}: {error}")]
        return [row for frame in frames for row in _detect(video, detector, [frame], name)]
    if len(found) != len(frames):  # whose people are whose cannot be told
        raise Dp2benchError(
            f"The detector gave people of {len(found)} pictures for {len(frames)} ({samples[0].id}).",
            "A detector must answer for every picture; `detect` has a defect.",
        )
    return [(people, "") for people in found]


def _anonymize_chunk(
    video: Video,
    chunk: Sequence[Frame],
    found: Found,
    method: Anonymizer,
    seed: Seed,
    parts: Path,
    number: int,
    encoder: str,
    quality: int | None,
    progress: Progress,
) -> dict[str, Any]:
    made = []
    for frame, image, row in _anonymize(chunk, found, method, seed):
        made.append((image, row))
        progress(frame.index + 1, len(found.times))
    note = {"frames": [row for _, row in made]}
    with writing(parts):
        with SegmentWriter(parts / f"{number:06d}.nut", video.info, encoder, quality) as writer:
            for frame, (image, _) in zip(chunk, made, strict=True):
                writer.write(image, frame.pts)
        _write_json(parts / f"{number:06d}.json", note)
    return note


def _anonymize(
    chunk: Sequence[Frame], found: Found, method: Anonymizer, seed: Seed
) -> Iterator[tuple[Frame, Image, dict[str, Any]]]:
    """Each frame, anonymized together with those around it, or grey, and what became of it."""
    there: dict[int, People] = {}

    def waiting() -> Iterator[Pending[Frame]]:
        for frame in chunk:
            if frame.index in found.failed:
                people = People.none()
                requests = nothing_to_fill()
            else:
                people = found.people(frame.index)
                requests = requests_of(method, frame.image, people, seed)
            there[frame.index] = people
            masks = 0 if people.masks is None else people.masks.nbytes
            yield Pending(frame, requests, 2 * frame.image.nbytes + masks)

    for frame, outcome in fill_together(waiting()):
        people = there.pop(frame.index)
        row: dict[str, Any] = {"people": len(people), "missed": [], "blank": ""}
        blank = np.full_like(frame.image, GREY)
        if frame.index in found.failed:
            yield frame, blank, row | {"blank": found.failed[frame.index]}
            continue
        if isinstance(outcome, Dp2benchError):
            raise outcome
        if isinstance(outcome, Exception):
            reason = f"{type(outcome).__name__}: {outcome}"
        elif outcome.image.shape != frame.image.shape or outcome.image.dtype != np.uint8:
            reason = f"it returned {outcome.image.dtype} {outcome.image.shape}"
        else:
            missed = all_missed(frame.image, outcome, people, method.meta.scope)
            yield frame, outcome.image, row | {"missed": [m.reason for m in missed]}
            continue
        # Whatever a method raises, the frame must not go out as it is.
        yield frame, blank, row | {"blank": f"{method.meta.name} failed: {reason}"}


def _report(
    source: Path,
    video: Video,
    detector: Detector,
    method: Anonymizer,
    run_seed: int,
    found: Found,
    notes: Sequence[Mapping[str, Any]],
    *,
    audio: bool,
) -> dict[str, Any]:
    rows = [row for note in notes for row in note["frames"]]
    shown = [row for row in rows if not row["blank"]]
    reasons = Counter(reason for row in shown for reason in row["missed"])
    blank: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        if row["blank"]:
            blank.setdefault(row["blank"], []).append(index)
    people = sum(row["people"] for row in shown)
    return {
        "source": source.name,
        "source_sha256": content_sha256(source),
        "method": method.meta.name,
        "detector": detector.meta.name,
        "seed": run_seed,
        "frames": len(rows),
        "broken": video.broken,
        "gaps": _gaps(found.times),
        "tracks": found.tracks.count,
        "people_in_frames": people,
        "bridged": sum(len(b) for i, b in enumerate(found.tracks.interpolated) if not rows[i]["blank"]),
        "anonymized": people - sum(reasons.values()),
        "missed": sum(reasons.values()),
        "missed_reasons": dict(sorted(reasons.items())),
        "frames_with_missed": [i for i, row in enumerate(rows) if row["missed"]],
        "frames_without_people": [i for i, row in enumerate(rows) if not row["blank"] and not row["people"]],
        "blanked_frames": blank,
        "sound": "copied, not anonymized" if audio and video.info.audio else "none",
        "not_kept": list(video.left_behind),
    }


def _gaps(times: Sequence[float]) -> list[tuple[float, float]]:
    """Seconds between which there is no picture for much longer than usual: where a damaged file lost frames, nothing else tells."""
    steps = np.diff(times)
    usual = float(np.median(steps)) if len(steps) else 0.0
    return [
        (round(times[i], 3), round(times[i + 1], 3))
        for i in np.flatnonzero(steps > max(_GAP, 5 * usual)).tolist()
    ]


@lru_cache(maxsize=4)
def _people_file(path: Path) -> Any:
    return load_people(path)


@lru_cache(maxsize=8)
def _detected(store: Path, index: int) -> People:
    found: People = _people_file(store / f"{index // CHUNK:06d}.npz")[str(index)]
    return found


def _key(given: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(given, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(content, indent=1))
    os.replace(partial, path)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise VideoError(f"{path} is damaged: {error}.", "Delete its folder and run again.") from error
