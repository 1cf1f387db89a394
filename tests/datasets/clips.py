"""Small videos made on the spot: a bright square walks over a dark picture, one corner is green."""

from fractions import Fraction

import av
import numpy as np

CLOCK = 600


def picture(i, height=96, width=160):
    image = np.full((height, width, 3), 40, np.uint8)
    image[: height // 4, : width // 4] = (20, 220, 40)
    x = 4 + 2 * i
    image[height // 2 : height // 2 + 20, x : x + 16] = (240, 240, 230)
    return image


def patchwork(i, height=96, width=160):
    """Patches of any grey level, of which blurring changes every pixel."""
    blocks = np.random.default_rng(i).integers(0, 256, (height // 8, width // 8, 1), np.uint8)
    return np.broadcast_to(np.kron(blocks, np.ones((8, 8, 1), np.uint8)), (height, width, 3)).copy()


def make(
    path,
    n=40,
    *,
    drawn=picture,
    size=(96, 160),
    rotation=0,
    sound=True,
    stamps=None,
    codec="libx264",
    options=None,
):
    """Write a clip of 30 frames a second, or of the given timestamps in 1/600 s."""
    with av.open(str(path), "w", options=options or {}) as out:
        video = out.add_stream(codec, rate=30)
        video.height, video.width = size
        video.pix_fmt = "yuv444p" if size[0] % 2 or size[1] % 2 else "yuv420p"
        video.codec_context.time_base = Fraction(1, CLOCK)
        video.codec_context.colorspace = video.codec_context.color_trc = (
            video.codec_context.color_primaries
        ) = 1
        if rotation:
            video.set_display_rotation(rotation)
        audio = out.add_stream("aac", rate=48000, layout="mono") if sound else None
        for i in range(n):
            frame = av.VideoFrame.from_ndarray(drawn(i, *size), format="rgb24").reformat(
                format=video.pix_fmt, dst_colorspace="ITU709", dst_color_range="MPEG"
            )
            frame.pts, frame.time_base = (stamps[i] if stamps else i * CLOCK // 30), Fraction(1, CLOCK)
            out.mux(video.encode(frame))
        out.mux(video.encode())
        if audio is not None:
            wave = np.sin(np.arange(48000 * n // 30) * 0.05).astype(np.float32) * 0.5
            for k in range(0, len(wave) - 1023, 1024):
                piece = av.AudioFrame.from_ndarray(wave[None, k : k + 1024], format="fltp", layout="mono")
                piece.sample_rate, piece.pts = 48000, k
                out.mux(audio.encode(piece))
            out.mux(audio.encode())
    return path


def sound(path):
    """The bytes of every audio packet."""
    with av.open(str(path)) as container:
        return [bytes(p) for p in container.demux(audio=0) if p.size]
