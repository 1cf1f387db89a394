"""A folder that another program writes to is left alone."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dp2bench.core.errors import Dp2benchError
from dp2bench.core.images import write_image
from dp2bench.core.locks import alone_in

pytest.importorskip("fcntl", reason="this system has no locks on folders")
PROGRAM = runpy.run_path(str(Path(__file__).parents[1] / "cli" / "program.py"))["run"]
OTHER = "import sys; from pathlib import Path; from dp2bench.core.locks import alone_in\nwith alone_in(Path(sys.argv[1])): print(flush=True); input()"


@pytest.fixture
def writing(tmp_path):
    """A folder that another program writes to, until its function is called."""
    folder = tmp_path / "out"
    other = subprocess.Popen(
        [sys.executable, "-c", OTHER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    other.stdout.readline()

    def kill():
        other.kill()
        other.wait()

    yield folder, kill
    kill()


def test_only_one_at_a_time_and_a_killed_one_frees_it(writing):
    folder, kill = writing
    with pytest.raises(Dp2benchError, match="Another program is writing"), alone_in(folder):
        pass
    kill()
    with alone_in(folder), pytest.raises(Dp2benchError), alone_in(folder):
        pass


def test_anonymize_says_so_and_touches_nothing(writing, tmp_path):
    folder, _ = writing
    (folder / ".dp2b-half").write_bytes(b"of the other program")
    write_image(tmp_path / "in" / "a.png", np.zeros((8, 8, 3), np.uint8))
    done = PROGRAM("anonymize", tmp_path / "in", folder, "-m", "blur", "--detector", "full-image")
    assert done.returncode == 2
    assert "Another program is writing" in " ".join(done.stderr.split())
    assert [p.name for p in folder.iterdir()] == [".dp2b-half"]
