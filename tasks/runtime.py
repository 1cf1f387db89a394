"""What a method costs: seconds a picture by number of people and by stage, and memory.

Times are measured, not computed: two runs of equal work give other numbers. They are kept once measured, like every finished step.
"""

from __future__ import annotations

import csv
import platform
import resource
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from dp2bench.core.contracts import Dataset, RunContext, Task, TaskMeta
from dp2bench.core.errors import DatasetError, Dp2benchError
from dp2bench.core.figures import Picture, Subsets
from dp2bench.core.layouts import REID, SCENES
from dp2bench.core.profiling import profiling
from dp2bench.core.results import Metric
from dp2bench.core.seeds import Seed
from dp2bench.core.types import Image, People, Sample, SampleId, SurfaceMap
from dp2bench.tasks.image_quality import test_split

WIDTH, HEIGHT = 1280, 720
"""Of the pictures that are timed, in pixels."""
PERSON = 240
"""About how tall people are in them, in pixels."""
COLUMNS = 10
PUBLISHED = 12
"""People in the picture that published times are for."""
STAGES = ("detect", "crop", "inpaint", "stitch", "anonymize")


def _cost(unit: str, title: str) -> Metric:
    return Metric(higher_is_better=False, unit=unit, title=title)


class Runtime(Task):
    """Times the method on 1280x720 pictures composed of the dataset's annotated people.

    Stages of a method that names its spans (`dp2bench.core.profiling`): ``crop``, ``inpaint`` (its network) and ``stitch``
    (everything else); other methods have one, ``anonymize``. ``detect`` is timed where the run's detector is a network and not a look-up.

    Args:
        people: numbers of people in a picture, 1 to 20.
        repeats: how often each picture is done; the median counts.

    """

    meta: ClassVar[TaskMeta] = TaskMeta(
        name="runtime",
        version="1",
        kind="cost",
        main_score="seconds.12",
        layouts=(*REID, *SCENES),
        metrics={
            "seconds": _cost("s", "seconds a picture with people"),
            "seconds_per_person": _cost("s", "seconds a further person takes"),
            **{stage: _cost("s", f"seconds of the stage {stage}, by number of people") for stage in STAGES},
            "peak_memory": _cost("MiB", "peak memory of the process"),
            "peak_gpu_memory": _cost("MiB", "peak memory of the GPU"),
        },
        figures=(
            Subsets(
                title="By the number of people",
                caption="Seconds for a picture of 1280 x 720 pixels.",
                metrics=("seconds",),
                x="people in the picture",
            ),
            Picture(
                title="Where the time goes", caption="Stages, one on top of the other.", file="runtime.png"
            ),
        ),
        columns=(f"seconds.{PUBLISHED}", *(f"{stage}.{PUBLISHED}" for stage in STAGES)),
        description="Seconds a picture by number of people and stage, and peak memory; measured, so never the same twice.",
        reference="DeepPrivacy2, WACV 2023: about 2.8 s for a picture with 12 people on a GTX 1080 8 GB.",
        exclusive=True,
    )

    def __init__(self, *, people: Sequence[int] = (1, 4, 12, 20), repeats: int = 3) -> None:
        if not people or not all(isinstance(n, int) and 1 <= n <= 20 for n in people):
            raise Dp2benchError(
                f"runtime: people {list(people)} are not whole numbers from 1 to 20.",
                "Use e.g. people: [1, 4, 12, 20]; 12 is what published times are for.",
            )
        if repeats < 1:
            raise Dp2benchError(f"runtime: repeats {repeats} is less than 1.", "Use e.g. 3.")
        self.people = tuple(sorted(set(people)))
        self.repeats = repeats
        if (shown := _shown(self.people)) != PUBLISHED:
            columns = (f"seconds.{shown}", *(f"{stage}.{shown}" for stage in STAGES))
            self.meta = replace(self.meta, main_score=columns[0], columns=columns)  # type: ignore[misc]

    @property
    def arguments(self) -> Mapping[str, Any]:
        """See `Task.arguments`."""
        return {"people": list(self.people), "repeats": self.repeats}

    def splits(self, dataset: Dataset) -> Sequence[str]:
        """See `Task.splits`: the people that pictures to time are made of."""
        return (test_split(dataset, None),)

    def run(self, clear: Dataset, anonymized: Dataset, context: RunContext) -> None:
        """See `Task.run`. Every repeat goes to ``runtime.csv``, the curve to ``runtime.png``."""
        method = None if context.method is None else context.method()
        if method is None or context.detector is None:
            raise Dp2benchError(
                "There is no method to time: the pictures were made elsewhere.",
                "Leave the task runtime out.",
            )
        detector = context.detector()
        clock = Clock(context.device)
        pieces = _pieces(clear, max(self.people))
        rows: list[dict[str, Any]] = []
        method.anonymize(
            *compose(pieces[:1]), seed=Seed(0)
        )  # loading and compiling are not what a picture costs
        memory = Memory(context.device)
        with profiling(clock):
            for i, n in enumerate(self.people):
                image, people = compose(pieces[:n])
                sample = Sample(SampleId(f"{n}-people.png"), Path(f"{n}-people.png"))
                for repeat in range(self.repeats):
                    clock.spent.clear()
                    if not detector.uses_annotations:
                        with clock.span("detect"):
                            detector.detect([image], [sample])
                    with clock.span("anonymize"):
                        method.anonymize(image, people, seed=Seed(repeat))
                    rows.append({"people": n, "repeat": repeat, **_stages(clock.spent)})
                context.progress(i + 1, len(self.people))
        _write(rows, context.artefacts)
        _record(rows, self.people, memory.peak(), context)


class Clock:
    """Seconds by stage; waits for the device, whose work goes on behind Python's back."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.spent: dict[str, float] = defaultdict(float)

    def _now(self) -> float:
        if self.device.startswith("cuda"):
            import torch

            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        """Add what happens inside to a stage; see `Profiler`."""
        start = self._now()
        try:
            yield
        finally:
            self.spent[name] += self._now() - start


class Memory:
    """Peak memory from now on, in MiB: of the process, and of the device where there is one."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.whole_life = True
        try:
            Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak starts anew
            self.whole_life = False
        except OSError:
            pass
        if device.startswith("cuda"):
            import torch

            torch.cuda.reset_peak_memory_stats(device)

    def peak(self) -> dict[str, float]:
        """``peak_memory`` and, on a GPU, ``peak_gpu_memory``."""
        unit = 2**20 if platform.system() == "Darwin" else 2**10
        found = {"peak_memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit}
        if not self.whole_life:
            status = Path("/proc/self/status").read_text()
            found["peak_memory"] = int(status.split("VmHWM:")[1].split()[0]) / 2**10
        if self.device.startswith("cuda"):
            import torch

            found["peak_gpu_memory"] = torch.cuda.max_memory_allocated(self.device) / 2**20
        return found


def _shown(people: Sequence[int]) -> int:
    """The number of people whose seconds stand for all: the published one, else the largest."""
    return PUBLISHED if PUBLISHED in people else max(people)


def _stages(spent: Mapping[str, float]) -> dict[str, float]:
    """Stages that add up to ``total``; what cropping and inpainting leave of the whole is stitching."""
    stages = {stage: spent.get(stage, 0.0) for stage in STAGES}
    whole = stages["anonymize"]
    if "inpaint" in spent:
        stages["stitch"] = whole - stages["crop"] - stages["inpaint"]
        stages["anonymize"] = 0.0
    return {"total": whole + stages["detect"], **stages}


def _pieces(dataset: Dataset, n: int) -> list[tuple[Image, People]]:
    """``n`` annotated people cut out of the test split, each enlarged by a whole number to about `PERSON` pixels."""
    pieces: list[tuple[Image, People]] = []
    split = test_split(dataset, None)
    for sample in dataset.samples(split):
        people = dataset.people(sample)
        if people is None:
            break
        for i, (x0, y0, x1, y1) in enumerate(np.round(people.boxes).astype(int).tolist()):
            if min(x1 - x0, y1 - y0) >= 12 and y1 - y0 <= HEIGHT // 2 and x1 - x0 <= 2 * WIDTH // COLUMNS:
                pieces.append(_cut(dataset.read(sample), people.take([i]), (x0, y0, x1, y1)))
                if len(pieces) == n:
                    return pieces
    if not pieces:
        raise DatasetError(
            f"{dataset.meta.name} has no annotated people in its split {split}, which pictures to time are made of.",
            "Use a dataset with annotations, e.g. passersby-reid.",
        )
    return [pieces[i % len(pieces)] for i in range(n)]


def _cut(image: Image, person: People, box: tuple[int, int, int, int]) -> tuple[Image, People]:
    x0, y0, x1, y1 = box
    x0, y0, x1, y1 = max(0, x0), max(0, y0), min(image.shape[1], x1), min(image.shape[0], y1)
    k = max(1, min(round(PERSON / (y1 - y0)), 128 // max(1, x1 - x0)))
    origin = np.array([x0, y0], np.float32)
    mask = np.ones((y1 - y0, x1 - x0), bool) if person.masks is None else person.masks[0, y0:y1, x0:x1]
    keypoints = person.keypoints
    if keypoints is not None:
        keypoints = keypoints.copy()
        keypoints[..., :2] = (keypoints[..., :2] - origin) * k
    faces = None if person.faces is None else (person.faces - np.tile(origin, 2)) * np.float32(k)
    surface = person.surfaces[0]
    if surface is not None:
        moved = (surface.box - np.array([x0, y0, x0, y0])) * k
        surface = SurfaceMap(surface.template, moved.astype(np.int32), _enlarged(surface.vertices, k))
    piece = _enlarged(image[y0:y1, x0:x1], k)
    return piece, People.of(
        [[0, 0, piece.shape[1], piece.shape[0]]],
        masks=_enlarged(mask, k)[None],
        keypoints=keypoints,
        faces=faces,
        surfaces=[surface],
    )


def _enlarged(array: NDArray[Any], k: int) -> NDArray[Any]:
    return array.repeat(k, 0).repeat(k, 1)


def compose(pieces: Sequence[tuple[Image, People]]) -> tuple[Image, People]:
    """A picture of these people in rows on grey noise, and where they are."""
    noise = np.random.default_rng(0).integers(90, 166, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    masks = np.zeros((len(pieces), HEIGHT, WIDTH), bool)
    parts: dict[str, list[Any]] = {"boxes": [], "keypoints": [], "faces": [], "surfaces": []}
    for i, (piece, person) in enumerate(pieces):
        h, w = piece.shape[0], min(piece.shape[1], WIDTH - 128 * (i % COLUMNS))
        x, y = 128 * (i % COLUMNS), HEIGHT // 2 * (i // COLUMNS)
        mask = person.masks[0, :, :w] if person.masks is not None else np.ones((h, w), bool)
        noise[y : y + h, x : x + w] = piece[:, :w]
        masks[i, y : y + h, x : x + w] = mask
        parts["boxes"].append([x, y, x + w, y + h])
        if person.keypoints is not None:
            parts["keypoints"].append(person.keypoints[0] + np.array([x, y, 0], np.float32))
        if person.faces is not None:
            parts["faces"].append(person.faces[0] + np.array([x, y, x, y], np.float32))
        surface = person.surfaces[0]
        parts["surfaces"].append(
            surface
            and SurfaceMap(surface.template, surface.box + np.array([x, y, x, y], np.int32), surface.vertices)
        )
    whole = {k: np.array(v, np.float32) for k in ("keypoints", "faces") if len(v := parts[k]) == len(pieces)}
    return noise, People.of(parts["boxes"], masks=masks, surfaces=parts["surfaces"], **whole)


def _write(rows: Sequence[Mapping[str, Any]], folder: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with (folder / "runtime.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows({k: round(v, 6) if isinstance(v, float) else v for k, v in r.items()} for r in rows)
    figure = Figure(figsize=(5, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    numbers = sorted({r["people"] for r in rows})
    used = [s for s in STAGES if any(r[s] for r in rows)]
    heights = [[_median(rows, n, s) for n in numbers] for s in used]
    axes.stackplot(numbers, heights, labels=used, alpha=0.8)
    axes.set(xlabel="people in a 1280x720 picture", ylabel="seconds", ylim=0, xticks=numbers)
    axes.legend(loc="upper left", frameon=False)
    figure.savefig(folder / "runtime.png", dpi=150)


def _median(rows: Sequence[Mapping[str, Any]], people: int, stage: str) -> float:
    return float(statistics.median(r[stage] for r in rows if r["people"] == people))


def _record(
    rows: Sequence[Mapping[str, Any]],
    numbers: Sequence[int],
    memory: Mapping[str, float],
    context: RunContext,
) -> None:
    repeats = len(rows) // len(numbers)
    totals = [_median(rows, n, "total") for n in numbers]
    for people, total in zip(numbers, totals, strict=True):
        context.record("seconds", subset=str(people), value=total, n=repeats)
    if len(numbers) > 1:
        slope = float(np.polyfit(numbers, totals, 1)[0])
        context.record("seconds_per_person", value=slope, n=len(rows))
    shown = _shown(numbers)
    for stage in STAGES:
        if any(r[stage] for r in rows):
            context.record(stage, subset=str(shown), value=_median(rows, shown, stage), n=repeats)
    for metric, value in memory.items():
        context.record(metric, value=value, n=1)
