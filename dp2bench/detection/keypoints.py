"""Keypoints of one detector for the people of another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dp2bench.core.boxes import box_iou
from dp2bench.core.contracts import ComponentMeta, Dataset, Detector
from dp2bench.core.types import Category, Image, People, Sample
from dp2bench.metrics.coverage import pair

SAME_PERSON = 0.5
"""Intersection over union of boxes from which two detections are one person."""
_NOSE_AND_EYES = slice(0, 3)


def assign_keypoints(people: People, found: People, *, iou: float = SAME_PERSON) -> People:
    """The same people with the keypoints of those in ``found`` who are the same persons; zeros where nobody is.

    Whoever has a visible keypoint keeps his own. The others who have a face are matched first, by nose and eyes that lie in it, in the
    order of detection and each face's keypoints once, as DeepPrivacy's published detector does. Then come bodies, by their boxes, one
    to one; keypoints that a face took are taken for bodies too if its body's box overlaps as much. A detector that sees
    somebody twice, once with a face, so gives both his keypoints.

    Args:
        people: of one picture.
        found: with keypoints; others in it give none.
        iou: from which two boxes are one person; above 0.

    """
    keypoints = np.zeros((len(people), 17, 3), np.float32)
    if people.keypoints is not None:
        keypoints[:] = people.keypoints
    if found.keypoints is None:
        return replace(people, keypoints=keypoints)
    without = np.asarray(~(keypoints[..., 2] > 0).any(1))
    overlap = box_iou(people.boxes, found.boxes)
    left = overlap.copy()
    if people.faces is not None:
        free = np.ones(len(found), np.bool_)
        places = found.keypoints[:, _NOSE_AND_EYES, :2]
        for i in np.flatnonzero(without & np.isfinite(people.faces).all(1)):
            low, high = people.faces[i, :2], people.faces[i, 2:]
            inside = np.flatnonzero(free & ((places >= low) & (places <= high)).all((1, 2)))
            if len(inside):
                j = inside[0]
                keypoints[i] = found.keypoints[j]
                without[i] = free[j] = False
                if overlap[i, j] >= iou:
                    left[:, j] = 0
    bodies = np.flatnonzero(without & (people.categories != Category.FACE))
    partner = pair(left[bodies], iou)
    has = partner >= 0
    keypoints[bodies[has]] = found.keypoints[partner[has]]
    return replace(people, keypoints=keypoints)


class WithKeypoints(Detector):
    """The people of one detector, with the keypoints of another; see `assign_keypoints`.

    Args:
        detector: finds the people.
        keypoints: finds keypoints.

    """

    def __init__(self, detector: Detector, keypoints: Detector) -> None:
        self.detector, self.keypoints = detector, keypoints
        self.people_named = detector.people_named
        metas = (detector.meta, keypoints.meta)
        self.meta = ComponentMeta(
            "with-keypoints",
            "+".join(["1", *(f"{m.name}:{m.revision}" for m in metas)]),
            tuple(w for m in metas for w in m.weights),
        )

    @property
    def remarks(self) -> tuple[str, ...]:
        """What the parts say of their annotations."""
        return self.detector.remarks + self.keypoints.remarks

    @property
    def doubts(self) -> tuple[str, ...]:
        """What should be checked in the annotations of the parts."""
        return self.detector.doubts + self.keypoints.doubts

    @property
    def uses_annotations(self) -> bool:
        """Whether a part takes its people from a dataset's annotations."""
        return self.detector.uses_annotations or self.keypoints.uses_annotations

    def for_dataset(self, dataset: Dataset) -> WithKeypoints:
        """The same detector for one dataset."""
        return WithKeypoints(self.detector.for_dataset(dataset), self.keypoints.for_dataset(dataset))

    def detect(self, images: Sequence[Image], samples: Sequence[Sample]) -> list[People]:
        """The people of each picture, in the order of ``detector``."""
        people, found = self.detector.detect(images, samples), self.keypoints.detect(images, samples)
        return [assign_keypoints(p, f) for p, f in zip(people, found, strict=True)]
