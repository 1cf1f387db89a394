"""Hair and headgear: where the hairline runs, what leaves the scalp, and the colour of strands."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dp2bench.datasets.passersby.rendering.body import Floats, Zone, kit
from dp2bench.datasets.passersby.rendering.identities import Identity
from dp2bench.datasets.passersby.rendering.meshes import grid_triangles
from dp2bench.datasets.passersby.rendering.noise import noise

Mesh = tuple[Floats, NDArray[np.int32]]
"""(V, 3) vertices at rest, (T, 3) triangles."""


def height_above_hairline(points: Any, style: str) -> Any:
    """(N,) metres above the hairline, which drops from the forehead over the temples to the nape."""
    x, y, z = np.abs(points[:, 0]), points[:, 1] - kit().eye[1], points[:, 2] - kit().eye[2]
    line = 0.058 - 0.62 * np.clip(y - 0.02, 0, 0.2) - 0.35 * np.clip(y - 0.09, 0, 1)
    line = line - 0.012 * np.clip((x - 0.025) / 0.03, 0, 1) + 0.01 * np.exp(-(((x - 0.045) / 0.015) ** 2))
    if style not in ("scarf", "beanie", "afro"):
        ear = (((y - 0.1) / 0.027) ** 2 + ((z + 0.016) / 0.042) ** 2 < 1) & (x > 0.064)
        line = np.where(ear, 1.0, line)
    # Sideburns, in front of the ears.
    line = line - 0.045 * np.exp(-(((y - 0.078) / 0.012) ** 2)) * (x > 0.05)
    if style in ("bob", "long"):
        line = line - 0.5 * np.clip(y - 0.05, 0, 0.08)
    if style == "scarf":
        line = 0.05 - 1.1 * np.clip(y - 0.028, 0, 0.25) - 0.6 * np.clip(x - 0.045, 0, 0.1)
    return z - line


def hair_colour(identity: Identity, at: Any) -> Any:
    """(N, 3) colour of hair; ``at`` (N, 2 or 3) runs along strands in its last column."""
    q = np.concatenate([at, np.zeros((len(at), 3 - at.shape[1]))], 1) if at.shape[1] < 3 else at * [1, 1, 0.2]
    scale = np.array([0.13, 0.04, 1.0]) if at.shape[1] < 3 else np.ones(3)
    tone = 1 + 0.22 * noise(q * scale, 260, identity.seed) + 0.12 * noise(q * scale, 90, identity.seed + 5)
    return np.array(identity.hair) * tone[:, None]


def loose_hair(identity: Identity, v: Floats) -> list[Mesh]:
    """Hair that leaves the scalp, and brims, for the clothed vertices (V, 3) of a body."""
    body = kit()
    scalp = body.body & (body.zone == Zone.HEAD) & (body.template[:, 2] > body.eye[2] - 0.02)
    low, high = v[scalp].min(0), v[scalp].max(0)
    middle, half = (low + high) / 2, (high - low) / 2
    eye = float(v[body.zone == Zone.EYE, 2].mean())
    if identity.hair_style in ("long", "bob"):
        return [_falling_hair(identity, middle, half, eye)]
    if identity.hair_style in ("tail", "bun"):
        return [_tied_hair(identity, high[1], eye)]
    if identity.hair_style in ("cap", "hat"):
        return [_brim(identity, middle, half, eye)]
    return []


def _falling_hair(identity: Identity, middle: Floats, half: Floats, eye: float) -> Mesh:
    fall = 0.14 if identity.hair_style == "bob" else 0.2 + 0.24 * ((identity.seed >> 4) % 97) / 97
    rows, columns = 16, 41
    around = np.linspace(-1.9, 1.9, columns)
    down = np.linspace(0, 1, rows)[:, None]
    wave = 1 + (0.012 * np.sin(9 * around + identity.seed % 7) + 0.01 * np.sin(23 * around)) * (0.3 + down)
    out_x = (half[0] - 0.002 + 0.03 * np.sin(np.pi * np.minimum(down * 1.3, 1)) * (fall > 0.17)) * wave
    out_y = (half[1] + 0.008 + 0.03 * np.clip(1.5 * down - 0.6, 0, 1)) * wave
    x = np.sin(around) * out_x
    y = middle[1] + np.cos(around) * out_y * np.where(np.cos(around) < 0, 0.55, 1.0)
    z = eye + 0.075 - down * (fall + 0.075) * (1 - 0.1 * (np.abs(around) / 1.9) ** 2)
    z = z + 0.006 * np.sin(17 * around + identity.seed % 11) * down
    tuck = np.clip(down * 6, 0, 1)  # the upper edge lies below the hair of the scalp
    x, y = x * (0.9 + 0.1 * tuck), middle[1] + (y - middle[1]) * (0.9 + 0.1 * tuck)
    return np.stack([x, y, z], -1).reshape(-1, 3), grid_triangles(rows, columns, closed=False)


def _tied_hair(identity: Identity, back: float, eye: float) -> Mesh:
    """A tail or a bun behind the head, which ends at y ``back``."""
    rows, columns = 12, 12
    s = np.linspace(0, 1, rows)[:, None]
    angle = np.arange(columns) * (2 * np.pi / columns)
    if identity.hair_style == "tail":
        path_y, path_z = back + 0.015 + 0.045 * np.sin(s * 2.6), eye + 0.05 - 0.3 * s**1.25
        thick = 0.012 + 0.026 * np.sin(np.pi * np.clip(0.15 + s * 0.85, 0, 1)) ** 0.6
    else:
        path_y, path_z = back - 0.01 + 0.01 * np.sin(s * 3.1), eye + 0.03 + 0.085 * s
        thick = 0.045 * np.sqrt(np.clip(1 - (2 * s - 1) ** 2, 0.001, 1))
    x = np.cos(angle) * thick * (1 + 0.1 * np.sin(3 * angle + identity.seed % 5))
    v = np.stack([x, path_y + np.sin(angle) * thick, path_z + 0 * angle], -1)
    return v.reshape(-1, 3), grid_triangles(rows, columns, closed=True)


def _brim(identity: Identity, middle: Floats, half: Floats, eye: float) -> Mesh:
    columns = 25
    cap = identity.hair_style == "cap"
    wide = 1.5 if cap else np.pi
    around = np.linspace(-wide, wide, columns)
    rim = np.array([0.97, 1.25, 1.5])[:, None] if cap else np.array([0.98, 1.3, 1.55])[:, None]
    if cap:
        rim = 1 + (rim - 1) * np.cos(around / 1.5 * np.pi / 2) ** 0.5
    x = np.sin(around) * (half[0] + 0.012) * (1 + (rim - 1) * 0.8)
    y = middle[1] - np.cos(around) * (half[1] + 0.012) * rim
    z = eye + 0.052 - 0.05 * (rim - 1) + 0 * around
    return np.stack([x, y, z], -1).reshape(-1, 3), grid_triangles(3, columns, closed=False)
