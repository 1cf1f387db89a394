"""Labels of rendered datasets are those of every other machine: their hashes come with the package."""

import io
import json
import logging
import os
import platform
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from dp2bench.cli.main import app
from dp2bench.datasets.passersby.generation import cache, labels, making
from dp2bench.datasets.passersby.generation.chunks import join_blobs, split_blobs
from dp2bench.datasets.shards import Shards, ShardWriter

NAMES = cache.generated_names()


@pytest.fixture
def fresh(rendered_cache, monkeypatch):
    """A smoke size as it was just made, by name."""
    monkeypatch.setenv("DP2BENCH_CACHE", str(rendered_cache))

    def make(name):
        data = cache.create(name, "smoke")
        data.prepare()
        return data.generated

    return make


@pytest.fixture
def copied(fresh, monkeypatch, tmp_path):
    """The same in a cache of its own."""

    def copy(name):
        root = fresh(name).root
        monkeypatch.setenv("DP2BENCH_CACHE", str(tmp_path))
        shutil.copytree(root, tmp_path / "datasets" / root.name)
        return cache.create(name, "smoke").generated

    return copy


def test_the_package_has_the_labels_of_its_versions():
    names = [cache.create(name, size).root.name for name in NAMES for size in labels.SIZES]
    gone = [name for name in names if name not in labels.shipped_hashes()]
    assert gone == [], (
        "run `python -m dp2bench.datasets.passersby.generation.write_labels` and commit labels.json"
    )


@pytest.mark.parametrize("name", NAMES)
def test_what_was_just_made_has_the_labels_of_other_machines(fresh, name):
    made = fresh(name)
    manifest = json.loads((made.root / "manifest.json").read_text())
    assert manifest["labels"] == labels.shipped_hashes()[made.root.name]
    assert made.own_labels() == []


def sign(made):
    """As if it had been made so."""
    (made.root / "manifest.json").unlink()
    making.write_manifest(made.builder, made.size, made.root)


def in_json(path: Path, *, change: bool) -> None:
    value = json.loads(path.read_text())
    if change:
        value["annotations"][0]["bbox"][0] += 1
    path.write_text(json.dumps(value, indent=3))


def in_png(path: Path, *, change: bool) -> None:
    value = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if change:
        y, x = np.argwhere(value[..., 0] > 0)[0]
        value[y, x, 0] += 1
    cv2.imwrite(str(path), value, [cv2.IMWRITE_PNG_COMPRESSION, 9])


def in_npy(path: Path, *, change: bool) -> None:
    value = np.load(path)
    value.flat[0] = np.nextafter(value.flat[0], 9) if change else value.flat[0]
    np.save(path, value)


def in_npz(path: Path, *, change: bool) -> None:
    with np.load(path) as file:
        value = {name: file[name] for name in file.files}
    blobs = [bytearray(zlib.decompress(b)) for b in split_blobs(value["surfaces"], value["surface_first"])]
    if change:
        blobs[0][0] ^= 1
    value["surfaces"], value["surface_first"] = join_blobs([zlib.compress(b, 1) for b in blobs])
    np.savez_compressed(path, **value)


def in_tar(path: Path, *, change: bool) -> None:
    shards = Shards(path.parent)
    samples = {shards.key(i): dict(shards.members(i)) for i in range(len(shards))}
    first = next(iter(samples.values()))
    vertices = np.load(io.BytesIO(first["vertices.npy"]))
    vertices.flat[0] += change
    out = io.BytesIO()
    np.save(out, vertices)
    first["vertices.npy"] = out.getvalue()
    first["image.png"] = first["mask.png"]  # pictures are no labels
    path.unlink()
    with ShardWriter(path.parent) as writer:
        for key, members in samples.items():
            writer.write(key, members)


LABELS = {
    "annotations/instances_val2017.json": ("passersby-coco", "annotations/instances_val2017.json", in_json),
    "passersby/**/*.png": ("passersby-video", "passersby/surfaces/all/0000/000003.png", in_png),
    "train/landmarks.npy": ("passersby-fdf", "train/landmarks.npy", in_npy),
    "annotations/query.npz surfaces": ("passersby-reid", "annotations/query.npz", in_npz),
    "val/*.vertices.npy": ("passersby-fdh", "val/out-000000.tar", in_tar),
}


@pytest.mark.parametrize("kind", LABELS)
def test_one_other_value_is_found_and_another_way_of_writing_is_none(copied, kind, caplog):
    name, file, rewrite = LABELS[kind]
    made = copied(name)
    rewrite(made.root / file, change=False)
    sign(made)
    made.verify()
    assert caplog.records == []
    rewrite(made.root / file, change=True)
    sign(made)
    assert made.own_labels() == [kind]
    with caplog.at_level(logging.WARNING):
        made.verify()
    assert f"Labels of {made.root.name} are not those that other machines make: {kind}." in caplog.text


def test_verify_says_so_and_fails(copied):
    made = copied("passersby-fdf")
    words = ["data", "verify", "passersby-fdf", "--size", "smoke"]
    assert CliRunner().invoke(app, words).exit_code == 0
    in_npy(made.root / "val" / "landmarks.npy", change=True)
    sign(made)
    told = CliRunner().invoke(app, words, env={"COLUMNS": "200"})
    assert told.exit_code == 1
    assert "is as it was made, with labels of its own: val/landmarks.npy." in told.output
    # a manifest of before labels were hashed
    manifest = json.loads((made.root / "manifest.json").read_text())
    del manifest["labels"]
    (made.root / "manifest.json").write_text(json.dumps(manifest))
    assert made.own_labels() == ["val/landmarks.npy"]
    assert "labels" in json.loads((made.root / "manifest.json").read_text())


OLDER = {
    "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR AVX2 FMA3 AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL",
    "OPENBLAS_CORETYPE": "Nehalem",
    "NUMBA_CPU_NAME": "nehalem",
    "OPENCV_IPP": "disabled",
    "OPENCV_CPU_DISABLE": "AVX,AVX2,FMA3,FP16,AVX512-SKX,AVX512-ICL",
}
"""Makes NumPy, OpenBLAS, Numba and OpenCV compute as on a processor of 2008, in other orders and without fused operations."""


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="such processors are x86-64")
def test_an_older_processor_makes_the_same_labels(tmp_path):
    environment = {
        **os.environ, **OLDER, "PYTHONWARNINGS": "ignore",
        "DP2BENCH_CACHE": str(tmp_path), "NUMBA_CACHE_DIR": str(tmp_path / "numba"),
    }  # fmt: skip
    for words in (["make", "--size", "smoke"], ["verify"]):
        done = subprocess.run(
            [sys.executable, "-m", "dp2bench", "data", *words],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("is as it was made.") == len(NAMES)
