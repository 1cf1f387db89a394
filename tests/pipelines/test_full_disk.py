"""`dp2bench anonymize` onto a disk that is full or read-only: one message, nothing lost, and the same command goes on."""

from __future__ import annotations

import os
import resource
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

run = runpy.run_path(str(Path(__file__).parents[1] / "cli" / "program.py"))["run"]
INPUTS = runpy.run_path(str(Path(__file__).with_name("inputs.py")))
KINDS, digests, check_whole = INPUTS["KINDS"], INPUTS["digests"], INPUTS["check_whole"]
PAGE = 4096

pytestmark = pytest.mark.e2e


def _mount(*arguments: object) -> None:
    if sys.platform != "linux" or os.geteuid():
        pytest.skip("only root may mount a small disk, and on Linux")
    done = subprocess.run(["mount", *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no disk may be mounted here: {done.stderr.strip()}")


class SmallDisk:
    """A disk in memory of so many bytes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        _mount("-t", "tmpfs", "-o", f"size={PAGE}", "tmpfs", path)

    def resize(self, size: int) -> None:
        _mount("-o", f"remount,size={size}", self.path)

    @property
    def used(self) -> int:
        about = os.statvfs(self.path)
        return (about.f_blocks - about.f_bfree) * about.f_frsize

    def close(self) -> None:
        subprocess.run(["umount", "-l", str(self.path)], check=True)


@pytest.fixture
def small_disk(tmp_path) -> Iterator[SmallDisk]:
    disk = SmallDisk(tmp_path / "disk")
    yield disk
    disk.close()


def _run(command: list[str], cwd: Path) -> tuple[int, str]:
    """Exit code, and what was said in one line."""
    done = run(*command, cwd=cwd)
    said = " ".join((done.stdout + done.stderr).split())
    assert "Traceback" not in said
    return done.returncode, said


def _prepared(kind: str, root: Path, out: str) -> list[str]:
    """The input below ``root``; the command with its OUT below another folder."""
    root.mkdir()
    return [f"{out}/{word}" if word.startswith("out") else word for word in KINDS[kind](root)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_disk_that_becomes_full(small_disk, tmp_path, kind):
    pytest.importorskip("av", reason='videos need `pip install "dp2bench[video]"`')
    work = tmp_path / "work"
    command = _prepared(kind, work, "../disk")
    before = digests(tmp_path / "work" / "in") | digests(tmp_path / "work")

    def begin() -> None:
        for path in small_disk.path.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        if kind == "video":
            (small_disk.path / "out").mkdir()

    small_disk.resize(64 << 20)
    begin()
    code, said = _run(command, work)
    assert code == 0, said
    expected, size = digests(small_disk.path), small_disk.used
    assert expected
    for share in (0.0, 0.2, 0.45, 0.7, 0.95):
        begin()
        small_disk.resize(PAGE * max(1, int(share * size / PAGE)))
        code, said = _run(command, work)
        assert code == 2, said
        assert "no space is left. What to do: Free space on that disk" in said
        assert "disk/" in said, "it is named which file"
        check_whole(small_disk.path)
        small_disk.resize(64 << 20)
        code, said = _run(command, work)
        assert code == 0, said
        assert digests(small_disk.path) == expected
    assert digests(tmp_path / "work" / "in") | digests(tmp_path / "work") == before


def test_a_disk_that_becomes_full_while_a_camera_records(small_disk, tmp_path):
    pytest.importorskip("av", reason='videos need `pip install "dp2bench[video]"`')
    camera = ["anonymize", "lavfi:testsrc2=size=320x240:rate=10", "disk/safe.mp4", "--end", "2"]
    small_disk.resize(20 * PAGE)
    code, said = _run([*camera, "-m", "blur", "--detector", "full-image"], tmp_path)
    assert code == 2, said
    assert "no space is left" in said
    assert not list(small_disk.path.iterdir()), "nothing of the recording is left"


@pytest.mark.parametrize("kind", KINDS)
def test_a_target_that_is_read_only(tmp_path, kind):
    pytest.importorskip("av", reason='videos need `pip install "dp2bench[video]"`')
    target = tmp_path / "disk"
    target.mkdir()
    work = tmp_path / "work"
    command = _prepared(kind, work, "../disk")
    if kind == "video":
        (target / "out").mkdir()
        (target / "out" / "out.mp4").write_text("an older file")
    _mount("--bind", target, target)
    try:
        _mount("-o", "remount,ro,bind", target)
        code, said = _run(command, work)
        assert code == 2, said
        assert "the file system is read-only. What to do: Choose a folder on another file system." in said
        assert "disk/" in said
        left = {p.relative_to(target).as_posix() for p in target.rglob("*")}
        assert left == ({"out", "out/out.mp4"} if kind == "video" else set())
    finally:
        subprocess.run(["umount", "-l", str(target)], check=True)
    code, said = _run(command, work)
    assert code == 0, said
    check_whole(target)


@pytest.mark.parametrize("kind", KINDS)
def test_a_limit_for_the_size_of_files(tmp_path, kind):
    """As FAT32 has one; needs no rights, so that it runs everywhere."""
    pytest.importorskip("av", reason='videos need `pip install "dp2bench[video]"`')
    work = tmp_path / "work"
    command = _prepared(kind, work, ".")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (900, limits[1]))
    try:
        code, said = _run(command, work)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert code == 2, said
    assert "larger than the file system or a limit of this machine allows" in said
    check_whole(work / "out") if (work / "out").exists() else None
    code, said = _run(command, work)
    assert code == 0, said
    check_whole(work / "out")
