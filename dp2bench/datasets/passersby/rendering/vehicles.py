"""Cars and bicycles as meshes of coloured triangles, and where one stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dp2bench.datasets.passersby.rendering.body import Floats
from dp2bench.datasets.passersby.rendering.townscape import Label

Solid = tuple[Floats, NDArray[np.int32], Floats]
"""(V, 3) points, (T, 3) triangles, (T, 3) colour of each."""


PAINTS = (
    (0.70, 0.70, 0.72), (0.09, 0.09, 0.10), (0.50, 0.07, 0.07), (0.11, 0.19, 0.40), (0.84, 0.84, 0.83),
    (0.30, 0.32, 0.30), (0.16, 0.30, 0.22), (0.62, 0.55, 0.42),
)  # fmt: skip
"""Colours of cars and bicycles."""


@dataclass(frozen=True)
class Vehicle:
    """A solid that stands somewhere: at (x, y) metres, turned by ``yaw`` radians."""

    solid: Solid
    at: tuple[float, float]
    yaw: float
    reach: tuple[float, float]
    """Half its width and half its length: where nobody can stand."""
    label: Label = Label.CAR

    def points(self) -> Floats:
        """(V, 3) the solid's points where it stands."""
        points, (x, y) = self.solid[0], self.at
        c, s = np.cos(self.yaw), np.sin(self.yaw)
        return np.stack(
            [c * points[:, 0] - s * points[:, 1] + x, s * points[:, 0] + c * points[:, 1] + y, points[:, 2]],
            1,
        )

    def covers(self, x: float, y: float) -> bool:
        """Whether somebody at (x, y) would stand in it."""
        c, s = np.cos(self.yaw), np.sin(self.yaw)
        u, v = c * (x - self.at[0]) + s * (y - self.at[1]), -s * (x - self.at[0]) + c * (y - self.at[1])
        return bool(abs(u) < self.reach[0] + 0.3 and abs(v) < self.reach[1] + 0.3)


class _Faces:
    """Collects coloured triangles."""

    def __init__(self) -> None:
        self.points: list[Any] = []
        self.triangles: list[Any] = []
        self.colours: list[Any] = []

    def quad(self, a: Any, b: Any, c: Any, d: Any, tint: Any) -> None:
        """Two triangles between four points in turn."""
        n = len(self.points)
        self.points.extend([a, b, c, d])
        self.triangles.extend([(n, n + 1, n + 2), (n, n + 2, n + 3)])
        self.colours.extend([tint, tint])

    def disc(self, points: list[Any], tint: Any) -> None:
        """A fan over the points of a convex outline, but its last edge."""
        n = len(self.points)
        self.points.extend(points)
        self.triangles.extend([(n, n + i, n + i + 1) for i in range(1, len(points) - 1)])
        self.colours.extend([tint] * (len(points) - 2))

    def strip(self, a: Any, b: Any, aside: Any, tint: Any) -> None:
        """A flat strip from a to b, ``aside`` its half width."""
        self.quad(a - aside, a + aside, b + aside, b - aside, tint)

    def tube(self, start: Any, end: Any, thick: float, tint: Any) -> None:
        """Two crossing strips."""
        a, b = np.array(start, np.float64), np.array(end, np.float64)
        along = (b - a) / np.sqrt(((b - a) ** 2).sum())
        side = np.array([0.0, 1.0, 0.0]) if abs(along[0]) > 0.9 else np.array([1.0, 0.0, 0.0])
        for aside in (side, np.cross(along, side)):
            self.strip(a, b, aside * thick / 2, tint)

    def solid(self) -> Solid:
        """Everything that was collected."""
        points, colours = np.array(self.points, np.float64), np.array(self.colours, np.float64)
        return points, np.array(self.triangles, np.int32), colours


_DARK = np.array([0.06, 0.06, 0.065])
_GLASS = np.array([0.13, 0.16, 0.19])


def car_mesh(colour: Any, length: float, tall: float) -> Solid:
    """A car at the origin, its nose towards +y."""
    faces = _Faces()
    half, w = length / 2, 0.88
    paint, deck = np.array(colour), 0.58 * tall
    lower = [
        (-half, 0.32), (-half, deck), (-half * 0.86, deck + 0.04), (half * 0.55, deck + 0.02), (half * 0.96, 0.86 * deck),
        (half, 0.6 * deck), (half, 0.32),
    ]  # fmt: skip
    _ring(faces, lower, [paint, paint, paint, paint, paint, 0.6 * paint, _DARK], [w] * 7)
    for side in (-w, w):
        for i in range(1, len(lower) - 1):
            (y0, z0), (y1, z1), (y2, z2) = lower[0], lower[i], lower[i + 1]
            faces.quad((side, y0, z0), (side, y1, z1), (side, y2, z2), (side, y2, z2), paint)
    _cabin(faces, paint, half, w, deck, tall)
    _car_wheels(faces, half, w)
    for side in (-1, 1):
        for y, z, tint in (
            (-half - 0.005, 0.52 * tall, np.array([0.6, 0.06, 0.05])),
            (half + 0.005, 0.44 * tall, np.array([0.9, 0.9, 0.85])),
        ):
            faces.quad(
                (side * w * 0.95, y, z),
                (side * w * 0.6, y, z),
                (side * w * 0.6, y, z + 0.13),
                (side * w * 0.95, y, z + 0.13),
                tint,
            )
    return faces.solid()


def _ring(faces: _Faces, profile: Any, tints: Any, wide: Any) -> None:
    """A body with (y, z) outline ``profile`` and half width ``wide`` at each corner."""
    k = len(profile)
    for i in range(k):
        (y0, z0), (y1, z1) = profile[i], profile[(i + 1) % k]
        w0, w1 = wide[i], wide[(i + 1) % k]
        faces.quad((-w0, y0, z0), (w0, y0, z0), (w1, y1, z1), (-w1, y1, z1), tints[i])


def _cabin(faces: _Faces, paint: Any, half: float, w: float, deck: float, tall: float) -> None:
    back, front = -half * 0.84, half * 0.5
    cabin = [(back, deck), (back + 0.32, tall), (front - 0.75, tall), (front, deck)]
    narrow = [w * 0.97, w * 0.8, w * 0.8, w * 0.97]
    _ring(faces, cabin, [_GLASS, paint, _GLASS, _DARK], narrow)
    windows = [
        (back + 0.22, deck + 0.05), (back + 0.42, tall - 0.07), (front - 0.78, tall - 0.07), (front - 0.18, deck + 0.05),
    ]  # fmt: skip
    narrower = [w * 0.965, w * 0.82, w * 0.82, w * 0.965]
    for sign in (-1, 1):
        a, b, c, d = ((sign * k, y, z) for (y, z), k in zip(cabin, narrow, strict=True))
        faces.quad(a, b, c, d, paint)
        a, b, c, d = ((sign * (k + 0.006), y, z) for (y, z), k in zip(windows, narrower, strict=True))
        faces.quad(a, b, c, d, _GLASS)


def _car_wheels(faces: _Faces, half: float, w: float) -> None:
    angles = np.linspace(0, 2 * np.pi, 13)[:-1]
    for y in (-half * 0.62, half * 0.62):
        for side in (-w - 0.01, w + 0.01):
            for radius, tint, out in ((0.33, _DARK, 0.0), (0.19, np.array([0.55, 0.55, 0.56]), 0.012)):
                x = side + np.sign(side) * out
                rim = [(x, y + radius * np.cos(a), 0.33 + radius * np.sin(a)) for a in angles]
                faces.disc(rim, tint)


def bicycle_mesh(colour: Any, saddle: float, bars: float, reach: float) -> Solid:
    """A bicycle whose bottom bracket is above the origin, its front wheel towards +y.

    Heights of saddle and handlebar, and how far the handlebar is before the bottom bracket.
    """
    faces = _Faces()
    paint, black, steel = np.array(colour), np.array([0.05, 0.05, 0.055]), np.array([0.5, 0.5, 0.52])
    bracket, seat, head = (0, 0, 0.29), (0, -0.2, saddle), (0, reach - 0.04, bars - 0.08)
    back, front, radius = (0, -0.45, 0.34), (0, 0.6, 0.34), 0.33
    for start, end in (
        (bracket, seat),
        (seat, head),
        (bracket, head),
        (bracket, back),
        (seat, back),
        (head, front),
    ):
        faces.tube(start, end, 0.045, paint)
    faces.tube((-0.28, reach, bars), (0.28, reach, bars), 0.035, black)
    faces.tube((0, reach - 0.04, bars - 0.1), (0, reach, bars), 0.035, steel)
    faces.tube((0, -0.32, saddle + 0.03), (0, -0.06, saddle + 0.03), 0.11, black)
    faces.tube((-0.1, 0, 0.29), (0.1, 0, 0.29), 0.06, steel)
    angles = np.linspace(0, 2 * np.pi, 17)
    for _, y, z in (back, front):
        rim = np.stack([np.zeros(17), y + radius * np.cos(angles), z + radius * np.sin(angles)], 1)
        outward = np.stack([np.zeros(17), np.cos(angles), np.sin(angles)], 1)
        for k in range(16):
            faces.strip(rim[k], rim[k + 1], outward[k] * 0.024, black)
            faces.strip(rim[k], rim[k + 1], np.array([0.02, 0.0, 0.0]), black)
    return faces.solid()
