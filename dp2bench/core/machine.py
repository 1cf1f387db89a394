"""What this machine lends to a computation."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from dp2bench.core.errors import Dp2benchError


def default_threads() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


WORKER_MEMORY = 3 << 30
"""Bytes that a process with networks and pictures may take."""


def default_workers(most: int = 8) -> int:
    """Processes that have room here: one a processor, where there is memory for each."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    return max(1, min(default_threads(), memory // WORKER_MEMORY or 1, most))


_GPU_NODES = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/kfd", "/dev/dxg")
"""What Linux shows where there is a driver of NVIDIA or AMD, or Windows' one."""


def may_have_gpu() -> bool:
    """Whether torch may find a GPU here. Only then is it worth asking: to import torch takes seconds."""
    if sys.platform.startswith("linux"):
        return any(Path(node).exists() for node in _GPU_NODES)
    return sys.platform != "darwin"


THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
"""Read when a library is loaded. Several processes whose threads outnumber the processors wait for each other most of the time."""


def threads_each(processes: int) -> int:
    """Threads for each of so many processes: the processors shared out, or fewer where ``OMP_NUM_THREADS`` says so."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    share = max(1, default_threads() // processes)
    return min(share, int(wanted)) if wanted.isdecimal() and int(wanted) else share


def limit_threads(threads: int) -> None:
    """Let the libraries of this process, loaded or not, compute on so many threads."""
    os.environ.update(dict.fromkeys(THREADS, str(threads)))
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)


def pick_device(wanted: str | None = None) -> str:
    """The torch device to compute on: what is wanted, or with None or ``auto`` a GPU where there is one.

    Raises:
        Dp2benchError: it is no device that torch has here.

    """
    if wanted == "cpu" or (wanted in {None, "auto"} and not may_have_gpu()):
        return "cpu"
    import torch

    if wanted in {None, "auto"}:
        return "cuda" if torch.cuda.is_available() else "cpu"
    if str(wanted).partition(":")[0] not in {"cpu", "cuda"}:
        raise Dp2benchError(f"Unknown device {wanted!r}.", "Use cpu, cuda, cuda:1, or auto.")
    if not torch.cuda.is_available():
        raise Dp2benchError(
            f"There is no CUDA device for --device {wanted}.",
            "Use --device cpu, or check the driver with `dp2bench doctor`.",
        )
    return str(wanted)
