"""What a picture's file holds behind or beside its pixels. None of it is ever written; naming it tells a user what a copy has not."""

from __future__ import annotations

from collections.abc import Iterator

FILM = "films of motion photos"
SECOND = "second pictures"
PANORAMA = "panoramas' projection"

_SCAN = b"\xff\xda"
_END = b"\xff\xd9"
_BEGIN = b"\xff\xd8\xff"


def attachments(data: bytes, picture_format: str, xmp: bytes | str | None) -> list[str]:
    """Names of what else is in a file.

    Args:
        data: content of the file.
        picture_format: Pillow's name of it.
        xmp: its XMP metadata, if there are any.

    Returns:
        Of `FILM`, `SECOND` and `PANORAMA` those that are there.

    """
    found = []
    if picture_format in {"JPEG", "MPO"}:
        behind = _behind_jpeg(data)
        if behind.find(b"ftyp") >= 4:
            found.append(FILM)
        if _BEGIN in behind:
            found.append(SECOND)
    elif picture_format in {"HEIF", "AVIF"} and any(kind == b"mpvd" for kind in _boxes(data)):
        found.append(FILM)
    text = xmp.encode("utf-8", "replace") if isinstance(xmp, str) else xmp or b""
    if b"GPano:" in text:
        found.append(PANORAMA)
    return found


def _behind_jpeg(data: bytes) -> bytes:
    """What follows the first picture of a JPEG file."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        if data[at : at + 2] == _SCAN:
            # Within a scan 0xff is followed by zero or a restart marker.
            end = data.find(_END, at)
            return data[end + 2 :] if end >= 0 else b""
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return b""


def _boxes(data: bytes) -> Iterator[bytes]:
    """Types of the boxes of a file of the ISO family, outermost alone."""
    at = 0
    while at + 8 <= len(data):
        size, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if size == 1:
            size = int.from_bytes(data[at + 8 : at + 16], "big")
        yield kind
        if size < 8:
            return
        at += size
