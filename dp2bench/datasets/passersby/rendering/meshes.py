"""Meshes that are computed rather than read: grids and a rounded box."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dp2bench.datasets.passersby.rendering.body import Floats


def grid_triangles(rows: int, columns: int, *, closed: bool) -> NDArray[np.int32]:
    """Triangles of a grid of vertices; ``closed`` joins the last column to the first."""
    i, j = np.meshgrid(np.arange(rows - 1), np.arange(columns - (not closed)), indexing="ij")
    a, b = i * columns + j, i * columns + (j + 1) % columns
    c, d = a + columns, b + columns
    t = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([b, d, c], -1).reshape(-1, 3)])
    return t.astype(np.int32)


@cache
def rounded_box() -> tuple[Floats, NDArray[np.int32]]:
    """A rounded box of half size 1: vertices and triangles."""
    rows, columns = 9, 14
    lat, lon = np.meshgrid(
        np.linspace(-np.pi / 2, np.pi / 2, rows),
        np.linspace(0, 2 * np.pi, columns, endpoint=False),
        indexing="ij",
    )

    def power(x: Any) -> Any:
        return np.sign(x) * np.abs(x) ** 0.45

    v = np.stack(
        [
            power(np.cos(lat)) * power(np.cos(lon)),
            power(np.cos(lat)) * power(np.sin(lon)),
            power(np.sin(lat)),
        ],
        -1,
    )
    return v.reshape(-1, 3), grid_triangles(rows, columns, closed=True)
