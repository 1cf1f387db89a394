"""Places to walk in: ground, facades, sky, and things that stand about, with the Cityscapes class of every pixel.

A place is a street whose coordinates run along (``s``) and across (``n``) it; every pixel's ray is met with the ground, two
rows of facades and the sky in closed form, and things (cars, trees, posts, bins ...) are meshes drawn into the same depth.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dp2bench.datasets.passersby.rendering import raster
from dp2bench.datasets.passersby.rendering.camera import Camera, CameraStyle
from dp2bench.datasets.passersby.rendering.facades import facade
from dp2bench.datasets.passersby.rendering.grounds import ground
from dp2bench.datasets.passersby.rendering.noise import noise_image
from dp2bench.datasets.passersby.rendering.props import bush, car, furniture, tree
from dp2bench.datasets.passersby.rendering.raster import ZBuffer
from dp2bench.datasets.passersby.rendering.solids import CLASSES, Prop, join_props

_FURNITURE = {
    "street": ("lamp", "sign", "bin", "bollard", "bench"), "plaza": ("bench", "planter", "lamp", "bin", "bollard"),
    "underpass": ("bin", "bollard"), "park": ("bench", "bin", "lamp", "bush", "bush"),
    "carpark": ("lamp", "sign", "bollard", "fence", "bush"), "shops": ("planter", "bin", "sign", "bench", "lamp"),
}  # fmt: skip


class Backdrop(NamedTuple):
    """What lies around the people.

    Attributes:
        picture: (H, W, 3) float, lit colour without the shadows of people.
        classes: (H, W) uint8 label ids, see `solids.CLASSES`.
        near: (H, W) one over the distance along the camera's axis in metres, 0 for the sky.
        instances: (H, W) int16, a number for each car, -1 elsewhere.
        ground: (H, W) bool where shadows fall.
        props: the meshes that stand about.

    """

    picture: Any
    classes: NDArray[np.uint8]
    near: Any
    instances: NDArray[np.int16]
    ground: Any
    props: list[Prop]


_FLAT = [CLASSES[n] for n in ("road", "sidewalk", "terrain")]
"""Label ids of what shadows fall on."""


class _Spot(NamedTuple):
    """A street as a camera sees it.

    Attributes:
        along, across: unit vectors (x, y) of its coordinates ``s`` and ``n``.
        walls: n of the facades, the greater one first.
        eye: s and n of the camera.
        ds, dn, dz: (H, W) direction of each pixel's ray along and across the street and upwards; dx, dy: in the world.

    """

    along: tuple[float, float]
    across: tuple[float, float]
    walls: tuple[float, float]
    eye: tuple[float, float]
    dx: Any
    dy: Any
    dz: Any
    ds: Any
    dn: Any


def background(
    camera: Camera,
    style: CameraStyle,
    r: np.random.Generator,
    *,
    light: Any = (0.3, -0.6, 0.74),
    keep_free: Any = (),
    angle: float | None = None,
    before: bool = False,
) -> Backdrop:
    """Another spot of a place every time, as a camera sees it.

    Args:
        camera: who looks.
        style: a `scene.CameraStyle`; its place decides what is there.
        r: everything random.
        light: (3,) unit vector towards the sun.
        keep_free: (N, 2) spots in metres where nothing may stand.
        angle: radians by which the street's direction differs from the picture's plane; pi / 2 looks along it.
        before: put something between the camera and the first free spot.

    """
    free = np.asarray(keep_free, np.float64).reshape(-1, 2)
    angle = float(r.normal(0, 0.3)) if angle is None else angle
    across = -math.sin(angle), math.cos(angle)
    across_free = free[:, 0] * across[0] + free[:, 1] * across[1] if len(free) else np.zeros(1)
    spot = _spot(style.place, camera, angle, across_free, r)
    sun = np.asarray(light)
    picture, classes, near, sky = _draw_street(spot, camera, style, sun, across_free, r)
    instances = np.full(classes.shape, -1, np.int16)
    props = _place_props(style.place, spot, camera, free, before, r)
    if props:
        near = _draw_props(props, camera, style, sun, sky, picture, classes, near, instances, r)
    return Backdrop(picture, classes, near, instances, np.isin(classes, _FLAT), props)


def _spot(place: str, camera: Camera, angle: float, across_free: Any, r: np.random.Generator) -> _Spot:
    """A street of a kind, wide enough for what must stay free, ``across_free`` (N,) metres across it."""
    w, h = camera.size
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
    deep = {"underpass": (1.5, 4), "park": (5, 16), "carpark": (5, 14), "shops": (2.2, 7)}.get(place, (3, 12))
    wall_1 = max(float(r.uniform(*deep)), float(across_free.max()) + 1.5)
    wall_2 = min(-float(r.uniform(4, 12)), float(across_free.min()) - 1.5, en - 1.0)
    return _Spot(along, across, (wall_1, wall_2), (es, en), dx, dy, dz, ds, dn)


def _draw_street(
    spot: _Spot, camera: Camera, style: CameraStyle, sun: Any, across_free: Any, r: np.random.Generator
) -> tuple[Any, NDArray[np.uint8], Any, Any]:
    """Ground, facades and sky: (H, W, 3) colour, (H, W) label ids, one over the distance, and the sky alone."""
    dn, dz, across, eye = spot.dn, spot.dz, spot.across, camera.position
    wall_1, wall_2 = spot.walls
    t_ground = np.where(dz < -1e-4, -eye[2] / np.minimum(dz, -1e-4), np.inf)
    # Facades on both sides; which one a ray meets depends on its direction.
    ahead = dn > 0
    en = spot.eye[1]
    t_wall = np.where(ahead, (wall_1 - en) / np.maximum(dn, 1e-4), (wall_2 - en) / np.minimum(dn, -1e-4))
    t_wall = np.where(np.abs(dn) > 1e-4, t_wall, np.inf)
    v = eye[2] + t_wall * dz
    u = spot.eye[0] + t_wall * spot.ds + np.where(ahead, 0.0, 517.0) + float(r.uniform(-300, 300))
    colour, kind, tall = facade(style.place, u, v, t_wall / camera.focal, r)
    far_end = t_wall > 160
    is_wall = (v < tall) & ~far_end & (v > -1)
    is_ground = (t_ground < t_wall) & (t_ground < 400)
    towards = across[0] * sun[0] + across[1] * sun[1]
    facing = np.where(ahead, -towards, towards)
    colour = (
        colour * (0.62 + 0.45 * style.sun * np.clip(facing, 0, 1) + 0.12 * np.clip(v / 12, 0, 1))[..., None]
    )
    haze = np.clip(np.minimum(t_wall, 400) / 260, 0, 0.6)[..., None]
    sky = _sky(spot.dx, spot.dy, dz, r)
    colour = colour * (1 - haze) + sky * haze
    low, low_kind = _draw_ground(
        style.place, np.where(is_ground, t_ground, 1.0), spot, camera, across_free, r
    )
    # Where a wall meets the ground it is darker.
    touch = np.where(is_ground & ~far_end, np.exp(-np.clip((t_wall - t_ground) * np.abs(dn), 0, 9) * 1.6), 0)
    low = low * (1 - 0.35 * touch)[..., None] * (0.86 + 0.2 * style.sun)
    hazy = np.clip(np.where(is_ground, t_ground, 0) / 300, 0, 0.5)[..., None]
    low = low * (1 - hazy) + sky * hazy
    picture = np.where(is_ground[..., None], low, np.where(is_wall[..., None], colour, sky))
    classes = np.where(is_ground, low_kind, np.where(is_wall, kind, CLASSES["sky"])).astype(np.uint8)
    near = np.where(is_ground, 1 / t_ground, np.where(is_wall, 1 / t_wall, 0.0))
    return picture, classes, near, sky


def _draw_ground(
    place: str, t: Any, spot: _Spot, camera: Camera, across_free: Any, r: np.random.Generator
) -> tuple[Any, Any]:
    """Colour and label ids of the ground where rays of length ``t`` (H, W) meet it."""
    s, n = spot.eye[0] + t * spot.ds + float(r.uniform(-9, 9)), spot.eye[1] + t * spot.dn
    return ground(place, s, n, t / camera.focal, spot.walls, float(np.median(across_free)), r)


def _draw_props(
    props: list[Prop],
    camera: Camera,
    style: CameraStyle,
    sun: Any,
    sky: Any,
    picture: Any,
    classes: NDArray[np.uint8],
    near: Any,
    instances: NDArray[np.int16],
    r: np.random.Generator,
) -> Any:
    """Draw things into the arrays of a backdrop; returns (H, W) one over the distance with them."""
    h, w = classes.shape
    z = ZBuffer(h, w)
    z.depth[:] = near
    whole = join_props(props)
    z.draw(camera.project(whole.vertices), whole.triangles)
    hit = z.owner >= 0
    if not hit.any():
        return near
    t = z.owner[hit]
    weights = np.concatenate([z.bary[hit], 1 - z.bary[hit].sum(1, keepdims=True)], 1)
    normal = raster.normals(whole.vertices, whole.triangles)
    n = (weights[:, :, None] * normal[whole.triangles[t]]).sum(1)
    n *= np.where((n * camera.rotation[2]).sum(1) > 0.2, -1, 1)[:, None]
    n /= np.sqrt((n**2).sum(1, keepdims=True)) + 1e-9
    lit = (0.42 + 0.22 * n[:, 2]) + (0.25 + 0.75 * style.sun) * np.clip((n * sun).sum(1), 0, 1)
    c = whole.colours[t]
    kinds = whole.classes[t]
    leafy = kinds == CLASSES["vegetation"]
    if leafy.any():
        size = float(camera.focal * np.median(z.depth[hit][leafy])) * 0.09
        leaves = 0.3 * noise_image(r, h, w, max(2.2, size)) + 0.25 * noise_image(
            r, h, w, max(2.0, size / 2.4)
        )
        c = np.where(leafy[:, None], c * (1 + leaves[hit]).clip(0.35, 2)[:, None], c)
    shiny = kinds == CLASSES["car"]
    up = np.clip(n[:, 2], 0, 1) ** 2
    c = c * lit[:, None] + (shiny * (0.05 + 0.16 * up))[:, None]
    away = np.clip(1 / z.depth[hit] / 300, 0, 0.5)[:, None]
    picture[hit] = c * (1 - away) + sky[hit] * away
    classes[hit] = kinds
    first = np.cumsum([0, *(len(p.triangles) for p in props)])
    which = np.searchsorted(first, t, side="right") - 1
    counted = np.array([p.counted for p in props])
    instances[hit] = np.where(counted[which], which, -1)
    return z.depth


def _sky(dx: Any, dy: Any, dz: Any, r: np.random.Generator) -> Any:
    up = np.clip(dz / np.sqrt(dx**2 + dy**2 + 1e-9), 0, 1.2)
    h, w = up.shape
    clear = np.array([0.36, 0.55, 0.85]) * r.uniform(0.9, 1.1)
    pale = np.array([0.80, 0.87, 0.94])
    grey = r.random() < 0.35
    sky = pale + (clear - pale) * np.clip(1.6 * up, 0, 1)[..., None]
    cloud = (
        0.5 * noise_image(r, h, w, h / 2.2)
        + 0.35 * noise_image(r, h, w, h / 6)
        + 0.2 * noise_image(r, h, w, h / 14)
    )
    cover = np.clip(cloud * 0.9 + (0.7 if grey else -0.1), 0, 1)[..., None]
    white = np.array([0.93, 0.94, 0.95]) * (0.85 if grey else 1.0)
    return sky + (white - sky) * cover * 0.85


def _place_props(
    place: str, spot: _Spot, camera: Camera, free: Any, before: bool, r: np.random.Generator
) -> list[Prop]:
    """The things of a spot that can be in the picture."""
    placed: list[Prop] = []
    along, across, wall = spot.along, spot.across, spot.walls[0]
    forward, eye = camera.rotation[2], camera.position
    depths = (
        (np.column_stack([free, np.full(len(free), 0.9)]) - eye) @ forward if len(free) else np.array([3.0])
    )
    first = float(depths.min()) - 0.2

    def put(prop: Prop, s: float, n: float, yaw: float, room: float) -> None:
        x, y = s * along[0] + n * across[0], s * along[1] + n * across[1]
        depth = float((np.array([x, y, 0.9]) - eye) @ forward)
        if len(free) and float(((free - [x, y]) ** 2).sum(1).min()) < room**2:
            return
        if depth < max(first + room, 2.0):
            return
        placed.append(prop.at(x, y, yaw + math.atan2(along[1], along[0])))

    span = 6 + 2.2 * wall
    if place in ("street", "carpark"):
        lane = wall - (2.6 if place == "carpark" else float(r.uniform(2.8, 4.2)))
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
            wall - float(r.uniform(0.6, 3.5)),
            float(r.uniform(0, 6)),
            1.0,
        )
    for _ in range(int(r.integers(1, 5))):
        prop = _prop(str(r.choice(_FURNITURE[place])), r)
        put(prop, float(r.uniform(-0.7 * span, 0.7 * span)), wall - float(r.uniform(0.5, 3.0)), 0.0, 0.7)
    if before and len(free):
        placed.append(_obstacle(free[0], r))
    return placed


def _prop(kind: str, r: np.random.Generator) -> Prop:
    return car(r) if kind == "car" else bush(r) if kind == "bush" else furniture(r, kind)


def _obstacle(spot: Any, r: np.random.Generator) -> Prop:
    """Something between the camera and a spot (x, y)."""
    kind = str(
        r.choice(
            ["bollard", "bin", "planter", "sign", "fence", "bush", "lamp", "car"],
            p=[0.1, 0.15, 0.18, 0.1, 0.12, 0.15, 0.1, 0.1],
        )
    )
    prop = _prop(kind, r)
    away = {"car": 2.0, "planter": 1.0, "fence": 0.8}.get(kind, 0.7) + float(r.uniform(0, 0.5))
    aside = {"lamp": 0.15, "sign": 0.2, "bollard": 0.2, "bin": 0.25}.get(kind, 0.5) * float(r.uniform(-1, 1))
    x, y = spot
    return prop.at(
        float(x) + aside,
        float(y) - away,
        float(r.normal(0, 0.1)) + (math.pi if r.random() < 0.5 else 0),
    )
