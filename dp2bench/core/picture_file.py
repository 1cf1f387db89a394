"""A picture's file: what is in it besides pixels of 8 bits in sRGB."""

from __future__ import annotations

import contextlib
import io
import struct
import threading
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage
from PIL import UnidentifiedImageError

from dp2bench.core import animations, colour
from dp2bench.core.attachments import SECOND, attachments
from dp2bench.core.errors import PictureError
from dp2bench.core.picture_formats import BY_CONTENT, BY_NAME, FORMATS, format_of_container, need_plugin
from dp2bench.core.types import Image

MAX_PIXELS = 400_000_000
"""Pictures with more pixels, over all their pages, are refused: a few kilobytes can declare a picture that fills the memory."""

_ORIENTATION = 0x0112
_BITS_PER_SAMPLE, _NEW_SUBFILE_TYPE, _DNG_VERSION = 258, 254, 50706
_PHOTOMETRIC, _COLOUR_MAP, _WHITE_IS_ZERO = 262, 320, 0
_INTEROPERABILITY = 0xA005
DECODE_ERRORS = (
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
        except DECODE_ERRORS as error:
            raise PictureError(
                f"The picture {self.name} is truncated or damaged{self._at(index)}: {said(error)}.",
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


def _open(data: bytes, name: str) -> PILImage.Image:
    if not data:
        raise PictureError(f"The picture {name} is empty (0 bytes).", "Copy or download the file again.")
    need_plugin(format_of_container(data), name)
    named = FORMATS.get(Path(name).suffix.lower(), "")
    formats = [f for f in (*BY_CONTENT, named) if f in BY_CONTENT or f in BY_NAME]
    try:
        with _limit_lock:
            limit, PILImage.MAX_IMAGE_PIXELS = PILImage.MAX_IMAGE_PIXELS, None
            try:
                for load_plugins in (PILImage.preinit, PILImage.init):  # all of them take long to import
                    load_plugins()
                    known = [f for f in formats if f in PILImage.OPEN]
                    with contextlib.suppress(UnidentifiedImageError):
                        return PILImage.open(io.BytesIO(data), formats=known)
                raise UnidentifiedImageError
            finally:
                PILImage.MAX_IMAGE_PIXELS = limit
    except UnidentifiedImageError:
        raise PictureError(
            f"{name} is not a picture, or its header is damaged.",
            "Replace or remove the file; JPEG, PNG, WebP, GIF, TIFF, BMP, HEIF, AVIF and JPEG 2000 are read.",
        ) from None
    except DECODE_ERRORS as error:
        raise PictureError(
            f"The header of the picture {name} is damaged: {said(error)}.",
            "Copy or download the file again.",
        ) from error


def said(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _is_adobe_rgb(picture: PILImage.Image) -> bool:
    """Whether the EXIF says Adobe RGB, as cameras do that embed no profile (DCF: interoperability index R03)."""
    if picture.format not in {"JPEG", "MPO", "TIFF", "HEIF"}:
        return False
    try:
        return bool(picture.getexif().get_ifd(_INTEROPERABILITY).get(1) == "R03")
    except DECODE_ERRORS:
        return False


def _orientation(picture: PILImage.Image) -> int:
    try:
        value: Any = picture.getexif().get(_ORIENTATION, 1)
    except DECODE_ERRORS:
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
