"""How the scenes of `passersby-coco` are made: streets, squares and parks, annotated as COCO's annotators do."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dp2bench.core.seeds import derive_seed, generator
from dp2bench.datasets.coco import FOLDERS, PERSON
from dp2bench.datasets.passersby.generation import truth
from dp2bench.datasets.passersby.generation.chunks import Arrays, join_columns, split_columns
from dp2bench.datasets.passersby.generation.encoding import encode_jpeg
from dp2bench.datasets.passersby.rendering import street_layout
from dp2bench.datasets.passersby.rendering.camera import Camera, camera_at
from dp2bench.datasets.passersby.rendering.dressing import IdentityPool
from dp2bench.datasets.passersby.rendering.posing import pose_person, random_pose
from dp2bench.datasets.passersby.rendering.street import StreetView, render_street
from dp2bench.datasets.passersby.scene_builder import SampleSpec, SceneBuilder, Size

WIDTH, HEIGHT = 640, 480
CAR = 3
"""Category id of cars."""
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


SIZES = {
    "smoke": Size(train=4, val=4, chunk=4),
    "mini": Size(train=360, val=120, chunk=20),
    # as mini and more: the same val pictures, and its train pictures begin with those of mini
    "medium": Size(train=960, val=120, chunk=20),
    "large": Size(train=12_000, val=1_500, chunk=25),
}


def image_id(spec: SampleSpec) -> int:
    """Unique over both splits."""
    return spec.number + {"train": 1, "val": 500_001}[spec.split]


def render_sample(spec: SampleSpec, pool: IdentityPool) -> tuple[StreetView, list[int], list[bool]]:
    """One picture: the view, and for each person its place in the pool and whether it belongs to the crowd."""
    r = generator(derive_seed("passersby-coco", spec.split, spec.number))
    place, camera = _set_up(r)
    count = int(
        r.choice([1, 2, 3, 4, 5, 6, 7, 8, 13], p=[0.15, 0.19, 0.18, 0.14, 0.11, 0.08, 0.06, 0.05, 0.04])
    )
    spots = street_layout.place_people(place, camera, r, count, (2.3, 18))
    if r.random() < 0.15:
        spots += street_layout.place_people(place, camera, r, int(r.integers(1, 4)), (22, 50))
    chosen = r.permutation(CocoBuilder.pool_size)[: len(spots)].tolist()
    spots = spots[: len(chosen)]
    crowd = [False] * len(chosen)
    if r.random() < 0.1:
        for x, y in street_layout.place_people(place, camera, r, 1, (14, 35)):
            for _ in range(int(r.integers(9, 14))):
                spots.append((x + float(r.normal(0, 0.9)), y + float(r.normal(0, 0.9))))
                chosen.append(int(r.integers(CocoBuilder.pool_size)))
                crowd.append(True)
    kinds = ("walk", "stand", "phone", "wave")
    people = []
    together = float(r.uniform(0, 2 * np.pi))
    for k, at in zip(chosen, spots, strict=True):
        yaw = together + float(r.normal(0, 0.5)) if r.random() < 0.3 else float(r.uniform(0, 2 * np.pi))
        pose = random_pose(r, kinds[int(r.choice(4, p=[0.5, 0.28, 0.13, 0.09]))])
        people.append(pose_person(pool[k], pose, yaw=yaw, at=at))
    return render_street(place, people, camera, r), chosen, crowd


def _set_up(r: np.random.Generator) -> tuple[street_layout.Setting, Camera]:
    """A new place, and a camera anywhere in it."""
    kind = ("street", "square", "park")[int(r.choice(3, p=[0.5, 0.3, 0.2]))]
    place = street_layout.build_setting(r, kind)
    half = place.wide - 1.2
    eye = float(r.uniform(-half, half)), float(r.uniform(-3, 3)), float(r.uniform(0.9, 2.9))
    place = place.clear(eye[0], eye[1], 2.2, 5)
    yaw = (
        float(r.choice([0, np.pi]) + r.normal(0, 0.45))
        if kind == "street"
        else float(r.uniform(0, 2 * np.pi))
    )
    pitch = float(r.uniform(-0.02, 0.05) + 0.05 * max(0.0, eye[2] - 1.4))
    return place, camera_at(eye, yaw, pitch, WIDTH * float(r.uniform(0.7, 1.15)), (WIDTH, HEIGHT))


def polygons(mask: NDArray[np.bool_]) -> list[list[float]]:
    """The outlines of a mask (H, W), x and y in turn, so that COCO's rasteriser fills the same pixels (but holes)."""
    # Twice as large: outlines then run a quarter of a pixel outside the centres of the pixels they enclose.
    wide = np.repeat(np.repeat(mask.astype(np.uint8), 2, 0), 2, 1)
    contours, _ = cv2.findContours(wide, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    out = []
    for contour in contours:
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


def annotate(view: StreetView, crowd: Sequence[bool]) -> list[dict[str, Any]]:
    """COCO's annotations of a view, without ids: people, one crowd, cars."""
    out = []
    gathered = np.zeros(view.things.shape, bool)
    for n, seen in enumerate(view.people):
        mask = view.things == n
        if crowd[seen.index]:
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
        out.append(_crowd(gathered, view))
    for n in view.vehicles:
        mask = view.things == 1000 + n
        if mask.sum() >= 64 and (row := _annotation(mask, CAR)):
            out.append(row)
    return out


def _crowd(gathered: NDArray[np.bool_], view: StreetView) -> dict[str, Any]:
    """The crowd's pixels as one annotation."""
    # As COCO's annotators do: the region, not the outline of everybody in it.
    region = cv2.morphologyEx(gathered.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)).astype(
        bool
    )
    region &= (view.things == -1) | gathered
    return {
        "category_id": PERSON, "iscrowd": 1, "area": int(region.sum()), "segmentation": run_lengths(region),
        "bbox": _bbox(region), "keypoints": [0] * 51, "num_keypoints": 0,
    }  # fmt: skip


def _bbox(mask: NDArray[np.bool_]) -> list[int]:
    """COCO's x, y, width and height of a mask."""
    ys, xs = np.nonzero(mask)
    return [int(xs.min()), int(ys.min()), int(np.ptp(xs)) + 1, int(np.ptp(ys)) + 1]


def _annotation(mask: NDArray[np.bool_], category: int) -> dict[str, Any]:
    outlines = polygons(mask)
    if not outlines:
        return {}
    return {
        "category_id": category, "iscrowd": 0, "area": int(mask.sum()), "segmentation": outlines, "bbox": _bbox(mask),
    }  # fmt: skip


_COLUMNS = ("pictures", "surfaces", "notes")


class CocoBuilder(SceneBuilder):
    """Makes `passersby-coco`."""

    name = "passersby-coco"
    version = "2.1"
    sizes = SIZES
    stream = "coco"
    pool_size = 14

    def make_chunk(self, chunk: list[SampleSpec]) -> Arrays:
        """Render the pictures of a chunk."""
        pool = self.pool(chunk[0])
        columns: dict[str, list[bytes]] = {name: [] for name in _COLUMNS}
        for spec in chunk:
            view, chosen, crowd = render_sample(spec, pool)
            quality = generator(derive_seed("passersby-coco", "jpeg", spec.split, spec.number)).integers(
                80, 96
            )
            columns["pictures"].append(encode_jpeg(view.picture, int(quality)))
            columns["surfaces"].append(truth.surfaces_png(view))
            people = [
                truth.person_row(
                    s, spec.pool * self.pool_size + chosen[s.index], crowd=crowd[s.index], metres=round(1 / float(near), 2)
                )
                for s, near in zip(view.people, view.near, strict=True)
            ]  # fmt: skip
            note = {
                "split": spec.split, "id": image_id(spec), "annotations": annotate(view, crowd), "people": people,
            }  # fmt: skip
            columns["notes"].append(json.dumps(note).encode())
        return join_columns(columns)

    def assemble(self, size: str, parts: Iterator[Arrays], root: Path) -> None:
        """Write pictures and surfaces as they come, then the JSON files."""
        for folder in FOLDERS.values():
            (root / folder).mkdir()
            (root / truth.FOLDER / "surfaces" / folder).mkdir(parents=True)
        (root / "annotations").mkdir()
        images: dict[str, list[Any]] = {split: [] for split in FOLDERS}
        annotations: dict[str, list[Any]] = {split: [] for split in FOLDERS}
        people: dict[str, dict[str, Any]] = {folder: {} for folder in FOLDERS.values()}
        for item in (item for part in parts for item in split_columns(part, _COLUMNS)):
            note = json.loads(item["notes"])
            split, stem = note["split"], f"{note['id']:012d}"
            (root / FOLDERS[split] / f"{stem}.jpg").write_bytes(item["pictures"])
            (root / truth.FOLDER / "surfaces" / FOLDERS[split] / f"{stem}.png").write_bytes(item["surfaces"])
            images[split].append(
                {"id": note["id"], "file_name": f"{stem}.jpg", "width": WIDTH, "height": HEIGHT, "license": 1}
            )
            for row in note["annotations"]:
                row |= {
                    "id": len(annotations[split]) + note["id"] // 500_000 * 10_000_000 + 1,
                    "image_id": note["id"],
                }
                annotations[split].append(row)
            self.number_people(size, split, note["people"])
            people[FOLDERS[split]][stem] = note["people"]
        for split, folder in FOLDERS.items():
            _write_json(root / "annotations", folder, images[split], annotations[split])
        truth.write_tables(root, people, self.identities(size))


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
