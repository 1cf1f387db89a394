"""A camera as IN: recorded, anonymized, and the recording deleted however it ends. A generated picture stands in a camera's place."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av", reason='videos need `pip install "dp2bench[video]"`')

from dp2bench.datasets.video import Video

from .program import run

CAMERA = "lavfi:testsrc2=size=160x96:rate=10"
MASKED = ("-m", "mask-out", "--detector", "full-image", "--end", "0.8")

pytestmark = pytest.mark.e2e


def _files(root: Path) -> list[str]:
    return sorted(p.name for p in root.rglob("*"))


def test_what_a_camera_sees_is_anonymized(tmp_path):
    done = run("anonymize", CAMERA, "safe.mp4", *MASKED, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "8 frames" in done.stdout
    frames = [frame.image for frame in Video(tmp_path / "safe.mp4")]
    assert len(frames) == 8
    assert all(np.abs(frame.astype(int) - 127).max() < 8 for frame in frames)
    assert _files(tmp_path) == ["safe.mp4", "safe.mp4.json"]


def test_nothing_of_the_recording_is_left_after_an_error(tmp_path, monkeypatch):
    seen = []

    def fail(*_, **__):
        seen.extend(_files(tmp_path))
        raise MemoryError("no memory")

    monkeypatch.setattr("dp2bench.pipelines.video.find_people", fail)
    done = run("anonymize", CAMERA, "safe.mp4", *MASKED, cwd=tmp_path)
    assert "MemoryError" in done.stderr
    assert "camera.mkv" in seen
    assert not _files(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_nothing_of_the_recording_is_left_after_a_signal(tmp_path, number):
    """A service that is stopped, a terminal that is closed."""
    command = [
        sys.executable,
        "-m",
        "dp2bench",
        "anonymize",
        f"{CAMERA},realtime",
        "safe.mp4",
        "--end",
        "300",
    ]
    process = subprocess.Popen([*command, *MASKED[:4]], cwd=tmp_path)
    recording = tmp_path / ".safe.mp4.camera" / "camera.mkv"
    try:
        end = time.monotonic() + 60
        while not recording.exists() and time.monotonic() < end:
            time.sleep(0.02)
        others_may = recording.parent.stat().st_mode & 0o077
        process.send_signal(number)
        assert process.wait(60) == 128 + number
    finally:
        process.kill()
        process.wait()
    assert not others_may
    assert not _files(tmp_path)


def test_a_recording_that_a_killed_run_left_is_deleted(tmp_path):
    left = tmp_path / ".safe.mp4.camera"
    left.mkdir()
    (left / "camera.mkv").write_bytes(b"faces")
    done = run("anonymize", CAMERA, "safe.mp4", *MASKED, cwd=tmp_path)
    assert done.returncode == 0
    assert not left.exists()


def test_devices_that_are_no_cameras(tmp_path):
    for name, words in (
        ("/dev/null", "cannot be opened"),
        ("lavfi:nothing", "cannot be opened"),
        ("/dev/video77", "is not there"),
    ):
        done = run("anonymize", name, "safe.mp4", *MASKED, cwd=tmp_path)
        assert done.returncode == 2
        assert words in " ".join((done.stdout + done.stderr).split())
        assert "What to do" in done.stderr
        assert not _files(tmp_path)
