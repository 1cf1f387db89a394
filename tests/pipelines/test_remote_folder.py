"""Folders of an object store through `dp2bench anonymize`: the bytes of a folder here, also after a kill."""

from __future__ import annotations

import functools
import json
import os
import runpy
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from dp2bench.core.errors import Dp2benchError
from dp2bench.core.images import write_image
from dp2bench.core.remote import Remote
from dp2bench.pipelines import remote_folder
from dp2bench.pipelines.remote_folder import RemoteFolder, batches

PROGRAM = runpy.run_path(str(Path(__file__).parents[1] / "cli" / "program.py"))["run"]
COMMAND = ("-m", "blur", "--detector", "full-image", "--threads", "1")


@pytest.fixture
def album(tmp_path) -> Path:
    rng = np.random.default_rng(0)
    for k in range(12):
        write_image(
            tmp_path / "in" / "abc"[k % 3] / f"{k} é.png", rng.integers(0, 255, (20, 30, 3), np.uint8)
        )
    (tmp_path / "in" / "broken.jpg").write_bytes(b"no picture")
    (tmp_path / "in" / "notes.txt").write_text("names of people")
    return tmp_path / "in"


def files(url: str) -> dict[str, bytes]:
    remote = Remote(url)
    return {name: remote.read(name) for name in remote.files()}


def here(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def said(done) -> str:
    return " ".join(done.stdout.split())


def check_as_here(album: Path, source: str, target: str, *options: str) -> None:
    local = album.parent / "local"
    alone = PROGRAM("anonymize", album, local, *COMMAND)
    assert alone.returncode == 1
    done = PROGRAM("anonymize", source, target, *COMMAND, *options)
    assert done.returncode == 1, done.stderr
    assert files(target) == here(local)
    assert len(here(local)) == 12
    assert f"{source}/broken.jpg" in said(done).replace(" ", "")
    assert "12 pictures, 12 people" in said(done)
    assert "not copied: 1 (.txt 1)" in said(done)


def test_a_url_of_this_machine(album, tmp_path, monkeypatch):
    monkeypatch.setattr(remote_folder, "FILES", 5)
    check_as_here(album, f"file://{album}", f"file://{tmp_path}/out")


def test_a_run_that_was_stopped_goes_on(album, tmp_path, monkeypatch):
    monkeypatch.setattr(remote_folder, "FILES", 5)
    source, target, settings = f"file://{album}", f"file://{tmp_path}/out", {"method": "copy"}
    worked = []

    def copy(source: Path, target: Path) -> dict:
        worked.append(sorted(p.name for p in source.rglob("*") if p.is_file()))
        for path in source.rglob("*"):
            if path.is_file():
                (target / path.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
                (target / path.relative_to(source)).write_bytes(path.read_bytes())
        return {"names": worked[-1], "at": str(source), "to": f"{target}/x"}

    going = RemoteFolder(source, target, settings).run(copy)
    first = next(going)
    going.close()
    assert first["at"] == source
    assert first["to"] == f"{target}/x"
    with pytest.raises(Dp2benchError, match="begun with other settings"):
        RemoteFolder(source, target, {"method": "other"})
    again = RemoteFolder(source, target, settings)
    told = [*again.run(copy)]
    assert told[0] == first
    assert sorted(name for batch in worked for name in batch) == sorted(
        p.name for p in map(Path, here(album))
    )
    again.close()
    assert files(target) == here(album)
    assert not (tmp_path / "out" / ".dp2bench-unfinished").exists()
    with pytest.raises(Dp2benchError, match="is not empty"):
        RemoteFolder(source, target, settings)


def test_a_password_in_a_url_is_not_noted(album):
    source, target = "memory://me:hunter2@host/in", "memory://me:hunter3@host/out"
    for name, path in ((p.name, p) for p in album.rglob("*.png")):
        Remote(source).write(name, path.read_bytes())
    going = RemoteFolder(source, target, {}).run(lambda here, out: {"at": str(here), "to": str(out)})
    assert [*going] == [{"at": "memory://me@host/in", "to": "memory://me@host/out"}]
    assert b"hunter" not in b"".join(files(target).values())
    with pytest.raises(Dp2benchError, match="begun with other settings") as error:
        RemoteFolder(source, target, {"method": "other"})
    assert "hunter" not in str(error.value)


def test_originals_that_a_killed_run_left_on_this_machine_are_deleted(album, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    command = [sys.executable, "-m", "dp2bench", "anonymize", f"file://{album}", f"file://{tmp_path}/out"]
    waits = tmp_path / "sitecustomize.py"  # a batch that is there, and never done
    waits.write_text(
        "import dp2bench.pipelines.remote_folder as r, time\n"
        "r.RemoteFolder._work = lambda *given: (print(given[3], flush=True), time.sleep(300))\n"
    )
    killed = subprocess.Popen(
        [*command, *COMMAND],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert killed.stdout is not None
    fetched = Path(killed.stdout.readline().strip())
    killed.kill()
    killed.wait()
    assert [*fetched.rglob("*.png")]
    assert PROGRAM("anonymize", *command[-2:], *COMMAND).returncode == 1
    assert not [*(tmp_path / "tmp").iterdir()]


def test_names_that_no_folder_can_hold_are_said(album, tmp_path, monkeypatch):
    """Object stores know no folders: one object may be called as others' folder is. Fetching one of them would say nothing."""
    names = ["a.png", "a.png/b.png", "c/../d.png", "e//f.png", "g/", "h/i.png"]
    monkeypatch.setattr(
        Remote, "files", lambda self, below="": {} if "out" in self.url else {name: {} for name in names}
    )
    folder = RemoteFolder(f"file://{album}", f"file://{tmp_path}/out", {})
    assert [name for batch in folder.batches for name in batch.names] == ["a.png/b.png", "h/i.png"]
    assert [text.partition(" has a name")[0].removeprefix(f"file://{album}/") for text in folder.refused] == [
        "a.png",
        "c/../d.png",
        "e//f.png",
    ]


def test_batches_keep_together_what_belongs_together(monkeypatch):
    monkeypatch.setattr(remote_folder, "FILES", 2)
    monkeypatch.setattr(remote_folder, "BYTES", 100)
    names = ["a/1.jpg", "a/1.jpg.json", "a/1.xmp", "a/2.jpg", "b/1.jpg", "c.jpg"]
    some = {name: {"size": 10, "ETag": "x"} for name in names} | {"c.jpg": {"size": 101, "ETag": "x"}}
    made = batches(some)
    assert [b.names for b in made] == [
        ("a/1.jpg", "a/1.jpg.json", "a/1.xmp"),
        ("a/2.jpg", "b/1.jpg"),
        ("c.jpg",),
    ]
    changed = batches(some | {"b/1.jpg": {"size": 10, "ETag": "y"}})
    assert [a.identity == b.identity for a, b in zip(made, changed, strict=True)] == [True, False, True]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("{in}", "file://{in}/out"), "lies inside the other"),
        (("file://{tmp}/none", "{tmp}/out"), "holds no files"),
        (("file://{notes}", "{tmp}/out"), "holds no pictures and no videos"),
        (("file://{in}", "{tmp}/out", "--dataset", "market1501"), "--dataset does not go with a URL"),
        (("{in}/broken.jpg", "memory://x"), "is no folder"),
        (("file://{in}", "{tmp}/out", "--preview", "{tmp}/out/look"), "previews show people as they are"),
        (("{in}", "memory://x", "--preview", "{in}/look"), "previews show people as they are"),
    ],
)
def test_what_cannot_be(album, tmp_path, arguments, message):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "notes.txt").write_text("names of people")
    places = {"{in}": album, "{tmp}": tmp_path, "{notes}": tmp_path / "notes"}
    given = [functools.reduce(lambda a, p: a.replace(p, str(places[p])), places, a) for a in arguments]
    done = PROGRAM("anonymize", *given, *COMMAND)
    assert done.returncode == 2
    assert message in " ".join(done.stderr.split())


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_bucket_and_a_kill(album, s3, tmp_path):
    Remote(f"{s3}/in").upload_all({name: album / name for name in here(album)})
    check_as_here(album, f"{s3}/in", f"{s3}/out", "--workers", "2")
    script = tmp_path / "small_batches.py"
    script.write_text(
        "from dp2bench.cli.main import main\nfrom dp2bench.pipelines import remote_folder\n"
        "if __name__ == '__main__':\n    remote_folder.FILES = 2\n    main()\n"
    )
    command = [sys.executable, str(script), "anonymize", f"{s3}/in", f"{s3}/killed", *COMMAND]
    killed = subprocess.Popen(command, env=os.environ, stdout=subprocess.DEVNULL)
    while killed.poll() is None and len(Remote(f"{s3}/killed").files(".dp2bench-unfinished")) < 3:
        time.sleep(0.05)
    killed.kill()
    killed.wait()
    notes = Remote(f"{s3}/killed").files(".dp2bench-unfinished")
    assert len(notes) >= 3
    assert (
        json.loads(Remote(f"{s3}/killed").read(".dp2bench-unfinished/settings.json"))["source"] == f"{s3}/in"
    )
    done = subprocess.run(command, env=os.environ, check=False, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert "12 pictures" in done.stdout
    assert files(f"{s3}/killed") == files(f"{s3}/out")
