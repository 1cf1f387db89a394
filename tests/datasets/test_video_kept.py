"""What a video's file holds besides frames: kept, or named; what identifies never passes. What can be chosen of it."""

import math
import runpy
import shutil
import subprocess
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av", reason='videos need `pip install "dp2bench[video]"`')

import av

from dp2bench.core import colour
from dp2bench.datasets import video as videos
from dp2bench.datasets.video import SegmentWriter, Selection, Video, VideoError, join, record

CLIPS = runpy.run_path(str(Path(__file__).parent / "clips.py"))
make, picture, sound = CLIPS["make"], CLIPS["picture"], CLIPS["sound"]
SECRET = "S3CRET4711"
ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="makes its clip with the program ffmpeg")


def again(source, target, *, encoder=None, quality=None, **chosen):
    """Read and write a video as it is."""
    video = Video(source, selection=Selection(**chosen))
    folder = target.parent / "parts"
    folder.mkdir(exist_ok=True)
    with SegmentWriter(
        folder / "0.nut", video.info, encoder or videos.encoder_for(target), quality
    ) as writer:
        for frame in video:
            writer.write(frame.image, frame.pts)
    start, end = chosen.get("start", 0.0), chosen.get("end", math.inf)
    join(
        [folder / "0.nut"],
        target,
        video.info,
        sound_of=source if video.info.audio else None,
        sound_from=start,
        sound_until=end,
    )
    return video, Video(target)


def run_ffmpeg(*arguments):
    subprocess.run(["ffmpeg", "-v", "error", "-y", *map(str, arguments)], check=True)


@pytest.fixture(scope="module")
def rich(tmp_path_factory):
    """Two languages, subtitles, chapters, and a secret in every tag."""
    folder = tmp_path_factory.mktemp("rich")
    (folder / "tags").write_text(
        f";FFMETADATA1\ntitle={SECRET}\nlocation=+48.1+011.5/{SECRET}\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=500\ntitle={SECRET}\n"
    )
    (folder / "s.srt").write_text(f"1\n00:00:00,000 --> 00:00:01,000\n{SECRET}\n")
    out = folder / "rich.mkv"
    run_ffmpeg(
        *("-f", "lavfi", "-i", "testsrc2=size=160x96:rate=25:duration=1"),
        *("-f", "lavfi", "-i", "sine=440:duration=1", "-f", "lavfi", "-i", "sine=880:duration=1"),
        *("-i", folder / "s.srt", "-i", folder / "tags"),
        *("-map", "0", "-map", "1", "-map", "2", "-map", "3", "-map_metadata", "4", "-map_chapters", "4"),
        *("-c:v", "libx264", "-c:a", "aac", "-c:s", "srt", "-metadata:s:a:0", "language=ger"),
        *(
            "-metadata:s:a:1",
            "language=eng",
            "-metadata:s:a:1",
            f"title={SECRET}",
            "-metadata:s:v:0",
            f"title={SECRET}",
        ),
        *("-disposition:a:0", "0", "-disposition:a:1", "default", "-attach", folder / "s.srt"),
        *("-metadata:s:t", "mimetype=text/plain", out),
    )
    assert SECRET.encode() in out.read_bytes()
    return out


@ffmpeg
@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".mov"])
def test_languages_are_kept_and_tags_are_not(rich, tmp_path, suffix):
    before, after = again(rich, tmp_path / f"out{suffix}")
    assert before.left_behind == ("1 subtitle track", "1 attachment track", "1 chapters")
    data = (tmp_path / f"out{suffix}").read_bytes()
    assert SECRET.encode() not in data
    with av.open(str(tmp_path / f"out{suffix}")) as container:
        tracks = container.streams.audio
        assert [t.language for t in tracks] == ["ger", "eng"]
        assert [bool(int(t.disposition) & 1) for t in tracks] == [False, True]
        assert not container.chapters()
        assert len(container.streams) == 3
    assert after.left_behind == ()


def _coloured(
    path, rgb, *, matrix, limited=True, primaries=1, transfer=1, height=96, tagged=True, form="yuv444p"
):
    """A clip of one colour in this matrix and range."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=10, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 160, height, form
        context = stream.codec_context
        if tagged:
            context.colorspace, context.color_range = matrix, 1 if limited else 2
            context.color_primaries, context.color_trc = primaries, transfer
        frame = av.VideoFrame.from_ndarray(np.full((height, 160, 3), rgb, np.uint8), format="rgb24")
        frame = frame.reformat(
            format=form, dst_colorspace=matrix, dst_color_range="MPEG" if limited else "JPEG"
        )
        for i in range(4):
            frame.pts = i
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path


@pytest.mark.parametrize("matrix", [5, 1, 9])
@pytest.mark.parametrize("limited", [True, False])
def test_matrices_and_ranges(tmp_path, matrix, limited):
    red = (200, 50, 50)
    before, after = again(
        _coloured(tmp_path / "a.mkv", red, matrix=matrix, limited=limited), tmp_path / "b.mp4"
    )
    for video in (before, after):
        assert np.abs(next(iter(video)).image[48, 80].astype(int) - red).max() <= 3


@pytest.mark.parametrize(("height", "matrix"), [(96, 5), (720, 1)])
def test_colours_that_a_file_does_not_name(tmp_path, height, matrix):
    """Players take the matrix of high definition for BT.709's, of less for BT.601's."""
    red = (200, 50, 50)
    path = _coloured(tmp_path / "a.mkv", red, matrix=matrix, height=height, tagged=False)
    assert np.abs(next(iter(Video(path))).image[48, 80].astype(int) - red).max() <= 3


def test_a_wide_gamut_keeps_its_name(tmp_path):
    path = _coloured(tmp_path / "a.mkv", (200, 50, 50), matrix=9, primaries=9, transfer=14)
    before, after = again(path, tmp_path / "b.mp4")
    assert (before.info.primaries, before.info.transfer) == (9, 14)
    with av.open(str(tmp_path / "b.mp4")) as container:
        frame = next(container.decode(video=0))
    assert (int(frame.color_primaries), int(frame.color_trc), int(frame.colorspace)) == (9, 14, 1)
    assert np.abs(next(iter(after)).image[48, 80].astype(int) - (200, 50, 50)).max() <= 3


def test_high_dynamic_range_is_mapped():
    """White of 203 cd/m2 is bright and not clipped, grey stays in order, red of BT.2020 gets redder, and all is monotonous."""
    pq_white, hlg_white = 0.5807, 0.75
    for transfer, white in ((colour.PQ, pq_white), (colour.HLG, hlg_white)):
        ramp = np.linspace(0, 1, 256)[None, :, None].repeat(3, 2)
        mapped = colour.tone_mapped((ramp * 65535).astype(np.uint16), transfer, 9)
        assert np.abs(np.ptp(mapped.astype(int), axis=2)).max() <= 1, "grey stays grey"
        assert (np.diff(mapped[0, :, 0].astype(int)) >= 0).all()
        assert mapped[0, 0].max() == 0
        at_white = mapped[0, round(255 * white), 0]
        assert 215 < at_white < 250
        assert mapped[0, -1, 0] >= at_white
        red = np.zeros((1, 1, 3), np.uint16)
        red[..., 0] = round(0.5 * 65535)
        assert colour.tone_mapped(red, transfer, 9)[0, 0, 1] == 0


def test_pq_is_written_as_what_it_is_labelled(tmp_path):
    path = tmp_path / "a.mkv"
    _coloured(path, (148, 148, 148), matrix=9, primaries=9, transfer=16)
    before, after = again(path, tmp_path / "b.mp4")
    assert "high dynamic range (mapped to BT.709)" in before.left_behind
    assert (after.info.primaries, after.info.transfer) == (1, 1)
    got = next(iter(after)).image[48, 80].astype(int)
    assert np.abs(got - 235).max() < 12, "148 of 255 is white in PQ"


@ffmpeg
def test_what_is_lost_of_the_frames_is_named(tmp_path):
    lavfi = ("-f", "lavfi", "-i", "testsrc2=size=160x96:rate=10:duration=0.5")
    run_ffmpeg(*lavfi, "-pix_fmt", "yuv420p10le", "-c:v", "libx264", tmp_path / "deep.mkv")
    run_ffmpeg(*lavfi, "-pix_fmt", "yuva444p10le", "-c:v", "prores_ks", tmp_path / "alpha.mov")
    run_ffmpeg(
        *lavfi, "-vf", "interlace", "-c:v", "libx264", "-flags", "+ilme+ildct", tmp_path / "fields.mkv"
    )
    run_ffmpeg(*lavfi, *lavfi, "-map", "0", "-map", "1", "-c:v", "libx264", tmp_path / "two.mkv")
    assert Video(tmp_path / "deep.mkv").left_behind == ("10 bits a channel (8 are written)",)
    assert "transparency" in Video(tmp_path / "alpha.mov").left_behind
    assert (
        "interlacing (both fields of a frame are shown at once)" in Video(tmp_path / "fields.mkv").left_behind
    )
    assert Video(tmp_path / "two.mkv").left_behind == ("1 further picture track",)


@ffmpeg
def test_a_cover_is_not_the_film(tmp_path):
    run_ffmpeg("-f", "lavfi", "-i", "color=red:size=64x64", "-frames:v", "1", tmp_path / "cover.png")
    make(tmp_path / "film.mp4", 20)
    run_ffmpeg(
        *("-i", tmp_path / "cover.png", "-i", tmp_path / "film.mp4", "-map", "0", "-map", "1", "-c", "copy"),
        *("-disposition:v:0", "attached_pic", tmp_path / "a.mp4"),
    )
    video = Video(tmp_path / "a.mp4")
    assert video.left_behind == ("1 cover picture",)
    assert len(list(video)) == 20
    run_ffmpeg(
        *("-i", tmp_path / "cover.png", "-f", "lavfi", "-i", "sine=440:duration=1", "-map", "0", "-map", "1"),
        *("-c:v", "copy", "-c:a", "aac", "-disposition:v:0", "attached_pic", tmp_path / "song.mp4"),
    )
    with pytest.raises(VideoError, match="no video stream"):
        Video(tmp_path / "song.mp4")


def test_anamorphic_pixels_are_kept(tmp_path):
    source = make(tmp_path / "a.mp4", 4, sound=False)
    video = Video(source)
    wide = replace(video.info, aspect=Fraction(4, 3))
    with SegmentWriter(tmp_path / "0.nut", wide, "libx264") as writer:
        for frame in video:
            writer.write(frame.image, frame.pts)
    join([tmp_path / "0.nut"], tmp_path / "wide.mp4", wide)
    _, after = again(tmp_path / "wide.mp4", tmp_path / "b.mkv")
    assert after.info.aspect == Fraction(4, 3)


@pytest.mark.parametrize(
    ("matrix", "corner"),
    [((-1, 0, 0, 1), "top right"), ((1, 0, 0, -1), "bottom left"), ((0, 1, 1, 0), "top left, turned")],
)
def test_mirrored_pictures_are_set_right(tmp_path, matrix, corner):
    """FFMS/ffms2#317, mpv-player/mpv#16090: a front camera mirrors, and the angle alone does not say so."""
    a, b, c, d = (65536 * v for v in matrix)
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        stream.set_display_matrix([a, b, 0, c, d, 0, 0, 0, 1 << 30])
        for i in range(3):
            frame = av.VideoFrame.from_ndarray(picture(i), format="rgb24")
            frame.pts = i
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    before, after = again(path, tmp_path / "b.mp4")
    for video in (before, after):
        image = next(iter(video)).image.astype(int)
        assert image.shape == ((160, 96, 3) if "turned" in corner else (96, 160, 3))
        y = -6 if "bottom" in corner else 6
        x = -6 if "right" in corner else 6
        assert image[y, x, 1] > 150
        assert image[y, x, 0] < 110


def test_a_part_of_a_video(tmp_path):
    source = make(tmp_path / "a.mp4", 60)
    whole = [f.image for f in Video(source)]
    before, after = again(source, tmp_path / "b.mp4", start=0.5, end=1.5)
    frames = list(before)
    assert len(frames) == 30
    assert all((a.image == b).all() for a, b in zip(frames, whole[15:45], strict=True))
    assert frames[0].pts == 0
    seconds = [float(f.pts * after.info.time_base) for f in after]
    assert np.diff(seconds) == pytest.approx(1 / 30, abs=1e-3)
    assert after.info.begin == pytest.approx(0, abs=1e-3)
    with av.open(str(tmp_path / "b.mp4")) as container:
        track = container.streams.audio[0]
        assert float(track.duration * track.time_base) == pytest.approx(1.0, abs=0.05)


def test_fewer_and_smaller_frames(tmp_path):
    source = make(tmp_path / "a.mp4", 60, sound=False)
    video = Video(source, selection=Selection(fps=10, max_size=80))
    frames = list(video)
    assert len(frames) == 20
    assert frames[0].image.shape == (48, 80, 3)
    assert video.info.rate == 10
    assert [float(f.pts * video.info.time_base) for f in frames] == pytest.approx(
        np.arange(20) / 10, abs=1e-3
    )
    assert len(list(Video(source, selection=Selection(fps=100, max_size=1000)))) == 60
    turned = Video(make(tmp_path / "t.mp4", 4, rotation=90), selection=Selection(max_size=80))
    assert next(iter(turned)).image.shape == (80, 48, 3)


@pytest.mark.parametrize(
    ("chosen", "what"),
    [
        ({"start": 2, "end": 1}, "between 2 and 1"),
        ({"start": -1}, "between -1"),
        ({"fps": 0}, "0 frames a second"),
        ({"max_size": 3}, "3 pixels"),
    ],
)
def test_what_cannot_be_chosen(chosen, what):
    with pytest.raises(VideoError, match=what):
        Selection(**chosen)


def test_a_part_that_is_not_there(tmp_path):
    video = Video(make(tmp_path / "a.mp4", 10), selection=Selection(start=5))
    with pytest.raises(VideoError, match=r"no frame between 5 and inf s; it lasts 0\.33 s"):
        list(video)


@pytest.mark.parametrize(
    ("codec", "suffix", "name"),
    [("h265", ".mp4", "hevc"), ("vp9", ".mkv", "vp9"), ("h264", ".mov", "h264")],
)
def test_other_codecs(tmp_path, codec, suffix, name):
    source = make(tmp_path / "a.mp4", 20, sound=False)
    target = tmp_path / f"b{suffix}"
    encoder = videos.encoder_for(target, codec)
    before, after = again(source, target, encoder=encoder)
    with av.open(str(target)) as container:
        assert container.streams.video[0].codec_context.name == name
    a, b = list(before), list(after)
    assert len(a) == len(b)
    assert max(np.abs(x.image.astype(int) - y.image).mean() for x, y in zip(a, b, strict=True)) < 4


def test_a_worse_quality_is_smaller(tmp_path):
    source = make(tmp_path / "a.mp4", 20, sound=False)
    again(source, tmp_path / "b.mp4", quality=10)
    again(source, tmp_path / "c.mp4", quality=45)
    assert (tmp_path / "c.mp4").stat().st_size < 0.9 * (tmp_path / "b.mp4").stat().st_size


def test_codecs_that_do_not_fit():
    with pytest.raises(VideoError, match="not known"):
        videos.encoder_for(Path("a.mp4"), "mpeg2")
    with pytest.raises(VideoError, match="cannot hold h264"):
        videos.encoder_for(Path("a.webm"), "h264")


def test_what_an_encoder_cannot_is_one_message(tmp_path):
    source = make(tmp_path / "a.mp4", 20, sound=False)
    with pytest.raises(VideoError, match="libx265 cannot encode .* at quality 63") as error:
        again(source, tmp_path / "b.mp4", encoder="libx265", quality=63)
    assert "--quality" in error.value.remedy
    with pytest.raises(VideoError, match="libx265 cannot encode 16x.* pixels"):
        again(source, tmp_path / "b.mp4", encoder="libx265", max_size=16)
    assert not [*(tmp_path / "parts").iterdir()]


def test_a_camera(tmp_path):
    """A generated picture in a camera's place: the same code opens and reads it."""
    assert videos.is_camera("/dev/null"), "a file of a device"
    assert videos.is_camera("v4l2:/dev/video0")
    assert not videos.is_camera("clip.mp4")
    seen = []
    record("lavfi:testsrc2=size=160x96:rate=25", tmp_path / "c.mkv", 1.0, lambda *done: seen.append(done))
    frames = list(Video(tmp_path / "c.mkv"))
    assert len(frames) == 25
    assert frames[0].image.shape == (96, 160, 3)
    assert seen[-1] == (25, 25)
    for name in ("v4l2:/dev/nothing", "lavfi:no_such_filter"):
        with pytest.raises(VideoError, match="cannot be opened"):
            record(name, tmp_path / "d.mkv", 1.0)
