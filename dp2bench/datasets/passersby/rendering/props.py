"""Things that stand about in a place: cars, trees, bushes and what a town puts on its pavements."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np

from dp2bench.datasets.passersby.rendering.solids import CLASSES, Prop, beam, box, join_props, tube

_CARS = (
    (0.62, 0.63, 0.65), (0.07, 0.07, 0.08), (0.45, 0.06, 0.06), (0.09, 0.15, 0.32), (0.80, 0.80, 0.79), (0.25, 0.27, 0.26),
    (0.12, 0.22, 0.16), (0.60, 0.48, 0.16),
)  # fmt: skip


def car(r: np.random.Generator) -> Prop:
    """A car along x, 4.2 m long: a profile between two sides, with glass, lights and wheels."""
    paint = np.array(_CARS[int(r.integers(len(_CARS)))])
    tall = float(r.uniform(1.4, 1.75))
    boxy = float(r.uniform(0, 1))
    back = -1.0 - 0.75 * boxy
    lower = [
        (-2.05, 0.28), (-2.1, 0.62), (-1.98, 0.9), (-0.9, 0.95), (0.9, 0.92), (1.75, 0.8), (2.1, 0.62), (2.1, 0.28),
    ]  # fmt: skip
    upper = [
        (back - 0.55 + 0.35 * boxy, 0.93), (back + 0.1, tall - 0.04), (back + 0.6, tall), (0.25, tall), (1.05, 0.92),
    ]  # fmt: skip
    parts = [
        _bodywork(np.array(lower), 0.87, 0.0, paint),
        _bodywork(np.array(upper), 0.84, 0.17, paint, cabin=True),
    ]
    parts.append(_wheels())
    for y in (-0.62, 0.62):
        parts.append(box((0.06, 0.36, 0.13), (2.09, y, 0.66), (0.9, 0.9, 0.82), "car"))
        parts.append(box((0.06, 0.3, 0.15), (-2.09, y, 0.72), (0.6, 0.04, 0.03), "car"))
        parts.append(box((0.02, 0.9, 0.03), (0.1, 1.38 * y, 0.75), paint * 0.5, "car"))
    parts.append(box((0.03, 0.5, 0.11), (2.115, 0, 0.45), (0.75, 0.75, 0.7), "car"))
    parts.append(box((4.25, 1.6, 0.12), (0, 0, 0.3), (0.05, 0.05, 0.05), "car"))
    return join_props(parts)._replace(counted=True)


def _bodywork(outline: Any, width: float, tuck: float, paint: Any, *, cabin: bool = False) -> Prop:
    """Two equal sides, drawn in by ``tuck`` for each metre upwards, and the sheets between them; a cabin has windows."""
    n = len(outline)
    inward = width - tuck * (outline[:, 1] - outline[:, 1].min())
    v = np.concatenate([np.column_stack([outline[:, 0], sign * inward, outline[:, 1]]) for sign in (1, -1)])
    colours, triangles = [], []
    fan = [[0, i, i + 1] for i in range(1, n - 1)]
    glass = np.array([0.07, 0.09, 0.11])
    for side in (0, n):
        triangles += [[side + a, side + b, side + c] for a, b, c in fan]
        colours += [glass if cabin else paint] * len(fan)
    for i in range(n - 1 if cabin else n):
        j = (i + 1) % n
        triangles += [[i, j, n + i], [j, n + j, n + i]]
        window = cabin and i in (0, 3)
        colours += [glass * 1.3 if window else paint * (1.05 if cabin else 1.0)] * 2
    # Flat faces: every triangle has corners of its own.
    flat = v[np.array(triangles)].reshape(-1, 3)
    return Prop(
        flat,
        np.arange(len(flat), dtype=np.int32).reshape(-1, 3),
        np.array(colours),
        np.full(len(triangles), CLASSES["car"], np.uint8),
    )


@cache
def _wheels() -> Prop:
    parts = []
    for x in (-1.3, 1.32):
        for y in (-0.8, 0.8):
            parts.append(beam((x, y - 0.1, 0.32), (x, y + 0.1, 0.32), 0.32, (0.03, 0.03, 0.03), "car", 14))
            side = 0.105 * np.sign(y)
            parts.append(beam((x, y, 0.32), (x, y + side, 0.32), 0.18, (0.45, 0.45, 0.46), "car", 10))
    return join_props(parts)


def tree(r: np.random.Generator) -> Prop:
    """A trunk and a crown of several uneven balls."""
    tall = float(r.uniform(2.3, 3.4))
    bark = np.array([0.23, 0.17, 0.12]) * r.uniform(0.7, 1.3)
    wide = float(r.uniform(0.09, 0.2))
    parts = [
        tube(
            [(1.4 * wide, 0), (wide, 0.4), (0.8 * wide, tall), (0.2 * wide, tall + 1.3)],
            bark,
            "vegetation",
            8,
        )
    ]
    green = np.array([0.15, 0.27, 0.08]) * r.uniform(0.75, 1.35) * np.array([r.uniform(0.85, 1.5), 1, 1])
    for _ in range(int(r.integers(6, 10))):
        at = r.normal(size=3) * [0.75, 0.75, 0.5] + [0, 0, tall + 1.0]
        parts.append(_ball(r, float(r.uniform(0.6, 1.15)), at, green * r.uniform(0.8, 1.25)))
    return join_props(parts)


def _ball(r: np.random.Generator, radius: float, at: Any, colour: Any, squash: float = 0.8) -> Prop:
    lat = np.linspace(-math.pi / 2 + 0.05, math.pi / 2 - 0.05, 8)
    ball = tube(np.stack([np.cos(lat) * radius, np.sin(lat) * radius * squash], 1), colour, "vegetation", 11)
    return ball._replace(vertices=ball.vertices * r.uniform(0.78, 1.16, (len(ball.vertices), 1)) + at)


def bush(r: np.random.Generator) -> Prop:
    """A planted bush or a piece of hedge, about a metre."""
    green = np.array([0.14, 0.25, 0.08]) * r.uniform(0.8, 1.4)
    return join_props(
        [
            _ball(
                r,
                float(r.uniform(0.3, 0.5)),
                r.normal(size=3) * [0.4, 0.25, 0.1] + [0, 0, 0.45],
                green * r.uniform(0.8, 1.3),
            )
            for _ in range(5)
        ]
    )


def furniture(r: np.random.Generator, kind: str) -> Prop:
    """Something a town puts on its pavements: lamp, sign, bin, bollard, bench, planter or fence."""
    steel = np.array([0.2, 0.21, 0.22]) * r.uniform(0.6, 1.8)
    return _FURNITURE[kind](r, steel)


def _lamp(r: np.random.Generator, steel: Any) -> Prop:
    return join_props(
        [
            tube([(0.11, 0), (0.1, 0.5), (0.06, 0.6), (0.045, 4.6)], steel, "pole"),
            beam((0, 0, 4.5), (0.8, 0, 4.75), 0.03, steel, "pole"),
            box((0.45, 0.14, 0.08), (0.95, 0, 4.75), (0.75, 0.75, 0.7), "pole"),
        ]
    )


def _sign(r: np.random.Generator, steel: Any) -> Prop:
    face = np.array([(0.7, 0.08, 0.07), (0.08, 0.2, 0.55), (0.85, 0.85, 0.82)][int(r.integers(3))])
    return join_props(
        [
            tube([(0.035, 0), (0.035, 2.75)], (0.5, 0.5, 0.5), "pole", 8),
            beam((0, -0.045, 2.45), (0, -0.06, 2.45), 0.3, face, "traffic sign", 16),
            beam((0, -0.06, 2.45), (0, -0.065, 2.45), 0.2, (0.9, 0.9, 0.88), "traffic sign", 16),
        ]
    )


def _bin(r: np.random.Generator, steel: Any) -> Prop:
    c = np.array([(0.1, 0.22, 0.12), (0.2, 0.2, 0.21), (0.35, 0.3, 0.08)][int(r.integers(3))])
    return join_props(
        [
            tube([(0.24, 0), (0.27, 0.85)], c, "static", 12),
            tube([(0.29, 0.85), (0.29, 0.92), (0.2, 1.0)], c * 0.6, "static", 12),
        ]
    )


def _bollard(r: np.random.Generator, steel: Any) -> Prop:
    return join_props(
        [
            tube([(0.08, 0), (0.075, 0.85), (0.05, 0.95)], steel, "pole"),
            tube([(0.082, 0.62), (0.082, 0.74)], (0.8, 0.8, 0.78), "pole"),
        ]
    )


def _bench(r: np.random.Generator, steel: Any) -> Prop:
    wood = np.array([0.36, 0.22, 0.12]) * r.uniform(0.7, 1.4)
    slats = [box((1.6, 0.1, 0.04), (0, -0.18 + 0.13 * k, 0.45), wood, "static") for k in range(4)]
    slats += [box((1.6, 0.04, 0.1), (0, 0.28, 0.6 + 0.14 * k), wood, "static") for k in range(3)]
    legs = [box((0.06, 0.5, 0.45), (x, 0, 0.22), steel, "static") for x in (-0.65, 0.65)]
    return join_props([*slats, *legs])


def _planter(r: np.random.Generator, steel: Any) -> Prop:
    pot = box((1.3, 0.55, 0.5), (0, 0, 0.25), np.array([0.5, 0.47, 0.43]) * r.uniform(0.6, 1.2), "static")
    plant = bush(r)
    return join_props([pot, plant._replace(vertices=plant.vertices * [1.0, 0.7, 0.7] + [0, 0, 0.35])])


def _fence(r: np.random.Generator, steel: Any) -> Prop:
    rails = [beam((-1.5, 0, z), (1.5, 0, z), 0.025, steel, "fence") for z in (0.25, 1.05)]
    posts = [
        beam((x, 0, 0), (x, 0, 1.08), 0.014 if k % 6 else 0.03, steel, "fence", 5)
        for k, x in enumerate(np.linspace(-1.5, 1.5, 25))
    ]
    return join_props([*rails, *posts])


_FURNITURE = {
    "lamp": _lamp, "sign": _sign, "bin": _bin, "bollard": _bollard, "bench": _bench, "planter": _planter, "fence": _fence,
}  # fmt: skip
