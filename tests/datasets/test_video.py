import re
import runpy
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av", reason='videos need `pip install "dp2bench[video]"`')

from dp2bench.datasets import video as videos
from dp2bench.datasets.video import SegmentWriter, Video, VideoError, join

CLIPS = runpy.run_path(str(Path(__file__).parent / "clips.py"))
make, picture, sound = CLIPS["make"], CLIPS["picture"], CLIPS["sound"]


def _seconds(video):
    return [float(f.pts * video.info.time_base) for f in video]


def _again(source, target, folder, chunk=16):
    """Read and write a video as it is, in segments."""
    video = Video(source)
    segments, writer = [], None
    for frame in video:
        if frame.index % chunk == 0:
            if writer is not None:
                writer.__exit__(None, None, None)
            segments.append(folder / f"{frame.index}.nut")
            writer = SegmentWriter(segments[-1], video.info, videos.encoder_for(target))
        writer.write(frame.image, frame.pts)
    writer.__exit__(None, None, None)
    join(segments, target, video.info, sound_of=source if video.info.audio else None)
    return video, Video(target)


def test_frames_are_the_pictures(tmp_path):
    video = Video(make(tmp_path / "a.mp4"))
    frames = list(video)
    assert [f.index for f in frames] == list(range(40))
    assert video.info.audio == ("aac",)
    assert (video.info.width, video.info.height, video.info.rate) == (160, 96, 30)
    assert video.info.expected_frames == 40
    for frame in frames[::13]:
        assert not frame.damaged
        assert np.abs(frame.image.astype(int) - picture(frame.index)).mean() < 3
    assert len(list(video)) == 40, "a second time"


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".webm"])
def test_what_is_written_has_the_same_frames_times_and_sound(tmp_path, suffix):
    source = make(tmp_path / "a.mp4", 20 if suffix == ".webm" else 40, sound=suffix != ".webm")
    before, after = _again(source, tmp_path / f"b{suffix}", tmp_path)
    a, b = list(before), list(after)
    assert len(a) == len(b)
    assert np.abs(np.diff(_seconds(before)) - np.diff(_seconds(after))).max() < 0.0011
    assert max(np.abs(x.image.astype(int) - y.image).mean() for x, y in zip(a, b, strict=True)) < 3
    if suffix != ".webm":
        assert sound(source) == sound(tmp_path / f"b{suffix}")
    assert not list(tmp_path.glob(".*"))


def test_uneven_frame_times_are_kept(tmp_path):
    rng = np.random.default_rng(0)
    stamps = np.cumsum(rng.integers(3, 60, 40)).tolist()
    before, after = _again(make(tmp_path / "a.mp4", stamps=stamps, sound=False), tmp_path / "b.mp4", tmp_path)
    assert _seconds(before) == pytest.approx([s / 600 for s in stamps], abs=1e-4)
    assert np.diff(_seconds(after)) == pytest.approx(np.diff(stamps) / 600, abs=1e-4)


@pytest.mark.parametrize(("rotation", "corner"), [(90, (-3, 2)), (180, (-3, -3)), (-90, (2, -3))])
def test_rotated_videos_are_set_upright(tmp_path, rotation, corner):
    """Rotation is counter-clockwise; the green corner is at the top left of the stored frames."""
    before, after = _again(make(tmp_path / "a.mp4", 6, rotation=rotation), tmp_path / "b.mp4", tmp_path)
    for video in (before, after):
        image = next(iter(video)).image
        assert image.shape == ((96, 160, 3) if rotation == 180 else (160, 96, 3))
        green = image[corner].astype(int)
        assert green[1] > 180
        assert green[0] < 90


def test_odd_sides(tmp_path):
    before, after = _again(
        make(tmp_path / "a.mkv", 5, size=(51, 33), sound=False), tmp_path / "b.mp4", tmp_path
    )
    assert next(iter(after)).image.shape == (51, 33, 3)
    assert len(list(after)) == 5
    assert before.info.aspect == Fraction(1)


def test_pictures_of_a_segment_that_failed_are_not_left(tmp_path):
    info = Video(make(tmp_path / "a.mp4", 4)).info
    with pytest.raises(KeyboardInterrupt), SegmentWriter(tmp_path / "s.nut", info, "libx264") as writer:  # noqa: PT012
        writer.write(picture(0), 0)
        raise KeyboardInterrupt
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


def _cut(path, share=0.5):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def _hurt(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 3 : len(data) // 3 + 600] = b"\xff" * 600
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("name", "break_it", "what"),
    [
        ("nowhere.mp4", lambda p: p, "does not exist"),
        ("empty.mp4", lambda p: (p.touch(), p)[1], r"empty \(0 bytes\)"),
        ("text.mp4", lambda p: (p.write_text("I am no video"), p)[1], "cannot be opened as a video"),
        ("cut.mp4", lambda p: _cut(make(p)), "cannot be opened as a video"),
        ("cut.mkv", lambda p: _cut(make(p, 60, sound=False), 0.8), r"cut off.*after \d+ frames.*of about 60"),
        (
            "fast.mp4",
            lambda p: _cut(make(p, 60, sound=False, options={"movflags": "faststart"}), 0.8),
            r"after \d+ frames.*of about 60",
        ),
        ("hurt.mp4", lambda p: _hurt(make(p, 60)), r"damaged at \d+\.\d\d s.*after \d+ frames.*of about 60"),
    ],
)
def test_broken_videos_are_named_with_the_frame(tmp_path, name, break_it, what):
    path = break_it(tmp_path / name)
    with pytest.raises(VideoError, match=what) as error:
        list(Video(path))
    assert name in error.value.problem
    assert error.value.remedy


def test_of_a_broken_video_the_frames_before_can_be_taken(tmp_path):
    whole = make(tmp_path / "a.mkv", 60, sound=False)
    pictures = [f.image for f in Video(whole)]
    video = Video(_cut(whole, 0.8), keep_readable=True)
    for _ in range(2):
        frames = list(video)
        assert 10 < len(frames) < 60
        assert all((a.image == b).all() for a, b in zip(frames, pictures, strict=False))
        assert re.search(
            rf"cut off: it should last 2.00 s, and ends at .*after {len(frames)} fr", video.broken
        )
    with pytest.raises(VideoError, match="cannot be opened"):
        Video(_cut(make(tmp_path / "b.mp4")), keep_readable=True)


def test_what_is_predicted_from_a_damaged_frame_is_damaged_too(tmp_path):
    """The decoder marks the first frame alone, and shows what it made of it until the next one that stands for itself."""
    import av

    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (120, 160, 3), np.uint8)
    with av.open(str(tmp_path / "a.mkv"), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"preset": "veryfast"})
        stream.width, stream.height, stream.codec_context.gop_size = 160, 120, 20
        for i in range(60):
            frame = av.VideoFrame.from_ndarray(np.roll(noise, (i, 2 * i), (0, 1)), format="rgb24")
            out.mux(stream.encode(frame.reformat(format="yuv420p")))
        out.mux(stream.encode())
    pictures = [f.image for f in Video(tmp_path / "a.mkv")]
    with av.open(str(tmp_path / "a.mkv")) as container:
        packet = next(p for p in container.demux(video=0) if p.is_keyframe and p.pts * p.time_base > 0.7)
    data = bytearray((tmp_path / "a.mkv").read_bytes())
    middle = data.index(bytes(packet)) + packet.size // 2
    data[middle : middle + 64] = bytes(64)
    (tmp_path / "b.mkv").write_bytes(data)
    frames = list(Video(tmp_path / "b.mkv"))
    wrong = [i for i, f in enumerate(frames) if np.abs(f.image.astype(int) - pictures[i]).max() > 2]
    assert len(frames) == 60
    assert len(wrong) > 5
    assert [f.index for f in frames if f.damaged] == list(range(20, 40))
    assert set(wrong) <= set(range(20, 40))


def test_sound_alone_is_no_video(tmp_path):
    import av

    with av.open(str(tmp_path / "a.mp4"), "w") as out:
        stream = out.add_stream("aac", rate=48000, layout="mono")
        piece = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        piece.sample_rate = 48000
        out.mux(stream.encode(piece))
        out.mux(stream.encode())
    with pytest.raises(VideoError, match="no video stream"):
        Video(tmp_path / "a.mp4")


def test_a_container_that_cannot_hold_the_sound(tmp_path):
    source = make(tmp_path / "a.mp4", 6)
    with pytest.raises(VideoError, match="cannot hold the sound"):
        _again(source, tmp_path / "b.webm", tmp_path)
    assert not (tmp_path / "b.webm").exists()
    with pytest.raises(VideoError, match=r"ends in .mp4"):
        videos.encoder_for(tmp_path / "b.avi")


def test_without_pyav_the_message_says_what_to_install(tmp_path, monkeypatch):
    make(tmp_path / "a.mp4", 2)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(VideoError, match=r"dp2bench\[video\]"):
        Video(tmp_path / "a.mp4")
