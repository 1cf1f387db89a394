"""Poses: bone rotations of somebody who walks or stands, and a clothed body in such a pose in the world."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from dp2bench.datasets.passersby.rendering import raster
from dp2bench.datasets.passersby.rendering.body import ALL_VERTICES, SKIN_VERTICES, Floats, kit, rotation
from dp2bench.datasets.passersby.rendering.dressing import ClothedMesh


@cache
def _finger_axes() -> dict[str, Floats]:
    """The axis about which each hand's fingers close."""
    heads, bones = kit().rest_heads, kit().bones
    axes = {}
    for side in "LR":
        first, last, tip = (heads[bones[f"finger{n}.{side}"]] for n in ("2-1", "5-1", "2-3"))
        across = (last - first) / np.sqrt(((last - first) ** 2).sum())
        closes_down = np.cross(across, tip - first)[2] < 0
        axes[side] = across if closes_down else -across
    return axes


def random_pose(r: np.random.Generator, kind: str) -> dict[str, Floats]:
    """Bone rotations of somebody who walks, stands, phones or waves."""
    stride = (
        float(r.uniform(-0.1, 0.1))
        if kind in ("stand", "wave")
        else float(r.choice([-1, 1]) * r.uniform(0.18, 0.42))
    )
    hang = float(r.uniform(0.54, 0.66))
    elbow = r.uniform(0.1, 0.55, 2)
    if kind == "phone":
        elbow[0] = 1.9

    def turn(*v: float) -> Floats:
        return rotation(v)

    turns = {
        "upperarm01.L": turn(-0.3 if kind == "phone" else -stride * 0.8, 0, 0).dot(turn(0, hang, 0)),
        "upperarm01.R": turn(stride * 0.8, 0, 0).dot(turn(0, -hang, 0)),
        "lowerarm01.L": rotation(elbow[0] * np.array([-0.75, 0, -0.66])),
        "lowerarm01.R": rotation(elbow[1] * np.array([-0.75, 0, 0.66])),
        "upperleg01.L": turn(stride, 0, 0).dot(turn(0, 0.07, 0)),
        "upperleg01.R": turn(-stride, 0, 0).dot(turn(0, -0.07, 0)),
        "lowerleg01.L": turn(max(stride, 0) * 1.1 + 0.06, 0, 0),
        "lowerleg01.R": turn(max(-stride, 0) * 1.1 + 0.06, 0, 0),
        "spine03": turn(float(r.uniform(-0.02, 0.1)), 0, float(r.uniform(-0.1, 0.1)) + stride * 0.2),
        "head": turn(
            float(r.uniform(-0.1, 0.25)), float(r.uniform(-0.08, 0.08)), float(r.uniform(-0.45, 0.45))
        ),
    }
    if kind == "wave":
        turns["upperarm01.R"] = turn(-0.4, 0, 0).dot(turn(0, 0.9, 0))
        turns["lowerarm01.R"] = turn(0, 1.2, 0)
    for side in "LR":
        curl = float(r.uniform(0.25, 0.5))
        for finger in range(2, 6):
            for joint in range(1, 4):
                turns[f"finger{finger}-{joint}.{side}"] = rotation(
                    _finger_axes()[side] * (curl + 0.05 * finger)
                )
    return turns


@dataclass(frozen=True)
class PosedPerson:
    """Somebody in the world: (V, 3) vertices and normals, (17, 3) keypoints, metres."""

    mesh: ClothedMesh
    points: Floats
    normals: Floats
    keypoints: Floats


def pose_person(
    mesh: ClothedMesh, turns: dict[str, Floats], *, yaw: float = 0.0, at: tuple[float, float] = (0.0, 0.0)
) -> PosedPerson:
    """Pose somebody, turn them about the vertical by ``yaw`` radians and stand them on the ground at (x, y)."""
    body = kit()
    moves = body.transforms(mesh.heads, turns)
    points = body.skin(mesh.clothed[:ALL_VERTICES], moves)
    keypoints = body.keypoints(body.skin(mesh.bare, moves))
    if len(mesh.carried):
        m, extra = moves[mesh.carried], mesh.clothed[ALL_VERTICES:]
        m = m.copy()
        hung = mesh.carried == body.bones["wrist.R"]
        if hung.any():  # what is carried by hand hangs down
            grip = mesh.heads[body.bones["wrist.R"]]
            to = np.einsum("ij,j->i", m[hung][0, :3, :3], grip) + m[hung][0, :3, 3]
            m[hung, :3, :3], m[hung, :3, 3] = np.eye(3), to - grip
        points = np.concatenate([points, np.einsum("vij,vj->vi", m[:, :3, :3], extra) + m[:, :3, 3]])
    floor = points[:SKIN_VERTICES, 2].min()
    c, s = np.cos(yaw), np.sin(yaw)

    def place(v: Floats) -> Floats:
        placed = np.stack(
            [c * v[:, 0] - s * v[:, 1] + at[0], s * v[:, 0] + c * v[:, 1] + at[1], v[:, 2] - floor], 1
        )
        # A micrometre: what another processor rounds differently in sines and sums must not decide what a pixel shows.
        return np.round(placed * 2.0**20) / 2.0**20

    points = place(points)
    return PosedPerson(mesh, points, raster.normals(points, mesh.triangles), place(keypoints))
