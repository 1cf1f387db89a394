"""Pictures from and to files: any common encoding in, (H, W, 3) uint8 RGB out, errors name the file.

`read_image` and `write_image` are for who wants pixels. `PictureFile` and `rewrite_pages` know what else a file holds: pages and frames,
16 bits a channel, a colour space.
"""

from __future__ import annotations

import io
import struct
import threading
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage
from PIL import UnidentifiedImageError, features

from dp2bench.core import altered, animations, colour
from dp2bench.core.attachments import SECOND, attachments
from dp2bench.core.errors import Dp2benchError, PictureError
from dp2bench.core.files import write_bytes
from dp2bench.core.types import Image

MAX_PIXELS = 400_000_000
"""Pictures with more pixels, over all their pages, are refused: a few kilobytes can declare a picture that fills the memory."""

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
_WITH_PROFILE = {"JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"}
_DEEP = {"PNG", "TIFF"}
_GREY = {"JPEG", "PNG", "TIFF", "BMP", "TGA", "JPEG2000", "PPM", "PCX", "SGI"}
_QUALITY = {"JPEG", "WEBP", "AVIF", "HEIF"}
# What has no signature, or a byte of one, is only believed where the name says so too.
_BY_CONTENT = (
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
_BY_NAME = {"TGA", "PCX"}

_ORIENTATION = 0x0112
_BITS_PER_SAMPLE, _NEW_SUBFILE_TYPE, _DNG_VERSION = 258, 254, 50706
_PHOTOMETRIC, _COLOUR_MAP, _WHITE_IS_ZERO = 262, 320, 0
_INTEROPERABILITY = 0xA005
_DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    EOFError,
    OverflowError,
    RuntimeError,
    struct.error,
    zlib.error,
    PILImage.DecompressionBombError,
)
# Pillow's own limit is a process-wide global, checked while a file's header is read.
_limit_lock = threading.Lock()

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


def read_image(path: str | Path) -> Image:
    """The picture in a file, as `decode_image` gives it.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        PictureError: the file is missing, unreadable, empty, truncated, too large or not a picture.

    """
    return decode_image(read_bytes(Path(path)), str(path))


def read_bytes(path: Path) -> bytes:
    """The content of a picture's file. Raises PictureError, which names it."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise PictureError(f"The picture {path} does not exist.", "Check the path.") from None
    except IsADirectoryError:
        raise PictureError(f"{path} is a folder, not a picture.", "Give the path of a file.") from None
    except PermissionError:
        raise PictureError(
            f"The picture {path} may not be read.", "Give yourself read permission on file and folder."
        ) from None
    except (OSError, ValueError) as error:
        raise PictureError(
            f"The picture {path} cannot be read: {error}.", "Check the path and the disk."
        ) from error


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
    except _DECODE_ERRORS as error:
        raise PictureError(
            f"The Pillow image {name} cannot be read: {_said(error)}.", "Open or convert it again."
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
        head.startswith((b"GIF8", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")) or _format_of_container(head)
    )


@dataclass(frozen=True)
class Pixels:
    """One page as the file has it, upright and opaque.

    Attributes:
        values: (H, W, 3) uint8 or uint16, RGB in the colours of ``profile``.
        profile: ICC profile of RGB; None for sRGB.
        grey: the file holds one channel.
        duration: milliseconds for which a frame is shown, 0 where the format does not say.

    """

    values: NDArray[Any]
    profile: bytes | None = None
    grey: bool = False
    duration: int = 0

    def image(self) -> Image:
        """A copy: (H, W, 3) uint8 in sRGB."""
        values = self.values
        if values.dtype == np.uint16:
            values = ((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
        if self.profile is not None:
            values = np.array(colour.to_srgb(PILImage.fromarray(values), self.profile))
        return np.array(values, np.uint8, order="C", copy=True)

    def replaced(self, image: Image) -> Pixels:
        """These pixels, with those of ``image`` ((H, W, 3) uint8 sRGB) wherever it differs from `image`."""
        if self.values.dtype == np.uint8 and self.profile is None:
            return replace(self, values=image)
        # What is equal by chance amid what was replaced must not come through with its finer digits.
        changed = cv2.dilate((image != self.image()).any(2).view(np.uint8), np.ones((5, 5), np.uint8)).view(
            np.bool_
        )
        new: NDArray[Any] = image if self.profile is None else colour.from_srgb(image, self.profile)
        if self.values.dtype == np.uint16:
            new = new.astype(np.uint16) * 257
        return replace(self, values=np.where(changed[..., None], new, self.values))


class PictureFile:
    """A picture's file, opened; its pages or frames are decoded when they are asked for, best in order.

    Args:
        data: content of the file.
        name: how errors call it.

    Attributes:
        format: Pillow's name of the format.
        pages: their number.
        left_behind: what else is in the file and no page: previews, and what `attachments` names.

    Raises:
        PictureError: it cannot be read.

    """

    def __init__(self, data: bytes, name: str) -> None:
        self.name = name
        self._data = data
        self._picture = _open(data, name)
        self._decoded: dict[int, Pixels] = {}
        self.left_behind: list[str] = []
        try:
            self._check_size(1)
            self.format = self._picture.format or ""
            self._indices = self._pages()
            self._check_size(len(self._indices))
            xmp = self._picture.info.get("xmp")
            others = attachments(data, self.format, xmp if isinstance(xmp, (bytes, str)) else None)
            self.left_behind += [what for what in others if what not in self.left_behind]
        except BaseException:
            self._picture.close()
            raise

    @property
    def pages(self) -> int:
        return len(self._indices)

    @property
    def loop(self) -> int | None:
        """Repetitions of an animation, 0 for ever; None where it plays once."""
        value = self._picture.info.get("loop")
        return int(value) if isinstance(value, int) else None

    def __enter__(self) -> PictureFile:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the memory back."""
        self._picture.close()
        self._decoded = {}

    def page(self, index: int) -> Pixels:
        """The pixels of a page, decoded once. Raises PictureError."""
        try:
            if index not in self._decoded:
                if self.pages > 1:
                    self._picture.seek(self._indices[index])
                self._decoded[index] = self._decode()
            return self._decoded[index]
        except PictureError:
            raise
        except _DECODE_ERRORS as error:
            raise PictureError(
                f"The picture {self.name} is truncated or damaged{self._at(index)}: {_said(error)}.",
                "Copy or download the file again.",
            ) from error

    def _at(self, index: int) -> str:
        return f" at page {index + 1} of {self.pages}" if self.pages > 1 else ""

    def _check_size(self, pages: int) -> None:
        width, height = self._picture.size
        if width * height * pages > MAX_PIXELS:
            of = f" on {pages} pages" if pages > 1 else ""
            raise PictureError(
                f"The picture {self.name} declares {width} x {height} pixels{of}, "
                f"more than {MAX_PIXELS // 10**6} million.",
                "Scale it down or split it before using it.",
            )

    def _pages(self) -> list[int]:
        """Indices of what is a page: not the second picture of a JPEG, not a TIFF's picture reduced in size."""
        count = int(getattr(self._picture, "n_frames", 1))
        if self.format in {"JPEG", "MPO"}:
            if count > 1:
                self.left_behind.append(SECOND)
            self.format = "JPEG"
            return [0]
        if self.format == "DIB":
            self.format = "BMP"
        if self.format == "PNG" and getattr(self._picture, "default_image", False):
            self.left_behind.append("previews")  # the still picture for programs that know no animation
            return list(range(1, count))
        if self.format != "TIFF":
            return list(range(count))
        pages: list[int] = []
        for i in range(count):
            self._picture.seek(i)
            tags: Any = getattr(self._picture, "tag_v2", {})
            if _DNG_VERSION in tags:
                raise PictureError(
                    f"{self.name} is raw data of a camera.", "Develop it to JPEG, PNG or TIFF first."
                )
            if int(tags.get(_NEW_SUBFILE_TYPE, 0)) & 1 and pages:
                self.left_behind.append("previews")
            else:
                pages.append(i)
        self._picture.seek(0)
        return pages

    def _decode(self) -> Pixels:
        picture, data = self._picture, self._data
        profile = self._profile()
        values: NDArray[Any] | None = None
        grey = picture.mode in {"1", "L", "LA", "I;16", "I;16B", "I;16L"}
        # libjpeg fills up a truncated file without an error in OpenCV; Pillow, the slower way, reports it.
        if picture.format == "JPEG" and picture.mode == "RGB" and data.endswith(b"\xff\xd9"):
            flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
            decoded = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
            if decoded is not None and decoded.shape == (picture.height, picture.width, 3):
                values = np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB, dst=decoded), np.uint8)
        if values is None:
            picture.load()
            values, profile = self._to_rgb(profile)
        # Read after loading: Pillow turns TIFF pictures itself and then drops the tag.
        values = _turn(values, _orientation(picture))
        duration = picture.info.get("duration", 0)
        return Pixels(
            np.require(values, values.dtype, ["C", "W"]),
            profile,
            grey,
            round(duration) if isinstance(duration, (int, float)) else 0,
        )

    def _profile(self) -> bytes | None:
        """What the file says about its colours, as an ICC profile without names; None for sRGB, or where it says nothing."""
        picture = self._picture
        primaries, transfer = self._codes()
        profile = picture.info.get("icc_profile")
        if isinstance(profile, bytes) and colour.is_high_dynamic_range(profile):
            transfer = colour.PQ
        if transfer in {colour.PQ, colour.HLG}:
            raise PictureError(
                f"The picture {self.name} is of high dynamic range, which is not read.",
                "Export it with standard range (SDR) first.",
            )
        if isinstance(profile, bytes) and profile:
            try:
                profile = colour.anonymous_profile(profile)
                return None if colour.space_of(profile) == "RGB" and colour.is_srgb(profile) else profile
            except colour.ProfileError:  # a damaged profile says nothing, as in every viewer
                return None
        if primaries in colour.PRIMARIES and primaries != 1:
            return colour.matrix_profile(colour.PRIMARIES[primaries])
        if _is_adobe_rgb(picture):
            return colour.matrix_profile(colour.ADOBE_RGB_PRIMARIES, 563 / 256)
        return None

    def _codes(self) -> tuple[int, int]:
        """Primaries and transfer by the codes of H.273, (2, 2) where the file names none."""
        data = self._data
        if self.format == "PNG":
            for kind, body in animations.png_chunks(data):
                if kind == b"cICP" and len(body) == 4:
                    return body[0], body[1]
                if kind == b"IDAT":
                    break
        if self.format in {"AVIF", "HEIF"}:
            at = data.find(b"colrnclx", 0, 65536)
            if at >= 0:
                return int.from_bytes(data[at + 8 : at + 10], "big"), int.from_bytes(
                    data[at + 10 : at + 12], "big"
                )
        return 2, 2

    def _to_rgb(self, profile: bytes | None) -> tuple[NDArray[Any], bytes | None]:
        picture = self._picture
        if (deep := self._deep()) is not None:
            return deep, profile if profile is not None and colour.space_of(profile) == "RGB" else None
        if picture.mode.startswith("I;16"):
            grey = np.asarray(picture).astype(np.uint16)
            if self._tag(_PHOTOMETRIC) == _WHITE_IS_ZERO:  # Pillow turns 8 bits around, and not these
                grey = 65535 - grey
            return np.repeat(grey[..., None], 3, axis=2), None
        if (table := self._narrow_colour_map()) is not None:
            return table[np.asarray(picture)], None
        if picture.mode in {"I", "F"}:
            raise PictureError(
                f"The picture {self.name} holds 32-bit values, whose white is not defined.",
                "Convert it to 8 or 16 bits a channel.",
            )
        space = None if profile is None else colour.space_of(profile)
        if picture.has_transparency_data:
            layers = picture.convert("RGBA")
            alpha = np.asarray(layers.getchannel("A"))
            # Many programs leave the fourth byte of these formats empty.
            if picture.format in {"BMP", "DIB", "TGA"} and not alpha.any():
                return np.array(layers.convert("RGB")), profile if space == "RGB" else None
            if (alpha < 255).any():
                self.left_behind.append("transparency")
            white = PILImage.new("RGBA", layers.size, (255, 255, 255, 255))
            opaque = PILImage.alpha_composite(white, layers)
            return np.array(opaque)[..., :3], profile if space == "RGB" else None
        if profile is not None and space == {"CMYK": "CMYK", "LAB": "Lab", "L": "GRAY"}.get(picture.mode):
            try:
                return np.array(colour.to_srgb(picture, profile)), None
            except colour.ProfileError:
                pass
        rgb = picture if picture.mode == "RGB" else picture.convert("RGB")
        return np.array(rgb), profile if space == "RGB" else None

    def _tag(self, number: int) -> Any:
        """A tag of a TIFF; None where there is none."""
        return getattr(self._picture, "tag_v2", {}).get(number)

    def _narrow_colour_map(self) -> NDArray[np.uint8] | None:
        """(N, 3) colours of a TIFF that counts them in 8 bits, where the format says 16 and Pillow would see black."""
        colours = self._tag(_COLOUR_MAP) if self._picture.mode == "P" else None
        if not colours or max(colours) > 255:
            return None
        return np.ascontiguousarray(np.array(colours, np.uint8).reshape(3, -1).T)

    def _deep(self) -> NDArray[np.uint16] | None:
        """(H, W, 3) uint16 of a PNG or TIFF of 16 bits a channel in colour, of which Pillow keeps only the high byte."""
        picture, encoded = self._picture, np.frombuffer(self._data, np.uint8)
        flags = cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
        deep: Any = None
        if picture.format == "PNG" and self._data[24] == 16 and self.pages == 1:
            deep = cv2.imdecode(encoded, flags)
        elif picture.format == "TIFF" and picture.mode in {"RGB", "RGBA", "RGBX"}:
            bits = self._tag(_BITS_PER_SAMPLE)
            if isinstance(bits, tuple) and set(bits) == {16}:
                at = picture.tell()
                ok, found = cv2.imdecodemulti(encoded, flags, range=(at, at + 1))
                deep = found[0] if ok and found else None
        if deep is None or deep.dtype != np.uint16:
            return None
        values: NDArray[Any] = deep.astype(np.uint32)
        if values.ndim == 3 and values.shape[2] == 4:
            alpha = values[..., 3:]
            if (alpha < 65535).any():
                self.left_behind.append("transparency")
            values = (values[..., :3] * alpha + 65535 * (65535 - alpha) + 32767) // 65535
        if values.ndim == 2 or values.shape[2] == 1:
            values = np.repeat(values.reshape(*values.shape[:2], 1), 3, axis=2)
        return np.asarray(values[..., ::-1], np.uint16)


def _open(data: bytes, name: str) -> PILImage.Image:
    if not data:
        raise PictureError(f"The picture {name} is empty (0 bytes).", "Copy or download the file again.")
    _need_plugin(_format_of_container(data), name)
    named = FORMATS.get(Path(name).suffix.lower(), "")
    formats = [f for f in (*_BY_CONTENT, named) if f in _BY_CONTENT or f in _BY_NAME]
    try:
        with _limit_lock:
            limit, PILImage.MAX_IMAGE_PIXELS = PILImage.MAX_IMAGE_PIXELS, None
            try:
                PILImage.init()
                known = [f for f in formats if f in PILImage.OPEN]
                return PILImage.open(io.BytesIO(data), formats=known)
            finally:
                PILImage.MAX_IMAGE_PIXELS = limit
    except UnidentifiedImageError:
        raise PictureError(
            f"{name} is not a picture, or its header is damaged.",
            "Replace or remove the file; JPEG, PNG, WebP, GIF, TIFF, BMP, HEIF, AVIF and JPEG 2000 are read.",
        ) from None
    except _DECODE_ERRORS as error:
        raise PictureError(
            f"The header of the picture {name} is damaged: {_said(error)}.",
            "Copy or download the file again.",
        ) from error


def _format_of_container(data: bytes) -> str:
    """``AVIF`` or ``HEIF`` by the brand of a file, ``""`` for any other."""
    brand = data[8:12] if data[4:8] == b"ftyp" else b""
    return "AVIF" if brand in _AVIF_BRANDS else "HEIF" if brand in _HEIF_BRANDS else ""


def _need_plugin(picture_format: str, name: str) -> None:
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


def _said(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _is_adobe_rgb(picture: PILImage.Image) -> bool:
    """Whether the EXIF says Adobe RGB, as cameras do that embed no profile (DCF: interoperability index R03)."""
    if picture.format not in {"JPEG", "MPO", "TIFF", "HEIF"}:
        return False
    try:
        return bool(picture.getexif().get_ifd(_INTEROPERABILITY).get(1) == "R03")
    except _DECODE_ERRORS:
        return False


def _orientation(picture: PILImage.Image) -> int:
    try:
        value: Any = picture.getexif().get(_ORIENTATION, 1)
    except _DECODE_ERRORS:
        # Damaged metadata around sound pixels.
        return 1
    return value if isinstance(value, int) else 1


def _turn(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Apply an EXIF orientation (1..8; anything else counts as 1) to (H, W, 3)."""
    if orientation in {5, 6, 7, 8}:
        pixels = pixels.swapaxes(0, 1)
    if orientation in {2, 3, 6, 7}:
        pixels = pixels[:, ::-1]
    if orientation in {3, 4, 7, 8}:
        pixels = pixels[::-1]
    return pixels


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
    data = _encoded(path, _Written([Pixels(image)], picture_format, quality))
    write_bytes(path, data, f"The picture {path}")


def rewrite_pages(file: PictureFile, target: Path, images: Sequence[Image]) -> tuple[str, ...]:
    """Write the anonymized pages of a picture's file as that file was: its pages or frames, depth and colours.

    The format is that of the target's suffix, or of the source where the target has none that is known. Pixels in which an image equals
    what was read keep their value, in 16 bits and in their own colour space. Nothing but pixels, durations and a colour profile without
    names is written.

    Args:
        file: the original.
        target: replaced when it is whole.
        images: (H, W, 3) uint8 sRGB of each of its pages.

    Returns:
        What the target has not: ``transparency``, ``16 bits``, ``colour space``, and `PictureFile.left_behind`.

    Raises:
        PictureError: the target's format cannot hold the pages. Dp2benchError: the file cannot be written.

    """
    if len(images) != file.pages:
        raise PictureError(
            f"{file.name} holds {file.pages} pages or frames, and {len(images)} were read.", "Run again."
        )
    picture_format = target_format(file, target)
    pages: list[Pixels] = []
    lost: list[str] = []
    for i, image in enumerate(images):
        pixels = file.page(i)
        if pixels.profile is not None and picture_format not in _WITH_PROFILE:
            pixels = replace(pixels, values=image, profile=None)
            lost.append("colour space")
        if pixels.values.dtype == np.uint16 and picture_format not in _DEEP:
            pixels = replace(pixels, values=image, profile=None)
            lost.append("16 bits")
        pages.append(pixels.replaced(image))
    data = _encoded(target, _Written(pages, picture_format, loop=file.loop))
    write_bytes(target, data, f"The picture {target}")
    return tuple(dict.fromkeys((*lost, *file.left_behind)))


def target_format(file: PictureFile, target: Path) -> str:
    """The format in which a picture's pages are written under a name. Raises PictureError where it cannot hold them."""
    picture_format = FORMATS.get(target.suffix.lower(), file.format)
    kinds = {file.format} | (PAGED if file.format in PAGED else ANIMATED)
    if file.pages > 1 and picture_format not in kinds:
        raise PictureError(
            f"{file.name} holds {file.pages} pages or frames ({file.format}), and {target.name} can hold one.",
            "Give it, or OUT, the suffix of a format for several: .tif for pages, .gif, .png or .webp for frames.",
        )
    return picture_format


@dataclass(frozen=True)
class _Written:
    pages: list[Pixels]
    format: str
    quality: int = 95
    loop: int | None = None


def _encoded(path: Path, what: _Written) -> bytes:
    """A file's bytes, with the note of how it was altered where it was."""
    how = altered.current()
    data = _encoded_pages(path, what)
    height, width = what.pages[0].values.shape[:2]
    return data if how is None else how.noted(data, what.format, (width, height))


def _encoded_pages(path: Path, what: _Written) -> bytes:
    _need_plugin(what.format, str(path))
    try:
        if what.format == "TIFF" and what.pages[0].values.dtype == np.uint16:
            return _deep_tiff(what.pages)
        if len(what.pages) == 1:
            return _one(what.pages[0], what)
        profile, loop, durations = what.pages[0].profile, what.loop, [p.duration for p in what.pages]
        if what.format == "GIF":
            return animations.gif([_pil(p, "GIF") for p in what.pages], durations, loop)
        plays = 1 if loop is None else loop
        if what.format == "PNG":
            # Frames share one header: all of them grey, or none.
            colour_of = all(p.grey for p in what.pages)
            frames = [_one(Pixels(p.values, p.profile, colour_of), what) for p in what.pages]
            return animations.apng(frames, durations, plays)
        if what.format == "WEBP":
            stills = [_one(Pixels(p.values), what) for p in what.pages]
            return animations.webp(stills, durations, plays, profile)
        first, *others = [_pil(p, what.format) for p in what.pages]
        options = _options(what, profile) | {"save_all": True, "append_images": others}
        if what.format == "AVIF":
            options["duration"] = durations
        return _saved(first, what.format, options)
    except (OSError, ValueError, struct.error, RuntimeError) as error:
        h, w = what.pages[0].values.shape[:2]
        raise PictureError(
            f"The picture {path} of {w} x {h} pixels cannot be stored as {what.format}: {error}.",
            "Use .png, which holds pictures of any size.",
        ) from error


def _one(pixels: Pixels, what: _Written) -> bytes:
    if pixels.values.dtype == np.uint16:
        order = pixels.values[..., 0] if _stays_grey(pixels, what.format) else pixels.values[..., ::-1]
        ok, encoded = cv2.imencode(".png", np.ascontiguousarray(order), (cv2.IMWRITE_PNG_COMPRESSION, 1))
        if not ok:
            raise ValueError("OpenCV refuses it")
        data = encoded.tobytes()
        return data if pixels.profile is None else animations.with_png_profile(data, pixels.profile)
    return _saved(_pil(pixels, what.format), what.format, _options(what, pixels.profile))


def _stays_grey(pixels: Pixels, picture_format: str) -> bool:
    """Whether a picture that was grey can be written with one channel: nothing coloured was put in."""
    values = pixels.values
    same = (values[..., 0] == values[..., 1]).all() and (values[..., 0] == values[..., 2]).all()
    return pixels.grey and pixels.profile is None and picture_format in _GREY and bool(same)


def _pil(pixels: Pixels, picture_format: str) -> PILImage.Image:
    if _stays_grey(pixels, picture_format):
        return PILImage.fromarray(np.ascontiguousarray(pixels.values[..., 0]))
    return PILImage.fromarray(np.ascontiguousarray(pixels.values))


def _options(what: _Written, profile: bytes | None) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if what.format in _QUALITY:
        options["quality"] = what.quality
    if what.format == "JPEG":
        options["subsampling"] = 0
    if what.format == "PNG":
        options["compress_level"] = 1  # two and a half times as fast as the default, for 14 % more bytes
    if profile is not None:
        options["icc_profile"] = profile
    return options


def _saved(picture: PILImage.Image, picture_format: str, options: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    picture.save(out, picture_format, **options)
    return out.getvalue()


def _deep_tiff(pages: Sequence[Pixels]) -> bytes:
    """A TIFF of 16 bits a channel, which Pillow writes in grey only: deflated, a strip a page."""
    out = bytearray(b"II*\0" + bytes(4))
    link = 4
    for page in pages:
        values = page.values if page.values.dtype == np.uint16 else page.values.astype(np.uint16) * 257
        grey = _stays_grey(page, "TIFF")
        values = values[..., :1] if grey else values
        strip = zlib.compress(np.ascontiguousarray(values, "<u2").tobytes(), 6)
        h, w, channels = values.shape
        tags: list[tuple[int, int, bytes]] = [
            (256, 4, struct.pack("<I", w)),
            (257, 4, struct.pack("<I", h)),
            (258, 3, struct.pack("<H", 16) * channels),
            (259, 3, struct.pack("<H", 8)),
            (262, 3, struct.pack("<H", 1 if grey else 2)),
            (273, 4, struct.pack("<I", len(out))),
            (277, 3, struct.pack("<H", channels)),
            (278, 4, struct.pack("<I", h)),
            (279, 4, struct.pack("<I", len(strip))),
        ]
        out += strip + bytes(len(strip) % 2)
        if page.profile is not None:
            tags.append((34675, 7, page.profile))
        table = struct.pack("<H", len(tags))
        for tag, kind, value in tags:
            count = len(value) // {3: 2, 4: 4, 7: 1}[kind]
            if len(value) > 4:
                at = len(out)
                out += value + bytes(len(value) % 2)
                table += struct.pack("<HHII", tag, kind, count, at)
            else:
                table += struct.pack("<HHI", tag, kind, count) + value.ljust(4, b"\0")
        out[link : link + 4] = struct.pack("<I", len(out))
        link = len(out) + len(table)
        out += table + bytes(4)
    return bytes(out)
