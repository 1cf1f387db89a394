"""What this machine lends to a computation."""

from __future__ import annotations

import os

from dp2bench.core.errors import Dp2benchError


def default_threads() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pick_device(wanted: str | None = None) -> str:
    """The torch device to compute on: what is wanted, or with None or ``auto`` a GPU where there is one.

    Raises:
        Dp2benchError: it is no device that torch has here.

    """
    import torch

    if wanted in {None, "auto"}:
        return "cuda" if torch.cuda.is_available() else "cpu"
    if str(wanted).partition(":")[0] not in {"cpu", "cuda"}:
        raise Dp2benchError(f"Unknown device {wanted!r}.", "Use cpu, cuda, cuda:1, or auto.")
    if wanted != "cpu" and not torch.cuda.is_available():
        raise Dp2benchError(
            f"There is no CUDA device for --device {wanted}.",
            "Use --device cpu, or check the driver with `dp2bench doctor`.",
        )
    return str(wanted)
