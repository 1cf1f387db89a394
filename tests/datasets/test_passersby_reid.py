import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage
from typer.testing import CliRunner

from dp2bench.cli.main import app
from dp2bench.core.errors import DatasetError
from dp2bench.datasets.passersby import reid_builder
from dp2bench.datasets.passersby.generation import making
from dp2bench.datasets.passersby.generation.chunks import split_blobs
from dp2bench.datasets.passersby.generation.workers import shared_workers
from dp2bench.datasets.passersby.reid import TEMPLATE, PassersbyReID
from dp2bench.datasets.passersby.rendering.body import SKIN_VERTICES
from dp2bench.datasets.passersby.rendering.identities import JACKETS, make_identity

FOLDERS = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}


def digest(root: Path) -> dict[str, str]:
    return {
        p.relative_to(root).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(root.rglob("*"))
        if p.is_file()
    }


@pytest.fixture(autouse=True)
def _cache(rendered_cache, monkeypatch):
    monkeypatch.setenv("DP2BENCH_CACHE", str(rendered_cache))


@pytest.fixture
def dataset(_cache):
    d = PassersbyReID("smoke")
    d.prepare()
    return d


@pytest.fixture
def own_copy(dataset, tmp_path, monkeypatch):
    """The untouched dataset in a cache of its own, to be tampered with."""
    root = tmp_path / "datasets" / dataset.root.name
    shutil.copytree(dataset.root, root)
    monkeypatch.setenv("DP2BENCH_CACHE", str(tmp_path))
    return PassersbyReID("smoke")


def test_layout_and_names_are_those_of_market1501(dataset):
    names = re.compile(r"(-1|\d{4})_c[1-6]s1_\d{6}_\d{2}\.jpg")
    for split, folder in FOLDERS.items():
        files = sorted(p.name for p in (dataset.root / folder).iterdir())
        assert files
        assert all(names.fullmatch(n) for n in files)
        assert sorted(s.id for s in dataset.samples(split)) == files
        with PILImage.open(dataset.samples(split)[0].path) as im:
            assert im.size == (64, 128)
    assert sum(map(len, reid_builder.ReidBuilder().plan("smoke"))) == sum(
        len(dataset.samples(s)) for s in FOLDERS
    )


@pytest.mark.slow
def test_the_size_is_that_of_the_dataset_at_the_root(dataset, tmp_path):
    assert PassersbyReID().size == "mini"
    given = PassersbyReID(root=dataset.root)
    assert (given.size, given.original) == ("smoke", dataset.root)
    out = tmp_path / "out"
    anonymize = ["anonymize", str(dataset.root), str(out), "-m", "mask-out", "--dataset", "passersby-reid"]
    result = CliRunner().invoke(app, anonymize)
    assert result.exit_code == 0, result.output
    evaluate = [
        "evaluate",
        "--clear",
        str(dataset.root),
        "--anonymised",
        str(out),
        "--dataset",
        "passersby-reid",
    ]
    evaluate += ["--detector", "annotations", "-t", "detection-coverage", "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(app, evaluate)
    assert result.exit_code == 0, result.output


def test_every_name_of_every_size_is_unique():
    for size in reid_builder.SIZES:
        names = [(s.split, s.name) for chunk in reid_builder.ReidBuilder().plan(size) for s in chunk]
        assert len(set(names)) == len(names)


def test_identities_are_disjoint_and_every_query_has_an_answer(dataset):
    who = {split: {s.labels["identity"] for s in dataset.samples(split)} for split in FOLDERS}
    assert not who["train"] & (who["query"] | who["gallery"])
    assert {0, -1} <= who["gallery"]
    assert not {0, -1} & (who["train"] | who["query"])
    gallery = {(s.labels["identity"], s.labels["camera"]) for s in dataset.samples("gallery")}
    for s in dataset.samples("query"):
        assert any(i == s.labels["identity"] and c != s.labels["camera"] for i, c in gallery)
    shown = [make_identity(stream, i) for stream in ("reid-train", "reid-test") for i in range(12)]
    assert len({(a.seed, a.body) for a in shown}) == len(shown)
    assert set(dataset.attributes()) == {i for i in who["train"] | who["query"] if i > 0}


@pytest.mark.parametrize(("stream", "people"), [("reid-train", 128), ("reid-test", 48)])
def test_some_take_their_jacket_off_before_some_cameras(stream, people):
    changing = 0
    for i in range(people):
        off = reid_builder.jacket_off(stream, i)
        changing += bool(off)
        assert not off or 2 <= len(off) <= 4
        who = make_identity(stream, i)
        for camera in range(6):
            now = reid_builder.worn(stream, i, camera)
            assert (now != who) == (camera in off)
            if camera in off:
                assert who.top in JACKETS
                assert now.top in ("tee", "shirt", "tank")
                for kept in ("body", "skin", "hair", "hair_style", "bottom", "bottom_colour", "shoes", "bag"):
                    assert getattr(now, kept) == getattr(who, kept)
    assert 0.15 < changing / people < 0.4


def test_what_is_worn_at_a_camera_is_in_the_table(dataset):
    table = dataset.attributes()
    assert sum(bool(row["without_jacket"]) for row in table.values()) >= 1
    for identity, row in table.items():
        who = ("reid-train", identity - 1) if identity <= 12 else ("reid-test", identity - 13)
        for camera in range(1, 4):
            now = reid_builder.worn(*who, camera - 1)
            assert now.top == row["under_top" if camera in row["without_jacket"] else "top"]
            assert (camera in row["without_bag"]) == (
                row["bag"] != "none" and not reid_builder.carries_bag(*who, camera - 1)
            )
        assert (row["under_top"] is None) == (not row["without_jacket"])


def test_people_fit_their_picture(dataset):
    counted = 0
    for split in FOLDERS:
        for s in dataset.samples(split):
            people = dataset.people(s)
            counted += len(people) > 1
            if s.labels["identity"] > 0:
                assert len(people) >= 1
            assert people.masks is None or people.masks.shape == (len(people), 128, 64)
            assert not len(people) or people.masks.sum(0).max() <= 1
            for i in range(len(people)):
                ys, xs = np.nonzero(people.masks[i])
                assert people.boxes[i].tolist() == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
                surface = people.surfaces[i]
                assert surface.template == TEMPLATE
                assert surface.vertices.max() < SKIN_VERTICES
                x0, y0, x1, y1 = surface.box
                on_body = surface.vertices >= 0
                assert not (on_body & ~people.masks[i, y0:y1, x0:x1]).any()
                assert on_body.sum() > 0.5 * people.masks[i].sum() or s.labels["identity"] <= 0 or i > 0
                k = people.keypoints[i]
                inside = (k[:, 0] >= 0) & (k[:, 0] < 64) & (k[:, 1] >= 0) & (k[:, 1] < 128)
                assert (inside | (k[:, 2] == 0)).all()
                assert set(np.unique(k[:, 2])) <= {0.0, 1.0, 2.0}
    assert counted


def test_faces_are_boxed_only_when_seen(dataset):
    faces = [dataset.people(s).faces[0] for s in dataset.samples("train")]
    seen = np.array([not np.isnan(f).any() for f in faces])
    assert 0.1 < seen.mean() < 0.95
    for f in np.array(faces)[seen]:
        assert 0 <= f[0] < f[2] <= 64
        assert 0 <= f[1] < f[3] <= 128


def test_a_copy_has_the_people_of_the_original(dataset, tmp_path):
    shutil.copytree(dataset.root / "query", tmp_path / "copy" / "query")
    for folder in ("bounding_box_train", "bounding_box_test"):
        shutil.copytree(dataset.root / folder, tmp_path / "copy" / folder)
    copy = dataset.open(tmp_path / "copy")
    a, b = dataset.samples("query")[3], copy.samples("query")[3]
    assert b.path != a.path
    np.testing.assert_array_equal(dataset.people(a).masks, copy.people(b).masks)


def test_a_sample_is_the_same_bytes_alone_and_in_its_dataset(dataset):
    chunks = reid_builder.ReidBuilder().plan("smoke")
    for k in (0, len(chunks) - 1):
        part = reid_builder.ReidBuilder().make_chunk(chunks[k])
        for name, data in zip(
            part["names"], split_blobs(part["pictures"], part["picture_first"]), strict=True
        ):
            split, file = str(name).split("/")
            assert (dataset.root / FOLDERS[split] / file).read_bytes() == data


FEW = """
from dp2bench.datasets.passersby.reid_builder import ReidBuilder, Size

class Few(ReidBuilder):
    sizes = {"few": Size(train=5, test=1, cameras=2, per_camera=1, query_cameras=1, gallery=1, distractors=1, junk=1)}
"""


def test_a_killed_generation_is_not_taken_for_whole_and_goes_on(tmp_path, monkeypatch):
    (tmp_path / "few.py").write_text(FEW)  # workers import it
    monkeypatch.syspath_prepend(tmp_path)
    with shared_workers():  # of its own: others were started before that file was there
        _kill_and_go_on(tmp_path)


def _kill_and_go_on(tmp_path):
    from few import Few

    calls = []
    whole = tmp_path / "datasets" / "whole"
    making.make(Few(), "few", whole, lambda done, total: calls.append((done, total)))
    assert calls[0][0] == 0
    assert calls[-1][0] == calls[-1][1]
    assert [c[0] for c in calls] == sorted(c[0] for c in calls)
    root = tmp_path / "datasets" / "killed"
    code = (
        "from pathlib import Path; from dp2bench.datasets.passersby.generation.making import make; "
        "from dp2bench.datasets.passersby.generation.workers import shared_workers; from few import Few\n"
        f"with shared_workers(1): make(Few(), 'few', Path({str(root)!r}), lambda d, n: None)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    parts = root.with_name(root.name + ".partial") / "parts"
    deadline = time.monotonic() + 120
    while len(list(parts.glob("*.npz"))) < 2 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not root.exists()
    kept = sorted(parts.glob("*.npz"))
    assert len(kept) >= 2
    kept[0].write_bytes(kept[0].read_bytes()[:1000])
    (parts / "00004.npz.1.tmp").write_bytes(b"half")
    done = []
    making.make(Few(), "few", root, lambda d, n: done.append(d))
    assert done[0] > 0
    assert digest(root) == digest(whole)
    assert not parts.exists()


def test_verify_detects_tampering(own_copy):
    own_copy.verify()
    picture = own_copy.samples("query")[0].path
    before = picture.read_bytes()
    picture.write_bytes(before + b"x")
    with pytest.raises(DatasetError, match=re.escape(picture.name)):
        own_copy.verify()
    picture.unlink()
    with pytest.raises(DatasetError, match="missing"):
        own_copy.verify()
    picture.write_bytes(before)
    extra = picture.with_name("0001_c1s1_999999_00.jpg")
    extra.write_bytes(before)
    with pytest.raises(DatasetError, match="do not belong"):
        own_copy.verify()
    extra.unlink()
    own_copy.verify()


def test_verify_knows_a_size_of_other_days(dataset, monkeypatch):
    sizes = dataset.generated.builder.sizes
    other = {**sizes, "smoke": sizes["mini"]}
    monkeypatch.setattr(type(dataset.generated.builder), "sizes", other)
    with pytest.raises(DatasetError, match="was made when smoke was"):
        dataset.verify()


def test_an_unknown_size_is_refused():
    with pytest.raises(DatasetError, match="smoke, mini, large"):
        PassersbyReID("huge")
