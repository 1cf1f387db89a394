"""A folder with a planted person, and COCO annotations of it in which everything is said more than once."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from dp2bench.core.errors import Dp2benchError
from dp2bench.core.registry import create
from dp2bench.datasets.folder import Folder
from dp2bench.detection.coco_json import CocoFile
from dp2bench.pipelines.anonymize import anonymize_dataset

SIZE = (60, 80)
"""Height, width."""
BOX = (20, 10, 16, 40)
"""x, y, width, height of the person."""
PERSON = np.s_[10:50, 20:36]


def picture(seed=0):
    """Noise: whatever replaces a pixel changes it."""
    image = np.random.default_rng(seed).integers(0, 100, (*SIZE, 3), dtype=np.uint8)
    image[PERSON] += 150
    return image


def keypoints():
    x, y, w, h = BOX
    return [v for k in range(17) for v in (x + w * (k % 4 + 0.5) / 4, y + h * (k + 0.5) / 17, 1 + k % 2)]


def annotation(number=1, image=1, **given):
    x, y, w, h = BOX
    row = {
        "id": number,
        "image_id": image,
        "category_id": 1,
        "iscrowd": 0,
        "bbox": list(BOX),
        "area": w * h,
        "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]],
        "keypoints": keypoints(),
        "num_keypoints": 17,
    } | given
    return {k: v for k, v in row.items() if v is not ...}


def coco(names=("a.png", "b.png")):
    return {
        "info": {"year": 2026},
        "images": [
            {"id": i, "file_name": name, "height": SIZE[0], "width": SIZE[1]}
            for i, name in enumerate(names, 1)
        ],
        "annotations": [annotation(i, i) for i in range(1, len(names) + 1)],
        "categories": [
            {"id": 1, "name": "person", "supercategory": "person"},
            {"id": 2, "name": "dog", "supercategory": "animal"},
        ],
    }


def write(folder: Path, data, names=("a.png", "b.png"), **options):
    """The pictures, and the file of annotations (``data`` as JSON, or bytes)."""
    for name in names:
        path = folder / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Pillow.fromarray(picture()).save(path, **options)
    file = folder / "people.json"
    file.write_bytes(data if isinstance(data, bytes) else json.dumps(data).encode())
    return file


def outcome(folder: Path, detector=CocoFile, method="mask-out", **arguments):
    """``refused: …``, ``reported: …``, ``replaced``, or ``LEAK`` where the person is visible and nothing said so."""
    out = folder / "out"
    try:
        who = detector(path=folder / "people.json", **arguments)
        counter = anonymize_dataset(Folder(folder / "in"), who, create("methods", method, {}), out, 0)
    except Dp2benchError as error:
        return f"refused: {error}" if error.remedy else f"NO REMEDY: {error}"
    coverage = counter.coverage()
    if coverage.missed or coverage.unreadable:
        return f"reported: {coverage.missed_reasons} {counter.unreadable}"
    before = picture()[PERSON]
    for path in (folder / "in").rglob("*.png"):
        after = np.asarray(Pillow.open(out / path.relative_to(folder / "in")))[PERSON]
        if (before == after).all(2).mean() > 0.02:
            return f"LEAK: {coverage}"
    return "replaced"


def changed(**paths):
    """The annotations with values changed: ``changed(annotations_0_bbox=...)``; ``...`` deletes."""
    data = coco()
    for path, value in paths.items():
        *way, last = (int(k) if k.isdecimal() else k for k in path.split("__"))
        place = data
        for key in way:
            place = place[key]
        if value is ...:
            del place[last]
        else:
            place[last] = copy.deepcopy(value)
    return data
