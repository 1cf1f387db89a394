"""Ten thousand pictures in two processes, killed twice: the bytes of a run in one that nobody disturbed."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

COUNT = 10_000


def digests(folder: Path) -> dict[str, str]:
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in folder.rglob("*")
        if p.is_file()
    }


@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.timeout(3600)
def test_ten_thousand_pictures_killed_twice(tmp_path):
    rng = np.random.default_rng(0)
    for k in range(COUNT):
        path = tmp_path / "in" / f"{k // 500:02d}" / f"{k:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = cv2.resize(rng.integers(0, 256, (6, 4, 3), np.uint8), (32, 48))
        path.write_bytes(cv2.imencode(".jpg", picture)[1].tobytes())

    def start(out: str, workers: int) -> subprocess.Popen[str]:
        command = ["anonymize", "in", out, "-m", "mask-out", "--detector", "full-image", "--threads", "1"]
        return subprocess.Popen(
            [sys.executable, "-m", "dp2bench", *command, "--workers", str(workers)],
            cwd=tmp_path,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def finished() -> int:
        journal = tmp_path / "out" / ".dp2bench-unfinished.jsonl"
        return journal.read_bytes().count(b"\n") - 1 if journal.exists() else 0

    quiet = start("quiet", 1)
    said, _ = quiet.communicate()
    assert quiet.returncode == 0, said
    expected = digests(tmp_path / "quiet")
    assert len(expected) == COUNT
    for share in (0.3, 0.7):
        killed = start("out", 2)
        while killed.poll() is None and finished() < share * COUNT:
            time.sleep(0.05)
        killed.send_signal(signal.SIGKILL)
        assert killed.wait() == -signal.SIGKILL
        assert share * COUNT <= finished() < COUNT
    before = finished()
    last = start("out", 2)
    said, _ = last.communicate()
    assert last.returncode == 0, said
    assert f"Going on: {before} files are finished." in said
    assert f"{COUNT} pictures, {COUNT} people" in " ".join(said.split())
    assert digests(tmp_path / "out") == expected
