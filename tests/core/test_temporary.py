"""Temporary folders: their owner's alone, gone with the program, or deleted when it runs again."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from dp2bench.core.temporary import TemporaryFolder

HOLD = "import sys, dp2bench.core.temporary as t; f = t.TemporaryFolder('some-'); print(f.path, flush=True); sys.stdin.read()"


@pytest.fixture
def temporary(monkeypatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def test_it_is_for_its_owner_and_goes(temporary):
    with TemporaryFolder("some-") as folder:
        assert folder.parent == temporary
        assert folder.name.startswith("some-")
        assert folder.stat().st_mode & 0o077 == 0
        (folder / "a").mkdir()
    assert not [*temporary.iterdir()]


def test_what_a_killed_program_left_is_deleted_and_what_another_uses_is_not(temporary):
    held = []
    for _ in range(2):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        held.append((process, Path(process.stdout.readline().strip())))
    (dead, left), (alive, used) = held
    (left / "face.png").write_bytes(b"face")
    (used / "face.png").write_bytes(b"face")
    (temporary / "other-a").mkdir()
    dead.kill()
    dead.wait()
    try:
        TemporaryFolder("some-").remove()
        assert {p.name for p in temporary.iterdir()} == {used.name, "other-a"}
        assert (used / "face.png").exists()
    finally:
        alive.kill()
        alive.wait()
