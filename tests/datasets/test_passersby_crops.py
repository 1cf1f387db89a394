import shutil

import numpy as np
import pytest

from dp2bench.core import templates
from dp2bench.core.errors import DatasetError
from dp2bench.datasets.fdf import FDF256
from dp2bench.datasets.fdh import FDH
from dp2bench.datasets.passersby import crop_plan, fdf_builder, fdh_builder
from dp2bench.datasets.passersby.fdf import PassersbyFDF
from dp2bench.datasets.passersby.fdh import PassersbyFDH
from dp2bench.inpainting.crop_boxes import face_crop_box


@pytest.fixture(autouse=True)
def _cache(rendered_cache, monkeypatch):
    monkeypatch.setenv("DP2BENCH_CACHE", str(rendered_cache))


@pytest.fixture
def fdh(_cache):
    data = PassersbyFDH("smoke")
    data.prepare()
    return data


@pytest.fixture
def fdf(_cache):
    data = PassersbyFDF("smoke")
    data.prepare()
    return data


@pytest.mark.parametrize("sizes", [fdh_builder.SIZES, fdf_builder.SIZES])
def test_identities_are_disjoint_in_every_size(sizes):
    for size in sizes.values():
        specs = crop_plan.plan(size)
        who = {split: {s.identity for s in specs if s.split == split} for split in ("train", "val")}
        assert not who["train"] & who["val"]
        assert len(who["train"]) == -(-size.train // size.each)
        assert [s.number for s in specs] == list(range(size.train + size.val))
        # Streams of identities are a split's own, so equal numbers are other people.
        assert len({(s.split, s.person) for s in specs}) == len(who["train"] | who["val"])


def test_fdh_has_masks_surfaces_and_keypoints_that_agree(fdh):
    template = templates.get(fdh.template)
    head = template.part_names.index("head")
    hits = 0
    for split in ("train", "val"):
        crops = fdh.crops(split)
        assert crops.template == "passersby-13380"
        for crop in crops:
            assert crop.image.shape == (288, 160, 3)
            assert (crop.person <= crop.hole).all()
            assert ((crop.vertices >= 0) <= crop.person).all()
            assert crop.vertices.max() < len(template)
            # At least 30 % of a crop are background, of which widening the mask takes a little.
            assert crop.person.mean() < 0.72
            assert crop.person.mean() > 0.05
            points = crop.keypoints[crop.keypoints[:, 2] > 0]
            assert len(points) >= 5
            for x, y, known in crop.keypoints[:1]:
                column, row = min(int(x * 160), 159), min(int(y * 288), 287)
                vertex = crop.vertices[row, column] if known else -1
                assert vertex < 0 or template.parts[vertex] == head
                hits += vertex >= 0
    assert hits > 5  # noses that are seen lie on heads


def test_the_size_is_that_of_the_dataset_at_the_root(fdh, fdf, tmp_path):
    for data in (fdh, fdf):
        assert type(data)(root=data.root).size == "smoke"
        assert type(data)(root=tmp_path).size == "mini"


def test_fdh_is_read_as_fdh(fdh):
    plain = FDH(fdh.root)
    assert plain.template == "passersby-13380"
    assert [s.id for s in plain.samples("val")] == [s.id for s in fdh.samples("val")]
    fdh.verify()
    plain.verify()


def test_one_crop_is_the_same_wherever_it_is_made(fdh, fdf):
    for module, data in ((fdh_builder, fdh), (fdf_builder, fdf)):
        spec = crop_plan.plan(module.SIZES["smoke"])[3]
        again, made = module.render_sample(spec), data.crops("train")[3]
        np.testing.assert_array_equal(again.image, made.image)
        np.testing.assert_array_equal(again.hole, made.hole)


def test_fdf_faces_are_cut_as_the_library_cuts_them(fdf):
    for split in ("train", "val"):
        for crop in fdf.crops(split):
            assert crop.image.shape == (256, 256, 3)
            x0, y0, x1, y1 = crop.box
            # The longer side plus 40 % is the crop, up to rounding in a picture with as little as 66 pixels of face.
            assert max(x1 - x0, y1 - y0) * 1.4 == pytest.approx(256, rel=0.06)
            middle = (np.array([x0 + x1, y0 + y1]) / 2).tolist()
            assert middle == pytest.approx([128, 128], abs=6)
            nose = crop.keypoints[0]
            assert x0 - 12 <= nose[0] * 256 <= x1 + 12
            assert y0 <= nose[1] * 256 <= y1
    assert face_crop_box((100, 100, 200, 200), (500, 500)).tolist() == [80, 80, 220, 220]
    FDF256(fdf.root).verify()
    fdf.verify()


@pytest.mark.parametrize("name", ["fdh", "fdf"])
def test_labels_and_attributes_belong_together(name, request):
    data = request.getfixturevalue(name)
    looks = data.attributes()
    shown = {s.labels["identity"] for split in ("train", "val") for s in data.samples(split)}
    assert shown == set(looks)
    assert {"skin", "hair_style", "top", "body_age"} <= set(looks[1])


@pytest.mark.parametrize("name", ["fdh", "fdf"])
def test_a_copy_keeps_identities_and_its_own_pictures(name, request, tmp_path):
    data = request.getfixturevalue(name)
    handed = [(split, s.id, 255 - data.read(s)) for split in ("train", "val") for s in data.samples(split)]
    copy = data.rewrite(tmp_path / "copy", handed)
    assert type(copy) is type(data)
    for a, b in zip(data.samples("val"), copy.samples("val"), strict=True):
        assert a.labels == b.labels
        np.testing.assert_array_equal(copy.read(b), 255 - data.read(a))
    copy.verify()


@pytest.mark.parametrize("kind", [PassersbyFDH, PassersbyFDF])
def test_unknown_sizes_are_refused(kind):
    with pytest.raises(DatasetError, match="no size 'huge'"):
        kind("huge")


def test_changed_files_are_noticed(fdf, tmp_path, monkeypatch):
    shutil.copytree(fdf.root, tmp_path / "datasets" / fdf.root.name)
    monkeypatch.setenv("DP2BENCH_CACHE", str(tmp_path))
    copy = PassersbyFDF("smoke")
    path = copy.root / "val" / "landmarks.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(DatasetError, match=r"landmarks\.npy is not as it was made"):
        copy.verify()
