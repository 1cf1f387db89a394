"""What a street is drawn from: sky, ground, and upright panels (houses, trees, posts), each with its class. Metres, z up."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dp2bench.datasets.passersby.rendering.body import Floats
from dp2bench.datasets.passersby.rendering.panels import PanelKind, draw_ground_and_sky, draw_panels


class Label(IntEnum):
    """Class of a pixel: the label ids of Cityscapes."""

    UNLABELED = 0
    STATIC = 4
    ROAD = 7
    SIDEWALK = 8
    BUILDING = 11
    WALL = 12
    FENCE = 13
    POLE = 17
    TRAFFIC_LIGHT = 19
    TRAFFIC_SIGN = 20
    VEGETATION = 21
    TERRAIN = 22
    SKY = 23
    PERSON = 24
    RIDER = 25
    CAR = 26
    BICYCLE = 33


_FIELDS = 18
"""Of a panel: x, y, ux, uy, length, bottom, top, kind, label, light, red, green, blue, four of the kind's own, seed."""


@dataclass
class Town:
    """Everything that stands still.

    Attributes:
        road: half its width, 0 for none; kerbs run along y at -road and road.
        green: beyond this |x| the ground is grass.
        paving: size of the slabs in metres, 0 for none.
        grounds: (3, 3) colours of road, pavement and grass; sky: (2, 3) colours at the horizon and above.
        crossing: where along y a zebra crossing lies, or infinity.
        panels: rows of `_FIELDS` numbers.

    """

    road: float
    green: float
    paving: float
    grounds: Floats
    sky: Floats
    seed: int
    crossing: float = np.inf
    panels: list[list[float]] = field(default_factory=list)

    def add(
        self,
        kind: PanelKind,
        label: Label,
        start: tuple[float, float],
        along: tuple[float, float],
        size: tuple[float, float, float],
        colour: Any,
        seed: int,
        *own: float,
        light: float = 1.0,
    ) -> None:
        """Put up a panel from ``start`` (x, y) towards ``along``; ``size`` is its length, bottom and top."""
        self.panels.append(
            [*start, *along, *size, kind, label, light, *colour, *own, *[0.0] * (4 - len(own)), seed % 65536]
        )

    def table(self) -> Floats:
        """(N, 18) the panels."""
        return np.array(self.panels, np.float64).reshape(-1, _FIELDS)


def draw_town(
    town: Town, eye: Floats, rot: Floats, focal: float, centre: tuple[float, float], shape: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.uint8], Floats]:
    """Sky, ground and panels: (H, W, 3) reflectance, (H, W) `Label`, (H, W) one over the distance, 0 for the sky."""
    h, w = shape
    im = np.zeros((h, w, 3), np.float32)
    label = np.zeros((h, w), np.uint8)
    depth = np.zeros((h, w), np.float64)
    middle = np.array(centre, np.float64)
    table = town.table()
    away = np.hypot(
        table[:, 0] + table[:, 2] * table[:, 4] / 2 - eye[0],
        table[:, 1] + table[:, 3] * table[:, 4] / 2 - eye[1],
    )
    draw_panels(im, label, depth, eye, rot, focal, middle, table[np.argsort(away, kind="stable")])
    numbers = np.array([town.road, town.green, town.paving, town.crossing, town.seed], np.float64)
    draw_ground_and_sky(
        im, label, depth, eye, rot, focal, middle, numbers, np.concatenate([town.grounds, town.sky])
    )
    return im, label, depth
