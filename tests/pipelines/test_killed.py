"""`dp2bench anonymize` killed anywhere, and begun again: the bytes of a run that nobody disturbed, and no half of a file."""

from __future__ import annotations

import hashlib
import os
import random
import runpy
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

pytestmark = pytest.mark.e2e
ENVIRONMENT = os.environ | {"COLUMNS": "80", "OMP_NUM_THREADS": "1"}
PICTURES = 14

# Kills itself at the nth call of one of the operations that change the disk, before or after it: no clock is that exact.
KILLED_AT = """
import builtins, os, pathlib, signal, sys
at, after = int(sys.argv[1]), int(sys.argv[2])
del sys.argv[1:3]
count = 0
def counted(function):
    def call(*args, **kwargs):
        global count
        count += 1
        if count == at and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        out = function(*args, **kwargs)
        if count == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return out
    return call
from dp2bench.cli.main import main
import dp2bench.core.images, shutil, json
for owner, names in ((os, ("replace", "rename", "unlink", "mkdir")), (pathlib.Path, ("write_bytes", "write_text", "replace")),
                     (shutil, ("rmtree", "copyfile"))):
    for name in names:
        setattr(owner, name, counted(getattr(owner, name)))
try:
    main()
finally:
    print("operations", count, file=sys.stderr)
"""


def _pictures(root: Path) -> list[str]:
    rng = np.random.default_rng(0)
    (root / "in" / "deep").mkdir(parents=True)
    for i in range(PICTURES):
        Pillow.fromarray(rng.integers(0, 255, (60, 80, 3), dtype=np.uint8)).save(
            root / "in" / "deep" / f"{i:02d}.png"
        )
    frames = [Pillow.fromarray(rng.integers(0, 255, (20, 30, 3), dtype=np.uint8)) for _ in range(3)]
    frames[0].save(root / "in" / "pages.tif", save_all=True, append_images=frames[1:])
    return ["anonymize", "in", "out", "-m", "blur", "--detector", "full-image"]


def _dataset(root: Path) -> list[str]:
    rng = np.random.default_rng(0)
    for folder, people in (("bounding_box_train", (1, 2)), ("bounding_box_test", (3, 4)), ("query", (3, 4))):
        (root / "in" / folder).mkdir(parents=True)
        for person in people:
            for camera in (1, 2):
                picture = Pillow.fromarray(rng.integers(0, 255, (128, 64, 3), dtype=np.uint8))
                picture.save(root / "in" / folder / f"{person:04d}_c{camera}s1_000001_01.jpg")
    return [
        *("anonymize", "in", "out", "--dataset", "market1501", "--subset"),
        *("-m", "blur", "--detector", "full-image"),
    ]


def _video(root: Path) -> list[str]:
    clips = runpy.run_path(str(Path(__file__).parents[1] / "datasets" / "clips.py"))
    clips["make"](root / "in.mp4", 40)
    (root / "out").mkdir()
    return ["anonymize", "in.mp4", "out/out.mp4", "-m", "blur", "--detector", "full-image"]


KINDS: dict[str, Callable[[Path], list[str]]] = {"folder": _pictures, "dataset": _dataset, "video": _video}


def _start(command: list[str], cwd: Path, *prefix: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *prefix, *command],
        cwd=cwd,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _bytes(root: Path) -> dict[str, str]:
    """Digest of every file under OUT and of every hidden one beside it."""
    return {
        p.relative_to(root).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(root.rglob("*"))
        if p.is_file() and not p.is_relative_to(root / "in") and p != root / "in.mp4"
    }


def _whole(path: Path) -> None:
    """A file under its own name can be read to its end."""
    if path.suffix in {".png", ".jpg", ".tif"}:
        with Pillow.open(path) as picture:
            for page in range(getattr(picture, "n_frames", 1)):
                picture.seek(page)
                picture.load()
    elif path.suffix == ".mp4":
        from dp2bench.datasets.video import Video

        assert len(list(Video(path))) == 40


def _undisturbed(kind: str, root: Path) -> tuple[dict[str, str], list[str], float]:
    if kind == "video":
        pytest.importorskip("av")
    made = root.with_name("input")
    made.mkdir()
    command = KINDS[kind](made)
    shutil.copytree(made, root)
    begun = time.perf_counter()
    done = _start(command, root, "-m", "dp2bench")
    out, err = done.communicate(timeout=300)
    assert done.returncode == 0, out + err
    return _bytes(root), command, time.perf_counter() - begun


def _finish(command: list[str], root: Path, expected: dict[str, str]) -> None:
    if _bytes(root) == expected:  # it was killed after the last thing it does
        return
    for path in root.rglob("*"):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(root).parts):
            _whole(path)
    done = _start(command, root, "-m", "dp2bench")
    out, err = done.communicate(timeout=300)
    assert done.returncode == 0, out + err
    assert _bytes(root) == expected


def _killed_at_operations(kind: str, tmp_path: Path, count: int, seed: int) -> None:
    expected, command, _ = _undisturbed(kind, tmp_path / "whole")
    counted = tmp_path / "counted"
    shutil.copytree(tmp_path / "input", counted)
    script = tmp_path / "killed_at.py"
    script.write_text(KILLED_AT)
    done = _start(command, counted, str(script), "-1", "0")
    _, err = done.communicate(timeout=300)
    operations = int(err.rsplit("operations", 1)[1])
    assert operations > 10
    rng = random.Random(seed)
    for k in range(count):
        root = tmp_path / f"killed{k}"
        shutil.copytree(tmp_path / "input", root)
        for _ in range(rng.choice((1, 1, 2))):
            at, after = rng.randint(1, operations), rng.randint(0, 1)
            process = _start(command, root, str(script), str(at), str(after))
            process.communicate(timeout=300)
            assert process.returncode in {-signal.SIGKILL, 0}
        _finish(command, root, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_killed_and_gone_on_with(kind, tmp_path):
    _killed_at_operations(kind, tmp_path, 1, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_killed_a_hundred_times(kind, tmp_path):
    """By kind: 24 times at an operation on the disk, 10 times by the clock; with a second kill now and then, over a hundred."""
    _killed_at_operations(kind, tmp_path, 24, seed=1)
    (tmp_path / "clock").mkdir()
    expected, command, seconds = _undisturbed(kind, tmp_path / "clock" / "whole")
    rng = random.Random(2)
    for k in range(10):
        root = tmp_path / f"clock{k}"
        shutil.copytree(tmp_path / "clock" / "input", root)
        process = _start(command, root, "-m", "dp2bench")
        time.sleep(rng.uniform(0.3, 1) * seconds)
        process.kill()
        process.communicate(timeout=300)
        _finish(command, root, expected)
