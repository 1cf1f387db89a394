"""Video files, frame by frame in constant memory: pixels upright, timestamps kept, audio copied.

FFmpeg's libraries through PyAV. What is written holds pictures and, if wanted, sound with its languages: subtitles, chapters, data
streams and metadata (place and device of a recording are there) are left behind, and `Video.left_behind` names them.
"""

from typing import NamedTuple

from dp2bench.datasets.camera import is_camera, record
from dp2bench.datasets.video_reading import Frame, Selection, Video, VideoError, VideoInfo, is_video_name
from dp2bench.datasets.video_writing import CODECS, ENCODERS, SegmentWriter, encoder_for, join

__all__ = [
    "CODECS",
    "ENCODERS",
    "Frame",
    "SegmentWriter",
    "Selection",
    "Video",
    "VideoError",
    "VideoInfo",
    "VideoOptions",
    "encoder_for",
    "is_camera",
    "is_video_name",
    "join",
    "record",
]


class VideoOptions(NamedTuple):
    """How a video is taken and written.

    Attributes:
        selection: what is taken of it.
        codec: one of `CODECS`; None for the usual one of the target's suffix.
        quality: see `SegmentWriter`.

    """

    selection: Selection = Selection()
    codec: str | None = None
    quality: int | None = None
