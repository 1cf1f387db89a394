"""Detection over a split larger than memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from dp2bench.core.people_io import load_people
from dp2bench.core.types import People, Sample, SampleId
from dp2bench.pipelines.anonymize import detect
from dp2bench.pipelines.stream import GROUP


def test_detection_keeps_the_people_of_one_chunk(tmp_path):
    samples, shape = [Sample(SampleId(f"{i:06d}"), Path("x"), {}) for i in range(20 * GROUP)], (4, 256, 256)
    dataset = SimpleNamespace(
        meta=SimpleNamespace(splits=("all",)),
        files=lambda split: [(sample,) for sample in samples],
        read=lambda sample: np.zeros((1, 1, 3), np.uint8),
    )
    detector = SimpleNamespace(
        detect=lambda images, samples: [
            People.of(np.zeros((4, 4)), masks=np.full(shape, True)) for _ in images
        ]
    )
    detector.for_dataset = lambda dataset: detector
    seen = []
    tracemalloc.start()
    try:
        detect(dataset, detector, ["all"], tmp_path, lambda done, total: seen.append((done, total)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 * GROUP * np.prod(shape) < len(samples) * np.prod(shape) / 5
    assert seen[-1] == (len(samples), len(samples))
    found = load_people(tmp_path / "all.npz")
    assert list(found) == [s.id for s in samples]
    assert found[samples[-1].id].masks.all()
