"""Tiny datasets in the official layouts: folders, names, JSON and archives as they are distributed, with drawn people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as runs

from dp2bench.core.images import write_image
from dp2bench.core.seeds import Seed, derive_seed, generator
from dp2bench.core.types import Image
from dp2bench.datasets import cityscapes as city
from dp2bench.datasets.crops import Crop
from dp2bench.datasets.fdf import FDF256, write_arrays
from dp2bench.datasets.fdh import HEIGHT, WIDTH, members
from dp2bench.datasets.shards import ShardWriter

VERTICES = 27_554
"""Of the surface template that FDH numbers."""
CITIES = {
    "train": ("aachen", "bochum", "zurich"),
    "val": ("frankfurt", "lindau", "munster"),
    "test": ("berlin",),
}
_STREET = (96, 192)
"""Rows and columns of a picture of Cityscapes."""
_SKELETON = [
    [16, 14], [14, 12], [17, 15], [15, 13], [12, 13], [6, 12], [7, 13], [6, 7], [6, 8], [7, 9], [8, 10], [9, 11],
    [2, 3], [1, 2], [1, 3], [2, 4], [3, 5], [4, 6], [5, 7],
]  # fmt: skip
_POINTS = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow", "right_elbow",
    "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle",
)  # fmt: skip
_POSE = np.array(
    [
        (0.50, 0.12), (0.46, 0.10), (0.54, 0.10), (0.42, 0.12), (0.58, 0.12), (0.34, 0.25), (0.66, 0.25), (0.28, 0.40),
        (0.72, 0.40), (0.26, 0.52), (0.74, 0.52), (0.40, 0.54), (0.60, 0.54), (0.38, 0.74), (0.62, 0.74), (0.38, 0.94),
        (0.62, 0.94),
    ]
)  # fmt: skip
"""(17, 2) x and y in a person's box."""


def market1501(root: Path) -> None:
    """Three training and two test identities seen by two cameras, a distractor and junk, below ``Market-1501-v15.09.15``."""
    folder = root / "Market-1501-v15.09.15"

    def put(place: str, identity: int, camera: int, frame: int) -> None:
        name = f"{identity if identity < 0 else f'{identity:04d}'}_c{camera}s1_{frame:06d}_01.jpg"
        picture, _ = draw((128, 64), [(8, 4, 48, 120)], identity, derive_seed(0, name))
        (folder / place).mkdir(parents=True, exist_ok=True)
        write_image(folder / place / name, picture)

    for i, identity in enumerate((2, 7, 10)):
        for camera in (1, 2):
            for frame in (451, 1201):
                put("bounding_box_train", identity, camera, frame + i)
    for i, identity in enumerate((1, 3)):
        for camera in (1, 2):
            put("bounding_box_test", identity, camera, 451 + i)
        put("query", identity, 1 + i, 76 + i)
    put("bounding_box_test", 0, 1, 100)
    put("bounding_box_test", -1, 2, 200)
    for place in ("bounding_box_train", "bounding_box_test", "query"):
        (folder / place / "Thumbs.db").write_bytes(b"\0" * 16)  # as in the archive
    for place in ("gt_bbox", "gt_query"):
        (folder / place).mkdir(exist_ok=True)
    (folder / "readme.txt").write_text("A rehearsal of Market-1501: drawn people, official names.\n")


def coco(root: Path) -> None:
    """Four pictures to train on and eight to test on: one without people, one with a crowd, one person without keypoints."""
    numbers = {"train2017": (9, 25, 30, 36), "val2017": (139, 285, 632, 724, 776, 785, 802, 872)}
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    for folder, ids in numbers.items():
        (root / folder).mkdir(exist_ok=True)
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for n, number in enumerate(ids):
            height, width = (96, 112) if n % 2 else (112, 96)
            boxes = [] if n == 1 else [(8, 14, 34, 74), (52, 10, 32, 80)][: 1 + n % 2]
            name = f"{number:012d}.jpg"
            picture, masks = draw((height, width), boxes, number, derive_seed(0, name))
            write_image(root / folder / name, picture)
            images.append(
                {
                    "license": 1 + n % 8,
                    "file_name": name,
                    "coco_url": f"http://images.cocodataset.org/{folder}/{name}",
                    "height": height,
                    "width": width,
                    "date_captured": "2013-11-14 16:28:13",
                    "flickr_url": f"http://example.invalid/{name}",
                    "id": number,
                }
            )
            for i, (box, mask) in enumerate(zip(boxes, masks, strict=True)):
                annotations.append(
                    _person(
                        100 * number + i, number, box, mask, crowd=n == 2 and i == 0, seen=(n, i) != (3, 1)
                    )
                )
            if n == 0:
                annotations.append(_chair(100 * number + 50, number, (4, 90, 20, 16)))
        people = [a for a in annotations if a["category_id"] == 1]
        plain = [{k: v for k, v in a.items() if "keypoints" not in k} for a in annotations]
        common = {"info": _info(), "licenses": _licences(), "images": images}
        person = {
            "supercategory": "person",
            "id": 1,
            "name": "person",
            "keypoints": list(_POINTS),
            "skeleton": _SKELETON,
        }
        files = {
            "instances": {**common, "annotations": plain, "categories": _categories()},
            "person_keypoints": {**common, "annotations": people, "categories": [person]},
        }
        for kind, content in files.items():
            (root / "annotations" / f"{kind}_{folder}.json").write_text(json.dumps(content), "utf-8")


def cityscapes(root: Path) -> None:
    """A picture of each of three training cities, eight of three of val, and one of the test split, which has no public labels."""
    for split, cities in CITIES.items():
        for i, name in enumerate(cities):
            for n in range(3 - i // 2 if split == "val" else 1):
                stem = f"{name}_{n:06d}_000019"
                _street(root, split, name, stem, derive_seed(0, stem))


def fdh(root: Path) -> None:
    """Two crops to train on and eight to test on, in archives of four, with vertices of ``smpl-27554``."""
    for split, count in (("train", 2), ("val", 8)):
        with ShardWriter(root / split, most=4) as writer:
            for n in range(count):
                key = f"{1000 * (split == 'val') + n:07d}"
                box = (40, 24, 80, 240)
                picture, (person,) = draw((HEIGHT, WIDTH), [box], n, derive_seed(0, split, key))
                hole = cv2.dilate(person.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
                rows = np.arange(HEIGHT)[:, None] * (VERTICES // HEIGHT) + np.arange(WIDTH)[None] % 90
                vertices = np.where(person, rows, -1).astype(np.int32)
                points = np.c_[_place(box) / (WIDTH, HEIGHT), np.ones(17)].astype(np.float32)
                writer.write(key, members(Crop(key, picture, hole, points, vertices, person)))


def fdf256(root: Path) -> None:
    """Two faces to train on and eight to test on, with boxes and seven landmarks."""
    side = FDF256.resolution
    box = (64, 56, 128, 144)
    for split, count in (("train", 2), ("val", 8)):
        for n in range(count):
            picture, _ = draw((side, side), [box], n, derive_seed(0, split, n))
            write_image(root / split / FDF256.images / f"{n}.png", picture)
        x, y, w, h = box
        points = np.array(
            [(0.5, 0.5), (0.35, 0.4), (0.65, 0.4), (0.05, 0.5), (0.95, 0.5), (-0.2, 1.1), (1.2, 1.1)]
        )
        landmarks = (points * (w, h) + (x, y)) / side
        write_arrays(
            root / split,
            FDF256.boxes,
            np.tile([x, y, x + w, y + h], (count, 1)),
            np.tile(landmarks, (count, 1, 1)),
        )


BUILDERS = {"market1501": market1501, "coco": coco, "cityscapes": cityscapes, "fdh": fdh, "fdf256": fdf256}
"""By the dataset's name, which is also its folder below the root."""


def draw(
    size: tuple[int, int], boxes: list[tuple[int, int, int, int]], who: int, seed: Seed
) -> tuple[Image, list[NDArray[np.bool_]]]:
    """A noisy wall with figures in these boxes (x, y, w, h), dressed by who it is; and the (H, W) mask of each, which do not overlap."""
    random, clothes = generator(seed), generator(derive_seed(0, "clothes", who))
    height, width = size
    wall = cv2.resize(
        random.integers(60, 200, (6, 6, 3), np.uint8), (width, height), interpolation=cv2.INTER_CUBIC
    )
    picture: Image = (
        (wall.astype(np.int16) + random.integers(-8, 9, (height, width, 3))).clip(0, 255).astype(np.uint8)
    )
    masks: list[NDArray[np.bool_]] = []
    for x, y, w, h in boxes:
        shirt, trousers = (tuple(int(v) for v in clothes.integers(0, 256, 3)) for _ in range(2))
        mask = np.zeros(size, np.uint8)
        for colour, centre, axes in (
            ((205, 170, 140), (x + w / 2, y + 0.11 * h), (0.17 * w, 0.1 * h)),
            (shirt, (x + w / 2, y + 0.37 * h), (0.46 * w, 0.19 * h)),
            (trousers, (x + w / 2, y + 0.76 * h), (0.3 * w, 0.24 * h)),
        ):
            shape = (tuple(map(round, centre)), tuple(map(round, axes)), 0, 0, 360)
            cv2.ellipse(picture, *shape, colour, -1)
            cv2.ellipse(mask, *shape, 1, -1)
        masks.append(mask > 0)
    return np.asarray(picture, np.uint8), masks


def _place(box: tuple[int, int, int, int]) -> NDArray[np.float64]:
    x, y, w, h = box
    placed: NDArray[np.float64] = _POSE * (w, h) + (x, y)
    return placed


def _person(
    number: int,
    image: int,
    box: tuple[int, int, int, int],
    mask: NDArray[np.bool_],
    *,
    crowd: bool,
    seen: bool,
) -> dict[str, Any]:
    points = np.c_[_place(box).round(), np.full(17, 2.0)] if seen and not crowd else np.zeros((17, 3))
    return {
        "segmentation": _run_lengths(mask) if crowd else _polygons(mask),
        "num_keypoints": int((points[:, 2] > 0).sum()),
        "area": float(mask.sum()),
        "iscrowd": int(crowd),
        "keypoints": [int(v) for v in points.ravel()],
        "image_id": image,
        "bbox": _tight(mask),
        "category_id": 1,
        "id": number,
    }


def _chair(number: int, image: int, box: tuple[int, int, int, int]) -> dict[str, Any]:
    x, y, w, h = box
    return {
        "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]],
        "area": float(w * h),
        "iscrowd": 0,
        "image_id": image,
        "bbox": list(box),
        "category_id": 62,
        "id": number,
    }


def _polygons(mask: NDArray[np.bool_]) -> list[list[float]]:
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return [[float(v) for v in outline.ravel()] for outline in outlines if len(outline) > 2]


def _run_lengths(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """Uncompressed, as the official files have crowds."""
    pixels = np.asfortranarray(mask).ravel(order="F")
    changes = np.flatnonzero(np.diff(pixels.astype(np.int8))) + 1
    counts = np.diff([0, *changes, len(pixels)]).tolist()
    said = {"counts": [0, *counts] if pixels[0] else counts, "size": list(mask.shape)}
    runs.frPyObjects(said, *mask.shape)  # pycocotools agrees that this is one
    return said


def _tight(mask: NDArray[np.bool_]) -> list[float]:
    return [float(v) for v in cv2.boundingRect(mask.astype(np.uint8))]


def _info() -> Mapping[str, Any]:
    return {
        "description": "COCO 2017 Dataset, a rehearsal",
        "url": "http://cocodataset.org",
        "version": "1.0",
        "year": 2017,
        "contributor": "dp2bench rehearse",
        "date_created": "2017/09/01",
    }


def _licences() -> list[dict[str, Any]]:
    return [{"url": "http://example.invalid", "id": i, "name": f"licence {i}"} for i in range(1, 9)]


def _categories() -> list[dict[str, Any]]:
    """COCO's 80, as torchvision names them."""
    from torchvision.models.detection import MaskRCNN_ResNet50_FPN_Weights

    names = MaskRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]
    return [
        {"supercategory": "person" if name == "person" else "thing", "id": i, "name": name}
        for i, name in enumerate(names)
        if name not in ("__background__", "N/A")
    ]


def _street(root: Path, split: str, name: str, stem: str, seed: Seed) -> None:
    """A picture of 192 x 96 pixels with two persons, a rider on a bicycle and a car, and its labels."""
    from cityscapesscripts.helpers.labels import name2label

    boxes = [(12, 22, 24, 60), (45, 25, 21, 54), (90, 30, 18, 36)]
    picture, masks = draw(_STREET, boxes, 0, seed)
    write_image(root / "leftImg8bit" / split / name / f"{stem}_leftImg8bit.png", picture)
    ids = np.full(_STREET, name2label["building"].id, np.uint16)
    ids[75:] = name2label["road"].id
    objects = [
        ("building", [(0, 0), (191, 0), (191, 74), (0, 74)]),
        ("road", [(0, 75), (191, 75), (191, 95), (0, 95)]),
    ]
    things = [(label, mask) for label, mask in zip(("person", "person", "rider"), masks, strict=True)]
    for label, (x, y, w, h) in (("bicycle", (87, 66, 24, 15)), ("car", (132, 52, 45, 30))):
        mask = np.zeros(_STREET, bool)
        mask[y : y + h, x : x + w] = True
        things.append((label, mask))
    seen: dict[str, int] = {}
    for label, mask in things:
        ids[mask] = 1000 * name2label[label].id + seen.setdefault(label, 0)
        seen[label] += 1
        objects += [
            (label, [(int(x), int(y)) for x, y in np.reshape(outline, (-1, 2))])
            for outline in _polygons(mask)
        ]
    if split == "test":
        ids[:] = 0  # nobody outside has these labels
        objects = []
    kinds = np.where(ids >= 1000, ids // 1000, ids).astype(np.uint8)
    colours = np.zeros((*_STREET, 4), np.uint8)
    for label in name2label.values():
        if label.id >= 0:
            colours[kinds == label.id] = (*label.color[::-1], 255)
    folder = root / "gtFine" / split / name
    folder.mkdir(parents=True, exist_ok=True)
    written: dict[str, NDArray[Any]] = {"labelIds.png": kinds, "instanceIds.png": ids, "color.png": colours}
    for kind, array in written.items():
        cv2.imwrite(str(folder / f"{stem}_gtFine_{kind}"), array)
    polygons = {
        "imgHeight": _STREET[0],
        "imgWidth": _STREET[1],
        "objects": [{"label": label, "polygon": polygon} for label, polygon in objects],
    }
    (folder / f"{stem}_gtFine_polygons.json").write_text(json.dumps(polygons), "utf-8")
    assert {*written, "polygons.json"} == {*city.GROUND_TRUTH}
