"""The views that attacks are given, read from a dataset and its anonymized copy."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dp2bench.core.attacks import Extract, Split, View
from dp2bench.core.contracts import Dataset
from dp2bench.core.errors import DatasetError, PictureError
from dp2bench.core.layouts import ONE_PERSON
from dp2bench.core.types import Image, People, Sample

Size = tuple[int, int]
"""Height and width in pixels."""


def load_splits(
    clear: Dataset,
    anonymized: Dataset,
    splits: Sequence[str],
    size: Size,
    extract: Extract,
    people: Mapping[str, Mapping[str, People]],
) -> dict[str, Split]:
    """Every picture of the splits that both versions hold, at one size; junk is left out.

    Args:
        clear: in Market-1501's layout.
        anonymized: the same dataset, anonymized.
        splits: names.
        size: of the pictures in the views.
        extract: computes features.
        people: detections by split and sample id, for datasets whose people are not annotated.

    Raises:
        DatasetError: a split is empty in one of the versions.

    """
    attributes = getattr(clear, "attributes", None)
    table = attributes() if attributes is not None else None
    return {
        split: _load(clear, anonymized, split, size, extract, people.get(split, {}), table)
        for split in splits
    }


def _load(
    clear: Dataset,
    anonymized: Dataset,
    split: str,
    size: Size,
    extract: Extract,
    people: Mapping[str, People],
    table: Mapping[int, Mapping[str, Any]] | None,
) -> Split:
    others = {s.id: s for s in anonymized.samples(split)}
    samples: list[Sample] = []
    pictures: tuple[list[Image], list[Image]] = ([], [])
    masks: list[NDArray[np.bool_] | None] = []
    keypoints: list[NDArray[np.float32] | None] = []
    for sample in clear.samples(split):
        if sample.labels["identity"] < 0 or sample.id not in others:
            continue
        try:
            pair = clear.read(sample), anonymized.read(others[sample.id])
        except PictureError:  # counted by the coverage
            continue
        samples.append(sample)
        for kept, picture in zip(pictures, pair, strict=True):
            kept.append(resized(picture, size))
        mask, points = _of_person(clear.people(sample) or people.get(sample.id), pair[0].shape[:2], size)
        masks.append(mask)
        keypoints.append(points)
    if not samples:
        raise DatasetError(
            f"The {split} split of {clear.meta.name} has no picture in both versions.",
            "Check that the anonymized folder holds the same pictures as the clear one.",
        )
    known = [m for m in masks if m is not None], [k for k in keypoints if k is not None]
    view = View(
        names=tuple(s.id for s in samples),
        identities=np.array([s.labels["identity"] for s in samples], np.int64),
        cameras=np.array([s.labels["camera"] for s in samples], np.int64),
        pictures=np.stack(pictures[0]),
        extract=extract,
        masks=np.stack([np.zeros(size, np.bool_) if m is None else m for m in masks]) if known[0] else None,
        keypoints=np.stack([np.zeros((17, 3), np.float32) if k is None else k for k in keypoints])
        if known[1]
        else None,
        attributes=table,
    )
    return Split(
        view,
        View(
            view.names,
            view.identities,
            view.cameras,
            np.stack(pictures[1]),
            extract,
            view.masks,
            view.keypoints,
            table,
        ),
    )


MARGIN, SMALLEST = 0.1, 16
"""Of a window around a person: share of the box that is added on each side; pixels that its sides have at least."""


def load_windows(
    clear: Dataset,
    anonymized: Dataset,
    split: str,
    size: Size,
    extract: Extract,
    people: Mapping[str, People],
    *,
    most: int,
) -> Split:
    """Windows around people, as they were and as they came out; whole pictures where a picture is one person.

    Named ``sample:person``. Who nobody names is one with everybody of their picture: the identity is the picture's number, from 1.

    Args:
        clear: of any layout.
        anonymized: the same dataset, anonymized.
        split: its name.
        size: of the windows.
        extract: computes features.
        people: detections by sample id, for datasets whose people are not annotated.
        most: windows; of more, evenly spaced ones are taken.

    Raises:
        DatasetError: nobody is in both versions.

    """
    others = {s.id: s for s in anonymized.samples(split)}
    samples = [s for s in clear.samples(split) if s.id in others and s.labels.get("identity", 0) >= 0]
    windows: list[tuple[int, int, tuple[int, int, int, int] | None]] = []
    for n, sample in enumerate(samples):
        if clear.layout in ONE_PERSON:
            windows.append((n, 0, None))
            continue
        known = clear.people(sample) or people.get(sample.id)
        for i, (x0, y0, x1, y1) in enumerate([] if known is None else known.boxes.tolist()):
            dx, dy = MARGIN * (x1 - x0), MARGIN * (y1 - y0)
            if min(x1 - x0, y1 - y0) >= SMALLEST:
                box = max(0, round(x0 - dx)), max(0, round(y0 - dy)), round(x1 + dx), round(y1 + dy)
                windows.append((n, i, box))
    if not windows:
        raise DatasetError(
            f"The {split} split of {clear.meta.name} shows nobody in both versions.",
            "Check that the anonymized folder holds the same pictures as the clear one, and that people were found.",
        )
    if len(windows) > most:
        windows = [windows[i] for i in np.linspace(0, len(windows) - 1, most).round().astype(int)]
    names: list[str] = []
    identities: list[int] = []
    cameras: list[int] = []
    pictures: tuple[list[Image], list[Image]] = ([], [])
    last = -1
    pair: tuple[Image, Image] | None = None
    for n, i, window in windows:
        if n != last:
            last, pair = n, None
            with contextlib.suppress(PictureError):  # counted by the coverage
                pair = clear.read(samples[n]), anonymized.read(others[samples[n].id])
        if pair is None:
            continue
        for kept, picture in zip(pictures, pair, strict=True):
            x0, y0, x1, y1 = window or (0, 0, picture.shape[1], picture.shape[0])
            kept.append(resized(picture[y0:y1, x0:x1], size))
        names.append(f"{samples[n].id}:{i}")
        identities.append(int(samples[n].labels.get("identity", n + 1)))
        cameras.append(int(samples[n].labels.get("camera", 0)))
    if not names:
        raise DatasetError(f"No picture of the {split} split of {clear.meta.name} can be read.", "")
    labels = tuple(names), np.array(identities, np.int64), np.array(cameras, np.int64)
    one, other = (View(*labels, np.stack(p), extract) for p in pictures)
    return Split(one, other)


def resized(picture: Image, size: Size) -> Image:
    """A picture at another size: averaged over areas where it shrinks, bilinear where it grows."""
    if picture.shape[:2] == size:
        return picture
    shrinks = picture.shape[0] > size[0]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, size[::-1], interpolation=how), np.uint8)


def _of_person(
    people: People | None, shape: tuple[int, ...], size: Size
) -> tuple[NDArray[np.bool_] | None, NDArray[np.float32] | None]:
    """Mask and keypoints of the largest person, at the view's size."""
    if people is None or not len(people):
        return None, None
    boxes = people.boxes
    person = int(((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).argmax())
    mask = points = None
    if people.masks is not None:
        mask = people.masks[person]
        if mask.shape != size:
            mask = cv2.resize(mask.astype(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST).astype(
                np.bool_
            )
    if people.keypoints is not None:
        points = people.keypoints[person].copy()
        points[:, 0] *= size[1] / shape[1]
        points[:, 1] *= size[0] / shape[0]
    return mask, points
