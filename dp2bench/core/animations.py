"""Files of several frames, each frame kept: the libraries join frames that are equal, and lose count and time of them."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator, Sequence

from PIL import GifImagePlugin
from PIL import Image as PILImage

FOREVER = 0


def gif(frames: Sequence[PILImage.Image], durations: Sequence[int], loop: int | None) -> bytes:
    """An animated GIF; each frame has a palette of its own.

    Args:
        frames: RGB, of one size.
        durations: milliseconds of each.
        loop: repetitions, 0 for ever; None plays once.

    """
    out = bytearray()
    for i, (frame, duration) in enumerate(zip(frames, durations, strict=True)):
        indexed = frame.convert("P", palette=PILImage.Palette.ADAPTIVE)
        if not i:
            out += b"GIF89a" + struct.pack("<HHBBB", *frame.size, 0x70, 0, 0)
            if loop is not None:
                out += b"\x21\xff\x0bNETSCAPE2.0\x03\x01" + struct.pack("<H", loop) + b"\0"
        for block in GifImagePlugin.getdata(indexed, duration=duration, include_color_table=True):
            out += block
    return bytes(out) + b";"


def apng(frames: Sequence[bytes], durations: Sequence[int], loop: int) -> bytes:
    """An animated PNG of PNG files of one size and kind. Arguments as of `gif`."""
    head = dict(png_chunks(frames[0]))
    out = b"\x89PNG\r\n\x1a\n" + _png_chunk(b"IHDR", head[b"IHDR"])
    out += b"".join(_png_chunk(k, v) for k, v in head.items() if k in {b"iCCP", b"cICP"})
    out += _png_chunk(b"acTL", struct.pack(">II", len(frames), loop))
    size, number = head[b"IHDR"][:8], 0
    for i, (frame, duration) in enumerate(zip(frames, durations, strict=True)):
        control = struct.pack(">I8sIIHHBB", number, size, 0, 0, min(duration, 65535), 1000, 0, 0)
        out += _png_chunk(b"fcTL", control)
        number += 1
        for kind, body in png_chunks(frame):
            if kind == b"IDAT" and not i:
                out += _png_chunk(kind, body)
            elif kind == b"IDAT":
                out += _png_chunk(b"fdAT", struct.pack(">I", number) + body)
                number += 1
    return out + _png_chunk(b"IEND", b"")


def with_png_profile(data: bytes, profile: bytes) -> bytes:
    """A PNG file with an ICC profile."""
    end_of_header = 8 + 25
    body = b"icc\0\0" + zlib.compress(profile)
    return data[:end_of_header] + _png_chunk(b"iCCP", body) + data[end_of_header:]


def _png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Type and content of each chunk of a PNG file; of a damaged one those before the damage."""
    at = 8
    while at + 12 <= len(data):
        size = struct.unpack(">I", data[at : at + 4])[0]
        yield data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
        at += size + 12


def webp(frames: Sequence[bytes], durations: Sequence[int], loop: int, profile: bytes | None = None) -> bytes:
    """An animated WebP of still WebP files of one size without transparency. Arguments as of `gif`."""
    with PILImage.open(io.BytesIO(frames[0])) as first:
        size = b"".join((side - 1).to_bytes(3, "little") for side in first.size)
    flags = 0x02 | (0x20 if profile else 0)
    body = _riff(b"VP8X", bytes([flags, 0, 0, 0]) + size)
    body += _riff(b"ICCP", profile) if profile else b""
    body += _riff(b"ANIM", b"\xff\xff\xff\xff" + struct.pack("<H", loop))
    for frame, duration in zip(frames, durations, strict=True):
        picture = b"".join(_riff(k, v) for k, v in _riff_chunks(frame) if k in {b"VP8 ", b"VP8L"})
        # At 0, 0; of the canvas's size; drawn over the last one without blending.
        body += _riff(
            b"ANMF", bytes(6) + size + min(duration, 0xFFFFFF).to_bytes(3, "little") + b"\x02" + picture
        )
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def _riff(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)


def _riff_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 12
    while at + 8 <= len(data):
        size = struct.unpack("<I", data[at + 4 : at + 8])[0]
        yield data[at : at + 4], data[at + 8 : at + 8 + size]
        at += 8 + size + size % 2
