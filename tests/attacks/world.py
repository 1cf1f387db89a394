"""A small world of drawn people for the attacks: each has clothes, a build and proportions; cameras differ in light."""

from __future__ import annotations

import cv2
import numpy as np

from dp2bench.core.attacks import Split, View

CAMERAS = 4


def thumbnails(network, pictures):
    """In place of a network: 8 x 16 thumbnails, which an LDA can learn people from as well; tests of the real ones are elsewhere.

    In place of the segmenter: what stands out of the picture's blurred border, in brightness alone.
    """
    if network == "outlines":
        return np.stack([_standing_out(p) for p in pictures])
    return np.stack([cv2.resize(p, (8, 16), interpolation=cv2.INTER_AREA).ravel() for p in pictures]).astype(
        np.float32
    )


def _standing_out(picture):
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    sides = np.concatenate([grey[:, :8], grey[:, -8:]], 1)
    stands_out = np.abs(grey - sides.mean(1, keepdims=True)) > 3 * sides.std(1, keepdims=True) + 6
    return cv2.resize(stands_out.astype(np.float32), (24, 48), interpolation=cv2.INTER_AREA).ravel()


def draw(person: int, camera: int, shot: int):
    """(picture, mask, keypoints) of 128 x 64."""
    who = np.random.default_rng(1000 + person)
    top, bottom, skin = (
        who.integers(0, 256, 3),
        who.integers(0, 256, 3),
        who.integers(60, 230) * np.array([1, 0.8, 0.7]),
    )
    width, legs, head, arms = (
        who.uniform(9, 19),
        who.uniform(0.42, 0.58),
        who.uniform(5, 9),
        who.uniform(2, 8),
    )
    r = np.random.default_rng([person, camera, shot])
    place = np.random.default_rng(camera)
    colours = place.integers(60, 200, (4, 2, 3)).astype(np.uint8)
    picture = cv2.resize(colours, (64, 128)).astype(np.float64) + r.normal(0, 6, (128, 64, 3))
    x, foot, size = 32 + r.normal(0, 1.5), 122 + r.normal(0, 1.5), 108 * r.normal(1, 0.01)
    hip, neck = foot - size * legs, foot - size + 2 * head
    mask = np.zeros((128, 64), np.uint8)
    stride = abs(r.normal(3, 1))

    def part(shape, colour):
        layer = np.zeros((128, 64), np.uint8)
        shape(layer)
        mask[layer > 0] = 1
        picture[layer > 0] = colour

    def leg(side):
        points = np.array([[x, hip], [x + side * (stride + width / 5), foot]]).round().astype(int)
        return lambda m: cv2.line(m, points[0], points[1], 1, int(max(width / 2.5, 2)))

    part(leg(-1), bottom)
    part(leg(1), bottom)
    box = np.array([x - width / 2, neck, x + width / 2, hip + 2]).round().astype(int)
    part(lambda m: cv2.rectangle(m, box[:2], box[2:], 1, -1), top)
    for side in (-1, 1):
        points = (
            np.array([[x + side * width / 2, neck + 3], [x + side * (width / 2 + arms), hip]])
            .round()
            .astype(int)
        )
        part(lambda m, p=points: cv2.line(m, p[0], p[1], 1, 4), top)
    part(lambda m: cv2.circle(m, np.array([x, neck - head]).round().astype(int), int(head), 1, -1), skin)
    light = np.array([1.1, 1.0, 0.9]) if camera % 2 else np.array([0.85, 0.95, 1.05])
    picture = (picture * light + r.normal(0, 3, picture.shape)).clip(0, 255).astype(np.uint8)
    knee = (hip + foot) / 2
    points = [(x, neck - head)] + [(x + d, neck - head - 1) for d in (1, -1, 2, -2)]
    points += [(x + s * width / 2, neck + 2) for s in (1, -1)] + [
        (x + s * (width / 2 + arms / 2), (neck + hip) / 2) for s in (1, -1)
    ]
    points += [(x + s * (width / 2 + arms), hip) for s in (1, -1)] + [
        (x + s * width / 4, hip) for s in (1, -1)
    ]
    points += [(x + s * (stride + width / 4) / 2, knee) for s in (1, -1)] + [
        (x + s * stride, foot) for s in (1, -1)
    ]
    keypoints = np.concatenate([np.array(points) + r.normal(0, 0.3, (17, 2)), np.full((17, 1), 2)], 1)
    look = {
        "female": bool(width < 14),
        "top_colour": top / 255,
        "bottom_colour": bottom / 255,
        "skin": skin / 255,
    }
    return picture, mask.astype(bool), keypoints.astype(np.float32), look


def clear_view(people, shots, extract=thumbnails) -> View:
    """A view of everybody before each camera."""
    rows = [(p, c, s) for p in people for c in range(CAMERAS) for s in shots]
    drawn = [draw(*row) for row in rows]
    return View(
        names=tuple(f"{p:04d}_c{c + 1}s1_{s:06d}_00.jpg" for p, c, s in rows),
        identities=np.array([p for p, _, _ in rows]),
        cameras=np.array([c + 1 for _, c, _ in rows]),
        pictures=np.stack([d[0] for d in drawn]),
        masks=np.stack([d[1] for d in drawn]),
        keypoints=np.stack([d[2] for d in drawn]),
        attributes={p: draw(p, 0, 0)[3] for p in people},
        extract=extract,
    )


def world(train=48, test=24) -> dict[str, Split]:
    """Train, query and gallery, with nothing anonymized."""
    views = {
        "train": clear_view(range(1, train + 1), (0, 1)),
        "query": clear_view(range(train + 1, train + test + 1), (7,)),
        "gallery": clear_view(range(train + 1, train + test + 1), (8,)),
    }
    return {name: Split(view, view) for name, view in views.items()}
