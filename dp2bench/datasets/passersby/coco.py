"""`passersby-coco`: rendered scenes with many people in the layout of COCO 2017, made on first use."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from dp2bench.core.contracts import DatasetMeta, Progress, no_progress
from dp2bench.core.seeds import derive_seed, generator
from dp2bench.core.types import People, Sample
from dp2bench.datasets.coco import FOLDERS, PERSON, Coco
from dp2bench.datasets.passersby.generation import truth
from dp2bench.datasets.passersby.generation.builder import Arrays, Made, Recipe, cut, join
from dp2bench.datasets.passersby.rendering import street
from dp2bench.datasets.passersby.rendering.people import act, look, pose
from dp2bench.datasets.passersby.rendering.street import View

WIDTH, HEIGHT = 640, 480
CAR = 3
"""Category id of cars."""
CAST = 14
"""Identities that the pictures of one chunk share."""
SMALLEST_WITH_KEYPOINTS = 32 * 32
"""Pixels; COCO's annotators set no keypoints on smaller people."""

_NAMES = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow", "right_elbow",
    "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle",
)  # fmt: skip
_SKELETON = (
    (16, 14), (14, 12), (17, 15), (15, 13), (12, 13), (6, 12), (7, 13), (6, 7), (6, 8), (7, 9), (8, 10), (9, 11), (2, 3),
    (1, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 7),
)  # fmt: skip


@dataclass(frozen=True)
class Size:
    """Pictures of each split, and how many are made together."""

    train: int
    val: int
    chunk: int


SIZES = {
    "smoke": Size(train=4, val=4, chunk=4),
    "mini": Size(train=360, val=120, chunk=20),
    # as mini and more: the same val pictures, and its train pictures begin with those of mini
    "medium": Size(train=960, val=120, chunk=20),
    "large": Size(train=12_000, val=1_500, chunk=25),
}


@dataclass(frozen=True)
class Shot:
    """One picture of the plan."""

    split: str
    number: int
    cast: int
    """Which group of identities of the split may be seen."""

    @property
    def image_id(self) -> int:
        """Unique over both splits."""
        return self.number + {"train": 1, "val": 500_001}[self.split]


def identity(size: str, split: str, index: int) -> int:
    """The number of an identity, from 1, different in the two splits."""
    n = SIZES[size]
    return index + 1 + (0 if split == "train" else -(-n.train // n.chunk) * CAST)


def shoot(shot: Shot, cast: street.Cast) -> tuple[View, list[int], list[bool]]:
    """Take one picture: the view, and for each actor its place in the cast and whether it belongs to the crowd."""
    r = generator(derive_seed("passersby-coco", shot.split, shot.number))
    kind = ("street", "square", "park")[int(r.choice(3, p=[0.5, 0.3, 0.2]))]
    place = street.build(r, kind)
    half = place.wide - 1.2
    eye = float(r.uniform(-half, half)), float(r.uniform(-3, 3)), float(r.uniform(0.9, 2.9))
    place = place.clear(eye[0], eye[1], 2.2, 5)
    yaw = (
        float(r.choice([0, np.pi]) + r.normal(0, 0.45))
        if kind == "street"
        else float(r.uniform(0, 2 * np.pi))
    )
    pitch = float(r.uniform(-0.02, 0.05) + 0.05 * max(0.0, eye[2] - 1.4))
    camera = street.camera_at(eye, yaw, pitch, WIDTH * float(r.uniform(0.7, 1.15)), (WIDTH, HEIGHT))
    count = int(
        r.choice([1, 2, 3, 4, 5, 6, 7, 8, 13], p=[0.15, 0.19, 0.18, 0.14, 0.11, 0.08, 0.06, 0.05, 0.04])
    )
    spots = street.place_people(place, camera, r, count, (2.3, 18))
    if r.random() < 0.15:
        spots += street.place_people(place, camera, r, int(r.integers(1, 4)), (22, 50))
    who = r.permutation(CAST)[: len(spots)].tolist()
    spots = spots[: len(who)]
    crowd = [False] * len(who)
    if r.random() < 0.1:
        middle = street.place_people(place, camera, r, 1, (14, 35))
        for x, y in middle:
            for _ in range(int(r.integers(9, 14))):
                spots.append((x + float(r.normal(0, 0.9)), y + float(r.normal(0, 0.9))))
                who.append(int(r.integers(CAST)))
                crowd.append(True)
    kinds = ("walk", "stand", "phone", "wave")
    actors = []
    together = float(r.uniform(0, 2 * np.pi))
    for k, at in zip(who, spots, strict=True):
        yaw = together + float(r.normal(0, 0.5)) if r.random() < 0.3 else float(r.uniform(0, 2 * np.pi))
        actors.append(
            act(cast[k], pose(r, kinds[int(r.choice(4, p=[0.5, 0.28, 0.13, 0.09]))]), yaw=yaw, at=at)
        )
    return street.render(place, actors, camera, r), who, crowd


def polygons(mask: NDArray[np.bool_]) -> list[list[float]]:
    """The outlines of a mask (H, W), x and y in turn, so that COCO's rasteriser fills the same pixels (but holes)."""
    # Twice as large: outlines then run a quarter of a pixel outside the centres of the pixels they enclose.
    wide = np.repeat(np.repeat(mask.astype(np.uint8), 2, 0), 2, 1)
    found, _ = cv2.findContours(wide, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    out = []
    for contour in found:
        points = (cv2.approxPolyDP(contour, 0.75, True)[:, 0] + 0.5) / 2
        if len(points) >= 3:
            out.append([round(float(v), 2) for v in points.ravel()])
    return out


def run_lengths(mask: NDArray[np.bool_]) -> dict[str, list[int]]:
    """COCO's uncompressed run lengths: column by column, beginning with zeros."""
    flat = mask.ravel(order="F").astype(np.int8)
    changes = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff(np.concatenate([[0], changes, [len(flat)]])).tolist()
    return {"counts": ([0] if flat[0] else []) + counts, "size": list(mask.shape)}


def annotate(view: View, crowd: Sequence[bool]) -> list[dict[str, Any]]:
    """COCO's annotations of a view, without ids: people, one crowd, cars."""
    out = []
    gathered = np.zeros(view.things.shape, bool)
    for n, seen in enumerate(view.seen):
        mask = view.things == n
        if crowd[seen.actor]:
            gathered |= mask
            continue
        keypoints = np.zeros((17, 3), int)
        area = int(mask.sum())
        if area >= SMALLEST_WITH_KEYPOINTS:
            keypoints = np.floor(seen.keypoints).astype(int)
            keypoints[keypoints[:, 2] == 0] = 0
        row = _annotation(mask, PERSON)
        if row:
            row |= {
                "keypoints": keypoints.ravel().tolist(),
                "num_keypoints": int((keypoints[:, 2] > 0).sum()),
            }
            out.append(row)
    if gathered.any():
        ys, xs = np.nonzero(gathered)
        # As COCO's annotators do: the region, not the outline of everybody in it.
        region = cv2.morphologyEx(
            gathered.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)
        ).astype(bool)
        region &= (view.things == -1) | gathered
        ys, xs = np.nonzero(region)
        out.append(
            {
                "category_id": PERSON, "iscrowd": 1, "area": int(region.sum()), "segmentation": run_lengths(region),
                "bbox": [int(xs.min()), int(ys.min()), int(np.ptp(xs)) + 1, int(np.ptp(ys)) + 1],
                "keypoints": [0] * 51, "num_keypoints": 0,
            }
        )  # fmt: skip
    for n in view.vehicles:
        mask = view.things == 1000 + n
        if mask.sum() >= 64 and (row := _annotation(mask, CAR)):
            out.append(row)
    return out


def _annotation(mask: NDArray[np.bool_], category: int) -> dict[str, Any]:
    outlines = polygons(mask)
    if not outlines:
        return {}
    ys, xs = np.nonzero(mask)
    return {
        "category_id": category, "iscrowd": 0, "area": int(mask.sum()), "segmentation": outlines,
        "bbox": [int(xs.min()), int(ys.min()), int(np.ptp(xs)) + 1, int(np.ptp(ys)) + 1],
    }  # fmt: skip


class CocoRecipe(Recipe[Shot]):
    """Makes `passersby-coco`."""

    name = "passersby-coco"
    version = "2.1"
    sizes = SIZES

    def plan(self, size: str) -> list[list[Shot]]:
        """Pictures of both splits; those of a chunk share a cast."""
        n = SIZES[size]
        chunks = []
        for split, count in (("train", n.train), ("val", n.val)):
            for cast, first in enumerate(range(0, count, n.chunk)):
                chunks.append([Shot(split, k, cast) for k in range(first, min(first + n.chunk, count))])
        return chunks

    def make_chunk(self, chunk: list[Shot]) -> Arrays:
        """Take the pictures of a chunk."""
        first = chunk[0]
        cast = street.Cast(f"coco-{first.split}", first.cast * CAST, CAST)
        pictures, surfaces, notes = [], [], []
        for shot in chunk:
            view, who, crowd = shoot(shot, cast)
            quality = int(
                generator(derive_seed("passersby-coco", "jpeg", shot.split, shot.number)).integers(80, 96)
            )
            pictures.append(street.jpeg(view.picture, quality))
            surfaces.append(truth.surfaces_png(view))
            notes.append(
                json.dumps(
                    {
                        "split": shot.split, "id": shot.image_id, "annotations": annotate(view, crowd),
                        "people": [
                            truth.row(s, shot.cast * CAST + who[s.actor], crowd=crowd[s.actor], metres=round(1 / float(near), 2))
                            for s, near in zip(view.seen, view.near, strict=True)
                        ],
                    }
                ).encode()
            )  # fmt: skip
        parts: dict[str, NDArray[Any]] = {}
        for name, blobs in (("pictures", pictures), ("surfaces", surfaces), ("notes", notes)):
            parts[name], parts[f"{name}_first"] = join(blobs)
        return parts

    def assemble(self, size: str, parts: Iterator[Arrays], root: Path) -> None:
        """Write pictures and surfaces as they come, then the JSON files."""
        for folder in FOLDERS.values():
            (root / folder).mkdir()
            (root / truth.FOLDER / "surfaces" / folder).mkdir(parents=True)
        (root / "annotations").mkdir()
        images: dict[str, list[Any]] = {split: [] for split in FOLDERS}
        annotations: dict[str, list[Any]] = {split: [] for split in FOLDERS}
        people: dict[str, dict[str, Any]] = {folder: {} for folder in FOLDERS.values()}
        for part in parts:
            columns = [cut(part[name], part[f"{name}_first"]) for name in ("pictures", "surfaces", "notes")]
            for picture, surface, note in zip(*columns, strict=True):
                told = json.loads(note)
                split, stem = told["split"], f"{told['id']:012d}"
                (root / FOLDERS[split] / f"{stem}.jpg").write_bytes(picture)
                (root / truth.FOLDER / "surfaces" / FOLDERS[split] / f"{stem}.png").write_bytes(surface)
                images[split].append(
                    {
                        "id": told["id"],
                        "file_name": f"{stem}.jpg",
                        "width": WIDTH,
                        "height": HEIGHT,
                        "license": 1,
                    }
                )
                for row in told["annotations"]:
                    row |= {
                        "id": len(annotations[split]) + told["id"] // 500_000 * 10_000_000 + 1,
                        "image_id": told["id"],
                    }
                    annotations[split].append(row)
                for person in told["people"]:
                    person["identity"] = identity(size, split, person["identity"])
                people[FOLDERS[split]][stem] = told["people"]
        for split, folder in FOLDERS.items():
            self._write_json(root / "annotations", folder, images[split], annotations[split])
        n = SIZES[size]
        looks = (
            (identity(size, split, k), look(f"coco-{split}", k))
            for split, count in (("train", n.train), ("val", n.val))
            for k in range(-(-count // n.chunk) * CAST)
        )
        truth.write_tables(root, people, looks)

    @staticmethod
    def _write_json(where: Path, folder: str, images: list[Any], annotations: list[Any]) -> None:
        head = {
            "info": {
                "description": "Passersby in the layout of COCO 2017: rendered people",
                "version": "1",
                "year": 2025,
            },
            "licenses": [
                {"id": 1, "name": "CC0 1.0", "url": "https://creativecommons.org/publicdomain/zero/1.0/"}
            ],
            "images": images,
        }
        person = {"supercategory": "person", "id": PERSON, "name": "person"}
        persons = {
            **head,
            "annotations": [row for row in annotations if row["category_id"] == PERSON],
            "categories": [{**person, "keypoints": _NAMES, "skeleton": _SKELETON}],
        }
        instances = {
            **head,
            "annotations": [{k: v for k, v in row.items() if "keypoints" not in k} for row in annotations],
            "categories": [person, {"supercategory": "vehicle", "id": CAR, "name": "car"}],
        }
        for kind, data in (("person_keypoints", persons), ("instances", instances)):
            (where / f"{kind}_{folder}.json").write_text(json.dumps(data, separators=(",", ":")))


class PassersbyCoco(Coco):
    """Rendered scenes with one to many people: keypoints and instances with exact ground truth.

    Args:
        size: ``smoke`` (seconds, for tests), ``mini`` (480 pictures), ``medium`` (1,080) or ``large`` (13,500); by default that of
            the dataset at ``root``, else ``mini``.
        root: a copy in this layout (e.g. an anonymized one); by default it is made in the cache, ``$DP2BENCH_CACHE``.
        pictures: ``people`` for the pictures with an annotated person, ``all`` for every picture.

    """

    needs_root: ClassVar[bool] = False

    def __init__(
        self, size: str | None = None, root: Path | None = None, pictures: Literal["people", "all"] = "people"
    ) -> None:
        self.made = Made(CocoRecipe(), size, root)
        self.size = self.made.size
        super().__init__(self.made.root if root is None else Path(root), pictures, official=False)
        if not self.annotations.is_dir():
            self.annotations = self.made.root / "annotations"
        self.meta = DatasetMeta(
            name="passersby-coco",
            version=self.made.version,
            licence="CC0-1.0",
            splits=tuple(FOLDERS),
            description="Rendered scenes with many people in the layout of COCO 2017, made on this machine",
        )
        self._truth = truth.Truth(self.made.root)

    @property
    def _is_original(self) -> bool:
        return self.root == self.made.root

    def prepare(self, progress: Progress = no_progress) -> None:
        """Make the dataset in the cache unless it is there, calling ``progress(done, total)`` with pictures."""
        self.made.prepare(progress)

    def samples(self, split: str) -> Sequence[Sample]:
        """See `Coco.samples`; makes the dataset on first use."""
        self.prepare()
        return super().samples(split)

    def people(self, sample: Sample) -> People:
        """Everybody in a picture, nearest last, with masks and surfaces; unlike in the JSON, a crowd is so many people."""
        self.prepare()
        return self._truth.people(sample.path.parent.name, Path(sample.id).stem, sample)

    def attributes(self) -> dict[int, dict[str, Any]]:
        """What each identity looks like: body, skin, hair, clothes, by identity."""
        self.prepare()
        return self._truth.attributes()

    def identities(self, sample: Sample) -> list[int]:
        """Who is who in `people`."""
        self.prepare()
        return [row["identity"] for row in self._truth.rows(sample.path.parent.name, Path(sample.id).stem)]

    def verify(self) -> None:
        """Compare every file with the manifest (original), or check the layout (copy); raises DatasetError."""
        if self._is_original:
            self.made.verify()
        super().verify()

    def open(self, root: Path) -> PassersbyCoco:
        """A copy of the same size at another root; people are those of the original."""
        return PassersbyCoco(self.size, root, self.pictures)
