"""The facades of a place: rows of houses with doors, windows and shops, walls of an underpass, hedges."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from dp2bench.datasets.passersby.rendering.noise import noise_image
from dp2bench.datasets.passersby.rendering.solids import CLASSES

_WALLS = np.array([
    (0.62, 0.55, 0.44), (0.46, 0.23, 0.17), (0.70, 0.68, 0.63), (0.42, 0.43, 0.46), (0.66, 0.58, 0.38), (0.33, 0.37, 0.40),
    (0.55, 0.42, 0.33), (0.72, 0.62, 0.55), (0.38, 0.28, 0.23), (0.58, 0.62, 0.60),
])  # fmt: skip


def facade(place: str, u: Any, v: Any, pixel: Any, r: np.random.Generator) -> tuple[Any, int, Any]:
    """Of facade points, ``u`` (H, W) metres along and ``v`` above the ground: colour (H, W, 3), class id, height (H, W) in metres.

    ``pixel`` (H, W) is metres a pixel.
    """
    h, w = u.shape
    wide = float(r.uniform(7, 13))
    rough = 1 + 0.035 * noise_image(r, h, w, h / 5) + 0.02 * noise_image(r, h, w, 4)
    if place == "underpass":
        return _underpass(u, v, pixel, rough, r), CLASSES["wall"], np.full((h, w), 60.0)
    if r.random() < {"park": 0.9, "carpark": 0.4, "plaza": 0.2}.get(place, 0.05):
        colour, tall = _hedge(u, v, pixel, r)
        return colour, CLASSES["vegetation"], tall
    colour, tall = _houses(place, u, v, wide, pixel, rough, r)
    return colour, CLASSES["building"], tall


def _detail(period: float, pixel: Any) -> Any:
    """(H, W) 0..1, how much of a detail that repeats every ``period`` metres can be seen."""
    return np.clip(period / np.maximum(pixel, 1e-6) / 2.5 - 0.6, 0, 1)


def _underpass(u: Any, v: Any, pixel: Any, rough: Any, r: np.random.Generator) -> Any:
    """A wall of slabs, tiled below perhaps, with graffiti."""
    h, w = u.shape
    wall = np.array([0.45, 0.44, 0.42]) * r.uniform(0.7, 1.3) * r.uniform(0.94, 1.06, 3)
    seam = ((u % 2.4 < 0.03) | (v % 1.2 < 0.03)) * _detail(0.05, pixel)
    tiled = r.random() < 0.5
    tile = (((u % 0.2 < 0.012) | (v % 0.2 < 0.012)) & (v < 1.8)) * _detail(0.03, pixel) * tiled
    shade = rough * (1 - 0.3 * seam) * (1 - 0.25 * tile) * (1 - 0.3 * np.exp(-np.clip(v, 0, 9) * 2))
    c = wall * shade[..., None]
    c = np.where(((v < 1.8) & tiled)[..., None], c * np.array(r.uniform(0.7, 1.35, 3)), c)
    if r.random() < 0.5:
        paint = r.uniform(0.1, 0.7, 3)
        tag = (noise_image(r, h, w, w / 3.5) > 0.9) & (v < 2.2)
        c = np.where(tag[..., None], 0.4 * c + 0.6 * paint, c)
    return c


def _hedge(u: Any, v: Any, pixel: Any, r: np.random.Generator) -> tuple[Any, Any]:
    h, w = u.shape
    green = np.array([0.14, 0.24, 0.08]) * r.uniform(0.7, 1.35) * np.array([r.uniform(0.85, 1.4), 1, 1])
    size = 0.25 / float(np.median(pixel[np.isfinite(pixel)]) + 1e-6)
    leaves = (
        0.32 * noise_image(r, h, w, max(4, size * 3))
        + 0.3 * noise_image(r, h, w, max(2.5, size))
        + 0.2 * noise_image(r, h, w, max(2, size / 3))
    )
    tall = (
        float(r.uniform(1.0, 8)) + 0.45 * np.sin(u * 1.1) + 0.3 * np.sin(u * 2.9 + 1) + 0.12 * np.sin(u * 9.7)
    )
    shade = 0.55 + 0.5 * np.clip(v / np.maximum(tall, 0.5), 0, 1)
    return green * ((1 + leaves).clip(0.3, 1.9) * shade)[..., None], tall


_STOREY = 3.1


class _Row(NamedTuple):
    """A row of houses, point by point.

    Attributes:
        u, v: (H, W) metres along it and above the ground.
        house: (H, W) 0..63, which of the row's kinds of houses this is.
        a: (H, W) metres from the house's left side, of ``wide``.
        bay: (H, W) metres between windows.
        wall: (H, W, 3) colour of the wall.
        base: (64, 3) colour of each house.
        tall: (H, W) metres of the house.

    """

    u: Any
    v: Any
    house: Any
    a: Any
    wide: float
    bay: Any
    wall: Any
    base: Any
    tall: Any


def _by_house(r: np.random.Generator, low: Any, high: Any) -> Any:
    """(64,) a value for each house of a row."""
    return r.uniform(low, high, 64)


def _houses(
    place: str, u: Any, v: Any, wide: float, pixel: Any, rough: Any, r: np.random.Generator
) -> tuple[Any, Any]:
    house = np.floor(u / wide).astype(np.int64) % 64
    a = u - np.floor(u / wide) * wide
    base = _WALLS[r.integers(len(_WALLS), size=64)] * r.uniform(0.75, 1.15, (64, 1))
    storeys = r.integers(2, 6, 64)
    tall = (storeys[house] * _STOREY + 0.9).astype(np.float64)
    wall = _wall(u, v, base[house] * rough[..., None], (r.random(64) < 0.4)[house], pixel)
    bay = wide / np.round(wide / _by_house(r, 1.7, 2.8))[house]
    row = _Row(u, v, house, a, wide, bay, wall, base, tall)
    shops = {"shops": 1.0, "street": 0.4, "plaza": 0.4}.get(place, 0.1)
    shop = (r.random(64) < shops)[house] & (v < _STOREY)
    c = _windows(row, r)
    c = np.where(shop[..., None], _shop_front(row, r), c)
    return _doors_and_ledges(row, c, shop), tall


def _wall(u: Any, v: Any, wall: Any, brick: Any, pixel: Any) -> Any:
    """Colour of walls, some of them of bricks, darker towards the ground."""
    row = np.floor(v / 0.08)
    b = (u / 0.25 + 0.5 * (row % 2)) % 1
    mortar = (((v / 0.08) % 1 < 0.14) | (b < 0.05)) * _detail(0.05, pixel)
    tone = np.sin(7.3 * row + 3.1 * np.floor(u / 0.25 + 0.5 * (row % 2))) * _detail(0.1, pixel)
    wall = np.where(brick[..., None], wall * (1 + 0.06 * tone - 0.14 * mortar)[..., None], wall)
    wall = wall * (1 - 0.22 * np.exp(-np.clip(v, 0, 9) * 2.5))[..., None]
    return np.where((v < 0.45)[..., None], wall * 0.72, wall)


def _windows(row: _Row, r: np.random.Generator) -> Any:
    """(H, W, 3) the wall with windows, some with blinds."""
    h, w = row.v.shape
    house, a, bay, v, wall = row.house, row.a, row.bay, row.v, row.wall
    p, q = (a / bay) % 1, (v % _STOREY) / _STOREY
    left, right = _by_house(r, 0.2, 0.3)[house], _by_house(r, 0.7, 0.8)[house]
    sill, head = _by_house(r, 0.28, 0.36)[house], _by_house(r, 0.76, 0.84)[house]
    number = (
        house * 997 + np.floor(a / bay).astype(np.int64) * 31 + np.floor(v / _STOREY).astype(np.int64) * 7
    )
    blind = ((number * 2654435761) % 1000 / 1000.0) < 0.3
    glass = (p > left) & (p < right) & (q > sill) & (q < head)
    rim = (p > left - 0.04) & (p < right + 0.04) & (q > sill - 0.025) & (q < head + 0.025) & ~glass
    cross = glass & (
        (np.abs(p - (left + right) / 2) < 0.018) | (np.abs(q - (sill + 0.7 * (head - sill))) < 0.01)
    )
    ledge = (np.abs(q - sill + 0.04) < 0.018) & (p > left - 0.07) & (p < right + 0.07)
    reflection = (0.6 + 0.9 * q + 0.35 * noise_image(r, h, w, h / 6))[..., None].clip(0.2, 3)
    pane = np.array([0.12, 0.15, 0.19]) * reflection
    pane = np.where(blind[..., None] & (q > sill + 0.35 * (head - sill))[..., None], [0.55, 0.52, 0.46], pane)
    trim = np.array([0.2, 0.72, 0.55, 0.66])[r.integers(4, size=64)][house][..., None]
    upper = v < row.tall - 0.9
    c = np.where((ledge & upper)[..., None], wall * 1.12 + 0.05, wall)
    c = np.where((rim & upper)[..., None], trim, c)
    return np.where((glass & upper)[..., None], np.where(cross[..., None], trim, pane), c)


def _shop_front(row: _Row, r: np.random.Generator) -> Any:
    """(H, W, 3) a ground floor with a shop: glass with things behind it, a board above, sometimes an awning."""
    h, w = row.v.shape
    house, a, v, wide = row.house, row.a, row.v, row.wide
    board = row.base[(house + 17) % 64] * np.array([0.7, 0.6, 0.9])
    inside = (v > 0.45) & (v < 2.35) & (np.abs((a / row.bay) % 1 - 0.5) < 0.46)
    goods = noise_image(r, h, w, max(5, h / 20))[..., None] + 0.1 * np.stack(
        [noise_image(r, h, w, max(5, h / 14)) for _ in range(3)], -1
    )
    light = (1 + 0.7 * goods + 0.5 * noise_image(r, h, w, h / 5)[..., None]).clip(0.15, 2.6)
    lit = np.array([0.22, 0.2, 0.17]) * light
    lit = lit + 0.12 * np.clip(np.sin(a * 2 + v), 0, 1)[..., None]
    front = np.where(inside[..., None], lit, row.wall * 0.5)
    front = np.where(((v > 2.4) & (v < 2.95))[..., None], board, front)
    letters = (
        (np.abs(v - 2.68) < 0.13)
        & (np.sin(a * 19 + house) * np.sin(a * 7.3) > 0.1)
        & (np.abs(a - wide / 2) < wide * 0.28)
    )
    front = np.where(letters[..., None], 0.85, front)
    awning = (v > 2.0) & (v < 2.45) & ((house % 3) == 0)
    return np.where(awning[..., None], np.where((np.sin(a * 9) > 0)[..., None], board * 1.2, 0.75), front)


def _doors_and_ledges(row: _Row, c: Any, shop: Any) -> Any:
    """(H, W, 3) a facade ``c`` with the doors of houses without a shop, cornices and pipes."""
    a, v, wall, wide, tall = row.a, row.v, row.wall, row.wide, row.tall
    door = (np.abs(a - wide * 0.5) < 0.5) & (v < 2.15)
    c = np.where(((np.abs(a - wide * 0.5) < 0.95) & (v < _STOREY - 0.15) & ~shop)[..., None], wall, c)
    panel = (np.abs(a - wide * 0.5) < 0.36) & ((v % 0.95) > 0.14) & ((v % 0.95) < 0.85)
    dark = row.base[(row.house + 29) % 64] * 0.45
    c = np.where((door & ~shop)[..., None], np.where(panel[..., None], dark * 0.8, dark), c)
    cornice = (v > tall - 0.45) | (np.abs(v - _STOREY) < 0.09)
    c = np.where((cornice & ~shop)[..., None], wall * 1.15 + 0.03, c)
    c = np.where((np.abs(v - tall + 0.5) < 0.06)[..., None], wall * 0.6, c)
    pipe = np.abs(a - 0.12) < 0.06
    return np.where((pipe & (v > 0.1))[..., None], [0.25, 0.25, 0.25], c)
