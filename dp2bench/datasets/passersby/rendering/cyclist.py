"""Cyclists: somebody in a riding pose, and a bicycle that fits them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dp2bench.datasets.passersby.rendering.body import rotation
from dp2bench.datasets.passersby.rendering.dressing import ClothedMesh
from dp2bench.datasets.passersby.rendering.posing import PosedPerson, pose_person, random_pose
from dp2bench.datasets.passersby.rendering.townscape import Label
from dp2bench.datasets.passersby.rendering.vehicles import PAINTS, Vehicle, bicycle_mesh


def make_cyclist(
    mesh: ClothedMesh, r: np.random.Generator, at: tuple[float, float], yaw: float
) -> tuple[PosedPerson, Vehicle]:
    """Somebody on a bicycle that fits, at (x, y); ``yaw`` turns them as it turns those who walk."""
    turns = random_pose(r, "stand")
    phase = float(r.uniform(0, 2 * np.pi))
    turns["spine03"] = rotation((float(r.uniform(0.25, 0.45)), 0, 0))
    for side, sign in (("L", 1.0), ("R", -1.0)):
        up = sign * np.sin(phase)
        turns[f"upperleg01.{side}"] = rotation((-1.05 - 0.38 * up, 0, 0))
        turns[f"lowerleg01.{side}"] = rotation((1.35 + 0.5 * up + 0.1 * sign * np.cos(phase), 0, 0))
        turns[f"upperarm01.{side}"] = rotation((-0.75, 0, 0)).dot(rotation((0, sign * 0.85, 0)))
        turns[f"lowerarm01.{side}"] = rotation(0.45 * np.array([-0.75, 0, -0.66 * sign]))
    someone = pose_person(mesh, turns, yaw=yaw, at=at)
    # Nobody's foot reaches the ground.
    lift = np.array([0.0, 0.0, 0.13])
    someone = replace(someone, points=someone.points + lift, keypoints=someone.keypoints + lift)
    hips, hands = someone.keypoints[11:13].mean(0), someone.keypoints[9:11].mean(0)
    ahead = np.array([np.sin(yaw), -np.cos(yaw)])
    middle = hips[:2] + 0.2 * ahead
    tint = np.array(PAINTS[int(r.integers(len(PAINTS)))]) * r.uniform(0.85, 1.1)
    reach = float(((hands[:2] - middle) * ahead).sum()) + 0.04
    solid = bicycle_mesh(tint, float(hips[2]) - 0.1, float(hands[2]) - 0.03, reach)
    return someone, Vehicle(
        solid, (float(middle[0]), float(middle[1])), yaw + np.pi, (0.3, 0.9), Label.BICYCLE
    )
