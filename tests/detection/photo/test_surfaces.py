"""Bodies bent to landmarks: of a body whose every vertex is known, and of poses that no body fits."""

import numpy as np
import pytest

from dp2bench.core import templates
from dp2bench.datasets.passersby.rendering import posing as cast
from dp2bench.datasets.passersby.rendering.body import SKIN_VERTICES, kit, rotation
from dp2bench.detection.photo import surfaces
from dp2bench.detection.photo.networks import Pose

SCALE = 150
"""Pixels a metre."""


def seen(kind, yaw, seed=0):
    """(13380, 3) vertices in the picture and (33, 3) landmarks of somebody who walks, stands or waves."""
    body = kit()
    moves = body.transforms(body.rest_heads, cast.random_pose(np.random.default_rng(seed), kind))
    skin = body.skin(body.template, moves)
    joints, heads = body.keypoints(skin), {}
    for name in surfaces._TIPS.values():
        bone = body.bones[name]
        heads[name] = moves[bone][:3, :3] @ body.rest_heads[bone] + moves[bone][:3, 3]
    turn = SCALE * surfaces._FRONT @ rotation([0, 0, yaw])
    place = np.array([200, 220, 0])
    marks = np.zeros((33, 3))
    for mark, coco in surfaces._JOINTS.items():
        marks[mark] = turn @ joints[coco] + place
    for mark, name in surfaces._TIPS.items():
        marks[mark] = turn @ heads[name] + place
    return skin[:SKIN_VERTICES] @ turn.T + place, marks


def pose_of(marks):
    landmarks = np.zeros((39, 5))
    landmarks[:33, :3], landmarks[:, 3:] = marks, 1
    return Pose(np.eye(2, 3), np.zeros((256, 256), np.float32), landmarks, np.zeros((39, 3)), 1.0)


@pytest.mark.parametrize(
    ("kind", "yaw"), [("stand", 0.0), ("walk", 0.6), ("walk", 3.0), ("wave", -0.8), ("phone", 1.5)]
)
def test_the_body_lies_where_the_landmarks_say(kind, yaw):
    skin, marks = seen(kind, yaw)
    apart = np.sqrt(((surfaces.bent(marks) - skin) ** 2).sum(1)) / SCALE
    assert np.median(apart) < 0.04  # metres
    truth, drawn = surfaces._drawn(skin, (400, 400)), surfaces._drawn(surfaces.bent(marks), (400, 400))
    both = (truth >= 0) & (drawn >= 0)
    assert both.sum() > 0.85 * (truth >= 0).sum()
    parts = templates.get(surfaces.NAME).parts
    assert (parts[truth[both]] == parts[drawn[both]]).mean() > 0.85


def test_a_mask_is_filled_with_the_body_that_is_seen():
    skin, marks = seen("walk", 0.3)
    mask = surfaces._drawn(skin, (400, 400)) >= 0
    mask[130:260, 178:222] = True  # a coat
    got = surfaces.surface_of(pose_of(marks), mask)
    assert got.template == surfaces.NAME
    x0, y0, x1, y1 = got.box
    assert np.array_equal(got.vertices >= 0, mask[y0:y1, x0:x1])
    assert got.vertices.max() < SKIN_VERTICES


def test_a_large_person_gets_the_same_surface():
    skin, marks = seen("walk", 0.3)
    small = surfaces.surface_of(pose_of(marks), surfaces._drawn(skin, (400, 400)) >= 0)
    large = surfaces.surface_of(pose_of(4 * marks), surfaces._drawn(4 * skin, (1600, 1600)) >= 0)
    a, b = small.vertices, large.vertices[2::4, 2::4][: small.vertices.shape[0], : small.vertices.shape[1]]
    a = a[: b.shape[0], : b.shape[1]]
    both = (a >= 0) & (b >= 0)
    points = kit().template
    assert np.median(np.linalg.norm(points[a[both]] - points[b[both]], axis=1)) < 0.05


def test_who_fits_no_body_has_no_surface():
    skin, marks = seen("stand", 0.0)
    mask = surfaces._drawn(skin, (400, 400)) >= 0
    assert surfaces.surface_of(pose_of(marks), mask) is not None
    assert surfaces.surface_of(pose_of(np.add(marks, [150, 0, 0])), mask) is None
    assert surfaces.surface_of(pose_of(marks), np.zeros((400, 400), bool)) is None
    tiny = np.zeros((400, 400), bool)
    tiny[200:220, 200:210] = True
    assert surfaces.surface_of(pose_of(marks), tiny) is None
    assert surfaces.surface_of(pose_of(np.zeros((33, 3))), mask) is None
