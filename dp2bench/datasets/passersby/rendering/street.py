"""Streets, squares and parks with many people: from a camera anywhere in them to a picture with its ground truth."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage

from dp2bench.core.types import Image
from dp2bench.datasets.passersby.rendering.body import SKIN_VERTICES, Floats, rotation
from dp2bench.datasets.passersby.rendering.people import Actor, Dressed, act, dress, look, pose
from dp2bench.datasets.passersby.rendering.raster import ZBuffer
from dp2bench.datasets.passersby.rendering.scene import (
    SS,
    Camera,
    Seen,
    face_seen,
    illuminate,
    keypoints_seen,
)
from dp2bench.datasets.passersby.rendering.townscape import Kind, Label, Solid, Town, bicycle, car, draw

LENGTH = 90.0
"""A street goes on for so many metres before and behind its middle."""

_HOUSES = (
    (0.66, 0.58, 0.48), (0.55, 0.31, 0.25), (0.74, 0.72, 0.68), (0.50, 0.51, 0.54), (0.69, 0.62, 0.43),
    (0.42, 0.45, 0.47), (0.60, 0.44, 0.36), (0.78, 0.74, 0.64), (0.48, 0.36, 0.29), (0.57, 0.60, 0.55),
)  # fmt: skip
_CARS = (
    (0.70, 0.70, 0.72), (0.09, 0.09, 0.10), (0.50, 0.07, 0.07), (0.11, 0.19, 0.40), (0.84, 0.84, 0.83),
    (0.30, 0.32, 0.30), (0.16, 0.30, 0.22), (0.62, 0.55, 0.42),
)  # fmt: skip


@dataclass(frozen=True)
class Vehicle:
    """A solid that stands somewhere: at (x, y) metres, turned by ``yaw`` radians."""

    solid: Solid
    at: tuple[float, float]
    yaw: float
    reach: tuple[float, float]
    """Half its width and half its length: where nobody can stand."""
    label: Label = Label.CAR

    def covers(self, x: float, y: float) -> bool:
        """Whether somebody at (x, y) would stand in it."""
        c, s = np.cos(self.yaw), np.sin(self.yaw)
        u, v = c * (x - self.at[0]) + s * (y - self.at[1]), -s * (x - self.at[0]) + c * (y - self.at[1])
        return bool(abs(u) < self.reach[0] + 0.3 and abs(v) < self.reach[1] + 0.3)


@dataclass(frozen=True)
class Place:
    """A town, what is parked in it, how far people may walk to either side, and its light."""

    town: Town
    vehicles: tuple[Vehicle, ...]
    wide: float
    light: Floats
    """(3,) towards the sun."""
    sun: float
    """0..1, how much of the light is the sun's."""

    def clear(self, x: float, y: float, across: float, along: float) -> Place:
        """The same place without what is parked close to (x, y)."""
        kept = [v for v in self.vehicles if abs(v.at[0] - x) > across or abs(v.at[1] - y) > along]
        return replace(self, vehicles=tuple(kept))


def camera_at(eye: Any, yaw: float, pitch: float, focal: float, size: tuple[int, int]) -> Camera:
    """A camera at ``eye`` (3,) that looks along +y, turned left by ``yaw`` and down by ``pitch`` radians."""
    forward = np.array([-np.sin(yaw) * np.cos(pitch), np.cos(yaw) * np.cos(pitch), -np.sin(pitch)])
    right = np.array([np.cos(yaw), np.sin(yaw), 0.0])
    rotation = np.stack([right, np.cross(forward, right), forward])
    return Camera(np.asarray(eye, np.float64), rotation, focal, (size[0] / 2, size[1] / 2), size)


def build(r: np.random.Generator, kind: str) -> Place:
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
    return Place(town, vehicles, wide, light, sun)


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
                Kind.HEDGE,
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
                Kind.HOUSE, Label.BUILDING, (side * wide, y), (0, 1), (long, 0, storey * floors + 0.5), wall, seed,
                float(r.uniform(1.7, 3.4)), storey, float(r.random() < 0.5), float(r.random() < 0.45), light=shade,
            )  # fmt: skip
            # The gable, seen where the neighbour is lower or there is none.
            for end, facing in ((y, -1.0), (y + long, 1.0)):
                town.add(
                    Kind.WALL, Label.BUILDING, (side * wide, end), (side, 0), (9, 0, storey * floors + 0.4),
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
            Kind.TREE, Label.VEGETATION, (x - c * broad / 2, y - s * broad / 2), (c, s), (broad, 0, tall), green,
            int(r.integers(60000)), crown, float(r.uniform(0.08, 0.2)),
        )  # fmt: skip


def _post(town: Town, x: float, y: float, thick: float, tall: float, colour: Any) -> None:
    for along in ((1.0, 0.0), (0.0, 1.0)):
        start = (x - along[0] * thick / 2, y - along[1] * thick / 2)
        town.add(Kind.POST, Label.POLE, start, along, (thick, 0, tall), colour, 0)


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
                    Kind.LIGHTS,
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
                    Kind.SIGN,
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
                town.add(Kind.WALL, Label.STATIC, (x - 0.25, y + k), (1, 0), (0.5, 0, 1.0), green, 0)
                town.add(Kind.WALL, Label.STATIC, (x + k, y - 0.25), (0, 1), (0.5, 0, 1.0), 0.8 * green, 0)
        elif kind != "street":
            town.add(
                Kind.FENCE, Label.FENCE, (x, y), (0, 1), (float(r.uniform(3, 7)), 0, 1.0), (0.2, 0.2, 0.21), 0
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
                Kind.HOUSE, Label.BUILDING, (-wide - 9, y), (1, 0), (2 * wide + 18, 0, float(r.uniform(8, 18))), wall,
                int(r.integers(60000)), float(r.uniform(1.8, 3.2)), 3.1, 1.0, float(r.random() < 0.5),
                light=_lit(light, sun, (0.0, -sign)),
            )  # fmt: skip
        else:
            green = np.array([0.17, 0.26, 0.11]) * r.uniform(0.8, 1.2)
            town.add(
                Kind.HEDGE,
                Label.VEGETATION,
                (-wide - 20, y),
                (1, 0),
                (2 * wide + 40, 0, float(r.uniform(4, 9))),
                green,
                int(r.integers(60000)),
            )


def _parked(r: np.random.Generator, road: float) -> tuple[Vehicle, ...]:
    found = []
    for side in (-1.0, 1.0):
        y = -LENGTH * 0.6 + float(r.uniform(0, 12))
        busy = float(r.uniform(0.1, 0.65))
        while y < LENGTH * 0.8:
            long = float(r.uniform(3.7, 4.9))
            if r.random() < busy:
                tint = np.array(_CARS[int(r.integers(len(_CARS)))]) * r.uniform(0.85, 1.1)
                solid = car(tint, long, float(r.uniform(1.38, 1.75)))
                yaw = (0.0 if side > 0 else np.pi) + float(r.normal(0, 0.02))
                found.append(Vehicle(solid, (side * (road - 1.15), y), yaw, (0.9, long / 2)))
            y += long + float(r.uniform(0.7, 7))
    return tuple(found)


@dataclass(frozen=True)
class View:
    """One picture of a place.

    Attributes:
        picture: (H, W, 3) uint8.
        labels: (H, W) uint8 of `Label`.
        things: (H, W) int16: number of the person (as in ``seen``), -1 none, and 1000 + number of the vehicle.
        seen: who is seen, nearest last; `Seen.actor` is the place in the list that was rendered.
        near: (N,) one over the distance of each who is seen, in metres.
        vehicles: number of each vehicle that is seen -> its label.

    """

    picture: Image
    labels: NDArray[np.uint8]
    things: NDArray[np.int16]
    seen: tuple[Seen, ...]
    near: NDArray[np.float64]
    vehicles: dict[int, tuple[Label, float]]


def render(
    place: Place, actors: Sequence[Actor], camera: Camera, r: np.random.Generator, riders: Sequence[int] = ()
) -> View:
    """Draw a place with people; ``riders`` are those of them who sit on a vehicle."""
    big = camera.scaled(SS)
    w, h = big.size
    im, labels, depth = draw(place.town, camera.position, camera.rotation, big.focal, big.centre, (h, w))
    ground = (labels >= Label.ROAD) & (labels <= Label.SIDEWALK) | (labels == Label.TERRAIN)
    z = ZBuffer(h, w)
    z.depth[:] = depth
    shade = ZBuffer(h // SS, w // SS)
    things = np.full((h, w), -1, np.int16)
    in_view = _draw_vehicles(place, big, camera, z, shade, im, labels, things)
    ground &= things == -1

    bases, windows, base = [], [], 0
    z.owner[:] = -1
    for a in actors:
        q = big.project(a.points)
        bases.append(base)
        windows.append(_window(q, w, h))
        z.draw(q, a.dressed.triangles, base)
        fallen = a.points - place.light * (a.points[:, 2:] / place.light[2])
        shade.draw(camera.project(fallen), a.dressed.triangles)
        base += len(a.dressed.triangles)
    _cast_shadows(place, actors, big, shade, ground, im)
    surface = np.full((h, w), -1, np.int16)
    for i, a in enumerate(actors):
        cut = windows[i]
        owner = z.owner[cut]
        mine = (owner >= bases[i]) & (owner < bases[i] + len(a.dressed.triangles))
        if not mine.any():
            continue
        lead = _leaders(mine) if mine.sum() > MANY else mine
        corners = a.dressed.triangles[owner[lead] - bases[i]]
        bary = z.bary[cut][lead]
        weights = np.concatenate([bary, 1 - bary.sum(1, keepdims=True)], 1)
        bounce = 0.12 * place.town.grounds[1]
        im[cut][lead], surface[cut][lead] = illuminate(
            a, corners, weights, camera, place.light, place.sun, bounce
        )
        if lead is not mine:
            _follow(mine & ~lead, im[cut], surface[cut])
        things[cut][mine] = i
        labels[cut][mine] = Label.RIDER if i in riders else Label.PERSON
    picture = _develop(im, r)
    middle = slice(SS // 2, None, SS)
    small, small_surface = things[middle, middle], surface[middle, middle]
    order = np.argsort([big.project(a.keypoints[11:13].mean(0)[None])[0, 2] for a in actors], kind="stable")
    seen: list[Seen] = []
    near: list[float] = []
    numbers = np.full(small.shape, -1, np.int16)
    numbers[small >= 1000] = small[small >= 1000]
    nothing = np.zeros((h, w), bool)
    for i in order.tolist():
        mine = small == i
        if mine.sum() < 16:
            continue
        ys, xs = np.nonzero(mine)
        box = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], np.int32)
        cut = np.s_[box[1] : box[3], box[0] : box[2]]
        own = np.where(mine[cut], small_surface[cut], -1).astype(np.int16)
        numbers[mine] = len(seen)
        seen.append(
            Seen(
                i, box, own, keypoints_seen(actors[i], camera, z, nothing), face_seen(actors[i], camera, own)
            )
        )
        near.append(float(camera.project(actors[i].keypoints[11:13].mean(0)[None])[0, 2]))
    return View(picture, labels[middle, middle].copy(), numbers, tuple(seen), np.array(near), in_view)


MANY = 12_000
"""Samples of one person from which on a pixel is painted once instead of `SS` x `SS` times."""


def _leaders(mine: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The samples that are painted: the last of each pixel, where it is of the person, or else all of the pixel's."""
    rows, columns = (np.arange(n) // SS * SS + SS - 1 for n in mine.shape)
    inside = (rows < mine.shape[0])[:, None] & (columns < mine.shape[1])[None]
    last = mine[np.minimum(rows, mine.shape[0] - 1)][:, np.minimum(columns, mine.shape[1] - 1)] & inside
    out: NDArray[np.bool_] = mine & ~last
    out[SS - 1 :: SS, SS - 1 :: SS] = mine[SS - 1 :: SS, SS - 1 :: SS]
    return out


def _follow(others: NDArray[np.bool_], im: Any, surface: Any) -> None:
    """Give the samples that were not painted what the last of their pixel has."""
    ys, xs = np.nonzero(others)
    lead = ys // SS * SS + SS - 1, xs // SS * SS + SS - 1
    im[ys, xs], surface[ys, xs] = im[lead], surface[lead]


def _window(q: Floats, w: int, h: int) -> tuple[slice, slice]:
    """Rows and columns that projected points may cover."""
    if (q[:, 2] <= 0).any():
        return slice(0, h), slice(0, w)
    low, high = np.floor(q[:, :2].min(0)), np.ceil(q[:, :2].max(0)) + 1
    (x0, y0), (x1, y1) = np.clip(low, 0, [w, h]).astype(int), np.clip(high, 0, [w, h]).astype(int)
    # From a pixel's first sample on, so that windows hold whole pixels.
    return slice(int(y0) // SS * SS, int(y1)), slice(int(x0) // SS * SS, int(x1))


def _draw_vehicles(
    place: Place, big: Camera, camera: Camera, z: ZBuffer, shade: ZBuffer, im: Any, labels: Any, things: Any
) -> dict[int, tuple[Label, float]]:
    seen = {}
    for n, vehicle in enumerate(place.vehicles):
        points, triangles, colours = vehicle.solid
        c, s = np.cos(vehicle.yaw), np.sin(vehicle.yaw)
        x, y = vehicle.at
        world = np.stack(
            [c * points[:, 0] - s * points[:, 1] + x, s * points[:, 0] + c * points[:, 1] + y, points[:, 2]],
            1,
        )
        q = big.project(world)
        if (q[:, 2] <= 0).any():
            continue
        cut = _window(q, *big.size)
        z.owner[cut] = -1
        z.draw(q, triangles)
        fallen = world - place.light * (world[:, 2:] / place.light[2])
        shade.draw(camera.project(fallen), triangles)
        mine = z.owner[cut] >= 0
        if not mine.any():
            continue
        a, b, d = (world[triangles[:, k]] for k in range(3))
        normal = np.cross(b - a, d - a)
        normal /= np.sqrt((normal**2).sum(1, keepdims=True)) + 1e-12
        normal *= np.where(((a - camera.position) * normal).sum(1, keepdims=True) > 0, -1, 1)
        light = (0.6 - 0.2 * place.sun) * (0.55 + 0.5 * normal[:, 2]) + (0.3 + 0.7 * place.sun) * np.clip(
            (normal * place.light).sum(1), 0, 1
        )
        sheen = 0.10 * np.clip(normal[:, 2], 0, 1) ** 2
        im[cut][mine] = (colours * (0.25 + light)[:, None] + sheen[:, None])[z.owner[cut][mine]]
        labels[cut][mine], things[cut][mine] = vehicle.label, 1000 + n
        # A little farther than who sits on it.
        seen[n] = (vehicle.label, float(q[:, 2].mean()) * (0.9 if vehicle.label is Label.BICYCLE else 1.0))
    return seen


def _cast_shadows(
    place: Place, actors: Sequence[Actor], big: Camera, shade: ZBuffer, ground: Any, im: Any
) -> None:
    """Darken the ground where the sun is hidden, and under feet."""
    dark = cv2.GaussianBlur((shade.depth > 0).astype(np.float32), (0, 0), 1.2) * np.float32(
        0.12 + 0.6 * place.sun
    )
    h, w = dark.shape
    for a in actors:
        feet = a.points[:SKIN_VERTICES]
        below = feet[feet[:, 2] < 0.12]
        if not len(below):
            continue
        x, y, near = big.project(np.array([[*below[:, :2].mean(0), 0.0]]))[0] / [SS, SS, 1]
        if near <= 0:
            continue
        wide = 0.36 * big.focal / SS * near
        x0, x1 = (int(np.clip(x + k * 2.5 * wide, 0, w)) for k in (-1, 1))
        y0, y1 = (int(np.clip(y + k * wide, 0, h)) for k in (-1, 1))
        if x0 >= x1 or y0 >= y1:
            continue
        rows, columns = np.ogrid[y0:y1, x0:x1]
        blob = 0.4 * np.exp(-1.8 * (((columns - x) / wide) ** 2 + ((rows - y) / (0.35 * wide)) ** 2))
        dark[y0:y1, x0:x1] = 1 - (1 - dark[y0:y1, x0:x1]) * (1 - blob)
    wider = cv2.resize(dark, None, fx=SS, fy=SS, interpolation=cv2.INTER_NEAREST)
    im *= (1 - ground * wider)[..., None]


def _develop(im: Any, r: np.random.Generator) -> Image:
    """From light to bytes: lens, sensor, white balance; (H * SS, W * SS, 3) to (H, W, 3)."""
    h, w = im.shape[0] // SS, im.shape[1] // SS
    im = cv2.resize(im, (w, h), interpolation=cv2.INTER_AREA)
    blur = float(r.uniform(0.2, 0.6)) if r.random() < 0.85 else float(r.uniform(0.6, 1.3))
    im = cv2.GaussianBlur(im, (0, 0), blur)
    balance = np.array([1.0, 1.0, 1.0]) + r.normal(0, 0.025, 3)
    im *= (balance * r.uniform(0.9, 1.12)).astype(np.float32)
    contrast = np.float32(r.uniform(0.92, 1.1))
    im = (np.clip(im, 0, 2) - np.float32(0.42)) * contrast + np.float32(0.42)
    im = np.clip(im, 0, 1) ** np.float32(1 / 1.12)
    im += np.float32(r.uniform(0.003, 0.014)) * r.standard_normal(im.shape, dtype=np.float32)
    picture: Image = (np.clip(im, 0, 1) * 255 + 0.5).astype(np.uint8)
    return picture


class Cast:
    """Identities ``first`` to ``first + count`` of a stream, dressed when they are first needed."""

    def __init__(self, stream: str, first: int, count: int) -> None:
        self._who = [look(stream, first + k) for k in range(count)]
        self._dressed: dict[int, Dressed] = {}

    def __getitem__(self, k: int) -> Dressed:
        if k not in self._dressed:
            self._dressed[k] = dress(self._who[k])
        return self._dressed[k]


def rider(
    dressed: Dressed, r: np.random.Generator, at: tuple[float, float], yaw: float
) -> tuple[Actor, Vehicle]:
    """Somebody on a bicycle that fits, at (x, y); ``yaw`` turns them as it turns those who walk."""
    turns = pose(r, "stand")
    phase = float(r.uniform(0, 2 * np.pi))
    turns["spine03"] = rotation((float(r.uniform(0.25, 0.45)), 0, 0))
    for side, sign in (("L", 1.0), ("R", -1.0)):
        up = sign * np.sin(phase)
        turns[f"upperleg01.{side}"] = rotation((-1.05 - 0.38 * up, 0, 0))
        turns[f"lowerleg01.{side}"] = rotation((1.35 + 0.5 * up + 0.1 * sign * np.cos(phase), 0, 0))
        turns[f"upperarm01.{side}"] = rotation((-0.75, 0, 0)).dot(rotation((0, sign * 0.85, 0)))
        turns[f"lowerarm01.{side}"] = rotation(0.45 * np.array([-0.75, 0, -0.66 * sign]))
    someone = act(dressed, turns, yaw=yaw, at=at)
    # Nobody's foot reaches the ground.
    lift = np.array([0.0, 0.0, 0.13])
    someone = replace(someone, points=someone.points + lift, keypoints=someone.keypoints + lift)
    hips, hands = someone.keypoints[11:13].mean(0), someone.keypoints[9:11].mean(0)
    ahead = np.array([np.sin(yaw), -np.cos(yaw)])
    middle = hips[:2] + 0.2 * ahead
    tint = np.array(_CARS[int(r.integers(len(_CARS)))]) * r.uniform(0.85, 1.1)
    reach = float(((hands[:2] - middle) * ahead).sum()) + 0.04
    solid = bicycle(tint, float(hips[2]) - 0.1, float(hands[2]) - 0.03, reach)
    return someone, Vehicle(
        solid, (float(middle[0]), float(middle[1])), yaw + np.pi, (0.3, 0.9), Label.BICYCLE
    )


def jpeg(picture: Image, quality: int) -> bytes:
    """The picture as a JPEG file."""
    out = io.BytesIO()
    PILImage.fromarray(picture).save(out, "JPEG", quality=quality)
    return out.getvalue()


def place_people(
    place: Place,
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
