"""The demonstration in a real browser: a photograph is dropped, people are chosen and replaced, and nothing is kept or sent."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from skimage.data import astronaut
from typer.testing import CliRunner

from dp2bench.cli.main import app
from dp2bench.core.altered import source_type_of
from dp2bench.core.images import read_image, write_image
from dp2bench.demo.private_folder import PrivateFolder

CHROMIUM = os.environ.get("CHROMIUM") or next(
    (p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None
)
WAIT = 120_000


def test_the_folder_is_emptied_with_the_last_page_and_goes_with_the_program(monkeypatch, tmp_path: Path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = PrivateFolder()
    assert folder.path.stat().st_mode & 0o077 == 0
    folder.enter("one")
    folder.enter("two")
    (folder.path / "a").mkdir()
    (folder.path / "a" / "face.png").write_bytes(b"face")
    folder.leave("one")
    assert (folder.path / "a" / "face.png").exists()
    folder.leave("two")
    assert not [*folder.path.iterdir()]
    (folder.path / "late.png").write_bytes(b"what they had asked for")
    deadline = time.monotonic() + 10
    while [*folder.path.iterdir()]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    folder.enter("three")
    (folder.path / "new.png").write_bytes(b"face")
    time.sleep(1.5)
    assert (folder.path / "new.png").exists()
    folder.remove()
    assert not folder.path.exists()


def test_a_port_that_is_taken_is_one_message():
    from dp2bench.core.errors import Dp2benchError

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = CliRunner().invoke(app, ["demo", "--port", str(taken.getsockname()[1]), "--no-browser"])
    assert isinstance(result.exception, Dp2benchError)
    assert "cannot be used" in str(result.exception)


class Served(NamedTuple):
    address: str
    temporary: Path


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    pytest.importorskip("gradio", reason="the extra demo is not installed")
    temporary = tmp_path_factory.mktemp("temporary")
    with subprocess.Popen(
        [sys.executable, "-m", "dp2bench", "demo", "--port", "0", "--no-browser", "--seconds", "1"],
        env=os.environ | {"TMPDIR": str(temporary), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+/", said)
        assert found, said
        yield Served(found[0], temporary)
        process.send_signal(signal.SIGTERM)  # uvicorn hands it on when it has ended
        process.wait(60)
    assert not [*temporary.iterdir()]


@pytest.fixture
def page(served: Served, request: pytest.FixtureRequest) -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no chromium, chromium-browser or google-chrome on PATH, and CHROMIUM names none")
    width, scheme = request.param
    with api.sync_playwright() as playwright:
        quiet = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-sync"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=quiet)
        opened = browser.new_page(viewport={"width": width, "height": 850}, color_scheme=scheme)
        asked: list[str] = []
        errors: list[str] = []
        opened.on("request", lambda sent: asked.append(sent.url))
        opened.on("pageerror", lambda error: errors.append(str(error)))
        opened.goto(served.address)
        opened.wait_for_selector("#picture input[type=file]", state="attached", timeout=WAIT)
        yield opened
        browser.close()
    assert errors == []
    assert [url for url in asked if not url.startswith((served.address, "data:", "blob:"))] == []


def drop(page: Any, path: Path) -> None:
    page.set_input_files("#picture input[type=file]", str(path))


def said(page: Any, words: str) -> str:
    page.wait_for_function(
        "words => document.querySelector('#said')?.innerText.includes(words)", arg=words, timeout=WAIT
    )
    return str(page.inner_text("#said"))


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.parametrize("page", [(1280, "light")], indirect=True)
def test_a_photograph_is_dropped_and_its_people_are_replaced(page: Any, served: Served, tmp_path: Path):
    write_image(tmp_path / "astronaut.png", astronaut())
    drop(page, tmp_path / "astronaut.png")
    assert "found" in said(page, "found")
    page.wait_for_selector("#who input[type=checkbox]", timeout=WAIT)
    boxes = page.locator("#who input[type=checkbox]")
    people = boxes.count()
    assert people >= 1
    assert all(box.is_checked() for box in boxes.all())
    page.click("#go")
    assert f"{people} of {people} replaced" in said(page, "replaced")
    page.wait_for_selector("#slider img", timeout=WAIT)
    with page.expect_download() as download:
        page.click("#download")
    done = tmp_path / "done.png"
    download.value.save_as(done)
    assert source_type_of(done.read_bytes()) == "compositeWithTrainedAlgorithmicMedia"
    assert not np.array_equal(read_image(done)[100:400, 150:300], astronaut()[100:400, 150:300])
    for box in boxes.all():
        box.uncheck()
    page.click("#go")
    assert f"0 of {people} replaced" in said(page, "by your choice")
    assert [*served.temporary.rglob("*.png")]
    page.close()
    deadline = time.monotonic() + 30
    while [p for p in served.temporary.rglob("*") if p.is_file()]:
        assert time.monotonic() < deadline, [*served.temporary.rglob("*")]
        time.sleep(0.2)


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.parametrize("page", [(400, "dark")], indirect=True)
def test_a_phone_shows_all_of_it_and_what_is_no_picture_is_one_message(page: Any, tmp_path: Path):
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    (tmp_path / "broken.png").write_bytes(b"nothing of the kind")
    drop(page, tmp_path / "broken.png")
    page.wait_for_selector(".toast-body", timeout=WAIT)
    assert page.locator(".toast-body").count() == 1
    assert "broken.png" in page.inner_text(".toast-body")
    assert "Traceback" not in page.inner_text("body")


@pytest.mark.slow
@pytest.mark.browser
def test_other_names_for_this_machine_are_refused(served: Served):
    import urllib.error
    import urllib.request

    asked = urllib.request.Request(served.address, headers={"Host": "attacker.example"})
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(asked)


@pytest.mark.slow
@pytest.mark.browser
def test_pages_of_other_servers_are_refused(served: Served):
    import httpx

    for origin, answer in ((served.address.rstrip("/"), 200), ("http://localhost:1", 403), ("null", 403)):
        given = httpx.get(f"{served.address}config", headers={"Origin": origin})
        assert given.status_code == answer, origin
        assert answer == 200 or "Access-Control-Allow-Origin" not in given.headers


@pytest.mark.slow
@pytest.mark.browser
def test_ctrl_c_while_a_page_is_open_says_that_all_is_deleted(tmp_path: Path):
    import urllib.request

    pytest.importorskip("gradio", reason="the extra demo is not installed")
    process = subprocess.Popen(
        [sys.executable, "-m", "dp2bench", "demo", "--port", "0", "--no-browser"],
        env=os.environ | {"TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        assert process.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:\d+/", process.stdout.readline())
        assert found
        with urllib.request.urlopen(f"{found[0]}gradio_api/heartbeat/somebody") as page:
            page.readline()
            process.send_signal(signal.SIGINT)
            out = process.communicate(timeout=60)[0]
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert "What was shown there is deleted" in out
    assert "Traceback" not in out
    assert "goes on" not in out
    assert not [*tmp_path.iterdir()]
