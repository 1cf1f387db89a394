"""What a detector finds on photographs that registry packages and Debian carry: recall of people and faces, false ones, time.

Run: python benchmarks/photographs.py FOLDER [--detector photo] [--option pose=heavy] [--preview FOLDER]

FOLDER holds the photographs of photographs.json beside this file, which says where each comes from and where people and faces are in it, as
labelled by hand. What is not there is left out and said. Clear people are those whom anybody would point at; others (mostly hidden, or
blurred behind somebody) count neither as missed nor as false. A box counts from an overlap of 0.5, a face from 0.4.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path

import cv2
import numpy as np

from dp2bench.core import registry
from dp2bench.core.boxes import box_iou
from dp2bench.core.images import read_image, write_image
from dp2bench.core.types import Category
from dp2bench.detection.preview import draw_people
from dp2bench.metrics.coverage import match

LITTLE = 0.3
"""Share of a person's box under which hardly anybody fits: look whether they are covered at all."""
LABELS = Path(__file__).with_suffix(".json")


def ignored(boxes: np.ndarray, label: dict) -> np.ndarray:
    """(N,) whether a box is of somebody who is not to be judged."""
    hard = [p["box"] for p in label["people"] if not p["clear"]]
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    inside = np.zeros(len(boxes), bool)
    for x0, y0, x1, y1 in label.get("crowds", []):
        inside |= ((middle >= [x0, y0]) & (middle <= [x1, y1])).all(1)
    return inside | (box_iou(boxes, np.array(hard).reshape(-1, 4)).max(1, initial=0) > 0.3)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--detector", default="photo")
    parser.add_argument("--option", action="append", default=[], metavar="KEY=VALUE", help="of the detector")
    parser.add_argument("--preview", type=Path)
    given = parser.parse_args()
    cv2.setNumThreads(1)
    detector = registry.create(
        "detectors", given.detector, dict(option.split("=", 1) for option in given.option)
    )
    labels = json.loads(LABELS.read_text())
    counts = dict.fromkeys(
        (
            "pictures",
            "people",
            "found",
            "little covered",
            "false",
            "empty",
            "false where nobody is",
            "faces",
            "faces found",
            "false faces",
        ),
        0,
    )
    seconds, absent = 0.0, []
    for name, label in labels.items():
        path = given.folder / name
        if not path.is_file():
            absent.append(f"{name} ({label['source']})")
            continue
        image = read_image(path)
        start = time.perf_counter()
        (people,) = detector.detect([image], [None])
        seconds += time.perf_counter() - start
        persons = people.boxes[people.categories != Category.FACE]
        true = np.array([p["box"] for p in label["people"]], float).reshape(-1, 4)
        partner = match(true, persons)
        clear = np.array([p["clear"] for p in label["people"]], bool)
        alone = np.setdiff1d(np.arange(len(persons)), partner)
        false = int((~ignored(persons[alone], label)).sum())
        faces = (
            people.faces[np.isfinite(people.faces).all(1)] if people.faces is not None else np.zeros((0, 4))
        )
        true_faces = np.array([p["face"] for p in label["people"] if p["face"]], float).reshape(-1, 4)
        judged = np.array([p["face_clear"] for p in label["people"] if p["face"]], bool)
        partner_face = match(true_faces, faces, 0.4)
        # a face on somebody who is seen from behind is none that could be left
        false_faces = [
            f for f in np.setdiff1d(np.arange(len(faces)), partner_face) if not ignored(faces[[f]], label)[0]
        ]
        counts["pictures"] += 1
        counts["people"] += int(clear.sum())
        counts["found"] += int((clear & (partner >= 0)).sum())
        counts["false"] += false
        counts["empty"] += not label["people"]
        counts["false where nobody is"] += 0 if label["people"] else len(people)
        counts["faces"] += int(judged.sum())
        counts["faces found"] += int((judged & (partner_face >= 0)).sum())
        counts["false faces"] += len(false_faces)
        said = [f"missed {true[i].astype(int).tolist()}" for i in np.flatnonzero(clear & (partner < 0))]
        covered = people.masks.any(0) if len(people) else np.zeros(image.shape[:2], bool)
        for i in np.flatnonzero(clear):
            x0, y0, x1, y1 = true[i].astype(int).tolist()
            share = covered[y0:y1, x0:x1].mean()
            counts["little covered"] += int(share < LITTLE)
            said += [f"{[x0, y0, x1, y1]} covered to {share:.0%}"] * int(share < LITTLE)
        print(f"{name:26} {len(persons):3} found, {false} false {'; '.join(said)}")
        if given.preview:
            write_image(given.preview / f"{Path(name).stem}.jpg", draw_people(image, people))
    for row in absent:
        print(f"not there: {row}")
    print(
        json.dumps(
            counts
            | {
                "seconds a picture": round(seconds / max(counts["pictures"], 1), 2),
                "machine": platform.processor(),
            }
        )
    )


if __name__ == "__main__":
    main()
