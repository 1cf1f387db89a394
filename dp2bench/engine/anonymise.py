"""Take a dataset, find its people, anonymise them, count who is left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dp2bench.core.contracts import Anonymizer, Dataset, Detector, Progress, no_progress
from dp2bench.core.errors import Dp2benchError, PictureError
from dp2bench.core.people_io import save_people
from dp2bench.core.results import Coverage
from dp2bench.core.seeds import derive_seed
from dp2bench.core.types import Image, Missed, People, Sample, SampleId

CHUNK = 16
"""Pictures handed to a detector at once."""


def detect(dataset: Dataset, detector: Detector, out: Path, progress: Progress = no_progress) -> None:
    """People of every readable picture, one file a split. Unreadable pictures are left out here and counted by `anonymise`."""
    bound = detector.for_dataset(dataset) if hasattr(detector, "for_dataset") else detector
    total, done = sum(len(dataset.samples(s)) for s in dataset.meta.splits), 0
    for split in dataset.meta.splits:
        found: dict[str, People] = {}
        samples = dataset.samples(split)
        for start in range(0, len(samples), CHUNK):
            images: list[Image] = []
            readable: list[Sample] = []
            for sample in samples[start : start + CHUNK]:
                try:
                    images.append(dataset.read(sample))
                    readable.append(sample)
                except PictureError:
                    continue
            for sample, people in zip(readable, bound.detect(images, readable), strict=True):
                found[sample.id] = people
            done += len(samples[start : start + CHUNK])
            progress(done, total)
        save_people(out / f"{split}.npz", found)


@dataclass
class Tally:
    """Counts what became of people while pictures go by; `coverage` is the sum."""

    pictures: int = 0
    found: int = 0
    missed: Counter[str] = field(default_factory=Counter)
    empty: int = 0
    unfound: int | None = None
    unreadable: list[str] = field(default_factory=list)
    left: dict[str, dict[str, dict[int, str]]] = field(default_factory=dict)
    """Who was found and left: reason by person index, by split and sample id."""

    def leave(self, split: str, sample: SampleId, missed: Iterable[Missed]) -> None:
        """Note the people of one picture who were found and left."""
        reasons = {m.person: m.reason for m in missed}
        if reasons:
            self.missed.update(reasons.values())
            self.left.setdefault(split, {})[sample] = reasons

    def coverage(self) -> Coverage:
        """The counts as they are printed beside scores."""
        missed = sum(self.missed.values())
        return Coverage(
            pictures=self.pictures,
            found=self.found,
            anonymised=self.found - missed,
            missed=missed,
            missed_reasons=dict(sorted(self.missed.items())),
            pictures_without_detection=self.empty,
            unfound=self.unfound,
            unreadable=len(self.unreadable),
        )


def unfound_people(annotated: People, found: People) -> int:
    """Annotated people of whose box less than half lies in any single found box: nobody will anonymise them."""
    if not len(annotated):
        return 0
    if not len(found):
        return len(annotated)
    a, f = annotated.boxes[:, None], found.boxes[None]
    size = np.clip(np.minimum(a[..., 2:], f[..., 2:]) - np.maximum(a[..., :2], f[..., :2]), 0, None)
    area = np.maximum((a[..., 2] - a[..., 0]) * (a[..., 3] - a[..., 1]), 1e-6)
    return int(((size[..., 0] * size[..., 1] / area).max(1) < 0.5).sum())


def anonymised_pictures(
    dataset: Dataset,
    people: Mapping[str, Mapping[str, People]],
    method: Anonymizer,
    run_seed: int,
    tally: Tally,
    progress: Progress = no_progress,
) -> Iterator[tuple[str, SampleId, Image]]:
    """Each readable picture, anonymised. A picture that cannot be read is counted and never copied through."""
    total, done = sum(len(dataset.samples(s)) for s in dataset.meta.splits), 0
    for split in dataset.meta.splits:
        for sample in dataset.samples(split):
            done += 1
            progress(done, total)
            try:
                image = dataset.read(sample)
            except PictureError as error:
                tally.unreadable.append(str(error))
                continue
            found = people[split][sample.id]
            result = method.anonymize(image, found, seed=derive_seed(run_seed, split, sample.id))
            if result.image.shape != image.shape or result.image.dtype != np.uint8:
                raise Dp2benchError(
                    f"The method {method.meta.name} returned {result.image.dtype} {result.image.shape} for {sample.path}, a picture of {image.shape}.",
                    "A method must keep size and type; `anonymize` has a defect.",
                )
            tally.pictures += 1
            tally.found += len(found)
            tally.empty += len(found) == 0
            tally.leave(split, sample.id, result.missed)
            annotated = dataset.people(sample)
            if annotated is not None:
                tally.unfound = (tally.unfound or 0) + unfound_people(annotated, found)
            yield split, sample.id, result.image


def measured_coverage(
    clear: Dataset,
    anonymised: Dataset,
    people: Mapping[str, Mapping[str, People]],
    progress: Progress = no_progress,
) -> Tally:
    """Coverage of a folder that another tool made, by looking: a person counts as anonymised when the pixels inside the mask
    (or box) differ by more than 8 grey levels on average, which re-encoding as JPEG does not reach.
    """
    tally = Tally()
    for split in clear.meta.splits:
        others: dict[SampleId, Sample] = {s.id: s for s in anonymised.samples(split)}
        samples = clear.samples(split)
        for done, sample in enumerate(samples, 1):
            progress(done, len(samples))
            if sample.id not in others:
                continue
            try:
                before, after = clear.read(sample), anonymised.read(others[sample.id])
            except PictureError as error:
                tally.unreadable.append(str(error))
                continue
            found = people[split][sample.id]
            tally.pictures += 1
            tally.found += len(found)
            tally.empty += len(found) == 0
            if before.shape != after.shape:
                other = "the anonymised picture has another size"
                tally.leave(split, sample.id, [Missed(i, other) for i in range(len(found))])
                continue
            difference = np.abs(before.astype(np.int16) - after).mean(2)
            unchanged = []
            for i in range(len(found)):
                x0, y0, x1, y1 = np.clip(
                    np.round(found.boxes[i]), 0, [before.shape[1], before.shape[0]] * 2
                ).astype(int)
                window = difference[y0:y1, x0:x1]
                inside: Any = window if found.masks is None else window[found.masks[i, y0:y1, x0:x1]]
                if inside.size == 0 or inside.mean() <= 8:
                    unchanged.append(Missed(i, "looks unchanged"))
            tally.leave(split, sample.id, unchanged)
            annotated = clear.people(sample)
            if annotated is not None:
                tally.unfound = (tally.unfound or 0) + unfound_people(annotated, found)
    return tally


def anonymise_dataset(
    dataset: Dataset,
    detector: Detector,
    method: Anonymizer,
    out: Path,
    seed: int,
    progress: Progress = no_progress,
) -> Tally:
    """Detect and anonymise picture by picture, for those who want the pictures and no benchmark."""
    bound = detector.for_dataset(dataset) if hasattr(detector, "for_dataset") else detector

    class _Found(Mapping[str, People]):
        def __init__(self, split: str) -> None:
            self.samples = {s.id: s for s in dataset.samples(split)}

        def __getitem__(self, name: str) -> People:
            sample = self.samples[SampleId(name)]
            return bound.detect([dataset.read(sample)], [sample])[0]

        def __iter__(self) -> Iterator[str]:
            return iter(self.samples)

        def __len__(self) -> int:
            return len(self.samples)

    tally = Tally()
    dataset.rewrite(
        out,
        anonymised_pictures(
            dataset, {s: _Found(s) for s in dataset.meta.splits}, method, seed, tally, progress
        ),
    )
    return tally
