"""Who walks by: identities, what they look like and what they wear."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from dp2bench.core.seeds import derive_seed, generator
from dp2bench.datasets.passersby.rendering.body import kit

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
class Identity:
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
        """As plain values, with the body's age, height, weight and so on."""
        body = kit()
        shape = zip(body.phenotype_names, body.phenotypes[self.body], strict=True)
        return {**asdict(self), **{f"body_{name}": round(float(value), 4) for name, value in shape}}


def _draw_colour(r: np.random.Generator, palette: Any, spread: float = 0.06) -> Colour:
    base = np.array(palette[int(r.integers(len(palette)))]) / 255
    c = (base * r.uniform(1 - spread, 1 + spread) * r.uniform(1 - spread / 2, 1 + spread / 2, 3)).clip(0, 1)
    return float(c[0]), float(c[1]), float(c[2])


def _choose(r: np.random.Generator, weights: dict[str, float]) -> str:
    p = np.array(list(weights.values()))
    return list(weights)[int(r.choice(len(p), p=p / p.sum()))]


def _independent_identity(r: np.random.Generator) -> Identity:
    body = int(r.integers(len(kit().coefficients)))
    female = bool(kit().phenotypes[body][kit().phenotype_names.index("gender")] > 0.5)
    top = _choose(r, {"tee": 0.36, "shirt": 0.22, "jacket": 0.26, "coat": 0.1, "tank": 0.06})
    sleeve = SLEEVES[top] + float(r.uniform(-0.05, 0.05))
    bottom = _choose(
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
    return Identity(
        body=body,
        female=female,
        skin=_draw_colour(r, SKINS),
        hair=_draw_colour(r, HAIRS[4:5] if old and r.random() < 0.7 else HAIRS, 0.15),
        hair_style=_choose(r, styles),
        beard="none" if female else _choose(r, {"none": 0.6, "stubble": 0.16, "goatee": 0.08, "full": 0.16}),
        eyes=_draw_colour(r, EYES, 0.1),
        hat_colour=_draw_colour(r, TOPS),
        glasses=bool(r.random() < 0.2),
        top=top,
        sleeve=sleeve,
        pattern=_choose(r, PATTERNS),
        motif=int(r.integers(6)),
        top_colour=_draw_colour(r, TOPS),
        second_colour=_draw_colour(r, TOPS),
        collar=float(r.choice([0.085, 0.1, 0.12])),
        bottom=bottom,
        bottom_pattern=_choose(r, BOTTOM_PATTERNS),
        bottom_colour=_draw_colour(r, BOTTOMS),
        length=float(r.uniform(-0.5, -0.16) if bottom in ("skirt", "dress") else r.uniform(-0.36, -0.2)),
        looseness=float(r.uniform(0.008, 0.03)),
        shoes=_draw_colour(r, SHOES),
        bag=_choose(r, {"none": 0.5, "backpack": 0.22, "shoulder": 0.18, "hand": 0.1}),
        bag_colour=_draw_colour(r, TOPS),
        pitch=float(r.uniform(55, 120)),
        seed=int(r.integers(1 << 30)),
    )


GROUP = 2
"""Size of a group of look-alikes: the same wardrobe, but another body, head, shoes, bag and two garments.

Every other group is one of look-alikes, the rest are strangers to each other.
"""


@cache
def make_identity(stream: str, index: int) -> Identity:
    """Identity number ``index`` of a stream of identities (one stream a split, so that splits are disjoint)."""
    base = _independent_identity(generator(derive_seed("passersby", stream, "group", index // GROUP)))
    r = generator(derive_seed("passersby", stream, "person", index))
    own = _independent_identity(r)
    while own.female != base.female:
        own = _independent_identity(r)
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


def jacket_is_open(identity: Identity) -> bool:
    """Whether a jacket hangs open, so that the shirt shows."""
    return identity.seed % 3 != 0


def without_jacket(identity: Identity) -> Identity:
    """The same person in the shirt under their jacket or coat; its colour is the one that shows where that hangs open."""
    r = generator(derive_seed("passersby", "under", identity.seed))
    top = _choose(r, {"tee": 0.5, "shirt": 0.4, "tank": 0.1})
    red, green, blue = (0.9 * c + 0.05 for c in identity.second_colour)
    return replace(
        identity,
        top=top,
        sleeve=SLEEVES[top] + float(r.uniform(-0.05, 0.05)),
        pattern="plain" if jacket_is_open(identity) else _choose(r, PATTERNS),
        top_colour=(red, green, blue),
        second_colour=_draw_colour(r, TOPS),
    )
