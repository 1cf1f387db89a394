"""Files are whole or not there; what was there before stays until then."""

from __future__ import annotations

import errno
import os
import shutil

import pytest

from dp2bench.core.errors import Dp2benchError
from dp2bench.core.files import copy_file, flush_to_disk, link_or_copy, write_bytes


def test_written_copied_and_linked(tmp_path):
    source = tmp_path / "a"
    write_bytes(source, b"one")
    write_bytes(source, b"two")
    copy_file(source, tmp_path / "deep" / "b")
    link_or_copy(source, tmp_path / "deep" / "c")
    link_or_copy(source, tmp_path / "deep" / "c")
    flush_to_disk(source)
    assert [p.read_bytes() for p in sorted(tmp_path.rglob("*")) if p.is_file()] == [b"two"] * 3
    assert (tmp_path / "deep" / "c").samefile(source)
    assert not (tmp_path / "deep" / "b").samefile(source)
    assert len([p for p in tmp_path.rglob("*") if p.is_file()]) == 3, "nothing else is left"


def test_a_copy_where_the_disk_knows_no_links(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EXDEV, "another disk")

    monkeypatch.setattr(os, "link", refuse)
    write_bytes(tmp_path / "a", b"one")
    link_or_copy(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b"one"
    assert not (tmp_path / "b").samefile(tmp_path / "a")


def test_a_failed_copy_keeps_the_old_file_and_leaves_nothing(tmp_path, monkeypatch):
    def full(source, target):
        target.write_bytes(b"ha")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    write_bytes(tmp_path / "a", b"new")
    write_bytes(tmp_path / "b", b"old")
    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(Dp2benchError, match=r"/b cannot be written: no space is left"):
        copy_file(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 2
