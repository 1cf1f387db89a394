"""The contact sheets of the Passersby datasets in the docs, out of the datasets themselves.

Run: python benchmarks/passersby_sheets.py docs/images [--size mini] [--names passersby-reid ...]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dp2bench.core import templates
from dp2bench.core.images import write_image
from dp2bench.core.types import Image, People, Sample
from dp2bench.datasets.crops import Crop
from dp2bench.datasets.passersby.generation import cache
from dp2bench.datasets.passersby.rendering.template import NAME as TEMPLATE

BONES = (
    (15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8), (7, 9), (8, 10), (0, 1), (0, 2),
    (1, 3), (2, 4),
)  # fmt: skip
COLOURS = ((230, 85, 160), (70, 130, 230), (90, 190, 90), (240, 160, 50), (150, 90, 220), (60, 190, 200))
Sheets = Iterable[tuple[str, Image]]


def grid(pictures: Sequence[Image], columns: int, size: tuple[int, int]) -> Image:
    """Pictures in rows, each resized to (width, height)."""
    small = [
        p if p.shape[1::-1] == size else cv2.resize(p, size, interpolation=cv2.INTER_AREA) for p in pictures
    ]
    rows = [np.concatenate(small[k : k + columns], 1) for k in range(0, len(small), columns)]
    return np.concatenate(rows).astype(np.uint8)


def reid(size: str) -> Sheets:
    """Six identities of the train split with their pictures by camera, and eight who take their jacket off, with one picture by camera."""
    data = cache.create("passersby-reid", size)
    by_identity: dict[int, list[Sample]] = {}
    for sample in data.samples("train"):
        by_identity.setdefault(sample.labels["identity"], []).append(sample)
    rows = [by_identity[i] for i in sorted(by_identity)[:6]]
    yield "passersby-reid", grid([data.read(s) for row in rows for s in row], len(rows[0]), (64, 128))
    looks = data.attributes()
    changing = [row for i, row in sorted(by_identity.items()) if looks[i]["without_jacket"]][:8]
    cameras = {s.labels["camera"] for s in changing[0]}
    firsts = [next(s for s in row if s.labels["camera"] == c) for row in changing for c in sorted(cameras)]
    yield "passersby-jackets", grid([data.read(s) for s in firsts], 2 * len(cameras), (64, 128))


def surface(crop: Crop) -> Image:
    """Three columns of the surface's embedding as colours; what is carried in white."""
    table = templates.get(TEMPLATE).embeddings[:, :3]
    low, high = np.quantile(table, [0.02, 0.98], axis=0)
    out = np.zeros((*crop.hole.shape, 3))
    if crop.person is not None:
        out[crop.person] = 0.9
    if crop.vertices is not None:
        known = crop.vertices >= 0
        out[known] = np.clip((table[crop.vertices[known]] - low) / (high - low), 0, 1)
    return (255 * out).astype(np.uint8)


def hidden(crop: Crop) -> Image:
    """What a generator sees: the picture with its hole in grey."""
    hole: NDArray[np.bool_] = crop.hole
    return np.where(hole[..., None], 128, crop.image).astype(np.uint8)


def fdh(size: str) -> Sheets:
    """Crops of bodies, and what is known of them."""
    crops = list(islice(cache.create("passersby-fdh", size).crops("train"), 0, 32, 2))
    yield "passersby-crops", grid([c.image for c in crops], 8, (160, 288))
    steps = [step for c in crops[:6] for step in (c.image, hidden(c), surface(c))]
    yield "passersby-fdh", grid(steps, 9, (160, 288))


def fdf(size: str) -> Sheets:
    """Crops of faces."""
    crops = list(islice(cache.create("passersby-fdf", size).crops("train"), 0, 32, 2))
    yield "passersby-faces", grid([c.image for c in crops[:8]], 4, (256, 256))
    yield "passersby-fdf", grid([c.image for c in crops], 8, (160, 160))


def known(picture: Image, people: People) -> Image:
    """The picture with masks, keypoints and face boxes."""
    out: Image = picture.copy()
    for i in range(len(people)):
        colour = COLOURS[i % len(COLOURS)]
        if people.masks is not None:
            mask = people.masks[i]
            out[mask] = (0.5 * out[mask] + 0.5 * np.array(colour)).astype(np.uint8)
        if people.keypoints is not None:
            points = people.keypoints[i]
            for a, b in BONES:
                if points[a, 2] and points[b, 2]:
                    ends = [(int(x), int(y)) for x, y, _ in points[[a, b]]]
                    cv2.line(out, ends[0], ends[1], (255, 255, 255), 1, cv2.LINE_AA)
        if people.faces is not None and np.isfinite(people.faces[i]).all():
            x0, y0, x1, y1 = (round(float(v)) for v in people.faces[i])
            cv2.rectangle(out, (x0, y0), (x1, y1), (255, 230, 60), 1)
    return out


def coco(size: str) -> Sheets:
    """Scenes, of the first four also the people."""
    data = cache.create("passersby-coco", size)
    samples = data.samples("val")[:12]
    pictures = [data.read(s) for s in samples]
    drawn = [known(p, data.people(s)) for p, s in zip(pictures[:4], samples, strict=False)]
    yield "passersby-coco", grid([*pictures[:4], *drawn, *pictures[4:]], 4, (320, 240))


def cityscapes(size: str) -> Sheets:
    """Streets, of the first the labels, of the second the people."""
    data = cache.create("passersby-cityscapes", size)
    samples = data.samples("val")[:6]
    pictures = [data.read(s) for s in samples]
    colours = cv2.imread(str(data.ground_truth(samples[0], "color.png")))[..., ::-1]
    drawn = [colours, known(pictures[1], data.people(samples[1]))]
    yield "passersby-cityscapes", grid([*pictures[:2], *drawn, *pictures[2:]], 2, (640, 320))


def video(size: str) -> Sheets:
    """Six frames."""
    data = cache.create("passersby-video", size)
    samples = data.samples("all")
    frames = [data.read(samples[k]) for k in np.linspace(0, len(samples) - 1, 8)[1:-1].astype(int)]
    yield "passersby-video", grid(frames, 3, (480, 270))


SHEETS: dict[str, Callable[[str], Sheets]] = {
    "passersby-reid": reid,
    "passersby-fdh": fdh,
    "passersby-fdf": fdf,
    "passersby-coco": coco,
    "passersby-cityscapes": cityscapes,
    "passersby-video": video,
}


def main() -> None:
    """Draw the sheets; datasets that are not there are made."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", default="mini")
    parser.add_argument("--names", nargs="+", choices=list(SHEETS), default=list(SHEETS))
    options = parser.parse_args()
    for dataset in options.names:
        for name, sheet in SHEETS[dataset](options.size):
            path = options.folder / f"{name}.jpg"
            write_image(path, sheet, quality=80)
            print(f"{path}: {sheet.shape[1]} x {sheet.shape[0]}, {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
