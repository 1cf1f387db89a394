"""Smooth noise on the body and over pictures, and soft steps."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np


def noise(points: Any, frequency: float, seed: int) -> Any:
    """(N,) smooth noise in about -1..1 at (N, 3) points."""
    r = np.random.default_rng(seed)
    x, y, z = np.ascontiguousarray(points.T)
    total = np.zeros(len(points))
    for k in range(4):
        d = r.normal(size=3)
        d /= np.sqrt((d**2).sum())
        wave = x * d[0]
        wave += y * d[1]
        wave += z * d[2]
        wave *= frequency * (1 + 0.7 * k)
        wave += r.uniform(0, 6.3)
        np.sin(wave, out=wave)
        wave /= 1 + k
        total += wave
    total /= 2
    return total


def noise_within(where: Any, points: Any, strength: float, frequency: float, seed: int) -> Any:
    """(N,) noise at the points of a mask (N,), 0 at the others."""
    out = np.zeros(len(points))
    out[where] = strength * noise(points[where], frequency, seed)
    return out


def smoothstep(low: float, high: float, x: Any) -> Any:
    """0 below ``low``, 1 above ``high``, smooth between; the other way round where ``low`` is the greater."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def fade_out(value: Any, low: float, high: float) -> Any:
    """1 below ``low``, 0 above ``high``."""
    return 1 - smoothstep(low, high, value)


def noise_image(r: np.random.Generator, h: int, w: int, size: float) -> Any:
    """(h, w) smooth noise about 0 with features of ``size`` pixels."""
    rows, columns = max(2, round(h / size) + 2), max(2, round(w / size) + 2)
    return cv2.resize(
        r.normal(size=(rows, columns)).astype(np.float32), (w, h), interpolation=cv2.INTER_CUBIC
    )
