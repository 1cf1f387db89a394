"""Where they walk: cameras, light, backgrounds, things in the way; from actors to a picture with its ground truth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dp2bench.core.types import Image
from dp2bench.datasets.passersby.rendering.body import SKIN_VERTICES, Floats, kit
from dp2bench.datasets.passersby.rendering.people import Actor, paint
from dp2bench.datasets.passersby.rendering.places import CLASSES, Backdrop, background
from dp2bench.datasets.passersby.rendering.raster import ZBuffer

SS = 2
"""Samples a pixel's side is drawn with."""


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
class Style:
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
    Style(
        "street", (2.0, 2.8), 0.2, (0.5, -0.8, 0.9), 0.65, (1.05, 1.0, 0.93), 1.15, 1.04, 0.3, 0.006, (82, 95)
    ),
    Style(
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
    Style(
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
    Style(
        "park", (1.6, 2.2), -0.9, (-0.7, -0.8, 0.6), 0.68, (1.0, 1.02, 0.97), 1.2, 1.04, 0.3, 0.006, (82, 95)
    ),
    Style(
        "carpark", (3.2, 4.2), -2.2, (0.9, 0.1, 0.7), 0.5, (0.96, 1.0, 1.03), 1.12, 0.98, 0.4, 0.008, (76, 88)
    ),
    Style(
        "shops", (2.0, 2.6), 0.9, (0.3, -0.9, 0.7), 0.45, (1.03, 0.98, 1.01), 1.1, 1.06, 0.32, 0.007, (78, 92)
    ),
)


@dataclass(frozen=True)
class Seen:
    """What is seen of one actor.

    Attributes:
        actor: its place in the list that was rendered.
        box: (4,) int32 xyxy of the visible pixels.
        surface: (h, w) int16 within the box: vertex id, -2 on what is carried, -1 elsewhere.
        keypoints: (17, 3) float32 x, y, visibility (0 outside, 1 hidden, 2 visible).
        face: (4,) float32 xyxy, NaN unless the face is seen.

    """

    actor: int
    box: NDArray[np.int32]
    surface: NDArray[np.int16]
    keypoints: NDArray[np.float32]
    face: NDArray[np.float32]


@dataclass(frozen=True)
class View:
    """A picture with everything that is known of it.

    Attributes:
        picture: (H, W, 3) uint8.
        seen: who is seen, in the order of the actors.
        classes: (H, W) uint8 label ids of Cityscapes, see `places.CLASSES`.
        instances: (H, W) int16, the actor's place in the list on people, 1000 and more on cars, -1 elsewhere.

    """

    picture: Image
    seen: list[Seen]
    classes: NDArray[np.uint8]
    instances: NDArray[np.int16]


class Shadows:
    """Where the sun does not reach: depth as seen from the sun, of actors and of things that stand about."""

    def __init__(self, meshes: Sequence[tuple[Floats, NDArray[np.int32]]], about: Floats, light: Any) -> None:
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
    actor: Actor,
    corners: Any,
    weights: Any,
    camera: Camera,
    light: Any,
    sun: float,
    bounce: Any,
    shadows: Shadows | None = None,
) -> tuple[Any, Any]:
    """Light on N surface points of somebody, given by the (N, 3) vertices around them and their (N, 3) weights.

    ``light`` (3,) points to the sun, ``sun`` 0..1 is its share, ``bounce`` (3,) comes from the ground; ``shadows``
    fall on them where they are given.
    Returns (N, 3) colour and (N,) vertex ids as `paint` gives them.
    """
    colour, wrinkles, ids = paint(actor.dressed, corners, weights)
    n = np.einsum("nk,nkd->nd", weights, actor.normals[corners])
    forward = camera.rotation[2]
    away = _dot(n, forward)
    n[away > 0.35] *= -1
    smooth = n
    n = n + 0.16 * wrinkles[:, None] * [0.5, 0.5, 1]
    n /= (np.sqrt(_dot(n, n.T)) + 1e-9)[:, None]
    towards = _dot(n, light)
    sunny = np.clip(towards, 0, 1)
    if shadows is not None:
        sunny = sunny * shadows.reach(np.einsum("nk,nkd->nd", weights, actor.points[corners]), smooth)
    dome = 0.5 + 0.5 * n[:, 2]
    lit = (0.62 - 0.3 * sun) * (0.5 + 0.6 * dome) + (0.25 + 0.75 * sun) * sunny
    rim = 0.05 * np.clip(1 + _dot(n, forward), 0, 1) ** 3
    return colour * (lit[:, None] + bounce * (1 - dome)[:, None]) + rim[:, None], ids


def render(
    actors: Sequence[Actor], camera: Camera, style: Style, r: np.random.Generator, *, thing: bool = False
) -> tuple[Image, list[Seen]]:
    """Draw actors before a background; (H, W, 3) uint8 and who is seen, in the order of the actors."""
    view = take(actors, camera, style, r, thing=thing)
    return view.picture, view.seen


def take(
    actors: Sequence[Actor],
    camera: Camera,
    style: Style,
    r: np.random.Generator,
    *,
    thing: bool = False,
    angle: float | None = None,
    vacant: bool = False,
    soft: float = 0.0,
) -> View:
    """Draw actors in a place.

    Args:
        actors: who is there.
        camera: who looks.
        style: the place, its light and the camera's faults.
        r: everything random.
        thing: whether something stands between the camera and the first actor.
        angle: radians between the picture's plane and the street; pi / 2 looks along it.
        vacant: the same place without the actors.
        soft: pixels by which what lies behind is out of focus, beyond a little that always is.

    """
    big = camera.scaled(SS)
    w, h = big.size
    light, sun = _sun(style, r)
    spots = np.array([a.keypoints[11:13, :2].mean(0) for a in actors]).reshape(-1, 2)
    # What lies behind is a little out of focus: one sample a pixel does.
    scene = _enlarged(
        background(camera, style, r, light=light, keep_free=spots, angle=angle, before=thing), w, h
    )
    if vacant:
        actors = []
    z = ZBuffer(h, w)
    cast = ZBuffer(h, w)
    meshes = [(a.points, a.dressed.triangles) for a in actors]
    bases = np.cumsum([0, *(len(t) for _, t in meshes)])
    for (points, triangles), base in zip(meshes, bases, strict=False):
        z.draw(big.project(points), triangles, int(base))
    stand = [(p.vertices, p.triangles) for p in scene.things]
    for points, triangles in [*meshes, *stand]:
        # A little above the ground, so that nothing is left where feet or wheels dip into it.
        fallen = points - light * (np.maximum(points[:, 2:], 0) / light[2])
        cast.draw(big.project(fallen), triangles)

    im = scene.picture * (0.86 + 0.35 * sun)
    shaded = cv2.GaussianBlur((cast.depth > 0).astype(np.float32), (0, 0), max(0.8, h / 220))
    im = im * (1 - scene.ground * shaded * (0.12 + 0.8 * sun))[..., None]
    for a in actors:
        _contact(im, a, big, scene.ground)
    out_of_focus = min(max(h / 260, 0.5), 1.6) + SS * soft
    im = cv2.GaussianBlur(0.12 * _grey(im) + 0.88 * im, (0, 0), out_of_focus)

    # What stands in front of somebody hides them.
    hides = scene.near > z.depth
    person = (z.owner >= 0) & ~hides
    instance = np.full((h, w), -1, np.int16)
    surface = np.full((h, w), -1, np.int16)
    bounce = 0.2 * im[-h // 6 :].mean((0, 1))
    if actors:
        about = np.concatenate([a.points for a in actors])
        shadows = Shadows([*meshes, *stand], about, light)
        crease = _creases(z, person, big.focal)
        for i, a in enumerate(actors):
            mine = person & (z.owner >= bases[i]) & (z.owner < bases[i + 1])
            if not mine.any():
                continue
            corners = a.dressed.triangles[z.owner[mine] - bases[i]]
            weights = np.concatenate([z.bary[mine], 1 - z.bary[mine].sum(1, keepdims=True)], 1)
            colour, ids = illuminate(a, corners, weights, camera, light, sun, bounce, shadows)
            im[mine] = colour * crease[mine][:, None]
            instance[mine], surface[mine] = i, ids

    picture = _develop(im, style, r)
    middle = slice(SS // 2, None, SS)
    small, small_surface = instance[middle, middle], surface[middle, middle]
    classes, things = scene.classes[middle, middle].copy(), scene.instances[middle, middle]
    classes[small >= 0] = CLASSES["person"]
    seen = []
    nothing = np.zeros((h, w), bool)
    z.depth[hides] = scene.near[hides]
    for i, a in enumerate(actors):
        mine = small == i
        if mine.sum() < 16:
            continue
        ys, xs = np.nonzero(mine)
        box = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], np.int32)
        cut = np.s_[box[1] : box[3], box[0] : box[2]]
        own = np.where(mine[cut], small_surface[cut], -1).astype(np.int16)
        seen.append(Seen(i, box, own, keypoints_seen(a, camera, z, nothing), face_seen(a, camera, own)))
    instances = np.where(small >= 0, small, np.where(things >= 0, 1000 + things, -1)).astype(np.int16)
    return View(picture, seen, classes, instances)


def _grey(im: Any) -> Any:
    """(H, W, 1) the mean of the colours."""
    return ((im[..., 0] + im[..., 1] + im[..., 2]) / 3)[..., None]


def _sun(style: Style, r: np.random.Generator) -> tuple[Floats, float]:
    """Where the sun stands and how strong it is, this time."""
    turn = float(r.uniform(-0.7, 0.7))
    lx, ly, lz = style.light
    c, s = math.cos(turn), math.sin(turn)
    light = np.array([c * lx - s * ly, s * lx + c * ly, lz * r.uniform(0.8, 1.25)])
    light /= np.sqrt((light**2).sum())
    return light, float(np.clip(style.sun * r.uniform(0.8, 1.15), 0, 0.75))


def _enlarged(scene: Backdrop, w: int, h: int) -> Backdrop:
    def sharp(values: Any) -> Any:
        return values.repeat(SS, 0).repeat(SS, 1)

    return Backdrop(
        cv2.resize(scene.picture, (w, h), interpolation=cv2.INTER_LINEAR),
        sharp(scene.classes),
        sharp(scene.near),
        sharp(scene.instances),
        sharp(scene.ground),
        scene.things,
    )


def _contact(im: Any, actor: Actor, camera: Camera, ground: Any) -> None:
    """Darken the ground under each shoe."""
    h, w = ground.shape
    feet = actor.points[:SKIN_VERTICES]
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


def _creases(z: ZBuffer, person: Any, focal: float) -> Any:
    """(H, W) how much of the sky's light reaches a pixel: less where something close by is in front (Luft et al., 2006)."""
    far = np.where(person, 1 / np.maximum(z.depth, 1e-6), 0).astype(np.float32)
    weight = person.astype(np.float32)
    out = np.ones(far.shape, np.float32)
    near = float(np.median(z.depth[person])) if person.any() else 0.1
    for metres, strength in ((0.035, 0.8), (0.1, 0.9)):
        sigma = max(0.8, metres * focal * near)
        around = cv2.GaussianBlur(far, (0, 0), sigma) / np.maximum(
            cv2.GaussianBlur(weight, (0, 0), sigma), 1e-3
        )
        out *= 1 - strength * np.clip((far - around - 0.004) / (3 * metres + 0.05), 0, 0.45)
    return out


def _develop(im: Any, style: Style, r: np.random.Generator) -> Image:
    """From light to bytes: lens, sensor, white balance; (H * SS, W * SS, 3) to (H, W, 3)."""
    h, w = im.shape[0] // SS, im.shape[1] // SS
    im = im.astype(np.float32)
    blur = style.blur * SS * float(r.uniform(0.5, 1.2))
    if r.random() < 0.06:
        blur *= 1.7
    im = cv2.GaussianBlur(im, (0, 0), max(blur, 0.2))
    if r.random() < 0.05:
        length = int(r.integers(3, 7))
        im = cv2.blur(im, (length, 1))
    samples = [im[row::SS, column::SS] for row in range(SS) for column in range(SS)]
    im = sum(samples[1:], samples[0]) / SS**2
    if r.random() < 0.06:
        k = float(r.uniform(0.5, 0.75))
        im = cv2.resize(
            cv2.resize(im, (int(w * k), int(h * k)), interpolation=cv2.INTER_AREA),
            (w, h),
            interpolation=cv2.INTER_LINEAR,
        )
    im = im * np.array(style.balance) * r.uniform(0.99, 1.01, 3) * style.gain * r.uniform(0.95, 1.05)
    grey = _grey(im)
    im = grey + (im - grey) * r.uniform(0.92, 1.06)
    im = 0.4 + (np.clip(im, 0, 2) - 0.4) * style.contrast * r.uniform(0.95, 1.05)
    im = np.clip(im, 0, 1) ** (1 / 1.12) + r.normal(0, style.noise * r.uniform(0.6, 1.4), im.shape)
    picture: Image = (np.clip(im, 0, 1) * 255 + 0.5).astype(np.uint8)
    return picture


def keypoints_seen(actor: Actor, camera: Camera, z: ZBuffer, hides: Any) -> NDArray[np.float32]:
    """(17, 3) x, y and visibility of somebody's keypoints; ``z`` and ``hides`` (H, W) have `SS` samples a pixel's side."""
    q = camera.project(actor.keypoints)
    h, w = hides.shape
    out = np.zeros((17, 3), np.float32)
    for k, (x, y, near) in enumerate(q):
        column, row = int(np.floor(x * SS)), int(np.floor(y * SS))
        if 0 <= column < w and 0 <= row < h:
            first = z.depth[row, column]
            # Keypoints lie inside the body, up to 14 cm behind the surface that shows them.
            visible = not hides[row, column] and (first == 0 or 1 / first > 1 / near - 0.14)
            out[k] = x, y, 2 if visible else 1
    return out


def face_seen(actor: Actor, camera: Camera, own: Any) -> NDArray[np.float32]:
    """(4,) xyxy of somebody's face, NaN unless much of it is in ``own``, the vertex ids that are seen."""
    face = kit().face
    xy = camera.project(actor.points[: len(face)][face])[:, :2]
    w, h = camera.size
    low, high = xy.min(0).clip(0, [w, h]), xy.max(0).clip(0, [w, h])
    area = float(np.prod(high - low))
    shown = int(face[own[own >= 0]].sum())
    if area <= 0 or shown < max(5.0, 0.3 * area):
        return np.full(4, np.nan, np.float32)
    return np.array([*low, *high], np.float32)
