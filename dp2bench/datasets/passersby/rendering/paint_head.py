"""The colour of skin, faces and hair on the head."""

from __future__ import annotations

from typing import Any

import numpy as np

from dp2bench.datasets.passersby.rendering.body import Zone, kit
from dp2bench.datasets.passersby.rendering.hair import hair_colour, height_above_hairline
from dp2bench.datasets.passersby.rendering.identities import Identity
from dp2bench.datasets.passersby.rendering.noise import fade_out, noise, noise_within, smoothstep


def blend(out: Any, where: Any, share: Any, colour: Any) -> None:
    """Blend a colour into ``out`` (N, 3) where the mask (N,) says, by a share (M,) or 1."""
    share = np.broadcast_to(share, (int(where.sum()),))[:, None]
    out[where] = out[where] * (1 - share) + np.asarray(colour) * share


def paint_skin(identity: Identity, p: Any, head: Any, out: Any) -> None:
    """Uneven skin: blotches, and freckles on some."""
    out *= (1 + 0.035 * noise(p, 55, identity.seed))[:, None]
    q = p[head]
    blush = 0.03 * noise(q, 120, identity.seed + 3)
    out[head] *= 1 + blush[:, None] * [0.4, 1.0, 1.0]
    if identity.seed % 5 == 0 and sum(identity.skin) > 1.6:
        speck = fade_out(noise(q, 620, identity.seed + 9), -0.75, -0.55)
        out[head] *= 1 - 0.1 * speck[:, None] * [0.5, 0.9, 1.0]


def paint_head(identity: Identity, p: Any, zone: Any, out: Any) -> None:
    """Face, beard, eyes, hair and glasses, into the colours ``out`` (N, 3) of points (N, 3) of the body's template."""
    body = kit()
    x, dz, dy = np.abs(p[:, 0]), p[:, 2] - body.eye[2], p[:, 1] - body.eye[1]
    face = zone == Zone.HEAD
    front = face & (dy < 0.03)
    _paint_features(identity, x[front], dz[front], front, out)
    _paint_brows(identity, x[front], dz[front], front, out)
    if body.phenotypes[identity.body][body.phenotype_names.index("age")] > 0.72:
        _paint_age(x[front], dz[front], front, out)
    if identity.beard != "none":
        _paint_beard(identity, p, x, dy, dz, face, out)
    _paint_eyes(identity, x, dy, dz, zone == Zone.EYE, out)
    above = height_above_hairline(p, identity.hair_style)
    if identity.hair_style in ("cap", "hat", "beanie", "scarf"):
        _paint_headgear(identity, p, dz, face, above, out)
    elif identity.hair_style != "bald":
        _paint_scalp(identity, p, face, above, out)
    if identity.glasses:
        rim = ((x - 0.033) / 0.026) ** 2 + ((dz + 0.002) / 0.019) ** 2
        out[front & (rim > 0.68) & (rim < 1.12)] = 0.05
        out[face & (np.abs(dz - 0.004) < 0.003) & (x > 0.056) & (dy < 0.08) & (above < 0.01)] = 0.05
        out[front & (np.abs(dz - 0.004) < 0.002) & (x < 0.01)] = 0.05


def _paint_features(identity: Identity, x: Any, z: Any, front: Any, out: Any) -> None:
    """Cheeks, nose, sockets, lashes and mouth; x from the middle and z above the eyes, in metres, of the points of ``front``."""
    skin = np.array(identity.skin)
    cheeks = fade_out(((x - 0.042) / 0.026) ** 2 + ((z + 0.036) / 0.022) ** 2, 0.1, 1.0)
    out[front] *= 1 - 0.1 * cheeks[:, None] * [-0.2, 1.0, 0.9]
    nose = fade_out((x / 0.018) ** 2 + ((z + 0.04) / 0.014) ** 2, 0.1, 1.0)
    out[front] *= 1 - 0.07 * nose[:, None] * [0.0, 1.0, 0.9]
    socket = fade_out(((x - 0.031) / 0.022) ** 2 + ((z + 0.001) / 0.014) ** 2, 0.25, 1.0)
    out[front] *= 1 - 0.2 * socket[:, None]
    # Eyelashes and the fold of the lid darken the rim of the eye.
    lash = fade_out(np.abs(((x - 0.031) / 0.0165) ** 2 + (z / 0.0078) ** 2 - 1), 0.1, 0.45) * np.where(
        z > 0, 1.0, 0.35
    )
    blend(out, front, 0.75 * lash, 0.12 * skin)
    nostril = fade_out(((x - 0.0085) / 0.005) ** 2 + ((z + 0.0515) / 0.0035) ** 2, 0.3, 1.2)
    blend(out, front, 0.55 * nostril, 0.25 * skin)
    bow = -0.0625 + 0.0025 * np.cos(x / 0.0045) * (x < 0.016)
    width = 0.024 + 0.002 * (identity.seed % 3)
    lips = fade_out((x / width) ** 2 + ((z + 0.069) / 0.0088) ** 2, 0.6, 1.15) * (z < bow + 0.004)
    painted = identity.female and identity.seed % 4 == 0
    blend(
        out,
        front,
        (0.85 if painted else 0.6) * lips,
        skin * ([0.72, 0.3, 0.32] if painted else [0.84, 0.6, 0.58]),
    )
    gap = fade_out(np.abs(z + 0.0685 + 0.0015 * np.cos(x * 160)), 0.0006, 0.0019) * (x < width - 0.002)
    blend(out, front, 0.6 * gap, 0.3 * skin)


def _paint_brows(identity: Identity, x: Any, z: Any, front: Any, out: Any) -> None:
    height = (
        0.0225
        + 0.004 * ((identity.seed >> 2) % 5) / 4
        + 0.16 * (x - 0.02)
        - 5.2 * np.clip(x - 0.034, 0, 1) ** 1.7
    )
    thick = (0.0032 if identity.female else 0.0045) * np.clip((0.056 - x) / 0.02, 0.25, 1)
    brow = (
        fade_out(np.abs(z - height), 0.5 * thick, 1.3 * thick)
        * smoothstep(0.011, 0.016, x)
        * fade_out(x, 0.048, 0.055)
    )
    hairs = 0.8 + 0.25 * np.sin(x * 2600 + z * 1500)
    colour = 0.12 * np.array(identity.skin) + 0.6 * np.array(identity.hair)
    blend(out, front, 0.85 * brow * hairs.clip(0, 1), colour)


def _paint_age(x: Any, z: Any, front: Any, out: Any) -> None:
    """Folds beside the mouth and lines on the forehead."""
    fold = fade_out(np.abs(x - 0.027 + 0.55 * (z + 0.055)), 0.001, 0.0035) * fade_out(
        np.abs(z + 0.06), 0.012, 0.022
    )
    lines = (
        fade_out(np.abs(np.sin((z + 1.5 * x**2) * 430)), 0.0, 0.3)
        * fade_out(np.abs(z - 0.047), 0.008, 0.014)
        * (x < 0.035)
    )
    out[front] *= 1 - 0.22 * (fold + 0.5 * lines)[:, None]


def _paint_beard(identity: Identity, p: Any, x: Any, dy: Any, dz: Any, face: Any, out: Any) -> None:
    edge = noise_within(face, p, 0.006, 240, identity.seed)
    jaw = (
        fade_out(dz + 0.045 + 0.9 * np.clip(0.034 - x, 0, 1) - edge, -0.012, 0.0)
        * fade_out(dy, 0.07, 0.084)
        * smoothstep(-0.15, -0.125, dz)
    )
    lip = fade_out(np.abs(dz + 0.0555), 0.004, 0.0075) * fade_out(x, 0.024, 0.032) * (dy < 0.02)
    chin = fade_out(x, 0.02, 0.03) * fade_out(dz, -0.088, -0.078) * smoothstep(-0.14, -0.125, dz)
    share = {
        "stubble": 0.35 * np.maximum(jaw, lip),
        "goatee": 0.85 * np.maximum(chin, lip),
        "full": 0.9 * np.maximum(jaw, lip),
    }[identity.beard]
    mouth = fade_out((x / 0.024) ** 2 + ((dz + 0.069) / 0.0085) ** 2, 0.8, 1.3) * (dy < 0.02)
    share = share * (1 - mouth) * (0.85 + noise_within(face, p, 0.25, 800, identity.seed)) * (dy < 0.09)
    colour = 0.15 * np.array(identity.skin) + 0.75 * np.array(identity.hair)
    blend(out, face, share.clip(0, 1)[face], colour)


def _paint_eyes(identity: Identity, x: Any, dy: Any, dz: Any, eye: Any, out: Any) -> None:
    middle = kit().eye[0]
    e = (x - middle) ** 2 + dz**2
    ahead = eye & (dy < 0)
    out[eye] = [0.80, 0.77, 0.74]
    blend(out, ahead, fade_out(np.sqrt(e[ahead]), 0.0060, 0.0068), np.array(identity.eyes) * 0.9)
    blend(out, ahead, fade_out(np.sqrt(e[ahead]), 0.0026, 0.0033), [0.02, 0.02, 0.02])
    glint = (x - middle + 0.002) ** 2 + (dz - 0.0025) ** 2
    blend(out, ahead, fade_out(np.sqrt(glint[ahead]), 0.0009, 0.0018), [1.0, 1.0, 1.0])
    out[eye] *= (1 - 0.35 * smoothstep(0.002, 0.008, dz[eye]))[:, None]


def _paint_headgear(identity: Identity, p: Any, dz: Any, face: Any, above: Any, out: Any) -> None:
    covered = (
        face
        & (above > (0.0 if identity.hair_style != "hat" else 0.004))
        & ((dz > -0.02) | (identity.hair_style == "scarf"))
    )
    under = face & (above > 0.002) & ~covered
    out[under] = hair_colour(identity, p[under])
    out[covered] = identity.hat_colour
    if identity.hair_style == "beanie":
        out[covered] *= np.where(np.sin(p[covered, 0] * 500) > 0, 1.0, 0.88)[:, None]
        out[covered & (above < 0.03)] *= 0.85
    if identity.hair_style == "hat":
        out[covered & (above < 0.02)] *= 0.45


def _paint_scalp(identity: Identity, p: Any, face: Any, above: Any, out: Any) -> None:
    jag = noise_within(face, p, 0.0035, 420, identity.seed)
    share = smoothstep(-0.002, 0.006, above + jag)
    if identity.hair_style == "buzz":
        share = 0.75 * share
    covered = face & (share > 0)
    tone = hair_colour(identity, p[covered])
    out[covered] = out[covered] * (1 - share[covered, None]) + tone * share[covered, None]
