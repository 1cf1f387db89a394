"""The program, called within the process of the tests: starting Python and loading torch takes longer than most commands.

Tests of what only a process of its own has (signals, what is imported) start one themselves.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
import traceback
from pathlib import Path
from unittest import mock

from dp2bench.cli.main import main


def run(*arguments: object, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """What ``dp2bench`` with these arguments says and returns, on a terminal of 80 columns, in a folder."""
    words = ["dp2bench", *map(str, arguments)]
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", errors) for errors in ("strict", "backslashreplace"))
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    code, before = 0, Path.cwd()
    os.chdir(cwd or before)
    with (
        mock.patch.dict(os.environ, {"COLUMNS": "80"} | environment),
        mock.patch.object(sys, "argv", words),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        except Exception:  # noqa: BLE001 - Python would end with it
            traceback.print_exc()
            code = 1
        finally:
            os.chdir(before)
            for number, handler in handlers.items():
                signal.signal(number, handler)
    texts = []
    for stream in (out, err):
        stream.flush()
        texts.append(stream.buffer.getvalue().decode())  # type: ignore[attr-defined]
    return subprocess.CompletedProcess(words, code, *texts)
