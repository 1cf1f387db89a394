"""A street with many people, from a camera anywhere in it to a picture with its ground truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dp2bench.core.types import Image
from dp2bench.datasets.passersby.rendering.body import SKIN_VERTICES, Floats
from dp2bench.datasets.passersby.rendering.camera import SS, Camera
from dp2bench.datasets.passersby.rendering.lighting import illuminate
from dp2bench.datasets.passersby.rendering.posing import PosedPerson
from dp2bench.datasets.passersby.rendering.raster import ZBuffer
from dp2bench.datasets.passersby.rendering.street_layout import Setting
from dp2bench.datasets.passersby.rendering.townscape import Label, draw_town
from dp2bench.datasets.passersby.rendering.visibility import VisiblePerson, visible_person

MANY = 12_000
"""Samples of one person from which on a pixel is painted once instead of `SS` x `SS` times."""


@dataclass(frozen=True)
class StreetView:
    """One picture of a place.

    Attributes:
        picture: (H, W, 3) uint8.
        labels: (H, W) uint8 of `Label`.
        things: (H, W) int16: number of the person (as in ``people``), -1 none, and 1000 + number of the vehicle.
        people: who is seen, nearest last; `VisiblePerson.index` is the place in the list that was rendered.
        near: (N,) one over the distance of each who is seen, in metres.
        vehicles: number of each vehicle that is seen -> its label, and one over its distance.

    """

    picture: Image
    labels: NDArray[np.uint8]
    things: NDArray[np.int16]
    people: tuple[VisiblePerson, ...]
    near: NDArray[np.float64]
    vehicles: dict[int, tuple[Label, float]]


@dataclass
class _Canvas:
    """What is being drawn, `SS` samples a pixel's side.

    Attributes:
        im: (H, W, 3) float32 colour.
        labels: (H, W) uint8 of `Label`.
        things: (H, W) int16, as in `StreetView`, people by their place in the list that is rendered.
        surface: (H, W) int16 vertex ids of people, -1 elsewhere.
        z: what is nearest.
        shade: where the sun is hidden from the ground, one sample a pixel.

    """

    im: Any
    labels: NDArray[np.uint8]
    things: NDArray[np.int16]
    surface: NDArray[np.int16]
    z: ZBuffer
    shade: ZBuffer


def render_street(
    place: Setting,
    people: Sequence[PosedPerson],
    camera: Camera,
    r: np.random.Generator,
    riders: Sequence[int] = (),
) -> StreetView:
    """Draw a place with people; ``riders`` are those of them who sit on a vehicle."""
    big = camera.scaled(SS)
    w, h = big.size
    im, labels, depth = draw_town(place.town, camera.position, camera.rotation, big.focal, big.centre, (h, w))
    things, surface = np.full((h, w), -1, np.int16), np.full((h, w), -1, np.int16)
    canvas = _Canvas(im, labels, things, surface, ZBuffer(h, w), ZBuffer(h // SS, w // SS))
    canvas.z.depth[:] = depth
    ground = (labels >= Label.ROAD) & (labels <= Label.SIDEWALK) | (labels == Label.TERRAIN)
    vehicles = _draw_vehicles(place, big, camera, canvas)
    ground &= things == -1
    _draw_people(place, people, big, camera, canvas, ground, riders)
    picture = _simulate_camera(im, r)
    return _view(picture, people, canvas, big, camera, vehicles)


def _draw_vehicles(
    place: Setting, big: Camera, camera: Camera, canvas: _Canvas
) -> dict[int, tuple[Label, float]]:
    """Draw what is parked and ridden; number of each that is seen -> label, and one over its distance."""
    seen, z = {}, canvas.z
    for n, vehicle in enumerate(place.vehicles):
        triangles, colours = vehicle.solid[1:]
        world = vehicle.points()
        q = big.project(world)
        if (q[:, 2] <= 0).any():
            continue
        window = _window(q, *big.size)
        z.owner[window] = -1
        z.draw(q, triangles)
        fallen = world - place.light * (world[:, 2:] / place.light[2])
        canvas.shade.draw(camera.project(fallen), triangles)
        mine = z.owner[window] >= 0
        if not mine.any():
            continue
        lit = _lit_faces(place, world[triangles], colours, camera)
        canvas.im[window][mine] = lit[z.owner[window][mine]]
        canvas.labels[window][mine], canvas.things[window][mine] = vehicle.label, 1000 + n
        # A little farther than who sits on it.
        seen[n] = (vehicle.label, float(q[:, 2].mean()) * (0.9 if vehicle.label is Label.BICYCLE else 1.0))
    return seen


def _lit_faces(place: Setting, corners: Floats, colours: Floats, camera: Camera) -> Floats:
    """(T, 3) colour of flat triangles (T, 3, 3) in the place's light."""
    a, b, d = (np.ascontiguousarray(corners[:, k]) for k in range(3))
    normal = np.cross(b - a, d - a)
    normal /= np.sqrt((normal**2).sum(1, keepdims=True)) + 1e-12
    normal *= np.where(((a - camera.position) * normal).sum(1, keepdims=True) > 0, -1, 1)
    light = (0.6 - 0.2 * place.sun) * (0.55 + 0.5 * normal[:, 2]) + (0.3 + 0.7 * place.sun) * np.clip(
        (normal * place.light).sum(1), 0, 1
    )
    sheen = 0.10 * np.clip(normal[:, 2], 0, 1) ** 2
    lit: Floats = colours * (0.25 + light)[:, None] + sheen[:, None]
    return lit


def _draw_people(
    place: Setting,
    people: Sequence[PosedPerson],
    big: Camera,
    camera: Camera,
    canvas: _Canvas,
    ground: NDArray[np.bool_],
    riders: Sequence[int],
) -> None:
    z, (w, h) = canvas.z, big.size
    firsts, windows, first = [], [], 0
    z.owner[:] = -1
    for a in people:
        q = big.project(a.points)
        firsts.append(first)
        windows.append(_window(q, w, h))
        z.draw(q, a.mesh.triangles, first)
        fallen = a.points - place.light * (a.points[:, 2:] / place.light[2])
        canvas.shade.draw(camera.project(fallen), a.mesh.triangles)
        first += len(a.mesh.triangles)
    _cast_shadows(place, people, big, canvas.shade, ground, canvas.im)
    bounce = 0.12 * place.town.grounds[1]
    for i, (a, window) in enumerate(zip(people, windows, strict=True)):
        owner, im, surface = z.owner[window], canvas.im[window], canvas.surface[window]
        mine = (owner >= firsts[i]) & (owner < firsts[i] + len(a.mesh.triangles))
        if not mine.any():
            continue
        lead = _leaders(mine) if mine.sum() > MANY else mine
        im[lead], surface[lead] = illuminate(
            a, owner[lead] - firsts[i], z.bary[window][lead], camera, place.light, place.sun, bounce
        )
        if lead is not mine:
            _follow(mine & ~lead, im, surface)
        canvas.things[window][mine] = i
        canvas.labels[window][mine] = Label.RIDER if i in riders else Label.PERSON


def _view(
    picture: Image,
    people: Sequence[PosedPerson],
    canvas: _Canvas,
    big: Camera,
    camera: Camera,
    vehicles: dict[int, tuple[Label, float]],
) -> StreetView:
    """The ground truth of a picture, from one sample of each pixel."""
    middle = slice(SS // 2, None, SS)
    things, vertices = canvas.things[middle, middle], canvas.surface[middle, middle]
    order = np.argsort([big.project(a.keypoints[11:13].mean(0)[None])[0, 2] for a in people], kind="stable")
    seen: list[VisiblePerson] = []
    near: list[float] = []
    numbers = np.full(things.shape, -1, np.int16)
    numbers[things >= 1000] = things[things >= 1000]
    for i in order.tolist():
        mine = things == i
        person = visible_person(i, people[i], mine, vertices, camera, canvas.z)
        if person is None:
            continue
        numbers[mine] = len(seen)
        seen.append(person)
        near.append(float(camera.project(people[i].keypoints[11:13].mean(0)[None])[0, 2]))
    labels = canvas.labels[middle, middle].copy()
    return StreetView(picture, labels, numbers, tuple(seen), np.array(near), vehicles)


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


def _cast_shadows(
    place: Setting, people: Sequence[PosedPerson], big: Camera, shade: ZBuffer, ground: Any, im: Any
) -> None:
    """Darken the ground where the sun is hidden, and under feet."""
    dark = cv2.GaussianBlur((shade.depth > 0).astype(np.float32), (0, 0), 1.2) * np.float32(
        0.12 + 0.6 * place.sun
    )
    h, w = dark.shape
    for a in people:
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


def _simulate_camera(im: Any, r: np.random.Generator) -> Image:
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
