"""How the streets of `passersby-cityscapes` are made: seen from a car, every pixel labelled as Cityscapes does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dp2bench.core.seeds import derive_seed, generator
from dp2bench.datasets.cityscapes import SPLITS
from dp2bench.datasets.passersby.generation import truth
from dp2bench.datasets.passersby.generation.chunks import Arrays, join_columns, split_columns
from dp2bench.datasets.passersby.generation.encoding import encode_png
from dp2bench.datasets.passersby.rendering import street_layout
from dp2bench.datasets.passersby.rendering.camera import camera_at
from dp2bench.datasets.passersby.rendering.cyclist import make_cyclist
from dp2bench.datasets.passersby.rendering.dressing import IdentityPool
from dp2bench.datasets.passersby.rendering.posing import pose_person, random_pose
from dp2bench.datasets.passersby.rendering.street import StreetView, render_street
from dp2bench.datasets.passersby.rendering.townscape import Label
from dp2bench.datasets.passersby.scene_builder import SampleSpec, SceneBuilder, Size

WIDTH, HEIGHT = 1024, 512
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

_WITH_INSTANCES = (Label.PERSON, Label.RIDER, Label.CAR, Label.BICYCLE)


SIZES = {
    "smoke": Size(train=2, val=2, chunk=2),
    "mini": Size(train=96, val=40, chunk=8),
    "large": Size(train=2_975, val=500, chunk=17),
}


def stem(spec: SampleSpec) -> str:
    """The file's name without its kind: town, sequence, frame."""
    towns = CITIES[spec.split]
    return f"{towns[spec.pool % len(towns)]}_{spec.pool:06d}_{spec.number:06d}"


def render_sample(spec: SampleSpec, pool: IdentityPool) -> tuple[StreetView, list[int]]:
    """One picture: the view, and for each person its place in the pool."""
    r = generator(derive_seed("passersby-cityscapes", spec.split, spec.number))
    place = street_layout.build_setting(r, "street")
    lane = place.town.road / 2
    eye = lane + float(r.normal(0, 0.3)), float(r.uniform(-4, 4)), float(r.uniform(1.35, 1.7))
    focal = WIDTH * float(r.uniform(0.72, 0.95))
    camera = camera_at(
        eye, float(r.normal(0.04, 0.09)), float(r.uniform(-0.01, 0.07)), focal, (WIDTH, HEIGHT)
    )
    place = place.clear(eye[0], eye[1], 1.7, 8)
    count = int(r.integers(3, 10))
    spots = street_layout.place_people(place, camera, r, count, (5, 28), road=0.12)
    chosen = r.permutation(CityscapesBuilder.pool_size)[: len(spots)].tolist()
    kinds = ("walk", "stand", "phone", "wave")
    people = []
    for k, (x, y) in zip(chosen, spots, strict=True):
        # On the pavement people walk along it, on the road across.
        along = 0.0 if abs(x) > place.town.road else np.pi / 2
        yaw = along + float(r.choice([0, np.pi])) + float(r.normal(0, 0.35))
        kind = kinds[int(r.choice(4, p=[0.62, 0.22, 0.12, 0.04]))]
        people.append(pose_person(pool[k], random_pose(r, kind), yaw=yaw, at=(x, y)))
    riders = []
    free = [k for k in r.permutation(CityscapesBuilder.pool_size).tolist() if k not in chosen]
    for k in free[: int(r.choice(3, p=[0.25, 0.45, 0.3]))]:
        # On the right side of the road, away from the camera there and towards it on the other.
        side = float(r.choice([-1, 1]))
        at = side * max(place.town.road - 2.7, 0.6), eye[1] + float(r.uniform(6, 20))
        if any(v.covers(*at) for v in place.vehicles):
            continue
        cyclist, bicycle = make_cyclist(
            pool[k], r, at, (np.pi if side > 0 else 0.0) + float(r.normal(0, 0.12))
        )
        place = replace(place, vehicles=(*place.vehicles, bicycle))
        riders.append(len(people))
        people.append(cyclist)
        chosen.append(k)
    return render_street(place, people, camera, r, riders), chosen


def instance_ids(view: StreetView) -> NDArray[np.uint16]:
    """(H, W) as in ``gtFine_instanceIds``: label id, or 1000 times the label id plus the number of the instance of its class."""
    ids = view.labels.astype(np.uint16)
    people = (view.things >= 0) & (view.things < 1000)
    ids[people] = view.labels[people].astype(np.uint16) * 1000 + view.things[people].astype(np.uint16)
    for k, (n, (label, _)) in enumerate(sorted(view.vehicles.items())):
        ids[view.things == 1000 + n] = label * 1000 + k
    return ids


def polygons(view: StreetView) -> list[dict[str, Any]]:
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
    # What stands before people, whatever was painted over from behind, and things that hold each other, as a rider and their
    # bicycle do. An outline has no holes, so that what is painted anew may cover something small, which the next round restores.
    while (wrong := (view.labels > 0) & (painted != view.labels)).any():
        for label in np.unique(view.labels[wrong]).tolist():
            for outline in _outlines((view.labels == label) & (painted != view.labels)):
                # Such a piece belongs to a group, which the evaluation ignores: its instance is an object already.
                put(label, outline, "group" if label in _WITH_INSTANCES else "")
    return out


def _label_of(view: StreetView, person: int) -> Label:
    x0, y0, x1, y1 = view.people[person].box
    split_blobs = np.s_[y0:y1, x0:x1]
    return Label(int(view.labels[split_blobs][view.things[split_blobs] == person][0]))


def _outlines(mask: NDArray[np.bool_]) -> list[NDArray[np.int32]]:
    """The outer outline (N, 2) of every piece of a mask, largest first; N is 3 or more."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    outlines = [np.asarray(c[:, 0], np.int32) for c in contours]
    outlines = [
        o if len(o) > 2 else np.repeat(o, 3, 0)[:3] if len(o) == 1 else o[[0, 1, 0]] for o in outlines
    ]
    return sorted(outlines, key=lambda o: -len(o))


_FILES = {
    "labels": "labelIds.png",
    "instances": "instanceIds.png",
    "colours": "color.png",
    "polygons": "polygons.json",
}
"""The kinds of labels by column, as Cityscapes calls them."""
_COLUMNS = ("pictures", "surfaces", "notes", *_FILES)


class CityscapesBuilder(SceneBuilder):
    """Makes `passersby-cityscapes`; the pictures of a chunk show one town."""

    name = "passersby-cityscapes"
    version = "2.2"
    sizes = SIZES
    stream = "cityscapes"
    pool_size = 16

    def make_chunk(self, chunk: list[SampleSpec]) -> Arrays:
        """Render the pictures of a chunk."""
        pool = self.pool(chunk[0])
        table = np.zeros((256, 3), np.uint8)
        for label, colour in COLOURS.items():
            table[label] = colour
        columns: dict[str, list[bytes]] = {name: [] for name in _COLUMNS}
        for spec in chunk:
            view, chosen = render_sample(spec, pool)
            columns["pictures"].append(encode_png(view.picture[..., ::-1]))
            columns["labels"].append(encode_png(view.labels))
            columns["instances"].append(encode_png(instance_ids(view)))
            colours = np.dstack([table[view.labels][..., ::-1], np.full(view.labels.shape, 255, np.uint8)])
            columns["colours"].append(encode_png(colours))
            objects = {"imgHeight": HEIGHT, "imgWidth": WIDTH, "objects": polygons(view)}
            columns["polygons"].append(json.dumps(objects, indent=1).encode())
            columns["surfaces"].append(truth.surfaces_png(view))
            people = [
                truth.person_row(
                    s,
                    spec.pool * self.pool_size + chosen[s.index],
                    instance=_label_of(view, n) * 1000 + n,
                    metres=round(1 / float(near), 2),
                )
                for n, (s, near) in enumerate(zip(view.people, view.near, strict=True))
            ]
            note = {"split": spec.split, "stem": stem(spec), "people": people}
            columns["notes"].append(json.dumps(note).encode())
        return join_columns(columns)

    def assemble(self, size: str, parts: Iterator[Arrays], root: Path) -> None:
        """Write pictures and labels as they come, then the tables."""
        people: dict[str, dict[str, Any]] = {split: {} for split in SPLITS}

        def put(name: str, data: bytes) -> None:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)

        for item in (item for part in parts for item in split_columns(part, _COLUMNS)):
            note = json.loads(item["notes"])
            split, name = note["split"], note["stem"]
            town = name.partition("_")[0]
            put(f"leftImg8bit/{split}/{town}/{name}_leftImg8bit.png", item["pictures"])
            put(f"{truth.FOLDER}/surfaces/{split}/{name}.png", item["surfaces"])
            for kind, file in _FILES.items():
                put(f"gtFine/{split}/{town}/{name}_gtFine_{file}", item[kind])
            self.number_people(size, split, note["people"])
            people[split][name] = note["people"]
        truth.write_tables(root, people, self.identities(size))
