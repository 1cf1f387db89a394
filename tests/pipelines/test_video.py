import json
import runpy
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av", reason='videos need `pip install "dp2bench[video]"`')

from dp2bench.core.contracts import ComponentMeta, MethodMeta
from dp2bench.core.errors import Dp2benchError
from dp2bench.core.types import Anonymized, Missed, People
from dp2bench.datasets.video import Video, VideoError
from dp2bench.pipelines import video as engine
from dp2bench.pipelines.video import anonymize_video

CLIPS = runpy.run_path(str(Path(__file__).parents[1] / "datasets" / "clips.py"))


def _square(i):
    """The bright square that walks through `clips`."""
    return [4 + 2 * i, 48, 20 + 2 * i, 68]


class Square:
    """Finds the square by the frame's number, but for some frames."""

    meta = ComponentMeta("square")

    def __init__(self, blind=(), fails=()):
        self.blind, self.fails = set(blind), set(fails)
        self.asked = []

    def detect(self, images, samples):
        out = []
        for image, sample in zip(images, samples, strict=True):
            i = int(sample.id.rsplit("/", 1)[1])
            self.asked.append(i)
            if i in self.fails:
                raise ZeroDivisionError("no")
            if i in self.blind:
                out.append(People.none())
                continue
            mask = np.zeros((1, *image.shape[:2]), np.bool_)
            x0, y0, x1, y1 = _square(i)
            mask[0, y0:y1, x0:x1] = True
            out.append(People.of([_square(i)], masks=mask))
        return out


class Red:
    """Paints people red."""

    meta = MethodMeta("red")

    def __init__(self, fails=(), stop_at=None, misses=False):
        self.fails, self.stop_at, self.misses = set(fails), stop_at, misses
        self.calls = []

    def anonymize(self, image, people, *, seed):
        number = len(self.calls)
        self.calls.append((people.track_ids.tolist(), seed))
        if number == self.stop_at:
            raise KeyboardInterrupt
        if number in self.fails:
            raise ValueError("cannot")
        if self.misses:
            return Anonymized(image, np.zeros(image.shape[:2], np.bool_), (Missed(0, "why not"),))
        out = image.copy()
        for mask in people.masks if people.masks is not None else ():
            out[mask] = (255, 0, 0)
        return Anonymized(out, (out != image).any(2))


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return CLIPS["make"](tmp_path_factory.mktemp("clip") / "clip.mp4", 40)


def _inside(frame):
    x0, y0, x1, y1 = _square(frame.index)
    return frame.image[y0 + 3 : y1 - 3, x0 + 3 : x1 - 3].reshape(-1, 3).astype(int).mean(0)


def test_everybody_in_every_frame_and_one_identity(clip, tmp_path):
    method = Red()
    report = anonymize_video(clip, Square(), method, tmp_path / "out.mp4", 7)
    frames = list(Video(tmp_path / "out.mp4"))
    assert len(frames) == 40
    for frame in frames:
        red = _inside(frame)
        assert red[0] > 200
        assert red[1:].max() < 60
    assert {(tuple(t), s) for t, s in method.calls} == {((0,), method.calls[0][1])}, "one track, one seed"
    assert report["people_in_frames"] == report["anonymized"] == 40
    assert report["tracks"] == 1
    assert report["missed"] == report["bridged"] == 0
    assert json.loads((tmp_path / "out.mp4.json").read_text()) == report
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.mp4", "out.mp4.json"]
    assert CLIPS["sound"](clip) == CLIPS["sound"](tmp_path / "out.mp4")


def test_missed_frames_are_bridged(clip, tmp_path):
    report = anonymize_video(clip, Square(blind=[0, *range(9, 20), 39]), Red(), tmp_path / "out.mp4", 0)
    for frame in Video(tmp_path / "out.mp4"):
        assert _inside(frame)[1] < 90, f"the square shows in frame {frame.index}"
    assert report["bridged"] == 13
    assert report["frames_without_people"] == []


def test_a_gap_that_is_too_long_is_reported(clip, tmp_path):
    report = anonymize_video(
        clip, Square(blind=range(9, 20)), Red(), tmp_path / "out.mp4", 0, max_gap=5, extrapolate_frames=1
    )
    assert report["frames_without_people"] == list(range(10, 19))
    assert report["tracks"] == 2


def test_frames_that_fail_are_grey_and_declared(clip, tmp_path):
    report = anonymize_video(clip, Square(fails=[5, 21]), Red(fails=[7]), tmp_path / "out.mp4", 0)
    assert report["blanked_frames"] == {
        "detection failed: ZeroDivisionError: no": [5, 21],
        "red failed: ValueError: cannot": [8],
    }
    for frame in Video(tmp_path / "out.mp4"):
        if frame.index in {5, 8, 21}:
            assert np.abs(frame.image.astype(int) - 127).max() < 12
        else:
            assert _inside(frame)[0] > 200


def test_a_broken_video_is_refused_or_ends_where_it_breaks(tmp_path):
    import av

    broken = CLIPS["make"](tmp_path / "broken.mkv", 60)
    whole = broken.read_bytes()
    broken.write_bytes(whole[: int(len(whole) * 0.8)])
    target = tmp_path / "out.mkv"
    with pytest.raises(VideoError, match=r"cut off: it should last 2\.0\d s, and ends at .* s") as error:
        anonymize_video(broken, Square(), Red(), target, 0)
    assert "--keep-readable" in error.value.remedy
    assert not target.exists()
    square = Square()
    report = anonymize_video(broken, square, Red(), target, 0, keep_readable=True)
    assert report["broken"] == error.value.problem
    made = Video(target)
    frames = list(made)
    assert report["frames"] == len(frames) == report["anonymized"]
    assert f"after {len(frames)} frames" in report["broken"]
    assert all(_inside(f)[0] > 200 and _inside(f)[1:].max() < 60 for f in frames)
    assert len(square.asked) < 16, "what the first try found is used"
    with av.open(str(target)) as container:
        last = max(p.pts * p.time_base for p in container.demux(audio=0) if p.pts is not None)
    assert last < frames[-1].pts * made.info.time_base + 0.05, "the sound ends with the picture"


def test_frames_that_are_gone_without_an_error_leave_a_gap_in_the_report(tmp_path):
    stamps = [i * 20 if i < 15 else i * 20 + 800 for i in range(30)]
    source = CLIPS["make"](tmp_path / "a.mkv", 30, stamps=stamps, sound=False)
    report = anonymize_video(source, Square(), Red(), tmp_path / "out.mkv", 0)
    assert report["gaps"] == [
        (pytest.approx(14 / 30, abs=2e-3), pytest.approx(15 / 30 + 800 / 600, abs=2e-3))
    ]
    assert report["broken"] == ""


def test_who_is_missed_is_in_the_report(clip, tmp_path):
    report = anonymize_video(clip, Square(), Red(misses=True), tmp_path / "out.mp4", 0, audio=False)
    assert report["missed_reasons"] == {"why not": 40}
    assert report["frames_with_missed"] == list(range(40))
    assert report["sound"] == "none"
    assert Video(tmp_path / "out.mp4").info.audio == ()


class Liar(Red):
    """Returns what it is given, and says that nobody was missed."""

    def anonymize(self, image, people, *, seed):
        return Anonymized(image.copy(), np.ones(image.shape[:2], np.bool_))


def test_a_method_is_not_believed(clip, tmp_path):
    report = anonymize_video(clip, Square(), Liar(), tmp_path / "out.mp4", 0)
    assert report["anonymized"] == 0
    assert report["missed"] == 40
    assert report["frames_with_missed"] == list(range(40))


def test_stopped_and_started_again_gives_the_same_video(clip, tmp_path):
    anonymize_video(clip, Square(), Red(), tmp_path / "whole.mp4", 0)
    detector = Square()
    first = Red(stop_at=20)
    with pytest.raises(KeyboardInterrupt):
        anonymize_video(clip, detector, first, tmp_path / "out.mp4", 0)
    assert not (tmp_path / "out.mp4").exists()
    again, second = Square(), Red()
    anonymize_video(clip, again, second, tmp_path / "out.mp4", 0)
    assert again.asked == [], "detections are kept"
    assert len(second.calls) == 40 - engine.CHUNK, "and so are the frames of whole chunks"
    assert (tmp_path / "out.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "out.mp4",
        "out.mp4.json",
        "whole.mp4",
        "whole.mp4.json",
    ]


def test_stopped_while_detecting(clip, tmp_path):
    class Stops(Square):
        def detect(self, images, samples):
            if len(self.asked) >= 24:
                raise KeyboardInterrupt
            return super().detect(images, samples)

    with pytest.raises(KeyboardInterrupt):
        anonymize_video(clip, Stops(), Red(), tmp_path / "out.mp4", 0)
    again = Square()
    anonymize_video(clip, again, Red(), tmp_path / "out.mp4", 0)
    assert again.asked == list(range(16, 40))


def test_other_settings_do_not_take_what_is_left_over(clip, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        anonymize_video(clip, Square(), Red(stop_at=20), tmp_path / "out.mp4", 0, settings={"a": 1})
    again, method = Square(), Red()
    anonymize_video(clip, again, method, tmp_path / "out.mp4", 0, settings={"a": 2})
    assert len(again.asked) == len(method.calls) == 40


def test_a_detector_that_does_not_answer_for_every_frame_ends_the_work(clip, tmp_path):
    class Short(Square):
        def detect(self, images, samples):
            return super().detect(images, samples)[1:]

    with pytest.raises(Dp2benchError, match="people of 7 pictures for 8"):
        anonymize_video(clip, Short(), Red(), tmp_path / "out.mp4", 0)
    assert not (tmp_path / "out.mp4").exists()


def test_an_error_of_the_user_ends_the_work(clip, tmp_path):
    class NoWeights(Square):
        def detect(self, images, samples):
            raise Dp2benchError("no weights", "get them")

    with pytest.raises(Dp2benchError, match="no weights"):
        anonymize_video(clip, NoWeights(), Red(), tmp_path / "out.mp4", 0)
    assert not (tmp_path / "out.mp4").exists()


def test_detections_that_carry_tracks_are_taken_as_they_are(clip, tmp_path):
    class Tracked(Square):
        def detect(self, images, samples):
            rows = super().detect(images, samples)
            return [
                People.of(p.boxes, masks=p.masks, track_ids=np.array([5 if i % 2 else 9]))
                for i, p in enumerate(rows)
            ]

    method = Red()
    report = anonymize_video(clip, Tracked(), method, tmp_path / "out.mp4", 0)
    assert [t for t, _ in method.calls] == [[9], [5]] * 20
    assert report["bridged"] == 0
