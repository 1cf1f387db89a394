"""Scikit-image's photograph of an astronaut (NASA, public domain), as it is, as the detector sees it, and anonymized.

Run: python benchmarks/photograph_sheet.py OUT.jpg
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
from skimage import data

from dp2bench.core import registry
from dp2bench.core.images import write_image
from dp2bench.core.seeds import derive_seed
from dp2bench.detection.preview import draw_people

METHODS = ("blur-face", "blur", "pixelate-16", "mask-out", "deepprivacy2-face", "deepprivacy2")


def titled(image: np.ndarray, text: str) -> np.ndarray:
    small = cv2.resize(image, (300, 300), interpolation=cv2.INTER_AREA)
    out = np.pad(small, ((24, 4), (2, 2), (0, 0)), constant_values=255)
    cv2.putText(out, text, (6, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return out


def main() -> None:
    image = data.astronaut()
    (people,) = registry.create("detectors", "photo", {}).detect([image], [None])
    shown = [titled(image, "as it is"), titled(draw_people(image, people), "photo (detector)")]
    for name in METHODS:
        method = registry.create("methods", name, {})
        shown.append(titled(method.anonymize(image, people, seed=derive_seed(0, "astronaut")).image, name))
    write_image(
        Path(sys.argv[1]), np.concatenate([np.concatenate(shown[:4], 1), np.concatenate(shown[4:], 1)])
    )


if __name__ == "__main__":
    main()
