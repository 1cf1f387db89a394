"""What a picture's header says of its size and of how it is turned, without decoding it."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import BinaryIO, NamedTuple

from PIL import Image as PILImage

from dp2bench.core.errors import AnnotationError

_TIFF_WIDTH, _TIFF_HEIGHT = 0x0100, 0x0101
_ORIENTATION = 0x0112
_REMEDY = (
    "Turn the pixels and remove the tag (e.g. `mogrify -auto-orient`) if the annotations are of the picture as it is seen; "
    "remove the tag alone (e.g. `exiftool -Orientation= `) if they are of the pixels as they are stored."
)


class PictureHeader(NamedTuple):
    """Height and width of the stored pixels, and the EXIF orientation: 1 upright, 2..8 mirrored or turned."""

    height: int
    width: int
    orientation: int

    @property
    def upright(self) -> tuple[int, int]:
        """(H, W) of the picture as `read_image` gives it."""
        return (self.width, self.height) if self.orientation >= 5 else (self.height, self.width)


def read_header(picture: Path | bytes) -> PictureHeader | None:
    """The header of a picture's file, or of its content.

    None where that is no picture, or one of pages of several sizes: whoever reads the pixels knows more. Of pages that are turned in
    several ways, one that is turned.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its size: pixels are not decoded here
            file = io.BytesIO(picture) if isinstance(picture, bytes) else picture.open("rb")
            with file, PILImage.open(file) as opened:
                headers = {_header(opened, file)}
                for page in range(1, getattr(opened, "n_frames", 1) if opened.format == "TIFF" else 1):
                    opened.seek(page)
                    headers.add(_header(opened, file))
    except Exception:  # noqa: BLE001 - decoders raise anything on damaged files
        return None
    if len(headers) == 1:
        return headers.pop()
    return next((header for header in headers if header.orientation != 1), None)


def _header(picture: PILImage.Image, file: BinaryIO) -> PictureHeader:
    width, height = picture.size
    if picture.format == "TIFF":  # Pillow turns its size already; these are the stored rows and columns
        tags = picture.tag_v2  # type: ignore[attr-defined]
        width, height = int(tags[_TIFF_WIDTH]), int(tags[_TIFF_HEIGHT])
    told = picture.format != "PNG" or _has_metadata(file)
    value = picture.getexif().get(_ORIENTATION, 1) if told else 1
    return PictureHeader(height, width, value if isinstance(value, int) and 1 <= value <= 8 else 1)


def _has_metadata(png: BinaryIO) -> bool:
    """Whether a PNG has a chunk that may tell an orientation; it may come last, and Pillow decodes all pixels to find it."""
    where = png.tell()
    png.seek(8)
    try:
        while len(head := png.read(8)) == 8:
            if head[4:] in {b"eXIf", b"iTXt", b"zTXt", b"tEXt"}:
                return True
            png.seek(int.from_bytes(head[:4], "big") + 4, io.SEEK_CUR)
        return False
    finally:
        png.seek(where)


def check_upright(
    header: PictureHeader | None,
    picture: object,
    annotations: object,
    stated: tuple[int, int] | None = None,
    *,
    declared: bool = False,
) -> None:
    """Whether annotations are of the picture as `read_image` gives it.

    Args:
        header: the picture's.
        picture: how errors call it.
        annotations: how errors call them.
        stated: (H, W) of the picture, as the annotations say; None where they do not.
        declared: the annotations say that they are of the picture as it is seen.

    Raises:
        AnnotationError: the sizes differ, or a picture has an EXIF orientation and nothing tells which pixels are meant.

    """
    if header is None:
        return
    stored, upright = (header.height, header.width), header.upright
    if stated is not None and stated not in (stored, upright):
        raise AnnotationError(
            f"{annotations} are of {picture} at {stated[1]}x{stated[0]} pixels, and the picture has {upright[1]}x{upright[0]}.",
            "Use the annotations of these pictures.",
        )
    if header.orientation == 1 or (declared and stated in (None, upright)) or stated == upright != stored:
        return
    which = (
        "and the annotations are of the pixels as they are stored"
        if stated == stored != upright
        else "and nothing says whether the annotations are of the picture as it is stored or as it is seen"
    )
    raise AnnotationError(
        f"{annotations}: the picture {picture} is turned by its EXIF orientation {header.orientation}, {which}.",
        _REMEDY,
    )
