"""What the compact networks learn from: squares with people and faces in them, and crops of people, out of scenes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from dp2bench.core.contracts import Dataset
from dp2bench.core.errors import DatasetError
from dp2bench.core.templates import Template
from dp2bench.core.types import People, Sample
from dp2bench.detection.compact.networks import (
    BODY_STRIDE,
    CROP,
    FACE,
    GREY,
    PERSON,
    STRIDE,
    TEMPLATE,
    crop_box,
    to_crop,
)
from dp2bench.detection.compact.recipe import DetectorConfig
from dp2bench.networks.frozen_backbone import warp_crop

_EXTENT = 0.54
"""Share of a box over which its centre's bell reaches, and within which its size is learned (TTFNet)."""
_SMALLEST = {PERSON: 8, FACE: 4}
"""Pixels of a box's height; who is lower is neither learned nor counted as background."""
_SMALLEST_AREA = 40
_VISIBLE = {PERSON: 0.1, FACE: 0.6}
"""Share that must be left after cutting."""
_NOBODY = 0.1
"""Share of crops that show nobody."""


@dataclass(frozen=True)
class Scene:
    """A picture and everybody in it.

    Attributes:
        picture: (H, W, 3) uint8.
        owner: (H, W) uint8, 1 + index of the person that a pixel shows, 0 nobody.
        vertices: (H, W) int16, -1 where no surface is known.
        faces: (N, 4) float32, NaN where none.

    """

    picture: NDArray[np.uint8]
    owner: NDArray[np.uint8]
    vertices: NDArray[np.int16]
    faces: NDArray[np.float32]


def read_scene(dataset: Dataset, sample: Sample) -> Scene:
    """A sample as a scene; a DatasetError where its people have no masks or surfaces of another template."""
    people = dataset.people(sample)
    if people is None or people.masks is None:
        raise DatasetError(
            f"The people of {dataset.meta.name} have no masks ({sample.id}).",
            "Take a dataset of scenes, e.g. passersby-coco or passersby-cityscapes.",
        )
    picture = dataset.read(sample)
    owner = np.zeros(picture.shape[:2], np.uint8)
    vertices = np.full(picture.shape[:2], -1, np.int16)
    for i in range(min(len(people), 255)):
        owner[people.masks[i]] = i + 1
        surface = people.surfaces[i]
        if surface is None:
            continue
        if surface.template != TEMPLATE:
            raise DatasetError(
                f"The surfaces of {dataset.meta.name} are {surface.template}; the embedded detector learns {TEMPLATE}.",
                "Take a dataset of rendered scenes, e.g. passersby-coco.",
            )
        x0, y0, x1, y1 = surface.box.tolist()
        known = surface.vertices >= 0
        vertices[y0:y1, x0:x1][known] = surface.vertices[known]
    return Scene(picture, owner, vertices, _faces(people))


def _faces(people: People) -> NDArray[np.float32]:
    return np.full((len(people), 4), np.nan, np.float32) if people.faces is None else people.faces


def mirror(scene: Scene, template: Template) -> Scene:
    """The scene flipped left to right; surfaces change sides."""
    width = scene.picture.shape[1]
    faces = scene.faces[:, [2, 1, 0, 3]] * [-1, 1, -1, 1] + [width, 0, width, 0]
    return Scene(
        np.ascontiguousarray(scene.picture[:, ::-1]),
        np.ascontiguousarray(scene.owner[:, ::-1]),
        template.mirror(scene.vertices.astype(np.int32)).astype(np.int16),
        faces.astype(np.float32),
    )


def recolour(picture: NDArray[np.uint8], r: np.random.Generator) -> NDArray[np.uint8]:
    """Another light, another camera: tones, colours, blur, noise, JPEG."""
    steps = np.arange(256) / 255
    curve = np.clip(
        (steps ** r.uniform(0.7, 1.4) - 0.5) * r.uniform(0.6, 1.3) + 0.5 + r.uniform(-0.15, 0.15), 0, 1
    )
    table = np.clip(curve[:, None] * r.uniform(0.85, 1.15, 3), 0, 1)
    out: Any = cv2.LUT(picture, (table * 255).round().astype(np.uint8)[None])
    if r.random() < 0.5:
        grey = cv2.cvtColor(out, cv2.COLOR_RGB2GRAY)[..., None].repeat(3, 2)
        colour = float(r.uniform(0, 1.5))
        out = cv2.addWeighted(out, colour, grey, 1 - colour, 0)
    if r.random() < 0.3:
        out = cv2.GaussianBlur(out, (0, 0), float(r.uniform(0.4, 1.6)))
    if r.random() < 0.3:
        noise = r.standard_normal((out.shape[0] // 2, out.shape[1] // 2, 3), np.float32) * r.uniform(2, 12)
        out = cv2.add(out, cv2.resize(noise, out.shape[1::-1]), dtype=cv2.CV_8U)
    if r.random() < 0.5:
        _, data = cv2.imencode(".jpg", out, [cv2.IMWRITE_JPEG_QUALITY, int(r.integers(30, 95))])
        out = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    return np.asarray(out, np.uint8)


Target = tuple[int, NDArray[np.float64], bool]
"""A class, its (4,) xyxy box in pixels, and whether it is to be learned."""


class SceneWindow(NamedTuple):
    """A square to find people in: pixels, and what is there.

    Attributes:
        pixels: (R, R, 3) uint8.
        heat: (2, h, w) float32, 1 at centres.
        boxes: (2, h, w, 4) float32 xyxy pixels, of whom the cell belongs to.
        weight: (2, h, w) float32 of the box, 0 where there is none.
        counts: (2, h, w) float32, 0 where nothing is said of the heat.

    """

    pixels: NDArray[np.uint8]
    heat: NDArray[np.float32]
    boxes: NDArray[np.float32]
    weight: NDArray[np.float32]
    counts: NDArray[np.float32]


def scene_window(scene: Scene, r: np.random.Generator, recipe: DetectorConfig) -> SceneWindow:
    """A random square of the scaled scene, mostly around somebody."""
    side = recipe.region
    height, width = scene.owner.shape
    zoom = float(np.exp(r.uniform(*np.log(recipe.zoom))))
    ys, xs = np.nonzero(scene.owner)
    if len(xs) and r.random() < 0.8:
        k = int(r.integers(len(xs)))
        centre = np.array([xs[k], ys[k]]) * zoom + r.uniform(-side / 3, side / 3, 2)
    else:
        centre = r.uniform(0, [width * zoom, height * zoom])
    # As little as possible of what is outside.
    extent = np.array([width, height]) * zoom
    low, high = np.minimum(side / 2, extent - side / 2), np.maximum(side / 2, extent - side / 2)
    shift = side / 2 - np.clip(centre, low, high)
    affine = np.array([[zoom, 0, shift[0]], [0, zoom, shift[1]]])
    pixels = warp_crop(scene.picture, affine, (side, side), GREY)
    owner = nearest(scene.owner, affine, (side, side), 0)
    entire = np.bincount(scene.owner.ravel(), minlength=256) * zoom * zoom
    targets: list[Target] = []
    for k in np.unique(owner[owner > 0]).tolist():
        mask = (owner == k).view(np.uint8)
        x, y, w, h = cv2.boundingRect(mask)
        area = int(cv2.countNonZero(mask))
        learned = h >= _SMALLEST[PERSON] and area >= max(_SMALLEST_AREA, _VISIBLE[PERSON] * entire[k])
        targets.append((PERSON, np.array([x, y, x + w, y + h], np.float64), learned))
    for face in scene.faces[np.isfinite(scene.faces).all(1)]:
        whole = face * zoom + np.tile(shift, 2)
        box = np.clip(whole, 0, side)
        (w, h), (w_all, h_all) = box[2:] - box[:2], whole[2:] - whole[:2]
        if min(w, h) > 0:
            learned = h >= _SMALLEST[FACE] and w * h >= _VISIBLE[FACE] * w_all * h_all
            targets.append((FACE, box.astype(np.float64), learned))
    return SceneWindow(pixels, *window_targets(targets, side))


def window_targets(
    targets: list[Target], side: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Heat, boxes, weight and counts (see `SceneWindow`) of the people and faces of a window, ``side`` pixels wide."""
    n = side // STRIDE
    heat, weight = np.zeros((2, n, n), np.float32), np.zeros((2, n, n), np.float32)
    counts, boxes = np.ones((2, n, n), np.float32), np.zeros((2, n, n, 4), np.float32)
    for kind, box, learned in targets:
        if not learned:
            x0, y0, x1, y1 = (np.clip([*np.floor(box[:2]), *np.ceil(box[2:])], 0, side) / STRIDE).astype(int)
            counts[kind, y0 : y1 + 1, x0 : x1 + 1] = 0
    # Those in front of larger ones have the last word on a cell.
    for kind, box, learned in sorted(targets, key=lambda f: -float((f[1][2:] - f[1][:2]).prod())):
        if not learned:
            continue
        size = (box[2:] - box[:2]) / STRIDE
        x, y = np.clip((box[:2] + box[2:]) / 2 // STRIDE, 0, n - 1).astype(int)
        across, down = (size / 2 * _EXTENT).astype(int)
        x0, y0, x1, y1 = max(0, x - across), max(0, y - down), min(n, x + across + 1), min(n, y + down + 1)
        dx, dy = (np.arange(x0, x1) - x) / (2 * across + 1) * 6, (np.arange(y0, y1) - y) / (2 * down + 1) * 6
        bell = np.exp(-(dx[None] ** 2 + dy[:, None] ** 2) / 2).astype(np.float32)
        heat[kind, y0:y1, x0:x1] = np.maximum(heat[kind, y0:y1, x0:x1], bell)
        boxes[kind, y0:y1, x0:x1] = box
        weight[kind, y0:y1, x0:x1] = bell / bell.sum() * np.log(1 + (box[2:] - box[:2]).prod())
        counts[kind, y0:y1, x0:x1] = 1
    return heat, boxes, weight, counts


class BodyCrop(NamedTuple):
    """What the `Body` network learns from: pixels, (h, w) uint8 mask from 0 to 255, (h, w) int16 vertices."""

    pixels: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    vertices: NDArray[np.int16]


def body_crops(scene: Scene, r: np.random.Generator, many: int) -> list[BodyCrop]:
    """At most ``many`` crops around people, boxes shaken as those of a network are, some around nobody."""
    areas = np.bincount(scene.owner.ravel(), minlength=256)[1:]
    visible = np.flatnonzero(areas >= _SMALLEST_AREA) + 1
    out = []
    for k in r.permutation(visible)[:many].tolist():
        box = np.array(cv2.boundingRect((scene.owner == k).view(np.uint8)), np.float64)
        box[2:] += box[:2]
        if r.random() < _NOBODY:
            size = box[2:] - box[:2]
            corner = r.uniform(-size / 4, np.array(scene.owner.shape[::-1]) - size * 0.75)
            box, k = np.concatenate((corner, corner + size)), 255  # noqa: PLW2901 - nobody has this number
            x0, y0, x1, y1 = np.clip(box, 0, None).astype(int)
            if (scene.owner[y0:y1, x0:x1] > 0).mean() > 0.1:
                continue
        box += r.normal(0, 0.06, 4) * np.tile(box[2:] - box[:2], 2)
        if (box[2:] - box[:2]).min() < 2:
            continue
        area = crop_box(box)
        pixels = warp_crop(scene.picture, to_crop(area), CROP[::-1])
        if r.random() < 0.3:
            worse = float(r.uniform(0.25, 0.8))
            small = cv2.resize(pixels, None, fx=worse, fy=worse, interpolation=cv2.INTER_AREA)
            pixels = np.asarray(cv2.resize(small, CROP[::-1], interpolation=cv2.INTER_LINEAR), np.uint8)
        half = (CROP[0] // BODY_STRIDE, CROP[1] // BODY_STRIDE)
        affine, shape = to_crop(area, half), half[::-1]
        mask = warp_crop((scene.owner == k).astype(np.uint8) * 255, affine, shape)
        own = nearest(scene.owner, affine, shape, 0) == k
        vertices = np.where(own, nearest(scene.vertices, affine, shape, -1), -1).astype(np.int16)
        out.append(BodyCrop(pixels, mask, vertices))
    return out


def nearest(values: Any, affine: NDArray[np.float64], size: tuple[int, int], border: int) -> Any:
    """As `warp_crop`, without mixing values."""
    centred = affine.copy()
    centred[:, 2] += affine[:, :2].sum(1) / 2 - 0.5
    return cv2.warpAffine(values, centred, size, flags=cv2.INTER_NEAREST, borderValue=border)
