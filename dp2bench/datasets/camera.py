"""Cameras: what one sees is recorded, without loss, to be anonymized."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from pathlib import Path

from dp2bench.core.contracts import Progress, no_progress
from dp2bench.datasets.video_reading import FASTEST, VideoError, load_av
from dp2bench.datasets.video_writing import CheckedFile

_CAMERA = re.compile(r"(v4l2|avfoundation|dshow|gdigrab|x11grab|lavfi):.+")
_MILLISECONDS = Fraction(1, 1000)


def is_camera(source: str | Path) -> bool:
    """Whether a source is a device: a file of devices, or ``FORMAT:NAME`` with one of FFmpeg's formats of devices."""
    return Path(source).is_char_device() or bool(_CAMERA.match(str(source)))


def record(camera: str, target: Path, seconds: float, progress: Progress = no_progress) -> None:
    """Write what a camera sees to a file, without loss, until so many seconds are over or Ctrl-C is pressed.

    Raises:
        VideoError: it cannot be opened, or gives no picture.

    """
    av = load_av()
    form, name = camera.split(":", 1) if _CAMERA.match(camera) else ("v4l2", camera)
    try:
        source = av.open(name, format=form)
        stream = source.streams.video[0]
    except (av.error.FFmpegError, ValueError, IndexError) as error:
        raise VideoError(
            f"The camera {camera} cannot be opened: {getattr(error, 'strerror', None) or error}.",
            "Check its name, and that no other program uses it.",
        ) from error
    frames = 0
    with source, CheckedFile(target) as file, av.open(file, "w", format="matroska") as out:
        rate = next(
            (r for r in (stream.average_rate, stream.guessed_rate) if r and r <= FASTEST), Fraction(25)
        )
        written = out.add_stream("ffv1", rate=rate)
        written.width, written.height = stream.codec_context.width, stream.codec_context.height
        written.pix_fmt = "bgr0"
        written.codec_context.time_base = _MILLISECONDS
        begin = last = None
        try:
            for frame in source.decode(stream):
                begin = frame.time if begin is None else begin
                stamp = round(((frame.time or 0.0) - (begin or 0.0)) * 1000)
                if stamp >= seconds * 1000:
                    break
                stamp = stamp if last is None or stamp > last else last + 1
                picture = frame.reformat(format="bgr0")
                picture.pts, picture.time_base, last = stamp, _MILLISECONDS, stamp
                out.mux(written.encode(picture))
                frames += 1
                progress(frames, 0 if seconds == math.inf else max(frames, round(seconds * rate)))
        except KeyboardInterrupt:  # that is how a recording ends
            pass
        out.mux(written.encode())
    if not frames:
        raise VideoError(f"The camera {camera} gave no picture.", "Check that it is switched on.")
