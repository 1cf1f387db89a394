"""Video files to be read, frame by frame in constant memory: pixels upright, timestamps kept. FFmpeg's libraries through PyAV."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from dp2bench.core import colour
from dp2bench.core.errors import Dp2benchError
from dp2bench.core.listing import VIDEO_SUFFIXES
from dp2bench.core.types import Image

BT709 = 1
"""Of primaries, transfer and matrix, by the codes of ITU-T H.273."""
_UNSPECIFIED = 2
_HD = 720
"""Lines from which on colours that a file does not name are BT.709's, as in players; below they are BT.601's."""
_SHORTER_IS_CUT_OFF = 0.3
"""Seconds; containers round, and count the last frame's duration in different ways."""
FASTEST = 1000
"""Frames a second; some containers give the clock's rate for the frames' where these are uneven."""
_ATTACHED_PICTURE, _THUMBNAILS = 0x400, 0x800
_WORDS = {"subtitle": "subtitle", "data": "data", "attachment": "attachment", "video": "further picture"}
_INSTALL = 'Install PyAV, which reads and writes videos: `pip install "dp2bench[video]"`.'


class VideoError(Dp2benchError):
    """A video that cannot be read to its end, or not be written."""


class _BrokenError(VideoError):
    """A video that can be read up to a frame."""


def is_video_name(path: str | Path) -> bool:
    """Whether the suffix is one of `VIDEO_SUFFIXES`, in any case."""
    return Path(path).suffix.lower() in VIDEO_SUFFIXES


@dataclass(frozen=True)
class Selection:
    """What is taken of a video.

    Attributes:
        start, end: seconds from the beginning of the picture.
        fps: frames a second at most; the others are dropped.
        max_size: pixels of the longer side at most; larger frames are scaled down.

    """

    start: float = 0.0
    end: float = math.inf
    fps: float | None = None
    max_size: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end:
            raise VideoError(
                f"No part of a video lies between {self.start:g} and {self.end:g} s.",
                "Give --start and --end in seconds, the end after the start.",
            )
        if self.fps is not None and not self.fps > 0:
            raise VideoError(f"{self.fps:g} frames a second are none.", "Give --fps a number above 0.")
        if self.max_size is not None and self.max_size < 16:
            raise VideoError(f"Frames of {self.max_size} pixels hold nothing.", "Give --max-size 16 or more.")


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
        primaries, transfer: what the colours of the frames mean, by the codes of ITU-T H.273.
        begin: seconds in the file at which the first frame stands.

    """

    width: int
    height: int
    rate: Fraction
    time_base: Fraction
    frames: int
    end: float
    aspect: Fraction
    audio: tuple[str, ...]
    primaries: int = BT709
    transfer: int = BT709
    begin: float = 0.0

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

    Of several picture streams the first is taken that is no cover. High dynamic range (PQ, HLG) is mapped to BT.709.

    Args:
        path: of the file.
        keep_readable: where the video is broken or cut off, the frames before are all; ``broken`` then says what is wrong.
        selection: what is taken of it.

    Attributes:
        info: of the frames as they are given out.
        left_behind: what else is in the file, and what of the frames is lost, in words.

    Raises:
        VideoError: missing, empty, no video, or (while iterating) broken or cut off; names the file, the frame and the second.

    """

    def __init__(
        self, path: str | Path, *, keep_readable: bool = False, selection: Selection | None = None
    ) -> None:
        self.path = Path(path)
        self.keep_readable = keep_readable
        self.selection = selection or Selection()
        self.broken = ""
        if not self.path.is_file():
            raise VideoError(f"The video {self.path} does not exist.", "Check the path.")
        if not self.path.stat().st_size:
            raise VideoError(f"The video {self.path} is empty (0 bytes).", "Copy or download the file again.")
        with self._open() as container:
            self._inspect(container)

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
        """The selected frames, numbered anew; times begin at 0 where the selection does not begin with the video."""
        start, end, fps = self.selection.start, self.selection.end, self.selection.fps
        base, shift, index, slot = self.info.time_base, 0, 0, -1
        for pts, frame, guessed in self._decoded():
            seconds = float(pts * base) - self.info.begin
            if seconds < start - 1e-6:
                continue
            if seconds >= end - 1e-6:
                break
            if fps is not None:
                if math.floor((seconds - start) * fps + 1e-6) == slot:
                    continue
                slot = math.floor((seconds - start) * fps + 1e-6)
            if not index and start:
                shift = pts
            yield Frame(index, pts - shift, self._upright(frame), guessed)
            index += 1
        if not index:
            raise VideoError(
                f"The video {self.path} has no frame between {start:g} and {end:g} s; it lasts {self.info.end - self.info.begin:.2f} s.",
                "Choose an earlier --start.",
            )

    def _decoded(self) -> Iterator[tuple[int, Any, bool]]:
        """(timestamp, frame as decoded, whether it was guessed) of every frame from the selection's start on."""
        import av

        step = max(1, round(1 / (self._rate * self.info.time_base)))
        pts, index, guessed = -step, 0, False
        with self._open() as container:
            stream = self._stream(container)
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
                    yield pts, frame, guessed
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
        av = load_av()
        try:
            container = av.open(str(self.path))
        except (av.error.FFmpegError, ValueError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise VideoError(
                f"{self.path} cannot be opened as a video: {reason}.",
                "Copy or download the file again; a file whose end is missing often cannot be opened at all.",
            ) from error
        if not any(not _is_cover(stream) for stream in container.streams.video):
            container.close()
            raise VideoError(f"{self.path} holds no video stream.", "Give a file with moving pictures.")
        return container

    @staticmethod
    def _stream(container: Any) -> Any:
        return next(stream for stream in container.streams.video if not _is_cover(stream))

    def _inspect(self, container: Any) -> None:
        stream = self._stream(container)
        first = self._first(container, stream)
        self._shape = (first.height, first.width)
        self._matrix = self._assumed_matrix(first)
        height, width = self._target_shape(*_rotated_shape(first))
        rates = (stream.average_rate, stream.guessed_rate, stream.base_rate)
        self._rate = Fraction(next((r for r in rates if r and r <= FASTEST), Fraction(25)))
        fps = self.selection.fps
        rate = self._rate if fps is None else min(self._rate, Fraction(fps).limit_denominator(1001))
        start = float((stream.start_time or 0) * stream.time_base)
        duration = float(stream.duration * stream.time_base) if stream.duration else 0.0
        end = start + duration if duration else _tagged_end(stream)
        begin = float(first.pts * stream.time_base) if first.pts is not None else 0.0
        aspect = Fraction(stream.sample_aspect_ratio or 1)
        primaries, transfer = (int(getattr(first, name)) for name in ("color_primaries", "color_trc"))
        self._dynamic = (transfer, primaries) if transfer in {colour.PQ, colour.HLG} else None
        known = primaries in colour.PRIMARIES and self._dynamic is None
        self.info = VideoInfo(
            width,
            height,
            rate,
            Fraction(stream.time_base),
            self._count(int(stream.frames or 0)),
            end,
            1 / aspect if _turn(first)[0] else aspect,
            tuple(a.codec_context.name for a in container.streams.audio),
            primaries if known else BT709,
            transfer if known and transfer != _UNSPECIFIED else BT709,
            begin,
        )
        self.left_behind = self._lost(container, stream, first)

    def _first(self, container: Any, stream: Any) -> Any:
        av = load_av()
        try:
            first = next(container.decode(stream), None)
        except av.error.FFmpegError as error:
            raise self._broken(0, f"is damaged: {error.strerror}") from error
        if first is None:
            raise self._broken(0, "holds no frame that can be decoded")
        return first

    def _count(self, frames: int) -> int:
        chosen = self.selection
        return frames if (chosen.start, chosen.end, chosen.fps) == (0.0, math.inf, None) else 0

    def _target_shape(self, height: int, width: int) -> tuple[int, int]:
        """(H, W) of an upright frame after scaling down, in even numbers."""
        most = self.selection.max_size
        if most is None or max(height, width) <= most:
            return height, width
        factor = most / max(height, width)
        return tuple(max(2, 2 * round(side * factor / 2)) for side in (height, width))  # type: ignore[return-value]

    @staticmethod
    def _assumed_matrix(frame: Any) -> int | None:
        """The matrix of frames that do not name theirs; None where they do, or where there is none (RGB)."""
        if int(frame.colorspace) != _UNSPECIFIED or not frame.format.name.startswith(("yuv", "nv", "p0")):
            return None
        return BT709 if frame.height >= _HD else None

    @staticmethod
    def _lost(container: Any, stream: Any, first: Any) -> tuple[str, ...]:
        others = [s for s in container.streams if s is not stream and s.type != "audio"]
        kinds = Counter(
            "cover picture" if _is_cover(s) else f"{_WORDS.get(s.type, 'other')} track" for s in others
        )
        lost = [f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in kinds.items()]
        chapters = container.chapters() if hasattr(container, "chapters") else []
        if chapters:
            lost.append(f"{len(chapters)} chapters")
        if int(first.color_trc) in {colour.PQ, colour.HLG}:
            lost.append("high dynamic range (mapped to BT.709)")
        bits = max((c.bits for c in first.format.components), default=8)
        if bits > 8:
            lost.append(f"{bits} bits a channel (8 are written)")
        if any(c.is_alpha for c in first.format.components) or stream.metadata.get("alpha_mode") == "1":
            lost.append("transparency")
        if first.interlaced_frame:
            lost.append("interlacing (both fields of a frame are shown at once)")
        return tuple(lost)

    def _upright(self, frame: Any) -> Image:
        if (frame.height, frame.width) != self._shape:
            raise VideoError(
                f"{self.path} changes its size from {self._shape[1]}x{self._shape[0]} to {frame.width}x{frame.height} pixels.",
                f"Make it of one size first: `ffmpeg -i {self.path.name} -s {self._shape[1]}x{self._shape[0]} even.mp4`.",
            )
        turned, mirror_x, mirror_y = _turn(frame)
        h, w = (self.info.width, self.info.height) if turned else (self.info.height, self.info.width)
        form = "rgb24" if self._dynamic is None else "rgb48le"
        rgb = frame.reformat(width=w, height=h, format=form, src_colorspace=self._matrix).to_ndarray()
        if self._dynamic is not None:
            rgb = colour.tone_mapped(rgb, *self._dynamic)
        upright = rgb.swapaxes(0, 1) if turned else rgb
        return np.ascontiguousarray(upright[:: -1 if mirror_y else 1, :: -1 if mirror_x else 1])

    def _broken(self, index: int, what: str) -> _BrokenError:
        if not index:
            return _BrokenError(f"The video {self.path} {what}.", "Copy or download the file again.")
        expected = f", of about {self.info.expected_frames}" if hasattr(self, "info") else ""
        return _BrokenError(
            f"The video {self.path} {what} (after {index} frames that could be read{expected}).",
            "Copy or download the file again, or take the frames before: `dp2bench anonymize` does with --keep-readable.",
        )


def _turn(frame: Any) -> tuple[bool, bool, bool]:
    """What sets a frame upright, in this order: whether rows become columns, left right, and top bottom."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return False, False, False
    a, b, _, c, d = np.frombuffer(bytes(matrix), "<i4", 5).tolist()  # x' = a x + c y, y' = b x + d y
    turned = abs(b) + abs(c) > abs(a) + abs(d)
    return (turned, c < 0, b < 0) if turned else (False, a < 0, d < 0)


def _rotated_shape(frame: Any) -> tuple[int, int]:
    return (frame.width, frame.height) if _turn(frame)[0] else (frame.height, frame.width)


def _is_cover(stream: Any) -> bool:
    """Whether a picture stream is the cover of a film, or pictures of its moments, and not the film."""
    disposition = int(getattr(stream, "disposition", 0))
    return bool(disposition & (_ATTACHED_PICTURE | _THUMBNAILS))


def _tagged_end(stream: Any) -> float:
    """Seconds as Matroska's tag of a stream says, 0 where there is none."""
    parts = str(stream.metadata.get("DURATION", "")).split(":")
    try:
        return float(parts[0]) * 3600 + float(parts[1]) * 60 + float(parts[2]) if len(parts) == 3 else 0.0
    except ValueError:
        return 0.0


def load_av() -> Any:
    """PyAV. Raises VideoError, which says how to install it."""
    try:
        import av
    except ImportError as error:
        raise VideoError(f"Videos need PyAV, which is not installed ({error}).", _INSTALL) from error
    return av
