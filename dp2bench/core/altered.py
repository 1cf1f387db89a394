"""What a written picture or video says of itself: that it was altered, and how (IPTC's DigitalSourceType, in XMP)."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from html import escape  # of xml.sax would import the web

from dp2bench.core import credentials
from dp2bench.core.credentials import Credentials

SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
SYNTHESISED = "compositeWithTrainedAlgorithmicMedia"
"""A picture parts of which a trained network made."""
ENHANCED = "algorithmicallyEnhanced"
"""A picture that an algorithm changed without a model of what people look like: blur, pixelation, grey."""


@dataclass(frozen=True)
class Altered:
    """How pictures are altered.

    Attributes:
        method: name of the anonymizer.
        source_type: last part of IPTC's address of a digital source type.
        credentials: what files are signed with; None for nothing.

    """

    method: str
    source_type: str
    credentials: Credentials | None = None

    @property
    def address(self) -> str:
        """IPTC's term as it stands in metadata."""
        return SOURCE_TYPES + self.source_type

    @property
    def sentence(self) -> str:
        """For people, and for formats without XMP."""
        return f"People in this picture were anonymized with dp2bench ({self.method}). DigitalSourceType: {self.address}"

    def xmp(self) -> bytes:
        """The XMP packet."""
        return (
            '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
            '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
            '<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
            'xmlns:xmp="http://ns.adobe.com/xap/1.0/" '
            f'Iptc4xmpExt:DigitalSourceType="{escape(self.address)}" '
            f'xmp:CreatorTool="dp2bench, {escape(self.method)}"/>'
            '</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
        ).encode()

    def noted(self, data: bytes, file_format: str, size: tuple[int, int] = (0, 0)) -> bytes:
        """A file with the note, wherever its format has room, signed where there are credentials; BMP and the like stay as they are.

        AVIF and HEIF are given `xmp` while they are encoded.

        Args:
            data: a whole file.
            file_format: Pillow's name of it, or ``MP4``.
            size: (width, height) in pixels.

        Raises:
            Dp2benchError: the file is to be signed, and its format or the certificate does not allow it.

        """
        writers = {"JPEG": _in_jpeg, "PNG": _in_png, "TIFF": _in_tiff, "JPEG2000": _in_jp2, "MP4": _in_boxes}
        if file_format in writers:
            data = writers[file_format](data, self.xmp())
        elif file_format == "WEBP":
            data = _in_webp(data, self.xmp(), size)
        elif file_format == "GIF":
            text = self.sentence.encode()
            parts = b"".join(
                bytes([len(p)]) + p for p in (text[i : i + 255] for i in range(0, len(text), 255))
            )
            data = data[:-1] + b"!\xfe" + parts + b"\0" + data[-1:]
        if self.credentials is None:
            return data
        return self.credentials.signed(data, file_format, method=self.method, source_type=self.address)


ENCODED = {"AVIF", "HEIF"}
"""Formats whose encoder takes the packet."""
_XMP_BOX = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
"""Name of the box for XMP in JPEG 2000 and MP4."""


def _in_boxes(data: bytes, xmp: bytes) -> bytes:
    """A box at the end."""
    return data + struct.pack(">I", 24 + len(xmp)) + b"uuid" + _XMP_BOX + xmp


def _in_jp2(data: bytes, xmp: bytes) -> bytes:
    """A box at the end; a bare codestream has no boxes."""
    return _in_boxes(data, xmp) if data[4:8] == b"jP  " else data


def _in_jpeg(data: bytes, xmp: bytes) -> bytes:
    """A segment APP1 after those of JFIF and Exif."""
    at = 2
    while data[at : at + 2] in {b"\xff\xe0", b"\xff\xe1"}:
        at += 2 + struct.unpack(">H", data[at + 2 : at + 4])[0]
    body = b"http://ns.adobe.com/xap/1.0/\0" + xmp
    return data[:at] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[at:]


def _in_png(data: bytes, xmp: bytes) -> bytes:
    """A chunk iTXt after the header."""
    body = b"iTXt" + b"XML:com.adobe.xmp\0\0\0\0\0" + xmp
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return data[:33] + chunk + data[33:]


def _in_tiff(data: bytes, xmp: bytes) -> bytes:
    """Tag 700 in the first page's directory, which is written anew at the end."""
    order = "<" if data[:2] == b"II" else ">"
    first = struct.unpack(order + "I", data[4:8])[0]
    count = struct.unpack(order + "H", data[first : first + 2])[0]
    entries = [data[first + 2 + 12 * i : first + 14 + 12 * i] for i in range(count)]
    following = data[first + 2 + 12 * count : first + 6 + 12 * count]
    data += bytes(len(data) % 2)
    entries.append(struct.pack(order + "HHII", 700, 1, len(xmp), len(data)))
    entries.sort(key=lambda entry: int(struct.unpack(order + "H", entry[:2])[0]))
    data += xmp + bytes(len(xmp) % 2)
    table = struct.pack(order + "H", len(entries)) + b"".join(entries) + following
    return data[:4] + struct.pack(order + "I", len(data)) + data[8:] + table


def _in_webp(data: bytes, xmp: bytes, size: tuple[int, int]) -> bytes:
    """A chunk at the end, announced in the extended header, which simple files are given."""
    chunks = data[12:]
    if chunks[:4] == b"VP8X":
        head = chunks[:8] + bytes([chunks[8] | 4]) + chunks[9:18]
        chunks = chunks[18:]
    else:
        sides = b"".join(struct.pack("<I", side - 1)[:3] for side in size)
        has_alpha = 16 if chunks[:4] == b"VP8L" and chunks[12] & 16 else 0
        head = b"VP8X" + struct.pack("<I", 10) + bytes([4 | has_alpha, 0, 0, 0]) + sides
    body = b"WEBP" + head + chunks + b"XMP " + struct.pack("<I", len(xmp)) + xmp + bytes(len(xmp) % 2)
    return b"RIFF" + struct.pack("<I", len(body)) + body


_current: ContextVar[Altered | None] = ContextVar("altered", default=None)


def current() -> Altered | None:
    """How the pictures being written are altered; None where they are not."""
    return _current.get()


@contextmanager
def pictures_altered_by(method: str, *, synthesised: bool) -> Iterator[Altered]:
    """Whatever picture or video is written within says that it was altered, and is signed within `credentials.signing_with`.

    Args:
        method: name of the anonymizer.
        synthesised: by a trained network.

    """
    altered = Altered(method, SYNTHESISED if synthesised else ENHANCED, credentials.current())
    token = _current.set(altered)
    try:
        yield altered
    finally:
        _current.reset(token)


def source_type_of(data: bytes) -> str | None:
    """The digital source type that a file's bytes tell, or None. For tests and for those who receive pictures."""
    # In a manifest of content credentials other letters follow at once.
    for term in (SYNTHESISED, ENHANCED):
        if (SOURCE_TYPES + term).encode() in data:
            return term
    match = re.search(re.escape(SOURCE_TYPES).encode() + rb"([A-Za-z]+)", data)
    return match[1].decode() if match else None
