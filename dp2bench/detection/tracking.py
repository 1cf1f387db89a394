"""Who is who from frame to frame, and where a person is while no detector sees him.

A Kalman filter of constant velocity for each box and the best assignment by intersection over union (Bewley et al., Simple
online and realtime tracking, 2016), with a second, buffered association for what moves fast (Yang et al., Hard to track objects
with irregular motions and similar appearances, 2023). No appearance; the same boxes always give the same tracks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from dp2bench.core.boxes import box_iou
from dp2bench.core.types import Category, People
from dp2bench.detection.matching import masks_of

Boxes = NDArray[np.float32]

_POSITION_NOISE = 1 / 20
_VELOCITY_NOISE = 1 / 160
"""Standard deviations as shares of the box's height, as is usual since DeepSORT (Wojke et al., 2017)."""
_BUFFER = 0.5
"""Share of its size by which a box grows on every side in the second association."""
_MOSTLY_INSIDE = 0.7
"""Least share of the smaller box in the larger for the third association, of boxes at the picture's border."""


class FrameBoxes(NamedTuple):
    """What the tracker needs of one frame.

    Attributes:
        boxes: (N, 4) xyxy pixels.
        kinds: (N,) only boxes of one kind make a track.
        faces: (N, 4) xyxy, NaN where none.

    """

    boxes: Boxes
    kinds: NDArray[np.int8]
    faces: Boxes

    @staticmethod
    def of(people: People) -> FrameBoxes:
        """Bodies and faces of nobody's body are of two kinds."""
        faces = np.full((len(people), 4), np.nan, np.float32) if people.faces is None else people.faces
        return FrameBoxes(people.boxes, (people.categories == Category.FACE).astype(np.int8), faces)


class InterpolatedBox(NamedTuple):
    """A person whom no detector saw in a frame.

    Attributes:
        track: id.
        box: (4,) where he must be.
        face: (4,) likewise, NaN where none is known.
        sources: (frame, index of the person) of the detections before and after.

    """

    track: int
    box: Boxes
    face: Boxes
    sources: tuple[tuple[int, int], ...]


@dataclass
class Tracks:
    """What `track` finds, a list entry a frame.

    Attributes:
        ids: (N,) int64 track of each person.
        faces: (N, 4) faces, those that were missed for a while filled in.
        interpolated: who is missing in the frame.

    """

    ids: list[NDArray[np.int64]] = field(default_factory=list)
    faces: list[Boxes] = field(default_factory=list)
    interpolated: list[list[InterpolatedBox]] = field(default_factory=list)

    @property
    def count(self) -> int:
        """Number of tracks."""
        return 1 + max((int(i.max()) for i in self.ids if len(i)), default=-1)


def track(
    frames: Sequence[FrameBoxes],
    size: tuple[int, int],
    *,
    times: Sequence[float] | None = None,
    iou: float = 0.3,
    max_gap: int = 15,
    extrapolate_frames: int = 3,
) -> Tracks:
    """Link the boxes of a whole video and interpolate what was missed; every box belongs to a track.

    Args:
        frames: of the video, in order.
        size: (H, W).
        times: of the frames in units of the usual distance of two frames; 0, 1, 2, … where omitted.
        iou: least intersection over union with the predicted box.
        max_gap: a track that is not seen for more frames has ended. Within a track the missed frames are interpolated.
        extrapolate_frames: frames before its first and after its last detection in which a person is still taken to be there, at the
            predicted place.

    """
    if max_gap < 0 or extrapolate_frames < 0 or not 0 < iou < 1:
        raise ValueError(
            f"max_gap and extrapolate_frames must not be negative and iou in (0, 1), got {max_gap}, {extrapolate_frames}, {iou}"
        )
    steps = np.arange(len(frames), dtype=np.float64) if times is None else np.asarray(times, np.float64)
    linker = _Linker(iou, max_gap, size)
    ids = [
        linker.step(f, t - steps[i - 1] if i else 1.0)
        for i, (f, t) in enumerate(zip(frames, steps, strict=True))
    ]
    out = Tracks(ids, [f.faces.copy() for f in frames], [[] for _ in frames])
    seen: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for number, row in enumerate(ids):
        for person, who in enumerate(row.tolist()):
            seen[who].append((number, person))
    for who, places in seen.items():
        _fill_faces(out, places, steps, max_gap)
        _interpolate_gaps(out, who, places, frames, steps)
        _trail(out, who, places, frames, steps, size, extrapolate_frames)
    for interpolated in out.interpolated:
        interpolated.sort(key=lambda b: b.track)
    return out


class _Linker:
    """Four independent filters (centre x, centre y, width, height) for each living track, as arrays."""

    def __init__(self, iou: float, patience: int, size: tuple[int, int]) -> None:
        self.iou, self.patience, self.size = iou, patience, size
        self.ids = np.zeros(0, np.int64)
        self.kinds = np.zeros(0, np.int8)
        self.missed = np.zeros(0, np.int64)
        self.last = np.zeros((0, 4))
        self.mean = np.zeros((0, 4, 2))
        self.covariance = np.zeros((0, 4, 2, 2))
        self.next = 0

    def step(self, frame: FrameBoxes, dt: float) -> NDArray[np.int64]:
        """(N,) track of each box."""
        self._predict(dt)
        predicted = _corners(self.mean[..., 0])
        tracks, found = self._assign(predicted, frame)
        self._correct(tracks, _centres(frame.boxes[found].astype(np.float64)))
        self.missed += 1
        self.missed[tracks] = 0
        self.last[tracks] = frame.boxes[found]
        out = np.full(len(frame.boxes), -1, np.int64)
        out[found] = self.ids[tracks]
        new = np.flatnonzero(out < 0)
        out[new] = self.next + np.arange(len(new))
        self.next += len(new)
        self._keep(self.missed <= self.patience)
        self._start(out[new], frame.kinds[new], _centres(frame.boxes[new].astype(np.float64)))
        return out

    def _assign(
        self, predicted: NDArray[np.float64], frame: FrameBoxes
    ) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Indices of living tracks and of the boxes they go on with."""
        boxes = frame.boxes.astype(np.float64)
        same = self.kinds[:, None] == frame.kinds[None]
        first = linear_assignment(np.where(same, box_iou(predicted, boxes), 0), self.iou)
        tracks, found = np.arange(len(predicted)), np.arange(len(boxes))
        free_t, free_b = np.setdiff1d(tracks, first[0]), np.setdiff1d(found, first[1])
        wide = box_iou(_buffered(predicted[free_t]), _buffered(boxes[free_b]))
        again = linear_assignment(np.where(same[np.ix_(free_t, free_b)], wide, 0), self.iou)
        first = np.concatenate((first[0], free_t[again[0]])), np.concatenate((first[1], free_b[again[1]]))
        # Who comes into the picture or leaves it shows a leg in one frame and half the body in the next.
        free_t, free_b = np.setdiff1d(tracks[self.missed == 0], first[0]), np.setdiff1d(found, first[1])
        free_b = free_b[at_border(boxes[free_b], self.size)]
        inside = box_iou(self.last[free_t], boxes[free_b], over_smaller=True)
        again = linear_assignment(np.where(same[np.ix_(free_t, free_b)], inside, 0), _MOSTLY_INSIDE)
        return np.concatenate((first[0], free_t[again[0]])), np.concatenate((first[1], free_b[again[1]]))

    def _predict(self, dt: float) -> None:
        scale = np.maximum(self.mean[:, 3, 0], 1)[:, None]
        # Without this, a box that shrank while its person went behind another would shrink on to nothing.
        self.mean[self.missed > 0, 2:, 1] = 0
        self.mean[..., 0] += dt * self.mean[..., 1]
        p = self.covariance
        p[..., 0, 0] += dt * (p[..., 0, 1] + p[..., 1, 0]) + dt * dt * p[..., 1, 1]
        p[..., 0, 1] += dt * p[..., 1, 1]
        p[..., 1, 0] = p[..., 0, 1]
        p[..., 0, 0] += (_POSITION_NOISE * scale) ** 2 * dt
        p[..., 1, 1] += (_VELOCITY_NOISE * scale) ** 2 * dt

    def _correct(self, tracks: NDArray[np.intp], seen: NDArray[np.float64]) -> None:
        """Bring these tracks to (K, 4) measured centres and sizes."""
        p, mean = self.covariance[tracks], self.mean[tracks]
        noise = (_POSITION_NOISE * np.maximum(mean[:, 3, 0], 1))[:, None] ** 2
        gain = p[..., 0] / (p[..., 0, 0] + noise)[..., None]
        self.mean[tracks] = mean + gain * (seen - mean[..., 0])[..., None]
        self.covariance[tracks] = p - gain[..., :, None] * p[..., None, 0, :]

    def _keep(self, which: NDArray[np.bool_]) -> None:
        for name in ("ids", "kinds", "missed", "last", "mean", "covariance"):
            setattr(self, name, getattr(self, name)[which])

    def _start(self, ids: NDArray[np.int64], kinds: NDArray[np.int8], seen: NDArray[np.float64]) -> None:
        height = np.maximum(seen[:, 3], 1)[:, None]
        covariance = np.zeros((len(ids), 4, 2, 2))
        covariance[..., 0, 0] = (2 * _POSITION_NOISE * height) ** 2
        covariance[..., 1, 1] = (10 * _VELOCITY_NOISE * height) ** 2
        self.ids = np.concatenate((self.ids, ids))
        self.kinds = np.concatenate((self.kinds, kinds))
        self.missed = np.concatenate((self.missed, np.zeros(len(ids), np.int64)))
        self.last = np.concatenate((self.last, _corners(seen)))
        self.mean = np.concatenate((self.mean, np.stack((seen, np.zeros_like(seen)), 2)))
        self.covariance = np.concatenate((self.covariance, covariance))


def linear_assignment(
    overlap: NDArray[np.float64], least: float
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of the assignment with the largest sum of overlaps of at least ``least``."""
    from scipy.optimize import linear_sum_assignment

    gated = np.where(overlap >= least, overlap, 0)
    rows, columns = linear_sum_assignment(gated, maximize=True)
    good = gated[rows, columns] > 0
    return rows[good], columns[good]


def at_border(boxes: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.bool_]:
    """(N,) whether a box comes within a pixel of the border of a picture of (H, W)."""
    return np.asarray((boxes[:, :2] <= 1).any(1) | (boxes[:, 2:] >= np.array(size[::-1]) - 1).any(1))


def at(
    people: People,
    ids: NDArray[np.int64],
    faces: Boxes,
    interpolated: Sequence[InterpolatedBox],
    sources: Sequence[Sequence[tuple[People, int]]],
    size: tuple[int, int],
) -> People:
    """A frame's detections as a tracked, complete set of people.

    Args:
        people: detected.
        ids: (N,) their tracks.
        faces: (N, 4) their faces, NaN where none.
        interpolated: who else is there.
        sources: for each interpolated box the people of its source frames and the index within.
        size: (H, W).

    """
    n, m = len(people), len(interpolated)
    tracked = np.concatenate((ids, np.array([b.track for b in interpolated], np.int64)))
    known = np.concatenate((faces, np.array([b.face for b in interpolated], np.float32).reshape(-1, 4)))
    boxes = np.concatenate((people.boxes, np.array([b.box for b in interpolated], np.float32).reshape(-1, 4)))
    masks = None
    if people.masks is not None or any(p.masks is not None for row in sources for p, _ in row):
        masks = np.zeros((n + m, *size), np.bool_)
        masks[:n] = masks_of(people, size)
        for k, (b, row) in enumerate(zip(interpolated, sources, strict=True), n):
            for source, i in row:
                masks[k] |= _moved(masks_of(source.take([i]), size)[0], source.boxes[i], b.box)
    keypoints = None
    if people.keypoints is not None:
        keypoints = np.concatenate((people.keypoints, np.zeros((m, 17, 3), np.float32)))
    kinds = [
        Category.FACE if p.categories[i] == Category.FACE else Category.PERSON
        for p, i in (row[0] for row in sources)
    ]
    return People(
        boxes=boxes,
        masks=masks,
        keypoints=keypoints,
        faces=None if np.isnan(known).all() and people.faces is None else known,
        surfaces=(*people.surfaces, *(None for _ in interpolated)),
        categories=np.concatenate((people.categories, np.array(kinds, np.int8))),
        scores=np.concatenate((people.scores, np.zeros(m, np.float32))),
        track_ids=tracked,
        image_size=size,
    )


def _moved(mask: NDArray[np.bool_], before: Boxes, after: Boxes) -> NDArray[np.bool_]:
    """A mask carried along with its box."""
    scale = (after[2:] - after[:2]) / np.maximum(before[2:] - before[:2], 1e-3)
    # Pixel i covers i to i + 1: centres, not corners, are what the warp maps.
    shift = after[:2] - scale * before[:2] + 0.5 * scale - 0.5
    matrix = np.array([[scale[0], 0, shift[0]], [0, scale[1], shift[1]]], np.float64)
    moved = cv2.warpAffine(mask.astype(np.float32), matrix, mask.shape[::-1], flags=cv2.INTER_LINEAR)
    return np.asarray(moved >= 0.5)


def _fill_faces(
    out: Tracks, places: Sequence[tuple[int, int]], steps: NDArray[np.float64], max_gap: int
) -> None:
    """Interpolate faces that a track shows before and after, at most ``max_gap`` frames apart."""
    with_face = [k for k, (f, p) in enumerate(places) if np.isfinite(out.faces[f][p]).all()]
    for k0, k1 in pairwise(with_face):
        (f0, p0), (f1, p1) = places[k0], places[k1]
        if f1 - f0 - 1 <= max_gap:
            for f, p in places[k0 + 1 : k1]:
                out.faces[f][p] = _between(out.faces[f0][p0], out.faces[f1][p1], f0, f, f1, steps)


def _interpolate_gaps(
    out: Tracks,
    who: int,
    places: Sequence[tuple[int, int]],
    frames: Sequence[FrameBoxes],
    steps: NDArray[np.float64],
) -> None:
    for (f0, p0), (f1, p1) in pairwise(places):
        for f in range(f0 + 1, f1):
            box = _between(frames[f0].boxes[p0], frames[f1].boxes[p1], f0, f, f1, steps)
            face = _carried(out.faces[f0][p0], frames[f0].boxes[p0], box)
            other = _carried(out.faces[f1][p1], frames[f1].boxes[p1], box)
            out.interpolated[f].append(InterpolatedBox(who, box, _hull(face, other), ((f0, p0), (f1, p1))))


def _trail(
    out: Tracks,
    who: int,
    places: Sequence[tuple[int, int]],
    frames: Sequence[FrameBoxes],
    steps: NDArray[np.float64],
    size: tuple[int, int],
    extrapolate_frames: int,
) -> None:
    """Go on at the speed of the last detections, in both directions, until out of the picture."""
    for way, end in ((-1, places[:3]), (1, places[-3:][::-1])):
        (f0, p0), (f1, p1) = end[0], end[-1]
        here = frames[f0].boxes[p0]
        span = float(steps[f0] - steps[f1])
        speed = (
            (_centres(here[None]) - _centres(frames[f1].boxes[p1][None]))[0, :2] / span
            if span
            else np.zeros(2)
        )
        for f in range(f0 + way, f0 + way * (extrapolate_frames + 1), way):
            if not 0 <= f < len(frames):
                break
            box = (here + np.tile(speed, 2) * float(steps[f] - steps[f0])).astype(np.float32)
            if (box[:2] >= size[::-1]).any() or (box[2:] <= 0).any():
                break
            out.interpolated[f].append(
                InterpolatedBox(who, box, _carried(out.faces[f0][p0], here, box), ((f0, p0),))
            )


def _between(a: Boxes, b: Boxes, f0: int, f: int, f1: int, steps: NDArray[np.float64]) -> Boxes:
    share = (steps[f] - steps[f0]) / (steps[f1] - steps[f0])
    return np.asarray(a + (b - a) * share, np.float32)


def _carried(face: Boxes, before: Boxes, after: Boxes) -> Boxes:
    """A face carried along with its person's box."""
    scale = (after[2:] - after[:2]) / np.maximum(before[2:] - before[:2], 1e-3)
    corners = (face.reshape(2, 2) - before[:2]) * scale + after[:2]
    return np.asarray(corners.reshape(4), np.float32)


def _hull(a: Boxes, b: Boxes) -> Boxes:
    """The box around both; either where the other is NaN."""
    return np.concatenate((np.fmin(a[:2], b[:2]), np.fmax(a[2:], b[2:]))).astype(np.float32)


def _centres(boxes: NDArray[np.floating]) -> NDArray[np.float64]:
    """(N, 4) xyxy to centre and size."""
    return np.concatenate(((boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]), 1).astype(
        np.float64
    )


def _corners(centres: NDArray[np.float64]) -> NDArray[np.float64]:
    half = np.maximum(centres[:, 2:], 1) / 2
    return np.concatenate((centres[:, :2] - half, centres[:, :2] + half), 1)


def _buffered(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    margin = (boxes[:, 2:] - boxes[:, :2]) * _BUFFER
    return np.concatenate((boxes[:, :2] - margin, boxes[:, 2:] + margin), 1)
