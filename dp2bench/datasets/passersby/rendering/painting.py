"""The colour of a clothed body's surface points, how wrinkled they are, and which vertex they show."""

from __future__ import annotations

from typing import Any

import numpy as np

from dp2bench.datasets.passersby.rendering.body import ALL_VERTICES, Zone, kit
from dp2bench.datasets.passersby.rendering.dressing import ClothedMesh
from dp2bench.datasets.passersby.rendering.hair import hair_colour, height_above_hairline
from dp2bench.datasets.passersby.rendering.identities import JACKETS, Identity
from dp2bench.datasets.passersby.rendering.noise import noise
from dp2bench.datasets.passersby.rendering.paint_clothes import SurfacePoints, paint_clothes
from dp2bench.datasets.passersby.rendering.paint_head import paint_head, paint_skin


def paint(mesh: ClothedMesh, vertices: Any, weights: Any) -> tuple[Any, Any, Any]:
    """Colour of N surface points, given by the (N, 3) vertices around them and their (N, 3) weights.

    Returns (N, 3) reflectance 0..1, (N,) wrinkles, and (N,) body vertex ids, -2 on what is carried.
    """
    identity, body = mesh.identity, kit()
    p = np.einsum("nk,nkd->nd", weights, mesh.template[vertices])
    nearest = vertices[np.arange(len(vertices)), weights.argmax(1)]
    zone, arm = mesh.zone[nearest], np.einsum("nk,nk->n", weights, mesh.arm[vertices])
    on_body = nearest < ALL_VERTICES
    out = np.empty((len(p), 3))
    out[:] = identity.skin
    head = (zone == Zone.HEAD) | (zone == Zone.EYE)
    paint_skin(identity, p, head, out)
    paint_head(identity, p, zone, out)
    f = np.einsum("nk,nkd->nd", weights, mesh.fabric[vertices])
    cloth = paint_clothes(mesh, SurfacePoints(p, f, zone, arm, on_body), out)
    locks, carried = zone == Zone.HAIR, zone == Zone.BAG
    _paint_locks(identity, p, locks, out)
    _paint_bag(identity, p, carried, out)
    wrinkles = np.zeros(len(p))
    _fold_cloth(identity, p, f, zone, arm, cloth, wrinkles)
    if not head.all() and locks.any():
        wrinkles[locks] = 0.8 * np.sin(
            90 * np.arctan2(p[locks, 0], p[locks, 1] - body.eye[1] - 0.1) + identity.seed % 13
        )
    hair = head & (zone == Zone.HEAD) & (height_above_hairline(p, identity.hair_style) > 0.004)
    if identity.hair_style not in ("bald", "cap", "hat", "scarf", "buzz"):
        wrinkles[hair] = 0.6 * noise(p[hair] * [1, 1, 0.4], 190, identity.seed)
    ids = np.where(carried, -2, body.nearest[np.minimum(nearest, ALL_VERTICES - 1)])
    ids = np.where(locks & ~on_body, body.crown, ids)
    return out.clip(0, 1), wrinkles, ids


def _paint_locks(identity: Identity, p: Any, locks: Any, out: Any) -> None:
    if not locks.any():
        return
    hat = identity.hair_style in ("cap", "hat")
    q = p[locks]
    angle = np.arctan2(q[:, 0], q[:, 1] - kit().eye[1] - 0.1)
    out[locks] = identity.hat_colour if hat else hair_colour(identity, np.stack([angle, q[:, 2]], 1))


def _paint_bag(identity: Identity, p: Any, carried: Any, out: Any) -> None:
    if not carried.any():
        return
    q = p[carried]
    seam = (np.abs(q[:, 2] - 0.25) < 0.06) | (q[:, 2] < -0.55) | (np.abs(np.abs(q[:, 0]) - 0.8) < 0.05)
    out[carried] = np.array(identity.bag_colour) * np.where(seam, 0.65, 1.0)[:, None]


def _fold_cloth(identity: Identity, p: Any, f: Any, zone: Any, arm: Any, cloth: Any, wrinkles: Any) -> None:
    if not cloth.any():
        return
    fine = 0.45 if identity.top in JACKETS else 0.35
    wrinkles[cloth] = 0.6 * noise(f[cloth], 42, identity.seed + 1) + fine * noise(
        f[cloth], 105, identity.seed + 2
    )
    # Folds gather where limbs bend.
    bend = np.exp(-(((arm[cloth] - 0.52) / 0.12) ** 2)) + np.exp(-(((p[cloth, 2] + 0.31) / 0.07) ** 2)) * (
        zone[cloth] == Zone.LEG
    )
    wrinkles[cloth] += 0.7 * bend * np.sin(120 * (arm[cloth] * 0.5 + p[cloth, 2]))
