"""Video files, frame by frame in constant memory: pixels upright, timestamps kept, audio copied.

FFmpeg's libraries through PyAV. What is written holds pictures and, if wanted, sound: subtitles, data streams and metadata
(place and device of a recording are there) are left behind.
"""

from __future__ import annotations

import heapq
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dp2bench.core.errors import Dp2benchError
from dp2bench.core.types import Image

if TYPE_CHECKING:
    from types import TracebackType

SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv"),
    *(".flv", ".3gp", ".ogv"),
)
"""Names that end so are taken for videos."""

ENCODERS = {".mp4": "libx264", ".m4v": "libx264", ".mov": "libx264", ".mkv": "libx264", ".webm": "libvpx-vp9"}
"""Encoder by the suffix of a file to be written."""

_OPTIONS = {
    "libx264": {"crf": "18", "preset": "medium"},
    "libvpx-vp9": {"crf": "24", "b:v": "0", "deadline": "good", "cpu-used": "4"},
}
_BT709, _LIMITED = 1, 1
_SHORTER_IS_CUT_OFF = 0.3
"""Seconds; containers round, and count the last frame's duration in different ways."""
_FASTEST = 1000
"""Frames a second; some containers give the clock's rate for the frames' where these are uneven."""
_INSTALL = 'Install PyAV, which reads and writes videos: `pip install "dp2bench[video]"`.'


class VideoError(Dp2benchError):
    """A video that cannot be read to its end, or not be written."""


class _BrokenError(VideoError):
    """A video that can be read up to a frame."""


def is_video_name(path: str | Path) -> bool:
    """Whether the suffix is one of `SUFFIXES`, in any case."""
    return Path(path).suffix.lower() in SUFFIXES


@dataclass(frozen=True)
class VideoInfo:
    """What the container says before a frame is decoded.

    Attributes:
        width, height: pixels of an upright frame.
        rate: frames a second on average.
        time_base: seconds of one unit of a timestamp.
        frames: number of frames, 0 where the file does not say.
        end: seconds at which the picture ends, 0 where the file does not say.
        aspect: width to height of one pixel.
        audio: codecs of the audio streams.

    """

    width: int
    height: int
    rate: Fraction
    time_base: Fraction
    frames: int
    end: float
    aspect: Fraction
    audio: tuple[str, ...]

    @property
    def expected_frames(self) -> int:
        """Frames as far as can be told, at least 1."""
        return max(1, self.frames or round(self.end * self.rate))


@dataclass(frozen=True)
class Frame:
    """One picture of a video.

    Attributes:
        index: 0, 1, 2, …
        pts: timestamp in units of ``time_base``, strictly increasing.
        image: (H, W, 3) uint8 RGB, upright.
        damaged: the decoder had to guess parts of it, or of a frame that it was predicted from.

    """

    index: int
    pts: int
    image: Image
    damaged: bool


class Video:
    """A video to be read; can be iterated over any number of times.

    Args:
        path: of the file.
        keep_readable: where the video is broken or cut off, the frames before are all; ``broken`` then says what is wrong.

    Raises:
        VideoError: missing, empty, no video, or (while iterating) broken or cut off; names the file, the frame and the second.

    """

    def __init__(self, path: str | Path, *, keep_readable: bool = False) -> None:
        self.path = Path(path)
        self.keep_readable = keep_readable
        self.broken = ""
        if not self.path.is_file():
            raise VideoError(f"The video {self.path} does not exist.", "Check the path.")
        if not self.path.stat().st_size:
            raise VideoError(f"The video {self.path} is empty (0 bytes).", "Copy or download the file again.")
        with self._open() as container:
            self.info = self._info(container)

    def __iter__(self) -> Iterator[Frame]:
        readable = 0
        try:
            for frame in self._frames():
                yield frame
                readable += 1
        except _BrokenError as error:
            if not self.keep_readable or not readable:
                raise
            self.broken = error.problem

    def _frames(self) -> Iterator[Frame]:
        import av

        step = max(1, round(1 / (self.info.rate * self.info.time_base)))
        pts, index, guessed = -step, 0, False
        with self._open() as container:
            stream = container.streams.video[0]
            # How many frames come before an error must be the same each time; threads that decode ahead drop some.
            stream.thread_type = "SLICE" if self.keep_readable else "AUTO"
            try:
                for frame in container.decode(stream):
                    # Missing and repeated timestamps happen in streams that were cut together.
                    guess = pts + step if index else 0
                    stamp = guess if frame.pts is None else int(frame.pts)
                    pts = stamp if stamp > pts or not index else pts + 1
                    # What is predicted from a guess is one, and the decoder marks the first alone.
                    guessed = bool(frame.is_corrupt) or (guessed and not frame.key_frame)
                    yield Frame(index, pts, self._upright(frame), guessed)
                    index += 1
            except av.error.FFmpegError as error:
                end = float((pts + step) * self.info.time_base)
                raise self._broken(index, f"is damaged at {end:.2f} s: {error.strerror}") from error
        if not index:
            raise self._broken(0, "holds no frame that can be decoded")
        end = float((pts + step) * self.info.time_base)
        if self.info.end - end > max(_SHORTER_IS_CUT_OFF, 0.02 * self.info.end):
            raise self._broken(
                index, f"is cut off: it should last {self.info.end:.2f} s, and ends at {end:.2f} s"
            )

    def _open(self) -> Any:
        av = _av()
        try:
            container = av.open(str(self.path))
        except (av.error.FFmpegError, ValueError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise VideoError(
                f"{self.path} cannot be opened as a video: {reason}.",
                "Copy or download the file again; a file whose end is missing often cannot be opened at all.",
            ) from error
        if not container.streams.video:
            container.close()
            raise VideoError(f"{self.path} holds no video stream.", "Give a file with moving pictures.")
        return container

    def _info(self, container: Any) -> VideoInfo:
        stream = container.streams.video[0]
        first = next(self._decoded(container, stream), None)
        if first is None:
            raise self._broken(0, "holds no frame that can be decoded")
        height, width = _rotated_shape(first)
        rates = (stream.average_rate, stream.guessed_rate, stream.base_rate)
        rate = next((r for r in rates if r and r <= _FASTEST), Fraction(25))
        start = float((stream.start_time or 0) * stream.time_base)
        seconds = float(stream.duration * stream.time_base) if stream.duration else _tagged_duration(stream)
        aspect = Fraction(stream.sample_aspect_ratio or 1)
        return VideoInfo(
            width,
            height,
            Fraction(rate),
            Fraction(stream.time_base),
            int(stream.frames or 0),
            start + seconds if seconds else 0.0,
            1 / aspect if (height, width) != (first.height, first.width) else aspect,
            tuple(a.codec_context.name for a in container.streams.audio),
        )

    def _decoded(self, container: Any, stream: Any) -> Iterator[Any]:
        av = _av()
        try:
            yield from container.decode(stream)
        except av.error.FFmpegError as error:
            raise self._broken(0, f"is damaged: {error.strerror}") from error

    def _upright(self, frame: Any) -> Image:
        turns = _quarter_turns(frame)
        image: Image = np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), turns))
        if image.shape[:2] != (self.info.height, self.info.width):
            raise VideoError(
                f"{self.path} changes its size from {self.info.width}x{self.info.height} to {image.shape[1]}x{image.shape[0]} pixels.",
                f"Make it of one size first: `ffmpeg -i {self.path.name} -s {self.info.width}x{self.info.height} even.mp4`.",
            )
        return image

    def _broken(self, index: int, what: str) -> _BrokenError:
        if not index:
            return _BrokenError(f"The video {self.path} {what}.", "Copy or download the file again.")
        return _BrokenError(
            f"The video {self.path} {what} (after {index} frames that could be read, of about {self.info.expected_frames}).",
            "Copy or download the file again, or take the frames before: `dp2bench anonymize` does with --keep-readable.",
        )


class SegmentWriter:
    """Encodes some frames of a video into a file of their own, which `join` then strings together.

    No frame refers to a later one, so that segments can follow each other without their decoding order getting mixed.

    Args:
        path: is there only when the segment is whole.
        info: of the video that it will be a part of.
        encoder: one of `ENCODERS`.

    """

    def __init__(self, path: Path, info: VideoInfo, encoder: str) -> None:
        self.path, self.info = path, info
        self.partial = path.with_name(path.name + ".partial")
        av = _av()
        self._container = av.open(str(self.partial), "w", format="nut")
        stream = self._container.add_stream(encoder, rate=info.rate, options=dict(_OPTIONS[encoder]))
        stream.width, stream.height = info.width, info.height
        # Halved colour resolution needs even sides.
        stream.pix_fmt = "yuv444p" if info.width % 2 or info.height % 2 else "yuv420p"
        context = stream.codec_context
        context.time_base = info.time_base
        context.max_b_frames = 0
        context.sample_aspect_ratio = info.aspect
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = _LIMITED
        stream.time_base = info.time_base
        self._stream = stream

    def write(self, image: Image, pts: int) -> None:
        """Add a (H, W, 3) picture; ``pts`` must grow."""
        av = _av()
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24").reformat(
            format=self._stream.pix_fmt, dst_colorspace="ITU709", dst_color_range="MPEG"
        )
        frame.pts, frame.time_base = pts, self.info.time_base
        for packet in self._stream.encode(frame):
            self._container.mux(packet)

    def __enter__(self) -> SegmentWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                for packet in self._stream.encode():
                    self._container.mux(packet)
        finally:
            self._container.close()
        if kind is None:
            os.replace(self.partial, self.path)
        else:
            self.partial.unlink(missing_ok=True)


def encoder_for(path: Path) -> str:
    """The encoder of a file to be written; a VideoError for a container that is not written."""
    if path.suffix.lower() not in ENCODERS:
        raise VideoError(
            f"A video cannot be written as {path.name!r}.",
            f"Choose a name that ends in {', '.join(ENCODERS)}.",
        )
    return ENCODERS[path.suffix.lower()]


def join(
    segments: Sequence[Path],
    target: Path,
    info: VideoInfo,
    *,
    sound_of: Path | None = None,
    sound_until: float = math.inf,
) -> None:
    """String segments together, without encoding again, and copy the audio streams of another file beside them.

    Args:
        segments: written by `SegmentWriter` for one video, in order.
        target: replaced when it is whole.
        info: of the video.
        sound_of: the file whose audio is copied; None leaves the picture without sound.
        sound_until: seconds at which it ends at the latest.

    """
    av = _av()
    partial = target.with_name(f".{target.stem}.partial{target.suffix}")
    sound = av.open(str(sound_of)) if sound_of is not None else None
    try:
        with av.open(str(segments[0])) as first, av.open(str(partial), "w") as out:
            template = first.streams.video[0]
            picture = out.add_stream_from_template(template)
            picture.time_base = template.time_base
            # What the stream itself says is the inverse of its time base, which Matroska would store as the frame's duration.
            picture.codec_context.framerate = info.rate
            tracks = {}
            for stream in sound.streams.audio if sound is not None else ():
                try:
                    tracks[stream.index] = out.add_stream_from_template(stream)
                except (av.error.FFmpegError, ValueError) as error:
                    raise _no_room(target, stream, error) from error
            try:
                out.start_encoding()
            except (av.error.FFmpegError, ValueError) as error:
                raise _no_room(
                    target, sound.streams.audio[0] if tracks and sound else picture, error
                ) from error
            packets = [_packets(path, picture) for path in segments]
            merged = [_chain(packets)]
            if sound is not None and tracks:
                merged.append(_sound(sound, tracks, sound_until))
            for packet in heapq.merge(*merged, key=lambda p: float(p.dts * p.time_base)):
                out.mux(packet)
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
        if sound is not None:
            sound.close()


def _no_room(target: Path, stream: Any, error: Exception) -> VideoError:
    return VideoError(
        f"{target} cannot hold the sound as it is ({stream.codec_context.name}): {error}.",
        "Write to a name that ends in .mkv, which holds every codec, or leave the sound out with --no-audio.",
    )


def _packets(path: Path, stream: Any) -> Iterator[Any]:
    with _av().open(str(path)) as container:
        for packet in container.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                yield packet


def _chain(parts: Sequence[Iterator[Any]]) -> Iterator[Any]:
    for part in parts:
        yield from part


def _sound(container: Any, tracks: dict[int, Any], until: float) -> Iterator[Any]:
    av = _av()
    try:
        for packet in container.demux(*container.streams.audio):
            if packet.dts is not None and packet.dts * packet.time_base < until:
                packet.stream = tracks[packet.stream.index]
                yield packet
    except av.error.FFmpegError:
        # The sound of a damaged file ends where it can no longer be read; the picture was checked before.
        return


def _quarter_turns(frame: Any) -> int:
    """Counter-clockwise quarter turns that set a frame upright."""
    return round(float(getattr(frame, "rotation", 0) or 0) / 90) % 4


def _rotated_shape(frame: Any) -> tuple[int, int]:
    upright = _quarter_turns(frame) % 2 == 0
    return (frame.height, frame.width) if upright else (frame.width, frame.height)


def _tagged_duration(stream: Any) -> float:
    """Seconds as Matroska's tag of a stream says, 0 where there is none."""
    parts = str(stream.metadata.get("DURATION", "")).split(":")
    try:
        return float(parts[0]) * 3600 + float(parts[1]) * 60 + float(parts[2]) if len(parts) == 3 else 0.0
    except ValueError:
        return 0.0


def _av() -> Any:
    try:
        import av
    except ImportError as error:
        raise VideoError(f"Videos need PyAV, which is not installed ({error}).", _INSTALL) from error
    return av
