"""Pictures on their way: in order, ahead but not far, and each failure for itself."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from PIL import Image as Pillow

from dp2bench.core.contracts import MethodMeta
from dp2bench.core.errors import Dp2benchError
from dp2bench.core.images import PictureFile, read_image, write_image
from dp2bench.core.types import Anonymized
from dp2bench.datasets.folder import Folder
from dp2bench.detection.full_image import FullImage
from dp2bench.pipelines.anonymize import FAILURES, anonymize_dataset
from dp2bench.pipelines.resume_log import ResumeLog
from dp2bench.pipelines.stream import AHEAD, BYTES, GROUP, map_ahead


class Grey:
    """Paints pictures grey, but fails in those that are of one of these values."""

    def __init__(self, fails=()):
        self.meta, self.fails = MethodMeta("grey", description="Grey."), fails

    def anonymize(self, image, people, *, seed):
        if image[0, 0, 0] in self.fails:
            raise RuntimeError("no such nose")
        return Anonymized(np.full_like(image, 127), np.ones(image.shape[:2], bool))


class Groups(FullImage):
    """Remembers how many pictures it was asked about at once, and fails in those of one value."""

    def __init__(self, fails=None, error=RuntimeError):
        super().__init__()
        self.asked, self.fails, self.error = [], fails, error

    def detect(self, images, samples):
        self.asked.append(len(images))
        if any(image[0, 0, 0] == self.fails for image in images):
            raise self.error("a shadow")
        return super().detect(images, samples)


def folder(root, n=20, size=(12, 10)):
    for i in range(n):
        write_image(root / f"{i:02d}.png", np.full((*size, 3), i, np.uint8))
    return Folder(root)


def anonymize(root, detector=None, method=None, n=20):
    out = root / "out"
    log = ResumeLog(out, {})
    counter = anonymize_dataset(
        folder(root / "in", n), detector or FullImage(), method or Grey(), out, 0, journal=log
    )
    return counter, sorted(p.name for p in out.glob("*.png"))


def test_results_come_in_order_and_only_so_far_ahead():
    asked, threads = [], set()

    def items():
        for i in range(30):
            asked.append(i)
            yield i

    def double(i):
        threads.add(threading.get_ident())
        return 2 * i

    for k, doubled in enumerate(map_ahead(double, items(), lambda _: 1)):
        assert doubled == 2 * k
        assert len(asked) <= k + AHEAD + 1
    assert threads != {threading.get_ident()}
    asked.clear()
    for k, _ in enumerate(map_ahead(double, items(), lambda _: 2 * BYTES)):
        assert len(asked) <= k + 2


def test_an_error_in_the_thread_is_raised_where_it_is_asked_for():
    results = map_ahead(lambda i: 1 // i, [2, 1, 0, 1], lambda _: 1)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_detectors_get_groups(tmp_path):
    detector = Groups()
    counter, written = anonymize(tmp_path, detector, n=2 * GROUP + 3)
    assert detector.asked == [GROUP, GROUP, 3]
    assert len(written) == counter.pictures == 2 * GROUP + 3


def test_a_picture_in_which_the_method_fails_is_left_out_and_the_others_go_on(tmp_path):
    counter, written = anonymize(tmp_path, method=Grey({3, 19}))
    assert written == [f"{i:02d}.png" for i in range(20) if i not in {3, 19}]
    assert counter.pictures == 18
    assert len(counter.unreadable) == counter.coverage().unreadable == 2
    assert "03.png" in counter.unreadable[0]
    assert "no such nose" in counter.unreadable[0]


def test_a_picture_in_which_the_detector_fails_is_left_out_and_its_group_is_not(tmp_path):
    counter, written = anonymize(tmp_path, Groups(fails=5))
    assert written == [f"{i:02d}.png" for i in range(20) if i != 5]
    assert "a shadow" in counter.unreadable[0]


@pytest.mark.parametrize("answers", [lambda people: people[1:], lambda people: [*people, people[0]]])
def test_a_detector_that_does_not_answer_for_every_picture_mixes_up_nobody(tmp_path, answers):
    class Miscounts(FullImage):
        def detect(self, images, samples):
            people = super().detect(images, samples)
            return answers(people) if any(image[0, 0, 0] == 3 for image in images) else people

    with pytest.raises(Dp2benchError, match=r"gave people of [02] pictures for 1 .*03\.png"):
        anonymize(tmp_path, Miscounts())
    assert not (tmp_path / "out" / "03.png").exists()


def test_what_is_no_matter_of_one_picture_ends_the_run(tmp_path):
    with pytest.raises(Dp2benchError, match="a shadow"):
        anonymize(tmp_path, Groups(fails=5, error=Dp2benchError))
    assert not (tmp_path / "out" / "05.png").exists()


@pytest.mark.parametrize("n", [1, FAILURES, 20])
def test_a_method_that_fails_everywhere_has_a_defect(tmp_path, n):
    with pytest.raises(RuntimeError, match="no such nose"):
        anonymize(tmp_path, method=Grey(range(20)), n=n)
    assert not list((tmp_path / "out").glob("*.png"))


def test_files_of_pages_come_whole_or_not_at_all(tmp_path):
    folder(tmp_path / "in", 2)
    for name, values in (("fine.tif", (1, 2, 3)), ("odd.tif", (4, 9, 5))):
        frames = [Pillow.fromarray(np.full((12, 10, 3), v, np.uint8)) for v in values]
        frames[0].save(tmp_path / "in" / name, save_all=True, append_images=frames[1:])
    method, out = Grey({9}), tmp_path / "out"
    counter = anonymize_dataset(
        Folder(tmp_path / "in"), FullImage(), method, out, 0, journal=ResumeLog(out, {})
    )
    assert (out / "fine.tif").is_file()
    assert not (out / "odd.tif").exists()
    assert counter.pictures == 5
    with Pillow.open(out / "fine.tif") as written:
        assert written.n_frames == 3


def test_a_file_is_decoded_once_and_closed(tmp_path, monkeypatch):
    opened = []

    class Counted(PictureFile):
        def __init__(self, data, name):
            super().__init__(data, name)
            opened.append(name)

    monkeypatch.setattr("dp2bench.datasets.folder.PictureFile", Counted)
    pictures = folder(tmp_path / "in", 80)
    out = tmp_path / "out"
    anonymize_dataset(pictures, FullImage(), Grey(), out, 0, journal=ResumeLog(out, {}))
    assert len(opened) == 80
    assert len(pictures._open) < 60
    assert (read_image(out / "19.png") == 127).all()
