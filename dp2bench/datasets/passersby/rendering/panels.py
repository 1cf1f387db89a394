"""The compiled painters of a town: sky and ground, and upright panels in front of each other.

Compiled without fast maths, as coverage and classes must not depend on the processor. Metres, z up.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import numba
import numpy as np


class PanelKind(IntEnum):
    """How a panel is painted."""

    HOUSE = 0
    TREE = 1
    HEDGE = 2
    POST = 3
    SIGN = 4
    WALL = 5
    FENCE = 6
    LIGHTS = 7


_HOUSE, _TREE, _HEDGE, _POST, _SIGN, _WALL, _FENCE, _LIGHTS = (int(kind) for kind in PanelKind)


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator,unused-ignore]
def _hash(i: int, j: int, seed: int) -> float:
    """A number in 0..1 for a cell of a lattice."""
    n = (i * 374761393 + j * 668265263 + seed * 974634777) & 0xFFFFFFFF
    n = ((n ^ (n >> 13)) * 1274126177) & 0xFFFFFFFF
    n = ((n ^ (n >> 16)) * 2246822519) & 0xFFFFFFFF
    return float((n ^ (n >> 15)) & 0xFFFFFF) / 16777215.0


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator,unused-ignore]
def _part(x: float) -> float:
    """What is left of a number above the next lower whole one: ``x % 1``, without the division that the processor lacks."""
    return float(x - np.floor(x))


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator,unused-ignore]
def _noise(x: float, y: float, seed: int) -> float:
    """Smooth noise in -1..1 with features of size 1."""
    i, j = int(np.floor(x)), int(np.floor(y))
    u, v = x - i, y - j
    u, v = u * u * (3 - 2 * u), v * v * (3 - 2 * v)
    a, b = _hash(i, j, seed), _hash(i + 1, j, seed)
    c, d = _hash(i, j + 1, seed), _hash(i + 1, j + 1, seed)
    return 2 * ((a * (1 - u) + b * u) * (1 - v) + (c * (1 - u) + d * u) * v) - 1


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator,unused-ignore]
def _paint_sky(pixel: Any, dx: float, dy: float, dz: float, colours: Any, seed: int) -> None:
    """Haze, blue and clouds along a ray."""
    up = min(max(dz, 0.0) * 1.6, 1.0)
    cloud = _noise(dx * 3 / (dz + 0.15), dy * 3 / (dz + 0.15), seed)
    cloud += 0.5 * _noise(dx * 7 / (dz + 0.15), dy * 7 / (dz + 0.15), seed + 1)
    white = min(max(0.35 * cloud + 0.1, 0.0), 0.5) * up
    for k in range(3):
        c = colours[3, k] * (1 - up) + colours[4, k] * up
        pixel[k] = c * (1 - white) + 0.97 * white


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator,unused-ignore]
def draw_ground_and_sky(
    im: Any, label: Any, depth: Any, eye: Any, rot: Any, focal: float, centre: Any, numbers: Any, colours: Any
) -> None:
    """Fill what no panel covers; ``numbers`` and ``colours`` are those of `townscape.Town`."""
    height, width = label.shape
    road, green, paving, crossing, seed = numbers[0], numbers[1], numbers[2], numbers[3], int(numbers[4])
    for py in range(height):
        ry = (py + 0.5 - centre[1]) / focal
        for px in range(width):
            if depth[py, px] > 0:
                continue  # panels stand on the ground: nothing of it is before them
            rx = (px + 0.5 - centre[0]) / focal
            dx = rx * rot[0, 0] + ry * rot[1, 0] + rot[2, 0]
            dy = rx * rot[0, 1] + ry * rot[1, 1] + rot[2, 1]
            dz = rx * rot[0, 2] + ry * rot[1, 2] + rot[2, 2]
            if dz > -1e-3:
                _paint_sky(im[py, px], dx, dy, dz, colours, seed)
                label[py, px] = 23
                continue
            t = -eye[2] / dz
            x, y = eye[0] + t * dx, eye[1] + t * dy
            depth[py, px] = 1 / t
            ax = abs(x)
            fine = min(1.0, 12 / t)
            shade = (
                1 + 0.05 * _noise(x * 0.6, y * 0.6, seed + 2) + 0.04 * fine * _noise(x * 9, y * 9, seed + 3)
            )
            if ax < road:
                which, name = 0, 7
                line = abs(ax - 0.0) < 0.07 and (y % 6.0) < 3.0 and road > 2.4
                edge = abs(ax - road + 0.35) < 0.05 and road > 2.4
                zebra = abs(y - crossing) < 1.6 and _part(x) < 0.5
                if line or edge or zebra:
                    shade *= 1.9
                shade *= 1 + 0.10 * fine * _noise(x * 30, y * 30, seed + 4)
                if road - ax < 0.25:
                    shade *= 0.85
            elif ax > green:
                which, name = 2, 22
                shade *= (
                    1 + 0.22 * fine * _noise(x * 25, y * 25, seed + 5) + 0.12 * _noise(x * 4, y * 4, seed)
                )
            else:
                which, name = 1, 8
                if road > 0 and ax - road < 0.14:
                    shade *= 1.22
                elif paving > 0:
                    row = np.floor(y / paving)
                    run = x / paving + _part(0.5 * row)
                    away = min(_part(y / paving), _part(run))
                    if away < 0.05:
                        shade *= 1 - 0.16 * fine
                    shade *= 1 + 0.08 * fine * (_hash(int(np.floor(run)), int(row), seed) - 0.5)
            for k in range(3):
                im[py, px, k] = colours[which, k] * shade
            label[py, px] = name


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator,unused-ignore]
def _put(out: Any, r: float, g: float, b: float, shade: float) -> bool:
    """Leave a colour in ``out``; always True."""
    out[0], out[1], out[2] = r * shade, g * shade, b * shade
    return True


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator,unused-ignore]
def _paint_house(p: Any, u: float, v: float, fine: float, out: Any) -> bool:
    """A front with windows, bricks perhaps, and shops below."""
    seed, length, top = int(p[17]), p[4], p[6]
    r, g, b = p[10], p[11], p[12]
    bay, storey, shop, brick = p[13], p[14], p[15], p[16]
    shade = 1 + 0.05 * _noise(u * 0.7, v * 0.7, seed) - 0.12 * np.exp(-v * 1.5)
    floor = int(np.floor(v / storey))
    a, c = _part(u / bay), _part(v / storey)
    column = int(np.floor(u / bay))
    ground = floor == 0
    if brick > 0.5 and fine > 0.3:
        row = np.floor(v / 0.12)
        run = u / 0.32 + _part(0.5 * row)
        if _part(v / 0.12) < 0.14 or _part(run) < 0.06:
            shade *= 1 - 0.16 * fine
        else:
            shade *= 1 + 0.10 * fine * (_hash(int(np.floor(run)), int(row), seed) - 0.5)
    low, left, right, high = 0.3, 0.24, 0.76, 0.8
    if ground and shop > 0.5:
        low, left, right, high = 0.1, 0.06, 0.94, 0.74
        if c > 0.78:
            h = _hash(column // 2, 3, seed)
            r, g, b = (
                0.25 + 0.5 * h,
                0.2 + 0.5 * _hash(column // 2, 4, seed),
                0.2 + 0.5 * _hash(column // 2, 5, seed),
            )
            letters = c > 0.84 and c < 0.93 and 0.2 < a < 0.8 and _hash(int(u * 9), 0, seed) > 0.45
            shade = 1.7 if letters else 1.0
    elif ground and _hash(column, 9, seed) < 0.25:
        low, left, right, high = 0.0, 0.3, 0.7, 0.72
        if left < a < right and c < high:
            r, g, b, shade = 0.5 * r, 0.4 * g, 0.35 * b, 0.9
            low = 1.0
    near_edge = v > top - 0.35
    if near_edge:
        shade *= 1.15
    elif left < a < right and low < c < high and u > 0.4 and u < length - 0.4:
        glass = 0.55 + 0.5 * _hash(column, floor, seed) + 0.35 * (c - low) + 0.15 * _noise(u * 2, v * 2, seed)
        r, g, b, shade = 0.20, 0.25, 0.31, glass
        lit = _hash(column, floor + 50, seed)
        if ground and shop > 0.5:
            shade = 0.75 + 0.5 * c + 0.12 * _noise(u * 1.2, v * 0.6, seed + 7)
            item = int(np.floor(u * 3.5))
            if c < low + 0.06 + 0.2 * _hash(item, 12, seed) and _part(u * 3.5) < 0.8:
                # Goods behind the glass.
                r, g = 0.15 + 0.5 * _hash(item, 13, seed), 0.15 + 0.45 * _hash(item, 14, seed)
                b, shade = 0.15 + 0.45 * _hash(item, 15, seed), 0.8
        elif lit > 0.7 and c > 0.62:
            r, g, b, shade = 0.75, 0.72, 0.66, 0.9
        if min(a - left, right - a) * bay < 0.07 or min(c - low, high - c) * storey < 0.07:
            r, g, b, shade = 0.78, 0.77, 0.74, 0.9
        elif abs(a - 0.5) * bay < 0.03 and not (ground and shop > 0.5):
            r, g, b, shade = 0.7, 0.7, 0.68, 0.9
    elif 0 < low - c < 0.03 and left - 0.04 < a < right + 0.04:
        shade *= 1.2
    elif c < 0.02 and floor > 0:
        shade *= 0.88
    return _put(out, r, g, b, shade)


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator,unused-ignore]
def _paint_tree(p: Any, u: float, v: float, fine: float, out: Any) -> bool:
    """A crown on a trunk; False beside them."""
    seed, length, top = int(p[17]), p[4], p[6]
    r, g, b = p[10], p[11], p[12]
    crown, trunk = p[13], p[14]
    x = u - length / 2
    middle, half = (top + crown) / 2, (top - crown) / 2
    ball = (2 * x / length) ** 2 + ((v - middle) / half) ** 2
    leafy = ball < 0.8
    if 0.05 < ball < 1.55:  # else no raggedness decides
        ragged = 0.16 * _noise(u * 1.3, v * 1.3, seed) + 0.12 * _noise(u * 3.5, v * 3.5, seed + 1)
        ragged += 0.09 * fine * _noise(u * 9, v * 9, seed + 2)
        leafy = ball < 0.8 + 2 * ragged
    if leafy:
        leaves = _noise(u * 2.2, v * 2.2, seed + 3) * 0.22 + 0.22 * _noise(u * 6, v * 6, seed + 4)
        leaves += fine * 0.25 * _noise(u * 17, v * 17, seed + 5)
        shade = (0.85 + 0.3 * (v - middle) / half) * (1 + leaves)
        r, g, b = p[10], p[11], p[12]
    elif abs(x + 0.05 * np.sin(v)) < trunk * (1.25 - 0.4 * v / top) and v < middle:
        bark = 1 + 0.2 * _noise(u * 30, v * 5, seed)
        r, g, b, shade = 0.24, 0.19, 0.145, bark * (1.15 - 0.5 * (x / trunk + 0.4))
    else:
        return False
    return _put(out, r, g, b, shade)


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator,unused-ignore]
def _paint_hedge(p: Any, u: float, v: float, fine: float, out: Any) -> bool:
    """Leaves; False above them."""
    seed, top = int(p[17]), p[6]
    r, g, b = p[10], p[11], p[12]
    limit = top * (0.9 + 0.08 * _noise(u * 1.2, 0.0, seed) + 0.05 * _noise(u * 6, 0.0, seed + 1))
    if v > limit:
        return False
    leaves = 0.2 * _noise(u * 4, v * 4, seed + 2) + 0.25 * fine * _noise(u * 14, v * 14, seed + 3)
    shade = (0.6 + 0.5 * v / top) * (1 + leaves)
    return _put(out, r, g, b, shade)


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator,unused-ignore]
def _paint_sign(p: Any, u: float, v: float, fine: float, out: Any) -> bool:
    """A round or square plate; False outside of it."""
    length, top = p[4], p[6]
    r, g, b = p[10], p[11], p[12]
    shade = 1.0
    x, y = 2 * u / length - 1, 2 * (v - p[5]) / (top - p[5]) - 1
    if p[13] > 0.5 and x * x + y * y > 1:
        return False
    rim = x * x + y * y > 0.62 if p[13] > 0.5 else max(abs(x), abs(y)) > 0.82
    if rim:
        r, g, b = 0.85, 0.85, 0.83
    elif abs(x) < 0.5 and abs(y) < 0.2:
        r, g, b = 0.9, 0.9, 0.88
    return _put(out, r, g, b, shade)


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator,unused-ignore]
def _paint_lights(p: Any, u: float, v: float, fine: float, out: Any) -> bool:
    """A traffic light, one of its lamps on."""
    seed, length, top = int(p[17]), p[4], p[6]
    r, g, b = p[10], p[11], p[12]
    shade = 1.0
    y = (v - p[5]) / (top - p[5])
    lamp = int(y * 3)
    x = 2 * u / length - 1
    if x * x + (2 * (y * 3 - lamp) - 1) ** 2 < 0.55:
        on = lamp == seed % 3
        glow = 0.95 if on else 0.22
        r = glow if lamp >= 1 else 0.1
        g = glow if lamp <= 1 else 0.1
        b = 0.1
    return _put(out, r, g, b, shade)


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator,unused-ignore]
def _paint_panel(p: Any, u: float, v: float, t: float, out: Any) -> bool:
    """Colour of a panel ``u`` metres along and ``v`` metres above its foot, from ``t`` metres; False where it is open."""
    kind, top = int(p[7]), p[6]
    fine = min(1.0, 14 / t)
    if kind == _HOUSE:
        return bool(_paint_house(p, u, v, fine, out))
    if kind == _TREE:
        return bool(_paint_tree(p, u, v, fine, out))
    if kind == _HEDGE:
        return bool(_paint_hedge(p, u, v, fine, out))
    if kind == _SIGN:
        return bool(_paint_sign(p, u, v, fine, out))
    if kind == _LIGHTS:
        return bool(_paint_lights(p, u, v, fine, out))
    shade = 1.0
    if kind == _POST:
        shade = 1.15 - 0.75 * abs(u / p[4] - 0.35)
    elif kind == _WALL:
        shade = 1 + 0.06 * _noise(u * 1.5, v * 1.5, int(p[17])) - 0.12 * np.exp(-2 * v)
        if v > top - 0.1:
            shade *= 1.15
    elif kind == _FENCE and not (v > top - 0.06 or abs(v - 0.25) < 0.03 or (u % 0.16) < 0.03):
        return False  # between the bars of a fence
    return bool(_put(out, p[10], p[11], p[12], shade))


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator,unused-ignore]
def _extent(p: Any, eye: Any, rot: Any, focal: float, centre: Any) -> tuple[float, float, float, float]:
    """Left, right, top and bottom of a panel in pixels; left is greater than right where it is behind the camera."""
    left, right, low, high = np.inf, -np.inf, np.inf, -np.inf
    for edge in range(2):
        up = (p[5] if edge == 0 else p[6]) - eye[2]
        ax, ay = p[0] - eye[0], p[1] - eye[1]
        far0 = ax * rot[2, 0] + ay * rot[2, 1] + up * rot[2, 2] - 0.1
        far1 = far0 + p[4] * (p[2] * rot[2, 0] + p[3] * rot[2, 1])
        if far0 < 0 and far1 < 0:
            continue
        # The part of the edge that is before the camera.
        start = 0.0 if far0 >= 0 else far0 / (far0 - far1)
        end = 1.0 if far1 >= 0 else far0 / (far0 - far1)
        for part in (start, end):
            qx, qy = ax + p[2] * p[4] * part, ay + p[3] * p[4] * part
            far = max(qx * rot[2, 0] + qy * rot[2, 1] + up * rot[2, 2], 0.09)
            sx = focal * (qx * rot[0, 0] + qy * rot[0, 1] + up * rot[0, 2]) / far + centre[0]
            sy = focal * (qx * rot[1, 0] + qy * rot[1, 1] + up * rot[1, 2]) / far + centre[1]
            left, right, low, high = min(left, sx), max(right, sx), min(low, sy), max(high, sy)
    return left, right, low, high


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator,unused-ignore]
def draw_panels(
    im: Any, label: Any, depth: Any, eye: Any, rot: Any, focal: float, centre: Any, panels: Any
) -> None:
    """Draw panels (N, 18), as `townscape.Town.table` has them, the nearest first."""
    height, width = label.shape
    colour = np.zeros(3)
    for n in range(panels.shape[0]):
        p = panels[n]
        nx, ny = p[3], -p[2]
        off = (p[0] - eye[0]) * nx + (p[1] - eye[1]) * ny
        if abs(off) < 1e-6:
            continue
        left, right, low, high = _extent(p, eye, rot, focal, centre)
        if left > right:
            continue
        # Clipped before the conversion: far outside, a float has no integer.
        x0, x1 = int(max(0.0, min(left - 1, width))), int(max(0.0, min(right + 2, width)))
        y0, y1 = int(max(0.0, min(low - 1, height))), int(max(0.0, min(high + 2, height)))
        for py in range(y0, y1):
            ry = (py + 0.5 - centre[1]) / focal
            for px in range(x0, x1):
                rx = (px + 0.5 - centre[0]) / focal
                dx = rx * rot[0, 0] + ry * rot[1, 0] + rot[2, 0]
                dy = rx * rot[0, 1] + ry * rot[1, 1] + rot[2, 1]
                across = dx * nx + dy * ny
                if across * off <= 0:
                    continue
                t = off / across
                if t < 0.1 or 1 / t <= depth[py, px]:
                    continue
                u = (eye[0] + t * dx - p[0]) * p[2] + (eye[1] + t * dy - p[1]) * p[3]
                if u < 0 or u > p[4]:
                    continue
                dz = rx * rot[0, 2] + ry * rot[1, 2] + rot[2, 2]
                v = eye[2] + t * dz
                if v < p[5] or v > p[6]:
                    continue
                if _paint_panel(p, u, v, t, colour):
                    depth[py, px] = 1 / t
                    label[py, px] = int(p[8])
                    for k in range(3):
                        im[py, px, k] = colour[k] * p[9]
