"""What every registered dataset must do, on its smallest size; one that needs a folder gets a rendered one of its layout."""

from __future__ import annotations

import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest

from dp2bench.core import registry
from dp2bench.core.contracts import Dataset
from dp2bench.core.errors import DatasetError
from dp2bench.core.images import write_image
from dp2bench.core.people_io import load_people, save_people
from dp2bench.core.types import People

NAMES = registry.names("datasets")
RENDERED = {name: registry.load("datasets", name) for name in NAMES if name.startswith("passersby-")}
_OWN = runpy.run_path(str(Path(__file__).parents[1] / "datasets" / "own_data.py"))
BUILT = {
    "msmt17": (_OWN["msmt17"], {"official": False}),
    "dukemtmc-reid": (_OWN["dukemtmc_reid"], {"official": False}),
    "cuhk03": (_OWN["cuhk03"], {"official": False}),
    "coco-json": (_OWN["nuimages"], _OWN["NUIMAGES"]),
}
"""Tiny ones in official layouts that nothing is rendered in."""
_OTHER_ARGUMENTS = {name: {"official": False} for name in ("market1501", "coco", "cityscapes")}


def make(name: str, tmp: Path) -> Dataset:
    if registry.load("datasets", name).layout == "video":
        pytest.importorskip("av", reason="PyAV is not installed")
    if name in RENDERED:
        data: Dataset = RENDERED[name](size="smoke")
        data.prepare()
        return data
    kind = registry.load("datasets", name)
    root = tmp / "given"
    if name in BUILT:
        build, arguments = BUILT[name]
        return kind(root=build(root), **arguments)
    if kind.layout in {"folder", "video"}:
        r = np.random.default_rng(0)
        for i in range(3):
            write_image(root / f"{i}.png", r.integers(0, 256, (20, 30, 3), np.uint8))
        return kind(root=root)
    rendered = [n for n, k in RENDERED.items() if k.layout == kind.layout]
    if not rendered:
        pytest.skip(f"nothing is rendered in the layout {kind.layout}")
    return kind(root=make(rendered[0], tmp).root, **_OTHER_ARGUMENTS.get(name, {}))


@pytest.fixture(params=NAMES)
def data(request, tmp_path, rendered_cache, monkeypatch) -> Dataset:
    monkeypatch.setenv("DP2BENCH_CACHE", str(rendered_cache))
    return make(request.param, tmp_path)


def everything(data: Dataset):
    return [(split, sample) for split in data.meta.splits for sample in data.samples(split)]


def test_samples_have_a_fixed_order_and_names_of_their_own(data):
    again = data.open(data.root)
    assert data.meta.splits
    for split in data.meta.splits:
        ids = [s.id for s in data.samples(split)]
        assert ids
        assert len(set(ids)) == len(ids)
        assert ids == [s.id for s in again.samples(split)]
        assert not any(Path(i).is_absolute() or ".." in Path(i).parts for i in ids)


def test_pictures_are_pictures_and_people_fit_them(data):
    for _, sample in everything(data)[:6]:
        image = data.read(sample)
        assert image.dtype == np.uint8
        assert image.ndim == 3
        h, w = image.shape[:2]
        people = data.people(sample)
        if people is None:
            continue
        assert (people.boxes[:, 2:] >= people.boxes[:, :2]).all()
        assert (people.boxes >= 0).all()
        assert (people.boxes <= [w, h, w, h]).all()
        if people.masks is not None:
            assert people.masks.shape == (len(people), h, w)
        if people.keypoints is not None:
            known = people.keypoints[people.keypoints[..., 2] > 0]
            assert (known[:, :2] >= 0).all()
            assert (known[:, :2] <= [w, h]).all()
        for surface in people.surfaces:
            if surface is not None:
                x0, y0, x1, y1 = surface.box
                assert surface.vertices.shape == (y1 - y0, x1 - x0)
                assert surface.vertices.dtype == np.int32


def test_people_survive_the_disk(data, tmp_path):
    _, sample = everything(data)[0]
    people = data.people(sample)
    if people is None:
        pytest.skip("no annotated people")
    save_people(tmp_path / "people.npz", [(sample.id, people)])
    read: People = load_people(tmp_path / "people.npz")[sample.id]
    np.testing.assert_array_equal(read.boxes, people.boxes)
    np.testing.assert_array_equal(read.masks, people.masks)


def test_an_unknown_split_is_an_error_that_names_it(data):
    with pytest.raises(DatasetError, match="nonsense"):
        data.samples("nonsense")


def test_verify_accepts_it_and_refuses_an_empty_folder(data, tmp_path):
    data.verify()
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError):
        data.open(tmp_path / "empty").verify()


def test_a_rewritten_copy_has_the_layout_the_labels_and_the_handed_pictures(data, tmp_path):
    handed = [(split, s.id, 255 - data.read(s)) for split, s in everything(data)]
    copy = data.rewrite(tmp_path / "copy", iter(handed))
    assert copy.layout == data.layout
    assert copy.meta.splits == data.meta.splits
    lossy = copy.layout in {"market1501", "msmt17", "dukemtmc-reid", "coco", "coco-json", "video"}
    for split in data.meta.splits:
        assert [(s.id, dict(s.labels)) for s in copy.samples(split)] == [
            (s.id, dict(s.labels)) for s in data.samples(split)
        ]
    for split, sample in everything(copy)[:4]:
        before = next(image for s, i, image in handed if (s, i) == (split, sample.id))
        difference = np.abs(copy.read(sample).astype(int) - before).mean()
        assert difference < (12 if lossy else 1e-9)
    assert copy.fingerprint() != data.fingerprint()
    first = everything(data)[0][1]
    a, b = data.people(first), copy.people(everything(copy)[0][1])
    assert (a is None) == (b is None)
    if a is not None and b is not None:
        np.testing.assert_array_equal(a.boxes, b.boxes)


def test_the_fingerprint_follows_the_pictures_and_not_the_place(data, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(data.root, moved)
    assert data.open(moved).fingerprint() == data.fingerprint()


def test_meta_says_what_it_is(data):
    assert data.meta.name
    assert data.meta.version
    assert data.meta.licence
    assert data.layout


def test_pictures_written_one_by_one_are_those_of_a_rewritten_copy(data, tmp_path):
    """As workers do: `write` puts the files there, and `rewrite` is handed None."""
    samples = everything(data)
    if data.written(tmp_path, *samples[0]) is None:
        pytest.skip("it does not write picture by picture")
    data.rewrite(tmp_path / "whole", [(split, s.id, 255 - data.read(s)) for split, s in samples])

    def written():
        for split, sample in samples:
            data.write(tmp_path / "single", split, [sample], [255 - data.read(sample)])
            yield split, sample.id, None

    data.rewrite(tmp_path / "single", written())
    whole, single = (
        {
            # a label file may name its own folder
            p.relative_to(root): p.read_bytes().replace(str(root).encode(), b"")
            for p in root.rglob("*")
            if p.is_file()
        }
        for root in (tmp_path / "whole", tmp_path / "single")
    )
    assert whole == single
