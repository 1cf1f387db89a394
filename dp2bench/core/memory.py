"""How this process holds memory."""

from __future__ import annotations

import contextlib
import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
"""Of glibc's <malloc.h>."""


def keep_freed_memory() -> None:
    """Let the C library keep what is freed for the next tensors.

    It gives large blocks back to the system at once, and the system clears every page of the next one: two thirds of the time that a
    frozen network's large batches take on a CPU. Threads share one pool, for what one of them reads another frees. Does nothing where
    the C library is another one than glibc.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_THRESHOLD, 2**30)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(M_ARENA_MAX, 1)
