"""Pictures from and to files: any common encoding in, (H, W, 3) uint8 RGB out, errors name the file.

`read_image` and `write_image` are for who wants pixels. `PictureFile` and `rewrite_pages` know what else a file holds: pages and frames,
16 bits a channel, a colour space.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image as PILImage

from dp2bench.core.errors import Dp2benchError, PictureError
from dp2bench.core.picture_file import DECODE_ERRORS, MAX_PIXELS, PictureFile, Pixels, read_bytes, said
from dp2bench.core.picture_formats import FORMATS, format_of_container, is_picture_name, looks_like_picture
from dp2bench.core.picture_writing import rewrite_pages, target_format, write_pages
from dp2bench.core.types import Image

__all__ = [
    "FORMATS",
    "MAX_PIXELS",
    "PictureFile",
    "Pixels",
    "count_pages",
    "decode_image",
    "from_pillow",
    "is_picture_name",
    "looks_like_picture",
    "read_bytes",
    "read_image",
    "rewrite_pages",
    "target_format",
    "write_image",
]


def read_image(path: str | Path) -> Image:
    """The picture in a file, as `decode_image` gives it.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        PictureError: the file is missing, unreadable, empty, truncated, too large or not a picture.

    """
    return decode_image(read_bytes(Path(path)), str(path))


def decode_image(data: bytes, name: str) -> Image:
    """The picture in the bytes of a file.

    The EXIF orientation is applied, colours are converted to sRGB, transparency is laid on white, 16 bits a channel are rescaled to 8
    (65535 to 255, rounded to nearest), of several pages or frames the first is taken.

    Args:
        data: content of the file.
        name: how errors call it; its suffix tells formats without a signature.

    Returns:
        (H, W, 3) uint8 RGB, C-contiguous, writable.

    Raises:
        PictureError: the bytes are not a whole picture of at most `MAX_PIXELS` pixels.

    """
    with PictureFile(data, name) as file:
        return file.page(0).image()


def from_pillow(picture: PILImage.Image, name: str = "picture") -> Image:
    """A Pillow image as `decode_image` gives the file that it would be. Raises PictureError where it is truncated."""
    stream = io.BytesIO()
    lossless = "PNG" if picture.mode in {"1", "L", "LA", "I;16", "P", "RGB", "RGBA"} else "TIFF"
    try:
        profile = picture.info.get("icc_profile")
        picture.save(stream, lossless, exif=picture.getexif(), icc_profile=profile)
    except DECODE_ERRORS as error:
        raise PictureError(
            f"The Pillow image {name} cannot be read: {said(error)}.", "Open or convert it again."
        ) from error
    return decode_image(stream.getvalue(), name)


def count_pages(path: Path) -> int:
    """Pages or frames of a picture's file; 1 where it cannot be read, which is for who reads it to say."""
    try:
        with path.open("rb") as file:
            head = file.read(1 << 16)
        if _has_one_page(head):
            return 1
        with PictureFile(read_bytes(path), str(path)) as opened:
            return opened.pages
    except (OSError, PictureError):
        return 1


def _has_one_page(head: bytes) -> bool:
    if head.startswith(b"\x89PNG"):
        return b"acTL" not in head
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return not (head[12:16] == b"VP8X" and head[20] & 2)
    return not (
        head.startswith((b"GIF8", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")) or format_of_container(head)
    )


def write_image(path: str | Path, image: Image, *, quality: int = 95) -> None:
    """Write a picture in the format of the suffix; missing folders are made.

    A reader sees the old file or the whole new one, never a part of it. Nothing but pixels is written: no metadata.

    Args:
        path: ends in one of `FORMATS`.
        image: (H, W, 3) uint8 RGB.
        quality: of JPEG (without chroma subsampling), WebP, AVIF and HEIF, 1..100.

    Raises:
        Dp2benchError: the format is unknown or cannot hold the picture, or the file cannot be written.

    """
    path = Path(path)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(f"write_image takes (H, W, 3) uint8, got {image.dtype} {image.shape}")
    picture_format = FORMATS.get(path.suffix.lower())
    if picture_format is None:
        raise Dp2benchError(
            f"The picture {path} cannot be written: no known format ends in {path.suffix!r}.",
            f"Use one of {', '.join(FORMATS)}.",
        )
    write_pages(path, [Pixels(image)], picture_format, quality=quality)
