"""How fast the full-size generator, the pipeline and a training step are on a GPU, beside what the card can do.

    python benchmarks/gpu.py [--out gpu.json] [--seconds 460]

One command, under eight minutes, without weights or data: the generator is the published one's layout (43 M parameters) with random
numbers. What is measured is written to ``--out`` piece by piece; the same command goes on where it was stopped and prints the tables.

    python benchmarks/gpu.py --device cpu --tiny

tries the script itself, with a small network.

*of floor* compares with the time that the operations of the network (as written) take a convolution or matrix product that fills the card.
*idle* is the share of the pipeline's time in which no kernel of the generator runs.
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).parent))
from generator import floor, inputs, machine

from dp2bench.deepprivacy2.generators.networks import build, catalogue

BATCHES = (1, 2, 4, 8, 16, 32, 64)
PRECISIONS = {"float32": None, "float16": torch.float16, "bfloat16": torch.bfloat16}
TINY = {"imsize": [72, 40], "cnum": 8}
PEOPLE = 4
"""Of each picture of the pipeline."""


class Bench:
    """What is measured, by name, kept in a file.

    Args:
        given: the command line.

    """

    def __init__(self, given: argparse.Namespace) -> None:
        self.device, self.tiny, self.out = given.device, given.tiny, given.out
        self.until = time.monotonic() + given.seconds
        self.config = {**catalogue()["fdh_styleganL"], **(TINY if self.tiny else {})}
        self.about = {"machine": machine(self.device), "torch": torch.__version__, "tiny": self.tiny}
        self.done: dict[str, Any] = {}
        if self.out.exists():
            kept = json.loads(self.out.read_text())
            if kept.pop("about") != self.about:
                sys.exit(f"{self.out} was measured elsewhere: give another --out.")
            self.done = kept

    def piece(self, name: str, measure: Callable[[], Any]) -> None:
        """Measure something that is not measured yet, while there is time; what fails is kept with the reason."""
        if name in self.done or time.monotonic() > self.until:
            return
        try:
            value = measure()
        except (RuntimeError, torch.cuda.OutOfMemoryError) as error:
            value = {"failed": str(error).splitlines()[0]}
        self.done[name] = value
        self.out.write_text(json.dumps({"about": self.about, **self.done}, indent=1))
        print(f"{name}: {value}", flush=True)

    def wait(self) -> None:
        """Until the card has done what it was told."""
        if self.device.startswith("cuda"):
            torch.cuda.synchronize()

    def least(self, work: Callable[[], Any], seconds: float = 1.0) -> float:
        """Least seconds of a call, of those that fit into so many seconds and of three."""
        work()
        self.wait()
        times: list[float] = []
        while len(times) < 3 or (sum(times) < seconds and len(times) < 50):
            begun = time.perf_counter()
            work()
            self.wait()
            times.append(time.perf_counter() - begun)
        return min(times)


def generator(bench: Bench) -> None:
    """People a second by batch, precision, and whether it is compiled."""
    network: Any = build(bench.config).eval().to(bench.device)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(**inputs(network, 1, bench.device))
    flop = counter.get_total_flops()
    for precision, dtype in PRECISIONS.items():
        if bench.device == "cpu" and dtype is torch.float16:
            continue
        bench.piece(
            f"floor {precision}",
            lambda dtype=dtype: {
                "GFLOP": flop / 1e9,
                "seconds": floor(flop, bench.device, dtype or torch.float32, 3)[0],
            },
        )
        for compiled in (False, True):
            if bench.tiny and compiled:
                continue
            prepared: list[Any] = []

            def measure(batch: int) -> dict[str, float]:
                if not prepared:  # noqa: B023
                    plain = copy.deepcopy(network)
                    prepared.append(plain.prepare_for_inference(compile=compiled, autocast=dtype))  # noqa: B023
                given = inputs(network, batch, bench.device)
                with torch.inference_mode():
                    seconds = bench.least(lambda: prepared[0](**given))  # noqa: B023
                return {"people/s": batch / seconds, "seconds a person": seconds / batch}

            for batch in BATCHES[:2] if bench.tiny else BATCHES:
                name = f"generator {precision}{' compiled' if compiled else ''} batch {batch}"
                bench.piece(name, lambda batch=batch: measure(batch))


def pipeline(bench: Bench) -> None:
    """People a second of pictures that are read, filled and written, and the share of time without the generator."""

    def measure() -> dict[str, float]:
        from dp2bench.core import registry
        from dp2bench.core.images import write_image
        from dp2bench.datasets.folder import Folder
        from dp2bench.deepprivacy2.generators import files
        from dp2bench.pipelines.stream import anonymize_files, files_of

        size = (160, 240) if bench.tiny else (720, 1280)
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            config = {**bench.config, "input_cse": False, "cse_nc": None}
            described = {"config": config, "licence": "none", "trained_on": "nothing"}
            files.save(build(config), folder / "random.safetensors", described)
            rng = np.random.default_rng(0)
            count = 2 if bench.tiny else 64
            for k in range(count):
                write_image(
                    folder / "in" / f"{k}.jpg",
                    np.repeat(
                        np.repeat(rng.integers(0, 255, (size[0] // 8, size[1] // 8, 3), np.uint8), 8, 0), 8, 1
                    ),
                )
            arguments = {
                "person": str(folder / "random.safetensors"),
                "mode": "body",
                "cse": "none",
                "device": bench.device,
            }
            method = registry.create(
                "methods", "deepprivacy2", arguments | ({} if bench.tiny else {"batch_size": 16})
            )
            data = Folder(folder / "in")
            everybody = _people(size)

            def go() -> int:
                stream = anonymize_files(
                    data,
                    files_of(data, ["all"]),
                    lambda _, images, __: [everybody] * len(images),
                    method,
                    0,
                    out=folder / "out",
                )
                people = 0
                for done in stream:
                    if done.error is not None:
                        raise done.error
                    for row in done.rows:
                        assert not row["missed"], row["missed"]
                        people += row["found"]
                return people

            go()  # loads
            with _busy(bench, method) as busy:
                begun = time.perf_counter()
                done = go()
                bench.wait()
                wall = time.perf_counter() - begun
            return {"people/s": done / wall, "idle": 1 - busy() / wall}

    bench.piece("pipeline", measure)


def _people(size: tuple[int, int]) -> Any:
    from dp2bench.core.types import People

    height, width = size
    step = width // PEOPLE
    boxes = [
        [k * step + step // 4, height // 8, (k + 1) * step - step // 4, 7 * height // 8]
        for k in range(PEOPLE)
    ]
    masks = np.zeros((PEOPLE, height, width), bool)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[y0:y1, x0:x1] = True
    return People.of(boxes, masks=masks)


class _busy:  # noqa: N801 - used as a function
    """Seconds within the calls of a method's generators."""

    def __init__(self, bench: Bench, method: Any) -> None:
        from dp2bench.deepprivacy2.inpainter import GeneratorInpainter

        self.bench, self.kind, self.spans = bench, GeneratorInpainter, []
        self.original = GeneratorInpainter.inpaint

    def __enter__(self) -> Callable[[], float]:
        def timed(inpainter: Any, *args: Any, **kwargs: Any) -> Any:
            cuda = self.bench.device.startswith("cuda")
            network = inpainter.network()
            marks: list[Any] = []

            def mark(*_: Any) -> None:
                if cuda:
                    marks.append(torch.cuda.Event(enable_timing=True))
                    marks[-1].record()
                else:
                    marks.append(time.perf_counter())

            before = network.register_forward_pre_hook(mark)
            after = network.register_forward_hook(mark)
            try:
                return self.original(inpainter, *args, **kwargs)
            finally:
                before.remove()
                after.remove()
                self.spans += [*zip(marks[::2], marks[1::2], strict=True)]

        self.kind.inpaint = timed
        return self._seconds

    def _seconds(self) -> float:
        if self.bench.device.startswith("cuda"):
            return sum(a.elapsed_time(b) for a, b in self.spans) / 1000
        return sum(b - a for a, b in self.spans)

    def __exit__(self, *_: object) -> None:
        self.kind.inpaint = self.original


def training(bench: Bench) -> None:
    """Steps a second of discriminator and generator, at batches of the recipe and less."""

    def measure(batch: int) -> dict[str, float]:
        import lightning_fabric

        from dp2bench.deepprivacy2.training.crops import Batch
        from dp2bench.deepprivacy2.training.gan import Gan
        from dp2bench.deepprivacy2.training.recipe import load_recipe
        from dp2bench.deepprivacy2.training.step import AdversarialStep

        cuda = bench.device.startswith("cuda")
        overrides: dict[str, Any] = {"batch_size": batch, "precision": "16-mixed" if cuda else "32-true"}
        if bench.tiny:
            overrides["generator"] = {**bench.config, "input_cse": False, "cse_nc": None}
            overrides["discriminator"] = {"kind": "stylegan2", "cnum": 8}
        recipe = load_recipe("fdh_styleganL_nocse", overrides)
        fabric = lightning_fabric.Fabric(
            accelerator="cuda" if cuda else "cpu", devices=1, precision=recipe.precision
        )
        fabric.launch()
        gan = Gan(recipe, None, fabric.device)
        height, width = gan.size
        masks = torch.ones(batch, 1, height, width)
        masks[..., height // 4 : 3 * height // 4, width // 4 : 3 * width // 4] = 0
        crops = Batch(torch.rand(batch, 3, height, width) * 2 - 1, masks, torch.rand(batch, 17, 3))
        on_card = Batch(*(t.to(fabric.device) for t in (crops.images, crops.masks, crops.keypoints)))
        step, numbers = AdversarialStep(gan, recipe, fabric), _count_up()
        seconds = bench.least(lambda: step.advance(on_card, next(numbers)), 5.0)
        return {"steps/s": 1 / seconds, "crops/s": batch / seconds}

    for batch in (2,) if bench.tiny else (8, 32):
        bench.piece(f"training batch {batch}", lambda batch=batch: measure(batch))


def _count_up() -> Iterator[int]:
    """Numbers of steps, none of which has the penalty that comes every sixteenth time."""
    number = 0
    while True:
        number += 1
        if number % 16:
            yield number


def table(bench: Bench) -> None:
    """Print what there is."""
    print(f"\n{bench.about['machine']}, torch {bench.about['torch']}, {platform.python_version()}")
    print(f"{'precision':24}{'batch':>6}{'people/s':>10}{'of floor':>10}")
    for name, value in bench.done.items():
        if not name.startswith("generator") or "failed" in value:
            continue
        precision, batch = name.removeprefix("generator ").split(" batch ")
        least = bench.done.get(f"floor {precision.split()[0]}", {}).get("seconds", float("nan"))
        print(f"{precision:24}{batch:>6}{value['people/s']:10.1f}{least / value['seconds a person']:10.0%}")
    for name, value in bench.done.items():
        if not name.startswith(("generator", "floor")):
            print(
                f"{name}: "
                + ", ".join(f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in value.items())
            )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="a small network, to try the script")
    parser.add_argument("--out", type=Path, default=Path("gpu.json"))
    parser.add_argument("--seconds", type=float, default=460, help="no piece begins after so many")
    given = parser.parse_args()
    if given.device.startswith("cuda") and not torch.cuda.is_available():
        sys.exit("There is no GPU here: give --device cpu --tiny to try the script.")
    bench = Bench(given)
    pipeline(bench)
    training(bench)
    generator(bench)
    table(bench)


if __name__ == "__main__":
    main()
