"""Pictures of before and after, written while pictures and videos are anonymized."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dp2bench.core.contracts import Anonymizer, ComponentMeta, Dataset, Detector
from dp2bench.core.images import write_image
from dp2bench.core.seeds import Seed
from dp2bench.core.types import Anonymized, Image, People, Sample
from dp2bench.datasets.video import Selection, Video
from dp2bench.detection.preview import before_and_after, bounded, preview_path
from dp2bench.pipelines.anonymize import all_missed

FRAMES = 12
"""Of a video that are shown."""


class RecordingDetector(Detector):
    """A detector that says which picture it was asked about last."""

    def __init__(self, detector: Detector, noted: list[Sample]) -> None:
        self._detector, self._noted = detector, noted
        self.meta: ComponentMeta = detector.meta
        self.people_named = detector.people_named

    @property
    def uses_annotations(self) -> bool:
        """See `Detector.uses_annotations`."""
        return self._detector.uses_annotations

    def for_dataset(self, dataset: Dataset) -> RecordingDetector:
        """See `Detector.for_dataset`."""
        return RecordingDetector(self._detector.for_dataset(dataset), self._noted)

    def detect(self, images: Sequence[Image], samples: Sequence[Sample]) -> list[People]:
        """See `Detector.detect`."""
        self._noted[:] = samples
        return self._detector.detect(images, samples)


class Previewing:
    """A method that also writes a picture of what it got and what it made of it; whoever is left, or looks as before, is framed in red."""

    def __init__(self, method: Anonymizer, noted: list[Sample], folder: Path) -> None:
        self._method, self._noted, self._folder = method, noted, folder
        self.meta = method.meta

    def anonymize(self, image: Image, people: People, *, seed: Seed) -> Anonymized:
        """See `Anonymizer.anonymize`."""
        result = self._method.anonymize(image, people, seed=seed)
        missed = {m.person: m.reason for m in all_missed(image, result, people, self.meta.scope)}
        shown = before_and_after(image, people, result.image, missed)
        write_image(preview_path(self._folder, self._noted[-1].id), shown)
        return result


def video_preview(source: Path, target: Path, folder: Path, selection: Selection) -> None:
    """Write frames at even distances, before beside after."""
    before, after = Video(source, selection=selection), Video(target)
    every = max(1, after.info.expected_frames // FRAMES)
    for a, b in zip(after, before, strict=False):  # the source may be broken after the last frame
        if b.index % every == 0:
            write_image(
                folder / f"{b.index:08d}.jpg", np.concatenate((bounded(b.image), bounded(a.image)), 1)
            )
