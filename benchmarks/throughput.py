"""Pictures per second of every baseline on one core, beside reading and writing the same JPEG files.

    python benchmarks/throughput.py [--seconds 4] [--methods blur mask-out]

The floor reads and writes with the project's own functions; a method's rate is read + anonymize + write. Two
cases: 64x128 pictures of one person (as Market-1501) and 640x480 pictures of four. Exit status 1 where a baseline of the
paper or at picture level is slower than half of the floor.

    python benchmarks/throughput.py --batches [--batch 8]

Processor time of DeepPrivacy2 on 64x128 pictures of one person, when its network runs on several crops at once: picture by picture, where
a batch is one person filled up, against a stream, where it is several pictures'.

    python benchmarks/throughput.py --workers 1 2 [--pictures 400]

The command `anonymize` on a folder of 1280x960 photographs-like pictures in so many processes: wall time less what no pictures take,
processor time, how busy the processors were, memory.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from importlib.metadata import entry_points
from pathlib import Path

for _library in ("OPENBLAS", "OMP", "MKL"):
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")  # one core, matrix products included

import cv2
import numpy as np

from dp2bench.core.contracts import Anonymizer
from dp2bench.core.images import read_image, write_image
from dp2bench.core.machine import default_threads
from dp2bench.core.seeds import Seed
from dp2bench.core.types import Image, People


def make_case(width: int, height: int, n: int, seed: int) -> tuple[Image, People]:
    """A textured picture and ``n`` people side by side: elliptic masks four fifths of the picture high, with
    faces.
    """
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    masks = np.zeros((n, height, width), np.uint8)
    boxes, faces = [], []
    for i in range(n):
        cx, cy = int((i + 0.5) * width / n), height // 2
        rx, ry = int(0.35 * width / n), int(0.4 * height)
        cv2.ellipse(masks[i], (cx, cy), (rx, ry), 0, 0, 360, 1, -1)
        boxes.append([cx - rx, cy - ry, cx + rx + 1, cy + ry + 1])
        faces.append([cx - rx // 3, cy - ry, cx + rx // 3 + 1, cy - ry + rx])
    return image, People.of(boxes, masks=masks.astype(bool), faces=np.array(faces, np.float32))


def rates(
    files: list[Path], people: list[People], methods: list[Anonymizer | None], out: Path, seconds: float
) -> list[float]:
    """Pictures per second of processor time (all threads) of each method, None being the floor.

    The best of 25 short rounds, the methods taking turns, so that a busy machine slows all of them alike.
    """
    best = [0.0] * len(methods)
    for _ in range(25):
        for k, method in enumerate(methods):
            done, start = 0, time.process_time()
            while (spent := time.process_time() - start) < seconds / 25 or not done:
                image = read_image(files[done % len(files)])
                if method is not None:
                    image = method.anonymize(image, people[done % len(files)], seed=Seed(0)).image
                write_image(out, image, quality=95)
                done += 1
            best[k] = max(best[k], done / spent)
    return best


def compare_batches(batch: int) -> None:
    """Print what a person costs alone and in a stream."""
    import torch

    from dp2bench.core import registry
    from dp2bench.inpainting.filling import Pending, fill_together, requests_of

    torch.set_num_threads(1)
    cases = [make_case(64, 128, 1, seed) for seed in range(6 * batch)]
    method = registry.create(
        "methods", "deepprivacy2", {"mode": "body", "batch_size": batch, "device": "cpu"}
    )
    method.anonymize(*cases[0], seed=Seed(0))  # loads the network

    def alone() -> list[Image]:
        return [method.anonymize(*case, seed=Seed(i)).image for i, case in enumerate(cases)]

    def stream() -> list[Image]:
        waiting = (Pending(i, requests_of(method, *case, Seed(i)), 1) for i, case in enumerate(cases))
        return [done.image for _, done in fill_together(waiting)]

    best = {"alone": float("inf"), "stream": float("inf")}
    made = {}
    for _ in range(3):
        for name, run in (("alone", alone), ("stream", stream)):
            start = time.process_time()
            made[name] = run()
            best[name] = min(best[name], (time.process_time() - start) / len(cases))
    same = all(np.array_equal(a, b) for a, b in zip(made["alone"], made["stream"], strict=True))
    print(f"DeepPrivacy2 on {len(cases)} pictures of one person, a network that runs on {batch} crops")
    print(f"{'picture by picture':20}{1000 * best['alone']:10.1f} ms of processor time a person")
    print(f"{'stream':20}{1000 * best['stream']:10.1f} ms, {best['alone'] / best['stream']:.1f} times less")
    print(f"the same bytes: {same}")


def compare_workers(numbers: list[int], pictures: int, method: str, detector: str) -> None:
    """Print how fast the command is in so many processes."""
    with tempfile.TemporaryDirectory() as folder:
        for i in range(pictures):
            image, _ = make_case(1280, 960, 1, i)
            write_image(Path(folder) / "in" / f"{i:05d}.jpg", image)
        write_image(Path(folder) / "one" / "0.jpg", image)
        print(
            f"anonymize -m {method} --detector {detector}, {pictures} pictures of 1280x960, {default_threads()} processors"
        )
        print(f"{'workers':>8}{'wall s':>9}{'pictures/s':>12}{'processor s':>13}{'busy':>7}")
        for workers in numbers:
            start, spent = [_timed(folder, source, workers, method, detector) for source in ("one", "in")]
            wall, processor = spent[0] - start[0], spent[1] - start[1]
            busy = processor / wall / default_threads()
            print(
                f"{workers:8}{wall:9.1f}{(pictures - 1) / wall:12.1f}{processor:13.1f}{busy:7.0%}", flush=True
            )


def _timed(folder: str, source: str, workers: int, method: str, detector: str) -> tuple[float, float]:
    """Wall and processor seconds of a command."""
    out = Path(folder) / f"out-{source}-{workers}"
    command = [sys.executable, "-m", "dp2bench", "anonymize", source, str(out), "-m", method]
    command += ["--detector", detector, "--workers", str(workers), "--threads", "1"]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode not in {0, 1}:
        raise RuntimeError(done.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - start, processor


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=4.0, help="per method and case")
    parser.add_argument("--methods", nargs="*", help="names of methods; all where omitted")
    parser.add_argument("--batches", action="store_true", help="batches across pictures")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--workers", type=int, nargs="*", help="numbers of processes to compare")
    parser.add_argument("--pictures", type=int, default=400)
    parser.add_argument("--detector", default="full-image", help="with --workers")
    given = parser.parse_args()
    if given.batches:
        compare_batches(given.batch)
        return 0
    if given.workers:
        compare_workers(given.workers, given.pictures, (given.methods or ["blur"])[0], given.detector)
        return 0
    cv2.setNumThreads(1)
    found = {
        e.name: e for e in entry_points(group="dp2bench.methods") if e.value.startswith("dp2bench.baselines.")
    }
    names = given.methods or sorted(found)
    print(
        f"{platform.processor() or platform.machine()}, "
        f"Python {platform.python_version()}, OpenCV {cv2.__version__}"
    )
    slow = []
    for width, height, n in ((64, 128, 1), (640, 480, 4)):
        with tempfile.TemporaryDirectory() as folder:
            files, people = [], []
            for i in range(8):
                image, who = make_case(width, height, n, i)
                files.append(Path(folder) / f"{i}.jpg")
                people.append(who)
                write_image(files[-1], image)
            out = Path(folder) / "out.jpg"
            methods = [None, *(found[name].load()() for name in names)]
            floor, *speeds = rates(files, people, methods, out, given.seconds)
            print(
                f"\n{width}x{height}, {n} people\n"
                f"{'method':24}{'pictures/s':>12}{'of floor':>10}{'ms added':>10}"
            )
            print(f"{'read + write':24}{floor:12.0f}{1:10.2f}{0:10.2f}")
            for name, speed in zip(names, speeds, strict=True):
                print(f"{name:24}{speed:12.0f}{speed / floor:10.2f}{1000 / speed - 1000 / floor:10.2f}")
                if speed < 0.5 * floor:
                    slow.append(f"{name} at {width}x{height}")
    print(f"\nslower than half of the floor: {', '.join(slow) or 'none'}")
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
