"""Who walks by: identities, what they wear, how they move, and how that is painted onto the body."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import cache, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dp2bench.core.seeds import derive_seed, generator
from dp2bench.datasets.passersby import raster
from dp2bench.datasets.passersby.body import ALL_VERTICES, SKIN_VERTICES, Floats, Zone, kit, rotation

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
SHOES = ((30, 30, 30), (226, 226, 226), (110, 72, 46), (140, 40, 44), (60, 70, 110))
PATTERNS = ("plain", "stripes", "bars", "check", "print", "block", "dots")


@dataclass(frozen=True)
class Look:
    """One identity: everything by which somebody can be told from somebody else."""

    body: int
    female: bool
    skin: Colour
    hair: Colour
    hair_style: str
    beard: bool
    glasses: bool
    top: str
    sleeve: float
    pattern: str
    top_colour: Colour
    second_colour: Colour
    collar: float
    bottom: str
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
    sleeve = {"tee": 0.34, "shirt": 1.0, "jacket": 1.03, "coat": 1.03, "tank": 0.04}[top] + float(
        r.uniform(-0.05, 0.05)
    )
    bottom = _one(
        r,
        {"trousers": 0.5, "shorts": 0.14, "skirt": 0.22, "dress": 0.14}
        if female
        else {"trousers": 0.76, "shorts": 0.24},
    )
    if bottom == "dress" and top in ("jacket", "coat"):
        bottom = "skirt"
    styles = (
        {"short": 0.22, "bob": 0.3, "long": 0.42, "cap": 0.06}
        if female
        else {"short": 0.6, "bob": 0.12, "long": 0.05, "bald": 0.11, "cap": 0.12}
    )
    return Look(
        body=body,
        female=female,
        skin=_colour(r, SKINS),
        hair=_colour(r, HAIRS, 0.15),
        hair_style=_one(r, styles),
        beard=bool(not female and r.random() < 0.3),
        glasses=bool(r.random() < 0.2),
        top=top,
        sleeve=sleeve,
        pattern=_one(r, dict(zip(PATTERNS, (0.36, 0.16, 0.07, 0.12, 0.13, 0.11, 0.05), strict=True))),
        top_colour=_colour(r, TOPS),
        second_colour=_colour(r, TOPS),
        collar=float(r.choice([0.085, 0.1, 0.12])),
        bottom=bottom,
        bottom_colour=_colour(r, BOTTOMS),
        length=float(r.uniform(-0.5, -0.16) if bottom in ("skirt", "dress") else r.uniform(-0.36, -0.2)),
        looseness=float(r.uniform(0.008, 0.022)),
        shoes=_colour(r, SHOES),
        bag=_one(r, {"none": 0.6, "backpack": 0.22, "shoulder": 0.18}),
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
        ("bottom_colour",), ("pattern", "second_colour"), ("top_colour",), ("sleeve", "top"), ("bottom", "length"),
    )  # fmt: skip
    for change in r.permutation(len(changes))[:2]:
        mixed = replace(mixed, **{name: getattr(own, name) for name in changes[int(change)]})
    if mixed.bottom == "dress" and mixed.top in ("jacket", "coat"):
        mixed = replace(mixed, bottom="skirt")
    return mixed


def _noise(points: Any, frequency: float, seed: int) -> Any:
    """(N,) smooth noise in about -1..1 at (N, 3) points."""
    r = np.random.default_rng(seed)
    total = np.zeros(len(points))
    for k in range(4):
        d = r.normal(size=3)
        d /= np.sqrt((d**2).sum())
        phase = points[:, 0] * d[0] + points[:, 1] * d[1] + points[:, 2] * d[2]
        total += np.sin(frequency * (1 + 0.7 * k) * phase + r.uniform(0, 6.3)) / (1 + k)
    return total / 2


def _step(low: float, high: float, x: Any) -> Any:
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def _hairline(points: Any, style: str) -> Any:
    """(N,) metres above the hairline, which drops from the forehead to the nape."""
    y, z = points[:, 1] - kit().eye[1], points[:, 2] - kit().eye[2]
    line = 0.055 - 0.62 * np.clip(y - 0.02, 0, 0.2) - 0.35 * np.clip(y - 0.09, 0, 1)
    if style == "bob":
        line = line - 0.5 * np.clip(y - 0.05, 0, 0.08)
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
    trunk = np.isin(zone, (Zone.TORSO, Zone.LEG, Zone.HEAD)) & (p[:, 2] < 0.76)
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
        template: (V, 3) the coordinates clothes are painted in; zone: (V,); arm: (V,).
        triangles: (T, 3) int32.

    """

    look: Look
    clothed: Floats
    bare: Floats
    heads: Floats
    template: Floats
    zone: NDArray[np.int8]
    arm: Floats
    triangles: NDArray[np.int32]


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


@lru_cache(maxsize=4)
def dress(who: Look, bag: bool = True) -> Dressed:
    """Put clothes on the body of an identity."""
    body = kit()
    p, zone, arm = body.template, body.zone, body.arm
    bare, heads = body.shape(body.coefficients[who.body])
    top, low = _garments(who, p, zone, arm)
    top, low = top & body.body, low & body.body
    v = body.smooth(bare, top | low, 12)
    n = raster.normals(np.ascontiguousarray(v), body.skin_mesh)
    off = np.zeros(ALL_VERTICES)
    off[top] = who.looseness + {"jacket": 0.012, "coat": 0.014}.get(who.top, 0.0)
    flare = 0.010 + who.looseness * 0.75 + 0.014 * _step(-0.15, -0.62, p[:, 2])
    if who.bottom == "shorts":
        flare = flare + 0.012 * _step(0.05, who.length, p[:, 2])
    off[low] = flare[low]
    off[(zone == Zone.FOOT) & ~low] = 0.010
    head = (zone == Zone.HEAD) & body.body
    if who.hair_style != "bald":
        fluff = {"short": 0.014, "cap": 0.016, "bob": 0.026, "long": 0.018}[who.hair_style]
        off = np.where(
            head & ~top,
            fluff * _step(-0.004, 0.03, _hairline(p, who.hair_style)) * (1 + 0.25 * _noise(p, 70, who.seed)),
            off,
        )
    off = body.smooth(off, body.body, 2, 0.6)
    off += np.where(top | low, 0.004 * _noise(p, 38, who.seed + 1), 0)
    v = v + n * off[:, None]
    meshes = [body.skin_mesh, body.eye_mesh]
    hem = who.length if who.bottom == "dress" else _hem(who)
    height = p[body.skirt_mesh, 2].min(1)  # both halves of a quad end at one height: a straight hem
    if who.bottom == "skirt":
        meshes.append(body.skirt_mesh[height > min(who.length, hem)])
    elif who.bottom == "dress" or who.top != "tank":
        meshes.append(body.skirt_mesh[height > hem])
    skirt = zone == Zone.SKIRT
    spread = raster.normals(np.ascontiguousarray(v), body.skirt_mesh)
    outward = np.sign((spread[skirt, :2] * (v[skirt, :2] - v[skirt, :2].mean(0))).sum())
    ease = (0.5 * who.looseness + 0.012) * _step(0.2, 0.1, p[:, 2]) + 0.6 * who.looseness
    ease = ease + 0.02 * _step(0.05, -0.4, p[:, 2]) * (who.top == "coat")
    v = np.where(skirt[:, None], v + outward * spread * ease[:, None] * [1, 1, 0], v)
    if who.hair_style == "long":
        meshes.append(body.hair_mesh)
    template, clothed, zones, arms = p, v, zone, arm
    if bag and who.bag != "none":
        unit, t = _bag_mesh()
        if who.bag == "backpack":
            near = body.body & (np.abs(p[:, 0]) < 0.1) & (np.abs(p[:, 2] - 0.42) < 0.1) & (zone == Zone.TORSO)
            size, centre = (
                np.array([0.135, 0.075, 0.19]),
                np.array([0, v[near, 1].max() + 0.045, v[near, 2].mean()]),
            )
        else:
            near = body.body & (np.abs(p[:, 2] - 0.1) < 0.06) & (zone != Zone.HAND) & (zone != Zone.ARM)
            size, centre = (
                np.array([0.05, 0.15, 0.12]),
                np.array([v[near, 0].max() + 0.05, 0.03, v[near, 2].mean() - 0.02]),
            )
        meshes.append(t + ALL_VERTICES)
        clothed = np.concatenate([v, unit * size + centre])
        template = np.concatenate([p, unit])
        zones = np.concatenate([zone, np.full(len(unit), Zone.BAG, np.int8)])
        arms = np.concatenate([arm, np.full(len(unit), -1.0)])
    return Dressed(
        who,
        clothed,
        bare,
        heads,
        template,
        zones,
        arms,
        np.ascontiguousarray(np.concatenate(meshes), np.int32),
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
    if len(dressed.clothed) > ALL_VERTICES:
        m = moves[body.bones["spine02" if dressed.look.bag == "backpack" else "root"]]
        extra = dressed.clothed[ALL_VERTICES:]
        points = np.concatenate([points, np.einsum("ij,vj->vi", m[:3, :3], extra) + m[:3, 3]])
    floor = points[:SKIN_VERTICES, 2].min()
    c, s = np.cos(yaw), np.sin(yaw)

    def place(v: Floats) -> Floats:
        return np.stack(
            [c * v[:, 0] - s * v[:, 1] + at[0], s * v[:, 0] + c * v[:, 1] + at[1], v[:, 2] - floor], 1
        )

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
    skin, hair, first, second = (np.array(c) for c in (who.skin, who.hair, who.top_colour, who.second_colour))
    x, dz, dy = np.abs(p[:, 0]), p[:, 2] - body.eye[2], p[:, 1] - body.eye[1]
    out = np.tile(skin, (len(p), 1)) * (1 + 0.03 * _noise(p, 60, who.seed))[:, None]

    face = zone == Zone.HEAD
    front = face & (dy < 0.03)
    out[front & (((x - 0.04) / 0.02) ** 2 + ((dz + 0.035) / 0.016) ** 2 < 1)] *= [1.03, 0.93, 0.92]
    socket = front & (((x - 0.031) / 0.02) ** 2 + (dz / 0.011) ** 2 < 1)
    out[socket] *= 0.78
    out[front & ((x / 0.024) ** 2 + ((dz + 0.068) / 0.008) ** 2 < 1)] = skin * [0.8, 0.52, 0.52]
    if who.beard:
        chin = face & (dy < 0.075) & (dz < -0.05 - 0.5 * np.clip(0.03 - x, 0, 1)) & (dz > -0.13)
        chin |= front & (np.abs(dz + 0.05) < 0.006) & (x < 0.028)
        out[chin] = 0.3 * skin + 0.7 * hair
    out[front & (np.abs(dz - 0.024 - 0.1 * (x - 0.03)) < 0.005) & (x > 0.012) & (x < 0.05)] = (
        0.2 * skin + 0.7 * hair
    )
    if who.glasses:
        rim = ((x - 0.033) / 0.026) ** 2 + ((dz + 0.002) / 0.019) ** 2
        out[front & (rim > 0.62) & (rim < 1.15)] = 0.06
        out[face & (np.abs(dz - 0.004) < 0.004) & (x > 0.055)] = 0.06
    eye = zone == Zone.EYE
    out[eye] = 0.82
    out[eye & ((x - body.eye[0]) ** 2 + dz**2 < 0.0075**2) & (dy < 0)] = [0.16, 0.1, 0.07]

    strands = 1 + 0.24 * _noise(p * [1, 1, 0.25], 260, who.seed)
    above = _hairline(p, who.hair_style)
    if who.hair_style != "bald":
        k = face & (above > 0.002)
        out[k] = second if who.hair_style == "cap" else hair * strands[k][:, None]
    top, low = _garments(who, p, zone, arm)
    cloth = np.tile(first, (len(p), 1))
    run = np.where(zone == Zone.ARM, arm * 0.45, p[:, 2])
    if who.pattern == "stripes":
        cloth[np.sin(who.pitch * run) > 0] = second
    elif who.pattern == "bars":
        cloth[np.sin(1.2 * who.pitch * p[:, 0]) > 0.2] = second
    elif who.pattern == "check":
        a, b = np.sin(who.pitch * run), np.sin(who.pitch * p[:, 0])
        cloth[(a > 0) ^ (b > 0)] = 0.6 * first + 0.4 * second
        cloth[(a > 0.8) | (b > 0.8)] = second
    elif who.pattern == "print":
        badge = (zone == Zone.TORSO) & (p[:, 1] < 0)
        if who.seed % 2:
            badge &= np.abs(p[:, 2] - 0.43) < 0.03
        else:
            badge &= (p[:, 0] / 0.075) ** 2 + ((p[:, 2] - 0.44) / 0.065) ** 2 < 1
        cloth[badge] = second
    elif who.pattern == "block":
        cloth[(zone == Zone.ARM) | (p[:, 2] > 0.45)] = second
    elif who.pattern == "dots":
        cloth[np.sin(who.pitch * p[:, 0]) * np.sin(who.pitch * run) > 0.45] = second
    skirt = zone == Zone.SKIRT
    upper = top | (skirt & ((p[:, 2] > _hem(who) - 0.01) & (who.top != "tank") | (who.bottom == "dress")))
    out[upper] = cloth[upper]
    centre = upper & (p[:, 1] < -0.02) & (zone != Zone.ARM)
    if who.top in ("jacket", "coat"):
        if who.seed % 3:
            out[centre & (x < 0.035 + 0.05 * np.clip(p[:, 2] - 0.25, 0, 1)) & ~skirt] = second
        out[centre & (np.abs(x - 0.012) < 0.006)] *= 0.6
        out[(zone == Zone.ARM) & top & (arm > who.sleeve - 0.05)] *= 0.75
    elif who.top == "shirt":
        out[centre & (x < 0.006)] *= 0.7
    d = np.sqrt(p[:, 0] ** 2 + (p[:, 1] + 0.022) ** 2 + (p[:, 2] - 0.742) ** 2)
    out[top & (d < who.collar + 0.016) & (zone != Zone.ARM)] *= 0.72
    bottom = low | (skirt & ~upper)
    out[bottom] = np.array(who.bottom_colour) * (1 + 0.05 * _noise(p[bottom], 90, 3))[:, None]
    if who.bottom == "skirt" and who.seed % 3 == 0:
        out[skirt & ~upper & (np.sin(who.pitch * p[:, 2]) > 0.3)] *= 0.62
    if who.bottom == "trousers":
        out[low & (p[:, 1] < 0) & (np.abs(x - 0.15) < 0.004)] *= 0.85
    shoe = (zone == Zone.FOOT) & ~low
    out[shoe] = who.shoes
    out[shoe & (p[:, 2] < body.template[:SKIN_VERTICES, 2].min() + 0.02)] = (
        0.75 if sum(who.shoes) < 1 else 0.25
    )
    locks = zone == Zone.HAIR
    out[locks] = hair * strands[locks][:, None]
    carried = zone == Zone.BAG
    if who.bag != "none":
        bag = np.array(who.bag_colour)
        strap = (
            (np.abs(x - 0.095) < 0.016) & (p[:, 2] > 0.36)
            if who.bag == "backpack"
            else np.abs(p[:, 0] * 0.85 + 0.32 - p[:, 2] + 0.1) < 0.016
        )
        if len(dressed.template) > ALL_VERTICES:
            out[top & strap & (zone == Zone.TORSO)] = 0.75 * bag
        q = p[carried]
        out[carried] = bag * np.where((np.abs(q[:, 2] - 0.25) < 0.06) | (q[:, 2] < -0.55), 0.7, 1.0)[:, None]
    cloth_any = upper | bottom
    wrinkles = np.where(
        cloth_any, 0.5 * _noise(p, 48, who.seed + 1) + 0.35 * _noise(p, 110, who.seed + 2), 0.0
    )
    ids = np.where(carried, -2, body.nearest[np.minimum(nearest, ALL_VERTICES - 1)])
    return out.clip(0, 1), wrinkles, ids
