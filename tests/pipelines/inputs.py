"""What the tests of interrupted runs anonymize: each function writes an input below a folder and returns the command for it.

Commands read ``in`` and write to ``out`` in the folder they run in.
"""

from __future__ import annotations

import hashlib
import json
import runpy
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

PICTURES = 14
FULL_IMAGE = ("-m", "blur", "--detector", "full-image")


def _noise(rng: np.random.Generator, height: int, width: int) -> Pillow.Image:
    return Pillow.fromarray(rng.integers(0, 255, (height, width, 3), dtype=np.uint8))


def folder(root: Path) -> list[str]:
    """Pictures, one of them of three pages."""
    rng = np.random.default_rng(0)
    (root / "in" / "deep").mkdir(parents=True)
    for i in range(PICTURES):
        _noise(rng, 60, 80).save(root / "in" / "deep" / f"{i:02d}.png")
    frames = [_noise(rng, 20, 30) for _ in range(3)]
    frames[0].save(root / "in" / "pages.tif", save_all=True, append_images=frames[1:])
    return ["anonymize", "in", "out", *FULL_IMAGE]


def dataset(root: Path) -> list[str]:
    """Market-1501: names are all there is beside pictures."""
    rng = np.random.default_rng(0)
    for split, people in (("bounding_box_train", (1, 2)), ("bounding_box_test", (3, 4)), ("query", (3, 4))):
        (root / "in" / split).mkdir(parents=True)
        for person in people:
            for camera in (1, 2):
                _noise(rng, 128, 64).save(root / "in" / split / f"{person:04d}_c{camera}s1_000001_01.jpg")
    return ["anonymize", "in", "out", "--dataset", "market1501", "--subset", *FULL_IMAGE]


def annotated(root: Path) -> list[str]:
    """COCO: files of annotations are copied beside the pictures."""
    rng = np.random.default_rng(0)
    names = [f"{i:012d}.jpg" for i in (1, 2, 3)]
    data = {
        "info": {"description": "x" * 20_000},
        "images": [{"id": i, "file_name": n, "width": 80, "height": 60} for i, n in enumerate(names)],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 1, "iscrowd": 0, "area": 800, "bbox": [20, 10, 20, 40],
             "segmentation": [], "keypoints": [0] * 51, "num_keypoints": 0}
            for i in range(3)
        ],
        "categories": [{"id": 1, "name": "person"}],
    }  # fmt: skip
    (root / "in" / "annotations").mkdir(parents=True)
    for split in ("train2017", "val2017"):
        (root / "in" / split).mkdir()
        for name in names:
            _noise(rng, 60, 80).save(root / "in" / split / name)
        for kind in ("person_keypoints", "instances"):
            (root / "in" / "annotations" / f"{kind}_{split}.json").write_text(json.dumps(data))
    return ["anonymize", "in", "out", "--dataset", "coco", "--subset", "-m", "mask-out"]


def archives(root: Path) -> list[str]:
    """FDH: pictures are members of archives, so that the folder is made beside OUT and becomes it. An older run left some there."""
    from dp2bench.datasets.crops import Crop
    from dp2bench.datasets.fdh import members
    from dp2bench.datasets.shards import ShardWriter

    rng = np.random.default_rng(0)
    person = np.zeros((48, 32), bool)
    person[8:40, 8:24] = True
    for split in ("train", "val"):
        with ShardWriter(root / "in" / split) as writer:
            for name in ("1", "2"):
                image = rng.integers(0, 255, (48, 32, 3), dtype=np.uint8)
                vertices = np.where(person, 5, -1).astype(np.int32)
                points = np.full((17, 3), 0.5, np.float32)
                writer.write(name, members(Crop(name, image, person, points, vertices, person)))
    (root / ".out.partial" / "train").mkdir(parents=True)
    (root / ".out.partial" / "train" / "out-000000.tar").write_bytes(b"of an older run")
    (root / ".out.partial" / "template.txt").write_bytes(b"of an older run")
    return ["anonymize", "in", "out", "--dataset", "fdh", "-m", "mask-out"]


def video(root: Path) -> list[str]:
    """A video with sound, written into a folder."""
    clips = runpy.run_path(str(Path(__file__).parents[1] / "datasets" / "clips.py"))
    clips["make"](root / "in.mp4", 40, drawn=clips["patchwork"])
    (root / "out").mkdir()
    return ["anonymize", "in.mp4", "out/out.mp4", *FULL_IMAGE]


KINDS: dict[str, Callable[[Path], list[str]]] = {
    "folder": folder,
    "dataset": dataset,
    "annotated": annotated,
    "archives": archives,
    "video": video,
}


class Clip:
    """A video's times and pictures. Equal ones may differ by some grey levels: now and then, on a busy virtual machine,
    x264 gives other bytes for equal pictures.
    """

    __hash__ = None

    def __init__(self, path: Path) -> None:
        from dp2bench.datasets.video import Video

        frames = list(Video(path))
        self.times, self.pictures = [f.pts for f in frames], np.array([f.image for f in frames], np.int16)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Clip)
            and self.times == other.times
            and bool((abs(self.pictures - other.pictures).mean((1, 2, 3)) < 4).all())
        )


def digests(root: Path) -> dict[str, str | Clip]:
    """Of every file below a folder but the inputs, hidden ones too."""
    return {
        p.relative_to(root).as_posix(): Clip(p)
        if p.suffix == ".mp4"
        else hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(root.rglob("*"))
        if p.is_file() and not p.is_relative_to(root / "in") and p != root / "in.mp4"
    }


def check_whole(root: Path) -> None:
    """Every file below a folder that has its own name can be read to its end; hidden ones need not."""
    for path in root.rglob("*"):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(root).parts):
            _check_whole(path)


def _check_whole(path: Path) -> None:
    if path.suffix in {".png", ".jpg", ".tif"}:
        with Pillow.open(path) as picture:
            for page in range(getattr(picture, "n_frames", 1)):
                picture.seek(page)
                picture.load()
    elif path.suffix == ".json":
        json.loads(path.read_text())
    elif path.suffix == ".mp4":
        from dp2bench.datasets.video import Video

        assert len(list(Video(path))) == 40
