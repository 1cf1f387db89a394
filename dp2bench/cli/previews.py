"""Frames of before and after of a video that was anonymized."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dp2bench.core.images import write_image
from dp2bench.datasets.video import Selection, Video
from dp2bench.detection.preview import bounded

FRAMES = 12
"""Of a video that are shown."""


def video_preview(source: Path, target: Path, folder: Path, selection: Selection) -> None:
    """Write frames at even distances, before beside after."""
    before, after = Video(source, selection=selection), Video(target)
    every = max(1, after.info.expected_frames // FRAMES)
    for a, b in zip(after, before, strict=False):  # the source may be broken after the last frame
        if b.index % every == 0:
            write_image(
                folder / f"{b.index:08d}.jpg", np.concatenate((bounded(b.image), bounded(a.image)), 1)
            )
