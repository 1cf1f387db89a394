"""Image quality on a tiny dataset: order of methods, features kept by content, arguments checked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dp2bench.core import registry
from dp2bench.core.contracts import RunContext
from dp2bench.core.errors import DatasetError, Dp2benchError
from dp2bench.core.seeds import Seed
from dp2bench.core.types import People
from dp2bench.datasets.market1501 import Market1501
from dp2bench.tasks.image_quality import ImageQuality


@pytest.fixture
def clear(market: Path) -> Market1501:
    torch.set_num_threads(1)
    return Market1501(market, official=False)


def anonymised(clear, out, name):
    from dp2bench.core.images import read_image

    method = registry.create("methods", name, {})

    def pictures():
        for split in clear.meta.splits:
            for sample in clear.samples(split):
                image = read_image(sample.path)
                h, w = image.shape[:2]
                people = People.of([[0, 0, w, h]], masks=np.ones((1, h, w), bool))
                yield split, sample.id, method.anonymize(image, people, seed=Seed(0)).image

    return clear.rewrite(out, pictures())


def context(tmp_path):
    return RunContext(seed=0, trained={}, artefacts=tmp_path, threads=1, cache=tmp_path / "cache")


def test_worse_methods_score_worse_and_features_are_kept(clear, tmp_path):
    task = ImageQuality(size=64)
    values = {}
    for name in ("identity", "blur", "mask-out"):
        told = context(tmp_path)
        scores = task.run(clear, anonymised(clear, tmp_path / name, name), told)
        assert [s.name for s in scores] == [
            f"crops.{k}" for k in ("fd_efficientnet", "kd_efficientnet", "perceptual_efficientnet")
        ]
        assert all(s.ci95[0] <= s.value <= s.ci95[1] and s.n == 26 for s in scores)
        assert np.mean(list(told.units["crops.perceptual_efficientnet"].values())) == scores[2].value
        values[name] = {s.name: s.value for s in scores}
    assert task.meta.main_score in values["identity"]
    for score in values["identity"]:
        assert values["identity"][score] < values["mask-out"][score]
    assert len(list((tmp_path / "cache" / "features").iterdir())) == 4  # clear once, and one a method
    again = task.run(clear, clear.open(tmp_path / "blur"), context(tmp_path))
    assert {s.name: s.value for s in again} == values["blur"]


def test_limit_spreads_over_the_split(clear, tmp_path):
    scores = ImageQuality(size=32, limit=9).run(clear, clear, context(tmp_path))
    assert {s.n for s in scores} == {9}
    assert scores[1].value == pytest.approx(0, abs=1e-9)


def test_errors(clear, tmp_path):
    with pytest.raises(Dp2benchError, match="faces"):
        ImageQuality(regions=["faces"])
    with pytest.raises(Dp2benchError, match="limit"):
        ImageQuality(limit=2)
    empty = clear.rewrite(tmp_path / "empty", [])
    with pytest.raises(DatasetError):
        ImageQuality().run(clear, empty, context(tmp_path))
