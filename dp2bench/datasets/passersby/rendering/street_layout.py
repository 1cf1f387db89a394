"""Streets, squares and parks with houses, trees and parked cars, and where people may stand in them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dp2bench.datasets.passersby.rendering.body import Floats
from dp2bench.datasets.passersby.rendering.camera import Camera
from dp2bench.datasets.passersby.rendering.panels import PanelKind
from dp2bench.datasets.passersby.rendering.townscape import Label, Town
from dp2bench.datasets.passersby.rendering.vehicles import PAINTS, Vehicle, car_mesh

LENGTH = 90.0
"""A street goes on for so many metres before and behind its middle."""
_HOUSES = (
    (0.66, 0.58, 0.48), (0.55, 0.31, 0.25), (0.74, 0.72, 0.68), (0.50, 0.51, 0.54), (0.69, 0.62, 0.43),
    (0.42, 0.45, 0.47), (0.60, 0.44, 0.36), (0.78, 0.74, 0.64), (0.48, 0.36, 0.29), (0.57, 0.60, 0.55),
)  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """A town, what is parked in it, how far people may walk to either side, and its light."""

    town: Town
    vehicles: tuple[Vehicle, ...]
    wide: float
    light: Floats
    """(3,) towards the sun."""
    sun: float
    """0..1, how much of the light is the sun's."""

    def clear(self, x: float, y: float, across: float, along: float) -> Setting:
        """The same place without what is parked close to (x, y)."""
        kept = [v for v in self.vehicles if abs(v.at[0] - x) > across or abs(v.at[1] - y) > along]
        return replace(self, vehicles=tuple(kept))


def build_setting(r: np.random.Generator, kind: str) -> Setting:
    """A new place of a kind: ``street``, ``square`` or ``park``."""
    angle, height = float(r.uniform(0, 2 * np.pi)), float(r.uniform(0.7, 1.6))
    light = np.array([np.cos(angle), np.sin(angle), height])
    light /= np.sqrt((light**2).sum())
    sun = float(r.uniform(0.15, 0.65))
    seed = int(r.integers(60000))
    road = {"street": float(r.uniform(3, 5)), "square": 0.0, "park": float(r.uniform(1.2, 2.2))}[kind]
    wide = {
        "street": road + float(r.uniform(2.2, 4.5)),
        "square": float(r.uniform(7, 13)),
        "park": float(r.uniform(6, 9)),
    }[kind]
    tarmac = np.array([0.33, 0.33, 0.34]) * r.uniform(0.75, 1.25)
    if kind == "park":
        tarmac = np.array([0.56, 0.50, 0.40]) * r.uniform(0.8, 1.1)
    pavement = np.array([0.55, 0.53, 0.50]) * r.uniform(0.75, 1.2) * r.uniform(0.95, 1.05, 3)
    grass = np.array([0.27, 0.37, 0.16]) * r.uniform(0.75, 1.25) * r.uniform(0.92, 1.08, 3)
    haze, blue = np.array([0.80, 0.85, 0.91]), np.array([0.42, 0.58, 0.82])
    if r.random() < 0.35:
        blue = np.array([0.68, 0.71, 0.75])
    town = Town(
        road=road,
        green=road if kind == "park" else np.inf,
        paving=float(r.choice([0.0, 0.4, 0.6, 0.9]))
        if kind == "street"
        else float(r.choice([0.3, 0.5, 0.8, 1.2])),
        grounds=np.stack([tarmac, pavement, grass]) * (0.78 + 0.3 * sun),
        sky=np.stack([haze, blue]) * r.uniform(0.94, 1.06),
        seed=seed,
        crossing=float(r.uniform(6, 22)) if kind == "street" and r.random() < 0.4 else np.inf,
    )
    for side in (-1.0, 1.0):
        _row_of_houses(town, r, kind, side, wide, light, sun)
        _along_the_kerb(town, r, kind, side, road if kind != "square" else wide - 2.5, wide)
    _end_of_street(town, r, kind, wide, light, sun)
    vehicles = _parked(r, road) if kind == "street" else ()
    return Setting(town, vehicles, wide, light, sun)


def _lit(light: Floats, sun: float, normal: tuple[float, float]) -> float:
    return float((0.66 - 0.1 * sun) + 0.5 * sun * max(0.0, light[0] * normal[0] + light[1] * normal[1]))


def _row_of_houses(
    town: Town, r: np.random.Generator, kind: str, side: float, wide: float, light: Floats, sun: float
) -> None:
    y = -LENGTH
    shade = _lit(light, sun, (-side, 0.0))
    gaps = {"street": 0.12, "square": 0.2, "park": 0.85}[kind]
    while y < LENGTH:
        long = float(r.uniform(7, 19))
        seed = int(r.integers(60000))
        if r.random() < gaps:
            green = np.array([0.17, 0.27, 0.11]) * r.uniform(0.8, 1.3) * np.array([r.uniform(0.9, 1.3), 1, 1])
            town.add(
                PanelKind.HEDGE,
                Label.VEGETATION,
                (side * (wide + 0.3), y),
                (0, 1),
                (long, 0, float(r.uniform(1.2, 5))),
                green,
                seed,
            )
            for _ in range(int(r.integers(2, 5))):
                _tree(town, r, side * (wide + float(r.uniform(1.2, 7))), y + float(r.uniform(0, long)))
        else:
            wall = (
                np.array(_HOUSES[int(r.integers(len(_HOUSES)))])
                * r.uniform(0.75, 1.15)
                * r.uniform(0.96, 1.04, 3)
            )
            storey, floors = float(r.uniform(2.8, 3.6)), int(r.integers(2, 6))
            town.add(
                PanelKind.HOUSE, Label.BUILDING, (side * wide, y), (0, 1), (long, 0, storey * floors + 0.5), wall, seed,
                float(r.uniform(1.7, 3.4)), storey, float(r.random() < 0.5), float(r.random() < 0.45), light=shade,
            )  # fmt: skip
            # The gable, seen where the neighbour is lower or there is none.
            for end, facing in ((y, -1.0), (y + long, 1.0)):
                town.add(
                    PanelKind.WALL, Label.BUILDING, (side * wide, end), (side, 0), (9, 0, storey * floors + 0.4),
                    wall, seed, light=_lit(light, sun, (0.0, facing)),
                )  # fmt: skip
        y += long


def _tree(town: Town, r: np.random.Generator, x: float, y: float) -> None:
    """A tree as a panel that faces the middle of the street."""
    tall, crown = float(r.uniform(4.5, 9)), float(r.uniform(1.6, 2.6))
    broad = tall * float(r.uniform(0.5, 0.75))
    green = np.array([0.20, 0.31, 0.12]) * r.uniform(0.75, 1.3) * np.array([r.uniform(0.85, 1.35), 1, 1])
    # Two crossing panels, so that it has a shape from everywhere.
    for turn in (0.0, np.pi / 2):
        c, s = float(np.cos(turn)), float(np.sin(turn))
        town.add(
            PanelKind.TREE, Label.VEGETATION, (x - c * broad / 2, y - s * broad / 2), (c, s), (broad, 0, tall), green,
            int(r.integers(60000)), crown, float(r.uniform(0.08, 0.2)),
        )  # fmt: skip


def _post(town: Town, x: float, y: float, thick: float, tall: float, colour: Any) -> None:
    for along in ((1.0, 0.0), (0.0, 1.0)):
        start = (x - along[0] * thick / 2, y - along[1] * thick / 2)
        town.add(PanelKind.POST, Label.POLE, start, along, (thick, 0, tall), colour, 0)


def _along_the_kerb(
    town: Town, r: np.random.Generator, kind: str, side: float, kerb: float, wide: float
) -> None:
    y = -LENGTH + float(r.uniform(0, 8))
    trees = r.random() < {"street": 0.5, "square": 0.5, "park": 1.0}[kind]
    while y < LENGTH:
        x = side * (kerb + (0.6 if kind != "park" else float(r.uniform(1.0, wide - kerb))))
        what = r.random()
        if trees and what < 0.5:
            _tree(town, r, x, y)
        elif what < 0.75:
            grey = np.array([0.33, 0.34, 0.34]) * r.uniform(0.6, 1.5)
            _post(town, x, y, float(r.uniform(0.1, 0.16)), float(r.uniform(4, 7)), grey)
        elif kind == "street" and what < 0.88:
            _post(town, x, y, 0.07, 2.6, (0.5, 0.5, 0.5))
            if r.random() < 0.35:
                town.add(
                    PanelKind.LIGHTS,
                    Label.TRAFFIC_LIGHT,
                    (x - 0.14, y - 0.06),
                    (1, 0),
                    (0.28, 2.2, 3.1),
                    (0.07, 0.08, 0.07),
                    int(r.integers(3)),
                )
            else:
                colour = ((0.65, 0.06, 0.06), (0.08, 0.2, 0.5), (0.75, 0.6, 0.1))[int(r.integers(3))]
                town.add(
                    PanelKind.SIGN,
                    Label.TRAFFIC_SIGN,
                    (x - 0.32, y - 0.06),
                    (1, 0),
                    (0.64, 2.0, 2.64),
                    colour,
                    0,
                    float(r.random() < 0.6),
                )
        elif what < 0.94:
            green = np.array([0.2, 0.26, 0.2]) * r.uniform(0.6, 1.6)
            for k in (-0.25, 0.25):
                town.add(PanelKind.WALL, Label.STATIC, (x - 0.25, y + k), (1, 0), (0.5, 0, 1.0), green, 0)
                town.add(
                    PanelKind.WALL, Label.STATIC, (x + k, y - 0.25), (0, 1), (0.5, 0, 1.0), 0.8 * green, 0
                )
        elif kind != "street":
            town.add(
                PanelKind.FENCE,
                Label.FENCE,
                (x, y),
                (0, 1),
                (float(r.uniform(3, 7)), 0, 1.0),
                (0.2, 0.2, 0.21),
                0,
            )
        y += float(r.uniform(4, 13))


def _end_of_street(
    town: Town, r: np.random.Generator, kind: str, wide: float, light: Floats, sun: float
) -> None:
    for sign in (-1.0, 1.0):
        y = sign * (LENGTH if kind == "street" else float(r.uniform(22, 60)))
        if kind != "park" and r.random() < 0.7:
            wall = np.array(_HOUSES[int(r.integers(len(_HOUSES)))]) * r.uniform(0.75, 1.1)
            town.add(
                PanelKind.HOUSE, Label.BUILDING, (-wide - 9, y), (1, 0), (2 * wide + 18, 0, float(r.uniform(8, 18))), wall,
                int(r.integers(60000)), float(r.uniform(1.8, 3.2)), 3.1, 1.0, float(r.random() < 0.5),
                light=_lit(light, sun, (0.0, -sign)),
            )  # fmt: skip
        else:
            green = np.array([0.17, 0.26, 0.11]) * r.uniform(0.8, 1.2)
            town.add(
                PanelKind.HEDGE,
                Label.VEGETATION,
                (-wide - 20, y),
                (1, 0),
                (2 * wide + 40, 0, float(r.uniform(4, 9))),
                green,
                int(r.integers(60000)),
            )


def _parked(r: np.random.Generator, road: float) -> tuple[Vehicle, ...]:
    parked = []
    for side in (-1.0, 1.0):
        y = -LENGTH * 0.6 + float(r.uniform(0, 12))
        busy = float(r.uniform(0.1, 0.65))
        while y < LENGTH * 0.8:
            long = float(r.uniform(3.7, 4.9))
            if r.random() < busy:
                tint = np.array(PAINTS[int(r.integers(len(PAINTS)))]) * r.uniform(0.85, 1.1)
                solid = car_mesh(tint, long, float(r.uniform(1.38, 1.75)))
                yaw = (0.0 if side > 0 else np.pi) + float(r.normal(0, 0.02))
                parked.append(Vehicle(solid, (side * (road - 1.15), y), yaw, (0.9, long / 2)))
            y += long + float(r.uniform(0.7, 7))
    return tuple(parked)


def place_people(
    place: Setting,
    camera: Camera,
    r: np.random.Generator,
    count: int,
    reach: tuple[float, float],
    road: float = 1.0,
) -> list[tuple[float, float]]:
    """Where ``count`` people may stand before a camera, ``reach`` metres away, some of them close together.

    ``road`` is the share of those who would stand on the road that may. Fewer come back where there is no room.
    """
    spots: list[tuple[float, float]] = []
    half = camera.size[0] / 2 / camera.focal
    forward, right = camera.rotation[2], camera.rotation[0]
    for _ in range(40 * count):
        if len(spots) == count:
            break
        if spots and r.random() < 0.3:
            x, y = spots[int(r.integers(len(spots)))]
            turn = float(r.uniform(0, 2 * np.pi))
            gap = float(r.uniform(0.5, 0.9))
            x, y = x + gap * np.cos(turn), y + gap * np.sin(turn)
        else:
            away = float(np.exp(r.uniform(np.log(reach[0]), np.log(reach[1]))))
            side = away * half * float(r.uniform(-0.92, 0.92))
            x, y = (camera.position[:2] + away * forward[:2] + side * right[:2]).tolist()
        if abs(x) > place.wide - 0.4 or abs(y) > LENGTH - 1:
            continue
        if abs(x) < place.town.road and abs(y - place.town.crossing) > 2 and r.random() > road:
            continue
        if any(v.covers(x, y) for v in place.vehicles):
            continue
        if any((x - a) ** 2 + (y - b) ** 2 < 0.45**2 for a, b in spots):
            continue
        spots.append((x, y))
    return spots
