"""What a picture costs in folders of 1,000 to 1,000,000: processor time, peak memory, plan and resume.

    python benchmarks/scaling.py [--sizes 1000 10000 100000 1000000] [--resume 1000 100000 1000000] [--figure docs/images/scaling.svg]
        [--rows ROWS.json]

*ms a picture*: sixteen small JPEG files under generated names; every name is read, its person masked out and written, over the same sixteen
files, so that a million need no disk. They lie in memory where that has a folder (/dev/shm): a disk waits whenever a file is replaced.
It is processor time less that of starting. *plan* and *resume*: a folder of hard links to such files,
a thousand in each of its folders. *plan* is all that `dp2bench anonymize` does until it reads the first picture: list the folder and check
its names. *resume* is what comes on top where every picture is finished: read what was noted, and look for each original and its copy.
Processor time, for it says the same on a machine that others use. Each size is a process of its own.

    python benchmarks/scaling.py --ray [--steps 200]

What a step on Ray costs beside its work: steps that are finished already go through actors, one by one. Wall time is the least of ten rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

for _library in ("OPENBLAS", "OMP", "MKL"):
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")

import cv2
import numpy as np

from dp2bench.core.hashing import Content, content_of
from dp2bench.core.images import write_image
from dp2bench.core.lazy import Lazy
from dp2bench.core.types import Sample, SampleId
from dp2bench.datasets.folder import Folder

FILES = 16
HEIGHT, WIDTH = 64, 32


class Names(Folder):
    """Many names of few pictures.

    Args:
        root: of the pictures.
        count: of names.

    """

    def __init__(self, root: Path, count: int) -> None:
        super().__init__(root)
        self.count = count

    def files(self, split: str) -> Sequence[tuple[Sample, ...]]:
        paths = [self.root / f"{k}.jpg" for k in range(FILES)]
        return Lazy(self.count, lambda k: (Sample(SampleId(name_of(k)), paths[k % FILES]),))

    def written(self, out: Path, split: str, sample: Sample) -> Path:
        return out / sample.path.name


def name_of(k: int) -> str:
    """Of a picture."""
    return f"{k // 1000:04d}/{k:07d}.jpg"


def spent() -> float:
    """Processor seconds of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def megabytes() -> float:
    """Memory of this process at most until now."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def anonymize(folder: Path, count: int) -> dict[str, float]:
    """Anonymize so many names; the first thousand start everything."""
    from dp2bench.core import registry
    from dp2bench.pipelines.anonymize import CoverageCounter, anonymized_pictures
    from dp2bench.pipelines.stream import anonymize_files, found_by

    cv2.setNumThreads(1)
    method = registry.create("methods", "mask-out", {})
    find = found_by(registry.create("detectors", "full-image", {}))

    def go(number: int) -> None:
        data, counter = Names(folder, number), CoverageCounter()
        pictures = anonymized_pictures(
            data,
            ["all"],
            lambda files, _: anonymize_files(data, files, find, method, 0, out=folder / "out"),
            counter,
        )
        for _ in pictures:
            pass
        assert counter.pictures == number

    go(1000)
    before = spent()
    go(count)
    return {"count": count, "ms": 1000 * (spent() - before) / count, "MB": megabytes()}


def plan_and_resume(folder: Path, count: int) -> dict[str, float]:
    """Seconds until a folder of so many pictures is begun, and until one that is finished has been gone through."""
    from dp2bench.core import registry
    from dp2bench.pipelines.anonymize import anonymize_dataset
    from dp2bench.pipelines.resume_log import ResumeLog
    from dp2bench.pipelines.stream import Done, File

    source, out = folder / f"in-{count}", folder / f"out-{count}"
    contents = linked(folder, (source, out), count)
    method, detector = (
        registry.create("methods", "mask-out", {}),
        registry.create("detectors", "full-image", {}),
    )
    begun: list[float] = []

    def stream(files: Iterable[File], hashed: bool) -> Iterator[Done]:
        begun.extend(spent() for _ in islice(files, 1))
        yield from ()

    def go(target: Path) -> tuple[float, int]:
        """Processor seconds in all, and how many pictures were finished."""
        before = spent()
        log = ResumeLog(target, {})
        counter = anonymize_dataset(
            Folder(source), detector, method, target, 0, journal=log, in_workers=lambda _: stream
        )
        return spent() - before, counter.pictures

    before = spent()
    _, pictures = go(folder / f"new-{count}")
    assert pictures == 0
    planned = begun.pop() - before
    row = {"found": 1, "doubtful": 0, "unlike": None, "missed": [], "undetected": None}
    noted = {"pages": [row], "lost": []}
    path = out / ResumeLog.NAME
    ResumeLog(folder / "settings", {}).begin()
    with path.open("wb") as lines:
        lines.write((folder / "settings" / ResumeLog.NAME).read_bytes())
        for k in range(count):
            lines.write(ResumeLog.line(f"all/{name_of(k)}", contents[k % len(contents)], noted))
    resumed, pictures = go(out)
    assert pictures == count
    assert not begun
    for made in (source, out):
        shutil.rmtree(made)
    return {
        "count": count,
        "plan": planned,
        "resume": resumed - planned,
        "MB": megabytes(),
    }


def linked(folder: Path, targets: Sequence[Path], count: int) -> list[Content]:
    """Fill folders with so many hard links to so few files that the file system allows it; what the files hold."""
    data = (folder / "0.jpg").read_bytes()
    files = [folder / f"linked-{count}-{k}.jpg" for k in range(1 + count // 20_000)]
    for path in files:
        path.write_bytes(data)
    for target in targets:
        for k in range(count):
            if k % 1000 == 0:
                (target / name_of(k)).parent.mkdir(parents=True)
            os.link(files[k % len(files)], f"{target}/{name_of(k)}")
    time.sleep(3.1)  # a file is known by its time when that is older than the least that file systems tell
    return [content_of(path) for path in files]


def ray_overhead(steps: int) -> None:
    """Print what a step costs that has nothing to do."""
    from dp2bench.engine.executor import StepOutcome
    from dp2bench.engine.ray_executor import RayExecutor, _Actors
    from dp2bench.engine.step import Step
    from dp2bench.engine.store import Store

    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        todo = [Step("detect", f"step {k}", f"{k:064x}", {}, {"threads": 1}) for k in range(steps)]
        for step in todo:
            store.path(step.key).mkdir(parents=True)
        with RayExecutor(store, "local", workers=1) as executor:
            crew = _Actors(executor._ray, store, 1, 1, 0.0, no_more_than=1)
            rounds = []
            while not crew.has_room():
                crew.listen()
            used = spent()
            for first in range(0, steps, steps // 10):
                some, begun = todo[first : first + steps // 10], time.perf_counter()
                for step in some:
                    crew.begin(step)
                    while not any(isinstance(news, StepOutcome) for _, news in crew.listen()):
                        pass
                rounds.append((time.perf_counter() - begun) / len(some))
            used = (spent() - used) / steps
            crew.stop()
    least = 1000 * min(rounds)
    print(
        f"{steps} steps through Ray: least wall {least:.2f} ms a step, {1000 * used:.2f} ms of processor time here"
    )
    print(f"of a step of 50 ms: {least / 50:.1%}")


def draw(costs: list[dict[str, float]], begun: list[dict[str, float]], path: Path) -> None:
    """Cost of a picture, peak memory, plan and resume against the number of pictures."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "dp2bench", "font.size": 9}):
        figure = Figure(figsize=(7.6, 2.6), layout="constrained")
        cost, memory, begin = figure.subplots(1, 3)
        sizes, others = [r["count"] for r in costs], [r["count"] for r in begun]
        cost.plot(sizes, [r["ms"] for r in costs], marker="o", color="#0072B2")
        cost.set(title="A picture", ylabel="ms of processor time")
        memory.plot(sizes, [r["MB"] for r in costs], marker="o", color="#0072B2", label="anonymize")
        memory.plot(others, [r["MB"] for r in begun], marker="s", color="#D55E00", label="resume")
        memory.set(title="Memory", ylabel="MB at most")
        for name, marker, colour in (("plan", "D", "#009E73"), ("resume", "s", "#D55E00")):
            begin.plot(others, [r[name] for r in begun], marker=marker, color=colour, label=name)
        begin.set(title="Before the first picture", ylabel="s of processor time")
        for panel in (cost, memory, begin):
            panel.set(xscale="log", xlabel="pictures", xlim=(600, 2e6), ylim=(0, 1.4 * panel.dataLim.y1))
            panel.set_xticks([1e3, 1e4, 1e5, 1e6], ["1,000", "10,000", "100,000", "1 million"], fontsize=7)
            panel.minorticks_off()
            panel.grid(color="0.9")
            panel.set_axisbelow(True)
            panel.spines[["top", "right"]].set_visible(False)
        for panel in (memory, begin):
            panel.legend(frameon=False, loc="upper left")
        figure.savefig(path, metadata={"Date": None, "Creator": None})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="*", default=[1000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--resume", type=int, nargs="*", default=[1000, 100_000, 1_000_000])
    parser.add_argument("--figure", type=Path)
    parser.add_argument(
        "--rows", type=Path, help="JSON of what is measured; what is in it is not measured again"
    )
    parser.add_argument("--ray", action="store_true", help="what a step costs on Ray")
    parser.add_argument("--steps", type=int, default=200, help="with --ray")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        what, folder, count = given.one
        print(json.dumps({"cost": anonymize, "resume": plan_and_resume}[what](Path(folder), int(count))))
        return
    if given.ray:
        ray_overhead(given.steps)
        return
    in_memory = tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
    with in_memory as memory, tempfile.TemporaryDirectory() as disk:
        folders = {"cost": memory, "resume": disk}
        rng = np.random.default_rng(0)
        for k in range(FILES):
            coarse = rng.integers(0, 256, (HEIGHT // 8, WIDTH // 8, 3), np.uint8)
            picture = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
            for folder in folders.values():
                write_image(Path(folder, f"{k}.jpg"), picture)

        kept = json.loads(given.rows.read_text()) if given.rows and given.rows.exists() else {}

        def measured(what: str, count: int) -> dict[str, float]:
            row: dict[str, float] = kept.get(f"{what} {count}")
            if row is not None:
                return row
            command = [sys.executable, __file__, "--one", what, folders[what], str(count)]
            row = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
            kept[f"{what} {count}"] = row
            if given.rows:
                given.rows.write_text(json.dumps(kept, indent=1))
            return row

        print(f"{'pictures':>10}{'ms a picture':>14}{'peak MB':>9}")
        costs = []
        for count in sorted(given.sizes):
            costs.append(measured("cost", count))
            print(f"{count:10,}{costs[-1]['ms']:14.3f}{costs[-1]['MB']:9.0f}", flush=True)
        if given.resume:
            print(f"{'pictures':>10}{'plan s':>9}{'resume s':>10}{'peak MB':>9}")
        resumed = []
        for count in sorted(given.resume):
            resumed.append(measured("resume", count))
            row = resumed[-1]
            print(f"{count:10,}{row['plan']:9.2f}{row['resume']:10.2f}{row['MB']:9.0f}", flush=True)
    if given.figure:
        draw(costs, resumed, given.figure)


if __name__ == "__main__":
    main()
