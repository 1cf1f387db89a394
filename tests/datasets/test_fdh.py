import io
import json
import pickle
import tarfile
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PILImage

from dp2bench.core.errors import DatasetError
from dp2bench.datasets.crops import Crop, png, relative_keypoints
from dp2bench.datasets.fdh import FDH, members
from dp2bench.datasets.shards import Shards, ShardWriter, npy

SIZE = (288, 160)


def some_crop(key: str, seed: int, size=SIZE) -> Crop:
    r = np.random.default_rng(seed)
    person = np.zeros(size, bool)
    top, left = (int(r.integers(1, n // 3)) for n in size)
    person[top:-top, left:-left] = True
    hole = person.copy()
    hole[top - 1] = hole[top]
    vertices = np.where(person, r.integers(0, 27554, size), -1).astype(np.int32)
    keypoints = np.c_[r.uniform(0.1, 0.9, (17, 2)), r.integers(0, 2, 17)].astype(np.float32)
    return Crop(key, r.integers(0, 256, (*size, 3), np.uint8), hole, keypoints, vertices, person)


@pytest.fixture
def root(tmp_path):
    for split, n in (("train", 5), ("val", 3)):
        with ShardWriter(tmp_path / "fdh" / split, most=2) as writer:
            for i in range(n):
                writer.write(f"{i:06d}", members(some_crop(f"{i:06d}", i)))
    return tmp_path / "fdh"


def test_what_is_written_is_read(root):
    assert sorted(p.name for p in (root / "train").iterdir()) == [f"out-00000{k}.tar" for k in range(3)]
    data = FDH(root)
    crops = data.crops("train")
    assert (len(crops), crops.template) == (5, "smpl-27554")
    for i, crop in enumerate(crops):
        expected = some_crop(f"{i:06d}", i)
        assert crop.key == expected.key
        for name in ("image", "hole", "vertices", "keypoints", "person", "mask", "E_mask"):
            np.testing.assert_array_equal(getattr(crop, name), getattr(expected, name), name)
    assert [c.key for c in crops[1:3]] == ["000001", "000002"]
    assert crops[-1].key == "000004"
    with pytest.raises(IndexError):
        crops[5]
    data.verify()


def test_the_published_loaders_package_reads_it(root):
    wds = pytest.importorskip("webdataset", reason="webdataset is not installed")
    found = list(wds.WebDataset(str(root / "train" / "out-{000000..000002}.tar"), shardshuffle=False))
    assert [s["__key__"] for s in found] == [f"{i:06d}" for i in range(5)]
    for i, sample in enumerate(found):
        expected = some_crop(f"{i:06d}", i)
        # The names under which the published loader asks for the members, which webdataset puts in lower case.
        assert {
            "image.png",
            "mask.png",
            "maskrcnn_mask.png",
            "e_mask.png",
            "vertices.npy",
            "keypoints.npy",
        } <= set(sample)
        mask = np.array(PILImage.open(io.BytesIO(sample["mask.png"])))
        assert (mask.dtype, mask.shape) == (bool, SIZE)
        np.testing.assert_array_equal(mask, ~expected.hole)
        vertices = np.load(io.BytesIO(sample["vertices.npy"]))
        known = np.array(PILImage.open(io.BytesIO(sample["e_mask.png"])))
        np.testing.assert_array_equal(vertices[known], expected.vertices[known])
        assert vertices.min() >= 0  # they index the table without looking
        np.testing.assert_array_equal(np.load(io.BytesIO(sample["keypoints.npy"])), expected.keypoints)


def test_a_rewritten_copy_has_the_same_layout_and_other_pictures(root, tmp_path):
    data = FDH(root)
    handed = [("val", s.id, 255 - data.read(s)) for s in data.samples("val")]
    handed += [("train", s.id, 255 - data.read(s)) for s in data.samples("train")[1:]]
    copy = data.rewrite(tmp_path / "copy", handed)
    assert sorted(p.name for p in (copy.root / "train").iterdir()) == sorted(
        p.name for p in (root / "train").iterdir()
    )
    assert [s.id for s in copy.samples("train")] == [s.id for s in data.samples("train")][1:]
    for a, b in zip(data.crops("train")[1:], copy.crops("train"), strict=True):
        np.testing.assert_array_equal(b.image, 255 - a.image)
        for name in ("hole", "vertices", "keypoints", "person"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    assert copy.fingerprint() != data.fingerprint()
    with pytest.raises(DatasetError, match="holds tar files already"):
        data.rewrite(tmp_path / "copy", handed)
    with pytest.raises(DatasetError, match="no crop 99"):
        data.rewrite(tmp_path / "other", [("val", "99", handed[0][2])])


def test_people_are_the_person_of_the_crop(root):
    data = FDH(root)
    sample = data.samples("val")[1]
    people, crop = data.people(sample), data.crops("val")[1]
    assert len(people) == 1
    np.testing.assert_array_equal(people.masks[0], crop.person)
    x0, y0, x1, y1 = people.boxes[0].astype(int)
    assert crop.person[y0:y1, x0:x1].all()
    assert crop.person.sum() == (x1 - x0) * (y1 - y0)
    np.testing.assert_allclose(people.keypoints[0, :, :2], crop.keypoints[:, :2] * [160, 288], rtol=1e-6)
    assert set(people.keypoints[0, :, 2].tolist()) <= {0, 2}
    np.testing.assert_array_equal(people.surfaces[0].vertices, crop.vertices)


def test_the_release_without_embeddings_has_no_surfaces(tmp_path):
    crop = some_crop("7", 7)
    with ShardWriter(tmp_path / "train") as writer:
        writer.write("7", {k: v for k, v in members(crop).items() if k not in {"vertices.npy", "E_mask.png"}})
    crops = FDH(tmp_path).crops("train")
    assert crops.template is None
    assert crops[0].vertices is None
    assert crops[0].E_mask is None


def test_pickles_are_never_opened(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (print, ("it ran",))

    crop = members(some_crop("1", 1))
    for name, data in (("a", pickle.dumps(Bomb())), ("b", _object_array())):
        with ShardWriter(tmp_path / name / "train") as writer:
            writer.write("1", {**crop, "keypoints.npy": data})
        with pytest.raises(DatasetError, match=r"1\.keypoints\.npy of .* is no array"):
            FDH(tmp_path / name).crops("train")[0]


def _object_array() -> bytes:
    out = io.BytesIO()
    np.save(out, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return out.getvalue()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mask.png": b"no picture"}, "mask.png that cannot be read"),
        ({"vertices.npy": npy(np.zeros((3, 3), np.int16))}, r"arrays of \(3, 3\)"),
        ({"keypoints.npy": npy(np.zeros((7, 3), np.float32))}, r"keypoints of float32 and shape \(7, 3\)"),
        ({"mask.png": None}, "has no mask.png"),
        ({"keypoints.npy": npy(np.full((17, 3), np.nan, np.float32))}, "keypoints that are no numbers"),
        ({"keypoints.npy": npy(np.zeros((14, 3), np.float32))}, r"shape \(14, 3\)"),
        ({"vertices.npy": npy(np.full(SIZE, -5, np.int16))}, "vertices that are no ids"),
        ({"vertices.npy": npy(np.zeros(SIZE, np.float32))}, "vertices that are no ids"),
        ({"vertices.npy": b"\x93NUMPY\x01\x00v\x00" + b"x" * 118}, "is no array"),
        ({"maskrcnn_mask.png": png(some_crop("abc", 1).person)}, "not in the hole of mask.png"),
        ({"mask.png": png(np.zeros((4, 4), bool))}, "mask.png of"),
    ],
)
def test_broken_crops_are_named(tmp_path, change, message):
    whole = {**members(some_crop("abc", 1)), **change}
    with ShardWriter(tmp_path / "train") as writer:
        writer.write("abc", {k: v for k, v in whole.items() if v is not None})
    with pytest.raises(DatasetError, match=f"abc.*{message}"):
        FDH(tmp_path).crops("train")[0]


def test_broken_archives_are_named(root, tmp_path):
    data = FDH(root)
    with pytest.raises(DatasetError, match="no split 'test'"):
        data.samples("test")
    with pytest.raises(DatasetError, match="no tar files"):
        FDH(tmp_path / "nowhere").samples("train")
    file = root / "train" / "out-000001.tar"
    file.write_bytes(file.read_bytes()[:-200_000])
    with pytest.raises(DatasetError, match=r"out-000001\.tar"):
        FDH(root).verify()


def test_members_that_leave_the_archive_are_no_files(tmp_path):
    (tmp_path / "train").mkdir()
    with tarfile.open(tmp_path / "train" / "a.tar", "w") as archive:
        link = tarfile.TarInfo("1.image.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    assert len(Shards(tmp_path / "train")) == 0


def test_equal_samples_give_equal_bytes(tmp_path):
    for name in ("a", "b"):
        with ShardWriter(tmp_path / name, most=2) as writer:
            for i in range(3):
                writer.write(f"{i}", members(some_crop(f"{i}", i, (36, 20))))
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


def test_reading_from_threads_gives_what_one_thread_reads(root):
    crops = FDH(root).crops("train")
    expected = [c.image.sum() for c in crops]
    found: dict[int, list[int]] = {}

    def work(k: int) -> None:
        found[k] = [crops[i].image.sum() for i in range(len(crops))]

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert all(f == expected for f in found.values())


@settings(max_examples=50)
@given(st.integers(0, 2**31), st.booleans())
def test_keypoints_in_pixels_or_shares_are_the_same(seed, third):
    r = np.random.default_rng(seed)
    share = np.c_[r.uniform(-0.2, 1.2, (17, 2)), np.ones(17)]
    share[0, :2] = 0.5
    pixels = share * [160, 288, 1]
    kept = slice(None) if third else slice(2)
    a, b = relative_keypoints(share[:, kept], SIZE), relative_keypoints(pixels[:, kept], SIZE)
    np.testing.assert_allclose(a, b, atol=1e-5)
    np.testing.assert_array_equal(a[:, 2] > 0, ((a[:, :2] >= 0) & (a[:, :2] <= 1)).all(1))


def test_a_crop_in_the_middle_that_lacks_a_member_is_found_before_any_work(tmp_path):
    for split in ("train", "val"):
        with ShardWriter(tmp_path / split) as writer:
            for i in range(5):
                left_out = "keypoints.npy" if i == 2 and split == "val" else ""
                writer.write(
                    str(i), {k: v for k, v in members(some_crop(str(i), i)).items() if k != left_out}
                )
    with pytest.raises(DatasetError, match=r"crop 2 of .*val.* has no keypoints\.npy"):
        FDH(tmp_path).verify()


@pytest.mark.parametrize("name", ["../../1", "/1", "a/../../1"])
def test_names_that_lead_out_of_the_archive_are_refused(tmp_path, name):
    with ShardWriter(tmp_path / "train") as writer:
        writer.write(name, members(some_crop("1", 1)))
    with pytest.raises(DatasetError, match="leads out of it"):
        FDH(tmp_path).samples("train")


def test_a_turned_picture_is_refused(tmp_path):
    exif = PILImage.Exif()
    exif[0x0112] = 3
    out = io.BytesIO()
    PILImage.fromarray(some_crop("1", 1).image).save(out, "PNG", exif=exif)
    with ShardWriter(tmp_path / "train") as writer:
        writer.write("1", members(some_crop("1", 1)) | {"image.png": out.getvalue()})
    data = FDH(tmp_path)
    with pytest.raises(DatasetError, match="EXIF orientation 3"):
        data.people(data.samples("train")[0])


def test_refined_keypoints_take_the_place_of_the_archives(root, tmp_path):
    told = {f"{i:06d}": [[0.5, 0.25, 1]] * 16 + [[1.5, 0.1, 1]] for i in range(5)}
    folder = tmp_path / "refined"
    folder.mkdir()
    for split in ("train", "val"):
        (folder / f"fdh_keypoints_{split}-0123.json").write_text(json.dumps(told))
    data = FDH(root, keypoints=folder)
    expected = np.array(
        [[0.5, 0.25, 1]] * 16 + [[1.5, 0.1, 0]], np.float32
    )  # one that lies outside is not known
    np.testing.assert_array_equal(data.crops("train")[4].keypoints, expected)
    np.testing.assert_array_equal(data.open(root).crops("val")[0].keypoints, expected)
    assert data.people(data.samples("val")[0]).keypoints[0, 0].tolist() == [80, 72, 2]
    del told["000004"]
    (folder / "fdh_keypoints_train-0123.json").write_text(json.dumps(told))
    with pytest.raises(DatasetError, match=r"000004.* no refined keypoints"):
        FDH(root, keypoints=folder).crops("train")[4]
    with pytest.raises(DatasetError, match="0 files fdh_keypoints_train"):
        FDH(root, keypoints=tmp_path).crops("train")
