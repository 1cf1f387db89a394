"""`--workers 2` gives what one process gives, and says so when a worker dies."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from dp2bench.core.errors import Dp2benchError
from dp2bench.core.machine import threads_each
from dp2bench.core.paths import begun_with
from dp2bench.core.types import Sample, SampleId
from dp2bench.core.workers import Worker, WorkerDied
from dp2bench.pipelines.stream import File
from dp2bench.pipelines.workers import Component, Job, in_workers

ENVIRONMENT = os.environ | {"COLUMNS": "100", "OMP_NUM_THREADS": "1"}

METHOD = """
import os, signal, sys, time
import numpy as np
from dp2bench.core.contracts import MethodMeta
from dp2bench.core.types import Anonymized, Missed

class Mirrors:
    '''Mirrors pictures; whoever is in a red one is missed, a green one fails, in a blue one the process is killed (once).'''
    def __init__(self, seconds=0.0):
        self.meta = MethodMeta("mirrors", scope="image", description="Mirrors.", deterministic=False)
        self.seconds = seconds

    def anonymize(self, image, people, *, seed):
        print("this is no message")
        time.sleep(self.seconds)
        red, green, blue = image[0, 0].tolist()
        missed = ()
        if (red, green, blue) == (255, 0, 0):
            missed = (Missed(0, "it is red"),)
        if (red, green, blue) == (0, 255, 0):
            raise KeyError("green")
        if (red, green, blue) == (0, 0, 255) and not os.path.exists("killed"):
            open("killed", "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        out = image[:, ::-1] ^ np.uint8(seed % 251 + 1)
        return Anonymized(np.ascontiguousarray(out), np.ones(image.shape[:2], bool), missed)
"""


def make(root: Path, n: int, special: dict[int, tuple[int, int, int]] | None = None) -> None:
    """A folder ``in`` with ``n`` pictures, and a module ``own`` with a method."""
    rng = np.random.default_rng(0)
    (root / "in" / "deep").mkdir(parents=True)
    (root / "own.py").write_text(METHOD)
    for i in range(n):
        pixels = rng.integers(0, 255, (int(rng.integers(20, 60)), 40, 3), dtype=np.uint8)
        pixels[0, 0] = (special or {}).get(i, (9, 9, 9))
        Pillow.fromarray(pixels).save(root / "in" / "deep" / f"{i:05d}.png")


def start(root: Path, *command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "dp2bench", *command],
        cwd=root,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # a shell's background job ignores it
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def run(root: Path, *command: str) -> tuple[int, str, str]:
    process = start(root, *command)
    out, error = process.communicate(timeout=300)
    return process.returncode, out, error


def files(root: Path) -> dict[str, str]:
    return {
        p.relative_to(root).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(root.rglob("*"))
        if p.is_file()
    }


COMMAND = ("-m", "own:Mirrors", "--detector", "full-image")


@pytest.mark.e2e
def test_two_workers_make_what_one_makes(tmp_path):
    make(tmp_path, 40, {7: (255, 0, 0), 20: (0, 255, 0)})
    frames = [Pillow.fromarray(np.full((20, 30, 3), v, np.uint8)) for v in (10, 20, 30)]
    frames[0].save(tmp_path / "in" / "pages.tif", save_all=True, append_images=frames[1:])
    whole = (tmp_path / "in" / "deep" / "00003.png").read_bytes()
    (tmp_path / "in" / "deep" / "00003.png").write_bytes(whole[: len(whole) // 2])
    seen = {}
    for workers in ("1", "2"):
        out = f"out{workers}"
        command = ("anonymize", "in", out, *COMMAND, "--workers", workers, "--preview", f"look{workers}")
        code, said, error = run(tmp_path, *command)
        assert code == 1, error
        seen[workers] = (
            files(tmp_path / out),
            files(tmp_path / f"look{workers}"),
            said.replace("this is no message\n", "").replace(out, "out"),
        )
    assert seen["1"] == seen["2"]
    written, looks, said = seen["2"]
    assert len(written) == 39
    assert len(looks) == 41
    assert "it is red" in said
    assert "green" in said
    assert "00003.png" in said


@pytest.mark.e2e
def test_two_workers_find_what_one_finds(tmp_path):
    make(tmp_path, 20)
    for workers in ("1", "2"):
        command = ("detect", "in", "--detector", "full-image", "--workers", workers, "-o", f"{workers}.json")
        code, _, error = run(tmp_path, *command)
        assert code == 0, error
    one, two = (json.loads((tmp_path / f"{w}.json").read_text()) for w in ("1", "2"))
    assert len(one["annotations"]) == 20
    assert one == two


@pytest.mark.e2e
def test_a_worker_that_is_killed_is_told_and_gone_on_from(tmp_path):
    make(tmp_path, 80, {70: (0, 0, 255)})
    command = ("anonymize", "in", "out", *COMMAND, "--workers", "2")
    code, _, error = run(tmp_path, *command, "--threads", "3")
    assert code == 2
    error = " ".join(error.split())
    assert "was killed (signal 9)" in error
    assert "00070.png" in error
    assert "goes on where it stopped" in error
    assert "fewer workers" in error
    begun = {p.name for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert all(name.endswith((".png", ".jsonl")) for name in begun), "no half of a file"
    assert begun_with(tmp_path / "out")["threads"] == 3
    code, said, error = run(tmp_path, *command[:-1], "1")  # with other threads it would be refused
    assert code == 0, error
    assert "Going on" in said
    (tmp_path / "alone").mkdir()
    code, _, _ = run(tmp_path, "anonymize", "in", "alone", *COMMAND)
    assert code == 0
    assert files(tmp_path / "out") == files(tmp_path / "alone")


@pytest.mark.slow
@pytest.mark.e2e
def test_ctrl_c_keeps_what_is_finished_and_ends_the_workers(tmp_path):
    make(tmp_path, 60)
    command = ("anonymize", "in", "out", *COMMAND, "-a", "seconds=0.2", "--workers", "2")
    process = start(tmp_path, *command)
    while len(list((tmp_path / "out").rglob("*.png"))) < 6:
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process
    out, error = process.communicate(timeout=60)
    assert process.returncode == 130, out + error
    assert "goes on from here" in out
    written = files(tmp_path / "out")
    assert not any(".dp2b" in Path(name).name and not name.endswith(".jsonl") for name in written)
    time.sleep(0.5)
    assert files(tmp_path / "out") == written, "nobody goes on"
    code, said, error = run(tmp_path, *command)
    assert code == 0, error
    assert "Going on" in said
    assert len(list((tmp_path / "out").rglob("*.png"))) == 60


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.e2e
def test_ten_thousand_pictures_killed_twice_are_those_of_a_quiet_run(tmp_path):
    make(tmp_path, 10_000)
    begun = time.perf_counter()
    assert run(tmp_path, "anonymize", "in", "quiet", *COMMAND)[0] == 0
    seconds = time.perf_counter() - begun
    rng = random.Random(0)
    command = ("anonymize", "in", "out", *COMMAND, "--workers", "2")
    for k in range(2):
        process = start(tmp_path, *command)
        before = len(list((tmp_path / "out").rglob("*.png"))) if k else 0
        while len(list((tmp_path / "out").rglob("*.png"))) < before + 500:
            assert process.poll() is None
            time.sleep(0.1)
        time.sleep(rng.uniform(0, seconds / 8))
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        time.sleep(1)
    assert 1000 < len(list((tmp_path / "out").rglob("*.png"))) < 10_000
    code, said, error = run(tmp_path, *command)
    assert code == 0, error
    assert "Going on" in said
    assert files(tmp_path / "out") == files(tmp_path / "quiet")


def test_a_worker_answers_and_ends_when_it_is_told():
    worker = Worker(len, threads=3)  # which a channel has not, so that it fails at once
    with pytest.raises(WorkerDied):
        worker.receive()
    error = worker.died("a.png", "Do it again.")
    assert isinstance(error, Dp2benchError)
    assert "exit status 1 while it worked on a.png" in str(error)
    assert "Do it again." in str(error)
    worker.stop(now=True)


def test_a_job_that_cannot_begin_says_why():
    job = Job(Component("datasets", "folder", {"root": Path("x")}), Component("detectors", "no-such"))
    file = File("all", (Sample(SampleId("a.png"), Path("a.png")),))
    with pytest.raises(Dp2benchError, match="no detector called 'no-such'"):
        list(in_workers(job, 2, 1)([file], None))


def test_threads_are_shared_out():
    assert threads_each(1) >= threads_each(2) >= threads_each(10_000) == 1
