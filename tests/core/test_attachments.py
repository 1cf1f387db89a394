"""What lies behind a picture in its file is named, whatever wrote it."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image as PILImage

from dp2bench.core.attachments import FILM, PANORAMA, SECOND, attachments

FILM_BYTES = b"\0\0\0\x18ftypisom" + bytes(40)


def _jpeg(**options):
    out = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    PILImage.fromarray(noise).save(out, "JPEG", quality=100, **options)
    return out.getvalue()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"progressive": True},
        {"restart_marker_blocks": 1},
        {"exif": b"Exif\0\0" + b"ftyp\xff\xd9\xff\xd8\xff"},
    ],
)
def test_behind_a_jpeg(options):
    data = _jpeg(**options)
    assert attachments(data, "JPEG", None) == []
    assert attachments(data + bytes(64), "JPEG", None) == [], "padding"
    assert attachments(data + FILM_BYTES, "JPEG", None) == [FILM]
    assert attachments(data + _jpeg() + FILM_BYTES, "MPO", None) == [FILM, SECOND]
    assert attachments(data[:-300], "JPEG", None) == []


def test_boxes_of_a_heic():
    picture = b"\0\0\0\x18ftypheic" + bytes(12) + b"\0\0\0\x10meta" + b"mpvd" + bytes(4)
    assert attachments(picture, "HEIF", None) == []
    film = len(FILM_BYTES) + 8
    assert attachments(picture + film.to_bytes(4, "big") + b"mpvd" + FILM_BYTES, "HEIF", None) == [FILM]
    large = b"\0\0\0\1mpvd" + (film + 8).to_bytes(8, "big") + FILM_BYTES
    assert attachments(picture + large, "HEIF", None) == [FILM]
    assert attachments(picture + bytes(8), "HEIF", None) == [], "a box of no size ends the walk"


def test_panoramas():
    assert attachments(_jpeg(), "JPEG", b"<x GPano:ProjectionType='equirectangular'/>") == [PANORAMA]
    assert attachments(b"", "PNG", "<x GPano:UsePanoramaViewer='True'/>") == [PANORAMA]
