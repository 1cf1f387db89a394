"""3 x 3 convolution on a CPU by Winograd's minimal filtering F(4 x 4, 3 x 3): a quarter of the multiplications.

Lavin and Gray 2016, "Fast Algorithms for Convolutional Neural Networks", with the interpolation points 0, 1, -1, 1/2, -2 and
infinity, which lose less precision than theirs (Barabasz et al. 2020, "Error Analysis and Improving the Accuracy of Winograd
Convolution for Deep Neural Networks"). The products are one batched matrix product for each strip of tiles; a strip is small
enough for the second-level cache.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

TILE = 4
"""Output pixels of a tile along an axis; it reads six."""
STRIP = 80
"""Tiles of a strip for each thread, about."""
KERNEL = np.array(
    [[1, 0, 0], [1 / 3, 1 / 3, 1 / 3], [-1 / 3, 1 / 3, -1 / 3],
     [-16 / 15, -8 / 15, -4 / 15], [1 / 15, -2 / 15, 4 / 15], [0, 0, 1]]
)  # fmt: skip
"""(6, 3): what turns a kernel into the domain of the products, from both sides; it belongs to `_to_domain` and `_from_domain`."""


# Regrouping sums and fused multiply-adds change the last bits alone.
_FREE = {"contract", "reassoc", "nsz"}
F0125, F025, F05, F15, F20, F25, F40, F80 = (np.float32(v) for v in (0.125, 0.25, 0.5, 1.5, 2, 2.5, 4, 8))


def transform(weight: Tensor) -> Tensor:
    """(O, I, 3, 3) kernels to (36, I, O) float32, the matrices that `convolve` multiplies with."""
    g = torch.from_numpy(KERNEL)
    made = torch.einsum("ij,ocjk,lk->ilco", g, weight.detach().double().cpu(), g)
    return made.reshape(36, weight.shape[1], weight.shape[0]).float().contiguous()


def convolve(
    x: Tensor,
    kernels: Tensor,
    *,
    scale: Tensor | None = None,
    shift: Tensor | None = None,
    bias: Tensor | None = None,
    slope: float = 1.0,
    limit: float = float("inf"),
) -> Tensor:
    """Modulate, convolve with zeros around, add a bias, activate and clamp; each row of a batch by itself.

    Args:
        x: (B, I, H, W) float32, channels last in memory.
        kernels: (36, I, O), see `transform`.
        scale: (B, I), factors of x.
        shift: (B, I), added to it after them.
        bias: (O,), added to the result.
        slope: of the leaky ReLU after that.
        limit: on the magnitude after that.

    Returns:
        (B, O, H, W), channels last in memory.

    """
    size, channels, height, width = x.shape
    out_channels = kernels.shape[2]
    threads = torch.get_num_threads()
    down, across = -(-height // TILE), -(-width // TILE)
    rows = max(1, min(down, STRIP * threads // across))
    out = torch.empty((size, out_channels, height, width), memory_format=torch.channels_last)
    source, target = x.detach().permute(0, 2, 3, 1).contiguous().numpy(), out.permute(0, 2, 3, 1).numpy()
    factors = torch.ones(size, channels) if scale is None else scale.detach().contiguous()
    shifts = torch.zeros(size, channels) if shift is None else shift.detach().contiguous()
    offsets = (torch.zeros(out_channels) if bias is None else bias.detach()).numpy()
    before = torch.empty(36, rows * across, channels)
    after = torch.empty(36, rows * across, out_channels)
    lines = np.empty((threads, 6, across * TILE + 2, channels), np.float32)
    columns = np.empty((threads, 6, across * TILE, out_channels), np.float32)
    for i in range(size):
        factor, addend = factors[i].numpy(), shifts[i].numpy()
        for first in range(0, down, rows):
            n = min(rows, down - first)
            given, made = before[:, : n * across], after[:, : n * across]
            forth = partial(_forth, source[i], factor, addend, first, lines, given.numpy())
            back = partial(_back, made.numpy(), offsets, slope, limit, first, columns, target[i])
            _share(forth, n, threads)
            torch.bmm(given, kernels, out=made)
            _share(back, n, threads)
    return out


def _share(work: Callable[[int, int, int], None], rows: int, threads: int) -> None:
    """Call ``work(k, first, end)`` for equal shares of the rows, in threads if there are several."""
    parts = min(rows, threads)
    edges = [rows * k // parts for k in range(parts + 1)]
    if parts == 1:
        work(0, 0, rows)
    else:
        list(_pool(threads, os.getpid()).map(work, range(parts), edges[:-1], edges[1:]))


@cache
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    """One pool a process: threads do not survive a fork."""
    return ThreadPoolExecutor(threads, thread_name_prefix="winograd")


# Released GIL and threads of Python rather than numba's: its pools survive neither fork nor two callers at once.
@numba.njit(cache=True, nogil=True, fastmath=_FREE)  # type: ignore[untyped-decorator,unused-ignore]
def _six(a: Any, b: Any, c: Any, d: Any, e: Any, f: Any) -> Any:
    """Six pixels of a line to the domain of the products."""
    return (
        (a + e) + F15 * (d - b) - F20 * c,
        (e - b) + F05 * c + F25 * d,
        (e + b) - F25 * c + F05 * d,
        (e - c) + F20 * (d - b),
        (e - c) + F05 * (b - d),
        (b + f) + F15 * (e - c) - F20 * d,
    )


@numba.njit(cache=True, nogil=True, fastmath=_FREE)  # type: ignore[untyped-decorator,unused-ignore]
def _four(a: Any, b: Any, c: Any, d: Any, e: Any, f: Any) -> Any:
    """Six products to four pixels of a line."""
    return (
        a + (b + c) + (d + e),
        (b - c) + F05 * d - F20 * e,
        (b + c) + F025 * d + F40 * e,
        (b - c) + F0125 * d - F80 * e + f,
    )


@numba.njit(cache=True, nogil=True, fastmath=_FREE)  # type: ignore[untyped-decorator,unused-ignore]
def _to_domain(x: Any, scale: Any, shift: Any, first: int, lo: int, hi: int, lines: Any, out: Any) -> None:
    """Rows lo to hi of a strip that begins at row ``first`` of tiles: x (H, W, C) to out (36, tiles, C).

    ``lines`` (6, 4 * tiles across + 2, C) is scratch: the six lines of pixels of a row of tiles, with the zeros around them.
    """
    height, width, channels = x.shape
    wide = lines.shape[1]
    across = (wide - 2) // 4
    for row in range(lo, hi):
        for k in range(6):
            y = (first + row) * 4 - 1 + k
            for p in range(wide):
                if 0 <= y < height and 1 <= p <= width:
                    for c in range(channels):
                        lines[k, p, c] = x[y, p - 1, c] * scale[c] + shift[c]
                else:
                    for c in range(channels):
                        lines[k, p, c] = 0
        for p in range(wide):
            for c in range(channels):
                r0, r1, r2, r3, r4, r5 = _six(
                    lines[0, p, c],
                    lines[1, p, c],
                    lines[2, p, c],
                    lines[3, p, c],
                    lines[4, p, c],
                    lines[5, p, c],
                )
                lines[0, p, c], lines[1, p, c], lines[2, p, c] = r0, r1, r2
                lines[3, p, c], lines[4, p, c], lines[5, p, c] = r3, r4, r5
        for t in range(across):
            at, p = row * across + t, t * 4
            for k in range(6):
                for c in range(channels):
                    r0, r1, r2, r3, r4, r5 = _six(
                        lines[k, p, c], lines[k, p + 1, c], lines[k, p + 2, c],
                        lines[k, p + 3, c], lines[k, p + 4, c], lines[k, p + 5, c],
                    )  # fmt: skip
                    out[k * 6, at, c], out[k * 6 + 1, at, c], out[k * 6 + 2, at, c] = r0, r1, r2
                    out[k * 6 + 3, at, c], out[k * 6 + 4, at, c], out[k * 6 + 5, at, c] = r3, r4, r5


@numba.njit(cache=True, nogil=True, fastmath=_FREE)  # type: ignore[untyped-decorator,unused-ignore]
def _from_domain(
    products: Any, bias: Any, slope: Any, limit: Any, first: int, lo: int, hi: int, columns: Any, out: Any
) -> None:
    """The way back: products (36, tiles, O) to out (H, W, O); ``columns`` (6, 4 * tiles across, O) is scratch."""
    height, width, channels = out.shape
    across = columns.shape[1] // 4
    for row in range(lo, hi):
        for t in range(across):
            at, p = row * across + t, t * 4
            for k in range(6):
                for c in range(channels):
                    q0, q1, q2, q3 = _four(
                        products[k * 6, at, c], products[k * 6 + 1, at, c], products[k * 6 + 2, at, c],
                        products[k * 6 + 3, at, c], products[k * 6 + 4, at, c], products[k * 6 + 5, at, c],
                    )  # fmt: skip
                    columns[k, p, c], columns[k, p + 1, c] = q0, q1
                    columns[k, p + 2, c], columns[k, p + 3, c] = q2, q3
        y = (first + row) * 4
        for p in range(width):
            for c in range(channels):
                q0, q1, q2, q3 = _four(
                    columns[0, p, c], columns[1, p, c], columns[2, p, c],
                    columns[3, p, c], columns[4, p, c], columns[5, p, c],
                )  # fmt: skip
                columns[0, p, c], columns[1, p, c], columns[2, p, c], columns[3, p, c] = q0, q1, q2, q3
            for k in range(min(4, height - y)):
                for c in range(channels):
                    v = columns[k, p, c] + bias[c]
                    v = max(v, v * slope)
                    out[y + k, p, c] = min(max(v, -limit), limit)


def _forth(
    x: Any, scale: Any, shift: Any, first: int, lines: Any, out: Any, worker: int, lo: int, hi: int
) -> None:
    _to_domain(x, scale, shift, first, lo, hi, lines[worker], out)


def _back(
    products: Any,
    bias: Any,
    slope: float,
    limit: float,
    first: int,
    columns: Any,
    out: Any,
    worker: int,
    lo: int,
    hi: int,
) -> None:
    _from_domain(products, bias, np.float32(slope), np.float32(limit), first, lo, hi, columns[worker], out)
