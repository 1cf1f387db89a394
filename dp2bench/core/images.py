"""Pictures from and to files: any common encoding in, (H, W, 3) uint8 RGB out, errors name the file."""

from __future__ import annotations

import io
import struct
import threading
import uuid
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage
from PIL import UnidentifiedImageError

from dp2bench.core.errors import DatasetError, Dp2benchError, PictureError, writing
from dp2bench.core.types import Image

MAX_PIXELS = 400_000_000
"""Pictures with more pixels are refused: a few kilobytes can declare a picture that fills the memory."""

FORMATS = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
"""Pillow's format by lower-case suffix: what `write_image` writes and `is_picture_name` accepts."""

_ORIENTATION = 0x0112
_DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    EOFError,
    OverflowError,
    struct.error,
    zlib.error,
    PILImage.DecompressionBombError,
)
# Pillow's own limit is a process-wide global, checked while a file's header is read.
_limit_lock = threading.Lock()


def is_picture_name(path: str | Path) -> bool:
    """Whether the suffix is one of `FORMATS` (in any case) and the file is not hidden."""
    path = Path(path)
    return path.suffix.lower() in FORMATS and not path.name.startswith(".")


def list_pictures(folder: str | Path) -> list[Path]:
    """Pictures below a folder, sorted by relative path; hidden files and folders are skipped.

    Raises:
        DatasetError: the folder is missing, is not a folder, or holds no picture.

    """
    folder = Path(folder)
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise DatasetError(f"The folder {folder} {what}.", "Give a folder that holds pictures.")
    found = [
        path
        for path in folder.rglob("*")
        if is_picture_name(path)
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    ]
    if not found:
        raise DatasetError(
            f"The folder {folder} holds no pictures.",
            f"Put pictures there; names that end in {', '.join(FORMATS)} are read.",
        )
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def read_image(path: str | Path) -> Image:
    """The picture in a file, as `decode_image` gives it.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        PictureError: the file is missing, unreadable, empty, truncated, too large or not a picture.

    """
    path = Path(path)
    try:
        data = path.read_bytes()
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
    return decode_image(data, str(path))


def decode_image(data: bytes, name: str) -> Image:
    """The picture in the bytes of a file.

    The EXIF orientation is applied, transparency is laid on white, 16 bits a channel are rescaled to 8
    (65535 to 255, rounded to nearest), of several frames the first is taken.

    Args:
        data: content of the file.
        name: how errors call it.

    Returns:
        (H, W, 3) uint8 RGB, C-contiguous, writable.

    Raises:
        PictureError: the bytes are not a whole picture of at most `MAX_PIXELS` pixels.

    """
    if not data:
        raise PictureError(f"The picture {name} is empty (0 bytes).", "Copy or download the file again.")
    try:
        with _limit_lock:
            limit, PILImage.MAX_IMAGE_PIXELS = PILImage.MAX_IMAGE_PIXELS, None
            try:
                picture = PILImage.open(io.BytesIO(data))
            finally:
                PILImage.MAX_IMAGE_PIXELS = limit
    except UnidentifiedImageError:
        raise PictureError(
            f"{name} is not a picture, or its header is damaged.",
            "Replace or remove the file; JPEG, PNG, WebP, BMP and TIFF are read.",
        ) from None
    except _DECODE_ERRORS as error:
        raise PictureError(
            f"The header of the picture {name} is damaged: {error}.", "Copy or download the file again."
        ) from error
    with picture:
        width, height = picture.size
        if width * height > MAX_PIXELS:
            raise PictureError(
                f"The picture {name} declares {width} x {height} pixels, "
                f"more than {MAX_PIXELS // 10**6} million.",
                "Scale it down or split it before using it.",
            )
        try:
            return _decode(picture, data, name)
        except _DECODE_ERRORS as error:
            raise PictureError(
                f"The picture {name} is truncated or damaged: {error}.", "Copy or download the file again."
            ) from error


def _decode(picture: PILImage.Image, data: bytes, name: str) -> Image:
    pixels: NDArray[np.uint8] | None = None
    # libjpeg fills up a truncated file without an error in OpenCV; Pillow, the slower way, reports it.
    if picture.format == "JPEG" and picture.mode == "RGB" and data.endswith(b"\xff\xd9"):
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        if decoded is not None and decoded.shape == (picture.height, picture.width, 3):
            pixels = np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB, dst=decoded), np.uint8)
    if pixels is None:
        picture.load()
        pixels = _to_rgb(picture, data, name)
    # Read after loading: Pillow turns TIFF pictures itself and then drops the tag.
    pixels = _turn(pixels, _orientation(picture))
    return np.require(pixels, np.uint8, ["C", "W"])


def _to_rgb(picture: PILImage.Image, data: bytes, name: str) -> NDArray[np.uint8]:
    if picture.format == "PNG" and data[24] == 16:
        # Pillow keeps only the high byte of 16-bit colour.
        flags = cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
        deep = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        if deep is not None and deep.dtype == np.uint16:
            return _from_16_bit(np.asarray(deep, np.uint16))
    if picture.mode.startswith("I;16"):
        return _from_16_bit(np.asarray(picture).astype(np.uint16))
    if picture.mode in {"I", "F"}:
        raise PictureError(
            f"The picture {name} holds 32-bit values, whose white is not defined.",
            "Convert it to 8 or 16 bits a channel.",
        )
    if picture.has_transparency_data:
        layers = picture.convert("RGBA")
        white = PILImage.new("RGBA", layers.size, (255, 255, 255, 255))
        return np.array(PILImage.alpha_composite(white, layers))[..., :3]
    return np.array(picture if picture.mode == "RGB" else picture.convert("RGB"))


def _from_16_bit(deep: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """(H, W), (H, W, 3) BGR or (H, W, 4) BGRA uint16 to (H, W, 3) uint8 RGB."""
    values = deep.astype(np.uint32)
    if values.ndim == 3 and values.shape[2] == 4:
        alpha = values[..., 3:]
        values = (values[..., :3] * alpha + 65535 * (65535 - alpha) + 32767) // 65535
    values = (values * 255 + 32767) // 65535
    if values.ndim == 2 or values.shape[2] == 1:
        return np.repeat(values.reshape(*values.shape[:2], 1), 3, axis=2).astype(np.uint8)
    return values[..., ::-1].astype(np.uint8)


def _orientation(picture: PILImage.Image) -> int:
    try:
        value: Any = picture.getexif().get(_ORIENTATION, 1)
    except _DECODE_ERRORS:
        # Damaged metadata around sound pixels.
        return 1
    return value if isinstance(value, int) else 1


def _turn(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
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

    A reader sees the old file or the whole new one, never a part of it.

    Args:
        path: ends in one of `FORMATS`.
        image: (H, W, 3) uint8 RGB.
        quality: of JPEG (without chroma subsampling) and WebP, 1..100.

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
    options: dict[str, Any] = {}
    if picture_format in {"JPEG", "WEBP"}:
        options["quality"] = quality
    if picture_format == "JPEG":
        options["subsampling"] = 0
    if picture_format == "PNG":
        options["compress_level"] = 1  # two and a half times as fast as the default, for 14 % more bytes
    encoded = io.BytesIO()
    try:
        PILImage.fromarray(np.ascontiguousarray(image)).save(encoded, picture_format, **options)
    except (OSError, ValueError, struct.error) as error:
        raise Dp2benchError(
            f"The picture {path} of {image.shape[1]} x {image.shape[0]} pixels cannot be stored "
            f"as {picture_format}: {error}.",
            "Use .png, which holds pictures of any size.",
        ) from error
    # As long as the shortest hidden name gets: the temporary name is never the one that is too long.
    temporary = path.parent / f".{uuid.uuid4().hex[:12]}"
    with writing(f"The picture {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(encoded.getbuffer())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
