"""`dp2bench anonymize` killed anywhere, and begun again: the bytes of a run that nobody disturbed, and no half of a file."""

from __future__ import annotations

import json
import os
import random
import runpy
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.e2e
INPUTS = runpy.run_path(str(Path(__file__).with_name("inputs.py")))
KINDS, digests, check_whole = INPUTS["KINDS"], INPUTS["digests"], INPUTS["check_whole"]
ENVIRONMENT = os.environ | {"COLUMNS": "80", "OMP_NUM_THREADS": "1"}

# Starts commands as children that have imported everything already, and kills them: at the nth call of one of the operations that change
# the disk, before or after it (no clock is that exact), or after so many seconds.
STARTER = """
import json, os, pathlib, shutil, signal, sys, time
import av, cv2, numpy, PIL.Image
import dp2bench.cli.main, dp2bench.core.images, dp2bench.datasets.folder, dp2bench.datasets.market1501, dp2bench.pipelines.anonymize
import dp2bench.datasets.coco, dp2bench.datasets.fdh, dp2bench.detection.annotations, dp2bench.baselines.mask_out, pycocotools.mask
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
    for owner, names in ((os, ("replace", "rename", "unlink", "mkdir", "link")), (pathlib.Path, ("write_bytes", "write_text", "replace")),
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


@pytest.fixture(scope="module")
def starter(tmp_path_factory):
    pytest.importorskip("av", reason='videos need `pip install "dp2bench[video]"`')
    started = Starter(tmp_path_factory.mktemp("starter"))
    yield started
    started.close()


def _undisturbed(starter: Starter, kind: str, folder: Path) -> tuple[dict[str, Any], list[str], int, float]:
    """Digests, command, operations on the disk and seconds of a run that nobody disturbs."""
    made, root = folder / "input", folder / "whole" / "root"
    made.mkdir(parents=True)
    command = KINDS[kind](made)
    shutil.copytree(made, root)
    code, seconds = starter.run(command, root)
    assert code == 0, (folder / "whole" / "log").read_text()
    return digests(root), command, int((folder / "whole" / "operations").read_text()), seconds


def _finish(starter: Starter, command: list[str], root: Path, expected: dict[str, Any]) -> None:
    if digests(root) == expected:  # it was killed after the last thing it does
        return
    check_whole(root / "out")
    code, _ = starter.run(command, root)
    assert code == 0, (root.parent / "log").read_text()
    assert digests(root) == expected


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
    """Over the five kinds: 175 runs are killed, every third of them twice."""
    _killed(starter, kind, tmp_path / "runs", 28, 7, seed=1)
