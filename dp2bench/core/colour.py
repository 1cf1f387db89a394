"""What the numbers of a picture mean: ICC profiles and colour codes, to sRGB and back."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage
from PIL import ImageCms

SRGB_PRIMARIES = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
ADOBE_RGB_PRIMARIES = ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06))
PRIMARIES = {
    1: SRGB_PRIMARIES,
    5: ((0.64, 0.33), (0.29, 0.60), (0.15, 0.06)),
    6: ((0.63, 0.34), (0.31, 0.595), (0.155, 0.07)),
    7: ((0.63, 0.34), (0.31, 0.595), (0.155, 0.07)),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    12: ((0.68, 0.32), (0.265, 0.69), (0.15, 0.06)),
}
"""x, y of red, green and blue by the code of ITU-T H.273 (1 is BT.709, 9 BT.2020, 12 Display P3); white is D65 in all of them."""

PQ, HLG = 16, 18
"""Codes of H.273 for the transfer of high dynamic range."""

_D65 = (0.3127, 0.3290)
_D50_XYZ = np.array([0.9642, 1.0, 0.8249])
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_COLOUR_TAGS = {
    *(b"wtpt", b"bkpt", b"chad", b"rXYZ", b"gXYZ", b"bXYZ", b"rTRC", b"gTRC", b"bTRC", b"kTRC", b"gamt"),
    *(b"A2B0", b"A2B1", b"A2B2", b"B2A0", b"B2A1", b"B2A2", b"cicp", b"lumi"),
}
"""Tags of an ICC profile that say what colours are. The others say whose monitor, camera or scanner it was."""


class ProfileError(Exception):
    """A profile that cannot be used."""


def xyz_matrix(primaries: Sequence[tuple[float, float]]) -> NDArray[np.float64]:
    """(3, 3): linear RGB of these primaries, white D65, to XYZ."""
    columns = np.array([[x / y, 1.0, (1 - x - y) / y] for x, y in primaries]).T
    white = np.array([_D65[0] / _D65[1], 1.0, (1 - _D65[0] - _D65[1]) / _D65[1]])
    scaled: NDArray[np.float64] = columns * np.linalg.solve(columns, white)
    return scaled


def matrix_profile(primaries: Sequence[tuple[float, float]], gamma: float | None = None) -> bytes:
    """An ICC profile of RGB with these primaries.

    Args:
        primaries: x, y of red, green, blue; white is D65.
        gamma: exponent of the curve; None for that of sRGB.

    """
    white = xyz_matrix(primaries) @ np.ones(3)
    cone = _BRADFORD @ _D50_XYZ / (_BRADFORD @ white)
    adapt = np.linalg.solve(_BRADFORD, cone[:, None] * _BRADFORD)
    matrix = adapt @ xyz_matrix(primaries)
    if gamma is None:
        numbers = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
        curve = b"para" + bytes(4) + struct.pack(">HH", 3, 0) + b"".join(map(_fixed, numbers))
    else:
        curve = b"para" + bytes(4) + struct.pack(">HH", 0, 0) + _fixed(gamma)
    tags = {b"wtpt": _xyz(_D50_XYZ), b"chad": b"sf32" + bytes(4) + b"".join(map(_fixed, adapt.ravel()))}
    for i, name in enumerate((b"r", b"g", b"b")):
        tags[name + b"XYZ"] = _xyz(matrix[:, i])
        tags[name + b"TRC"] = curve
    return _profile(tags, b"mntr", b"RGB ", b"XYZ ")


def anonymous_profile(profile: bytes) -> bytes:
    """The profile without what identifies: descriptions, serial numbers, dates and makers are left out, colours stay.

    Raises:
        ProfileError: it is damaged.

    """
    try:
        count = struct.unpack(">I", profile[128:132])[0]
        tags = {}
        for i in range(min(count, 100)):
            name, at, size = struct.unpack(">4sII", profile[132 + 12 * i : 144 + 12 * i])
            if name in _COLOUR_TAGS:
                tags[name] = profile[at : at + size]
        return _profile(tags, profile[12:16], profile[16:20], profile[20:24], profile[8:12])
    except struct.error as error:
        raise ProfileError(f"the colour profile is damaged: {error}") from error


def is_high_dynamic_range(profile: bytes) -> bool:
    """Whether a profile says PQ or HLG: by its tag ``cicp``, or by the name that PNG files used before they had a chunk for it."""
    if any(name in profile for name in (b"ITUR_2100_PQ", "ITUR_2100_PQ".encode("utf-16-be"))):
        return True
    at = profile.find(b"cicp", 128)  # in the table of tags: its name, offset and size
    if at < 0:
        return False
    start = int.from_bytes(profile[at + 4 : at + 8], "big")
    tag = profile[start : start + 12]
    return tag[:4] == b"cicp" and len(tag) == 12 and tag[9] in {PQ, HLG}


def _profile(
    tags: dict[bytes, bytes], kind: bytes, space: bytes, connection: bytes, version: bytes = b"\x04\x30\0\0"
) -> bytes:
    text = "".join("RGB" if space == b"RGB " else space.decode("latin-1").strip())
    named = tags | {b"desc": _text(text, version), b"cprt": _text("none", version)}
    table, body = struct.pack(">I", len(named)), b""
    start = 128 + 4 + 12 * len(named)
    placed: dict[bytes, int] = {}
    for name, content in named.items():
        if content not in placed:
            placed[content] = start + len(body)
            body += content + bytes(-len(content) % 4)
        table += struct.pack(">4sII", name, placed[content], len(content))
    size = start + len(body)
    head = struct.pack(">I", size) + bytes(4) + version + kind + space + connection
    head += struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    head += _fixed(_D50_XYZ[0]) + _fixed(1.0) + _fixed(_D50_XYZ[2])
    return head.ljust(128, b"\0") + table + body


def _text(text: str, version: bytes) -> bytes:
    if version[0] >= 4:
        data = text.encode("utf-16-be")
        return b"mluc" + bytes(4) + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(data), 28) + data
    data = text.encode("ascii", "replace") + b"\0"
    return b"desc" + bytes(4) + struct.pack(">I", len(data)) + data + bytes(4 + 4 + 2 + 1 + 67)


def _fixed(value: float) -> bytes:
    return struct.pack(">i", round(float(value) * 65536))


def _xyz(values: NDArray[np.float64]) -> bytes:
    return b"XYZ " + bytes(4) + b"".join(map(_fixed, values))


@lru_cache(maxsize=8)
def _transform(profile: bytes, mode: str, to_srgb: bool) -> Any:
    try:
        given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        srgb = ImageCms.createProfile("sRGB")
        source, target = (given, srgb) if to_srgb else (srgb, given)
        modes = (mode, "RGB") if to_srgb else ("RGB", mode)
        # Relative colorimetric with black point compensation, as browsers and viewers do.
        flags = ImageCms.Flags.BLACKPOINTCOMPENSATION
        intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
        return ImageCms.buildTransform(source, target, modes[0], modes[1], intent, flags)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        raise ProfileError(f"the colour profile cannot be used: {error}") from error


def to_srgb(picture: PILImage.Image, profile: bytes) -> PILImage.Image:
    """A picture of mode RGB, L, CMYK or LAB in its profile's colours, as RGB in sRGB. Raises ProfileError."""
    converted = ImageCms.applyTransform(picture, _transform(profile, picture.mode, True))
    assert converted is not None
    return converted


def from_srgb(image: NDArray[np.uint8], profile: bytes) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 sRGB in the colours of an RGB profile. Raises ProfileError."""
    converted = ImageCms.applyTransform(PILImage.fromarray(image), _transform(profile, "RGB", False))
    assert converted is not None
    return np.asarray(converted)


@lru_cache(maxsize=32)
def is_srgb(profile: bytes) -> bool:
    """Whether the profile's colours are those of sRGB, within a grey level or two. Raises ProfileError."""
    steps = np.linspace(0, 255, 9).round().astype(np.uint8)
    grid = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(27, 27, 3)
    back = np.asarray(to_srgb(PILImage.fromarray(grid), profile))
    return bool(np.abs(back.astype(int) - grid).max() <= 2)


def space_of(profile: bytes) -> str:
    """The colour space of a profile's pixels: ``RGB``, ``GRAY``, ``CMYK``, …"""
    return profile[16:20].decode("latin-1").strip()


_SDR_WHITE = 203.0
"""cd/m² of white in high dynamic range (ITU-R BT.2408)."""
_HLG_PEAK = 1000.0
_KNEE = 0.75
"""Below this share of white, colours stay as they are."""


@lru_cache(maxsize=4)
def _to_light(transfer: int) -> NDArray[np.float32]:
    """Light by 16-bit value: of PQ in units of `_SDR_WHITE`, of HLG of the scene, 0 to 1."""
    v = np.linspace(0, 1, 65536)
    if transfer == PQ:
        m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
        p = v ** (1 / m2)
        return (10000 / _SDR_WHITE * (np.maximum(p - c1, 0) / (c2 - c3 * p)) ** (1 / m1)).astype(np.float32)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(v <= 0.5, v**2 / 3, (np.exp((v - c) / a) + b) / 12).astype(np.float32)


@lru_cache(maxsize=1)
def _from_light() -> NDArray[np.uint8]:
    """8-bit values of BT.709 by light, 0 to 1 in 65536 steps."""
    v = np.linspace(0, 1, 65536)
    return np.round(255 * np.where(v < 0.018, 4.5 * v, 1.099 * v**0.45 - 0.099)).astype(np.uint8)


def tone_mapped(values: NDArray[np.uint16], transfer: int, primaries: int) -> NDArray[np.uint8]:
    """High dynamic range in BT.709: (H, W, 3) uint8 of (H, W, 3) uint16 RGB.

    What is darker than three quarters of white keeps its brightness, the rest is compressed.

    Args:
        values: 0 to 65535.
        transfer: `PQ` or `HLG`.
        primaries: a key of `PRIMARIES`; anything else counts as BT.2020.

    """
    light = _to_light(transfer)[values]
    if transfer == HLG:
        luminance = light @ np.array([0.2627, 0.6780, 0.0593], np.float32)
        light *= (_HLG_PEAK / _SDR_WHITE * np.maximum(luminance, 1e-6) ** 0.2)[..., None]
    source = xyz_matrix(PRIMARIES.get(primaries, PRIMARIES[9]))
    to_709 = np.linalg.solve(xyz_matrix(SRGB_PRIMARIES), source).astype(np.float32)
    light = np.maximum(light @ to_709.T, 0)
    brightest = light.max(2)
    over = np.maximum(brightest - _KNEE, 0)
    mapped = np.minimum(brightest, _KNEE) + (1 - _KNEE) * (1 - np.exp(-over / (1 - _KNEE)))
    light *= (mapped / np.maximum(brightest, 1e-6))[..., None]
    mapped_values: NDArray[np.uint8] = _from_light()[np.round(65535 * np.clip(light, 0, 1)).astype(np.uint16)]
    return mapped_values
