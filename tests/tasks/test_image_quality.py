"""Image quality on a tiny dataset: order of methods, features kept by content, arguments checked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from dp2bench.core import registry
from dp2bench.core.contracts import RunContext
from dp2bench.core.errors import DatasetError, Dp2benchError
from dp2bench.core.seeds import Seed
from dp2bench.core.types import People, Sample, SampleId
from dp2bench.datasets.folder import Folder
from dp2bench.datasets.market1501 import Market1501
from dp2bench.tasks.image_quality import ImageQuality


@pytest.fixture
def clear(market: Path) -> Market1501:
    torch.set_num_threads(1)
    return Market1501(market, official=False)


def anonymized(clear, out, name):
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
        task.run(clear, anonymized(clear, tmp_path / name, name), told)
        scores = told.scores
        assert [s.name for s in scores] == [
            f"crops.{k}"
            for k in (
                "fd_mobilenet",
                "kd_mobilenet",
                "fd_efficientnet",
                "kd_efficientnet",
                "perceptual_efficientnet",
            )
        ]
        assert all(s.n == 26 for s in scores)
        assert all(s.ci95[0] <= s.value <= s.ci95[1] for s in scores[:4])  # those of sets have no units
        assert np.mean(list(told.units["crops.perceptual_efficientnet"].values())) == scores[4].value
        values[name] = {s.name: s.value for s in scores}
    assert task.meta.main_score in values["identity"]
    for score in values["identity"]:
        assert values["identity"][score] < values["mask-out"][score]
    assert (
        len(list((tmp_path / "cache" / "features").iterdir())) == 8
    )  # clear once and one a method, by two networks
    again = context(tmp_path)
    task.run(clear, clear.open(tmp_path / "blur"), again)
    assert {s.name: s.value for s in again.scores} == values["blur"]


def test_limit_spreads_over_the_split(clear, tmp_path):
    told = context(tmp_path)
    ImageQuality(size=32, limit=9).run(clear, clear, told)
    assert {s.n for s in told.scores} == {9}
    assert told.scores[1].value == pytest.approx(0, abs=1e-9)


def test_errors(clear, tmp_path):
    with pytest.raises(Dp2benchError, match="faces"):
        ImageQuality(regions=["faces"])
    with pytest.raises(Dp2benchError, match="limit"):
        ImageQuality(limit=2)
    empty = clear.rewrite(tmp_path / "empty", [])
    with pytest.raises(DatasetError):
        ImageQuality().run(clear, empty, context(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("region", "fid"),
    [
        ("crops", False),  # the roots of a matrix of 2048 x 2048, twice, are ten seconds
        pytest.param("crops", True, marks=pytest.mark.slow),
        pytest.param("pictures", True, marks=pytest.mark.slow),
    ],
)
def test_fid_and_kid_are_torch_fidelitys_of_the_same_pictures_as_files(
    inception_weights, tmp_path, monkeypatch, region, fid
):
    """Of native size, whatever it is: torch-fidelity's network resizes them itself."""
    from torch_fidelity import calculate_metrics

    from dp2bench.metrics import quality

    if not fid:
        monkeypatch.setattr(quality, "frechet_distance", quality.frechet_distance_fast)
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    people = {}
    for i in range(8):
        (h, w), box, (rows, columns) = (
            ((90, 60), (5, 7, 41, 60), (slice(2, 65), slice(1, 45))),  # a tenth of the box wider on each side
            ((70, 120), (80, 20, 119, 70), (slice(15, 75), slice(76, 123))),
        )[i % 2]
        coarse = rng.integers(0, 256, (5, 4, 3), np.uint8)
        clear = np.asarray(Pillow.fromarray(coarse).resize((w, h)))
        noisy = np.clip(clear + rng.normal(0, 30, clear.shape), 0, 255).astype(np.uint8)
        people[f"{i}.png"] = People.of([box])
        for version, picture in (("clear", clear), ("other", noisy)):
            part = picture[rows, columns] if region == "crops" else picture
            for folder, pixels in ((version, picture), (f"{version} files", part)):
                (tmp_path / folder).mkdir(exist_ok=True)
                Pillow.fromarray(pixels).save(tmp_path / folder / f"{i}.png")
    told = context(tmp_path)
    told.people = {"all": people}
    task = ImageQuality(regions=[region], size=32, inception_weights=str(inception_weights))
    task.run(Folder(tmp_path / "clear"), Folder(tmp_path / "other"), told)
    values = {s.name: s.value for s in told.scores}
    official = calculate_metrics(
        input1=str(tmp_path / "clear files"),
        input2=str(tmp_path / "other files"),
        fid=fid,
        kid=True,
        kid_subset_size=8,
        batch_size=1,  # all that its folders of files allow where sizes differ
        feature_extractor_weights_path=str(inception_weights),
        cuda=False,
        cache=False,
        save_cpu_ram=True,
        verbose=False,
    )
    assert official["kernel_inception_distance_mean"] > 1e-3
    assert values[f"{region}.kid"] == pytest.approx(official["kernel_inception_distance_mean"], rel=1e-6)
    if fid:
        assert official["frechet_inception_distance"] > 1
        assert values[f"{region}.fid"] == pytest.approx(official["frechet_inception_distance"], rel=1e-6)


def test_features_are_kept_by_size_and_content_and_few_large_pictures_are_in_memory(tmp_path, monkeypatch):
    from dp2bench.tasks import image_quality

    class Counting:
        sha256, asked = "none", 0

        def features(self, pictures):
            self.asked += 1
            assert sum(p.nbytes for p in pictures) <= 3 * 96
            return np.array([[p.shape[0]] for p in pictures], np.float32)

    class Pictures(Folder):
        def read(self, sample):
            return np.full(self.shape, int(sample.id), np.uint8)

    monkeypatch.setattr(image_quality, "CHUNK_BYTES", 200)
    told = context(tmp_path)
    extractor = Counting()
    for shape, asked in (((4, 8, 3), 3), ((8, 4, 3), 6), ((4, 8, 3), 6)):  # other pictures of the same bytes
        data = Pictures(tmp_path)
        data.shape = shape
        units = [
            image_quality._Unit(str(i), *[(data, Sample(SampleId(str(i)), None))] * 2, None) for i in range(7)
        ]
        found = image_quality._features(units, "clear", extractor, None, told)
        assert found.tolist() == [[shape[0]]] * 7
        assert extractor.asked == asked
