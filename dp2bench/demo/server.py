"""Serves the demonstration to this machine alone, and keeps nothing of what is shown there."""

from __future__ import annotations

import logging
import os
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dp2bench.core.errors import Dp2benchError
from dp2bench.demo.private_folder import PrivateFolder

HOST = "127.0.0.1"
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; "
    "frame-ancestors 'none'; form-action 'self'; base-uri 'self'"
)
"""A browser asks nobody but this server, whatever the page says."""


@contextmanager
def _settings(folder: PrivateFolder) -> Iterator[None]:
    """What Gradio reads from the environment, and when it is imported."""
    os.environ |= {
        "GRADIO_TEMP_DIR": str(folder.path),
        "GRADIO_ANALYTICS_ENABLED": "False",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_OFFLINE": "1",
    }
    # Uploads pass through Python's temporary files.
    before, tempfile.tempdir = tempfile.tempdir, str(folder.path)
    try:
        yield
    finally:
        tempfile.tempdir = before
        folder.remove()


def serve(port: int, *, seconds: float, ready: Any = None) -> None:
    """Serve until Ctrl-C.

    Args:
        port: of `HOST`; 0 for any that is free.
        seconds: of a video at most, 0 for all of it.
        ready: called with the page's address when it answers.

    Raises:
        Dp2benchError: Gradio is not installed, or the port is taken.

    """
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
    except OSError as error:
        raise Dp2benchError(
            f"The port {port} cannot be used: {error.strerror}.", "Give another, or 0 for any: --port 0."
        ) from error
    folder = PrivateFolder()
    with _settings(folder), listening:
        try:
            import uvicorn

            from dp2bench.demo.page import build
        except ImportError as error:
            raise Dp2benchError(
                f"The demonstration needs a package that is not installed: {error.name}.",
                "Install it: pip install 'dp2bench[demo]'",
            ) from error

        class Server(uvicorn.Server):
            async def shutdown(self, sockets: Any = None) -> None:
                """See uvicorn; pages that are open are cut off, which is no error."""
                logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
                await super().shutdown(sockets)

        server = Server(
            uvicorn.Config(
                _app(build(folder, seconds=seconds)), log_level="warning", timeout_graceful_shutdown=2
            )
        )
        address = f"http://{HOST}:{listening.getsockname()[1]}/"
        if ready is not None:
            _when_started(server, lambda: ready(address))
        server.run(sockets=[listening])


def _when_started(server: Any, tell: Any) -> None:
    def wait() -> None:
        while not server.started:
            time.sleep(0.05)
        tell()

    threading.Thread(target=wait, daemon=True).start()


def _app(page: Any) -> Any:
    """The page behind a policy that keeps browsers at home, and for requests that name this machine alone."""
    import gradio
    from fastapi import FastAPI, Request
    from fastapi.responses import PlainTextResponse
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    from dp2bench.demo.page import CSS, HEAD, theme

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])

    @app.middleware("http")
    async def stay_here(request: Request, call_next: Any) -> Any:
        # Browsers say whose page asks. Gradio would let those of other servers of this machine read, and any page upload.
        origin = request.headers.get("origin")
        if origin is not None and origin != f"http://{request.headers.get('host')}":
            return PlainTextResponse("Only pages of this server may ask.", 403)
        answer = await call_next(request)
        answer.headers["Content-Security-Policy"] = POLICY
        answer.headers["Referrer-Policy"] = "no-referrer"
        answer.headers["Cache-Control"] = "no-store"  # browsers keep no faces on the disk either
        return answer

    return gradio.mount_gradio_app(
        app,
        page,
        path="/",
        server_name=HOST,
        footer_links=[],
        run_history=False,  # it would keep pictures in the browser
        ssr_mode=False,
        mcp_server=False,
        enable_monitoring=False,
        theme=theme(),
        css=CSS,
        head=HEAD,
    )
