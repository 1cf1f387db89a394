"""Mutated annotation files: no traceback, and nobody left silently.

Each sample is a small dataset in which everything about a planted person is said in more than one way, with some of it changed. It must
end in one of three ways: the person is replaced, or reported, or the files are refused by one error with a remedy. What takes a person
out of the annotations altogether (another picture's id, a dog's category) cannot be noticed, and is no sample.

By default a few hundred samples of each kind are tried, always the same ones. ``DP2BENCH_FUZZ_MINUTES=60 pytest -m slow
tests/test_annotation_fuzz.py`` tries random ones for so long.
"""

from __future__ import annotations

import copy
import io
import json
import math
import os
import random
import string
import tarfile
import time
import unicodedata
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from dp2bench.core.errors import Dp2benchError, SuiteError
from dp2bench.core.images import write_image
from dp2bench.core.registry import create
from dp2bench.core.yaml_model import parse
from dp2bench.datasets.cityscapes import Cityscapes
from dp2bench.datasets.coco import FOLDERS, Coco
from dp2bench.datasets.crops import Crop, png
from dp2bench.datasets.fdf import FDF256, write_arrays
from dp2bench.datasets.fdh import FDH, members
from dp2bench.datasets.folder import Folder
from dp2bench.datasets.market1501 import Market1501
from dp2bench.datasets.shards import ShardWriter, npy
from dp2bench.detection.annotations import Annotations
from dp2bench.detection.coco_json import CocoFile
from dp2bench.detection.export import IdMasks
from dp2bench.engine.suite import Suite
from dp2bench.pipelines.anonymize import CoverageCounter, anonymized_pictures
from dp2bench.pipelines.stream import anonymize_files, found_by

SIZE = (60, 80)
EXPOSED = 0.35
"""Share of a person's pixels that may stay: a mask may be changed so little that nothing contradicts it."""
JUNK = (
    None, True, False, "", "x", "1", "é", "\ud800", "a" * 5000, -1, 0, 1, 2, 3, 0.5, 1.5, -0.0, 1e308, -1e308, 2**31, 2**63, 2**70,
    math.nan, math.inf, [], {}, [[]], [1, 2], [[1, 2]], {"a": 1}, ["x"] * 3, [None], "person", "../../x", "0" * 300,
)  # fmt: skip


class Leak(AssertionError):
    """Somebody is left and nothing says so."""


# --- The planted person -------------------------------------------------------------------------------------------------------------

OUTLINE = [28, 8, 34, 12, 37, 24, 36, 40, 33, 52, 23, 52, 20, 40, 19, 24, 22, 12]
PERSON = cv2.fillPoly(np.zeros(SIZE, np.uint8), [np.array(OUTLINE).reshape(-1, 2)], 1).astype(bool)
_x, _y = OUTLINE[::2], OUTLINE[1::2]
BOX = [min(_x), min(_y), max(_x) - min(_x), max(_y) - min(_y)]
AREA = abs(np.dot(_x, np.roll(_y, 1)) - np.dot(_y, np.roll(_x, 1))) / 2
PICTURE = np.random.default_rng(0).integers(0, 100, (*SIZE, 3), dtype=np.uint8)
PICTURE[PERSON] += 150


def coco_data(names: list[str]) -> dict:
    points = [v for k in range(17) for v in (BOX[0] + 4 + k % 9, BOX[1] + 2 + 2.4 * k, 1 + k % 2)]
    person = {
        "category_id": 1, "iscrowd": 0, "bbox": BOX, "area": AREA, "segmentation": [OUTLINE],
        "keypoints": points, "num_keypoints": 17, "score": 0.9,
    }  # fmt: skip
    images = [{"id": i, "file_name": n, "height": 60, "width": 80} for i, n in enumerate(names, 1)]
    people = [{"id": i, "image_id": i, **copy.deepcopy(person)} for i in range(1, len(names) + 1)]
    kinds = [
        {"id": 1, "name": "person", "supercategory": "person"},
        {"id": 2, "name": "dog", "supercategory": "animal"},
    ]
    return {"info": {"year": 2026}, "images": images, "annotations": people, "categories": kinds}


def still_named(data: object, name: str) -> bool:
    """Whether a reader of good will would still see that the file names a person in a picture."""

    def loose(value: object) -> str:
        if isinstance(value, float) and math.isfinite(value):
            value = int(value) if value == int(value) else value
        return str(value).strip()

    try:
        kinds = {
            loose(k["id"])
            for k in data["categories"]
            if "person" in f"{k.get('name')} {k.get('supercategory')}"
        }
        pictures = {loose(i["id"]) for i in data["images"] if str(i["file_name"]).endswith(name)}
        return any(
            loose(row["image_id"]) in pictures and loose(row["category_id"]) in kinds
            for row in data["annotations"]
        )
    except (KeyError, TypeError, AttributeError):
        return True


MASK_OUT = create("methods", "mask-out", {})


def left_over(dataset, detector, pictures: dict[str, np.ndarray], method=MASK_OUT) -> set[str]:
    """The pictures whose person is still there though nothing said so. Raises whatever refuses the files."""
    who = detector.for_dataset(dataset) if hasattr(detector, "for_dataset") else detector

    counter = CoverageCounter()
    samples = {(split, s.id): s for split in dataset.meta.splits for s in dataset.samples(split)}
    left = set()

    def stream(files, _):
        return anonymize_files(dataset, files, found_by(who), method, 0)

    for split, name, image in anonymized_pictures(dataset, dataset.meta.splits, stream, counter):
        person = pictures[split if split in pictures else "all"]
        before = dataset.read(samples[split, name])
        if before.shape[:2] == person.shape and (before == image).all(2)[person].mean() > EXPOSED:
            left.add(unicodedata.normalize("NFC", name))
    reported = counter.unreadable or counter.missed
    return set() if reported else left


# --- Mutations ----------------------------------------------------------------------------------------------------------------------

GEOMETRY = {"bbox", "segmentation", "area", "keypoints"}


def paths_of(value: object, way: tuple = ()) -> list[tuple]:
    out = [way] if way else []
    if isinstance(value, dict):
        for key in value:
            out += paths_of(value[key], (*way, key))
    elif isinstance(value, list):
        for i, inner in enumerate(value[:12]):
            out += paths_of(inner, (*way, i))
    return out


def mutate_value(r: random.Random, value: object) -> object:
    kind = r.randrange(9)
    if isinstance(value, bool) or value is None:
        return r.choice(JUNK)
    if isinstance(value, int | float):
        if kind < 5 and math.isfinite(value):
            return r.choice(
                [
                    str(value),
                    float(value),
                    -value,
                    value / 80,
                    value * 100,
                    value + r.randint(-60, 60),
                    [value],
                    value + 0.5,
                ]
            )
    elif isinstance(value, str):
        if kind < 4:
            return r.choice(
                [
                    value.upper(),
                    f" {value}",
                    value[:-1],
                    value.replace("/", "\\"),
                    f"x/{value}",
                    value[::-1],
                    [value],
                ]
            )
    elif isinstance(value, list) and value and kind < 5:
        out = list(value)
        at = r.randrange(len(out))
        change = r.randrange(6)
        if change == 0:
            del out[at]
        elif change == 1:
            out.insert(at, copy.deepcopy(r.choice([out[at], *JUNK])))
        elif change == 2:
            out = out[:at]
        elif change == 3:
            out = [out]
        elif change == 4:
            r.shuffle(out)
        else:
            out += out
        return out
    return copy.deepcopy(r.choice(JUNK))


def mutate_json(r: random.Random, data: object) -> object:
    """One to three changes anywhere; of what says where a person is, one thing at most."""
    data = copy.deepcopy(data)
    geometry = None
    for _ in range(r.choice([1, 1, 1, 2, 3])):
        way = r.choice(paths_of(data) or [()])
        if not way:
            break
        told = next((k for k in way if k in GEOMETRY), None)
        if told is not None:
            if geometry not in (None, told):
                continue
            geometry = told
        place = data
        for key in way[:-1]:
            place = place[key]
        if way[-1] not in place and isinstance(place, dict):
            continue
        change = r.random()
        if change < 0.12:
            del place[way[-1]]
        elif change < 0.2 and isinstance(place, dict):
            place[r.choice([way[-1].upper(), f"{way[-1]} ", "x"]) if isinstance(way[-1], str) else "x"] = (
                place.pop(way[-1])
            )
        else:
            place[way[-1]] = mutate_value(r, place[way[-1]])
    return data


def mutate_bytes(r: random.Random, data: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(r.choice([1, 1, 2, 8])):
        if not out:
            break
        at = r.randrange(len(out))
        change = r.randrange(5)
        if change == 0:
            out[at] ^= 1 << r.randrange(8)
        elif change == 1:
            del out[at : at + r.choice([1, 4, 64, 4096])]
        elif change == 2:
            out[at:at] = r.randbytes(r.choice([1, 4, 600]))
        elif change == 3:
            out[at : at + 4] = r.choice([b"\0\0\0\0", b"\xff\xff\xff\xff", b"    ", b"null"])
        else:
            del out[at:]
    return bytes(out)


def mutate_array(r: random.Random, array: np.ndarray) -> np.ndarray:
    kinds = [
        lambda a: a.astype(np.uint8),
        lambda a: a // 1000,
        lambda a: a % 256,
        lambda a: a * 0,
        lambda a: a[:, ::-1],
        lambda a: a[::-1],
        lambda a: a.T,
        lambda a: a[1:],
        lambda a: a[: a.shape[0] // 2],
        lambda a: np.dstack([a] * 3),
        lambda a: np.where(a == r.choice(np.unique(a).tolist()), r.choice([0, 7, 11, 24, 26, 255]), a),
        lambda a: np.roll(a, r.randint(1, 50), r.randrange(2)),
        lambda a: a + r.choice([1, -1, 13, 1000]),
        lambda a: np.minimum(a, 255),
        lambda a: np.maximum(a, 200),
    ]
    first = r.choice(kinds)
    return np.ascontiguousarray(first(array if first is kinds[0] else array.astype(np.int64)))


# --- The kinds of files -------------------------------------------------------------------------------------------------------------


class CocoJson:
    """A folder with a file of detections."""

    names = ("a.png", "sub/é.png")

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in self.names:
            write_image(root / "in" / name, PICTURE)
        self.data = coco_data(list(self.names))

    def try_one(self, r: random.Random) -> str:
        file = self.root / "people.json"
        if r.random() < 0.75:
            data = mutate_json(r, self.data)
            content = json.dumps(data).encode()
        else:
            content = mutate_bytes(r, json.dumps(self.data).encode())
            try:
                data = json.loads(content)
            except ValueError:
                data = None
        file.write_bytes(content)
        left = left_over(Folder(self.root / "in"), CocoFile(path=file), {"all": PERSON})
        if data is not None and any(still_named(data, name) for name in left):
            raise Leak(f"{left}: {content[:3000]!r}")
        return "lost" if left else "replaced"


class CocoLayout:
    """COCO's official layout."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.names = ["000000000001.png", "000000000002.png"]
        self.data = coco_data(self.names)
        for folder in FOLDERS.values():
            for name in self.names:
                write_image(root / folder / name, PICTURE)

    def try_one(self, r: random.Random) -> str:
        annotations = self.root / "annotations"
        annotations.mkdir(exist_ok=True)
        data = mutate_json(r, self.data)
        spoiled = r.choice([("person_keypoints",), ("instances",), ("person_keypoints", "instances")])
        for kind in ("person_keypoints", "instances"):
            for folder in FOLDERS.values():
                told = data if kind in spoiled and folder == "val2017" else self.data
                (annotations / f"{kind}_{folder}.json").write_text(json.dumps(told))
        dataset = Coco(self.root, "all", official=False)
        dataset.verify()
        left = left_over(dataset, Annotations(), {"all": PERSON})
        if any(still_named(data, name) for name in left) or (left and len(spoiled) == 1):
            raise Leak(f"{left} {spoiled}: {json.dumps(data)[:3000]}")
        return "lost" if left else "replaced"


class PngMasks:
    """A folder of masks by id."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("a.png", "b.png"):
            write_image(root / "in" / name, PICTURE)

    def try_one(self, r: random.Random) -> str:
        folder = self.root / "masks"
        folder.mkdir(exist_ok=True)
        for file in folder.iterdir():
            file.unlink()
        ids = PERSON.astype(np.uint8) * r.choice([1, 3, 255])
        out = io.BytesIO()
        Pillow.fromarray(ids).save(out, "PNG")
        for name in ("a.png", "b.png"):
            (folder / name).write_bytes(out.getvalue())
        change = r.randrange(3)
        if change == 0:
            (folder / "b.png").write_bytes(mutate_bytes(r, out.getvalue()))
        elif change == 1:
            spoiled = r.choice(
                [ids[:-1], ids.T, ids[::2, ::2], ids[:, :, None].repeat(4, 2), ids.astype(np.uint16) * 300]
            )
            Pillow.fromarray(np.ascontiguousarray(spoiled)).save(folder / "b.png")
        else:
            (folder / "b.png").rename(folder / r.choice(["c.png", "B.PNG", "b.jpg", "b.png.png", "b .png"]))
        left = left_over(Folder(self.root / "in"), IdMasks(path=folder), {"all": PERSON})
        if left:
            raise Leak(f"{left} {change}")
        return "replaced"


class CityscapesLayout:
    """Cityscapes: three files say where people are."""

    stem = "aachen_000000_000019"

    def __init__(self, root: Path) -> None:
        self.root = root
        self.ids = np.full(SIZE, 7, np.uint16)
        self.ids[PERSON] = 24000
        self.ids[50:58, 60:70] = 26001
        labels = np.where(self.ids >= 1000, self.ids // 1000, self.ids).astype(np.uint8)
        outline = np.array(OUTLINE).reshape(-1, 2).tolist()
        things = [
            {"label": "road", "polygon": [[0, 0], [79, 0], [79, 59], [0, 59]]},
            {"label": "car", "polygon": [[60, 50], [69, 50], [69, 57], [60, 57]]},
            {"label": "person", "polygon": outline},
        ]
        self.labels, self.polygons = labels, {"imgHeight": 60, "imgWidth": 80, "objects": things}

    def write(self) -> None:
        for split in ("train", "val"):
            write_image(
                self.root / "leftImg8bit" / split / "aachen" / f"{self.stem}_leftImg8bit.png", PICTURE
            )
            truth = self.root / "gtFine" / split / "aachen"
            truth.mkdir(parents=True, exist_ok=True)
            for name, pixels in (
                ("instanceIds", self.ids),
                ("labelIds", self.labels),
                ("color", self.labels),
            ):
                cv2.imwrite(str(truth / f"{self.stem}_gtFine_{name}.png"), pixels)
            (truth / f"{self.stem}_gtFine_polygons.json").write_text(json.dumps(self.polygons))

    def try_one(self, r: random.Random) -> str:
        self.write()
        truth = self.root / "gtFine" / "val" / "aachen"
        name = r.choice(["instanceIds.png", "labelIds.png", "polygons.json"])
        file = truth / f"{self.stem}_gtFine_{name}"
        if r.random() < 0.3:
            file.write_bytes(mutate_bytes(r, file.read_bytes()))
        elif name == "polygons.json":
            file.write_text(json.dumps(mutate_json(r, self.polygons)))
        else:
            spoiled = mutate_array(r, self.ids if name == "instanceIds.png" else self.labels)
            if spoiled.dtype not in (np.uint8, np.uint16):
                spoiled = spoiled.astype(np.uint16)
            cv2.imwrite(str(file), spoiled)
        dataset = Cityscapes(self.root, official=False)
        dataset.verify()
        left = left_over(dataset, Annotations(), {"all": PERSON})
        if left:
            raise Leak(f"{left} {name}")
        return "replaced"


class MarketLayout:
    """Market-1501: names are the annotations."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.picture = np.random.default_rng(0).integers(0, 255, (32, 16, 3), dtype=np.uint8)

    def try_one(self, r: random.Random) -> str:
        names = {
            "bounding_box_train": ["0002_c1s1_000451_03.jpg", "0002_c2s1_000551_01.jpg"],
            "query": ["0001_c1s1_001051_00.jpg"],
            "bounding_box_test": [
                "-1_c1s1_000401_03.jpg",
                "0000_c1s1_000151_01.jpg",
                "0001_c2s1_001976_01.jpg",
            ],
        }
        written = []
        for folder, some in names.items():
            (self.root / folder).mkdir(exist_ok=True)
            for old in (self.root / folder).iterdir():
                old.unlink()
            for name in some:
                write_image(self.root / folder / name, self.picture)
                written.append(self.root / folder / name)
        file = r.choice(written)
        if r.random() < 0.3:
            file.write_bytes(mutate_bytes(r, file.read_bytes()))
        else:
            name = list(file.name)
            for _ in range(r.choice([1, 1, 2])):
                at = r.randrange(len(name))
                name[at] = r.choice(
                    [*string.ascii_letters, *string.digits, "-", "_", ".", "", "é", " ", "[", "\n", "\udce9"]
                )
            file.rename(file.with_name("".join(name) or "x"))
        dataset = Market1501(self.root, official=False)
        dataset.verify()
        everything = np.ones((32, 16), bool)
        left = left_over(dataset, create("detectors", "full-image", {}), {"all": everything})
        if left:
            raise Leak(str(left))
        return "replaced"


class FdhLayout:
    """FDH: archives of arrays."""

    def __init__(self, root: Path) -> None:
        self.root = root
        size = (48, 32)
        self.person = np.zeros(size, bool)
        self.person[8:40, 8:24] = True
        hole = cv2.dilate(self.person.view(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)
        image = np.random.default_rng(0).integers(0, 100, (*size, 3), dtype=np.uint8)
        vertices = np.where(self.person, 5, -1).astype(np.int32)
        points = np.full((17, 3), 0.5, np.float32)
        self.files = members(Crop("1", image, hole, points, vertices, self.person))
        with ShardWriter(root / "train") as writer:
            writer.write("1", self.files)
            writer.write("2", self.files)
        (root / "val").mkdir()
        self.archive = (root / "train" / "out-000000.tar").read_bytes()

    def try_one(self, r: random.Random) -> str:
        archive = self.root / "val" / "out-000000.tar"
        archive.unlink(missing_ok=True)
        if r.random() < 0.4:
            archive.write_bytes(mutate_bytes(r, self.archive))
        else:
            name = r.choice(sorted(self.files))
            files = dict(self.files)
            if name.endswith(".npy") and r.random() < 0.6:
                array = np.load(io.BytesIO(files[name])).astype(np.float64)
                spoiled = r.choice(
                    [
                        array[:-1],
                        array.T,
                        array * np.nan,
                        array * 1e30,
                        array.astype(complex),
                        array[..., :2],
                        array - 99,
                        array[0],
                        array.astype(np.uint8),
                    ]
                )
                files[name] = npy(spoiled)
            elif name.endswith("mask.png") and r.random() < 0.6:
                known = np.asarray(Pillow.open(io.BytesIO(files[name])))
                spoiled = r.choice([~known, known & False, known | True, known[:-1], known.T, known[:, ::-1]])
                files[name] = png(np.ascontiguousarray(spoiled))
            elif r.random() < 0.3:
                del files[name]
            else:
                files[name] = mutate_bytes(r, files[name])
            with tarfile.open(archive, "w") as tar:
                for ending, content in files.items():
                    info = tarfile.TarInfo(r.choice(["1", "1", "1", "a/1", "../1"]) + f".{ending}")
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
        dataset = FDH(self.root)
        dataset.verify()
        left = left_over(dataset, Annotations(), {"all": self.person})
        if left:
            raise Leak(str(left))
        return "replaced"


class FdfLayout:
    """FDF: rows of arrays."""

    def __init__(self, root: Path) -> None:
        self.root = root
        image = np.random.default_rng(0).integers(0, 255, (256, 256, 3), dtype=np.uint8)
        self.boxes = np.array([[60, 50, 190, 200]] * 2)
        for split in ("train", "val"):
            for n in (1, 2):
                write_image(root / split / "images" / f"{n}.png", image)
            write_arrays(root / split, "bounding_box.npy", self.boxes, np.full((2, 7, 2), 0.5))
        self.face = np.zeros((256, 256), bool)
        self.face[50:200, 60:190] = True
        self.marks = np.load(root / "val" / "landmarks.npy")

    def try_one(self, r: random.Random) -> str:
        folder = self.root / "val"
        np.save(folder / "bounding_box.npy", self.boxes)
        np.save(folder / "landmarks.npy", self.marks)
        name = r.choice(["bounding_box.npy", "landmarks.npy"])
        array = np.load(folder / name).astype(np.float64)
        if r.random() < 0.4:
            (folder / name).write_bytes(mutate_bytes(r, (folder / name).read_bytes()))
            return self._run(leaks=name == "landmarks.npy")
        spoiled = r.choice(
            [
                array[:-1], array.T, array * np.nan, array / 256, array * np.inf, array.astype(complex), array.astype(object),
                array.astype(str), array[..., ::-1], array[0], np.repeat(array, 2, 0), -array, array * 1e30,
            ]
        )  # fmt: skip
        np.save(folder / name, spoiled)
        return self._run()

    def _run(self, *, leaks: bool = True) -> str:
        dataset = FDF256(self.root)
        dataset.verify()
        left = left_over(dataset, Annotations(), {"all": self.face}, create("methods", "mask-out-face", {}))
        if left and leaks:  # a flipped bit of a box is another box
            raise Leak(str(left))
        return "lost" if left else "replaced"


class SuiteYaml:
    """A suite in YAML: nothing but an error with a line may come of it."""

    text = """schema_version: 1
name: tiny
seeds: [0, 1]
detector: full-image
datasets:
  - {name: market1501, arguments: {root: "/nowhere", official: false}}
methods: [identity, &m mask-out, {name: blur, arguments: {strength: 1.5}}]
tasks:
  - {name: market1501-reid, arguments: {epochs: 2, batch_size: 8}}
"""
    pieces = (
        "&a", "*a", "*m", "<<: *a", "\t", "!!python/object:os.system", "!!binary x", "2024-02-30", "- ", ": ", "? ", "{", "}", "[", "]",
        "|", ">", "'", '"', "#", "%", "@", "\0", "\ud800", "é", "0x_", "1:99:99", ".inf", "~", "=", "---", "...", "name: x\n",
        "seeds: [-1]\n",
    )  # fmt: skip

    def __init__(self, root: Path) -> None:
        del root

    def try_one(self, r: random.Random) -> str:
        text = self.text
        for _ in range(r.choice([1, 1, 2, 5])):
            at = r.randrange(len(text) + 1)
            change = r.randrange(4)
            if change == 0:
                text = text[:at] + r.choice(self.pieces) * r.choice([1, 1, 2, 200]) + text[at:]
            elif change == 1:
                text = text[:at] + text[at + r.choice([1, 3, 20]) :]
            elif change == 2:
                lines = text.splitlines(keepends=True)
                r.shuffle(lines) if r.random() < 0.3 else lines.insert(
                    r.randrange(len(lines) + 1), r.choice(lines or [""])
                )
                text = "".join(lines)
            else:
                text = (
                    text[:at]
                    + r.choice(["x", "1", "null", "[1, {a: b}]", "a: &a [*a]", "1e999", "9" * 5000])
                    + text[at:]
                )
        parse(Suite, text, "suite.yaml", SuiteError)
        return "replaced"


KINDS = {
    k.__name__: k
    for k in (CocoJson, CocoLayout, PngMasks, CityscapesLayout, MarketLayout, FdhLayout, FdfLayout, SuiteYaml)
}
SAMPLES = {
    "CocoJson": 500, "CocoLayout": 120, "PngMasks": 100, "CityscapesLayout": 120, "MarketLayout": 60, "FdhLayout": 150, "FdfLayout": 60,
    "SuiteYaml": 150,
}  # fmt: skip


def try_one(target, seed: int) -> str:
    r = random.Random(seed)
    try:
        return target.try_one(r)
    except Dp2benchError as error:
        if not error.remedy:
            raise AssertionError(f"no remedy at seed {seed}: {error}") from error
        return "refused"
    except Leak:
        raise
    except Exception as error:
        raise AssertionError(f"a traceback at seed {seed}: {type(error).__name__}: {error}") from error


@pytest.fixture(scope="module", params=KINDS)
def target(request, tmp_path_factory):
    return KINDS[request.param](tmp_path_factory.mktemp(request.param))


def test_nobody_is_left_silently_and_nothing_ends_in_a_traceback(target):
    ends: Counter[str] = Counter()

    @settings(
        max_examples=SAMPLES[type(target).__name__],
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.integers(0, 2**64))
    def samples(seed):
        ends[try_one(target, seed)] += 1

    samples()
    assert ends["refused"] > 0.05 * ends.total(), ends
    assert ends["replaced"] > 0.02 * ends.total(), ends
    assert ends["lost"] < 0.25 * ends.total(), ends


@pytest.mark.slow
def test_for_long(target):
    minutes = float(os.environ.get("DP2BENCH_FUZZ_MINUTES", "0"))
    if not minutes:
        pytest.skip("DP2BENCH_FUZZ_MINUTES is not set")
    ends: Counter[str] = Counter()
    end = time.monotonic() + 60 * minutes / len(KINDS)
    faults = []
    while time.monotonic() < end and len(faults) < 20:
        seed = random.SystemRandom().getrandbits(64)
        try:
            ends[try_one(target, seed)] += 1
        except AssertionError as error:
            faults.append(f"seed {seed}: {str(error)[:1500]}")
    print(type(target).__name__, ends.total(), dict(ends), f"{len(faults)} faults")
    assert not faults, "\n".join(faults)
