"""The colour of what is worn: patterns, seams, collars, trousers, skirts and shoes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from dp2bench.datasets.passersby.rendering.body import SKIN_VERTICES, Zone, kit
from dp2bench.datasets.passersby.rendering.dressing import ClothedMesh
from dp2bench.datasets.passersby.rendering.garments import garment_masks, hem_height
from dp2bench.datasets.passersby.rendering.identities import JACKETS, Identity, jacket_is_open
from dp2bench.datasets.passersby.rendering.noise import noise


class SurfacePoints(NamedTuple):
    """N points of a clothed mesh.

    Attributes:
        p: (N, 3) in the body's template, metres.
        f: (N, 3) in the coordinates of the fabric.
        zone: (N,) of `Zone`.
        arm: (N,) 0 at the shoulder, 1 at the wrist, -1 off the arms.
        on_body: (N,) bool, False on loose hair and bags.

    """

    p: Any
    f: Any
    zone: Any
    arm: Any
    on_body: Any


def paint_clothes(mesh: ClothedMesh, at: SurfacePoints, out: Any) -> Any:
    """Colour what is worn in ``out`` (N, 3); returns (N,) bool where cloth is."""
    identity = mesh.identity
    top, low = garment_masks(identity, at.p, at.zone, at.arm)
    top, low = top & at.on_body, low & at.on_body
    skirt = at.zone == Zone.SKIRT
    above_hem = (at.p[:, 2] > hem_height(identity)) & (identity.top != "tank")
    upper = top | (skirt & (above_hem | (identity.bottom != "skirt")))
    own_skirt = skirt & ~upper
    _paint_pattern(identity, at, upper, out)
    _paint_seams(identity, at, top, upper, skirt, out)
    _paint_bottom(identity, at, low, own_skirt, out)
    _paint_shoes(identity, at, (at.zone == Zone.FOOT) & ~low, out)
    if identity.bag in ("backpack", "shoulder") and len(mesh.carried) and (mesh.zone[-1] == Zone.BAG):
        _paint_strap(identity, at, top, out)
    return upper | low | own_skirt


def _paint_pattern(identity: Identity, at: SurfacePoints, upper: Any, out: Any) -> None:
    """The upper garment's two colours."""
    first, second = np.array(identity.top_colour), np.array(identity.second_colour)
    k = np.flatnonzero(upper)
    sleeves = (at.zone[k] == Zone.ARM) & (at.arm[k] > 0.06)
    side, height, arm = at.f[k, 0], at.f[k, 2], at.arm[k]
    run = np.where(sleeves, 0.53 - arm * 0.45, height)
    cloth = np.empty((len(k), 3))
    cloth[:] = first
    mark = np.zeros(len(k), bool)
    if identity.pattern == "stripes":
        mark = np.sin(identity.pitch * run) > (-0.3, 0.1, 0.6)[identity.motif % 3]
    elif identity.pattern == "bars":
        mark = np.sin(1.2 * identity.pitch * side) > (0.1, 0.6)[identity.motif % 2]
    elif identity.pattern == "check":
        a, b = np.sin(identity.pitch * run), np.sin(identity.pitch * side)
        cloth[(a > 0) ^ (b > 0)] = 0.6 * first + 0.4 * second
        mark = (a > 0.8) | (b > 0.8)
    elif identity.pattern == "print":
        centre = 0.43 if identity.motif != 1 else 0.4
        mark = ~sleeves & _motif(identity.motif, side / 0.085, (height - centre) / 0.085) & at.on_body[k]
    elif identity.pattern == "block":
        mark = (height > 0.36 + 0.05 * (identity.motif % 3)) & ~sleeves | (sleeves & (arm < 0.25))
    elif identity.pattern == "dots":
        mark = np.sin(identity.pitch * side) * np.sin(identity.pitch * run) > 0.45
    elif identity.pattern == "raglan":
        mark = sleeves | (np.abs(side) > 0.15 - 0.3 * np.clip(height - 0.4, 0, 1)) & (height > 0.38)
    elif identity.pattern == "band":
        mark = (np.abs(height - (0.28, 0.36, 0.44)[identity.motif % 3]) < 0.045) & ~sleeves
    elif identity.pattern == "diagonal":
        mark = (np.abs(height - 0.36 - 0.9 * side) < 0.05) & ~sleeves
    elif identity.pattern == "halves":
        mark = side > 0
    elif identity.pattern == "flecks":
        mark = noise(at.f[k], 60, identity.seed + 7) > 0.12
    cloth[mark] = second
    weave = 1 + 0.05 * noise(at.f[k], 75, identity.seed + 4)
    out[k] = cloth * weave[:, None]


def _motif(kind: int, x: Any, z: Any) -> Any:
    """(N,) bool: a printed picture at x, z in about -1..1."""
    if kind == 0:
        return x**2 + z**2 < 1
    if kind == 1:
        return (np.abs(x) < 1) & (np.abs(z) < 0.35)
    if kind == 2:
        return (np.abs(x) + np.abs(z) < 1.1) & (np.abs(x) + np.abs(z) > 0.5)
    if kind == 3:
        return (np.abs(x) < 0.9) & (np.abs(z) < 0.9) & ((np.abs(z) > 0.55) | (np.abs(z) < 0.18))
    if kind == 4:
        return (z < 0.9) & (z > -0.9 + 1.8 * np.abs(x))
    return (np.abs(x) < 1) & (np.abs(z) < 1) & ((np.abs(x) < 0.33) | (np.abs(z) < 0.33))


def _paint_seams(identity: Identity, at: SurfacePoints, top: Any, upper: Any, skirt: Any, out: Any) -> None:
    """Hem, buttons, pockets, cuffs and collar of the upper garment."""
    p, f, zone, arm = at.p, at.f, at.zone, at.arm
    x = np.abs(p[:, 0])
    second = np.array(identity.second_colour)
    hem_z = identity.length if identity.bottom == "dress" else hem_height(identity)
    out[upper & skirt & (np.abs(p[:, 2] - hem_z) < 0.012)] *= 0.8
    centre = upper & (p[:, 1] < -0.02) & (zone != Zone.ARM)
    if identity.top in JACKETS:
        if jacket_is_open(identity):
            out[centre & (x < 0.03 + 0.05 * np.clip(p[:, 2] - 0.25, 0, 1)) & ~skirt] = second * 0.9 + 0.05
        out[centre & (np.abs(x - 0.012) < 0.005)] *= 0.55
        out[(zone == Zone.ARM) & top & (arm > identity.sleeve - 0.05)] *= 0.75
        pocket = centre & (np.abs(f[:, 2] - 0.17) < 0.006) & (np.abs(x - 0.1) < 0.045)
        out[pocket] *= 0.5
    elif identity.top == "shirt":
        out[centre & (x < 0.005)] *= 0.7
        out[centre & (x < 0.006) & (np.sin(f[:, 2] * 75) > 0.9)] = 0.85
        pocket = centre & (np.abs(p[:, 0] - 0.075) < 0.035) & (np.abs(f[:, 2] - 0.46) < 0.004)
        out[pocket & ~skirt] *= 0.7
    if identity.top in ("tee", "shirt"):
        out[(zone == Zone.ARM) & top & (arm > identity.sleeve - 0.03)] *= 0.85
    d = np.sqrt(p[:, 0] ** 2 + (p[:, 1] + 0.022) ** 2 + (p[:, 2] - 0.742) ** 2)
    collar = top & (d < identity.collar + 0.016) & (zone != Zone.ARM)
    out[collar] *= 0.72 if identity.top != "shirt" else 1.12


def _paint_bottom(identity: Identity, at: SurfacePoints, low: Any, skirt: Any, out: Any) -> None:
    """Trousers or shorts where ``low`` says, and what of the skirt's mesh is no upper garment."""
    p, f, x = at.p, at.f, np.abs(at.p[:, 0])
    bottom = low | skirt
    second = np.array(identity.second_colour)
    k = np.flatnonzero(bottom)
    out[k] = np.array(identity.bottom_colour) * (1 + 0.05 * noise(f[k], 90, 3))[:, None]
    if identity.bottom_pattern == "faded":
        worn = np.exp(-(((f[k, 2] + 0.1) / 0.2) ** 2)) * (p[k, 1] < 0)
        out[k] *= 1 + 0.35 * worn[:, None]
    elif identity.bottom_pattern == "side":
        out[bottom & (np.abs(p[:, 1] + 0.015) < 0.022) & (x > 0.1)] = second
    elif identity.bottom_pattern == "hem":
        end = {"trousers": -0.72, "shorts": identity.length}.get(identity.bottom, identity.length)
        out[bottom & (f[:, 2] < end + 0.07)] = 0.75 * second + 0.1
    if identity.bottom == "skirt" and identity.seed % 3 == 0:
        out[skirt & (np.sin(identity.pitch * f[:, 2]) > 0.3)] *= 0.62
    if identity.bottom in ("skirt", "dress") and identity.seed % 3 == 1:
        angle = np.arctan2(p[:, 0], p[:, 1] + 0.02)
        out[skirt] *= (1 + 0.16 * np.sin(26 * angle[skirt]))[:, None]
    if identity.bottom == "trousers":
        out[low & (p[:, 1] < 0) & (np.abs(x - 0.15) < 0.004)] *= 0.85


def _paint_shoes(identity: Identity, at: SurfacePoints, shoe: Any, out: Any) -> None:
    y, height = at.p[:, 1], at.f[:, 2]
    lowest = kit().template[:SKIN_VERTICES, 2].min()
    out[shoe] = identity.shoes
    laces = shoe & (y < -0.03) & (y > -0.11) & (height > lowest + 0.06) & (np.sin(y * 420) > 0.2)
    out[laces] = 0.8 if sum(identity.shoes) < 1.2 else 0.35
    out[shoe & (height < lowest + 0.014)] = 0.75 if sum(identity.shoes) < 1 else 0.25
    sock = shoe & (height > lowest + 0.1)
    out[sock] = 0.75 if identity.seed % 2 else 0.15


def _paint_strap(identity: Identity, at: SurfacePoints, top: Any, out: Any) -> None:
    p = at.p
    strap = (
        (np.abs(np.abs(p[:, 0]) - 0.095) < 0.016) & (p[:, 2] > 0.36)
        if identity.bag == "backpack"
        else np.abs(p[:, 0] * 0.85 + 0.32 - p[:, 2] + 0.1) < 0.016
    )
    out[top & strap & (at.zone == Zone.TORSO)] = 0.75 * np.array(identity.bag_colour)
