"""Writes pages as the file was that they came from: its format, depth, colours and durations, and nothing else of it."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image as PILImage

from dp2bench.core import altered, animations
from dp2bench.core.errors import PictureError
from dp2bench.core.files import write_bytes
from dp2bench.core.picture_file import PictureFile, Pixels
from dp2bench.core.picture_formats import (
    ANIMATED,
    DEEP,
    FORMATS,
    GREY,
    PAGED,
    QUALITY,
    WITH_PROFILE,
    need_plugin,
)
from dp2bench.core.types import Image


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
        if pixels.profile is not None and picture_format not in WITH_PROFILE:
            pixels = replace(pixels, values=image, profile=None)
            lost.append("colour space")
        if pixels.values.dtype == np.uint16 and picture_format not in DEEP:
            pixels = replace(pixels, values=image, profile=None)
            lost.append("16 bits")
        pages.append(pixels.replaced(image))
    write_pages(target, pages, picture_format, loop=file.loop)
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


def write_pages(
    path: Path, pages: Sequence[Pixels], picture_format: str, *, quality: int = 95, loop: int | None = None
) -> None:
    """Write pages or frames into one file, with the note of how they were altered where they were.

    Args:
        path: replaced when the file is whole.
        pages: one or more; of one size where they are frames.
        picture_format: one of `FORMATS`' values.
        quality: of lossy formats, 1..100.
        loop: see `PictureFile.loop`.

    Raises:
        PictureError: the format cannot hold them. Dp2benchError: the file cannot be written.

    """
    data = _encoded_pages(path, _Written(pages, picture_format, quality, loop))
    if (how := altered.current()) is not None:
        height, width = pages[0].values.shape[:2]
        data = how.noted(data, picture_format, (width, height))
    write_bytes(path, data, f"The picture {path}")


@dataclass(frozen=True)
class _Written:
    pages: Sequence[Pixels]
    format: str
    quality: int = 95
    loop: int | None = None


def _encoded_pages(path: Path, what: _Written) -> bytes:
    need_plugin(what.format, str(path))
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
    return pixels.grey and pixels.profile is None and picture_format in GREY and bool(same)


def _pil(pixels: Pixels, picture_format: str) -> PILImage.Image:
    if _stays_grey(pixels, picture_format):
        return PILImage.fromarray(np.ascontiguousarray(pixels.values[..., 0]))
    return PILImage.fromarray(np.ascontiguousarray(pixels.values))


def _options(what: _Written, profile: bytes | None) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if what.format in QUALITY:
        options["quality"] = what.quality
    if what.format == "JPEG":
        options["subsampling"] = 0
    if what.format == "PNG":
        options["compress_level"] = 1  # two and a half times as fast as the default, for 14 % more bytes
    if profile is not None:
        options["icc_profile"] = profile
    if what.format in altered.ENCODED and (how := altered.current()) is not None:
        options["xmp"] = how.xmp()
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
