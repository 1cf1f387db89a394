"""Where they walk: cameras, light, backgrounds, things in the way; from actors to a picture with its ground truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dp2bench.core.types import Image
from dp2bench.datasets.passersby.body import SKIN_VERTICES, Floats, kit
from dp2bench.datasets.passersby.people import Actor, paint
from dp2bench.datasets.passersby.raster import ZBuffer

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
        q, r = points - self.position, self.rotation
        # Written out: a matrix product may sum in another order on another machine.
        x, y, z = (q[:, 0] * r[k, 0] + q[:, 1] * r[k, 1] + q[:, 2] * r[k, 2] for k in range(3))
        return np.stack([self.focal * x / z + self.centre[0], self.focal * y / z + self.centre[1], 1 / z], 1)

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
        low, high = (f(self.project(points)[:, :2], axis=0) for f in (np.min, np.max))
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
        "street", (2.0, 2.8), 0.2, (0.5, -0.8, 0.9), 0.5, (1.03, 1.0, 0.95), 1.04, 1.0, 0.3, 0.006, (82, 95)
    ),
    Style(
        "plaza", (3.0, 3.8), 2.6, (-0.8, -0.2, 0.8), 0.4, (0.95, 0.99, 1.05), 0.96, 0.95, 0.4, 0.008, (76, 92)
    ),
    Style(
        "underpass",
        (2.4, 3.0),
        1.4,
        (0.2, -0.5, 1.2),
        0.3,
        (1.06, 1.0, 0.91),
        0.9,
        1.04,
        0.4,
        0.012,
        (74, 90),
    ),
    Style(
        "park", (1.6, 2.2), -0.9, (-0.7, -0.8, 0.6), 0.55, (1.0, 1.02, 0.97), 1.06, 1.04, 0.3, 0.006, (82, 95)
    ),
    Style(
        "carpark",
        (3.2, 4.2),
        -2.2,
        (0.9, 0.1, 0.7),
        0.45,
        (0.97, 1.0, 1.02),
        1.0,
        0.93,
        0.45,
        0.009,
        (74, 88),
    ),
    Style(
        "shops",
        (2.0, 2.6),
        0.9,
        (0.3, -0.9, 0.7),
        0.35,
        (1.02, 0.98, 1.01),
        0.95,
        1.06,
        0.35,
        0.008,
        (76, 92),
    ),
)


def _cells(r: np.random.Generator, h: int, w: int, size: float) -> Any:
    """(h, w) smooth noise about 0 with features of ``size`` pixels."""
    rows, columns = max(2, round(h / size) + 2), max(2, round(w / size) + 2)
    return cv2.resize(
        r.normal(size=(rows, columns)).astype(np.float32), (w, h), interpolation=cv2.INTER_CUBIC
    )


_GROUNDS = {
    "street": (0.44, 0.43, 0.42), "plaza": (0.60, 0.56, 0.51), "underpass": (0.40, 0.39, 0.37),
    "park": (0.52, 0.47, 0.38), "carpark": (0.30, 0.30, 0.31), "shops": (0.55, 0.53, 0.51),
}  # fmt: skip
_WALLS = (
    (0.62, 0.55, 0.46),
    (0.55, 0.30, 0.24),
    (0.72, 0.70, 0.66),
    (0.46, 0.47, 0.50),
    (0.66, 0.60, 0.42),
    (0.38, 0.42, 0.44),
)
_CARS = (
    (0.7, 0.7, 0.72),
    (0.1, 0.1, 0.11),
    (0.5, 0.08, 0.08),
    (0.12, 0.2, 0.4),
    (0.85, 0.85, 0.84),
    (0.3, 0.32, 0.3),
)


def background(camera: Camera, style: Style, r: np.random.Generator) -> Any:
    """((H, W, 3) reflectance, (H, W) bool where it is ground): another spot of the camera's place every time."""
    w, h = camera.size
    x, y = np.meshgrid(
        (np.arange(w) + 0.5 - camera.centre[0]) / camera.focal,
        (np.arange(h) + 0.5 - camera.centre[1]) / camera.focal,
    )
    rot = camera.rotation
    dx, dy, dz = (x * rot[0, k] + y * rot[1, k] + rot[2, k] for k in range(3))
    eye = camera.position
    reach = -eye[1] + float(r.uniform(1.5, 4 if style.place == "underpass" else 9))
    t = reach / np.maximum(dy, 1e-3)
    u, v = t * dx + float(r.uniform(-40, 40)), eye[2] + t * dz
    is_ground = v < 0
    s = np.where(dz < -1e-4, -eye[2] / np.minimum(dz, -1e-4), 0)
    angle = float(r.uniform(0, 1.6))
    gx, gy = s * dx + float(r.uniform(-9, 9)), s * dy + float(r.uniform(-9, 9))
    gx, gy = np.cos(angle) * gx - np.sin(angle) * gy, np.sin(angle) * gx + np.cos(angle) * gy

    ground = np.array(_GROUNDS[style.place]) * r.uniform(0.75, 1.2) * r.uniform(0.95, 1.05, 3)
    low = ground * (1 + 0.05 * _cells(r, h, w, h / 6) + 0.03 * _cells(r, h, w, h / 40))[..., None]
    kind = r.random()
    if style.place in ("plaza", "shops", "street", "underpass") and kind < 0.8:
        size = float(r.choice([0.3, 0.5, 0.8]))
        row = np.floor(gy / size)
        joint = ((gy / size) % 1 < 0.05) | ((gx / size + 0.5 * (row % 2)) % 1 < 0.05)
        tone = 1 + 0.05 * np.sin(12.9898 * np.floor(gx / size + 0.5 * (row % 2)) + 78.233 * row)
        low = low * np.where(joint, 0.84, tone)[..., None]
    elif style.place == "carpark" and kind < 0.7:
        low = np.where(((gx % 2.5) < 0.1)[..., None], 0.72, low)
    if style.place == "park" and kind < 0.75:
        grass = np.array([0.26, 0.38, 0.16]) * r.uniform(0.75, 1.2)
        edge = gx + 0.3 * np.sin(gy) > float(r.uniform(-2, 2))
        low = np.where(edge[..., None], grass * (1 + 0.14 * _cells(r, h, w, 3))[..., None], low)
    if style.place in ("street", "carpark") and r.random() < 0.4:
        kerb = float(r.uniform(1, 5))
        far = s * dy - (-eye[1])
        low = np.where((far > kerb)[..., None], low * 0.7, low)
        low = np.where((np.abs(far - kerb) < 0.08)[..., None], 0.6, low)

    tall = float(r.uniform(2.2, 14)) if style.place != "underpass" else 50.0
    wall = np.array(_WALLS[int(r.integers(len(_WALLS)))]) * r.uniform(0.7, 1.15)
    back = wall * (1 + 0.04 * _cells(r, h, w, h / 5) - 0.10 * np.exp(-np.maximum(v, 0) * 1.5))[..., None]
    leafy = r.random() < {"park": 0.85, "carpark": 0.35, "street": 0.2, "plaza": 0.25}.get(style.place, 0.0)
    if leafy:
        green = np.array([0.20, 0.32, 0.12]) * r.uniform(0.7, 1.3) * np.array([r.uniform(0.85, 1.4), 1, 1])
        leaves = 0.30 * _cells(r, h, w, h / 10) + 0.28 * _cells(r, h, w, h / 28) + 0.2 * _cells(r, h, w, 3.5)
        back = green * (1 + leaves).clip(0.35, 1.9)[..., None]
        tall = float(r.uniform(1.2, 7)) + 0.5 * _cells(r, h, w, w / 4)
        trunk = (np.abs((u % 3.7) - 1.2) < 0.16) & (v < 2.6)
        back = np.where(
            trunk[..., None], np.array([0.26, 0.2, 0.15]) * (1 + 0.15 * _cells(r, h, w, 4))[..., None], back
        )
    else:
        if r.random() < 0.45:
            course, brick = 0.11, 0.3
            row = np.floor(v / course)
            mortar = ((v / course) % 1 < 0.13) | ((u / brick + 0.5 * (row % 2)) % 1 < 0.06)
            back = (
                back
                * np.where(
                    mortar, 0.86, 1 + 0.05 * np.sin(7.3 * row + 3.1 * np.floor(u / brick + 0.5 * (row % 2)))
                )[..., None]
            )
        if r.random() < {"underpass": 0.25, "shops": 1.0}.get(style.place, 0.75):
            wide, storey = float(r.uniform(1.6, 3.4)), 2.9
            shop = style.place == "shops" or r.random() < 0.25
            a, b = (u / wide) % 1, (v % storey) / storey
            sill = np.where((v < storey) & shop, 0.12, 0.33)
            glass = (a > 0.2) & (a < 0.86) & (b > sill) & (b < 0.8)
            frame = (a > 0.16) & (a < 0.9) & (b > sill - 0.03) & (b < 0.84) & ~glass
            pane = (
                np.array([0.22, 0.27, 0.32])
                * r.uniform(0.6, 1.5)
                * (1 + 0.5 * (b - 0.5) + 0.2 * _cells(r, h, w, h / 7))[..., None]
            )
            if shop:
                pane = (
                    pane
                    + (v < storey)[..., None]
                    * np.array(r.uniform(0, 0.3, 3))
                    * (0.6 + 0.22 * _cells(r, h, w, h / 14) + 0.15 * _cells(r, h, w, h / 40))[..., None]
                )
            back = np.where(
                glass[..., None], pane, np.where(frame[..., None], float(r.choice([0.2, 0.75, 0.5])), back)
            )
        if r.random() < 0.3:
            door = (np.abs(u - np.median(u) - float(r.uniform(-1.5, 1.5))) < 0.5) & (v < 2.1)
            back = np.where(door[..., None], np.array(_WALLS[int(r.integers(6))]) * 0.6, back)
    sky = (
        np.array([0.60, 0.72, 0.88]) * r.uniform(0.9, 1.1)
        + (np.clip(0.35 * _cells(r, h, w, h / 3), 0, 0.3))[..., None]
    )
    far = np.where((v > tall)[..., None], sky, back)
    im = np.where(is_ground[..., None], low, far)
    if style.place in ("carpark", "street") and r.random() < 0.55:
        # A parked car seen from the side, in front of the wall.
        away = float(r.uniform(1.2, 5))
        q = (-eye[1] + away) / np.maximum(dy, 1e-3)
        cu, cv = q * dx - float(r.uniform(-2.5, 2.5)), eye[2] + q * dz
        shell = (np.abs(cu) < 2.1) & (cv > 0.22) & (cv < 0.88 - 0.04 * cu**2)
        cabin = (cv >= 0.7) & (cv < 1.42) & (np.abs(cu + 0.2) < 1.35 - 0.75 * (cv - 0.7))
        wheels = (np.abs(cu) - 1.3) ** 2 + (cv - 0.31) ** 2 < 0.31**2
        paint_ = np.array(_CARS[int(r.integers(6))])
        im = np.where(((np.abs(cu) < 2.2) & (cv > -0.12) & (cv < 0.25))[..., None], im * 0.45, im)
        im = np.where(
            cabin[..., None], np.where(((cv > 0.86) & (cv < 1.34))[..., None], [0.12, 0.15, 0.18], paint_), im
        )
        im = np.where(shell[..., None], paint_ * (0.75 + 0.4 * cv)[..., None], im)
        im = np.where(wheels[..., None], 0.07, im)
        is_ground = is_ground & ~(shell | cabin | wheels)
    if r.random() < 0.3:
        # A lamp post or a tree behind.
        away = float(r.uniform(0.8, 4))
        q = (-eye[1] + away) / np.maximum(dy, 1e-3)
        pu, pv = q * dx - float(r.uniform(-1.2, 1.2)), eye[2] + q * dz
        post = (np.abs(pu) < float(r.choice([0.05, 0.08, 0.16]))) & (pv > 0)
        im = np.where(
            post[..., None], np.array([0.3, 0.29, 0.28]) * (1 + 2 * pu)[..., None] * r.uniform(0.5, 1.5), im
        )
    return im, is_ground


def _thing_in_front(h: int, w: int, r: np.random.Generator) -> Any:
    """((h, w, 3) colour, (h, w) bool): a post, a bin, a hedge, a rail or a car's roof before the people."""
    x, y = np.meshgrid((np.arange(w) + 0.5) / w, (np.arange(h) + 0.5) / h)
    kind = int(r.integers(5))
    c = r.uniform(0.12, 0.6) * r.uniform(0.85, 1.15, 3)
    im = np.ones((h, w, 3)) * c
    if kind == 0:
        at, half = float(r.uniform(0.15, 0.85)), float(r.uniform(0.04, 0.09))
        mask = np.abs(x - at) < half
        im = im * (1.1 - 0.6 * np.abs((x - at) / half + 0.3))[..., None]
    elif kind == 1:
        at, top = float(r.uniform(0.1, 0.9)), float(r.uniform(0.58, 0.75))
        mask = (np.abs(x - at) < 0.26) & (y > top)
        im = im * np.where(y < top + 0.03, 1.3, 1 - 0.5 * np.abs(x - at))[..., None]
    elif kind == 2:
        top = float(r.uniform(0.62, 0.82)) + 0.03 * _cells(r, h, w, w / 6)
        mask = y > top
        im = (
            np.array([0.18, 0.3, 0.11])
            * (1 + 0.35 * _cells(r, h, w, 7) + 0.3 * _cells(r, h, w, 3)).clip(0.3, 2)[..., None]
        )
    elif kind == 3:
        top = float(r.uniform(0.5, 0.68))
        mask = (
            (np.abs(y - top) < 0.012)
            | (np.abs(y - top - 0.17) < 0.012)
            | ((np.abs((x + r.uniform(0, 1)) % 0.5 - 0.25) < 0.03) & (y > top))
        )
    else:
        top = float(r.uniform(0.66, 0.84))
        mask = y > top + 0.25 * (x - r.uniform(0, 1)) ** 2
        im = np.array(_CARS[int(r.integers(6))]) * (0.8 + 0.5 * (1 - y))[..., None]
        im = np.where((y < top + 0.08)[..., None], im * 1.15, im)
    return im, mask


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


def illuminate(
    actor: Actor, corners: Any, weights: Any, camera: Camera, light: Any, sun: float, bounce: Any
) -> tuple[Any, Any]:
    """Light on N surface points of somebody, given by the (N, 3) vertices around them and their (N, 3) weights.

    ``light`` (3,) points to the sun, ``sun`` 0..1 is its share, ``bounce`` (3,) comes from the ground.
    Returns (N, 3) colour and (N,) vertex ids as `paint` gives them.
    """
    colour, wrinkles, ids = paint(actor.dressed, corners, weights)
    n = np.einsum("nk,nkd->nd", weights, actor.normals[corners])
    forward = camera.rotation[2]
    away = (n * forward).sum(1)
    n[away > 0.35] *= -1
    n = n + 0.16 * wrinkles[:, None] * [0.5, 0.5, 1]
    n /= np.sqrt((n**2).sum(1, keepdims=True)) + 1e-9
    sunny = np.clip((n * light).sum(1), 0, 1)
    dome = 0.5 + 0.5 * n[:, 2]
    lit = (0.62 - 0.3 * sun) * (0.5 + 0.6 * dome) + (0.25 + 0.75 * sun) * sunny
    rim = 0.05 * np.clip(1 + (n * forward).sum(1), 0, 1) ** 3
    return colour * (lit[:, None] + bounce * (1 - dome)[:, None]) + rim[:, None], ids


def render(
    actors: Sequence[Actor], camera: Camera, style: Style, r: np.random.Generator, *, thing: bool = False
) -> tuple[Image, list[Seen]]:
    """Draw actors before a background; (H, W, 3) uint8 and who is seen, in the order of the actors."""
    big = camera.scaled(SS)
    w, h = big.size
    turn = float(r.uniform(-0.7, 0.7))
    lx, ly, lz = style.light
    light = np.array(
        [
            np.cos(turn) * lx - np.sin(turn) * ly,
            np.sin(turn) * lx + np.cos(turn) * ly,
            lz * r.uniform(0.8, 1.25),
        ]
    )
    light /= np.sqrt((light**2).sum())
    sun = float(np.clip(style.sun * r.uniform(0.8, 1.15), 0, 0.75))
    z = ZBuffer(h, w)
    shade = ZBuffer(h, w)
    bases = []
    base = 0
    for a in actors:
        bases.append(base)
        z.draw(big.project(a.points), a.dressed.triangles, base)
        fallen = a.points - light * (a.points[:, 2:] / light[2])
        shade.draw(big.project(fallen), a.dressed.triangles)
        base += len(a.dressed.triangles)
    im, ground = background(big, style, r)
    # People are in focus, what lies behind is duller and softer.
    im = cv2.GaussianBlur(0.3 * im.mean(-1, keepdims=True) + 0.7 * im, (0, 0), h / 150)
    cast = cv2.GaussianBlur((shade.depth > 0).astype(np.float32), (0, 0), h / 110)
    im = im * (1 - ground * cast * (0.15 + 0.75 * sun))[..., None]
    rows, columns = np.mgrid[:h, :w]
    for a in actors:
        feet = a.points[:SKIN_VERTICES]
        x, y, near = big.project(np.array([[*feet[feet[:, 2] < 0.12][:, :2].mean(0), 0.0]]))[0]
        wide = 0.36 * big.focal * near
        blob = np.exp(-1.8 * (((columns - x) / wide) ** 2 + ((rows - y) / (0.35 * wide)) ** 2))
        im = im * (1 - 0.45 * ground * blob)[..., None]
    im = im * (0.78 + 0.3 * sun)

    instance = np.full((h, w), -1, np.int16)
    surface = np.full((h, w), -1, np.int16)
    bounce = 0.12 * im[-h // 6 :].mean((0, 1))
    for i, a in enumerate(actors):
        mine = (z.owner >= bases[i]) & (z.owner < bases[i] + len(a.dressed.triangles))
        if not mine.any():
            continue
        corners = a.dressed.triangles[z.owner[mine] - bases[i]]
        weights = np.concatenate([z.bary[mine], 1 - z.bary[mine].sum(1, keepdims=True)], 1)
        im[mine], ids = illuminate(a, corners, weights, camera, light, sun, bounce)
        instance[mine], surface[mine] = i, ids
    if thing:
        front, hides = _thing_in_front(h, w, r)
        im = np.where(hides[..., None], front * (0.7 + 0.3 * sun), im)
        instance[hides], surface[hides] = -1, -1
    else:
        hides = np.zeros((h, w), bool)

    picture = _develop(im, style, r)
    middle = slice(SS // 2, None, SS)
    small, small_surface = instance[middle, middle], surface[middle, middle]
    seen = []
    for i, a in enumerate(actors):
        mine = small == i
        if mine.sum() < 16:
            continue
        ys, xs = np.nonzero(mine)
        box = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], np.int32)
        cut = np.s_[box[1] : box[3], box[0] : box[2]]
        own = np.where(mine[cut], small_surface[cut], -1).astype(np.int16)
        seen.append(Seen(i, box, own, keypoints_seen(a, camera, z, hides), face_seen(a, camera, own)))
    return picture, seen


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
    im = im.reshape(h, SS, w, SS, 3).mean((1, 3))
    if r.random() < 0.06:
        k = float(r.uniform(0.5, 0.75))
        im = cv2.resize(
            cv2.resize(im, (int(w * k), int(h * k)), interpolation=cv2.INTER_AREA),
            (w, h),
            interpolation=cv2.INTER_LINEAR,
        )
    im = im * np.array(style.balance) * r.uniform(0.99, 1.01, 3) * style.gain * r.uniform(0.95, 1.05)
    grey = im.mean(-1, keepdims=True)
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
