"""Formats of pictures: their names, how a file tells which it is of, and what each can hold."""

from __future__ import annotations

from pathlib import Path

from PIL import features

from dp2bench.core.errors import PictureError

FORMATS = {
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif"), "JPEG"),
    **dict.fromkeys((".png", ".apng"), "PNG"),
    ".webp": "WEBP",
    **dict.fromkeys((".bmp", ".dib"), "BMP"),
    **dict.fromkeys((".tif", ".tiff"), "TIFF"),
    ".gif": "GIF",
    **dict.fromkeys((".avif", ".avifs"), "AVIF"),
    **dict.fromkeys((".heic", ".heif", ".hif", ".heics", ".heifs"), "HEIF"),
    **dict.fromkeys((".jp2", ".j2k", ".jpf", ".jpx", ".j2c", ".jpc"), "JPEG2000"),
    **dict.fromkeys((".ppm", ".pgm", ".pnm", ".pbm"), "PPM"),
    **dict.fromkeys((".tga", ".icb", ".vda", ".vst"), "TGA"),
    ".pcx": "PCX",
    **dict.fromkeys((".sgi", ".rgb", ".rgba", ".bw"), "SGI"),
}
"""Pillow's format by lower-case suffix: what is read and written, and what `is_picture_name` accepts."""

PAGED = {"TIFF", "HEIF"}
"""Formats of several pages."""
ANIMATED = {"GIF", "PNG", "WEBP", "AVIF"}
"""Formats of several frames with durations."""
WITH_PROFILE = {"JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"}
DEEP = {"PNG", "TIFF"}
GREY = {"JPEG", "PNG", "TIFF", "BMP", "TGA", "JPEG2000", "PPM", "PCX", "SGI"}
QUALITY = {"JPEG", "WEBP", "AVIF", "HEIF"}
# What has no signature, or a byte of one, is only believed where the name says so too.
BY_CONTENT = (
    "JPEG",
    "MPO",
    "PNG",
    "WEBP",
    "BMP",
    "DIB",
    "TIFF",
    "GIF",
    "AVIF",
    "HEIF",
    "JPEG2000",
    "PPM",
    "SGI",
)
BY_NAME = {"TGA", "PCX"}

_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
_AVIF_BRANDS = (b"avif", b"avis")
_SIGNATURES = (
    b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"8BPS",
    b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51", b"\0\0\0\x0cJXL \r\n\x87\n", b"\xff\x0a",
)  # fmt: skip


def is_picture_name(path: str | Path) -> bool:
    """Whether the suffix is one of `FORMATS` (in any case) and the file is not hidden."""
    path = Path(path)
    return path.suffix.lower() in FORMATS and not path.name.startswith(".")


def looks_like_picture(head: bytes) -> bool:
    """Whether the first bytes of a file (32 are enough) are those of a picture, of a format that is read or not."""
    if head[4:8] == b"ftyp":
        return head[8:12] in _HEIF_BRANDS + _AVIF_BRANDS
    return head.startswith(_SIGNATURES) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")


def format_of_container(data: bytes) -> str:
    """``AVIF`` or ``HEIF`` by the brand of a file, ``""`` for any other."""
    brand = data[8:12] if data[4:8] == b"ftyp" else b""
    return "AVIF" if brand in _AVIF_BRANDS else "HEIF" if brand in _HEIF_BRANDS else ""


def need_plugin(picture_format: str, name: str) -> None:
    """Make Pillow know the format, or say what to install."""
    if picture_format == "AVIF" and not features.check("avif"):
        raise PictureError(
            f"The picture {name} is an AVIF file, which this Pillow does not know.",
            'Install a newer one: `pip install "pillow>=11.3"`.',
        )
    if picture_format == "HEIF":
        try:
            import pillow_heif
        except ImportError:
            raise PictureError(
                f"The picture {name} is a HEIF file (HEIC), which needs a package that is not installed.",
                'Install it: `pip install "dp2bench[heif]"`.',
            ) from None
        pillow_heif.register_heif_opener(thumbnails=False)
