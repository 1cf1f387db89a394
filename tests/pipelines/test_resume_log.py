"""What is finished is known without being read, and nothing counts as finished that is not."""

from __future__ import annotations

import json
import os
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from dp2bench.core import hashing
from dp2bench.core.contracts import MethodMeta
from dp2bench.core.errors import Dp2benchError
from dp2bench.core.hashing import Content, content_of
from dp2bench.core.images import write_image
from dp2bench.core.types import Anonymized, Missed
from dp2bench.datasets.folder import Folder
from dp2bench.detection.full_image import FullImage
from dp2bench.pipelines import resume_log
from dp2bench.pipelines.anonymize import anonymize_dataset
from dp2bench.pipelines.resume_log import ResumeLog

NAMES = ("a.png", "b.png", "c.png", "d.png")


@pytest.fixture
def old(monkeypatch):
    """Files are old enough for their times to tell whether they were written again."""
    monkeypatch.setattr(hashing, "_UNSURE", 0)


@pytest.fixture
def begun(tmp_path):
    """Originals, and a folder in which all of them are finished."""
    (tmp_path / "in").mkdir()
    log = ResumeLog(tmp_path / "out", {"seed": 1})
    log.begin()
    for k, name in enumerate(NAMES):
        (tmp_path / "in" / name).write_bytes(b"original %d" % k)
        (tmp_path / "out" / name).write_bytes(b"copy")

    def note(*names):
        for name in names or NAMES:
            log.finish(
                name, content_of(tmp_path / "in" / name), tmp_path / "out" / name, pages=[len(name)], k=name
            )

    return note


def finished(root, *names, log=None):
    """Which of these files are finished, in a new run."""
    log = log or ResumeLog(root / "out", {"seed": 1})
    log.begin()
    noted = {
        name: log.finished(name, str(root / "in" / name), str(root / "out" / name)) for name in names or NAMES
    }
    assert all(row is None or row == {"pages": [len(name)], "k": name} for name, row in noted.items())
    return "".join(name[0] for name, row in noted.items() if row is not None)


def never(path):
    raise AssertionError(f"{path} is read")


def test_originals_that_are_what_they_were_are_not_read(tmp_path, old, begun, monkeypatch):
    begun()
    monkeypatch.setattr(resume_log, "content_sha256", never)
    assert finished(tmp_path) == "abcd"
    assert len(ResumeLog(tmp_path / "out", {"seed": 1})) == 4
    assert finished(tmp_path, "d.png", "b.png", "a.png") == "dba"  # in another order
    assert finished(tmp_path, "b.png", "x.png", "c.png", "y.png") == "bc"


def test_the_place_of_lines_is_found_once_and_only_where_files_come_in_another_order(
    tmp_path, old, begun, monkeypatch
):
    begun("a.png", "b.png")
    log = ResumeLog(tmp_path / "out", {"seed": 1})
    monkeypatch.setattr(log, "_found", never)
    assert finished(tmp_path, log=log) == "ab"  # the others were not reached


def test_an_original_that_was_written_again_is_noticed(tmp_path, old, begun):
    begun()
    path = tmp_path / "in" / "b.png"
    times = path.stat()
    path.write_bytes(b"original X")  # as long as before
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert finished(tmp_path) == "acd"


def test_an_original_that_was_replaced_by_an_equally_old_one_is_noticed(tmp_path, old, begun):
    begun()
    other = tmp_path / "other"
    other.write_bytes(b"original Y")
    times = (tmp_path / "in" / "c.png").stat()
    os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
    other.replace(tmp_path / "in" / "c.png")
    assert finished(tmp_path) == "abd"


def test_an_original_that_was_touched_or_copied_is_the_same(tmp_path, old, begun):
    begun()
    for name in NAMES[:2]:
        os.utime(tmp_path / "in" / name, (1, 1))
    copy = (tmp_path / "in" / "c.png").read_bytes()
    (tmp_path / "in" / "c.png").unlink()
    (tmp_path / "in" / "c.png").write_bytes(copy)
    assert finished(tmp_path) == "abcd"


def test_times_of_files_that_were_just_written_are_not_trusted(tmp_path, begun, monkeypatch):
    begun()
    lines = [json.loads(line) for line in (tmp_path / "out" / ResumeLog.NAME).read_text().splitlines()[1:]]
    assert [line["stamp"] for line in lines] == [""] * 4
    read = []
    monkeypatch.setattr(
        resume_log, "content_sha256", lambda path: read.append(path.name) or hashing.content_sha256(path)
    )
    assert finished(tmp_path) == "abcd"
    assert tuple(read) == NAMES
    long_ago = time.time_ns() + 10_000_000_000
    monkeypatch.setattr(hashing.time, "time_ns", lambda: long_ago)
    assert content_of(tmp_path / "in" / "a.png").stamp


def test_what_is_missing_is_not_finished(tmp_path, old, begun):
    begun()
    (tmp_path / "out" / "a.png").unlink()
    (tmp_path / "in" / "d.png").unlink()
    assert finished(tmp_path) == "bc"


def test_the_last_line_of_a_file_counts(tmp_path, old, begun):
    begun()
    (tmp_path / "in" / "b.png").write_bytes(b"another")
    assert finished(tmp_path) == "acd"
    begun("b.png")
    assert finished(tmp_path) == "abcd"
    (tmp_path / "in" / "b.png").write_bytes(b"original 1")  # as it was at first: its copy is of the other
    assert finished(tmp_path) == "acd"


@pytest.mark.parametrize("order", [NAMES, NAMES[::-1]])
def test_torn_lines_are_none(tmp_path, old, begun, order):
    begun()
    path = tmp_path / "out" / ResumeLog.NAME
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    for cut in range(1, len(lines[-1])):  # as a kill leaves it
        path.write_bytes(whole[:-cut])
        assert set(finished(tmp_path, *order)) == set("abc")
        assert path.read_bytes() == b"".join(lines[:-1])
    half = lines[2][: len(lines[2]) // 2]
    for torn, left in (  # as a loss of power may leave it
        (half + b"\n", "acd"),
        (half + b"\0" * 40 + b"\n", "acd"),
        (b"}\n", "acd"),
        (b"\0" * len(lines[2]), "ad"),
        (half, "ad"),
    ):
        path.write_bytes(b"".join((*lines[:2], torn, *lines[3:])))
        assert set(finished(tmp_path, *order)) == set(left), torn
    begun("b.png", "c.png")
    assert set(finished(tmp_path, *order)) == set("abcd")


def test_what_is_added_after_a_torn_line_is_read(tmp_path, old, begun):
    begun("a.png", "b.png")
    path = tmp_path / "out" / ResumeLog.NAME
    path.write_bytes(path.read_bytes()[:-9])
    assert finished(tmp_path) == "a"
    begun("c.png")
    assert finished(tmp_path) == "ac"


def test_other_settings_and_other_files_are_refused(tmp_path, begun):
    begun()
    with pytest.raises(Dp2benchError, match="begun with other settings"):
        ResumeLog(tmp_path / "out", {"seed": 2})
    (tmp_path / "out" / ResumeLog.NAME).unlink()
    with pytest.raises(Dp2benchError, match="is not empty"):
        ResumeLog(tmp_path / "out", {"seed": 1})


def test_what_a_killed_run_was_writing_is_removed(tmp_path, begun):
    begun()
    for left in (tmp_path / "out" / ".dp2b01234567", tmp_path / "out" / "deep" / ".dp2babcdef01"):
        left.parent.mkdir(exist_ok=True)
        left.write_bytes(b"half")
    (tmp_path / "out" / ".dp2bench").write_bytes(b"not ours")
    assert finished(tmp_path) == "abcd"
    assert sorted(p.name for p in (tmp_path / "out").rglob(".dp2b*")) == [".dp2bench", ResumeLog.NAME]


@given(
    st.lists(st.text(st.characters(codec=None, exclude_categories=()), min_size=1), unique=True, max_size=8),
    st.data(),
)
@settings(max_examples=50, deadline=None)
def test_names_of_any_characters(tmp_path_factory, names, data):
    root = tmp_path_factory.mktemp("any")
    (root / "original").write_bytes(b"x")
    log = ResumeLog(root / "out", {})
    log.begin()
    content = Content(hashing.stamp(root / "original"), "0" * 64)
    for name in names:
        log.finish(name, content, None, of=name)
    log = ResumeLog(root / "out", {})
    for name in data.draw(st.permutations(names)):
        assert log.finished(name, root / "original", root / "out") == {"of": name}
    assert (
        log.finished('a", "stamp": "', root / "original", root / "out") is None or 'a", "stamp": "' in names
    )


def test_a_line_takes_few_bytes(tmp_path):
    (tmp_path / "original").write_bytes(b"x")
    content = Content(hashing.stamp(tmp_path / "original"), "0" * 64)
    log = ResumeLog(tmp_path / "out", {})
    log.begin()
    count = 20_000
    line = (
        resume_log._key("%07d").decode()
        + f'{content.stamp}", "sha256": "{content.sha256}", "noted": {{"k": %d}}}}\n'
    )
    with (tmp_path / "out" / ResumeLog.NAME).open("a") as file:
        file.writelines(line % (k, k) for k in range(count))
    tracemalloc.start()
    try:
        log = ResumeLog(tmp_path / "out", {})
        for k in (5, *range(count)):  # the first is out of order, so that all lines are looked for
            assert log.finished(f"{k:07d}", tmp_path / "original", tmp_path / "out") == {"k": k}
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 60 * count + 1_500_000  # which are the last thousand notes


class Looks:
    """Paints pictures grey, misses whoever is in one of value 3, fails in those of value 5, and remembers what it saw."""

    def __init__(self):
        self.meta, self.seen = MethodMeta("grey", description="Grey."), []

    def anonymize(self, image, people, *, seed):
        value = int(image[0, 0, 0])
        self.seen.append(value)
        if value == 5:
            raise RuntimeError("no such nose")
        missed = (Missed(0, "it is three"),) if value == 3 else ()
        return Anonymized(np.full_like(image, 127), np.ones(image.shape[:2], bool), missed)


def test_a_folder_that_is_gone_on_with_opens_and_counts_what_it_should(tmp_path, old, monkeypatch):
    source, out = tmp_path / "in", tmp_path / "out"
    for k in range(20):
        write_image(source / f"{k:02d}.png", np.full((12, 10, 3), k, np.uint8))
    frames = [Pillow.fromarray(np.full((12, 10, 3), value, np.uint8)) for value in (30, 31)]
    frames[0].save(source / "pages.tif", save_all=True, append_images=frames[1:])

    def run():
        method = Looks()
        told = []
        counter = anonymize_dataset(
            Folder(source), FullImage(), method, out, 0, lambda *state: told.append(state), ResumeLog(out, {})
        )
        return method.seen, counter, told

    seen, first, _ = run()
    assert seen == [*range(20), 30, 31]
    write_image(source / "07.png", np.full((12, 10, 3), 107, np.uint8))
    (out / "11.png").unlink()
    opened = []
    monkeypatch.setattr("dp2bench.datasets.folder.count_pages", lambda path: opened.append(path.name) or 1)
    seen, second, told = run()
    assert seen == [5, 107, 11]  # the one that failed, the one that changed, the one that is gone
    assert opened == ["05.png", "07.png", "11.png"]
    assert told[-1] == (21, 21)
    assert second.coverage() == first.coverage()
    assert second.left == first.left == {"all": {"03.png": {0: "it is three"}}}
    assert second.pictures == 21
