"""Anybody's people with larger masks: less of a person's outline is left, and less of the picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from dp2bench.core import registry
from dp2bench.core.contracts import ComponentMeta, Dataset, Detector
from dp2bench.core.types import Category, Image, People, Sample

By = float | Literal["box"]


def dilated_people(people: People, by: By) -> People:
    """The same people with masks that reach further; boxes hold them.

    Faces alone keep their boxes, and people without masks are boxes already.

    Args:
        people: of one picture.
        by: radius of the disk that masks are dilated by, as a share of the square root of the box's area; ``box``: the whole box.

    """
    if people.masks is None or not len(people):
        return people
    masks, boxes = people.masks.copy(), people.boxes.copy()
    for i, box in enumerate(people.boxes.tolist()):
        if people.categories[i] == Category.FACE or not masks[i].any():
            continue
        masks[i] |= _box(box, masks[i].shape) if by == "box" else _grown(masks[i], _radius(box, by))
        rows, columns = np.flatnonzero(masks[i].any(1)), np.flatnonzero(masks[i].any(0))
        reach = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)
        boxes[i, :2], boxes[i, 2:] = np.minimum(boxes[i, :2], reach[:2]), np.maximum(boxes[i, 2:], reach[2:])
    return replace(people, masks=masks, boxes=boxes)


def _radius(box: Sequence[float], by: float) -> int:
    x0, y0, x1, y1 = box
    return math.ceil(by * math.sqrt(max(0.0, x1 - x0) * max(0.0, y1 - y0)))


def _box(box: Sequence[float], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    x0, y0, x1, y1 = box
    filled = np.zeros(shape, np.bool_)
    filled[max(0, math.floor(y0)) : math.ceil(y1), max(0, math.floor(x0)) : math.ceil(x1)] = True
    return filled


def _grown(mask: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return np.asarray(cv2.dilate(mask.astype(np.uint8), disk), np.bool_)


class Dilated(Detector):
    """The people of another detector with larger masks; see `dilated_people`.

    Args:
        detector: registered name of who finds the people.
        arguments: its arguments.
        by: share of the square root of the box's area, 0 to 1, or ``box``.

    """

    def __init__(
        self, *, detector: str = "annotations", arguments: Mapping[str, Any] | None = None, by: By = 0.1
    ) -> None:
        if by != "box" and not 0 <= float(by) <= 1:
            raise ValueError(f"by is a share from 0 to 1, or 'box', not {by}")
        self._follow(
            registry.create("detectors", detector, arguments or {}), "box" if by == "box" else float(by)
        )

    def _follow(self, detector: Detector, by: By) -> None:
        self.detector, self.by = detector, by
        self.people_named = detector.people_named
        told = detector.meta
        self.meta = ComponentMeta("dilated", f"1+{by}+{told.name}:{told.revision}", told.weights)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What the other says of its annotations."""
        return self.detector.remarks

    @property
    def doubts(self) -> tuple[str, ...]:
        """What should be checked in the other's annotations."""
        return self.detector.doubts

    @property
    def uses_annotations(self) -> bool:
        """Whether the other takes its people from a dataset's annotations."""
        return self.detector.uses_annotations

    def for_dataset(self, dataset: Dataset) -> Dilated:
        """The same detector for one dataset."""
        other = object.__new__(Dilated)
        other._follow(self.detector.for_dataset(dataset), self.by)
        return other

    def detect(self, images: Sequence[Image], samples: Sequence[Sample]) -> list[People]:
        """The people of each picture, in the other's order."""
        return [dilated_people(people, self.by) for people in self.detector.detect(images, samples)]
