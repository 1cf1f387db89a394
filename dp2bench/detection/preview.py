"""Pictures to look at: who was found, and who was left.

They are at most `LONGEST` pixels long, however large the picture is. Boxes are thin, numbers stand beside people, words in a legend below.
"""

from __future__ import annotations

import colorsys
import hashlib
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dp2bench.core.hashing import name_bytes
from dp2bench.core.types import Category, Image, People
from dp2bench.detection.matching import masks_of

LONGEST = 1600
"""Pixels of the longer side of a drawn picture, without its legend."""
_FONT, _SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.4
_LINE = 16
_MOST_LINES = 12
_NARROWEST = 240
"""Pixels of width below which there is no legend: no word would fit."""
_LEFT = (255, 40, 40)
_LONGEST_NAME = 255
"""Bytes of a file's name on the usual file systems."""
_Box = tuple[int, int, int, int]
_Colour = tuple[int, int, int]


def draw_people(image: Image, people: People) -> Image:
    """The picture with its people drawn in: a colour each (each track's its own), contour, box, face, keypoints, number; a legend.

    Args:
        image: (H, W, 3) uint8.
        people: of this picture.

    """
    return _with_legend(_drawn(image, people)[0], _entries(people))


def _entries(people: People) -> list[tuple[_Colour, str]]:
    """The legend's words: number, category, score."""
    numbers = [_number(people, i) for i in range(len(people))]
    return [(_colour(n), f"{n} {_name(people, i)} {people.scores[i]:.2f}") for i, n in enumerate(numbers)]


def before_and_after(image: Image, people: People, result: Image, missed: Mapping[int, str]) -> Image:
    """`draw_people` beside what was made of it, in which those who were not replaced are drawn in red, with the reason.

    Args:
        image: (H, W, 3) uint8, the original.
        people: found in it.
        result: (H, W, 3) uint8, anonymized.
        missed: reason by person, of those who were not replaced.

    """
    before, factor = _drawn(image, people)
    after = bounded(result)
    labels: list[_Box] = []
    boxes = _boxes(people, factor, after)
    reasons: dict[str, list[str]] = defaultdict(list)
    for i, reason in sorted(missed.items()):
        cv2.rectangle(after, boxes[i][:2], boxes[i][2:], _LEFT, 2)
        _put_number(after, boxes[i], boxes, labels, str(_number(people, i)), _LEFT)
        reasons[reason].append(str(_number(people, i)))
    side = 1 if image.shape[1] < 2 * image.shape[0] else 0  # panoramas lie above each other
    entries: list[tuple[_Colour, str]] = [
        (_LEFT, f"not replaced ({reason}): {', '.join(who)}") for reason, who in reasons.items()
    ]
    return _with_legend(np.concatenate((before, after), side), entries + _entries(people))


def preview_path(folder: Path, sample_id: str) -> Path:
    """Where the preview of a picture goes: its name and ``.jpg``; a name that would be too long is cut, and a digest makes it unique."""
    path = folder / f"{sample_id}.jpg"
    if len(os.fsencode(path.name)) <= _LONGEST_NAME:
        return path
    end = f"-{hashlib.sha256(name_bytes(sample_id)).hexdigest()[:12]}.jpg"
    stem = path.name
    while len(os.fsencode(stem + end)) > _LONGEST_NAME:
        stem = stem[:-1]
    return path.with_name(stem + end)


def bounded(image: Image, longest: int = LONGEST) -> Image:
    """A copy of the picture, scaled down so that no side is longer."""
    h, w = image.shape[:2]
    factor = longest / max(h, w)
    if factor >= 1:
        return np.array(image, np.uint8)
    size = (max(1, round(w * factor)), max(1, round(h * factor)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def draw_frame(image: Image, people: People) -> Image:
    """As `draw_people`, of the picture's size and without a legend: a frame of a video."""
    return _drawn(image, people, max(image.shape))[0]


def _drawn(image: Image, people: People, longest: int = LONGEST) -> tuple[Image, float]:
    """The picture with everybody drawn in, and by how much it was scaled."""
    out = bounded(image, longest)
    factor = out.shape[1] / image.shape[1]
    boxes = _boxes(people, factor, out)
    labels: list[_Box] = []
    size = (image.shape[0], image.shape[1])
    masks = None if people.masks is None else masks_of(people, size)
    for i in range(len(people)):
        colour = _colour(_number(people, i))
        if masks is not None:
            mask = cv2.resize(
                masks[i].view(np.uint8), (out.shape[1], out.shape[0]), interpolation=cv2.INTER_AREA
            )
            inside = mask.astype(bool)
            out[inside] = (0.7 * out[inside] + 0.3 * np.array(colour)).astype(np.uint8)
            contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
            cv2.drawContours(out, contours, -1, colour, 1)
        cv2.rectangle(out, boxes[i][:2], boxes[i][2:], colour, 1)
        if people.faces is not None and np.isfinite(people.faces[i]).all():
            face = _box(people.faces[i], factor)
            cv2.rectangle(out, face[:2], face[2:], (255, 255, 255), 1)
        if people.keypoints is not None:
            for x, y, seen in people.keypoints[i]:
                if seen > 0:
                    cv2.circle(out, (round(float(x) * factor), round(float(y) * factor)), 2, colour, -1)
    for i in range(len(people)):
        number = _number(people, i)
        _put_number(out, boxes[i], boxes, labels, str(number), _colour(number))
    return out, factor


def _number(people: People, i: int) -> int:
    return i if people.track_ids is None else int(people.track_ids[i])


def _name(people: People, i: int) -> str:
    return Category(int(people.categories[i])).name.lower().replace("_", " ")


def _box(box: NDArray[np.float32], factor: float) -> _Box:
    x0, y0, x1, y1 = (round(float(v) * factor) for v in box)
    return x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)


def _boxes(people: People, factor: float, image: Image) -> list[_Box]:
    h, w = image.shape[:2]
    return [
        (max(0, x0), max(0, y0), min(w - 1, x1), min(h - 1, y1))
        for x0, y0, x1, y1 in (_box(box, factor) for box in people.boxes)
    ]


def _put_number(
    image: Image, box: _Box, others: Sequence[_Box], labels: list[_Box], text: str, colour: _Colour
) -> None:
    """A small number where it covers least: of people, and of numbers that stand there already."""
    (w, h), _ = cv2.getTextSize(text, _FONT, _SCALE, 1)
    w, h = w + 2, h + 3
    x0, y0, x1, y1 = box
    places = [
        (x0, y0 - h), (x1 - w, y0 - h), (x0, y1 + 1), (x1 - w, y1 + 1), (x1 + 1, y0), (x0 - w, y0),
        ((x0 + x1 - w) // 2, y0 - h), (x1 + 1, (y0 + y1) // 2), (x0 - w, (y0 + y1) // 2), (x0 + 1, y0 + 1),
    ]  # fmt: skip
    inside = [
        (max(0, min(x, image.shape[1] - w)), max(0, min(y, image.shape[0] - h)), w, h) for x, y in places
    ]

    def covered(place: tuple[int, int, int, int]) -> int:
        x, y, _, _ = place
        spot = (x, y, x + w, y + h)
        return 4 * sum(_overlap(spot, label) for label in labels) + sum(_overlap(spot, o) for o in others)

    x, y, _, _ = min(inside, key=covered)
    labels.append((x, y, x + w, y + h))
    cv2.rectangle(image, (x, y), (x + w - 1, y + h - 1), (0, 0, 0), -1)
    cv2.putText(image, text, (x + 1, y + h - 2), _FONT, _SCALE, colour, 1, cv2.LINE_AA)


def _overlap(a: _Box, b: _Box) -> int:
    return max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))


def _with_legend(image: Image, entries: Sequence[tuple[_Colour, str]]) -> Image:
    """The picture with coloured words in columns below it; what does not fit is counted."""
    width = image.shape[1]
    if width < _NARROWEST or not entries:
        return image
    widest = max(cv2.getTextSize(text, _FONT, _SCALE, 1)[0][0] for _, text in entries) + 16
    columns = max(1, width // widest)
    room = columns * _MOST_LINES
    if len(entries) > room:
        entries = [*entries[: room - 1], ((255, 255, 255), f"... and {len(entries) - room + 1} more")]
    lines = -(-len(entries) // columns)
    legend = np.zeros((lines * _LINE + 6, width, 3), np.uint8)
    for k, (colour, text) in enumerate(entries):
        at = (4 + (k % columns) * (width // columns), (k // columns + 1) * _LINE - 2)
        cv2.putText(legend, text, at, _FONT, _SCALE, colour, 1, cv2.LINE_AA)
    return np.concatenate((image, legend))


def _colour(name: int) -> _Colour:
    """A bright colour; names that follow each other get hues far apart."""
    r, g, b = colorsys.hsv_to_rgb(name * 0.618034 % 1.0, 0.65, 1.0)
    return round(255 * r), round(255 * g), round(255 * b)
