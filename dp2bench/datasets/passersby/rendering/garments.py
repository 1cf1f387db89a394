"""Which part of the body is under which garment."""

from __future__ import annotations

from typing import Any

import numpy as np

from dp2bench.datasets.passersby.rendering.body import Zone
from dp2bench.datasets.passersby.rendering.identities import Identity
from dp2bench.datasets.passersby.rendering.noise import smoothstep


def hem_height(identity: Identity) -> float:
    """Height in template metres where the upper garment ends."""
    return {"coat": -0.22, "jacket": 0.055, "shirt": 0.03, "tee": 0.05, "tank": 0.06}[identity.top]


def garment_masks(identity: Identity, p: Any, zone: Any, arm: Any) -> tuple[Any, Any]:
    """(N,) bool: under the upper garment, under trousers or shorts, on the body alone (skirts are meshes of their own)."""
    c = np.array([0.0, -0.022, 0.742])
    from_neck = np.sqrt((p[:, 0] - c[0]) ** 2 + (p[:, 1] - c[1]) ** 2 + (p[:, 2] - c[2]) ** 2)
    if identity.top in ("shirt", "jacket", "coat"):
        from_neck = from_neck - 0.045 * smoothstep(0.028, 0.0, np.abs(p[:, 0])) * (p[:, 1] < c[1])
    trunk = np.isin(zone, (Zone.TORSO, Zone.LEG)) | (
        (zone == Zone.HEAD) & (p[:, 2] < 0.7) & (p[:, 1] > -0.07)
    )
    waist = 0.1 if identity.top != "coat" else 0.0
    top = (trunk & (p[:, 2] > waist) & (from_neck > identity.collar)) | (
        np.isin(zone, (Zone.ARM, Zone.HAND)) & (arm < identity.sleeve)
    )
    if identity.top == "tank":
        top &= (np.abs(p[:, 0]) < 0.135) | (p[:, 2] < 0.5)
    low = np.isin(zone, (Zone.LEG, Zone.TORSO, Zone.FOOT)) & (p[:, 2] <= 0.2) & ~top
    low &= p[:, 2] > {"trousers": -0.745, "shorts": identity.length}.get(identity.bottom, 0.0)
    return top, low
