"""One scene before a fixed camera: from posed people to a picture with its ground truth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dp2bench.core.types import Image
from dp2bench.datasets.passersby.rendering.body import Floats
from dp2bench.datasets.passersby.rendering.camera import SS, Camera, CameraStyle
from dp2bench.datasets.passersby.rendering.lighting import (
    Mesh,
    Shadows,
    creases,
    darken_under_feet,
    illuminate,
)
from dp2bench.datasets.passersby.rendering.places import Backdrop, background
from dp2bench.datasets.passersby.rendering.posing import PosedPerson
from dp2bench.datasets.passersby.rendering.raster import ZBuffer
from dp2bench.datasets.passersby.rendering.solids import CLASSES
from dp2bench.datasets.passersby.rendering.visibility import VisiblePerson, visible_person


@dataclass(frozen=True)
class SceneView:
    """A picture with everything that is known of it.

    Attributes:
        picture: (H, W, 3) uint8.
        people: who is seen, in the order in which they were given.
        classes: (H, W) uint8 label ids of Cityscapes, see `solids.CLASSES`.
        instances: (H, W) int16, the person's place in the list on people, 1000 and more on cars, -1 elsewhere.

    """

    picture: Image
    people: list[VisiblePerson]
    classes: NDArray[np.uint8]
    instances: NDArray[np.int16]


def render_scene(
    people: Sequence[PosedPerson],
    camera: Camera,
    style: CameraStyle,
    r: np.random.Generator,
    *,
    thing: bool = False,
    angle: float | None = None,
    vacant: bool = False,
    soft: float = 0.0,
) -> SceneView:
    """Draw people in a place.

    Args:
        people: who is there.
        camera: who looks.
        style: the place, its light and the camera's faults.
        r: everything random.
        thing: whether something stands between the camera and the first person.
        angle: radians between the picture's plane and the street; pi / 2 looks along it.
        vacant: the same place without the people.
        soft: pixels by which what lies behind is out of focus, beyond a little that always is.

    """
    big = camera.scaled(SS)
    w, h = big.size
    light, sun = _sun(style, r)
    spots = np.array([a.keypoints[11:13, :2].mean(0) for a in people]).reshape(-1, 2)
    # What lies behind is a little out of focus: one sample a pixel does.
    scene = _enlarged(
        background(camera, style, r, light=light, keep_free=spots, angle=angle, before=thing), w, h
    )
    if vacant:
        people = []
    z = ZBuffer(h, w)
    firsts = np.cumsum([0, *(len(a.mesh.triangles) for a in people)])
    for a, first in zip(people, firsts, strict=False):
        z.draw(big.project(a.points), a.mesh.triangles, int(first))
    meshes = [
        *((a.points, a.mesh.triangles) for a in people),
        *((p.vertices, p.triangles) for p in scene.props),
    ]
    im = _shadowed(scene, meshes, people, big, light, sun, soft)
    # What stands in front of somebody hides them.
    hides = scene.near > z.depth
    instance = np.full((h, w), -1, np.int16)
    surface = np.full((h, w), -1, np.int16)
    if people:
        _draw_people(people, firsts, z, ~hides, meshes, camera, big.focal, light, sun, im, instance, surface)
    picture = _simulate_camera(im, style, r)
    z.depth[hides] = scene.near[hides]
    return _view(picture, people, scene, instance, surface, camera, z)


def _shadowed(
    scene: Backdrop,
    meshes: Sequence[Mesh],
    people: Sequence[PosedPerson],
    big: Camera,
    light: Any,
    sun: float,
    soft: float,
) -> Any:
    """(H, W, 3) the backdrop with the shadows that meshes throw on the ground, a little out of focus."""
    w, h = big.size
    cast = ZBuffer(h, w)
    for points, triangles in meshes:
        # A little above the ground, so that nothing is left where feet or wheels dip into it.
        fallen = points - light * (np.maximum(points[:, 2:], 0) / light[2])
        cast.draw(big.project(fallen), triangles)
    im = scene.picture * (0.86 + 0.35 * sun)
    shaded = cv2.GaussianBlur((cast.depth > 0).astype(np.float32), (0, 0), max(0.8, h / 220))
    im = im * (1 - scene.ground * shaded * (0.12 + 0.8 * sun))[..., None]
    for a in people:
        darken_under_feet(im, a, big, scene.ground)
    out_of_focus = min(max(h / 260, 0.5), 1.6) + SS * soft
    return cv2.GaussianBlur(0.12 * _grey(im) + 0.88 * im, (0, 0), out_of_focus)


def _draw_people(
    people: Sequence[PosedPerson],
    firsts: NDArray[np.int64],
    z: ZBuffer,
    unhidden: NDArray[np.bool_],
    meshes: Sequence[Mesh],
    camera: Camera,
    focal: float,
    light: Any,
    sun: float,
    im: Any,
    instance: NDArray[np.int16],
    surface: NDArray[np.int16],
) -> None:
    """Shade everybody's samples in ``im`` and note whose they are and which vertex they show; ``firsts``: triangles' first numbers."""
    shown = (z.owner >= 0) & unhidden
    bounce = 0.2 * im[-len(im) // 6 :].mean((0, 1))
    shadows = Shadows(meshes, np.concatenate([a.points for a in people]), light)
    crease = creases(z, shown, focal)
    for i, a in enumerate(people):
        mine = shown & (z.owner >= firsts[i]) & (z.owner < firsts[i + 1])
        if not mine.any():
            continue
        colour, ids = illuminate(
            a, z.owner[mine] - firsts[i], z.bary[mine], camera, light, sun, bounce, shadows
        )
        im[mine] = colour * crease[mine][:, None]
        instance[mine], surface[mine] = i, ids


def _view(
    picture: Image,
    people: Sequence[PosedPerson],
    scene: Backdrop,
    instance: NDArray[np.int16],
    surface: NDArray[np.int16],
    camera: Camera,
    z: ZBuffer,
) -> SceneView:
    """The ground truth of a picture, from one sample of each pixel."""
    middle = slice(SS // 2, None, SS)
    small, vertices = instance[middle, middle], surface[middle, middle]
    classes, things = scene.classes[middle, middle].copy(), scene.instances[middle, middle]
    classes[small >= 0] = CLASSES["person"]
    seen = (visible_person(i, a, small == i, vertices, camera, z) for i, a in enumerate(people))
    instances = np.where(small >= 0, small, np.where(things >= 0, 1000 + things, -1)).astype(np.int16)
    return SceneView(picture, [s for s in seen if s is not None], classes, instances)


def _grey(im: Any) -> Any:
    """(H, W, 1) the mean of the colours."""
    return ((im[..., 0] + im[..., 1] + im[..., 2]) / 3)[..., None]


def _sun(style: CameraStyle, r: np.random.Generator) -> tuple[Floats, float]:
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
        scene.props,
    )


def _simulate_camera(im: Any, style: CameraStyle, r: np.random.Generator) -> Image:
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
