"""Processes of ours that work for this one and end with it, however it ends."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, BinaryIO

from dp2bench.core.errors import Dp2benchError
from dp2bench.core.machine import THREADS


class WorkerDied(Exception):  # noqa: N818 - what happened, for who knows what the worker was doing
    """The other end of a channel is gone."""


class Channel:
    """Objects to and from the other process. Only ever between processes of ours: they are pickled."""

    def __init__(self, incoming: BinaryIO, outgoing: BinaryIO) -> None:
        self._incoming, self._outgoing = incoming, outgoing

    def send(self, message: Any) -> None:
        """Hand over an object. Raises WorkerDied."""
        data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
        try:
            self._outgoing.write(struct.pack("<Q", len(data)))
            self._outgoing.write(data)
            self._outgoing.flush()
        except (OSError, ValueError) as error:
            raise WorkerDied from error

    def receive(self) -> Any:
        """Wait for an object. Raises WorkerDied."""
        try:
            head = self._incoming.read(8)
            size = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
            data = self._incoming.read(size)
        except (OSError, ValueError) as error:
            raise WorkerDied from error
        if not size or len(data) < size:
            raise WorkerDied
        return pickle.loads(data)  # noqa: S301 - of our own child or parent


class Worker(Channel):
    """A process that calls a function with its `Channel` to us, and ends when that returns or we are gone.

    A child of our own rather than multiprocessing: that would run the caller's main script again.

    Args:
        function: of a module.
        threads: that its computations may use.
        number: of the worker; where ``CUDA_VISIBLE_DEVICES`` names several GPUs, workers take turns to have one each.

    """

    def __init__(self, function: Callable[[Channel], None], threads: int = 1, number: int = 0) -> None:
        path = os.pathsep.join(p for p in sys.path if p)
        environment = {**os.environ, **dict.fromkeys(THREADS, str(threads)), "PYTHONPATH": path}
        gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        if len(gpus) > 1:
            environment["CUDA_VISIBLE_DEVICES"] = gpus[number % len(gpus)]
        self.process = subprocess.Popen(  # noqa: S603 - our own module
            # Without the folder that it is started in: a checkout there would be taken for the installed package.
            [
                sys.executable,
                "-c",
                f"import sys; sys.path = [*filter(None, sys.path)]; from {__name__} import _serve; _serve({threads}, {os.getpid()})",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        super().__init__(self.process.stdout, self.process.stdin)  # type: ignore[arg-type]
        self.send(function)

    def died(self, doing: str, advice: str) -> Dp2benchError:
        """What to tell a user of a worker that raised `WorkerDied`; ``advice`` says what to do about it."""
        code = self.process.wait()
        why = f"was killed (signal {-code})" if code < 0 else f"ended with exit status {code}"
        memory = " Where memory ran out, use fewer workers." if code == -signal.SIGKILL else ""
        return Dp2benchError(
            f"A worker process {why} while it worked on {doing}.",
            f"{advice}{memory}",
        )

    def stop(self, *, now: bool) -> None:
        """End it: at once, or when it has done what it was told."""
        if now:
            self.process.kill()
        with contextlib.suppress(OSError):
            self._outgoing.close()
        self.process.wait()
        self._incoming.close()


def _serve(threads: int, ours: int) -> None:
    """The worker's side of `Worker`; ``ours`` is the process that we work for."""
    # Ctrl-C goes to all of the terminal's processes; the one that we work for ends us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    incoming, outgoing = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints is no message of ours
    threading.Thread(target=_end_with, args=(ours,), daemon=True).start()
    import cv2

    from dp2bench.core.memory import keep_freed_memory

    keep_freed_memory()
    cv2.setNumThreads(threads)
    channel = Channel(incoming, outgoing)
    with contextlib.suppress(WorkerDied):
        channel.receive()(channel)


def _end_with(process: int) -> None:
    """End when the process is gone that we are a child of: killed, it cannot tell us."""
    while os.name != "posix" or os.getppid() == process:
        time.sleep(0.2)
    os._exit(1)
