"""Cameras: where they stand and look, and what a fixed one keeps from picture to picture."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dp2bench.datasets.passersby.rendering.body import Floats

SS = 2
"""Supersampling: samples that a pixel's side is drawn with."""


@dataclass(frozen=True)
class Camera:
    """A pinhole camera: position (3,) in metres, rotation (3, 3) with rows right, down, forward; pixels."""

    position: Floats
    rotation: Floats
    focal: float
    centre: tuple[float, float]
    size: tuple[int, int]
    """Width, height."""

    @staticmethod
    def looking(distance: float, height: float, aim: float, size: tuple[int, int]) -> Camera:
        """From ``height`` metres towards the point ``aim`` metres above the origin, along +y."""
        forward = np.array([0.0, distance, aim - height])
        forward /= np.sqrt((forward**2).sum())
        right = np.array([1.0, 0.0, 0.0])
        down = np.cross(forward, right)
        rotation = np.stack([right, down, forward])
        return Camera(np.array([0.0, -distance, height]), rotation, 100.0, (size[0] / 2, size[1] / 2), size)

    def project(self, points: Floats) -> Floats:
        """(N, 3): x and y in pixels, one over the distance along the axis."""
        a, b, c = (points[:, k] - self.position[k] for k in range(3))
        # Written out: a matrix product may sum in another order on another machine.
        x, y, z = (a * r[0] + b * r[1] + c * r[2] for r in self.rotation)
        out = np.empty((len(points), 3))
        out[:, 0] = self.focal * x / z + self.centre[0]
        out[:, 1] = self.focal * y / z + self.centre[1]
        out[:, 2] = 1 / z
        return out

    def scaled(self, k: int) -> Camera:
        """The same view in k times as many pixels each way."""
        return replace(
            self,
            focal=self.focal * k,
            centre=(self.centre[0] * k, self.centre[1] * k),
            size=(self.size[0] * k, self.size[1] * k),
        )

    def framing(self, points: Floats, fill: float, shift: tuple[float, float]) -> Camera:
        """Zoomed so that points fill a share of the picture, moved by a share of its size."""
        w, h = self.size
        seen = np.ascontiguousarray(self.project(points)[:, :2].T)
        low, high = seen.min(1), seen.max(1)
        zoom = min(fill * h / (high[1] - low[1]), 1.25 * w / (high[0] - low[0]))
        mid = (low + high) / 2 - self.centre
        return replace(
            self,
            focal=self.focal * zoom,
            centre=(w * (0.5 + shift[0]) - mid[0] * zoom, h * (0.5 + shift[1]) - mid[1] * zoom),
        )


@dataclass(frozen=True)
class CameraStyle:
    """What a fixed camera keeps: place, height, light, colour, faults."""

    place: str
    height: tuple[float, float]
    facing: float
    """Most people walk this way, radians from facing the camera."""
    light: tuple[float, float, float]
    sun: float
    balance: tuple[float, float, float]
    gain: float
    contrast: float
    blur: float
    noise: float
    quality: tuple[int, int]


STYLES = (
    CameraStyle(
        "street", (2.0, 2.8), 0.2, (0.5, -0.8, 0.9), 0.65, (1.05, 1.0, 0.93), 1.15, 1.04, 0.3, 0.006, (82, 95)
    ),
    CameraStyle(
        "plaza",
        (3.0, 3.8),
        2.6,
        (-0.8, -0.2, 0.8),
        0.55,
        (0.94, 0.99, 1.06),
        1.05,
        0.98,
        0.35,
        0.007,
        (78, 92),
    ),
    CameraStyle(
        "underpass",
        (2.4, 3.0),
        1.4,
        (0.2, -0.5, 1.2),
        0.3,
        (1.07, 1.0, 0.9),
        1.12,
        1.04,
        0.35,
        0.01,
        (76, 90),
    ),
    CameraStyle(
        "park", (1.6, 2.2), -0.9, (-0.7, -0.8, 0.6), 0.68, (1.0, 1.02, 0.97), 1.2, 1.04, 0.3, 0.006, (82, 95)
    ),
    CameraStyle(
        "carpark", (3.2, 4.2), -2.2, (0.9, 0.1, 0.7), 0.5, (0.96, 1.0, 1.03), 1.12, 0.98, 0.4, 0.008, (76, 88)
    ),
    CameraStyle(
        "shops", (2.0, 2.6), 0.9, (0.3, -0.9, 0.7), 0.45, (1.03, 0.98, 1.01), 1.1, 1.06, 0.32, 0.007, (78, 92)
    ),
)


def camera_at(eye: Any, yaw: float, pitch: float, focal: float, size: tuple[int, int]) -> Camera:
    """A camera at ``eye`` (3,) that looks along +y, turned left by ``yaw`` and down by ``pitch`` radians."""
    forward = np.array([-np.sin(yaw) * np.cos(pitch), np.cos(yaw) * np.cos(pitch), -np.sin(pitch)])
    right = np.array([np.cos(yaw), np.sin(yaw), 0.0])
    rotation = np.stack([right, np.cross(forward, right), forward])
    return Camera(np.asarray(eye, np.float64), rotation, focal, (size[0] / 2, size[1] / 2), size)
