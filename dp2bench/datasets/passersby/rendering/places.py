"""Streets to walk in: ground, facades, sky, and things that stand about, with the Cityscapes class of every pixel.

A place is a street whose coordinates run along (``s``) and across (``n``) it; every pixel's ray is met with the ground, two
rows of facades and the sky in closed form, and things (cars, trees, posts, bins ...) are meshes drawn into the same depth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from dp2bench.datasets.passersby.rendering import raster
from dp2bench.datasets.passersby.rendering.body import Floats
from dp2bench.datasets.passersby.rendering.raster import ZBuffer

CLASSES = {
    "static": 4, "road": 7, "sidewalk": 8, "building": 11, "wall": 12, "fence": 13, "pole": 17, "traffic sign": 20,
    "vegetation": 21, "terrain": 22, "sky": 23, "person": 24, "rider": 25, "car": 26, "bicycle": 33,
}  # fmt: skip
"""Names and label ids of Cityscapes (its ``labels.py``) for what these pictures hold."""

PLACES = ("street", "plaza", "underpass", "park", "carpark", "shops")


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


def join(props: Sequence[Prop]) -> Prop:
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
    lower = np.array(
        [
            (-2.05, 0.28),
            (-2.1, 0.62),
            (-1.98, 0.9),
            (-0.9, 0.95),
            (0.9, 0.92),
            (1.75, 0.8),
            (2.1, 0.62),
            (2.1, 0.28),
        ]
    )
    upper = np.array(
        [
            (back - 0.55 + 0.35 * boxy, 0.93),
            (back + 0.1, tall - 0.04),
            (back + 0.6, tall),
            (0.25, tall),
            (1.05, 0.92),
        ]
    )
    parts = []
    for outline, width, tuck in ((lower, 0.87, 0.0), (upper, 0.84, 0.17)):
        n = len(outline)
        inward = width - tuck * (outline[:, 1] - outline[:, 1].min())
        v = np.concatenate(
            [np.column_stack([outline[:, 0], sign * inward, outline[:, 1]]) for sign in (1, -1)]
        )
        colours, triangles = [], []
        fan = [[0, i, i + 1] for i in range(1, n - 1)]
        glass = np.array([0.07, 0.09, 0.11])
        for side in (0, n):
            triangles += [[side + a, side + b, side + c] for a, b, c in fan]
            colours += [glass if outline is upper else paint] * len(fan)
        for i in range(n if outline is lower else n - 1):
            j = (i + 1) % n
            triangles += [[i, j, n + i], [j, n + j, n + i]]
            window = outline is upper and i in (0, 3)
            colours += [glass * 1.3 if window else paint * (1.05 if outline is upper else 1.0)] * 2
        # Flat faces: every triangle has corners of its own.
        flat = v[np.array(triangles)].reshape(-1, 3)
        parts.append(
            Prop(
                flat,
                np.arange(len(flat), dtype=np.int32).reshape(-1, 3),
                np.array(colours),
                np.full(len(triangles), CLASSES["car"], np.uint8),
            )
        )
    parts.append(_wheels())
    for y in (-0.62, 0.62):
        parts.append(box((0.06, 0.36, 0.13), (2.09, y, 0.66), (0.9, 0.9, 0.82), "car"))
        parts.append(box((0.06, 0.3, 0.15), (-2.09, y, 0.72), (0.6, 0.04, 0.03), "car"))
        parts.append(box((0.02, 0.9, 0.03), (0.1, 1.38 * y, 0.75), paint * 0.5, "car"))
    parts.append(box((0.03, 0.5, 0.11), (2.115, 0, 0.45), (0.75, 0.75, 0.7), "car"))
    parts.append(box((4.25, 1.6, 0.12), (0, 0, 0.3), (0.05, 0.05, 0.05), "car"))
    return join(parts)._replace(counted=True)


@cache
def _wheels() -> Prop:
    parts = []
    for x in (-1.3, 1.32):
        for y in (-0.8, 0.8):
            parts.append(beam((x, y - 0.1, 0.32), (x, y + 0.1, 0.32), 0.32, (0.03, 0.03, 0.03), "car", 14))
            side = 0.105 * np.sign(y)
            parts.append(beam((x, y, 0.32), (x, y + side, 0.32), 0.18, (0.45, 0.45, 0.46), "car", 10))
    return join(parts)


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
    return join(parts)


def _ball(r: np.random.Generator, radius: float, at: Any, colour: Any, squash: float = 0.8) -> Prop:
    lat = np.linspace(-math.pi / 2 + 0.05, math.pi / 2 - 0.05, 8)
    ball = tube(np.stack([np.cos(lat) * radius, np.sin(lat) * radius * squash], 1), colour, "vegetation", 11)
    return ball._replace(vertices=ball.vertices * r.uniform(0.78, 1.16, (len(ball.vertices), 1)) + at)


def bush(r: np.random.Generator) -> Prop:
    """A planted bush or a piece of hedge, about a metre."""
    green = np.array([0.14, 0.25, 0.08]) * r.uniform(0.8, 1.4)
    return join(
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
    """Something a town puts on its pavements."""
    steel = np.array([0.2, 0.21, 0.22]) * r.uniform(0.6, 1.8)
    if kind == "lamp":
        return join(
            [
                tube([(0.11, 0), (0.1, 0.5), (0.06, 0.6), (0.045, 4.6)], steel, "pole"),
                beam((0, 0, 4.5), (0.8, 0, 4.75), 0.03, steel, "pole"),
                box((0.45, 0.14, 0.08), (0.95, 0, 4.75), (0.75, 0.75, 0.7), "pole"),
            ]
        )
    if kind == "sign":
        face = np.array([(0.7, 0.08, 0.07), (0.08, 0.2, 0.55), (0.85, 0.85, 0.82)][int(r.integers(3))])
        return join(
            [
                tube([(0.035, 0), (0.035, 2.75)], (0.5, 0.5, 0.5), "pole", 8),
                beam((0, -0.045, 2.45), (0, -0.06, 2.45), 0.3, face, "traffic sign", 16),
                beam((0, -0.06, 2.45), (0, -0.065, 2.45), 0.2, (0.9, 0.9, 0.88), "traffic sign", 16),
            ]
        )
    if kind == "bin":
        c = np.array([(0.1, 0.22, 0.12), (0.2, 0.2, 0.21), (0.35, 0.3, 0.08)][int(r.integers(3))])
        return join(
            [
                tube([(0.24, 0), (0.27, 0.85)], c, "static", 12),
                tube([(0.29, 0.85), (0.29, 0.92), (0.2, 1.0)], c * 0.6, "static", 12),
            ]
        )
    if kind == "bollard":
        return join(
            [
                tube([(0.08, 0), (0.075, 0.85), (0.05, 0.95)], steel, "pole"),
                tube([(0.082, 0.62), (0.082, 0.74)], (0.8, 0.8, 0.78), "pole"),
            ]
        )
    if kind == "bench":
        wood = np.array([0.36, 0.22, 0.12]) * r.uniform(0.7, 1.4)
        slats = [box((1.6, 0.1, 0.04), (0, -0.18 + 0.13 * k, 0.45), wood, "static") for k in range(4)]
        slats += [box((1.6, 0.04, 0.1), (0, 0.28, 0.6 + 0.14 * k), wood, "static") for k in range(3)]
        legs = [box((0.06, 0.5, 0.45), (x, 0, 0.22), steel, "static") for x in (-0.65, 0.65)]
        return join([*slats, *legs])
    if kind == "planter":
        pot = box((1.3, 0.55, 0.5), (0, 0, 0.25), np.array([0.5, 0.47, 0.43]) * r.uniform(0.6, 1.2), "static")
        plant = bush(r)
        return join([pot, plant._replace(vertices=plant.vertices * [1.0, 0.7, 0.7] + [0, 0, 0.35])])
    if kind == "fence":
        rails = [beam((-1.5, 0, z), (1.5, 0, z), 0.025, steel, "fence") for z in (0.25, 1.05)]
        posts = [
            beam((x, 0, 0), (x, 0, 1.08), 0.014 if k % 6 else 0.03, steel, "fence", 5)
            for k, x in enumerate(np.linspace(-1.5, 1.5, 25))
        ]
        return join([*rails, *posts])
    raise ValueError(kind)


_GROUNDS = {
    "street": (0.42, 0.41, 0.40), "plaza": (0.52, 0.48, 0.43), "underpass": (0.38, 0.37, 0.35),
    "park": (0.50, 0.44, 0.35), "carpark": (0.26, 0.26, 0.27), "shops": (0.48, 0.46, 0.44),
}  # fmt: skip
_WALLS = np.array([
    (0.62, 0.55, 0.44), (0.46, 0.23, 0.17), (0.70, 0.68, 0.63), (0.42, 0.43, 0.46), (0.66, 0.58, 0.38), (0.33, 0.37, 0.40),
    (0.55, 0.42, 0.33), (0.72, 0.62, 0.55), (0.38, 0.28, 0.23), (0.58, 0.62, 0.60),
])  # fmt: skip
_FURNITURE = {
    "street": ("lamp", "sign", "bin", "bollard", "bench"), "plaza": ("bench", "planter", "lamp", "bin", "bollard"),
    "underpass": ("bin", "bollard"), "park": ("bench", "bin", "lamp", "bush", "bush"),
    "carpark": ("lamp", "sign", "bollard", "fence", "bush"), "shops": ("planter", "bin", "sign", "bench", "lamp"),
}  # fmt: skip


def cells(r: np.random.Generator, h: int, w: int, size: float) -> Any:
    """(h, w) smooth noise about 0 with features of ``size`` pixels."""
    rows, columns = max(2, round(h / size) + 2), max(2, round(w / size) + 2)
    return cv2.resize(
        r.normal(size=(rows, columns)).astype(np.float32), (w, h), interpolation=cv2.INTER_CUBIC
    )


class Backdrop(NamedTuple):
    """What lies around the people.

    Attributes:
        picture: (H, W, 3) float, lit colour without the shadows of people.
        classes: (H, W) uint8 label ids, see `CLASSES`.
        near: (H, W) one over the distance along the camera's axis in metres, 0 for the sky.
        instances: (H, W) int16, a number for each car, -1 elsewhere.
        ground: (H, W) bool where shadows fall.
        things: the meshes that stand about.

    """

    picture: Any
    classes: NDArray[np.uint8]
    near: Any
    instances: NDArray[np.int16]
    ground: Any
    things: list[Prop]


def background(
    camera: Any,
    style: Any,
    r: np.random.Generator,
    *,
    light: Any = (0.3, -0.6, 0.74),
    keep_free: Any = (),
    angle: float | None = None,
    before: bool = False,
) -> Backdrop:
    """Another spot of a place every time, as a camera sees it.

    Args:
        camera: a `scene.Camera`.
        style: a `scene.Style`; its place decides what is there.
        r: everything random.
        light: (3,) unit vector towards the sun.
        keep_free: (N, 2) spots in metres where nothing may stand.
        angle: radians by which the street's direction differs from the picture's plane; pi / 2 looks along it.
        before: put something between the camera and the first free spot.

    """
    w, h = camera.size
    free = np.asarray(keep_free, np.float64).reshape(-1, 2)
    place = style.place
    angle = float(r.normal(0, 0.3)) if angle is None else angle
    along, across = (math.cos(angle), math.sin(angle)), (-math.sin(angle), math.cos(angle))
    x, y = np.meshgrid(
        (np.arange(w) + 0.5 - camera.centre[0]) / camera.focal,
        (np.arange(h) + 0.5 - camera.centre[1]) / camera.focal,
    )
    rot = camera.rotation
    dx, dy, dz = (x * rot[0, k] + y * rot[1, k] + rot[2, k] for k in range(3))
    eye = camera.position
    ds, dn = along[0] * dx + along[1] * dy, across[0] * dx + across[1] * dy
    es, en = along[0] * eye[0] + along[1] * eye[1], across[0] * eye[0] + across[1] * eye[1]
    across_free = free[:, 0] * across[0] + free[:, 1] * across[1] if len(free) else np.zeros(1)

    deep = {"underpass": (1.5, 4), "park": (5, 16), "carpark": (5, 14), "shops": (2.2, 7)}.get(place, (3, 12))
    wall_1 = max(float(r.uniform(*deep)), float(across_free.max()) + 1.5)
    wall_2 = min(-float(r.uniform(4, 12)), float(across_free.min()) - 1.5, en - 1.0)
    # Ground.
    t_ground = np.where(dz < -1e-4, -eye[2] / np.minimum(dz, -1e-4), np.inf)
    # Facades on both sides; which one a ray meets depends on its direction.
    ahead = dn > 0
    t_wall = np.where(ahead, (wall_1 - en) / np.maximum(dn, 1e-4), (wall_2 - en) / np.minimum(dn, -1e-4))
    t_wall = np.where(np.abs(dn) > 1e-4, t_wall, np.inf)
    v = eye[2] + t_wall * dz
    u = es + t_wall * ds + np.where(ahead, 0.0, 517.0) + float(r.uniform(-300, 300))

    colour, kind, tall = _facade(place, u, v, t_wall / camera.focal, ahead, r)
    far_end = t_wall > 160
    is_wall = (v < tall) & ~far_end & (v > -1)
    is_ground = (t_ground < t_wall) & (t_ground < 400)
    sun = np.asarray(light)
    facing = np.where(
        ahead, -(across[0] * sun[0] + across[1] * sun[1]), across[0] * sun[0] + across[1] * sun[1]
    )
    colour = (
        colour * (0.62 + 0.45 * style.sun * np.clip(facing, 0, 1) + 0.12 * np.clip(v / 12, 0, 1))[..., None]
    )
    haze = np.clip(np.minimum(t_wall, 400) / 260, 0, 0.6)[..., None]
    sky = _sky(dx, dy, dz, r)
    colour = colour * (1 - haze) + sky * haze
    low, low_kind = _ground(
        place,
        np.where(is_ground, t_ground, 1.0),
        es,
        en,
        ds,
        dn,
        wall_1,
        wall_2,
        camera.focal,
        free,
        across_free,
        r,
    )
    # Where a wall meets the ground it is darker.
    touch = np.where(is_ground & ~far_end, np.exp(-np.clip((t_wall - t_ground) * np.abs(dn), 0, 9) * 1.6), 0)
    low = low * (1 - 0.35 * touch)[..., None] * (0.86 + 0.2 * style.sun)
    hazy = np.clip(np.where(is_ground, t_ground, 0) / 300, 0, 0.5)[..., None]
    low = low * (1 - hazy) + sky * hazy
    picture = np.where(is_ground[..., None], low, np.where(is_wall[..., None], colour, sky))
    classes = np.where(is_ground, low_kind, np.where(is_wall, kind, CLASSES["sky"])).astype(np.uint8)
    near = np.where(is_ground, 1 / t_ground, np.where(is_wall, 1 / t_wall, 0.0))
    instances = np.full((h, w), -1, np.int16)

    props = _stand(place, along, across, wall_1, wall_2, camera, free, before, r)
    if props:
        z = ZBuffer(h, w)
        z.depth[:] = near
        whole = join(props)
        z.draw(camera.project(whole.vertices), whole.triangles)
        hit = z.owner >= 0
        if hit.any():
            t = z.owner[hit]
            weights = np.concatenate([z.bary[hit], 1 - z.bary[hit].sum(1, keepdims=True)], 1)
            normal = raster.normals(whole.vertices, whole.triangles)
            n = (weights[:, :, None] * normal[whole.triangles[t]]).sum(1)
            n *= np.where((n * rot[2]).sum(1) > 0.2, -1, 1)[:, None]
            n /= np.sqrt((n**2).sum(1, keepdims=True)) + 1e-9
            lit = (0.42 + 0.22 * n[:, 2]) + (0.25 + 0.75 * style.sun) * np.clip((n * sun).sum(1), 0, 1)
            c = whole.colours[t]
            kinds = whole.classes[t]
            leafy = kinds == CLASSES["vegetation"]
            if leafy.any():
                size = float(camera.focal * np.median(z.depth[hit][leafy])) * 0.09
                leaves = 0.3 * cells(r, h, w, max(2.2, size)) + 0.25 * cells(r, h, w, max(2.0, size / 2.4))
                c = np.where(leafy[:, None], c * (1 + leaves[hit]).clip(0.35, 2)[:, None], c)
            shiny = kinds == CLASSES["car"]
            up = np.clip(n[:, 2], 0, 1) ** 2
            c = c * lit[:, None] + (shiny * (0.05 + 0.16 * up))[:, None]
            away = np.clip(1 / z.depth[hit] / 300, 0, 0.5)[:, None]
            picture[hit] = c * (1 - away) + sky[hit] * away
            classes[hit], near = kinds, z.depth
            first = np.cumsum([0, *(len(p.triangles) for p in props)])
            which = np.searchsorted(first, t, side="right") - 1
            counted = np.array([p.counted for p in props])
            instances[hit] = np.where(counted[which], which, -1)
    return Backdrop(picture, classes, near, instances, np.isin(classes, _FLAT), props)


_FLAT = [CLASSES[n] for n in ("road", "sidewalk", "terrain")]


def _sky(dx: Any, dy: Any, dz: Any, r: np.random.Generator) -> Any:
    up = np.clip(dz / np.sqrt(dx**2 + dy**2 + 1e-9), 0, 1.2)
    h, w = up.shape
    clear = np.array([0.36, 0.55, 0.85]) * r.uniform(0.9, 1.1)
    pale = np.array([0.80, 0.87, 0.94])
    grey = r.random() < 0.35
    sky = pale + (clear - pale) * np.clip(1.6 * up, 0, 1)[..., None]
    cloud = 0.5 * cells(r, h, w, h / 2.2) + 0.35 * cells(r, h, w, h / 6) + 0.2 * cells(r, h, w, h / 14)
    cover = np.clip(cloud * 0.9 + (0.7 if grey else -0.1), 0, 1)[..., None]
    white = np.array([0.93, 0.94, 0.95]) * (0.85 if grey else 1.0)
    return sky + (white - sky) * cover * 0.85


def _table(r: np.random.Generator, low: Any, high: Any) -> Any:
    """(64,) a value for each house of a row."""
    return r.uniform(low, high, 64)


def _facade(
    place: str, u: Any, v: Any, pixel: Any, ahead: Any, r: np.random.Generator
) -> tuple[Any, Any, Any]:
    """((H, W, 3) colour, class ids, height in metres) of the facade points at (u along, v up); ``pixel``: metres a pixel."""
    h, w = u.shape
    wide = float(r.uniform(7, 13))
    house = np.floor(u / wide).astype(np.int64) % 64
    a = u - np.floor(u / wide) * wide
    rough = 1 + 0.035 * cells(r, h, w, h / 5) + 0.02 * cells(r, h, w, 4)

    def fine(period: float) -> Any:
        return np.clip(period / np.maximum(pixel, 1e-6) / 2.5 - 0.6, 0, 1)

    if place == "underpass":
        wall = np.array([0.45, 0.44, 0.42]) * r.uniform(0.7, 1.3) * r.uniform(0.94, 1.06, 3)
        seam = ((u % 2.4 < 0.03) | (v % 1.2 < 0.03)) * fine(0.05)
        tiled = r.random() < 0.5
        tile = (((u % 0.2 < 0.012) | (v % 0.2 < 0.012)) & (v < 1.8)) * fine(0.03) * tiled
        c = (
            wall
            * (rough * (1 - 0.3 * seam) * (1 - 0.25 * tile) * (1 - 0.3 * np.exp(-np.clip(v, 0, 9) * 2)))[
                ..., None
            ]
        )
        c = np.where(((v < 1.8) & tiled)[..., None], c * np.array(r.uniform(0.7, 1.35, 3)), c)
        if r.random() < 0.5:
            paint = r.uniform(0.1, 0.7, 3)
            tag = (cells(r, h, w, w / 3.5) > 0.9) & (v < 2.2)
            c = np.where(tag[..., None], 0.4 * c + 0.6 * paint, c)
        return c, CLASSES["wall"], np.full((h, w), 60.0)
    hedge = r.random() < {"park": 0.9, "carpark": 0.4, "plaza": 0.2}.get(place, 0.05)
    if hedge:
        green = np.array([0.14, 0.24, 0.08]) * r.uniform(0.7, 1.35) * np.array([r.uniform(0.85, 1.4), 1, 1])
        size = 0.25 / float(np.median(pixel[np.isfinite(pixel)]) + 1e-6)
        leaves = (
            0.32 * cells(r, h, w, max(4, size * 3))
            + 0.3 * cells(r, h, w, max(2.5, size))
            + 0.2 * cells(r, h, w, max(2, size / 3))
        )
        tall = (
            float(r.uniform(1.0, 8))
            + 0.45 * np.sin(u * 1.1)
            + 0.3 * np.sin(u * 2.9 + 1)
            + 0.12 * np.sin(u * 9.7)
        )
        shade = 0.55 + 0.5 * np.clip(v / np.maximum(tall, 0.5), 0, 1)
        return green * ((1 + leaves).clip(0.3, 1.9) * shade)[..., None], CLASSES["vegetation"], tall
    base = _WALLS[r.integers(len(_WALLS), size=64)] * r.uniform(0.75, 1.15, (64, 1))
    storeys = r.integers(2, 6, 64)
    storey = 3.1
    tall = (storeys[house] * storey + 0.9).astype(np.float64)
    wall = base[house] * rough[..., None]
    brick = (r.random(64) < 0.4)[house]
    row = np.floor(v / 0.08)
    b = (u / 0.25 + 0.5 * (row % 2)) % 1
    mortar = (((v / 0.08) % 1 < 0.14) | (b < 0.05)) * fine(0.05)
    tone = np.sin(7.3 * row + 3.1 * np.floor(u / 0.25 + 0.5 * (row % 2))) * fine(0.1)
    wall = np.where(brick[..., None], wall * (1 + 0.06 * tone - 0.14 * mortar)[..., None], wall)
    wall = wall * (1 - 0.22 * np.exp(-np.clip(v, 0, 9) * 2.5))[..., None]
    wall = np.where((v < 0.45)[..., None], wall * 0.72, wall)
    bay = wide / np.round(wide / _table(r, 1.7, 2.8))[house]
    p, q = (a / bay) % 1, (v % storey) / storey
    shop = (r.random(64) < {"shops": 1.0, "street": 0.4, "plaza": 0.4}.get(place, 0.1))[house] & (v < storey)
    left, right = _table(r, 0.2, 0.3)[house], _table(r, 0.7, 0.8)[house]
    sill, head = _table(r, 0.28, 0.36)[house], _table(r, 0.76, 0.84)[house]
    number = house * 997 + np.floor(a / bay).astype(np.int64) * 31 + np.floor(v / storey).astype(np.int64) * 7
    blind = ((number * 2654435761) % 1000 / 1000.0) < 0.3
    glass = (p > left) & (p < right) & (q > sill) & (q < head)
    rim = (p > left - 0.04) & (p < right + 0.04) & (q > sill - 0.025) & (q < head + 0.025) & ~glass
    cross = glass & (
        (np.abs(p - (left + right) / 2) < 0.018) | (np.abs(q - (sill + 0.7 * (head - sill))) < 0.01)
    )
    ledge = (np.abs(q - sill + 0.04) < 0.018) & (p > left - 0.07) & (p < right + 0.07)
    pane = np.array([0.12, 0.15, 0.19]) * (0.6 + 0.9 * q + 0.35 * cells(r, h, w, h / 6))[..., None].clip(
        0.2, 3
    )
    pane = np.where(blind[..., None] & (q > sill + 0.35 * (head - sill))[..., None], [0.55, 0.52, 0.46], pane)
    trim = np.array([0.2, 0.72, 0.55, 0.66])[r.integers(4, size=64)][house][..., None]
    upper = v < tall - 0.9
    c = np.where((ledge & upper)[..., None], wall * 1.12 + 0.05, wall)
    c = np.where((rim & upper)[..., None], trim, c)
    c = np.where((glass & upper)[..., None], np.where(cross[..., None], trim, pane), c)
    # Ground floors with shops: glass with things behind it, a board above, sometimes an awning.
    board = base[(house + 17) % 64] * np.array([0.7, 0.6, 0.9])
    inside = (v > 0.45) & (v < 2.35) & (np.abs((a / bay) % 1 - 0.5) < 0.46)
    goods = cells(r, h, w, max(5, h / 20))[..., None] + 0.1 * np.stack(
        [cells(r, h, w, max(5, h / 14)) for _ in range(3)], -1
    )
    lit = np.array([0.22, 0.2, 0.17]) * (1 + 0.7 * goods + 0.5 * cells(r, h, w, h / 5)[..., None]).clip(
        0.15, 2.6
    )
    lit = lit + 0.12 * np.clip(np.sin(a * 2 + v), 0, 1)[..., None]
    front = np.where(inside[..., None], lit, wall * 0.5)
    front = np.where(((v > 2.4) & (v < 2.95))[..., None], board, front)
    letters = (
        (np.abs(v - 2.68) < 0.13)
        & (np.sin(a * 19 + house) * np.sin(a * 7.3) > 0.1)
        & (np.abs(a - wide / 2) < wide * 0.28)
    )
    front = np.where(letters[..., None], 0.85, front)
    awning = (v > 2.0) & (v < 2.45) & ((house % 3) == 0)
    front = np.where(awning[..., None], np.where((np.sin(a * 9) > 0)[..., None], board * 1.2, 0.75), front)
    c = np.where(shop[..., None], front, c)
    door = (np.abs(a - wide * 0.5) < 0.5) & (v < 2.15)
    c = np.where(((np.abs(a - wide * 0.5) < 0.95) & (v < storey - 0.15) & ~shop)[..., None], wall, c)
    panel = (np.abs(a - wide * 0.5) < 0.36) & ((v % 0.95) > 0.14) & ((v % 0.95) < 0.85)
    dark = base[(house + 29) % 64] * 0.45
    c = np.where((door & ~shop)[..., None], np.where(panel[..., None], dark * 0.8, dark), c)
    cornice = (v > tall - 0.45) | (np.abs(v - storey) < 0.09)
    c = np.where((cornice & ~shop)[..., None], wall * 1.15 + 0.03, c)
    c = np.where((np.abs(v - tall + 0.5) < 0.06)[..., None], wall * 0.6, c)
    pipe = np.abs(a - 0.12) < 0.06
    c = np.where((pipe & (v > 0.1))[..., None], [0.25, 0.25, 0.25], c)
    return c, CLASSES["building"], tall


def _ground(
    place: str, t: Any, es: float, en: float, ds: Any, dn: Any, wall_1: float, wall_2: float, focal: float, free: Any, across_free: Any,
    r: np.random.Generator,
) -> tuple[Any, Any]:  # fmt: skip
    """((H, W, 3) colour, class ids) of ground points along rays of length t."""
    h, w = t.shape
    s, n = es + t * ds + float(r.uniform(-9, 9)), en + t * dn
    pixel = t / focal

    def fine(size: float) -> Any:
        return np.clip(size / np.maximum(pixel, 1e-6) / 2.5 - 0.4, 0, 1)

    grain = 1 + 0.05 * cells(r, h, w, h / 6) + 0.03 * cells(r, h, w, max(2, h / 60))
    stone = np.array(_GROUNDS[place]) * r.uniform(0.8, 1.2) * r.uniform(0.95, 1.05, 3)
    tar = np.array([0.20, 0.20, 0.21]) * r.uniform(0.75, 1.35)
    size = float(r.choice([0.3, 0.45, 0.6]))
    row = np.floor(n / size)
    joint = (((n / size) % 1 < 0.05) | ((s / size + 0.5 * (row % 2)) % 1 < 0.05)) * fine(0.05)
    tone = np.sin(12.9898 * np.floor(s / size + 0.5 * (row % 2)) + 78.233 * row) * fine(size / 3)
    slabs = stone * (grain * (1 + 0.045 * tone - 0.2 * joint))[..., None]
    asphalt = tar * (grain + 0.06 * cells(r, h, w, 2.2) * fine(0.05))[..., None]
    walk = np.full((h, w), CLASSES["sidewalk"], np.uint8)
    if place in ("plaza", "shops", "underpass"):
        return slabs, walk
    if place == "park":
        grass = np.array([0.17, 0.27, 0.08]) * r.uniform(0.8, 1.3) * np.array([r.uniform(0.9, 1.3), 1, 1])
        blades = (
            0.16 * cells(r, h, w, max(2.2, h / 70))
            + 0.12 * cells(r, h, w, h / 12)
            + 0.1 * cells(r, h, w, 2.0) * fine(0.03)
        )
        side, middle = float(r.uniform(1.0, 2.5)), float(r.uniform(-1, 1))
        path = np.abs(n - middle + 0.25 * np.sin(0.7 * s)) < side
        soft = np.array(_GROUNDS["park"]) * r.uniform(0.8, 1.15)
        gravel = soft * (grain + 0.07 * cells(r, h, w, 2.2))[..., None]
        c = np.where(path[..., None], gravel, grass * (1 + blades).clip(0.5, 1.7)[..., None])
        return c, np.where(path, CLASSES["sidewalk"], CLASSES["terrain"]).astype(np.uint8)
    if place == "carpark":
        line = ((s % 2.6 < 0.1) & (np.abs(n - wall_1 + 2.6) < 2.4)) | (np.abs(n - wall_1 + 5.1) < 0.05)
        return np.where((line * (fine(0.05) > 0.05))[..., None].astype(bool), 0.62, asphalt * 1.25), np.full(
            (h, w), CLASSES["road"], np.uint8
        )
    # A street: pavement along both rows of houses, people on whichever they are on.
    near_side, far_side = float(r.uniform(1.5, 3.5)), float(r.uniform(1.5, 3.5))
    if r.random() < 0.6:
        far_side = max(far_side, wall_1 - float(np.median(across_free)) + 1.0)
    edge_1, edge_2 = wall_1 - far_side, wall_2 + near_side
    road = (n < edge_1) & (n > edge_2)
    kerb = (np.abs(n - edge_1) < 0.09) | (np.abs(n - edge_2) < 0.09)
    middle = (edge_1 + edge_2) / 2
    dashes = (np.abs(n - middle) < 0.07) & (s % 5 < 2.6)
    gutter = (np.abs(n - edge_1 + 0.3) < 0.2) | (np.abs(n - edge_2 - 0.3) < 0.2)
    c = np.where(road[..., None], np.where(gutter[..., None], asphalt * 0.85, asphalt), slabs)
    c = np.where((road & dashes & (edge_1 - edge_2 > 5))[..., None], 0.68, c)
    crossing = road & (np.abs(s - float(r.uniform(-25, 25))) < 1.6) & (n % 1.0 < 0.5)
    c = np.where(crossing[..., None], 0.7, c)
    c = np.where(kerb[..., None], [0.55, 0.54, 0.52], c)
    return c, np.where(road, CLASSES["road"], CLASSES["sidewalk"]).astype(np.uint8)


def _stand(
    place: str, along: Any, across: Any, wall_1: float, wall_2: float, camera: Any, free: Any, before: bool, r: np.random.Generator
) -> list[Prop]:  # fmt: skip
    """The things of a spot that can be in the picture."""
    found: list[Prop] = []
    forward, eye = camera.rotation[2], camera.position
    depths = (
        (np.column_stack([free, np.full(len(free), 0.9)]) - eye) @ forward if len(free) else np.array([3.0])
    )
    first = float(depths.min()) - 0.2

    def put(prop: Prop, s: float, n: float, yaw: float, room: float, anyhow: bool = False) -> None:
        x, y = s * along[0] + n * across[0], s * along[1] + n * across[1]
        depth = float((np.array([x, y, 0.9]) - eye) @ forward)
        if len(free) and float(((free - [x, y]) ** 2).sum(1).min()) < room**2:
            return
        if not anyhow and depth < max(first + room, 2.0):
            return
        found.append(prop.at(x, y, yaw + math.atan2(along[1], along[0])))

    span = 6 + 2.2 * wall_1
    if place in ("street", "carpark"):
        lane = wall_1 - (2.6 if place == "carpark" else float(r.uniform(2.8, 4.2)))
        pitch = 2.6 if place == "carpark" else 5.4
        start = float(r.uniform(0, pitch))
        share = float(r.uniform(0.2, 0.8))
        for k in range(-6, 7):
            if r.random() < share and abs(k * pitch) < span:
                turned = (math.pi / 2 if place == "carpark" else 0.0) + (math.pi if r.random() < 0.5 else 0)
                put(car(r), start + k * pitch, lane, turned, 2.5)
    trees = {"park": 6, "street": 2, "plaza": 2, "carpark": 2}.get(place, 0)
    for _ in range(int(r.integers(0, trees + 1))):
        put(
            tree(r),
            float(r.uniform(-span, span)),
            wall_1 - float(r.uniform(0.6, 3.5)),
            float(r.uniform(0, 6)),
            1.0,
        )
    for _ in range(int(r.integers(1, 5))):
        kind = str(r.choice(_FURNITURE[place]))
        prop = bush(r) if kind == "bush" else furniture(r, kind)
        put(prop, float(r.uniform(-0.7 * span, 0.7 * span)), wall_1 - float(r.uniform(0.5, 3.0)), 0.0, 0.7)
    if before and len(free):
        kind = str(
            r.choice(
                ["bollard", "bin", "planter", "sign", "fence", "bush", "lamp", "car"],
                p=[0.1, 0.15, 0.18, 0.1, 0.12, 0.15, 0.1, 0.1],
            )
        )
        prop = car(r) if kind == "car" else bush(r) if kind == "bush" else furniture(r, kind)
        away = {"car": 2.0, "planter": 1.0, "fence": 0.8}.get(kind, 0.7) + float(r.uniform(0, 0.5))
        aside = {"lamp": 0.15, "sign": 0.2, "bollard": 0.2, "bin": 0.25}.get(kind, 0.5) * float(
            r.uniform(-1, 1)
        )
        x, y = free[0]
        found.append(
            prop.at(
                float(x) + aside,
                float(y) - away,
                float(r.normal(0, 0.1)) + (math.pi if r.random() < 0.5 else 0),
            )
        )
    return found
