"""Whose face is still recognised after anonymization: verification by a face embedding with real weights, on photographs.

Run: python benchmarks/face_identity.py FOLDER [--methods blur-face,deepprivacy2-face,...] [--threshold 0.6]

Needs the weights of `dp2bench weights convert face-embedding`. Faces are found by CenterFace in the clear photographs and aligned by its five
points; the same place of the anonymized photograph is compared, as an attacker would who knows where the face was. A photograph of the same
person counts once for each face in it, so that chance has pairs of one person in it where the folder has several of somebody.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from dp2bench.core import registry
from dp2bench.core.errors import PictureError
from dp2bench.core.images import read_image
from dp2bench.core.seeds import derive_seed
from dp2bench.detection.centerface import CenterFace
from dp2bench.metrics.verification import verify
from dp2bench.networks import face_embedding
from dp2bench.weights import packages

METHODS = "identity,blur-face,pixelate-8-face,pixelate-16-face,mask-out-face,deepprivacy2-face"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--methods", default=METHODS)
    parser.add_argument("--threshold", type=float, default=face_embedding.SAME_PERSON)
    parser.add_argument("--smallest", type=float, default=40, help="pixels of a face's height")
    given = parser.parse_args()
    network = face_embedding.load(packages.installed(face_embedding.NAME))
    finder = CenterFace(long=1280, score_threshold=0.6)
    detector = registry.create("detectors", "photo", {"surfaces": False})
    methods = {name: registry.create("methods", name, {}) for name in given.methods.split(",")}
    clear: list[np.ndarray] = []
    after: dict[str, list[np.ndarray]] = {name: [] for name in methods}
    for path in sorted(p for p in given.folder.iterdir() if p.is_file()):
        try:
            image = read_image(path)
        except PictureError:
            continue
        boxes, _, points = finder.faces(image)
        points = points[boxes[:, 3] - boxes[:, 1] >= given.smallest]
        if not len(points):
            continue
        (people,) = detector.detect([image], [None])
        clear += [face_embedding.align(image, p) for p in points]
        for name, method in methods.items():
            result = method.anonymize(image, people, seed=derive_seed(0, path.name))
            after[name] += [face_embedding.align(result.image, p) for p in points]
    before = face_embedding.embed(network, clear)
    print(f"{len(clear)} faces; verified: nearer than {given.threshold}")
    print(f"{'method':20} {'verified':>9} {'95 % interval':>16} {'chance':>7} {'AUC':>6} {'distance':>9}")
    for name, crops in after.items():
        said = verify(before, face_embedding.embed(network, crops), threshold=given.threshold)
        low, high = said.interval
        print(
            f"{name:20} {said.rate:9.3f} {low:7.3f} to {high:.3f} {said.chance:7.3f} {said.auc:6.3f} {np.median(said.distances):9.3f}"
        )


if __name__ == "__main__":
    main()
