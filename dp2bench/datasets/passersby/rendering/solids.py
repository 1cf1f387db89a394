"""Solids that a place is furnished with: boxes, tubes and rods of one colour and class, and several as one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dp2bench.datasets.passersby.rendering.body import Floats

CLASSES = {
    "static": 4, "road": 7, "sidewalk": 8, "building": 11, "wall": 12, "fence": 13, "pole": 17, "traffic sign": 20,
    "vegetation": 21, "terrain": 22, "sky": 23, "person": 24, "rider": 25, "car": 26, "bicycle": 33,
}  # fmt: skip
"""Names and label ids of Cityscapes (its ``labels.py``) for what these pictures hold."""


class Prop(NamedTuple):
    """A thing in the world: (V, 3) metres, (T, 3) triangles, (T, 3) colours, (T,) class ids, whether it counts as one instance."""

    vertices: Floats
    triangles: NDArray[np.int32]
    colours: Floats
    classes: NDArray[np.uint8]
    counted: bool = False

    def at(self, x: float, y: float, yaw: float = 0.0, size: float = 1.0) -> Prop:
        """The thing scaled, turned about the vertical and moved."""
        c, s = math.cos(yaw), math.sin(yaw)
        v = self.vertices * size
        return self._replace(
            vertices=np.stack([c * v[:, 0] - s * v[:, 1] + x, s * v[:, 0] + c * v[:, 1] + y, v[:, 2]], 1)
        )


def join_props(props: Sequence[Prop]) -> Prop:
    """Several things as one."""
    first = np.cumsum([0, *(len(p.vertices) for p in props)])
    return Prop(
        np.concatenate([p.vertices for p in props]),
        np.concatenate([p.triangles + int(k) for p, k in zip(props, first, strict=False)]).astype(np.int32),
        np.concatenate([p.colours for p in props]),
        np.concatenate([p.classes for p in props]),
        any(p.counted for p in props),
    )


def tube(profile: Any, colour: Any, name: str, sides: int = 10, power: float = 1.0) -> Prop:
    """A closed solid around the vertical from a profile (K, 2) of radius and height; ``power`` < 1 squares it."""
    profile = np.asarray(profile, np.float64)
    cos, sin, t = _tube_mesh(len(profile), sides, power)
    rings = np.empty((len(profile), sides, 3))
    rings[..., 0] = profile[:, :1] * cos
    rings[..., 1] = profile[:, :1] * sin
    rings[..., 2] = profile[:, 1:]
    return _solid(rings.reshape(-1, 3), t, colour, name)


@cache
def _tube_mesh(rings: int, sides: int, power: float) -> tuple[Floats, Floats, NDArray[np.int32]]:
    """Cosines and sines of a tube's sides, and its triangles."""
    angle = np.arange(sides) * (2 * math.pi / sides) + math.pi / sides
    cos, sin = (np.sign(f(angle)) * np.abs(f(angle)) ** power for f in (np.cos, np.sin))
    i, j = np.meshgrid(np.arange(rings - 1), np.arange(sides), indexing="ij")
    a, b = i * sides + j, i * sides + (j + 1) % sides
    c, d = a + sides, b + sides
    t = np.concatenate([np.stack([a, b, d], -1).reshape(-1, 3), np.stack([a, d, c], -1).reshape(-1, 3)])
    top = (
        np.stack([np.zeros(sides - 2, int), np.arange(1, sides - 1), np.arange(2, sides)], 1)
        + (rings - 1) * sides
    )
    return cos, sin, np.concatenate([t, top]).astype(np.int32)


def _solid(vertices: Floats, triangles: NDArray[np.int32], colour: Any, name: str) -> Prop:
    """A thing of one colour and class."""
    colours = np.empty((len(triangles), 3))
    colours[:] = colour
    return Prop(vertices, triangles, colours, np.full(len(triangles), CLASSES[name], np.uint8))


_CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
_QUADS = np.array([(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (1, 5, 7, 3), (0, 2, 6, 4)])
_BOX = np.array([[4 * q, 4 * q + a, 4 * q + a + 1] for q in range(6) for a in (1, 2)], np.int32)


def box(size: Any, centre: Any, colour: Any, name: str) -> Prop:
    """A box of full size (3,) about a centre (3,)."""
    v = _CORNERS * (np.asarray(size, np.float64) / 2) + centre
    # Corners are not shared between faces, so that edges stay sharp.
    return _solid(v[_QUADS.ravel()], _BOX, colour, name)


def beam(a: Any, b: Any, radius: float, colour: Any, name: str, sides: int = 6) -> Prop:
    """A rod between two points."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    along = b - a
    length = math.sqrt(float((along**2).sum()))
    along = along / length
    helper = np.array([0.0, 0, 1]) if abs(along[2]) < 0.9 else np.array([1.0, 0, 0])
    u = np.cross(along, helper)
    u /= math.sqrt(float((u**2).sum()))
    w = np.cross(along, u)
    rod = tube([(radius, 0), (radius, length)], colour, name, sides)
    v = rod.vertices
    return rod._replace(vertices=a + v[:, :1] * u + v[:, 1:2] * w + v[:, 2:] * along)
