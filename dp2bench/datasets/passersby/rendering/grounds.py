"""The ground of a place: slabs, asphalt, gravel and grass."""

from __future__ import annotations

from typing import Any

import numpy as np

from dp2bench.datasets.passersby.rendering.noise import noise_image
from dp2bench.datasets.passersby.rendering.solids import CLASSES

_GROUNDS = {
    "street": (0.42, 0.41, 0.40), "plaza": (0.52, 0.48, 0.43), "underpass": (0.38, 0.37, 0.35),
    "park": (0.50, 0.44, 0.35), "carpark": (0.26, 0.26, 0.27), "shops": (0.48, 0.46, 0.44),
}  # fmt: skip


def ground(
    place: str, s: Any, n: Any, pixel: Any, walls: tuple[float, float], free: float, r: np.random.Generator
) -> tuple[Any, Any]:
    """((H, W, 3) colour, (H, W) class ids) of the ground.

    Args:
        place: the kind of place.
        s: (H, W) metres along it.
        n: (H, W) metres across it.
        pixel: (H, W) metres a pixel.
        walls: n of the facades.
        free: n of those who walk there.
        r: everything random.

    """
    h, w = n.shape
    grain = 1 + 0.05 * noise_image(r, h, w, h / 6) + 0.03 * noise_image(r, h, w, max(2, h / 60))
    stone = np.array(_GROUNDS[place]) * r.uniform(0.8, 1.2) * r.uniform(0.95, 1.05, 3)
    tar = np.array([0.20, 0.20, 0.21]) * r.uniform(0.75, 1.35)
    slabs = _slabs(stone, s, n, pixel, grain, r)
    asphalt = tar * (grain + 0.06 * noise_image(r, h, w, 2.2) * _detail(0.05, pixel))[..., None]
    if place in ("plaza", "shops", "underpass"):
        return slabs, np.full((h, w), CLASSES["sidewalk"], np.uint8)
    if place == "park":
        return _park(s, n, pixel, grain, r)
    if place == "carpark":
        return _carpark(s, n, pixel, asphalt, walls[0])
    return _street(s, n, slabs, asphalt, walls, free, r)


def _detail(size: float, pixel: Any) -> Any:
    """(H, W) 0..1, how much of a detail of ``size`` metres can be seen."""
    return np.clip(size / np.maximum(pixel, 1e-6) / 2.5 - 0.4, 0, 1)


def _slabs(stone: Any, s: Any, n: Any, pixel: Any, grain: Any, r: np.random.Generator) -> Any:
    size = float(r.choice([0.3, 0.45, 0.6]))
    row = np.floor(n / size)
    joint = ((n / size) % 1 < 0.05) | ((s / size + 0.5 * (row % 2)) % 1 < 0.05)
    joint = joint * _detail(0.05, pixel)
    tone = np.sin(12.9898 * np.floor(s / size + 0.5 * (row % 2)) + 78.233 * row) * _detail(size / 3, pixel)
    return stone * (grain * (1 + 0.045 * tone - 0.2 * joint))[..., None]


def _park(s: Any, n: Any, pixel: Any, grain: Any, r: np.random.Generator) -> tuple[Any, Any]:
    """Grass on both sides of a path of gravel."""
    h, w = n.shape
    grass = np.array([0.17, 0.27, 0.08]) * r.uniform(0.8, 1.3) * np.array([r.uniform(0.9, 1.3), 1, 1])
    blades = (
        0.16 * noise_image(r, h, w, max(2.2, h / 70))
        + 0.12 * noise_image(r, h, w, h / 12)
        + 0.1 * noise_image(r, h, w, 2.0) * _detail(0.03, pixel)
    )
    side, middle = float(r.uniform(1.0, 2.5)), float(r.uniform(-1, 1))
    path = np.abs(n - middle + 0.25 * np.sin(0.7 * s)) < side
    soft = np.array(_GROUNDS["park"]) * r.uniform(0.8, 1.15)
    gravel = soft * (grain + 0.07 * noise_image(r, h, w, 2.2))[..., None]
    colour = np.where(path[..., None], gravel, grass * (1 + blades).clip(0.5, 1.7)[..., None])
    return colour, np.where(path, CLASSES["sidewalk"], CLASSES["terrain"]).astype(np.uint8)


def _carpark(s: Any, n: Any, pixel: Any, asphalt: Any, wall: float) -> tuple[Any, Any]:
    line = ((s % 2.6 < 0.1) & (np.abs(n - wall + 2.6) < 2.4)) | (np.abs(n - wall + 5.1) < 0.05)
    line = (line * (_detail(0.05, pixel) > 0.05))[..., None].astype(bool)
    return np.where(line, 0.62, asphalt * 1.25), np.full(n.shape, CLASSES["road"], np.uint8)


def _street(
    s: Any, n: Any, slabs: Any, asphalt: Any, walls: tuple[float, float], free: float, r: np.random.Generator
) -> tuple[Any, Any]:
    """A road between pavements along both rows of houses; people are on whichever they are on."""
    near_side, far_side = float(r.uniform(1.5, 3.5)), float(r.uniform(1.5, 3.5))
    if r.random() < 0.6:
        far_side = max(far_side, walls[0] - free + 1.0)
    edge_1, edge_2 = walls[0] - far_side, walls[1] + near_side
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
