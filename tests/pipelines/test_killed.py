"""`dp2bench anonymize` killed anywhere, and begun again: the bytes of a run that nobody disturbed, and no half of a file."""

from __future__ import annotations

import hashlib
import json
import os
import random
import runpy
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

pytestmark = pytest.mark.e2e
ENVIRONMENT = os.environ | {"COLUMNS": "80", "OMP_NUM_THREADS": "1"}
PICTURES = 14

# Starts commands as children that have imported everything already, and kills them: at the nth call of one of the operations that change
# the disk, before or after it (no clock is that exact), or after so many seconds.
STARTER = """
import json, os, pathlib, shutil, signal, sys, time
import av, cv2, numpy, PIL.Image
import dp2bench.cli.main, dp2bench.core.images, dp2bench.datasets.folder, dp2bench.datasets.market1501, dp2bench.pipelines.anonymize
import dp2bench.pipelines.video, dp2bench.baselines.blur, dp2bench.detection.full_image
def run(command, at, after):
    count = 0
    def counted(function):
        def call(*args, **kwargs):
            nonlocal count
            count += 1
            if count == at and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            out = function(*args, **kwargs)
            if count == at:
                os.kill(os.getpid(), signal.SIGKILL)
            return out
        return call
    for owner, names in ((os, ("replace", "rename", "unlink", "mkdir")), (pathlib.Path, ("write_bytes", "write_text", "replace")),
                         (shutil, ("rmtree", "copyfile"))):
        for name in names:
            setattr(owner, name, counted(getattr(owner, name)))
    sys.argv = ["dp2bench", *command]
    code = 0
    try:
        dp2bench.cli.main.main()
    except SystemExit as error:
        code = error.code or 0
    pathlib.Path("../operations").open("w").write(str(count))
    os._exit(code)
for line in sys.stdin:
    job = json.loads(line)
    child = os.fork()
    if not child:
        os.chdir(job["cwd"])
        log = os.open("../log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1); os.dup2(log, 2)
        run(job["command"], job.get("at", -1), job.get("after", 0))
    if "seconds" in job:
        time.sleep(job["seconds"])
        os.kill(child, signal.SIGKILL)
    begun = time.perf_counter()
    status = os.waitpid(child, 0)[1]
    print(json.dumps([os.waitstatus_to_exitcode(status), time.perf_counter() - begun]), flush=True)
"""


class Starter:
    """Runs `dp2bench` again and again in processes of their own."""

    def __init__(self, folder: Path) -> None:
        script = folder / "starter.py"
        script.write_text(STARTER)
        self._process = subprocess.Popen(
            [sys.executable, str(script)],
            env=ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, command: list[str], cwd: Path, **kill: float) -> tuple[int, float]:
        """Exit code (negative for a signal) and seconds; ``kill`` is ``at`` and ``after``, or ``seconds``."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"command": command, "cwd": str(cwd), **kill}) + "\n")
        self._process.stdin.flush()
        code, seconds = json.loads(self._process.stdout.readline())
        return code, seconds

    def close(self) -> None:
        """Wait until it has ended."""
        self._process.communicate()


@pytest.fixture
def starter(tmp_path):
    pytest.importorskip("av", reason='videos need `pip install "dp2bench[video]"`')
    started = Starter(tmp_path)
    yield started
    started.close()


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


def _undisturbed(starter: Starter, kind: str, folder: Path) -> tuple[dict[str, str], list[str], int, float]:
    """Digests, command, operations on the disk and seconds of a run that nobody disturbs."""
    made, root = folder / "input", folder / "whole" / "root"
    made.mkdir(parents=True)
    command = KINDS[kind](made)
    shutil.copytree(made, root)
    code, seconds = starter.run(command, root)
    assert code == 0, (folder / "whole" / "log").read_text()
    return _bytes(root), command, int((folder / "whole" / "operations").read_text()), seconds


def _finish(starter: Starter, command: list[str], root: Path, expected: dict[str, str]) -> None:
    if _bytes(root) == expected:  # it was killed after the last thing it does
        return
    for path in root.rglob("*"):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(root).parts):
            _whole(path)
    code, _ = starter.run(command, root)
    assert code == 0, (root.parent / "log").read_text()
    assert _bytes(root) == expected


def _killed(
    starter: Starter, kind: str, folder: Path, at_operations: int, by_the_clock: int, seed: int
) -> None:
    expected, command, operations, seconds = _undisturbed(starter, kind, folder)
    assert operations > 10
    rng = random.Random(seed)
    for k in range(at_operations + by_the_clock):
        root = folder / f"killed{k}" / "root"
        shutil.copytree(folder / "input", root)
        for _ in range(rng.choice((1, 1, 2))):
            at = {"at": rng.randint(1, operations), "after": rng.randint(0, 1)}
            kill = at if k < at_operations else {"seconds": rng.uniform(0, 1) * seconds}
            code, _ = starter.run(command, root, **kill)
            assert code in {-signal.SIGKILL, 0, 2}  # 2: it was whole already, and the folder is not empty
        _finish(starter, command, root, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_killed_and_gone_on_with(starter, kind, tmp_path):
    _killed(starter, kind, tmp_path / "runs", 3, 1, seed=0)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", KINDS)
def test_killed_a_hundred_times(starter, kind, tmp_path):
    """Over the three kinds: 105 runs are killed, every third of them twice."""
    _killed(starter, kind, tmp_path / "runs", 28, 7, seed=1)
