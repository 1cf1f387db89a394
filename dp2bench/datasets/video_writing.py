"""Video files to be written: frames into segments, segments and sound into a file. FFmpeg's libraries through PyAV."""

from __future__ import annotations

import heapq
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dp2bench.core import altered
from dp2bench.core.files import write_bytes
from dp2bench.core.types import Image
from dp2bench.datasets.video_reading import BT709, VideoError, VideoInfo, load_av

if TYPE_CHECKING:
    from types import TracebackType

ENCODERS = {".mp4": "libx264", ".m4v": "libx264", ".mov": "libx264", ".mkv": "libx264", ".webm": "libvpx-vp9"}
"""Encoder by the suffix of a file to be written, where none is chosen."""

CODECS = {"h264": "libx264", "h265": "libx265", "vp9": "libvpx-vp9"}
"""Encoder by the name of a codec that can be chosen."""
_OPTIONS = {  # one thread where the bytes depend on their number
    "libx264": {"crf": "18", "preset": "medium", "threads": "1"},
    "libx265": {
        "crf": "20",
        "preset": "medium",
        "x265-params": "log-level=error:bframes=0:frame-threads=1:pools=none",
    },
    "libvpx-vp9": {"crf": "24", "b:v": "0", "deadline": "good", "cpu-used": "4"},
}
_LIMITED = 1
_MUXERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}


class CheckedFile:
    """A file for FFmpeg's libraries, which go on after a write that failed and may not say so; leaving the context does.

    Raises:
        OSError: of the first write that failed.

    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._error: OSError | None = None

    def write(self, data: bytes) -> int:
        """As of any file; so are the others."""
        try:
            return self._file.write(data)
        except OSError as error:
            self._error = self._error or error
            raise

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def __enter__(self) -> CheckedFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Wait until everything is on the disk."""
        try:
            with self._file:
                self._file.flush()
                os.fsync(self._file.fileno())
        except OSError as error:
            self._error = self._error or error
        if self._error is not None:
            raise self._error


class SegmentWriter:
    """Encodes some frames of a video into a file of their own, which `join` then strings together.

    No frame refers to a later one, so that segments can follow each other without their decoding order getting mixed.

    Args:
        path: is there only when the segment is whole.
        info: of the video that it will be a part of.
        encoder: one of `CODECS`' values.
        quality: the encoder's constant rate factor, lower is better; None for the one that is hard to tell from the original.

    """

    def __init__(self, path: Path, info: VideoInfo, encoder: str, quality: int | None = None) -> None:
        self.path, self.info = path, info
        self.partial = path.with_name(path.name + ".partial")
        av = load_av()
        self._file = CheckedFile(self.partial)
        self._container = av.open(self._file, "w", format="nut")
        options = _OPTIONS[encoder] | ({} if quality is None else {"crf": str(quality)})
        stream = self._container.add_stream(encoder, rate=info.rate, options=options)
        stream.width, stream.height = info.width, info.height
        # Halved colour resolution needs even sides.
        stream.pix_fmt = "yuv444p" if info.width % 2 or info.height % 2 else "yuv420p"
        context = stream.codec_context
        context.time_base = info.time_base
        context.max_b_frames = 0
        context.sample_aspect_ratio = info.aspect
        context.colorspace = BT709
        context.color_primaries, context.color_trc = info.primaries, info.transfer
        context.color_range = _LIMITED
        stream.time_base = info.time_base
        self._stream, self._quality = stream, quality

    def write(self, image: Image, pts: int) -> None:
        """Add a (H, W, 3) picture; ``pts`` must grow."""
        av = load_av()
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24").reformat(
            format=self._stream.pix_fmt, dst_colorspace="ITU709", dst_color_range="MPEG"
        )
        frame.pts, frame.time_base = pts, self.info.time_base
        for packet in self._encoded(frame):
            self._container.mux(packet)

    def _encoded(self, frame: Any) -> list[Any]:
        """Packets of a frame, or of all that is still in the encoder where it is None."""
        try:
            packets: list[Any] = self._stream.encode(frame)
        except load_av().error.FFmpegError as error:
            raise VideoError(
                f"{self._stream.codec_context.name} cannot encode {self.info.width}x{self.info.height} pixels"
                + (f" at quality {self._quality}" if self._quality is not None else "")
                + f": {error.strerror}.",
                "Choose another --quality or --codec.",
            ) from error
        return packets

    def __enter__(self) -> SegmentWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with self._file, self._container:
                if kind is None:
                    for packet in self._encoded(None):
                        self._container.mux(packet)
            if kind is None:
                os.replace(self.partial, self.path)
        finally:
            self.partial.unlink(missing_ok=True)


def encoder_for(path: Path, codec: str | None = None) -> str:
    """The encoder of a file to be written; a VideoError for a container that is not written, or cannot hold a codec of `CODECS`."""
    suffix = path.suffix.lower()
    if suffix not in ENCODERS:
        raise VideoError(
            f"A video cannot be written as {path.name!r}.",
            f"Choose a name that ends in {', '.join(ENCODERS)}.",
        )
    if codec is None:
        return ENCODERS[suffix]
    if codec not in CODECS:
        raise VideoError(f"The codec {codec!r} is not known.", f"Choose --codec of {', '.join(CODECS)}.")
    encoder = CODECS[codec]
    if suffix == ".webm" and encoder != ENCODERS[suffix]:
        raise VideoError(f"{path.name} cannot hold {codec}.", "Use --codec vp9, or a name that ends in .mkv.")
    if encoder not in load_av().codecs_available:
        raise VideoError(
            f"This PyAV has no encoder of {codec}.", f"Choose another --codec of {', '.join(CODECS)}."
        )
    return encoder


def join(
    segments: Sequence[Path],
    target: Path,
    info: VideoInfo,
    *,
    sound_of: Path | None = None,
    sound_from: float = 0.0,
    sound_until: float = math.inf,
) -> None:
    """String segments together, without encoding again, and copy the audio streams of another file beside them.

    Of an audio stream its packets, its language and whether it is the default one are copied.

    Args:
        segments: written by `SegmentWriter` for one video, in order.
        target: replaced when it is whole; on the disk of the segments.
        info: of the video.
        sound_of: the file whose audio is copied; None leaves the picture without sound.
        sound_from: seconds of that file which become 0.
        sound_until: seconds of that file at which the sound ends at the latest.

    """
    av = load_av()
    partial = segments[0].with_name("joined")
    sound = av.open(str(sound_of)) if sound_of is not None else None
    try:
        with (
            av.open(str(segments[0])) as first,
            CheckedFile(partial) as file,
            av.open(file, "w", format=_MUXERS[target.suffix.lower()]) as out,
        ):
            template = first.streams.video[0]
            picture = out.add_stream_from_template(template)
            picture.time_base = template.time_base
            # What the stream itself says is the inverse of its time base, which Matroska would store as the frame's duration.
            picture.codec_context.framerate = info.rate
            tracks = {}
            for stream in sound.streams.audio if sound is not None else ():
                try:
                    track = out.add_stream_from_template(stream)
                except (av.error.FFmpegError, ValueError) as error:
                    raise _no_room(target, stream, error) from error
                if stream.language:
                    track.metadata["language"] = stream.language
                if hasattr(track, "disposition"):
                    track.disposition = stream.disposition
                tracks[stream.index] = track
            if (how := altered.current()) is not None:
                out.metadata["comment"] = how.sentence
            try:
                out.start_encoding()
            except (av.error.FFmpegError, ValueError) as error:
                raise _no_room(
                    target, sound.streams.audio[0] if tracks and sound else picture, error
                ) from error
            packets = [_packets(path, picture) for path in segments]
            merged = [_chain(packets)]
            if sound is not None and tracks:
                merged.append(_sound(sound, tracks, sound_from, sound_until))
            for packet in heapq.merge(*merged, key=lambda p: float(p.dts * p.time_base)):
                out.mux(packet)
        _note(partial, target)
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
        if sound is not None:
            sound.close()


def _note(written: Path, target: Path) -> None:
    """Say in a file of the MP4 family that it was altered, as pictures do, and sign it; others have the comment alone."""
    how = altered.current()
    if how is None:
        return
    if target.suffix.lower() in {".mp4", ".m4v", ".mov"}:
        write_bytes(written, how.noted(written.read_bytes(), "MP4"), f"The video {target}")
    elif how.credentials is not None:
        raise VideoError(
            f"{target.name} cannot hold content credentials.",
            "Use a name that ends in .mp4, or leave --credentials out.",
        )


def _no_room(target: Path, stream: Any, error: Exception) -> VideoError:
    return VideoError(
        f"{target} cannot hold the sound as it is ({stream.codec_context.name}): {error}.",
        "Write to a name that ends in .mkv, which holds every codec, or leave the sound out with --no-audio.",
    )


def _packets(path: Path, stream: Any) -> Iterator[Any]:
    with load_av().open(str(path)) as container:
        for packet in container.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                yield packet


def _chain(parts: Sequence[Iterator[Any]]) -> Iterator[Any]:
    for part in parts:
        yield from part


def _sound(container: Any, tracks: dict[int, Any], begin: float, until: float) -> Iterator[Any]:
    av = load_av()
    try:
        if begin:
            container.seek(int(begin * 1_000_000))
        for packet in container.demux(*container.streams.audio):
            if packet.dts is not None and (begin or -math.inf) <= packet.dts * packet.time_base < until:
                if begin:
                    shift = round(begin / packet.time_base)
                    packet.dts -= shift
                    packet.pts = packet.dts if packet.pts is None else packet.pts - shift
                packet.stream = tracks[packet.stream.index]
                yield packet
    except av.error.FFmpegError:
        # The sound of a damaged file ends where it can no longer be read; the picture was checked before.
        return
