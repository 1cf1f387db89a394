"""Who walks by: identities, what they wear, how they move, and how that is painted onto the body."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import cache, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dp2bench.core.seeds import derive_seed, generator
from dp2bench.datasets.passersby.rendering import raster
from dp2bench.datasets.passersby.rendering.body import (
    ALL_VERTICES,
    SKIN_VERTICES,
    Floats,
    Zone,
    kit,
    rotation,
)

Colour = tuple[float, float, float]
"""Red, green, blue reflectance, 0..1."""

SKINS = ((241, 204, 180), (224, 177, 145), (198, 145, 110), (160, 108, 78), (117, 76, 54), (80, 52, 38))
HAIRS = ((28, 22, 20), (60, 40, 28), (105, 70, 40), (176, 136, 80), (128, 128, 130), (130, 52, 28))
TOPS = (
    (186, 30, 40), (32, 60, 146), (236, 236, 230), (28, 28, 32), (46, 112, 66), (222, 182, 50), (120, 120, 124),
    (222, 112, 36), (104, 50, 116), (74, 152, 186), (144, 98, 62), (220, 138, 162), (92, 92, 52), (22, 36, 70),
)  # fmt: skip
BOTTOMS = (
    (36, 48, 92), (28, 28, 32), (92, 92, 96), (172, 152, 116), (66, 66, 44), (118, 70, 46), (220, 216, 206), (78, 102, 148),
)  # fmt: skip
EYES = ((88, 58, 36), (60, 38, 26), (92, 110, 128), (84, 104, 70), (110, 84, 52))
SHOES = ((30, 30, 30), (226, 226, 226), (110, 72, 46), (140, 40, 44), (60, 70, 110))
PATTERNS = {
    "plain": 0.2, "stripes": 0.12, "bars": 0.06, "check": 0.1, "print": 0.12, "block": 0.08, "dots": 0.05, "raglan": 0.08,
    "band": 0.07, "diagonal": 0.05, "halves": 0.04, "flecks": 0.06,
}  # fmt: skip
SLEEVES = {"tee": 0.34, "shirt": 1.0, "jacket": 1.03, "coat": 1.03, "tank": 0.04}
JACKETS = ("jacket", "coat")
BOTTOM_PATTERNS = {"plain": 0.6, "side": 0.14, "hem": 0.1, "faded": 0.16}


@dataclass(frozen=True)
class Look:
    """One identity: everything by which somebody can be told from somebody else."""

    body: int
    female: bool
    skin: Colour
    hair: Colour
    hair_style: str
    beard: str
    eyes: Colour
    hat_colour: Colour
    glasses: bool
    top: str
    sleeve: float
    pattern: str
    motif: int
    """Which picture or number is printed on the upper garment, where anything is."""
    top_colour: Colour
    second_colour: Colour
    collar: float
    bottom: str
    bottom_pattern: str
    bottom_colour: Colour
    length: float
    looseness: float
    shoes: Colour
    bag: str
    bag_colour: Colour
    pitch: float
    seed: int

    def attributes(self) -> dict[str, Any]:
        """The look as plain values, with the body's age, height, weight and so on."""
        body = kit()
        shape = zip(body.phenotype_names, body.phenotypes[self.body], strict=True)
        return {**asdict(self), **{f"body_{name}": round(float(value), 4) for name, value in shape}}


def _colour(r: np.random.Generator, palette: Any, spread: float = 0.06) -> Colour:
    base = np.array(palette[int(r.integers(len(palette)))]) / 255
    c = (base * r.uniform(1 - spread, 1 + spread) * r.uniform(1 - spread / 2, 1 + spread / 2, 3)).clip(0, 1)
    return float(c[0]), float(c[1]), float(c[2])


def _one(r: np.random.Generator, weights: dict[str, float]) -> str:
    p = np.array(list(weights.values()))
    return list(weights)[int(r.choice(len(p), p=p / p.sum()))]


def _any_look(r: np.random.Generator) -> Look:
    body = int(r.integers(len(kit().coefficients)))
    female = bool(kit().phenotypes[body][kit().phenotype_names.index("gender")] > 0.5)
    top = _one(r, {"tee": 0.36, "shirt": 0.22, "jacket": 0.26, "coat": 0.1, "tank": 0.06})
    sleeve = SLEEVES[top] + float(r.uniform(-0.05, 0.05))
    bottom = _one(
        r,
        {"trousers": 0.5, "shorts": 0.14, "skirt": 0.22, "dress": 0.14}
        if female
        else {"trousers": 0.76, "shorts": 0.24},
    )
    if bottom == "dress" and top in JACKETS:
        bottom = "skirt"
    styles = (
        {"crop": 0.1, "bob": 0.22, "long": 0.3, "tail": 0.14, "bun": 0.08, "afro": 0.05, "cap": 0.03, "hat": 0.03, "scarf": 0.05}
        if female
        else {"crop": 0.46, "buzz": 0.12, "bob": 0.08, "long": 0.04, "afro": 0.05, "bald": 0.09, "cap": 0.1, "hat": 0.03, "beanie": 0.03}
    )  # fmt: skip
    old = float(kit().phenotypes[body][kit().phenotype_names.index("age")]) > 0.84
    return Look(
        body=body,
        female=female,
        skin=_colour(r, SKINS),
        hair=_colour(r, HAIRS[4:5] if old and r.random() < 0.7 else HAIRS, 0.15),
        hair_style=_one(r, styles),
        beard="none" if female else _one(r, {"none": 0.6, "stubble": 0.16, "goatee": 0.08, "full": 0.16}),
        eyes=_colour(r, EYES, 0.1),
        hat_colour=_colour(r, TOPS),
        glasses=bool(r.random() < 0.2),
        top=top,
        sleeve=sleeve,
        pattern=_one(r, PATTERNS),
        motif=int(r.integers(6)),
        top_colour=_colour(r, TOPS),
        second_colour=_colour(r, TOPS),
        collar=float(r.choice([0.085, 0.1, 0.12])),
        bottom=bottom,
        bottom_pattern=_one(r, BOTTOM_PATTERNS),
        bottom_colour=_colour(r, BOTTOMS),
        length=float(r.uniform(-0.5, -0.16) if bottom in ("skirt", "dress") else r.uniform(-0.36, -0.2)),
        looseness=float(r.uniform(0.008, 0.03)),
        shoes=_colour(r, SHOES),
        bag=_one(r, {"none": 0.5, "backpack": 0.22, "shoulder": 0.18, "hand": 0.1}),
        bag_colour=_colour(r, TOPS),
        pitch=float(r.uniform(55, 120)),
        seed=int(r.integers(1 << 30)),
    )


GROUP = 2
"""Size of a group of look-alikes: the same wardrobe, but another body, head, shoes, bag and two garments.

Every other group is one of look-alikes, the rest are strangers to each other.
"""


@cache
def look(stream: str, index: int) -> Look:
    """Identity number ``index`` of a stream of identities (one stream a split, so that splits are disjoint)."""
    base = _any_look(generator(derive_seed("passersby", stream, "group", index // GROUP)))
    r = generator(derive_seed("passersby", stream, "person", index))
    own = _any_look(r)
    while own.female != base.female:
        own = _any_look(r)
    keep = (
        "top",
        "sleeve",
        "pattern",
        "motif",
        "bottom_pattern",
        "top_colour",
        "second_colour",
        "collar",
        "bottom",
        "bottom_colour",
        "length",
        "looseness",
        "pitch",
    )
    if index // GROUP % 2:
        return own
    mixed = replace(own, **{name: getattr(base, name) for name in keep})
    changes: tuple[tuple[str, ...], ...] = (
        ("bottom_colour",), ("pattern", "second_colour", "motif"), ("top_colour",), ("sleeve", "top"), ("bottom", "length"),
    )  # fmt: skip
    for change in r.permutation(len(changes))[:2]:
        mixed = replace(mixed, **{name: getattr(own, name) for name in changes[int(change)]})
    if mixed.bottom == "dress" and mixed.top in JACKETS:
        mixed = replace(mixed, bottom="skirt")
    return mixed


def _open(who: Look) -> bool:
    """Whether a jacket hangs open, so that the shirt shows."""
    return who.seed % 3 != 0


def without_jacket(who: Look) -> Look:
    """The same person in the shirt under their jacket or coat; its colour is the one that shows where that hangs open."""
    r = generator(derive_seed("passersby", "under", who.seed))
    top = _one(r, {"tee": 0.5, "shirt": 0.4, "tank": 0.1})
    red, green, blue = (0.9 * c + 0.05 for c in who.second_colour)
    return replace(
        who,
        top=top,
        sleeve=SLEEVES[top] + float(r.uniform(-0.05, 0.05)),
        pattern="plain" if _open(who) else _one(r, PATTERNS),
        top_colour=(red, green, blue),
        second_colour=_colour(r, TOPS),
    )


def _noise(points: Any, frequency: float, seed: int) -> Any:
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


def _noise_within(where: Any, points: Any, strength: float, frequency: float, seed: int) -> Any:
    """(N,) noise at the points of a mask (N,), 0 at the others."""
    out = np.zeros(len(points))
    out[where] = strength * _noise(points[where], frequency, seed)
    return out


def _step(low: float, high: float, x: Any) -> Any:
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def _hairline(points: Any, style: str) -> Any:
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


def _hem(who: Look) -> float:
    """Height in template metres where the upper garment ends."""
    return {"coat": -0.22, "jacket": 0.055, "shirt": 0.03, "tee": 0.05, "tank": 0.06}[who.top]


def _garments(who: Look, p: Any, zone: Any, arm: Any) -> tuple[Any, Any]:
    """(N,) bool: under the upper garment, under trousers or shorts, on the body alone (skirts are meshes of their own)."""
    c = np.array([0.0, -0.022, 0.742])
    from_neck = np.sqrt((p[:, 0] - c[0]) ** 2 + (p[:, 1] - c[1]) ** 2 + (p[:, 2] - c[2]) ** 2)
    if who.top in ("shirt", "jacket", "coat"):
        from_neck = from_neck - 0.045 * _step(0.028, 0.0, np.abs(p[:, 0])) * (p[:, 1] < c[1])
    trunk = np.isin(zone, (Zone.TORSO, Zone.LEG)) | (
        (zone == Zone.HEAD) & (p[:, 2] < 0.7) & (p[:, 1] > -0.07)
    )
    waist = 0.1 if who.top != "coat" else 0.0
    top = (trunk & (p[:, 2] > waist) & (from_neck > who.collar)) | (
        np.isin(zone, (Zone.ARM, Zone.HAND)) & (arm < who.sleeve)
    )
    if who.top == "tank":
        top &= (np.abs(p[:, 0]) < 0.135) | (p[:, 2] < 0.5)
    low = np.isin(zone, (Zone.LEG, Zone.TORSO, Zone.FOOT)) & (p[:, 2] <= 0.2) & ~top
    low &= p[:, 2] > {"trousers": -0.745, "shorts": who.length}.get(who.bottom, 0.0)
    return top, low


@dataclass(frozen=True)
class Dressed:
    """A clothed body at rest, to be posed many times.

    Attributes:
        clothed: (V, 3) vertices with clothes; bare: (19158, 3) without.
        template: (V, 3) the coordinates of the body's parts; fabric: (V, 3) those that clothes are painted in, straight
            where the clothes are; zone: (V,); arm: (V,).
        carried: (V - 19158,) the bone that each vertex beyond the body follows.
        triangles: (T, 3) int32.

    """

    look: Look
    clothed: Floats
    bare: Floats
    heads: Floats
    template: Floats
    fabric: Floats
    zone: NDArray[np.int8]
    arm: Floats
    triangles: NDArray[np.int32]
    carried: NDArray[np.int64]


@cache
def _bag_mesh() -> tuple[Floats, NDArray[np.int32]]:
    """A rounded box of half size 1."""
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
    i, j = np.meshgrid(np.arange(rows - 1), np.arange(columns), indexing="ij")
    a, b = i * columns + j, i * columns + (j + 1) % columns
    c, d = a + columns, b + columns
    t = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([b, d, c], -1).reshape(-1, 3)])
    return v.reshape(-1, 3), t.astype(np.int32)


def _grid(rows: int, columns: int, closed: bool) -> NDArray[np.int32]:
    """Triangles of a grid of vertices; ``closed`` joins the last column to the first."""
    i, j = np.meshgrid(np.arange(rows - 1), np.arange(columns - (not closed)), indexing="ij")
    a, b = i * columns + j, i * columns + (j + 1) % columns
    c, d = a + columns, b + columns
    t = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([b, d, c], -1).reshape(-1, 3)])
    return t.astype(np.int32)


def _locks(who: Look, v: Floats) -> list[tuple[Floats, NDArray[np.int32]]]:
    """Hair that leaves the scalp, and brims: (vertices at rest, triangles)."""
    body = kit()
    p = body.template
    scalp = body.body & (body.zone == Zone.HEAD) & (p[:, 2] > body.eye[2] - 0.02)
    low, high = v[scalp].min(0), v[scalp].max(0)
    middle, half = (low + high) / 2, (high - low) / 2
    eye = float(v[body.zone == Zone.EYE, 2].mean())
    out = []
    if who.hair_style in ("long", "bob"):
        fall = 0.14 if who.hair_style == "bob" else 0.2 + 0.24 * ((who.seed >> 4) % 97) / 97
        rows, columns = 16, 41
        around = np.linspace(-1.9, 1.9, columns)
        down = np.linspace(0, 1, rows)[:, None]
        wave = 1 + (0.012 * np.sin(9 * around + who.seed % 7) + 0.01 * np.sin(23 * around)) * (0.3 + down)
        out_x = (half[0] - 0.002 + 0.03 * np.sin(np.pi * np.minimum(down * 1.3, 1)) * (fall > 0.17)) * wave
        out_y = (half[1] + 0.008 + 0.03 * np.clip(1.5 * down - 0.6, 0, 1)) * wave
        x = np.sin(around) * out_x
        y = middle[1] + np.cos(around) * out_y * np.where(np.cos(around) < 0, 0.55, 1.0)
        z = eye + 0.075 - down * (fall + 0.075) * (1 - 0.1 * (np.abs(around) / 1.9) ** 2)
        z = z + 0.006 * np.sin(17 * around + who.seed % 11) * down
        tuck = np.clip(down * 6, 0, 1)  # the upper edge lies below the hair of the scalp
        x, y = x * (0.9 + 0.1 * tuck), middle[1] + (y - middle[1]) * (0.9 + 0.1 * tuck)
        out.append((np.stack([x, y, z], -1).reshape(-1, 3), _grid(rows, columns, False)))
    if who.hair_style in ("tail", "bun"):
        rows, columns = 12, 12
        s = np.linspace(0, 1, rows)[:, None]
        angle = np.arange(columns) * (2 * np.pi / columns)
        back = high[1]
        if who.hair_style == "tail":
            path_y, path_z = back + 0.015 + 0.045 * np.sin(s * 2.6), eye + 0.05 - 0.3 * s**1.25
            thick = 0.012 + 0.026 * np.sin(np.pi * np.clip(0.15 + s * 0.85, 0, 1)) ** 0.6
        else:
            path_y, path_z = back - 0.01 + 0.01 * np.sin(s * 3.1), eye + 0.03 + 0.085 * s
            thick = 0.045 * np.sqrt(np.clip(1 - (2 * s - 1) ** 2, 0.001, 1))
        x = np.cos(angle) * thick * (1 + 0.1 * np.sin(3 * angle + who.seed % 5))
        out.append(
            (
                np.stack([x, path_y + np.sin(angle) * thick, path_z + 0 * angle], -1).reshape(-1, 3),
                _grid(rows, columns, True),
            )
        )
    if who.hair_style in ("cap", "hat"):
        columns = 25
        wide = 1.5 if who.hair_style == "cap" else np.pi
        around = np.linspace(-wide, wide, columns)
        rim = (
            np.array([0.97, 1.25, 1.5])[:, None]
            if who.hair_style == "cap"
            else np.array([0.98, 1.3, 1.55])[:, None]
        )
        if who.hair_style == "cap":
            rim = 1 + (rim - 1) * np.cos(around / 1.5 * np.pi / 2) ** 0.5
        x = np.sin(around) * (half[0] + 0.012) * (1 + (rim - 1) * 0.8)
        y = middle[1] - np.cos(around) * (half[1] + 0.012) * rim
        z = eye + 0.052 - 0.05 * (rim - 1) + 0 * around
        out.append((np.stack([x, y, z], -1).reshape(-1, 3), _grid(3, columns, False)))
    return out


@lru_cache(maxsize=4)
def dress(who: Look, bag: bool = True) -> Dressed:
    """Put clothes on the body of an identity."""
    body = kit()
    p, zone, arm = body.template, body.zone, body.arm
    bare, heads = body.shape(body.coefficients[who.body])
    top, low = _garments(who, p, zone, arm)
    top, low = top & body.body, low & body.body
    foot = (zone == Zone.FOOT) & body.body
    v = body.smooth(bare, top | low, 12)
    v = body.smooth(v, foot & body.toes, 80)
    n = raster.normals(np.ascontiguousarray(v), body.skin_mesh)
    off = np.zeros(ALL_VERTICES)
    off[top] = who.looseness + {"jacket": 0.012, "coat": 0.014}.get(who.top, 0.0)
    flare = 0.010 + who.looseness * 0.75 + 0.014 * _step(-0.15, -0.62, p[:, 2])
    if who.bottom == "shorts":
        flare = flare + 0.012 * _step(0.05, who.length, p[:, 2])
    off[low] = flare[low]
    off[foot & ~low] = 0.011
    head = (zone == Zone.HEAD) & body.body
    if who.hair_style != "bald":
        fluff = {"buzz": 0.004, "crop": 0.017, "afro": 0.075, "cap": 0.018, "hat": 0.03, "beanie": 0.02, "scarf": 0.014, "bob": 0.024,
                 "long": 0.02, "tail": 0.01, "bun": 0.01}[who.hair_style]  # fmt: skip
        rough = {"cap": 0.0, "hat": 0.0, "beanie": 0.1, "scarf": 0.15, "afro": 0.1}.get(who.hair_style, 0.3)
        edge = _step(-0.006, 0.03 + 0.6 * fluff, _hairline(p, who.hair_style))
        if who.hair_style == "crop":
            edge = edge * (1 + 0.7 * _step(0.05, 0.1, p[:, 2] - body.eye[2]))
        off = np.where(head & ~top, fluff * edge * (1 + rough * _noise(p, 70, who.seed)), off)
    off = body.smooth(off, body.body, 2, 0.6)
    off += np.where(top | low, 0.004 * _noise(p, 38, who.seed + 1), 0)
    v = v + n * off[:, None]
    sole = v[foot, 2].min()
    v[foot, 2] = np.where(v[foot, 2] < sole + 0.016, sole, v[foot, 2])

    meshes = [body.skin_mesh, body.eye_mesh]
    hem = who.length if who.bottom == "dress" else _hem(who)
    if who.bottom == "skirt":
        hem = min(who.length, hem)
    elif who.bottom != "dress" and who.top == "tank":
        hem = 1.0
    height = p[body.skirt_mesh, 2]
    meshes.append(body.skirt_mesh[height.max(1) > hem])
    skirt = zone == Zone.SKIRT
    spread = raster.normals(np.ascontiguousarray(v), body.skirt_mesh)
    outward = np.sign((spread[skirt, :2] * (v[skirt, :2] - v[skirt, :2].mean(0))).sum())
    ease = (who.looseness + 0.016) * _step(0.25, 0.02, p[:, 2]) + 0.35 * who.looseness
    ease = ease + 0.02 * _step(0.05, -0.4, p[:, 2]) * (who.top == "coat")
    if who.bottom in ("skirt", "dress"):
        ease = ease + 0.07 * ((who.seed >> 3) % 3) / 2 * _step(0.1, -0.45, p[:, 2])
    v = np.where(skirt[:, None], v + outward * spread * ease[:, None] * [1, 1, 0], v)
    # Clothes are cut straight: rows of the mesh below a hem move up to it, at the height it has on this body.
    rows = np.argsort(p[skirt, 2])
    levels, heights = p[skirt, 2][rows], np.maximum.accumulate(v[skirt, 2][rows])
    cut = float(np.interp(hem, levels, (heights + np.minimum.accumulate(v[skirt, 2][rows][::-1])[::-1]) / 2))
    v[skirt, 2] = np.maximum(v[skirt, 2], cut)

    fabric = v.copy()
    known = [body.bones[name] for name in ("upperleg01.L", "neck01")]
    low_z, high_z = heads[known, 2]
    fabric[:, 2] = np.interp(
        v[:, 2],
        [v[:, 2].min(), low_z, high_z, v[:, 2].max()],
        [p[:, 2].min(), *body.rest_heads[known, 2], p[:, 2].max()],
    )
    loose: list[tuple[Any, Any, Any, Zone, int]] = [
        (q, q, t, Zone.HAIR, body.bones["head"]) for q, t in _locks(who, v)
    ]
    if bag and who.bag != "none":
        unit, t = _bag_mesh()
        if who.bag == "backpack":
            near = body.body & (np.abs(p[:, 0]) < 0.1) & (np.abs(p[:, 2] - 0.42) < 0.1) & (zone == Zone.TORSO)
            size = np.array([0.135, 0.075, 0.19])
            centre = np.array([0, v[near, 1].max() + 0.045, v[near, 2].mean()])
            bone = "spine02"
        elif who.bag == "shoulder":
            near = body.body & (np.abs(p[:, 2] - 0.1) < 0.06) & (zone != Zone.HAND) & (zone != Zone.ARM)
            size = np.array([0.05, 0.15, 0.12])
            centre = np.array([v[near, 0].max() + 0.05, 0.03, v[near, 2].mean() - 0.02])
            bone = "root"
        else:
            near = (zone == Zone.HAND) & body.body & (p[:, 0] < 0)
            size = np.array([0.04, 0.17, 0.14])
            centre = v[near].mean(0) + np.array([0, -0.03, -0.2])
            bone = "wrist.R"
        loose.append((unit * size + centre, unit, t, Zone.BAG, body.bones[bone]))
    first = ALL_VERTICES
    for q, _, t, _, _ in loose:
        meshes.append(t + first)
        first += len(q)

    def extended(values: Any, more: list[Any]) -> Any:
        return np.concatenate([values, *more])

    return Dressed(
        who,
        extended(v, [q for q, *_ in loose]),
        bare,
        heads,
        extended(p, [u for _, u, *_ in loose]),
        extended(fabric, [u for _, u, *_ in loose]),
        extended(zone, [np.full(len(q), z, np.int8) for q, _, _, z, _ in loose]),
        extended(arm, [np.full(len(q), -1.0) for q, *_ in loose]),
        np.ascontiguousarray(np.concatenate(meshes), np.int32),
        extended(np.zeros(0, np.int64), [np.full(len(q), bone) for q, _, _, _, bone in loose]),
    )


@cache
def _finger_axes() -> dict[str, Floats]:
    """The axis about which each hand's fingers close."""
    heads, bones = kit().rest_heads, kit().bones
    axes = {}
    for side in "LR":
        first, last, tip = (heads[bones[f"finger{n}.{side}"]] for n in ("2-1", "5-1", "2-3"))
        across = (last - first) / np.sqrt(((last - first) ** 2).sum())
        closes_down = np.cross(across, tip - first)[2] < 0
        axes[side] = across if closes_down else -across
    return axes


def pose(r: np.random.Generator, kind: str) -> dict[str, Floats]:
    """Bone rotations of somebody who walks, stands, phones or waves."""
    stride = (
        float(r.uniform(-0.1, 0.1))
        if kind in ("stand", "wave")
        else float(r.choice([-1, 1]) * r.uniform(0.18, 0.42))
    )
    hang = float(r.uniform(0.54, 0.66))
    elbow = r.uniform(0.1, 0.55, 2)
    if kind == "phone":
        elbow[0] = 1.9

    def turn(*v: float) -> Floats:
        return rotation(v)

    turns = {
        "upperarm01.L": turn(-0.3 if kind == "phone" else -stride * 0.8, 0, 0).dot(turn(0, hang, 0)),
        "upperarm01.R": turn(stride * 0.8, 0, 0).dot(turn(0, -hang, 0)),
        "lowerarm01.L": rotation(elbow[0] * np.array([-0.75, 0, -0.66])),
        "lowerarm01.R": rotation(elbow[1] * np.array([-0.75, 0, 0.66])),
        "upperleg01.L": turn(stride, 0, 0).dot(turn(0, 0.07, 0)),
        "upperleg01.R": turn(-stride, 0, 0).dot(turn(0, -0.07, 0)),
        "lowerleg01.L": turn(max(stride, 0) * 1.1 + 0.06, 0, 0),
        "lowerleg01.R": turn(max(-stride, 0) * 1.1 + 0.06, 0, 0),
        "spine03": turn(float(r.uniform(-0.02, 0.1)), 0, float(r.uniform(-0.1, 0.1)) + stride * 0.2),
        "head": turn(
            float(r.uniform(-0.1, 0.25)), float(r.uniform(-0.08, 0.08)), float(r.uniform(-0.45, 0.45))
        ),
    }
    if kind == "wave":
        turns["upperarm01.R"] = turn(-0.4, 0, 0).dot(turn(0, 0.9, 0))
        turns["lowerarm01.R"] = turn(0, 1.2, 0)
    for side in "LR":
        curl = float(r.uniform(0.25, 0.5))
        for finger in range(2, 6):
            for joint in range(1, 4):
                turns[f"finger{finger}-{joint}.{side}"] = rotation(
                    _finger_axes()[side] * (curl + 0.05 * finger)
                )
    return turns


@dataclass(frozen=True)
class Actor:
    """Somebody in the world: (V, 3) vertices and normals, (17, 3) keypoints, metres."""

    dressed: Dressed
    points: Floats
    normals: Floats
    keypoints: Floats


def act(
    dressed: Dressed, turns: dict[str, Floats], *, yaw: float = 0.0, at: tuple[float, float] = (0.0, 0.0)
) -> Actor:
    """Pose somebody, turn them about the vertical by ``yaw`` radians and stand them on the ground at (x, y)."""
    body = kit()
    moves = body.transforms(dressed.heads, turns)
    points = body.skin(dressed.clothed[:ALL_VERTICES], moves)
    keypoints = body.keypoints(body.skin(dressed.bare, moves))
    if len(dressed.carried):
        m, extra = moves[dressed.carried], dressed.clothed[ALL_VERTICES:]
        m = m.copy()
        hung = dressed.carried == body.bones["wrist.R"]
        if hung.any():  # what is carried by hand hangs down
            grip = dressed.heads[body.bones["wrist.R"]]
            to = np.einsum("ij,j->i", m[hung][0, :3, :3], grip) + m[hung][0, :3, 3]
            m[hung, :3, :3], m[hung, :3, 3] = np.eye(3), to - grip
        points = np.concatenate([points, np.einsum("vij,vj->vi", m[:, :3, :3], extra) + m[:, :3, 3]])
    floor = points[:SKIN_VERTICES, 2].min()
    c, s = np.cos(yaw), np.sin(yaw)

    def place(v: Floats) -> Floats:
        placed = np.stack(
            [c * v[:, 0] - s * v[:, 1] + at[0], s * v[:, 0] + c * v[:, 1] + at[1], v[:, 2] - floor], 1
        )
        # A micrometre: what another processor rounds differently in sines and sums must not decide what a pixel shows.
        return np.round(placed * 2.0**20) / 2.0**20

    points = place(points)
    return Actor(dressed, points, raster.normals(points, dressed.triangles), place(keypoints))


def paint(dressed: Dressed, vertices: Any, weights: Any) -> tuple[Any, Any, Any]:
    """Colour of N surface points, given by the (N, 3) vertices around them and their (N, 3) weights.

    Returns (N, 3) reflectance 0..1, (N,) wrinkles, and (N,) body vertex ids, -2 on what is carried.
    """
    who, body = dressed.look, kit()
    p = np.einsum("nk,nkd->nd", weights, dressed.template[vertices])
    nearest = vertices[np.arange(len(vertices)), weights.argmax(1)]
    zone, arm = dressed.zone[nearest], np.einsum("nk,nk->n", weights, dressed.arm[vertices])
    on_body = nearest < ALL_VERTICES
    out = np.empty((len(p), 3))
    out[:] = who.skin
    head = (zone == Zone.HEAD) | (zone == Zone.EYE)
    _paint_skin(who, p, head, out)
    _paint_head(who, p, zone, head, out)
    rest = ~head
    f = np.einsum("nk,nkd->nd", weights, dressed.fabric[vertices])
    cloth = _paint_clothes(dressed, p, f, zone, arm, on_body, out)
    locks = zone == Zone.HAIR
    if locks.any():
        hat = who.hair_style in ("cap", "hat")
        q = p[locks]
        angle = np.arctan2(q[:, 0], q[:, 1] - body.eye[1] - 0.1)
        out[locks] = who.hat_colour if hat else _strands(who, np.stack([angle, q[:, 2]], 1))
    carried = zone == Zone.BAG
    if carried.any():
        q = p[carried]
        seam = (np.abs(q[:, 2] - 0.25) < 0.06) | (q[:, 2] < -0.55) | (np.abs(np.abs(q[:, 0]) - 0.8) < 0.05)
        out[carried] = np.array(who.bag_colour) * np.where(seam, 0.65, 1.0)[:, None]
    wrinkles = np.zeros(len(p))
    if cloth.any():
        fine = 0.45 if who.top in JACKETS else 0.35
        wrinkles[cloth] = 0.6 * _noise(f[cloth], 42, who.seed + 1) + fine * _noise(
            f[cloth], 105, who.seed + 2
        )
        # Folds gather where limbs bend.
        bend = np.exp(-(((arm[cloth] - 0.52) / 0.12) ** 2)) + np.exp(
            -(((p[cloth, 2] + 0.31) / 0.07) ** 2)
        ) * (zone[cloth] == Zone.LEG)
        wrinkles[cloth] += 0.7 * bend * np.sin(120 * (arm[cloth] * 0.5 + p[cloth, 2]))
    if rest.any() and locks.any():
        wrinkles[locks] = 0.8 * np.sin(
            90 * np.arctan2(p[locks, 0], p[locks, 1] - body.eye[1] - 0.1) + who.seed % 13
        )
    hair = head & (zone == Zone.HEAD) & (_hairline(p, who.hair_style) > 0.004)
    if who.hair_style not in ("bald", "cap", "hat", "scarf", "buzz"):
        wrinkles[hair] = 0.6 * _noise(p[hair] * [1, 1, 0.4], 190, who.seed)
    ids = np.where(carried, -2, body.nearest[np.minimum(nearest, ALL_VERTICES - 1)])
    ids = np.where(locks & ~on_body, body.crown, ids)
    return out.clip(0, 1), wrinkles, ids


def _soft(value: Any, low: float, high: float) -> Any:
    """1 below ``low``, 0 above ``high``."""
    return 1 - _step(low, high, value)


def _mix(out: Any, where: Any, share: Any, colour: Any) -> None:
    """Blend a colour into ``out`` (N, 3) where the mask (N,) says, by a share (M,) or 1."""
    share = np.broadcast_to(share, (int(where.sum()),))[:, None]
    out[where] = out[where] * (1 - share) + np.asarray(colour) * share


def _strands(who: Look, at: Any) -> Any:
    """(N, 3) colour of hair; ``at`` (N, 2 or 3) runs along strands in its last column."""
    q = np.concatenate([at, np.zeros((len(at), 3 - at.shape[1]))], 1) if at.shape[1] < 3 else at * [1, 1, 0.2]
    scale = np.array([0.13, 0.04, 1.0]) if at.shape[1] < 3 else np.ones(3)
    tone = 1 + 0.22 * _noise(q * scale, 260, who.seed) + 0.12 * _noise(q * scale, 90, who.seed + 5)
    return np.array(who.hair) * tone[:, None]


def _paint_skin(who: Look, p: Any, head: Any, out: Any) -> None:
    """Uneven skin: blotches, and freckles on some."""
    out *= (1 + 0.035 * _noise(p, 55, who.seed))[:, None]
    q = p[head]
    blush = 0.03 * _noise(q, 120, who.seed + 3)
    out[head] *= 1 + blush[:, None] * [0.4, 1.0, 1.0]
    if who.seed % 5 == 0 and sum(who.skin) > 1.6:
        speck = _soft(_noise(q, 620, who.seed + 9), -0.75, -0.55)
        out[head] *= 1 - 0.1 * speck[:, None] * [0.5, 0.9, 1.0]


def _paint_head(who: Look, p: Any, zone: Any, head: Any, out: Any) -> None:
    body = kit()
    skin, hair = np.array(who.skin), np.array(who.hair)
    x, dz, dy = np.abs(p[:, 0]), p[:, 2] - body.eye[2], p[:, 1] - body.eye[1]
    face = zone == Zone.HEAD
    front = face & (dy < 0.03)
    q = x[front], dz[front]
    cheeks = _soft(((q[0] - 0.042) / 0.026) ** 2 + ((q[1] + 0.036) / 0.022) ** 2, 0.1, 1.0)
    out[front] *= 1 - 0.1 * cheeks[:, None] * [-0.2, 1.0, 0.9]
    nose = _soft((q[0] / 0.018) ** 2 + ((q[1] + 0.04) / 0.014) ** 2, 0.1, 1.0)
    out[front] *= 1 - 0.07 * nose[:, None] * [0.0, 1.0, 0.9]
    socket = _soft(((q[0] - 0.031) / 0.022) ** 2 + ((q[1] + 0.001) / 0.014) ** 2, 0.25, 1.0)
    out[front] *= 1 - 0.2 * socket[:, None]
    # Eyelashes and the fold of the lid darken the rim of the eye.
    lash = _soft(np.abs(((q[0] - 0.031) / 0.0165) ** 2 + (q[1] / 0.0078) ** 2 - 1), 0.1, 0.45) * np.where(
        q[1] > 0, 1.0, 0.35
    )
    _mix(out, front, 0.75 * lash, 0.12 * skin)
    nostril = _soft(((q[0] - 0.0085) / 0.005) ** 2 + ((q[1] + 0.0515) / 0.0035) ** 2, 0.3, 1.2)
    _mix(out, front, 0.55 * nostril, 0.25 * skin)
    bow = -0.0625 + 0.0025 * np.cos(q[0] / 0.0045) * (q[0] < 0.016)
    width = 0.024 + 0.002 * (who.seed % 3)
    lips = _soft((q[0] / width) ** 2 + ((q[1] + 0.069) / 0.0088) ** 2, 0.6, 1.15) * (q[1] < bow + 0.004)
    painted = who.female and who.seed % 4 == 0
    _mix(
        out,
        front,
        (0.85 if painted else 0.6) * lips,
        skin * ([0.72, 0.3, 0.32] if painted else [0.84, 0.6, 0.58]),
    )
    gap = _soft(np.abs(q[1] + 0.0685 + 0.0015 * np.cos(q[0] * 160)), 0.0006, 0.0019) * (q[0] < width - 0.002)
    _mix(out, front, 0.6 * gap, 0.3 * skin)
    brow_z = (
        0.0225
        + 0.004 * ((who.seed >> 2) % 5) / 4
        + 0.16 * (q[0] - 0.02)
        - 5.2 * np.clip(q[0] - 0.034, 0, 1) ** 1.7
    )
    thick = (0.0032 if who.female else 0.0045) * np.clip((0.056 - q[0]) / 0.02, 0.25, 1)
    brow = (
        _soft(np.abs(q[1] - brow_z), 0.5 * thick, 1.3 * thick)
        * _step(0.011, 0.016, q[0])
        * _soft(q[0], 0.048, 0.055)
    )
    hairs = 0.8 + 0.25 * np.sin(q[0] * 2600 + q[1] * 1500)
    _mix(out, front, 0.85 * brow * hairs.clip(0, 1), 0.12 * skin + 0.6 * hair)
    if body.phenotypes[who.body][body.phenotype_names.index("age")] > 0.72:
        fold = _soft(np.abs(q[0] - 0.027 + 0.55 * (q[1] + 0.055)), 0.001, 0.0035) * _soft(
            np.abs(q[1] + 0.06), 0.012, 0.022
        )
        lines = (
            _soft(np.abs(np.sin((q[1] + 1.5 * q[0] ** 2) * 430)), 0.0, 0.3)
            * _soft(np.abs(q[1] - 0.047), 0.008, 0.014)
            * (q[0] < 0.035)
        )
        out[front] *= 1 - 0.22 * (fold + 0.5 * lines)[:, None]
    if who.beard != "none":
        edge = _noise_within(face, p, 0.006, 240, who.seed)
        jaw = (
            _soft(dz + 0.045 + 0.9 * np.clip(0.034 - x, 0, 1) - edge, -0.012, 0.0)
            * _soft(dy, 0.07, 0.084)
            * _step(-0.15, -0.125, dz)
        )
        lip = _soft(np.abs(dz + 0.0555), 0.004, 0.0075) * _soft(x, 0.024, 0.032) * (dy < 0.02)
        chin = _soft(x, 0.02, 0.03) * _soft(dz, -0.088, -0.078) * _step(-0.14, -0.125, dz)
        share = {
            "stubble": 0.35 * np.maximum(jaw, lip),
            "goatee": 0.85 * np.maximum(chin, lip),
            "full": 0.9 * np.maximum(jaw, lip),
        }[who.beard]
        mouth = _soft((x / 0.024) ** 2 + ((dz + 0.069) / 0.0085) ** 2, 0.8, 1.3) * (dy < 0.02)
        share = share * (1 - mouth) * (0.85 + _noise_within(face, p, 0.25, 800, who.seed)) * (dy < 0.09)
        _mix(out, face, share.clip(0, 1)[face], 0.15 * skin + 0.75 * hair)
    eye = zone == Zone.EYE
    e = (x - body.eye[0]) ** 2 + dz**2
    ahead = eye & (dy < 0)
    out[eye] = [0.80, 0.77, 0.74]
    _mix(out, ahead, _soft(np.sqrt(e[ahead]), 0.0060, 0.0068), np.array(who.eyes) * 0.9)
    _mix(out, ahead, _soft(np.sqrt(e[ahead]), 0.0026, 0.0033), [0.02, 0.02, 0.02])
    glint = (x - body.eye[0] + 0.002) ** 2 + (dz - 0.0025) ** 2
    _mix(out, ahead, _soft(np.sqrt(glint[ahead]), 0.0009, 0.0018), [1.0, 1.0, 1.0])
    out[eye] *= (1 - 0.35 * _step(0.002, 0.008, dz[eye]))[:, None]
    above = _hairline(p, who.hair_style)
    if who.hair_style in ("cap", "hat", "beanie", "scarf"):
        k = (
            face
            & (above > (0.0 if who.hair_style != "hat" else 0.004))
            & ((dz > -0.02) | (who.hair_style == "scarf"))
        )
        under = face & (above > 0.002) & ~k
        out[under] = _strands(who, p[under])
        out[k] = who.hat_colour
        if who.hair_style == "beanie":
            out[k] *= np.where(np.sin(p[k, 0] * 500) > 0, 1.0, 0.88)[:, None]
            out[k & (above < 0.03)] *= 0.85
        if who.hair_style == "hat":
            out[k & (above < 0.02)] *= 0.45
    elif who.hair_style != "bald":
        jag = _noise_within(face, p, 0.0035, 420, who.seed)
        share = _step(-0.002, 0.006, above + jag)
        if who.hair_style == "buzz":
            share = 0.75 * share
        k = face & (share > 0)
        tone = _strands(who, p[k])
        out[k] = out[k] * (1 - share[k, None]) + tone * share[k, None]
    if who.glasses:
        rim = ((x - 0.033) / 0.026) ** 2 + ((dz + 0.002) / 0.019) ** 2
        out[front & (rim > 0.68) & (rim < 1.12)] = 0.05
        out[face & (np.abs(dz - 0.004) < 0.003) & (x > 0.056) & (dy < 0.08) & (above < 0.01)] = 0.05
        out[front & (np.abs(dz - 0.004) < 0.002) & (x < 0.01)] = 0.05


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


def _paint_clothes(dressed: Dressed, p: Any, f: Any, zone: Any, arm: Any, on_body: Any, out: Any) -> Any:
    """Colour what is worn; returns (N,) bool where cloth is."""
    who, body = dressed.look, kit()
    first, second = np.array(who.top_colour), np.array(who.second_colour)
    x = np.abs(p[:, 0])
    top, low = _garments(who, p, zone, arm)
    top, low = top & on_body, low & on_body
    skirt = zone == Zone.SKIRT
    upper = top | (skirt & ((p[:, 2] > _hem(who)) & (who.top != "tank") | (who.bottom != "skirt")))
    k = np.flatnonzero(upper)
    sleeves = (zone[k] == Zone.ARM) & (arm[k] > 0.06)
    run = np.where(sleeves, 0.53 - arm[k] * 0.45, f[k, 2])
    side = f[k, 0]
    cloth = np.empty((len(k), 3))
    cloth[:] = first
    mark = np.zeros(len(k), bool)
    if who.pattern == "stripes":
        mark = np.sin(who.pitch * run) > (-0.3, 0.1, 0.6)[who.motif % 3]
    elif who.pattern == "bars":
        mark = np.sin(1.2 * who.pitch * side) > (0.1, 0.6)[who.motif % 2]
    elif who.pattern == "check":
        a, b = np.sin(who.pitch * run), np.sin(who.pitch * side)
        cloth[(a > 0) ^ (b > 0)] = 0.6 * first + 0.4 * second
        mark = (a > 0.8) | (b > 0.8)
    elif who.pattern == "print":
        centre = 0.43 if who.motif != 1 else 0.4
        mark = ~sleeves & _motif(who.motif, side / 0.085, (f[k, 2] - centre) / 0.085) & on_body[k]
    elif who.pattern == "block":
        mark = (f[k, 2] > 0.36 + 0.05 * (who.motif % 3)) & ~sleeves | (sleeves & (arm[k] < 0.25))
    elif who.pattern == "dots":
        mark = np.sin(who.pitch * side) * np.sin(who.pitch * run) > 0.45
    elif who.pattern == "raglan":
        mark = sleeves | (np.abs(side) > 0.15 - 0.3 * np.clip(f[k, 2] - 0.4, 0, 1)) & (f[k, 2] > 0.38)
    elif who.pattern == "band":
        mark = (np.abs(f[k, 2] - (0.28, 0.36, 0.44)[who.motif % 3]) < 0.045) & ~sleeves
    elif who.pattern == "diagonal":
        mark = (np.abs(f[k, 2] - 0.36 - 0.9 * side) < 0.05) & ~sleeves
    elif who.pattern == "halves":
        mark = side > 0
    elif who.pattern == "flecks":
        mark = _noise(f[k], 60, who.seed + 7) > 0.12
    cloth[mark] = second
    weave = 1 + 0.05 * _noise(f[k], 75, who.seed + 4)
    out[k] = cloth * weave[:, None]
    hem_z = who.length if who.bottom == "dress" else _hem(who)
    out[upper & skirt & (np.abs(p[:, 2] - hem_z) < 0.012)] *= 0.8
    centre = upper & (p[:, 1] < -0.02) & (zone != Zone.ARM)
    if who.top in JACKETS:
        if _open(who):
            out[centre & (x < 0.03 + 0.05 * np.clip(p[:, 2] - 0.25, 0, 1)) & ~skirt] = second * 0.9 + 0.05
        out[centre & (np.abs(x - 0.012) < 0.005)] *= 0.55
        out[(zone == Zone.ARM) & top & (arm > who.sleeve - 0.05)] *= 0.75
        pocket = centre & (np.abs(f[:, 2] - 0.17) < 0.006) & (np.abs(x - 0.1) < 0.045)
        out[pocket] *= 0.5
    elif who.top == "shirt":
        out[centre & (x < 0.005)] *= 0.7
        out[centre & (x < 0.006) & (np.sin(f[:, 2] * 75) > 0.9)] = 0.85
        pocket = centre & (np.abs(p[:, 0] - 0.075) < 0.035) & (np.abs(f[:, 2] - 0.46) < 0.004)
        out[pocket & ~skirt] *= 0.7
    if who.top in ("tee", "shirt"):
        out[(zone == Zone.ARM) & top & (arm > who.sleeve - 0.03)] *= 0.85
    d = np.sqrt(p[:, 0] ** 2 + (p[:, 1] + 0.022) ** 2 + (p[:, 2] - 0.742) ** 2)
    collar = top & (d < who.collar + 0.016) & (zone != Zone.ARM)
    out[collar] *= 0.72 if who.top != "shirt" else 1.12
    bottom = low | (skirt & ~upper)
    k = np.flatnonzero(bottom)
    colour = np.array(who.bottom_colour)
    out[k] = colour * (1 + 0.05 * _noise(f[k], 90, 3))[:, None]
    if who.bottom_pattern == "faded":
        worn = np.exp(-(((f[k, 2] + 0.1) / 0.2) ** 2)) * (p[k, 1] < 0)
        out[k] *= 1 + 0.35 * worn[:, None]
    elif who.bottom_pattern == "side":
        out[bottom & (np.abs(p[:, 1] + 0.015) < 0.022) & (x > 0.1)] = second
    elif who.bottom_pattern == "hem":
        end = {"trousers": -0.72, "shorts": who.length}.get(who.bottom, who.length)
        out[bottom & (f[:, 2] < end + 0.07)] = 0.75 * second + 0.1
    if who.bottom == "skirt" and who.seed % 3 == 0:
        out[skirt & ~upper & (np.sin(who.pitch * f[:, 2]) > 0.3)] *= 0.62
    if who.bottom in ("skirt", "dress") and who.seed % 3 == 1:
        angle = np.arctan2(p[:, 0], p[:, 1] + 0.02)
        out[skirt & bottom] *= (1 + 0.16 * np.sin(26 * angle[skirt & bottom]))[:, None]
    if who.bottom == "trousers":
        out[low & (p[:, 1] < 0) & (np.abs(x - 0.15) < 0.004)] *= 0.85
    shoe = (zone == Zone.FOOT) & ~low
    lowest = body.template[:SKIN_VERTICES, 2].min()
    out[shoe] = who.shoes
    laces = (
        shoe
        & (p[:, 1] < -0.03)
        & (p[:, 1] > -0.11)
        & (f[:, 2] > lowest + 0.06)
        & (np.sin(p[:, 1] * 420) > 0.2)
    )
    out[laces] = 0.8 if sum(who.shoes) < 1.2 else 0.35
    out[shoe & (f[:, 2] < lowest + 0.014)] = 0.75 if sum(who.shoes) < 1 else 0.25
    sock = shoe & (f[:, 2] > lowest + 0.1)
    out[sock] = 0.75 if who.seed % 2 else 0.15
    if who.bag in ("backpack", "shoulder") and len(dressed.carried) and (dressed.zone[-1] == Zone.BAG):
        strap = (
            (np.abs(x - 0.095) < 0.016) & (p[:, 2] > 0.36)
            if who.bag == "backpack"
            else np.abs(p[:, 0] * 0.85 + 0.32 - p[:, 2] + 0.1) < 0.016
        )
        out[top & strap & (zone == Zone.TORSO)] = 0.75 * np.array(who.bag_colour)
    return upper | bottom
