"""Whose face is where: CenterFace on the picture and on every head that the pose network sees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from dp2bench.core.boxes import box_iou
from dp2bench.core.types import Image
from dp2bench.detection.centerface import CenterFace
from dp2bench.detection.photo import blazepose
from dp2bench.detection.photo.networks import Pose
from dp2bench.metrics.coverage import pair

_PICTURE = 640
"""Pixels of the longer side at which the whole picture is looked at: for faces of nobody's body, and close-ups."""
_HEAD, _HEAD_SCALE = 128, 2.5
"""Pixels of a head's crop, and its side as a multiple of the face that the landmarks suggest."""
_HEAD_SCORE = 0.3
"""A face in a head's crop scores higher: that a head is there is known."""
_HEAD_IOU = 0.1
"""The face in a head's crop overlaps the one that the landmarks suggest so much."""
_SAME = 0.3
"""Intersection over union from which two boxes are one face."""
_LEFT_EYE, _RIGHT_EYE = 2, 5


class Faces(NamedTuple):
    """Whose faces are where.

    Attributes:
        own: (N, 4) of each person, NaN where none was found.
        free: (M, 4) of nobody's body.
        scores: (M,) of the free ones.

    """

    own: NDArray[np.float32]
    free: NDArray[np.float32]
    scores: NDArray[np.float32]


class FaceFinder:
    """Faces of people whose pose is known, and those of others.

    The whole picture is looked at coarsely, and each head that the pose network sees by itself, enlarged where it is small. Where neither
    shows a face and the head is not seen from behind, the landmarks say where the face is: rather too much than a face that is left.

    Args:
        score: faces on the whole picture score higher.
        device: of the network.

    """

    def __init__(self, score: float, device: torch.device) -> None:
        self.network = CenterFace(device=str(device), score_threshold=score)
        self.meta = self.network.meta

    def __call__(self, image: Image, boxes: NDArray[np.float32], poses: Sequence[Pose | None]) -> Faces:
        """The faces of a picture.

        Args:
            image: (H, W, 3).
            boxes: (N, 4) of people, best first.
            poses: of each, None where the pose is not known.

        """
        found, scores, _ = self.network.faces(image, long=_PICTURE)
        found, scores = _clipped(found, scores, image)
        own = np.full((len(boxes), 4), np.nan, np.float32)
        expected = np.full((len(boxes), 4), np.nan, np.float32)
        for i, pose in enumerate(poses):
            if pose is not None:
                expected[i] = blazepose.face_box(pose.landmarks[:, :2])
        known = np.isfinite(expected).all(1)
        partner = np.full(len(boxes), -1)
        partner[known] = pair(box_iou(expected[known], found), _HEAD_IOU)
        for i in map(int, np.flatnonzero(known)):
            if partner[i] >= 0:
                own[i] = found[partner[i]]
            elif (face := self._in_head(image, expected[i])) is not None:
                own[i] = face
            elif _from_front(poses[i]):
                own[i] = expected[i]
        own, _ = _clipped(own, np.ones(len(own), np.float32), image, keep=True)
        left = [j for j in range(len(found)) if j not in partner]
        taken = own[np.isfinite(own[:, 0])]
        left = [j for j in left if not (box_iou(found[[j]], taken) > _SAME).any()]
        for j in list(left):  # to the smallest person around who has none
            inside = np.asarray(_inside(found[j], boxes) & np.isnan(own[:, 0]))
            if inside.any():
                areas = np.where(inside, (boxes[:, 2:] - boxes[:, :2]).prod(1), np.inf)
                own[int(areas.argmin())] = found[j]
                left.remove(j)
        return Faces(own, found[left], scores[left])

    def _in_head(self, image: Image, expected: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """The face in a head's crop, in pixels of the picture."""
        side = _HEAD_SCALE * float((expected[2:] - expected[:2]).max())
        if side < 8:
            return None
        low = (expected[:2] + expected[2:]) / 2 - side / 2
        scale = _HEAD / side
        matrix = np.array([[scale, 0, -scale * low[0]], [0, scale, -scale * low[1]]])
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        crop = cv2.warpAffine(image, matrix, (_HEAD, _HEAD), flags=how, borderMode=cv2.BORDER_REPLICATE)
        found, *_ = self.network.faces(np.asarray(crop, np.uint8), threshold=_HEAD_SCORE)
        found = (found / scale + np.tile(low, 2)).astype(np.float32)
        same = box_iou(found, expected[None])[:, 0] > _HEAD_IOU
        return found[same][0] if same.any() else None


def _from_front(pose: Pose | None) -> bool:
    """Whether a head is not seen from behind: there, the left eye is to the left of the right one."""
    return pose is not None and bool(pose.landmarks[_LEFT_EYE, 0] > pose.landmarks[_RIGHT_EYE, 0])


def _inside(face: NDArray[np.float32], boxes: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(N,) whether the face's middle lies in each of the boxes."""
    x, y = (face[:2] + face[2:]) / 2
    return np.asarray((boxes[:, 0] <= x) & (x <= boxes[:, 2]) & (boxes[:, 1] <= y) & (y <= boxes[:, 3]))


def _clipped(
    boxes: NDArray[np.float32], scores: NDArray[np.float32], image: Image, *, keep: bool = False
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Boxes within the picture; those outside go, or become NaN where every row has to stay (``keep``)."""
    limit = np.array([image.shape[1], image.shape[0]] * 2, np.float32)
    boxes = np.clip(boxes, 0, limit).astype(np.float32)
    solid = np.asarray((boxes[:, 2:] - boxes[:, :2] >= 1).all(1), np.bool_)
    if keep:
        return np.where(solid[:, None], boxes, np.nan).astype(np.float32), scores
    return boxes[solid], scores[solid]
