"""The `photo` ensemble: boxes by NanoDet-g, then mask, keypoints and presence of each by BlazePose, then faces by CenterFace."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from dp2bench.core.boxes import box_iou
from dp2bench.core.contracts import ComponentMeta, Detector
from dp2bench.core.types import Category, Image, People, Sample, SurfaceMap, fill_boxes
from dp2bench.detection import checkpoints
from dp2bench.detection.photo.blazepose import BODY
from dp2bench.detection.photo.faces import FaceFinder
from dp2bench.detection.photo.masks import mask_of
from dp2bench.detection.photo.networks import BoxNetwork, Pose, PoseNetwork
from dp2bench.detection.photo.surfaces import surface_of
from dp2bench.weights import embedded, packages

BOX_WEIGHTS, POSE_WEIGHTS = "nanodet-g", "blazepose-full"
PRESENT = 0.5
"""Flag of the pose network from which a person is there."""
_SMALL, _WIDE = 64, 2
"""Pixels of height, or of twice the width, under which a box holds too little for the pose network to judge by."""
_PRESENT_SMALL, _CERTAIN_SMALL = 0.95, 0.2
"""There, the flag that counts, and by how much more the box has to score without one."""
_SAME_POSE = 0.1
"""Two boxes have one pose where their landmarks are nearer than this share of the larger box, on average."""
_SAME_MASK = 0.5
"""A mask of which so much lies in the mask of a surer person shows that person: the pose network looked past the one in the box."""
_PRESENT_SHARED = 0.35
"""Score that a box needs beside its flag where the pose is another's."""


class PhotoDetector(Detector):
    """People in photographs, with masks, keypoints, surfaces and faces; faces of nobody's body are detections of their own.

    A box is a person where it scores above ``certain_score``, or where the pose network sees somebody in it. Nobody who may be there is
    left for the sake of a good outline: where the outline is poor, the box is the mask.

    Args:
        person_score: boxes that score lower are not looked at.
        certain_score: above it, a box is a person whatever the pose network says.
        careful: also covers the box of everything doubtful, down to a score of 0.15; more of the background goes, and fewer people stay.
        face_score: faces of nobody's body score higher.
        pose: the pose network's variant. ``full`` comes with the package; ``heavy`` takes twice the time, and `dp2bench weights convert
            blazepose-heavy` brings it.
        surfaces: whether the body is fitted to the pose, so that generators know which pixel shows which part of it.
        device: torch device; None takes a GPU if there is one.

    """

    def __init__(
        self,
        *,
        person_score: float = 0.25,
        certain_score: float = 0.45,
        careful: bool = False,
        face_score: float = 0.55,
        pose: Literal["full", "heavy"] = "full",
        surfaces: bool = True,
        device: str | None = None,
    ) -> None:
        if not 0 < person_score <= certain_score < 1:
            raise ValueError(
                f"0 < person_score <= certain_score < 1 is asked for, got {person_score} and {certain_score}"
            )
        self.certain_score, self.careful, self.surfaces = certain_score, careful, surfaces
        where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        box_file, pose_file = embedded.path(BOX_WEIGHTS), embedded.path(POSE_WEIGHTS)
        embedded.verify(BOX_WEIGHTS)
        if pose == "heavy":
            pose_file = packages.installed("blazepose-heavy")
        else:
            embedded.verify(POSE_WEIGHTS)
        weights = [checkpoints.describe(file, "Apache-2.0") for file in (box_file, pose_file)]
        self.boxes = BoxNetwork(box_file, where, min(person_score, 0.15) if careful else person_score)
        self.poses = PoseNetwork(pose, pose_file, where)
        self.faces = FaceFinder(face_score, where)
        self.meta = ComponentMeta(
            "photo", "1-careful" if careful else "1", (*weights, *self.faces.meta.weights)
        )

    def detect(self, images: Sequence[Image], samples: Sequence[Sample]) -> list[People]:
        """The people of each picture, best first, then faces without a body."""
        del samples
        return [self._people(image) for image in images]

    def _people(self, image: Image) -> People:
        size = (image.shape[0], image.shape[1])
        boxes, scores = self.boxes(image)
        poses = self.poses(image, boxes)
        sure = int((scores > self.certain_score).sum())  # best first
        poses[sure:] = self.poses.look_again(image, boxes[sure:], poses[sure:])
        judged = judge(boxes, scores, poses, self.certain_score)
        who = np.flatnonzero(judged.person | self.careful)
        who = who[np.argsort(-judged.scores[who], kind="stable")]
        boxes, scores, poses = boxes[who], judged.scores[who], [poses[i] for i in who]
        person, own_pose = judged.person[who], judged.own_pose[who]
        masks = np.zeros((len(who), *size), np.bool_)
        keypoints = np.zeros((len(who), 17, 3), np.float32)
        surfaces: list[SurfaceMap | None] = [None] * len(who)
        for i, pose in enumerate(poses):
            masks[i] = mask_of(image, boxes[i], pose, whole_box=not (person[i] and own_pose[i]))
            shared = (masks[i] & masks[:i]).sum((1, 2)).max(initial=0)
            if own_pose[i] and shared > _SAME_MASK * masks[i].sum():
                own_pose[i] = False
                masks[i] = mask_of(image, boxes[i], pose, whole_box=True)
            if own_pose[i] and pose.flag > PRESENT:
                keypoints[i] = pose.keypoints(size)
                surfaces[i] = surface_of(pose, masks[i]) if self.surfaces else None
        seen = [
            pose if pose.flag > PRESENT and own else None for pose, own in zip(poses, own_pose, strict=True)
        ]
        faces = self.faces(image, boxes, seen)
        return People.of(
            np.concatenate((boxes, faces.free)),
            masks=np.concatenate((masks, fill_boxes(faces.free, size))),
            keypoints=np.concatenate((keypoints, np.zeros((len(faces.free), 17, 3), np.float32))),
            faces=np.concatenate((faces.own, faces.free)),
            surfaces=(*surfaces, *(None for _ in faces.free)),
            categories=[_category(s) for s in surfaces] + [Category.FACE] * len(faces.free),
            scores=np.clip(np.concatenate((scores, faces.scores)), 0, 1),
        )


def _category(surface: SurfaceMap | None) -> Category:
    return Category.PERSON if surface is None else Category.PERSON_WITH_SURFACE


class Judged(NamedTuple):
    """Who of N boxes is a person.

    Attributes:
        person: (N,) bool.
        own_pose: (N,) bool, False where the pose is that of another box, which it fits better.
        scores: (N,) in 0..1: the box's, or its mean with the flag where the pose is the box's own.

    """

    person: NDArray[np.bool_]
    own_pose: NDArray[np.bool_]
    scores: NDArray[np.float32]


def judge(
    boxes: NDArray[np.float32], scores: NDArray[np.float32], poses: Sequence[Pose], certain: float
) -> Judged:
    """Which of (N, 4) boxes are people.

    The pose network sees somebody in most that is upright and small, so that there only a high flag counts. And in a box beside a person it
    sees that person, so that a flag proves nothing where another box has the same pose and fits it better.
    """
    flags = np.array([pose.flag for pose in poses], np.float32)
    own = _own_pose(boxes, poses)
    wide, high = (boxes[:, 2:] - boxes[:, :2]).T
    small = np.maximum(_WIDE * wide, high) < _SMALL
    seen = (flags > np.where(small, _PRESENT_SMALL, PRESENT)) & (own | (scores > _PRESENT_SHARED))
    person = np.asarray(seen | (scores > np.where(small, certain + _CERTAIN_SMALL, certain)))
    return Judged(person, own, np.where(own, (scores + flags) / 2, scores).astype(np.float32))


def _own_pose(boxes: NDArray[np.float32], poses: Sequence[Pose]) -> NDArray[np.bool_]:
    """(N,) whether no other box has the same pose, its landmarks at the same places, and fits it better."""
    if not len(boxes):
        return np.zeros(0, np.bool_)
    points = np.array([pose.landmarks[:BODY, :2] for pose in poses])
    size = (boxes[:, 2:] - boxes[:, :2]).max(1)
    apart = np.sqrt(((points[:, None] - points[None]) ** 2).sum(3)).mean(2)
    same = apart < _SAME_POSE * np.maximum(size[:, None], size[None])
    bodies = np.concatenate((points.min(1), points.max(1)), 1)
    fit = box_iou(bodies, boxes).diagonal()
    order = np.arange(len(boxes))
    better = (fit[None] > fit[:, None]) | ((fit[None] == fit[:, None]) & (order[None] < order[:, None]))
    return np.asarray(~(same & better).any(1))
