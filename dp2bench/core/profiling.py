"""Named spans of time inside methods, for whoever measures where a picture's time goes. They cost nothing while nobody does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Protocol


class Profiler(Protocol):
    """Told where spans begin and end."""

    def span(self, name: str) -> AbstractContextManager[None]:
        """Entered when the work called ``name`` begins, left when it ends."""
        ...


_profiler: ContextVar[Profiler | None] = ContextVar("profiler", default=None)


def span(name: str) -> AbstractContextManager[None]:
    """Name the work of a ``with`` block. Spans of one picture must not overlap.

    An anonymizer around inpainters names ``crop``, ``inpaint`` and ``stitch``.
    """
    profiler = _profiler.get()
    return nullcontext() if profiler is None else profiler.span(name)


@contextmanager
def profiling(profiler: Profiler) -> Iterator[None]:
    """Tell a profiler every span of this thread that begins in the ``with`` block."""
    token = _profiler.set(profiler)
    try:
        yield
    finally:
        _profiler.reset(token)
