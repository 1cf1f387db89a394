"""From an identity to its clothed body: garments, hair and bags as one mesh at rest."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dp2bench.datasets.passersby.rendering import raster
from dp2bench.datasets.passersby.rendering.body import ALL_VERTICES, Floats, Zone, kit
from dp2bench.datasets.passersby.rendering.garments import garment_masks, hem_height
from dp2bench.datasets.passersby.rendering.hair import height_above_hairline, loose_hair
from dp2bench.datasets.passersby.rendering.identities import Identity, make_identity
from dp2bench.datasets.passersby.rendering.meshes import rounded_box
from dp2bench.datasets.passersby.rendering.noise import noise, smoothstep


@dataclass(frozen=True)
class ClothedMesh:
    """A clothed body at rest, to be posed many times.

    Attributes:
        clothed: (V, 3) vertices with clothes; bare: (19158, 3) without.
        template: (V, 3) the coordinates of the body's parts; fabric: (V, 3) those that clothes are painted in, straight
            where the clothes are; zone: (V,); arm: (V,).
        carried: (V - 19158,) the bone that each vertex beyond the body follows.
        triangles: (T, 3) int32.

    """

    identity: Identity
    clothed: Floats
    bare: Floats
    heads: Floats
    template: Floats
    fabric: Floats
    zone: NDArray[np.int8]
    arm: Floats
    triangles: NDArray[np.int32]
    carried: NDArray[np.int64]


class _Piece(NamedTuple):
    """What is no part of the body's mesh: (V, 3) vertices, (V, 3) coordinates it is painted in, (T, 3) triangles, its zone and bone."""

    vertices: Floats
    template: Floats
    triangles: NDArray[np.int32]
    zone: Zone
    bone: int


class IdentityPool:
    """Identities ``first`` to ``first + count`` of a stream, dressed when they are first needed."""

    def __init__(self, stream: str, first: int, count: int) -> None:
        self._identities = [make_identity(stream, first + k) for k in range(count)]
        self._dressed: dict[int, ClothedMesh] = {}

    def __getitem__(self, k: int) -> ClothedMesh:
        if k not in self._dressed:
            self._dressed[k] = dress(self._identities[k])
        return self._dressed[k]


@lru_cache(maxsize=4)
def dress(identity: Identity, bag: bool = True) -> ClothedMesh:
    """Put clothes on the body of an identity."""
    body = kit()
    p = body.template
    bare, heads = body.shape(body.coefficients[identity.body])
    hem = _hem(identity)
    v = _hang_skirt(identity, _cover_body(identity, bare), hem)
    pieces = [_Piece(q, q, t, Zone.HAIR, body.bones["head"]) for q, t in loose_hair(identity, v)]
    if bag and identity.bag != "none":
        pieces.append(_bag(identity, v))
    height = p[body.skirt_mesh, 2]
    meshes = [body.skin_mesh, body.eye_mesh, body.skirt_mesh[height.max(1) > hem]]
    first = ALL_VERTICES
    for piece in pieces:
        meshes.append(piece.triangles + first)
        first += len(piece.vertices)

    def extended(values: Any, more: list[Any]) -> Any:
        return np.concatenate([values, *more])

    return ClothedMesh(
        identity,
        extended(v, [piece.vertices for piece in pieces]),
        bare,
        heads,
        extended(p, [piece.template for piece in pieces]),
        extended(_fabric(v, heads), [piece.template for piece in pieces]),
        extended(body.zone, [np.full(len(q.vertices), q.zone, np.int8) for q in pieces]),
        extended(body.arm, [np.full(len(q.vertices), -1.0) for q in pieces]),
        np.ascontiguousarray(np.concatenate(meshes), np.int32),
        extended(np.zeros(0, np.int64), [np.full(len(q.vertices), q.bone) for q in pieces]),
    )


def _cover_body(identity: Identity, bare: Floats) -> Floats:
    """(19158, 3) the body under close-fitting clothes, shoes and hair: its skin moved outwards."""
    body = kit()
    p, zone = body.template, body.zone
    top, low = garment_masks(identity, p, zone, body.arm)
    top, low = top & body.body, low & body.body
    foot = (zone == Zone.FOOT) & body.body
    v = body.smooth(bare, top | low, 12)
    v = body.smooth(v, foot & body.toes, 80)
    n = raster.normals(np.ascontiguousarray(v), body.skin_mesh)
    off = np.zeros(ALL_VERTICES)
    off[top] = identity.looseness + {"jacket": 0.012, "coat": 0.014}.get(identity.top, 0.0)
    flare = 0.010 + identity.looseness * 0.75 + 0.014 * smoothstep(-0.15, -0.62, p[:, 2])
    if identity.bottom == "shorts":
        flare = flare + 0.012 * smoothstep(0.05, identity.length, p[:, 2])
    off[low] = flare[low]
    off[foot & ~low] = 0.011
    if identity.hair_style != "bald":
        head = (zone == Zone.HEAD) & body.body
        off = np.where(head & ~top, _hair_thickness(identity), off)
    off = body.smooth(off, body.body, 2, 0.6)
    off += np.where(top | low, 0.004 * noise(p, 38, identity.seed + 1), 0)
    covered: Floats = v + n * off[:, None]
    sole = covered[foot, 2].min()
    covered[foot, 2] = np.where(covered[foot, 2] < sole + 0.016, sole, covered[foot, 2])
    return covered


def _hair_thickness(identity: Identity) -> Floats:
    """(19158,) metres of hair or headgear over the skin, 0 below the hairline."""
    body, p = kit(), kit().template
    fluff = {
        "buzz": 0.004, "crop": 0.017, "afro": 0.075, "cap": 0.018, "hat": 0.03, "beanie": 0.02, "scarf": 0.014, "bob": 0.024,
        "long": 0.02, "tail": 0.01, "bun": 0.01,
    }[identity.hair_style]  # fmt: skip
    rough = {"cap": 0.0, "hat": 0.0, "beanie": 0.1, "scarf": 0.15, "afro": 0.1}.get(identity.hair_style, 0.3)
    edge = smoothstep(-0.006, 0.03 + 0.6 * fluff, height_above_hairline(p, identity.hair_style))
    if identity.hair_style == "crop":
        edge = edge * (1 + 0.7 * smoothstep(0.05, 0.1, p[:, 2] - body.eye[2]))
    thickness: Floats = fluff * edge * (1 + rough * noise(p, 70, identity.seed))
    return thickness


def _hem(identity: Identity) -> float:
    """Height in template metres below which there is no skirt, nor the tail of a shirt or coat."""
    hem = identity.length if identity.bottom == "dress" else hem_height(identity)
    if identity.bottom == "skirt":
        return min(identity.length, hem)
    if identity.bottom != "dress" and identity.top == "tank":
        return 1.0
    return hem


def _hang_skirt(identity: Identity, v: Floats, hem: float) -> Floats:
    """Widen the skirt's vertices and cut them straight at ``hem``."""
    body = kit()
    p, skirt = body.template, body.zone == Zone.SKIRT
    spread = raster.normals(np.ascontiguousarray(v), body.skirt_mesh)
    outward = np.sign((spread[skirt, :2] * (v[skirt, :2] - v[skirt, :2].mean(0))).sum())
    ease = (identity.looseness + 0.016) * smoothstep(0.25, 0.02, p[:, 2]) + 0.35 * identity.looseness
    ease = ease + 0.02 * smoothstep(0.05, -0.4, p[:, 2]) * (identity.top == "coat")
    if identity.bottom in ("skirt", "dress"):
        ease = ease + 0.07 * ((identity.seed >> 3) % 3) / 2 * smoothstep(0.1, -0.45, p[:, 2])
    out: Floats = np.where(skirt[:, None], v + outward * spread * ease[:, None] * [1, 1, 0], v)
    # Clothes are cut straight: rows of the mesh below a hem move up to it, at the height it has on this body.
    rows = np.argsort(p[skirt, 2])
    levels, sorted_z = p[skirt, 2][rows], out[skirt, 2][rows]
    heights = (np.maximum.accumulate(sorted_z) + np.minimum.accumulate(sorted_z[::-1])[::-1]) / 2
    out[skirt, 2] = np.maximum(out[skirt, 2], float(np.interp(hem, levels, heights)))
    return out


def _fabric(v: Floats, heads: Floats) -> Floats:
    """(19158, 3) coordinates in which patterns are straight: those of the clothes, heights as on the mean body."""
    body, p = kit(), kit().template
    fabric: Floats = v.copy()
    known = [body.bones[name] for name in ("upperleg01.L", "neck01")]
    low_z, high_z = heads[known, 2]
    fabric[:, 2] = np.interp(
        v[:, 2],
        [v[:, 2].min(), low_z, high_z, v[:, 2].max()],
        [p[:, 2].min(), *body.rest_heads[known, 2], p[:, 2].max()],
    )
    return fabric


def _bag(identity: Identity, v: Floats) -> _Piece:
    """What an identity carries, where it touches the clothed vertices ``v``."""
    body = kit()
    p, zone = body.template, body.zone
    if identity.bag == "backpack":
        near = body.body & (np.abs(p[:, 0]) < 0.1) & (np.abs(p[:, 2] - 0.42) < 0.1) & (zone == Zone.TORSO)
        size = np.array([0.135, 0.075, 0.19])
        centre = np.array([0, v[near, 1].max() + 0.045, v[near, 2].mean()])
        bone = "spine02"
    elif identity.bag == "shoulder":
        near = body.body & (np.abs(p[:, 2] - 0.1) < 0.06) & (zone != Zone.HAND) & (zone != Zone.ARM)
        size = np.array([0.05, 0.15, 0.12])
        centre = np.array([v[near, 0].max() + 0.05, 0.03, v[near, 2].mean() - 0.02])
        bone = "root"
    else:
        near = (zone == Zone.HAND) & body.body & (p[:, 0] < 0)
        size = np.array([0.04, 0.17, 0.14])
        centre = v[near].mean(0) + np.array([0, -0.03, -0.2])
        bone = "wrist.R"
    unit, triangles = rounded_box()
    return _Piece(unit * size + centre, unit, triangles, Zone.BAG, body.bones[bone])
