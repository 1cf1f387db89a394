"""`passersby-cityscapes`: rendered streets seen from a car in the layout of Cityscapes, made on first use."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from dp2bench.core.contracts import DatasetMeta, Progress, no_progress
from dp2bench.core.seeds import derive_seed, generator
from dp2bench.core.types import People, Sample
from dp2bench.datasets.cityscapes import SPLITS, Cityscapes
from dp2bench.datasets.passersby.generation import truth
from dp2bench.datasets.passersby.generation.builder import Arrays, Made, Recipe, cut, join
from dp2bench.datasets.passersby.rendering import street
from dp2bench.datasets.passersby.rendering.people import act, look, pose
from dp2bench.datasets.passersby.rendering.street import View
from dp2bench.datasets.passersby.rendering.townscape import Label

WIDTH, HEIGHT = 1024, 512
CAST = 16
"""Identities that the pictures of one chunk share."""
CITIES = {"train": ("ahornau", "birkenfels", "dornburg"), "val": ("espental", "fichtenau")}
"""Invented towns."""

COLOURS = {
    Label.UNLABELED: (0, 0, 0), Label.STATIC: (0, 0, 0), Label.ROAD: (128, 64, 128), Label.SIDEWALK: (244, 35, 232),
    Label.BUILDING: (70, 70, 70), Label.WALL: (102, 102, 156), Label.FENCE: (190, 153, 153), Label.POLE: (153, 153, 153),
    Label.TRAFFIC_LIGHT: (250, 170, 30), Label.TRAFFIC_SIGN: (220, 220, 0), Label.VEGETATION: (107, 142, 35),
    Label.TERRAIN: (152, 251, 152), Label.SKY: (70, 130, 180), Label.PERSON: (220, 20, 60), Label.RIDER: (255, 0, 0),
    Label.CAR: (0, 0, 142), Label.BICYCLE: (119, 11, 32),
}  # fmt: skip
"""Of the class in ``gtFine_color``, as Cityscapes has them."""


@dataclass(frozen=True)
class Size:
    """Pictures of each split, and how many are made together."""

    train: int
    val: int
    chunk: int


SIZES = {
    "smoke": Size(train=2, val=2, chunk=2),
    "mini": Size(train=96, val=40, chunk=8),
    "large": Size(train=2_975, val=500, chunk=17),
}


@dataclass(frozen=True)
class Shot:
    """One picture of the plan."""

    split: str
    number: int
    cast: int
    """Which group of identities of the split may be seen: that of its town's street."""

    @property
    def stem(self) -> str:
        """The file's name without its kind: town, sequence, frame."""
        towns = CITIES[self.split]
        return f"{towns[self.cast % len(towns)]}_{self.cast:06d}_{self.number:06d}"


def identity(size: str, split: str, index: int) -> int:
    """The number of an identity, from 1, different in the two splits."""
    n = SIZES[size]
    return index + 1 + (0 if split == "train" else -(-n.train // n.chunk) * CAST)


def shoot(shot: Shot, cast: street.Cast) -> tuple[View, list[int]]:
    """Take one picture: the view, and for each actor its place in the cast."""
    r = generator(derive_seed("passersby-cityscapes", shot.split, shot.number))
    place = street.build(r, "street")
    lane = place.town.road / 2
    eye = lane + float(r.normal(0, 0.3)), float(r.uniform(-4, 4)), float(r.uniform(1.35, 1.7))
    focal = WIDTH * float(r.uniform(0.72, 0.95))
    camera = street.camera_at(
        eye, float(r.normal(0.04, 0.09)), float(r.uniform(-0.01, 0.07)), focal, (WIDTH, HEIGHT)
    )
    place = place.clear(eye[0], eye[1], 1.7, 8)
    count = int(r.integers(3, 10))
    spots = street.place_people(place, camera, r, count, (5, 28), road=0.12)
    who = r.permutation(CAST)[: len(spots)].tolist()
    kinds = ("walk", "stand", "phone", "wave")
    actors = []
    for k, (x, y) in zip(who, spots, strict=True):
        # On the pavement people walk along it, on the road across.
        along = 0.0 if abs(x) > place.town.road else np.pi / 2
        yaw = along + float(r.choice([0, np.pi])) + float(r.normal(0, 0.35))
        kind = kinds[int(r.choice(4, p=[0.62, 0.22, 0.12, 0.04]))]
        actors.append(act(cast[k], pose(r, kind), yaw=yaw, at=(x, y)))
    riders = []
    free = [k for k in r.permutation(CAST).tolist() if k not in who]
    for k in free[: int(r.choice(3, p=[0.25, 0.45, 0.3]))]:
        # On the right side of the road, away from the camera there and towards it on the other.
        side = float(r.choice([-1, 1]))
        at = side * max(place.town.road - 2.7, 0.6), eye[1] + float(r.uniform(6, 20))
        if any(v.covers(*at) for v in place.vehicles):
            continue
        someone, wheels = street.rider(
            cast[k], r, at, (np.pi if side > 0 else 0.0) + float(r.normal(0, 0.12))
        )
        place = replace(place, vehicles=(*place.vehicles, wheels))
        riders.append(len(actors))
        actors.append(someone)
        who.append(k)
    return street.render(place, actors, camera, r, riders), who


def instance_ids(view: View) -> NDArray[np.uint16]:
    """(H, W) as in ``gtFine_instanceIds``: label id, or 1000 times the label id plus the number of the instance of its class."""
    ids = view.labels.astype(np.uint16)
    people = (view.things >= 0) & (view.things < 1000)
    ids[people] = view.labels[people].astype(np.uint16) * 1000 + view.things[people].astype(np.uint16)
    for k, (n, (label, _)) in enumerate(sorted(view.vehicles.items())):
        ids[view.things == 1000 + n] = label * 1000 + k
    return ids


def polygons(view: View) -> list[dict[str, Any]]:
    """The objects of ``gtFine_polygons.json`` from back to front: painting them in turn gives the labels again.

    An instance in several pieces is one polygon with bridges between the pieces, as whatever hides it is painted later.
    """
    out: list[dict[str, Any]] = []
    painted = np.zeros(view.labels.shape, np.uint8)

    def put(label: int, outline: NDArray[np.int32], group: str = "") -> None:
        name = Label(label).name.lower().replace("_", " ") + group
        out.append({"label": name, "polygon": outline.tolist()})
        cv2.fillPoly(painted, [outline], int(label))

    still = np.where(view.things == -1, view.labels, 0)
    for label in (Label.SKY, Label.BUILDING, Label.VEGETATION, Label.TERRAIN, Label.SIDEWALK, Label.ROAD):
        for outline in _outlines(still == label):
            put(label, outline)
    things = [(float(near), _label_of(view, n), n) for n, near in enumerate(view.near)]
    things += [(near, label, 1000 + n) for n, (label, near) in view.vehicles.items()]
    for _, label, n in sorted(things):
        pieces = _outlines(view.things == n)
        if pieces:
            home = pieces[0][0]
            path = [np.concatenate([piece, piece[:1], home[None]]) for piece in pieces]
            put(label, np.concatenate(path))
    # What stands before people, and whatever was painted over from behind.
    for label in np.unique(still[(still > 0) & (painted != view.labels)]).tolist():
        for outline in _outlines((still == label) & (painted != view.labels)):
            # A few pixels of somebody hardly seen are nobody's: a group, which the evaluation ignores.
            put(label, outline, "group" if label in (Label.PERSON, Label.RIDER) else "")
    return out


def _label_of(view: View, person: int) -> Label:
    x0, y0, x1, y1 = view.seen[person].box
    cut = np.s_[y0:y1, x0:x1]
    return Label(int(view.labels[cut][view.things[cut] == person][0]))


def _outlines(mask: NDArray[np.bool_]) -> list[NDArray[np.int32]]:
    """The outer outline (N, 2) of every piece of a mask, largest first; N is 3 or more."""
    found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    outlines = [np.asarray(c[:, 0], np.int32) for c in found]
    outlines = [
        o if len(o) > 2 else np.repeat(o, 3, 0)[:3] if len(o) == 1 else o[[0, 1, 0]] for o in outlines
    ]
    return sorted(outlines, key=lambda o: -len(o))


class CityscapesRecipe(Recipe[Shot]):
    """Makes `passersby-cityscapes`."""

    name = "passersby-cityscapes"
    version = "2.1"
    sizes = SIZES

    def plan(self, size: str) -> list[list[Shot]]:
        """Pictures of both splits; those of a chunk share a cast, and with it a town."""
        n = SIZES[size]
        chunks = []
        for split, count in (("train", n.train), ("val", n.val)):
            for cast, first in enumerate(range(0, count, n.chunk)):
                chunks.append([Shot(split, k, cast) for k in range(first, min(first + n.chunk, count))])
        return chunks

    def make_chunk(self, chunk: list[Shot]) -> Arrays:
        """Take the pictures of a chunk."""
        first = chunk[0]
        cast = street.Cast(f"cityscapes-{first.split}", first.cast * CAST, CAST)
        table = np.zeros((256, 3), np.uint8)
        for label, colour in COLOURS.items():
            table[label] = colour
        blobs: dict[str, list[bytes]] = {
            name: []
            for name in ("pictures", "labels", "instances", "colours", "polygons", "surfaces", "notes")
        }
        for shot in chunk:
            view, who = shoot(shot, cast)
            blobs["pictures"].append(truth.png(view.picture[..., ::-1]))
            blobs["labels"].append(truth.png(view.labels))
            blobs["instances"].append(truth.png(instance_ids(view)))
            colours = np.dstack([table[view.labels][..., ::-1], np.full(view.labels.shape, 255, np.uint8)])
            blobs["colours"].append(truth.png(colours))
            objects = {"imgHeight": HEIGHT, "imgWidth": WIDTH, "objects": polygons(view)}
            blobs["polygons"].append(json.dumps(objects, indent=1).encode())
            blobs["surfaces"].append(truth.surfaces_png(view))
            people = [
                truth.row(
                    s,
                    shot.cast * CAST + who[s.actor],
                    instance=_label_of(view, n) * 1000 + n,
                    metres=round(1 / float(near), 2),
                )
                for n, (s, near) in enumerate(zip(view.seen, view.near, strict=True))
            ]
            blobs["notes"].append(
                json.dumps({"split": shot.split, "stem": shot.stem, "people": people}).encode()
            )
        parts: dict[str, NDArray[Any]] = {}
        for name, some in blobs.items():
            parts[name], parts[f"{name}_first"] = join(some)
        return parts

    def assemble(self, size: str, parts: Iterator[Arrays], root: Path) -> None:
        """Write pictures and labels as they come, then the tables."""
        people: dict[str, dict[str, Any]] = {split: {} for split in SPLITS}
        kinds = {
            "labels": "labelIds.png",
            "instances": "instanceIds.png",
            "colours": "color.png",
            "polygons": "polygons.json",
        }
        for part in parts:
            columns = {k: cut(part[k], part[f"{k}_first"]) for k in ("pictures", "surfaces", "notes", *kinds)}
            for i, note in enumerate(columns["notes"]):
                told = json.loads(note)
                split, stem = told["split"], told["stem"]
                town = stem.partition("_")[0]

                def put(name: str, data: bytes) -> None:
                    path = root / name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(data)

                put(f"leftImg8bit/{split}/{town}/{stem}_leftImg8bit.png", columns["pictures"][i])
                put(f"{truth.FOLDER}/surfaces/{split}/{stem}.png", columns["surfaces"][i])
                for kind, file in kinds.items():
                    put(f"gtFine/{split}/{town}/{stem}_gtFine_{file}", columns[kind][i])
                for person in told["people"]:
                    person["identity"] = identity(size, split, person["identity"])
                people[split][stem] = told["people"]
        n = SIZES[size]
        looks = (
            (identity(size, split, k), look(f"cityscapes-{split}", k))
            for split, count in (("train", n.train), ("val", n.val))
            for k in range(-(-count // n.chunk) * CAST)
        )
        truth.write_tables(root, people, looks)


class PassersbyCityscapes(Cityscapes):
    """Rendered streets seen from a car: every pixel labelled, exact people.

    Args:
        size: ``smoke`` (seconds, for tests), ``mini`` (136 pictures) or ``large`` (3,475, as Cityscapes has); by default
            that of the dataset at ``root``, else ``mini``.
        root: a copy in this layout (e.g. an anonymized one); by default it is made in the cache, ``$DP2BENCH_CACHE``.

    """

    needs_root: ClassVar[bool] = False

    def __init__(self, size: str | None = None, root: Path | None = None) -> None:
        self.made = Made(CityscapesRecipe(), size, root)
        self.size = self.made.size
        super().__init__(self.made.root if root is None else Path(root), official=False)
        if root is not None and not self.labels.is_dir():
            self.labels = self.made.root / "gtFine"
        self.meta = DatasetMeta(
            name="passersby-cityscapes",
            version=self.made.version,
            licence="CC0-1.0",
            splits=SPLITS,
            description="Rendered street scenes in the layout of Cityscapes, made on this machine",
        )
        self._truth = truth.Truth(self.made.root)

    @property
    def _is_original(self) -> bool:
        return self.root == self.made.root

    def prepare(self, progress: Progress = no_progress) -> None:
        """Make the dataset in the cache unless it is there, calling ``progress(done, total)`` with pictures."""
        self.made.prepare(progress)

    def samples(self, split: str) -> Sequence[Sample]:
        """See `Cityscapes.samples`; makes the dataset on first use."""
        self.prepare()
        return super().samples(split)

    def people(self, sample: Sample) -> People:
        """Everybody in a picture, nearest last, with masks, keypoints, faces and surfaces."""
        self.prepare()
        return self._truth.people(sample.path.parent.parent.name, _stem(sample), sample)

    def attributes(self) -> dict[int, dict[str, Any]]:
        """What each identity looks like: body, skin, hair, clothes, by identity."""
        self.prepare()
        return self._truth.attributes()

    def identities(self, sample: Sample) -> list[int]:
        """Who is who in `people`."""
        self.prepare()
        return [row["identity"] for row in self._truth.rows(sample.path.parent.parent.name, _stem(sample))]

    def verify(self) -> None:
        """Compare every file with the manifest (original), or check the layout (copy); raises DatasetError."""
        if self._is_original:
            self.made.verify()
        super().verify()

    def open(self, root: Path) -> PassersbyCityscapes:
        """A copy of the same size at another root; people are those of the original."""
        return PassersbyCityscapes(self.size, root)


def _stem(sample: Sample) -> str:
    return Path(sample.id).name.removesuffix("_leftImg8bit.png")
