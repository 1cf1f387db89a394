"""Nothing in a folder is left out without a word."""

import io
import os
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PILImage

from dp2bench.core.errors import DatasetError
from dp2bench.core.listing import Paths, list_files, list_pictures, said_of_others


def _bytes(form="JPEG"):
    out = io.BytesIO()
    PILImage.fromarray(np.zeros((8, 8, 3), np.uint8)).save(out, form)
    return out.getvalue()


def _put(root, **files):
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def names(root, paths):
    return [p.relative_to(root).as_posix() for p in paths]


def test_pictures_videos_and_the_rest(tmp_path):
    film = b"\0\0\0\x18ftypmp42" + bytes(400)
    packets = (b"\x47" + bytes(187)) * 3
    files = {
        **dict.fromkeys(("a.JPG", "b.jfif", "c.gif", "d.heic", "sub/e.tif", "f.tga"), b"x"),
        "without": _bytes(),
        "odd.jpg_large": _bytes("PNG"),
        "half.part": _bytes("WEBP"),
        "film.MOV": b"x",
        "sub/g.mkv": b"x",
        "stream.ts": packets,
        "code.ts": b"const a = 1",
        "raw.DNG": b"x",
        "drawing.psd": b"x",
        "h.jxl": b"x",
        "phone.lrv": film,
        "download": film,
        "notes.txt": b"x",
        "side.xmp": b"x",
        "more.txt": b"x",
        "voice.m4a": b"\0\0\0\x18ftypM4A ",
        "Thumbs.db": b"x",
        ".DS_Store": b"x",
        "._a.JPG": b"x",
        ".hidden.png": b"x",
        ".cache/x.png": b"x",
        ".git/y": b"x",
    }
    _put(tmp_path, **files)
    found = list_files(tmp_path)
    assert names(tmp_path, found.pictures) == [
        *(
            "a.JPG",
            "b.jfif",
            "c.gif",
            "d.heic",
            "f.tga",
            "half.part",
            "odd.jpg_large",
            "sub/e.tif",
            "without",
        ),
    ]
    assert names(tmp_path, found.videos) == ["film.MOV", "stream.ts", "sub/g.mkv"]
    left = "\n".join(found.left_out)
    for name in ("raw.DNG", "drawing.psd", "h.jxl", "phone.lrv", "download", ".hidden.png", ".cache"):
        assert name in left
    assert len(found.left_out) == 7
    assert found.others == {".txt": 2, ".xmp": 1, ".ts": 1, ".m4a": 1}
    assert said_of_others(found.others).startswith("5 (.txt 2, ")


def test_links_are_followed_once(tmp_path):
    inside, outside = tmp_path / "in", tmp_path / "elsewhere"
    _put(inside, **{"a.jpg": b"x", "deep/b.jpg": b"x"})
    _put(outside, **{"c.jpg": b"x", "deeper/d.jpg": b"x"})
    (inside / "aa_again").symlink_to(inside / "deep")
    (inside / "album").symlink_to(outside)
    (inside / "loop").symlink_to(inside)
    (outside / "back").symlink_to(outside)
    (inside / "dangling.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (inside / "one.jpg").symlink_to(outside / "c.jpg")
    found = list_files(inside)
    assert names(inside, found.pictures) == [
        "a.jpg",
        "album/c.jpg",
        "album/deeper/d.jpg",
        "deep/b.jpg",
        "one.jpg",
    ]
    left = "\n".join(found.left_out)
    for name in ("aa_again", "loop", "back", "dangling.jpg is a link that leads nowhere"):
        assert name in left
    assert len(found.left_out) == 4
    assert [link.name for link, _ in found.linked] == ["album", "one.jpg"]


def test_names_that_are_no_text(tmp_path):
    for name in (b"caf\xe9.jpg", b"new\nline.jpg", b"\x1b[31mred.jpg"):
        (tmp_path / os.fsdecode(name)).write_bytes(b"x")
    assert len(list_files(tmp_path).pictures) == 3


def test_what_is_no_folder_or_holds_nothing(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(DatasetError, match="does not exist"):
        list_files(tmp_path / "none")
    with pytest.raises(DatasetError, match="is a file"):
        list_files(tmp_path / "a.txt")
    with pytest.raises(DatasetError, match="no pictures"):
        list_pictures(tmp_path)


@given(st.sets(st.text("ab.-/0é", min_size=1, max_size=8).map(lambda name: f"x/{name}y.jpg")))
@settings(max_examples=60, deadline=None)
def test_pictures_come_in_the_order_of_their_names(written):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        for name in written:
            path = root / name
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"x")
            except OSError:  # a part of it is a file
                continue
        shown = [
            path.relative_to(root).as_posix()
            for path in root.rglob("*.jpg")
            if path.is_file() and not any(part.startswith(".") for part in path.relative_to(root).parts)
        ]
        assert names(root, list_files(root).pictures) == sorted(shown)


@given(st.lists(st.text(min_size=1)))
def test_paths_are_those_of_their_names(given_names):
    root = Path("root")
    paths = Paths(root, given_names)
    assert list(paths.names()) == given_names
    assert list(paths) == paths[:] == [root / name for name in given_names]
    assert len(paths) == len(given_names)
    if given_names:
        assert paths[-1] == root / given_names[-1]
    with pytest.raises(IndexError):
        paths[len(given_names)]


def test_a_path_takes_few_bytes(tmp_path):
    tracemalloc.start()
    try:
        paths = Paths(tmp_path, (f"{k // 1000:04d}/{k:07d}.jpg" for k in range(20_000)))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(paths) == 20_000
    assert held < 40 * len(paths)
