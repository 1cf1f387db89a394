"""Places that are named by a URL, on this disk, in memory and in an S3 store."""

from __future__ import annotations

import sys
import uuid
from pathlib import Path

import pytest

from dp2bench.core.errors import Dp2benchError
from dp2bench.core.remote import Remote, is_url, local_path, remote_url, without_password


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("s3://bucket/a/b", "s3://bucket/a/b"),
        ("gs://bucket", "gs://bucket"),
        ("file:///data/in", "file:///data/in"),
        ("memory://in", "memory:///in"),
        ("/data/in", None),
        ("data", None),
        ("v4l2:/dev/video0", None),
        ("C:/pictures", None),
    ],
)
def test_a_command_line_that_takes_paths_knows_urls(given, url):
    assert remote_url(Path(given)) == url


def test_urls_of_this_machine_are_paths():
    assert local_path("file:///data/in") == Path("/data/in")
    assert local_path("s3://data/in") is None
    assert is_url("s3://a")
    assert not is_url("/s3/a")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sftp://me:hunter2@host:22/a", "sftp://me@host:22/a"),
        ("https://:p@ss@host/a", "https://@host/a"),
        ("abfs://container@account.dfs.core.windows.net/a:b@c", "abfs://container@account.dfs.core.windows.net/a:b@c"),
        ("s3://bucket/a:b@c", "s3://bucket/a:b@c"),
        ("file:///data/a:b@c", "file:///data/a:b@c"),
    ],
)  # fmt: skip
def test_passwords_are_not_shown(url, shown):
    assert without_password(url) == shown


@pytest.fixture(params=["file", "memory"])
def remote(request, tmp_path):
    return Remote(f"file://{tmp_path}/x" if request.param == "file" else f"memory://{uuid.uuid4().hex}/x")


def test_files_come_back_as_they_went(remote, tmp_path):
    assert remote.files() == {}
    (tmp_path / "a").write_bytes(b"1")
    remote.upload_all({"b/é c.jpg": tmp_path / "a", "a.jpg": tmp_path / "a"})
    remote.write("b/d.json", b"{}")
    assert [*remote.files()] == ["a.jpg", "b/d.json", "b/é c.jpg"]
    assert [*remote.files("b")] == ["b/d.json", "b/é c.jpg"]
    remote.download_all(["a.jpg", "b/é c.jpg"], tmp_path / "here")
    assert (tmp_path / "here" / "b" / "é c.jpg").read_bytes() == b"1"
    remote.delete("a.jpg")
    remote.delete("a.jpg")
    assert not remote.exists("a.jpg")
    with pytest.raises(FileNotFoundError):
        remote.read("a.jpg")


def test_the_first_who_creates_a_file_made_it(remote):
    assert remote.create("lock", b"one")
    assert not remote.create("lock", b"two")
    assert remote.read("lock") == b"one"


def test_what_is_unknown_or_missing_is_told(monkeypatch):
    with pytest.raises(Dp2benchError, match="there is no kind of place nowhere://"):
        Remote("nowhere://a")
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(Dp2benchError, match=r"pip install \"dp2bench\[s3\]\""):
        Remote("s3://bucket/a")


@pytest.mark.slow
def test_an_s3_store(s3, tmp_path, monkeypatch):
    remote = Remote(f"{s3}/folder")
    test_files_come_back_as_they_went(remote, tmp_path)
    test_the_first_who_creates_a_file_made_it(remote)
    with pytest.raises(Dp2benchError, match=r"s3://missing/a: there is no such bucket\. "):
        Remote("s3://missing/a").files()
    with pytest.raises(Dp2benchError, match="there is no such bucket"):
        Remote("s3://missing/a").write("x", b"")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    Remote("s3://bucket").fs.clear_instance_cache()
    with pytest.raises(Dp2benchError, match="does not answer as it should"):
        Remote("s3://bucket/a").files()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    Remote("s3://bucket").fs.clear_instance_cache()
    with pytest.raises(Dp2benchError, match="there are no credentials that it accepts"):
        Remote("s3://bucket/a").files()
