"""Finished steps: of several processes and machines that do the same one, one result is kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from dp2bench.core.errors import Dp2benchError
from dp2bench.engine import store as stores
from dp2bench.engine.executor import LocalExecutor
from dp2bench.engine.run import run_suite
from dp2bench.engine.store import ObjectStore, Store, open_store

KEY = "ab" + "0" * 62


@pytest.fixture(params=["folder", "memory"])
def machines(request, tmp_path, monkeypatch):
    """Opens the shared store as a machine that is called so sees it."""
    import fsspec

    fsspec.filesystem("memory").store.clear()
    place = str(tmp_path / "shared") if request.param == "folder" else "memory://shared"

    def machine(name: str) -> Store:
        monkeypatch.setenv("DP2BENCH_CACHE", str(tmp_path / name))
        monkeypatch.setattr(stores, "_MACHINE", name)
        return open_store(place)

    return machine


def test_one_machine_sees_what_another_finished(machines, tmp_path):
    one = machines("one")
    with one.working(KEY) as out:
        (out / "sub" / "empty").mkdir(parents=True)
        (out / "sub" / "a.bin").write_bytes(b"\0\1")
        (out / "dataset").symlink_to(tmp_path)
    other = machines("other")
    assert other.has(KEY)
    folder = other.folder(KEY)
    assert (folder / "sub" / "a.bin").read_bytes() == b"\0\1"
    assert (folder / "sub" / "empty").is_dir()
    assert (folder / "dataset").readlink() == tmp_path
    assert not other.has("cd" * 32)


def test_two_machines_at_once_keep_the_first_result(machines):
    one = machines("one")
    with one.working(KEY) as mine:
        (mine / "made by").write_text("one")
        other = machines("other")
        assert not other.has(KEY)
        with other.working(KEY) as theirs:
            assert theirs != mine
            (theirs / "made by").write_text("other")
        machines("one")
    assert not mine.exists()
    for store in (one, other, machines("third")):
        assert (store.folder(KEY) / "made by").read_text() == "other"


def test_a_failed_step_is_gone_on_with_and_not_published(machines):
    store = machines("one")

    def fail() -> None:
        with store.working(KEY) as out:
            (out / "half").touch()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert not store.has(KEY)
    with store.working(KEY) as out:
        assert (out / "half").exists()


def test_what_was_changed_on_the_way_is_refused(machines, tmp_path):
    store = machines("one")
    if not isinstance(store, ObjectStore):
        pytest.skip("a folder is not fetched")
    with store.working(KEY) as out:
        (out / "a").touch()
    about = json.loads(store.remote.read(f"steps/{KEY}.json"))
    store.remote.write(about["data"], b"other")
    with pytest.raises(Dp2benchError, match="its sha256 differs"):
        machines("other").folder(KEY)


def test_one_process_at_a_time_works_on_a_step_whoever_waited_when_it_was_finished(tmp_path):
    """The file of a lock is deleted when the step is finished: who waited for it, and who comes after, do not work at once."""
    store, inside, most = Store(tmp_path), [0], [0]

    def work(until: threading.Event | None = None) -> None:
        with store.working(KEY) as out:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            (out / "a").touch()
            if until is None:
                time.sleep(0.05)
            else:
                until.wait(60)
            inside[0] -= 1

    failed = []

    def told(*given) -> None:
        try:
            work(*given)
        except OSError as error:
            failed.append(error)

    go_on = threading.Event()
    first = threading.Thread(target=told, args=(go_on,))
    first.start()
    while not inside[0]:
        time.sleep(0.01)
    others = [threading.Thread(target=told) for _ in range(8)]
    for k, other in enumerate(others):
        other.start()
        if k == 3:  # those before wait for the first one's file
            time.sleep(0.1)
            go_on.set()
            first.join()
    for other in others:
        other.join()
    assert most == [1]
    assert not failed
    assert store.has(KEY)


def test_where_the_disk_has_no_locks_one_result_is_kept(tmp_path, monkeypatch):
    import fcntl

    monkeypatch.setattr(fcntl, "flock", lambda *_: (_ for _ in ()).throw(OSError(38, "not implemented")))
    store = Store(tmp_path)
    with store.working(KEY) as out:
        (out / "a").touch()
    assert store.has(KEY)


def test_a_store_is_opened_by_its_place(tmp_path, monkeypatch):
    monkeypatch.setenv("DP2BENCH_CACHE", str(tmp_path))
    assert open_store().root == tmp_path
    assert open_store(str(tmp_path / "a")).place == str(tmp_path / "a")
    assert open_store(f"file://{tmp_path}/b").root == tmp_path / "b"
    monkeypatch.setenv("DP2BENCH_STORE", "memory://c")
    assert open_store().place == "memory://c"


class Quiet:
    def begin(self, step):
        return lambda done, total: None

    def end(self, outcome):
        pass


def _run(suite: Path, out: Path, store: Store, workers: int = 1):
    from dp2bench.engine import suite as suites

    return run_suite(
        suites.load(str(suite)),
        out,
        executor=LocalExecutor(store, workers),
        store=store,
        observer=Quiet(),
        threads=1,
        device="cpu",
        command="test",
    )


@pytest.mark.parametrize("machines", ["memory"], indirect=True)
def test_a_second_machine_finds_the_run_done(machines, tiny_suite, tmp_path):
    tiny_suite.write_text(tiny_suite.read_text().split("tasks:")[0] + "tasks: [detection-coverage]\n")
    first = _run(tiny_suite, tmp_path / "run 1", machines("one"))
    second = _run(tiny_suite, tmp_path / "run 2", machines("other"))
    assert not any(o.cached for o in first.outcomes.values())
    assert all(o.cached for o in second.outcomes.values())
    results = [sorted((tmp_path / f"run {k}").rglob("results/**/*.json")) for k in (1, 2)]
    assert len(results[0]) >= 2
    assert [p.read_bytes() for p in results[0]] == [p.read_bytes() for p in results[1]]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_machines_that_share_a_bucket(s3, tiny_suite, tmp_path):
    """Two processes with caches of their own do one suite at once, each with two workers, and a third finds all of it."""
    command = [sys.executable, "-m", "dp2bench", "run", str(tiny_suite), "--store", f"{s3}/store"]
    tiny_suite.write_text(tiny_suite.read_text().split("tasks:")[0] + "tasks: [detection-coverage]\n")

    def run(name: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*command, "--out", str(tmp_path / f"run {name}"), "--workers", "2", "--threads", "1"],
            env=os.environ | {"DP2BENCH_CACHE": str(tmp_path / name)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    both = [threading.Thread(target=run, args=(name,)) for name in ("one", "other")]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert "finished steps reused" in run("third").stdout
    results = [
        {p.name: p.read_bytes() for p in (tmp_path / f"run {name}").rglob("results/**/*.json")}
        for name in ("one", "other", "third")
    ]
    assert results[0]
    assert results[0] == results[1] == results[2]
    manifests = [name for name in stores.Remote(f"{s3}/store").files("steps") if name.endswith(".json")]
    packed = [name for name in stores.Remote(f"{s3}/store").files("steps") if name.endswith(".tar")]
    assert len(manifests) == len(packed) > 0  # what lost the race is deleted
