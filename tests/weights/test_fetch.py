"""Downloads, against a server of our own that can break off and go on."""

import re
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from dp2bench.core.errors import Dp2benchError
from dp2bench.weights import catalogue as weights
from dp2bench.weights import digests, fetch
from dp2bench.weights.catalogue import Place

CONTENT = bytes(range(256)) * 4096


class Server(BaseHTTPRequestHandler):
    content, breaks_after, ranges, asked = CONTENT, None, True, []

    def do_GET(self):
        if self.path == "/gone":
            self.send_error(404)
            return
        span = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")) if self.ranges else None
        start = int(span[1]) if span else 0
        type(self).asked.append(start)
        if start >= len(self.content):
            self.send_error(416)
            return
        self.send_response(206 if span else 200)
        if span:
            self.send_header("Content-Range", f"bytes {start}-{len(self.content) - 1}/{len(self.content)}")
        self.send_header("Content-Length", str(len(self.content) - start))
        self.end_headers()
        end = len(self.content) if self.breaks_after is None else start + self.breaks_after
        self.wfile.write(self.content[start:end])

    def log_message(self, *given):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("DP2BENCH_WEIGHTS", str(tmp_path / "weights"))
    handler = type("Handler", (Server,), {"asked": []})
    made = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    handler.url = f"http://127.0.0.1:{made.server_port}"
    yield handler
    made.shutdown()
    made.server_close()


def test_a_whole_file(server, tmp_path):
    seen = []
    fetch.download(f"{server.url}/x", tmp_path / "x", lambda done, total: seen.append((done, total)))
    assert (tmp_path / "x").read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [p.name for p in tmp_path.glob("*.partial")] == []


@pytest.mark.parametrize("ranges", [True, False])
def test_goes_on_where_it_broke_off(server, tmp_path, ranges):
    server.ranges, server.breaks_after = ranges, 300_000
    with pytest.raises(Dp2benchError, match="broke off|IncompleteRead"):
        fetch.download(f"{server.url}/x", tmp_path / "x")
    assert not (tmp_path / "x").exists()
    server.breaks_after = None
    fetch.download(f"{server.url}/x", tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == CONTENT
    assert server.asked == ([0, 300_000] if ranges else [0, 0])


def test_errors_are_reasons_not_tracebacks(server, tmp_path):
    with pytest.raises(Dp2benchError, match="HTTP 404"):
        fetch.download(f"{server.url}/gone", tmp_path / "x")
    with pytest.raises(Dp2benchError, match="refused"):
        fetch.download("http://127.0.0.1:9/x", tmp_path / "x")
    with pytest.raises(Dp2benchError, match="no web address"):
        fetch.download("file:///etc/passwd", tmp_path / "x")


def known(server, *paths, **given):
    made = weights.entry("cse_R_50_FPN_s1x")
    return replace(made, places=tuple(Place(f"{server.url}{p}", "a test") for p in paths), **given)


def test_the_next_place_is_tried_and_the_file_checked(server, tmp_path):
    torch.save({"a": torch.zeros(2)}, tmp_path / "made.pth")
    server.content = (tmp_path / "made.pth").read_bytes()
    entry = known(server, "/gone", "/x", file="cse.pth", sha256=digests.sha256(tmp_path / "made.pth"))
    path = fetch.fetch(entry, fetch.install_checkpoint)
    assert path == weights.folder() / "cse.pth"
    assert digests.verify(path, entry) == "matches its record and the published sha256"
    bad = replace(entry, file="other.pth", sha256="0" * 64)
    with pytest.raises(Dp2benchError, match="could not be downloaded") as error:
        fetch.fetch(bad, fetch.install_checkpoint)
    assert "HTTP 404" in error.value.problem
    assert "its sha256 is" in error.value.problem
    assert "weights import FILE" in error.value.remedy
    assert not (weights.folder() / "other.pth").exists()


def test_a_file_that_is_there_is_not_fetched_again(server):
    weights.folder().mkdir(parents=True)
    (weights.folder() / weights.entry("dsfd").file).write_bytes(b"here")
    assert fetch.fetch(weights.entry("dsfd"), fetch.install_checkpoint).read_bytes() == b"here"
    assert server.asked == []


def test_a_page_instead_of_weights_is_no_detector(server):
    server.content = b"<html>please log in</html>"
    with pytest.raises(Dp2benchError, match="cannot be read as a checkpoint"):
        fetch.fetch(known(server, "/x", file="cse.pth"), fetch.install_checkpoint)
    assert list(weights.folder().iterdir()) == []


def test_detectors_take_their_weights_from_the_folder(server):
    from dp2bench.detection import checkpoints

    entry = weights.entry("mask_rcnn_X_101_32x8d_FPN_3x")
    for asked in (None, "official", entry.name):
        with pytest.raises(
            Dp2benchError, match=r"'mask-rcnn' needs trained weights that are not on.*X_101"
        ) as error:
            checkpoints.find(asked, "mask-rcnn", entry.name)
        assert f"dp2bench weights fetch {entry.name}" in error.value.remedy
        assert f"dp2bench weights import FILE --as {entry.name}" in error.value.remedy
    weights.folder().mkdir(parents=True)
    (weights.folder() / entry.file).write_bytes(b"here")
    for asked in (None, "official", entry.name):
        assert checkpoints.find(asked, "mask-rcnn", entry.name).name == entry.file
    with pytest.raises(weights.MissingWeightsError, match="R_50") as error:
        checkpoints.find("mask_rcnn_R_50_FPN_3x", "mask-rcnn", entry.name)
    assert "X_101" not in str(error.value)
    with pytest.raises(Dp2benchError, match=r"no file fdh_styleganL.*dp2bench weights list"):
        checkpoints.find("fdh_styleganL", "mask-rcnn", entry.name)  # a generator's


@pytest.mark.parametrize("name", ["mask_rcnn_X_101_32x8d_FPN_3x", "cse_R_101_FPN_DL_soft_s1x", "dsfd"])
def test_a_detectors_file_that_changed_since_it_was_fetched_is_refused(server, name):
    from dp2bench.core import registry

    entry = weights.entry(name)
    detector = entry.use.split()[1].strip(",")
    path = weights.folder() / entry.file
    path.parent.mkdir(parents=True)
    path.write_bytes(b"as it was")
    assert registry.create("detectors", detector, {}).meta.weights[0].sha256 == digests.sha256(path)
    digests.write_record(path)
    assert registry.create("detectors", detector, {}).meta.weights[0].name == entry.file
    path.write_bytes(b"tampered!")
    for given in ({}, {"weights": str(path)}):
        with pytest.raises(Dp2benchError, match=f"{entry.file} has changed since"):
            registry.create("detectors", detector, given)
    if "FPN" in name:
        (weights.folder() / weights.entry("cse_R_101_FPN_DL_soft_s1x").file).touch()
        (weights.folder() / weights.entry("mask_rcnn_X_101_32x8d_FPN_3x").file).touch()
        with pytest.raises(Dp2benchError, match=f"{entry.file} has changed since"):
            registry.create("detectors", "deepprivacy2", {"mask_rcnn": "official"})
