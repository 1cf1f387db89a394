"""What is missing is listed once, before any work; the rest can be run."""

import pytest

from dp2bench.engine import missing, suite
from dp2bench.weights import catalogue


@pytest.fixture(autouse=True)
def empty_folder_of_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("DP2BENCH_WEIGHTS", str(tmp_path / "weights"))


PAPER = {
    "market1501": {"osnet_x1_0"},
    "coco": {"resnet50", "inception-2015-12-05", "vgg16", "vgg16-lpips"},
    "cityscapes": {"maskrcnn_resnet50_fpn", "inception-2015-12-05", "vgg16", "vgg16-lpips"},
}
NETWORKS = {
    "mask_rcnn_X_101_32x8d_FPN_3x", "cse_R_101_FPN_DL_soft_s1x", "dsfd", "keypointrcnn_resnet50_fpn", "deep_privacy1",
    "surface_guided_E", "fdh_styleganL", "fdh_styleganL_nocse", "fdf256_stylegan",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(PAPER))
def test_everything_that_a_table_needs_is_listed(tmp_path, name):
    needed = missing.check(suite.load(name), tmp_path)
    assert needed.runnable is None
    expected = NETWORKS | PAPER[name]
    assert {m.name for m in needed.missing} == {name} | expected
    said = str(needed.error(name))
    for one in needed.missing:
        assert one.name in said
        assert one.licence in said
        assert one.kind == "dataset" or catalogue.entry(one.name).places[0].url in said
    assert f"dp2bench weights fetch {' '.join(m.name for m in needed.missing if m.kind == 'weights')}" in said


def test_without_a_folder_of_data_every_dataset_is_named():
    needed = missing.check(suite.load("paper"), None)
    assert [m.name for m in needed.missing if m.kind == "dataset"] == [
        "market1501", "coco", "cityscapes", "fdh", "fdf256",
    ]  # fmt: skip
    assert "--data-root" in str(needed.error("paper"))


TEXT = """name: x
datasets: [{name: passersby-reid, arguments: {size: smoke}}]
methods: [identity, mask-out, {name: deepprivacy2, arguments: {weights: official}}]
tasks:
  - {name: market1501-reid, arguments: {epochs: 1}}
  - {name: image-quality, arguments: {inception_weights: inception-2015-12-05}}
"""


def test_what_is_left_can_be_run(tmp_path):
    (tmp_path / "x.yaml").write_text(TEXT)
    needed = missing.check(suite.load(str(tmp_path / "x.yaml")), None)
    assert [t.label for t in needed.runnable.tasks] == ["market1501-reid"]
    assert [m.label for m in needed.runnable.methods] == ["identity", "mask-out"]
    assert needed.runnable.tasks[0].methods == ("identity", "mask-out")
    rows = [(c.method.label, c.task.label) for c in needed.cells]
    assert len(rows) == 6
    absent = {k[1:]: v for k, v in needed.reasons.items()}
    assert set(rows) - set(absent) == {("identity", "market1501-reid"), ("mask-out", "market1501-reid")}
    assert "fdh_styleganL" in absent["deepprivacy2", "market1501-reid"]
    assert "inception" in absent["identity", "image-quality"]
    assert "inception" not in absent["deepprivacy2", "market1501-reid"]
