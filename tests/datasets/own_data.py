"""Tiny datasets in the exact layouts of MSMT17, DukeMTMC-reID, CUHK03, BDD100k and nuImages, with drawn people."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from pycocotools import mask as runs

from dp2bench.core.images import write_image
from dp2bench.core.seeds import derive_seed
from dp2bench.rehearsal.datasets import draw


def person(path: Path, identity: int) -> None:
    picture, _ = draw((128, 64), [(8, 4, 48, 120)], identity, derive_seed(0, path.name))
    write_image(path, picture)


def msmt17(root: Path, version: str = "MSMT17_V1", train: str = "train", test: str = "test") -> Path:
    """Five people to train on, four to test on, three cameras of fifteen; a `val` picture of each training person."""
    base = root / "msmt17" / version
    lines: dict[str, list[str]] = {s: [] for s in ("train", "val", "query", "gallery")}
    for folder, people in ((train, 5), (test, 4)):
        for identity in range(people):
            for n, camera in enumerate((1, 7, 15, 15)):
                name = f"{identity:04d}/{identity:04d}_{n:03d}_{camera:02d}_0303morning_{15 + n:04d}_{n}.jpg"
                person(base / folder / name, identity + (100 if folder == test else 0))
                split = {train: "val" if n == 3 else "train", test: "query" if n == 0 else "gallery"}[folder]
                lines[split].append(f"{name} {identity}\n")
    for split, some in lines.items():
        (base / f"list_{split}.txt").write_text("".join(some))
    return base


def dukemtmc_reid(root: Path) -> Path:
    """Five people to train on, four to test on, three cameras of eight; somebody in the gallery is in no query."""
    base = root / "dukemtmc-reid" / "DukeMTMC-reID"
    for identity in (1, 7, 9, 12, 20, 2, 5, 23, 4000, 64):
        train = identity in (1, 7, 9, 12, 20)
        for n, camera in enumerate((2, 5, 8)):
            name = f"{identity:04d}_c{camera}_f{46182 + 60 * n:07d}.jpg"
            query = not train and n == 0 and identity != 64
            folder = "query" if query else ("bounding_box_train" if train else "bounding_box_test")
            person(base / folder / name, identity)
    return base


def cuhk03(root: Path) -> Path:
    """What torchreid's reader leaves: five people to train on, four to test on, each before the two cameras of a pair."""
    base = root / "cuhk03"
    (base / "cuhk03_release").mkdir(parents=True)
    (base / "cuhk03_release" / "cuhk-03.mat").write_bytes(b"MATLAB 7.3 MAT-file: the clear pictures")
    for kind in ("detected", "labeled"):
        (base / f"cuhk03_new_protocol_config_{kind}.mat").write_bytes(b"MATLAB 5.0 MAT-file")
        split: dict[str, list[tuple[str, int, int]]] = {"train": [], "query": [], "gallery": []}
        for identity in range(9):
            pair, number = 1 + identity % 5, 1 + identity
            for view, index in ((1, 1), (1, 2), (2, 6), (2, 7)):
                path = base / f"images_{kind}" / f"{pair}_{number:03d}_{view}_{index:02d}.png"
                person(path, identity)
                part = "train" if identity < 5 else ("query" if index == 1 else "gallery")
                split[part].append((str(path), identity if part == "train" else 100 + identity, view - 1))
        for protocol in ("new", "classic"):
            (base / f"splits_{protocol}_{kind}.json").write_text(json.dumps([split], indent=4))
    return base


def bdd100k(root: Path) -> Path:
    """Pictures of 1280 x 720 and boxes without masks, as ``bdd100k.label.to_coco`` writes them: ids from 1, file names without folders."""
    names = ("pedestrian", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle", "traffic light", "traffic sign")  # fmt: skip
    for split, count in (("train", 2), ("val", 8)):
        content = {
            "type": "instances",
            "categories": [{"supercategory": "none", "id": i, "name": n} for i, n in enumerate(names, 1)],
            "images": [],
            "annotations": [],
        }
        for n in range(1, count + 1):
            name = f"b1c66a42-{split}{n:04d}.jpg"
            boxes = [(100, 200, 160, 400), (700, 220, 150, 380)]
            picture, _ = draw((720, 1280), boxes, n, derive_seed(0, split, n))
            write_image(root / "images" / "100k" / split / name, picture)
            content["images"].append({"file_name": name, "height": 720, "width": 1280, "id": n})
            for category, (x, y, w, h) in zip((1, 2, 3), (*boxes, (400.5, 500, 200, 90.25)), strict=True):
                content["annotations"].append(
                    {
                        "id": len(content["annotations"]) + 1,
                        "image_id": n,
                        "category_id": category,
                        "scalabel_id": f"{n}-{category}",
                        "iscrowd": 0,
                        "ignore": 0,
                        "bbox": [x, y, w, h],
                        "area": w * h,
                    }
                )
        path = root / "labels" / "det_20" / f"det_{split}_cocofmt.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    return root


def nuimages(root: Path) -> Path:
    """Pictures of both splits below ``samples``, ids from 0 and packed masks, as mmdetection3d's converter writes them."""
    names = ("car", "truck", "trailer", "bus", "construction_vehicle", "bicycle", "motorcycle", "pedestrian", "traffic_cone", "barrier")  # fmt: skip
    for split, count in (("train", 2), ("val", 8)):
        content = {
            "images": [],
            "annotations": [],
            "categories": [{"id": i, "name": n} for i, n in enumerate(names)],
        }
        for n in range(count):
            name = f"samples/CAM_FRONT/n003-2018-01-0{1 + (split == 'val')}-11-30-42+0800__CAM_FRONT__15146{n:08d}.jpg"
            picture, masks = draw(
                (225, 400), [(40, 40, 60, 160), (200, 30, 70, 170)], n, derive_seed(0, split, n)
            )
            write_image(root / name, picture)
            content["images"].append({"id": n, "file_name": name, "width": 400, "height": 225, "token": "0"})
            for category, mask in zip((7, 7), masks, strict=True):
                packed = runs.encode(np.asfortranarray(mask.astype(np.uint8)))
                content["annotations"].append(
                    {
                        "id": len(content["annotations"]),
                        "image_id": n,
                        "category_id": category,
                        "bbox": [float(v) for v in runs.toBbox(packed)],
                        "area": int(runs.area(packed)),
                        "iscrowd": 0,
                        "segmentation": {"counts": packed["counts"].decode(), "size": packed["size"]},
                    }
                )
        path = root / "annotations" / f"nuimages_v1.0-{split}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    return root


BDD100K = {
    "annotations": {
        "train": "labels/det_20/det_train_cocofmt.json",
        "val": "labels/det_20/det_val_cocofmt.json",
    },
    "pictures": {"train": "images/100k/train", "val": "images/100k/val"},
}
NUIMAGES = {
    "annotations": {
        "train": "annotations/nuimages_v1.0-train.json",
        "val": "annotations/nuimages_v1.0-val.json",
    }
}
"""Arguments of `coco-json`, as docs/datasets.md gives them."""
