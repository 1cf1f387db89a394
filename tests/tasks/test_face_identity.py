"""Faces before and after: the clear ones are recognised, boxes are not, and what is missing is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dp2bench.core.contracts import RunContext
from dp2bench.core.errors import DatasetError, Dp2benchError
from dp2bench.core.images import write_image
from dp2bench.core.tensors import write_tensors
from dp2bench.datasets.folder import Folder
from dp2bench.networks.face_embedding import FaceEmbedding
from dp2bench.tasks.face_identity import FaceIdentity, record

REAL = Path(__file__).parents[3] / "shared/photographs/weights/face-embedding.safetensors"


@pytest.fixture(scope="module")
def portraits(tmp_path_factory):
    """An astronaut in six tints, as she is and with a box over her face."""
    data = pytest.importorskip("skimage.data")
    folder = tmp_path_factory.mktemp("portraits")
    torch.set_num_threads(1)
    tints = np.random.default_rng(0).uniform(0.55, 1.0, (6, 3))
    picture = data.astronaut()[:300, 100:400]
    for i, tint in enumerate(tints):
        tinted = (picture * tint).astype(np.uint8)
        write_image(folder / "clear" / f"{i}.png", tinted)
        tinted[40:220, 60:220] = 127
        write_image(folder / "box" / f"{i}.png", tinted)
    return {name: Folder(folder / name) for name in ("clear", "box")}


@pytest.fixture(scope="module")
def random_weights(tmp_path_factory):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = FaceEmbedding()
    path = tmp_path_factory.mktemp("face") / "face.safetensors"
    write_tensors(network.state_dict(), path, {})
    return str(path)


def scores(portraits, name, tmp_path, **arguments):
    told = RunContext(seed=0, trained={}, artefacts=tmp_path, threads=1)
    FaceIdentity(**arguments).run(portraits["clear"], portraits[name], told)
    return {s.name: s for s in told.scores}


def test_clear_faces_are_recognised_and_boxes_are_not(portraits, random_weights, tmp_path):
    given = {"weights": random_weights, "threshold": 1e-4}
    clear = scores(portraits, "clear", tmp_path, **given)
    assert clear["verified"].value == clear["rank-1"].value == 1
    assert clear["verified"].n == 6
    assert clear["verified"].chance == 0
    assert clear["verified"].lift == 1
    box = scores(portraits, "box", tmp_path, **given)
    assert box["verified"].value == 0
    assert box["rank-1"].value <= 2 / 6
    assert box["rank-1"].p_value > 0.05


@pytest.mark.skipif(not REAL.is_file(), reason="the face embedding's weights are not shipped")
def test_real_weights_take_the_tints_for_one_person_and_the_box_for_nobody(portraits, tmp_path):
    clear = scores(portraits, "clear", tmp_path, weights=str(REAL))
    assert clear["verified"].value == 1
    assert clear["verified"].chance > 0.5  # all are the same astronaut
    assert scores(portraits, "box", tmp_path, weights=str(REAL))["verified"].value == 0


def test_several_faces_of_one_person_find_each_other(tmp_path):
    random = np.random.default_rng(0)
    people = np.repeat(np.arange(1, 21), 3)
    before = random.normal(0, 1, (20, 8))[people - 1] + random.normal(0, 0.05, (60, 8))
    for leak, low, high in ((1.0, 0.99, 1), (0.0, 0, 0.15)):
        told = RunContext(seed=0, trained={}, artefacts=tmp_path)
        after = leak * before + random.normal(0, 1 - leak + 0.05, before.shape)
        record([f"{i}" for i in range(60)], people, [str(p) for p in people], before, after, 0.6, told)
        found = {s.name: s for s in told.scores}
        assert low <= found["rank-1"].value <= high
        assert found["rank-1"].chance == pytest.approx(1 / 20, abs=0.03)
        assert (found["rank-1"].p_value < 0.01) == (leak == 1)


def test_what_is_wrong_is_said(portraits, random_weights, tmp_path):
    with pytest.raises(DatasetError, match="faces of 0 people"):
        scores(portraits, "clear", tmp_path, weights=random_weights, smallest=5000)
    with pytest.raises(Dp2benchError, match=r"no file none\.safetensors"):
        FaceIdentity(weights="none.safetensors")
    with pytest.raises(Dp2benchError, match="positive"):
        FaceIdentity(threshold=0)
