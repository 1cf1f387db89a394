"""Time a generator: ``python benchmarks/generator.py fdh_styleganL --threads 1 2 --batches 1 2 4 8``.

Prints seconds per person of the plain path, which scales its weights and resamples in separate steps on every call as the
published code does, and of the path made by ``prepare_for_inference``. ``cpu`` is processor time, which other programs on the
machine disturb less than ``wall``; each is the least of the repetitions. ``floor`` is the network's multiplications at the speed
of one large matrix product or one large 3 x 3 convolution, whichever is faster, on the same threads or GPU, in the same
precision, in processor time where there is one thread; below one means fewer multiplications than the convolutions as they are
written have (Winograd). ``batch`` is the largest difference between an output in this batch and the same crop alone, ``plain``
that from the plain path in float32.
``--published`` takes folders of the published code (a checkout of hukkelas/deep_privacy2, and where it is not installed one of
hukkelas/torch_ops), measures its generator with the same weights and inputs, one person at a time as it runs them, and prints how
many times faster this one is. ``--reference`` does the same for seconds a person that were measured elsewhere on the same machine.
"""

from __future__ import annotations

import argparse
import copy
import importlib
import platform
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from dp2bench.deepprivacy2.generators.deep_privacy1 import DeepPrivacy1
from dp2bench.deepprivacy2.generators.mapping import sample_latents
from dp2bench.deepprivacy2.generators.networks import build, catalogue


def inputs(network: Any, batch: int, device: str) -> dict[str, torch.Tensor]:
    height, width = network.imsize
    mask = torch.ones(batch, 1, height, width)
    mask[..., height // 4 : 3 * height // 4, width // 4 : 3 * width // 4] = 0
    given = {
        "condition": torch.rand(batch, 3, height, width) * 2 - 1,
        "mask": mask,
        "z": sample_latents(range(batch), network.z_channels),
    }
    if getattr(network, "input_cse", False):
        given |= {"embedding": torch.randn(batch, network.cse_nc, height, width), "E_mask": 1 - mask}
    if isinstance(network, DeepPrivacy1):
        given["keypoints"] = torch.rand(batch, 7, 2)
    return {key: value.to(device) for key, value in given.items()}


def measure(network: Any, given: dict[str, torch.Tensor], repeats: int) -> tuple[float, float]:
    """Least wall and processor seconds of a call."""
    times = []
    for _ in range(repeats + 1):
        wall, cpu = time.perf_counter(), time.process_time()
        network(**given)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append((time.perf_counter() - wall, time.process_time() - cpu))
    return min(t[0] for t in times[1:]), min(t[1] for t in times[1:])


def floor(flop: float, device: str, precision: torch.dtype, repeats: int) -> tuple[float, dict[str, float]]:
    """Least seconds for ``flop`` operations, and operations a second of a product and a convolution that fill the machine."""
    cuda = device.startswith("cuda")
    clock = time.perf_counter if cuda or torch.get_num_threads() > 1 else time.process_time
    n, c, h, w = (8192, 512, 288, 160) if cuda else (2048, 256, 144, 80)
    a = torch.randn(n, n, device=device, dtype=precision)
    layout = torch.channels_last
    x = torch.randn(1, c, h, w, device=device, dtype=precision).contiguous(memory_format=layout)
    kernel = torch.randn(c, c, 3, 3, device=device, dtype=precision).contiguous(memory_format=layout)

    def speed(work: Callable[[], torch.Tensor], operations: int) -> float:
        times = []
        for _ in range(repeats + 1):
            start = clock()
            work()
            if cuda:
                torch.cuda.synchronize()
            times.append(clock() - start)
        return operations / min(times[1:])

    speeds = {
        "matrix product": speed(lambda: a @ a, 2 * n**3),
        "convolution": speed(lambda: F.conv2d(x, kernel, padding=1), 18 * c * c * h * w),
    }
    return flop / max(speeds.values()), speeds


def machine(device: str) -> str:
    """What it runs on."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name()
    cpu = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*:\s*(.+)", cpu.read_text("utf-8")) if cpu.is_file() else []
    return names[0] if names else platform.processor()


def published(folders: Sequence[Path], name: str, network: Any) -> Any:
    """The published network of that name, from the user's own copy of its code, with the weights of ``network``."""
    sys.path[:0] = [str(folder.resolve()) for folder in folders]
    try:
        module = importlib.import_module("dp2.generator.stylegan_unet")
    except ImportError as error:
        sys.exit(f"The published code in {', '.join(map(str, folders))} cannot be imported: {error}.")
    theirs = module.StyleGANUnet(**catalogue()[name]).eval()
    theirs.load_state_dict(network.state_dict(), strict=True)
    return theirs.to(next(network.parameters()).device)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "name", nargs="?", default="fdh_styleganL", choices=[n for n in catalogue() if "discr" not in n]
    )
    parser.add_argument("--threads", type=int, nargs="+", default=[2], help="one table for each number")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--autocast", choices=["float16", "bfloat16"], help="half precision; on a CPU bfloat16"
    )
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--preconvolve", action="store_true")
    parser.add_argument("--no-channels-last", action="store_true")
    parser.add_argument("--direct", action="store_true", help="no fast convolution on a CPU")
    other = parser.add_mutually_exclusive_group()
    other.add_argument(
        "--published", type=Path, nargs="+", help="folders of the published code, to be measured"
    )
    other.add_argument("--reference", type=float, help="seconds a person of another implementation")
    args = parser.parse_args()
    if args.published and args.name == "deep_privacy1":
        parser.error("--published measures the style-based generators only")
    network: Any = build(args.name).eval().to(args.device)
    theirs = published(args.published, args.name, network) if args.published else None
    for threads in args.threads:
        torch.set_num_threads(threads)
        table(args, network, theirs, threads)


def table(args: argparse.Namespace, network: Any, theirs: Any, threads: int) -> None:
    """Measure with so many threads, and print."""
    parameters = sum(p.numel() for p in network.parameters()) / 1e6
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(**inputs(network, 1, args.device))
    flop = counter.get_total_flops()
    half = getattr(torch, args.autocast) if args.autocast else None
    least, speeds = floor(flop, args.device, half or torch.float32, args.repeats)
    print(
        f"{args.name}: {parameters:.2f} M parameters, {flop / 1e9:.0f} GFLOP a person\n"
        f"{machine(args.device)}, {threads} threads, torch {torch.__version__}, {args.autocast or 'float32'}\n"
        f"floor {least:.4f} s a person: "
        + ", ".join(f"{name} {speed / 1e9:.0f} GFLOP/s" for name, speed in speeds.items())
    )
    prepared = copy.deepcopy(network).prepare_for_inference(
        channels_last=not args.no_channels_last,
        preconvolve=args.preconvolve,
        compile=args.compile,
        autocast=half,
        fast_convolution=not args.direct,
    )
    cores = args.device.startswith("cuda") or threads > 1
    reference = args.reference
    if theirs is not None:
        given = inputs(network, 1, args.device)
        given["condition"] = given["condition"] * given["mask"]  # it does not erase the hole itself
        with torch.inference_mode():
            wall, cpu = measure(theirs, given, args.repeats)
            far = (theirs(**given)["img"] - network(**given)["img"]).abs().max()
        reference = wall if cores else cpu
        print(
            f"published: {wall:.4f} s a person wall, {cpu:.3f} cpu; differs from the plain path by {far:.0e}"
        )
    against = "  x reference" if reference else ""
    print(
        f"batch  plain wall    cpu  prepared wall    cpu  people/s  x floor{against}    batch    plain   (seconds a person)"
    )
    with torch.inference_mode():
        for batch in args.batches:
            given = inputs(network, batch, args.device)
            a, b = measure(network, given, args.repeats)
            wall, cpu = measure(prepared, given, args.repeats)
            together = prepared(**given)["img"]
            rows = [{k: v[i : i + 1] for k, v in given.items()} for i in range(batch)]
            alone = torch.cat([prepared(**row)["img"] for row in rows])
            far = (together - torch.cat([network(**row)["img"] for row in rows])).abs().max()
            used = wall if cores else cpu
            ratio = f"  {reference / (used / batch):11.2f}" if reference else ""
            print(
                f"{batch:5}  {a / batch:10.4f} {b / batch:6.3f}  {wall / batch:13.4f} {cpu / batch:6.3f}  {batch / wall:8.1f}  "
                f"{used / batch / least:7.2f}{ratio}  {(together - alone).abs().max():7.0e}  {far:7.0e}",
                flush=True,
            )


if __name__ == "__main__":
    main()
