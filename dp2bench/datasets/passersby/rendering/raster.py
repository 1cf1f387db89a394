"""A small z-buffer rasteriser. Compiled without fast maths: coverage must not depend on the processor."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator,unused-ignore]
def _raster(x: Any, y: Any, near: Any, tri: Any, depth: Any, owner: Any, bary: Any, base: int) -> None:
    height, width = depth.shape
    for t in range(tri.shape[0]):
        i, j, k = tri[t, 0], tri[t, 1], tri[t, 2]
        if near[i] <= 0 or near[j] <= 0 or near[k] <= 0:
            continue
        x0, y0, x1, y1, x2, y2 = x[i], y[i], x[j], y[j], x[k], y[k]
        left, right = (
            max(0, int(np.ceil(min(x0, x1, x2) - 0.5))),
            min(width - 1, int(np.floor(max(x0, x1, x2) - 0.5))),
        )
        top, bottom = (
            max(0, int(np.ceil(min(y0, y1, y2) - 0.5))),
            min(height - 1, int(np.floor(max(y0, y1, y2) - 0.5))),
        )
        if left > right or top > bottom:  # most triangles lie between the centres of pixels
            continue
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if abs(area) < 1e-9:
            continue
        for py in range(top, bottom + 1):
            for px in range(left, right + 1):
                u, v = px + 0.5, py + 0.5
                a = ((x1 - u) * (y2 - v) - (x2 - u) * (y1 - v)) / area
                b = ((x2 - u) * (y0 - v) - (x0 - u) * (y2 - v)) / area
                c = 1.0 - a - b
                if a < 0 or b < 0 or c < 0:
                    continue
                inverse = a * near[i] + b * near[j] + c * near[k]
                if inverse > depth[py, px]:
                    depth[py, px] = inverse
                    owner[py, px] = base + t
                    bary[py, px, 0] = a * near[i] / inverse
                    bary[py, px, 1] = b * near[j] / inverse


class ZBuffer:
    """Depth, triangle and barycentrics of each pixel of an (H, W) picture."""

    def __init__(self, height: int, width: int) -> None:
        self.depth = np.zeros((height, width), np.float64)
        """(H, W) one over the distance in metres, 0 where nothing is."""
        self.owner = np.full((height, width), -1, np.int32)
        self.bary = np.zeros((height, width, 2), np.float64)

    def draw(self, xy_near: NDArray[np.float64], triangles: NDArray[np.int32], base: int = 0) -> None:
        """Add triangles, numbered from ``base``, of vertices (V, 3): x and y in pixels, one over the distance."""
        x, y, near = (np.ascontiguousarray(xy_near[:, k]) for k in range(3))
        _raster(x, y, near, triangles, self.depth, self.owner, self.bary, base)


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator,unused-ignore]
def skin(points: Any, weights: Any, bones: Any, transforms: Any) -> Any:
    """Blend skinning: (V, 3) points moved by (V, K) weights of (J, 4, 4) bone transforms."""
    out = np.zeros_like(points)
    for v in range(points.shape[0]):
        for k in range(weights.shape[1]):
            w = weights[v, k]
            if w == 0:
                continue
            m = transforms[bones[v, k]]
            for r in range(3):
                out[v, r] += w * (
                    m[r, 0] * points[v, 0] + m[r, 1] * points[v, 1] + m[r, 2] * points[v, 2] + m[r, 3]
                )
    return out


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator,unused-ignore]
def normals(points: Any, tri: Any) -> Any:
    """(V, 3) unit normals of a mesh, averaged over the faces around a vertex by area."""
    out = np.zeros_like(points)
    for t in range(tri.shape[0]):
        i, j, k = tri[t, 0], tri[t, 1], tri[t, 2]
        ax, ay, az = points[j, 0] - points[i, 0], points[j, 1] - points[i, 1], points[j, 2] - points[i, 2]
        bx, by, bz = points[k, 0] - points[i, 0], points[k, 1] - points[i, 1], points[k, 2] - points[i, 2]
        nx, ny, nz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
        for v in (i, j, k):
            out[v, 0] += nx
            out[v, 1] += ny
            out[v, 2] += nz
    for v in range(out.shape[0]):
        length = np.sqrt(out[v, 0] ** 2 + out[v, 1] ** 2 + out[v, 2] ** 2)
        if length > 1e-12:
            for r in range(3):
                out[v, r] /= length
    return out
