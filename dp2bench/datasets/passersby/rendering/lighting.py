"""Light on people: the sun and its shadows, the sky, creases that it does not reach, and the ground under shoes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dp2bench.datasets.passersby.rendering.body import SKIN_VERTICES, Floats
from dp2bench.datasets.passersby.rendering.camera import Camera
from dp2bench.datasets.passersby.rendering.painting import paint
from dp2bench.datasets.passersby.rendering.posing import PosedPerson
from dp2bench.datasets.passersby.rendering.raster import ZBuffer

Mesh = tuple[Floats, NDArray[np.int32]]
"""(V, 3) vertices, (T, 3) triangles."""


class Shadows:
    """Where the sun does not reach: depth as seen from the sun, of people and of things that stand about."""

    def __init__(self, meshes: Sequence[Mesh], about: Floats, light: Any) -> None:
        """``about``: (N, 3) points around which shadows are wanted; ``light``: (3,) unit vector to the sun."""
        self._light = np.asarray(light, np.float64)
        across = np.array([self._light[1], -self._light[0], 0.0])
        across /= np.sqrt((across**2).sum())
        self._axes = across, np.cross(self._light, across)
        flat = self._flat(about)
        self._low = [float(v.min()) for v in flat]
        sides = [float(v.max()) - low for v, low in zip(flat[:2], self._low, strict=False)]
        self._cell = max(0.011, max(sides) / 700)
        w, h = (int(side / self._cell) + 3 for side in sides)
        self._map = ZBuffer(h, w)
        for vertices, triangles in meshes:
            self._map.draw(self._project(vertices), triangles)

    def _flat(self, points: Any) -> list[Any]:
        """Three (N,): across, up and towards the sun."""
        columns = np.ascontiguousarray(points.T)
        return [_dot(columns.T, v) for v in (*self._axes, self._light)]

    def _project(self, points: Any) -> Any:
        a, b, c = (v - low for v, low in zip(self._flat(points), self._low, strict=True))
        out = np.empty((len(points), 3))
        # An affine depth, greater nearer to the sun, and positive everywhere.
        out[:, 0], out[:, 1], out[:, 2] = a / self._cell + 1, b / self._cell + 1, c + 50
        return out

    def reach(self, points: Any, normals: Any) -> Any:
        """(N,) share of the sun that reaches (N, 3) points with (N, 3) normals."""
        q = self._project(points + 0.02 * normals + 0.012 * self._light)
        h, w = self._map.depth.shape
        lit = np.zeros(len(q))
        taps = ((-1.1, -0.4), (0.4, -1.1), (1.1, 0.4), (-0.4, 1.1), (0.0, 0.0))
        for x, y in taps:
            column = np.clip(np.floor(q[:, 0] + x), 0, w - 1).astype(np.int64)
            row = np.clip(np.floor(q[:, 1] + y), 0, h - 1).astype(np.int64)
            lit += self._map.depth[row, column] <= q[:, 2] + 0.008
        return lit / len(taps)


def _dot(a: Any, b: Any) -> Any:
    """(N,) products of (N, 3) vectors with one of (3,), or with (3, N)."""
    return a[:, 0] * b[0] + a[:, 1] * b[1] + a[:, 2] * b[2]


def illuminate(
    person: PosedPerson,
    triangles: Any,
    bary: Any,
    camera: Camera,
    light: Any,
    sun: float,
    bounce: Any,
    shadows: Shadows | None = None,
) -> tuple[Any, Any]:
    """Light on N surface points of somebody, given by the triangle (N,) and the barycentrics (N, 2) of each.

    ``light`` (3,) points to the sun, ``sun`` 0..1 is its share, ``bounce`` (3,) comes from the ground; ``shadows``
    fall on them where they are given.
    Returns (N, 3) colour and (N,) vertex ids as `paint` gives them.
    """
    weights = np.concatenate([bary, 1 - bary.sum(1, keepdims=True)], 1)
    corners = person.mesh.triangles[triangles]
    colour, wrinkles, ids = paint(person.mesh, corners, weights)
    n = np.einsum("nk,nkd->nd", weights, person.normals[corners])
    forward = camera.rotation[2]
    away = _dot(n, forward)
    n[away > 0.35] *= -1
    smooth = n
    n = n + 0.16 * wrinkles[:, None] * [0.5, 0.5, 1]
    n /= (np.sqrt(_dot(n, n.T)) + 1e-9)[:, None]
    towards = _dot(n, light)
    sunny = np.clip(towards, 0, 1)
    if shadows is not None:
        sunny = sunny * shadows.reach(np.einsum("nk,nkd->nd", weights, person.points[corners]), smooth)
    dome = 0.5 + 0.5 * n[:, 2]
    lit = (0.62 - 0.3 * sun) * (0.5 + 0.6 * dome) + (0.25 + 0.75 * sun) * sunny
    rim = 0.05 * np.clip(1 + _dot(n, forward), 0, 1) ** 3
    return colour * (lit[:, None] + bounce * (1 - dome)[:, None]) + rim[:, None], ids


def darken_under_feet(im: Any, person: PosedPerson, camera: Camera, ground: Any) -> None:
    """Darken the ground under each shoe."""
    h, w = ground.shape
    feet = person.points[:SKIN_VERTICES]
    low = feet[feet[:, 2] < 0.1]
    split = low[:, 0] > low[:, 0].mean()
    for foot in (low[split], low[~split]):
        if not len(foot):
            continue
        x, y, near = camera.project(np.array([[*foot[:, :2].mean(0), 0.0]]))[0]
        wide = 0.2 * camera.focal * near
        x0, x1 = (int(np.clip(x + s * 3 * wide, 0, w)) for s in (-1, 1))
        y0, y1 = (int(np.clip(y + s * 1.5 * wide, 0, h)) for s in (-1, 1))
        if x1 <= x0 or y1 <= y0:
            continue
        rows, columns = np.mgrid[y0:y1, x0:x1]
        blob = np.exp(-1.6 * (((columns - x) / wide) ** 2 + ((rows - y) / (0.42 * wide)) ** 2))
        im[y0:y1, x0:x1] *= (1 - 0.5 * ground[y0:y1, x0:x1] * blob)[..., None]


def creases(z: ZBuffer, shown: Any, focal: float) -> Any:
    """(H, W) how much of the sky's light reaches a pixel: less where something close by is in front (Luft et al., 2006)."""
    far = np.where(shown, 1 / np.maximum(z.depth, 1e-6), 0).astype(np.float32)
    weight = shown.astype(np.float32)
    out = np.ones(far.shape, np.float32)
    near = float(np.median(z.depth[shown])) if shown.any() else 0.1
    for metres, strength in ((0.035, 0.8), (0.1, 0.9)):
        sigma = max(0.8, metres * focal * near)
        around = cv2.GaussianBlur(far, (0, 0), sigma) / np.maximum(
            cv2.GaussianBlur(weight, (0, 0), sigma), 1e-3
        )
        out *= 1 - strength * np.clip((far - around - 0.004) / (3 * metres + 0.05), 0, 0.45)
    return out
