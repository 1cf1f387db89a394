"""An invisible, keyed watermark in what was synthesised, found again after JPEG, halving and cropping.

A tile of pseudo-random noise, drawn from the key and limited to periods of 6 to 20 pixels, is repeated over the picture's own
coordinates and added inside what was replaced, stronger where the picture is busy. Whoever has the key divides a picture's detail
by its local contrast, adds up cells of the tile's size over windows, and looks for the tile at every shift: the crop need not be
known. Several sizes are tried: the scale need not be known. Without the key the mark is noise.

Spread-spectrum watermarking: Cox et al., IEEE Trans. Image Processing 1997. Of the packages, `trustmark` needs weights from the
network, and `invisible-watermark` marks whole pictures, with bits on a grid that cropping and resizing move (`benchmarks/watermark.py
--library` looks).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from dp2bench.core.contracts import Anonymizer, FillRequests, MethodMeta
from dp2bench.core.errors import Dp2benchError
from dp2bench.core.seeds import Seed
from dp2bench.core.types import Anonymized, Image, People
from dp2bench.inpainting.filling import fill_alone, requests_of

Floats = NDArray[np.float32]
TILE = 128
PERIODS = (6.0, 20.0)
"""Shortest and longest period of the noise, in pixels: longer than what halving and JPEG take away."""
STRENGTH = 0.4
"""Deviation of the mark as a share of the picture's local deviation."""
WEAKEST, STRONGEST = 1.8, 5.0
"""Limits of the mark's deviation, in grey levels."""
FALSE_ALARM = 5e-5
"""A mark counts as found where a picture without it would look so at most this often."""
SCALES = (1.0, 0.5, 0.75, 2 / 3, 0.9, 0.8, 0.6, 1.25, 1.5, 2.0)
"""Sizes that are tried, as shares of the size in which the mark was made."""
WINDOWS = ((2, 1), (2, 2), (3, 2), (4, 2), (4, 3), (6, 4), (8, 8))
"""Rows and columns of half tiles that are added up, beside the whole picture."""
SHORTEST_KEY = 8


@dataclass(frozen=True)
class Finding:
    """What looking for a mark gave.

    Attributes:
        found: `false_alarm` is below `FALSE_ALARM`.
        score: of the best window, shift and scale, in deviations.
        false_alarm: bound on the probability of such a score in a picture that does not carry the mark, whatever it shows.
        scale: the picture's size as a share of the one the mark was made in.
        box: (x0, y0, x1, y1) of the window, in pixels of the picture.

    """

    found: bool
    score: float
    false_alarm: float
    scale: float
    box: tuple[int, int, int, int]


def check_key(key: str) -> str:
    """The key, or a Dp2benchError where it can be guessed."""
    if len(key.strip()) < SHORTEST_KEY:
        raise Dp2benchError(
            f"The key of the watermark has {len(key.strip())} characters.",
            f"Take at least {SHORTEST_KEY}: whoever guesses it can find the mark, and remove it.",
        )
    return key.strip()


@lru_cache(maxsize=64)
def tile(key: str) -> Floats:
    """(TILE, TILE) noise of mean 0 and deviation 1 that the key gives."""
    digest = hashlib.blake2b(check_key(key).encode(), digest_size=16, person=b"dp2bench-mark").digest()
    r = np.random.Generator(np.random.PCG64(int.from_bytes(digest, "little")))
    # Phases of white noise are independent and uniform. All frequencies are as strong, so that the match wastes none of them.
    spectrum = np.fft.rfft2(r.standard_normal((TILE, TILE)))
    flat = np.zeros_like(spectrum)
    flat[_band()] = spectrum[_band()] / np.abs(spectrum[_band()])
    noise = np.fft.irfft2(flat, s=(TILE, TILE))
    return np.asarray(noise / noise.std(), np.float32)


def embed(image: Image, where: NDArray[np.bool_], key: str) -> Image:
    """The picture with the mark of a key.

    Args:
        image: (H, W, 3).
        where: (H, W), what is marked.
        key: at least `SHORTEST_KEY` characters.

    """
    if not where.any():
        return image
    x, y, w, h = cv2.boundingRect(where.view(np.uint8))
    pad = 8
    top, left = max(0, y - pad), max(0, x - pad)
    part = image[top : y + h + pad, left : x + w + pad].astype(np.float32)
    grey = part @ np.array([0.299, 0.587, 0.114], np.float32)
    strength = np.clip(STRENGTH * _deviation(grey - cv2.GaussianBlur(grey, (0, 0), 4)), WEAKEST, STRONGEST)
    rows, columns = np.arange(top, top + len(part)) % TILE, np.arange(left, left + part.shape[1]) % TILE
    mark = tile(key)[np.ix_(rows, columns)] * strength
    mark[~where[top : top + len(part), left : left + part.shape[1]]] = 0
    out = image.copy()
    out[top : top + len(part), left : left + part.shape[1]] = np.rint(part + mark[..., None]).clip(0, 255)
    return np.asarray(out, np.uint8)


def find(image: Image, key: str, *, scales: Sequence[float] = SCALES) -> Finding:
    """Look for the mark of a key.

    Args:
        image: (H, W, 3), perhaps cropped, resized or compressed since it was marked.
        key: of the mark.
        scales: see `SCALES`.

    """
    return find_among(image, [key], scales=scales)[0]


def find_among(image: Image, keys: Sequence[str], *, scales: Sequence[float] = SCALES) -> list[Finding]:
    """`find` for several keys at once, at less than the cost of each.

    The phases of a key's spectrum are independent and uniform, so that in a picture without its mark the match at one shift is a weighted
    sum of cosines of uniform angles. Its probability to reach z deviations is at most exp(-z^2 / 2) (Chernoff), and that of any look
    to reach it at most so many times that: `Finding.false_alarm` holds for every picture.
    """
    patterns = [_phases(tile(key)).conj() for key in keys]
    best = [(0.0, 1.0, (0, 0, image.shape[1], image.shape[0]))] * len(keys)
    looks = 0
    for scale in scales:
        size = (round(image.shape[1] / scale), round(image.shape[0] / scale))
        if min(size) < 24 or max(size) > 8192:
            continue
        how = cv2.INTER_AREA if scale > 1 else cv2.INTER_CUBIC
        detail = _detail(image if scale == 1 else np.asarray(cv2.resize(image, size, interpolation=how)))
        spectra, boxes = _windows(detail)
        limited = _limited(spectra)
        looks += len(spectra) * TILE**2
        for k, pattern in enumerate(patterns):
            scores = _matches(limited * pattern)
            i = int(scores.argmax())
            if scores[i] > best[k][0]:
                x0, y0, x1, y1 = (int(v * scale) for v in boxes[i])
                best[k] = (float(scores[i]), scale, (x0, y0, x1, y1))
    out = []
    for score, scale, box in best:
        false_alarm = float(min(1.0, looks * np.exp(-(score**2) / 2)))
        out.append(Finding(false_alarm < FALSE_ALARM, score, false_alarm, scale, box))
    return out


@lru_cache(maxsize=1)
def _band() -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of the mark's frequencies in the (TILE, TILE // 2 + 1) spectrum of a tile."""
    frequency = np.hypot(*np.meshgrid(np.fft.rfftfreq(TILE), np.fft.fftfreq(TILE)))
    rows, columns = np.nonzero((frequency >= 1 / PERIODS[1]) & (frequency <= 1 / PERIODS[0]))
    return rows, columns


def _spectrum(cells: Floats) -> NDArray[np.complex64]:
    """The mark's frequencies (..., B) of (..., h, w) pixels in a corner of a tile."""
    from scipy import fft

    rows, columns = _band()
    return np.asarray(fft.rfft2(cells, s=(TILE, TILE))[..., rows, columns], np.complex64)


def _phases(pattern: Floats) -> NDArray[np.complex64]:
    """Of a tile's frequencies, (B,)."""
    spectrum = _spectrum(pattern)
    return np.asarray(spectrum / np.abs(spectrum), np.complex64)


def _limited(spectra: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """Spectra (N, B) whose strong frequencies, which a picture's own patterns have, are cut, brought to a mean square of 1."""
    strength = np.abs(spectra)
    limit = np.sqrt(np.square(strength).mean(1, keepdims=True))
    out = spectra * np.minimum(1, limit / (strength + np.float32(1e-12)))
    kept = np.sqrt(np.square(np.abs(out)).mean(1, keepdims=True))
    return np.asarray(out / (kept + np.float32(1e-12)), np.complex64)


def _matches(products: NDArray[np.complex64]) -> Floats:
    """(N,) the best match of N windows over all shifts, in deviations, of (N, B) products of frequencies and a key's phases."""
    from scipy import fft

    rows, columns = _band()
    # Each frequency of the first column stands beside its mirror image, which is not independent and adds up with it.
    square = np.square(np.abs(products)) * np.where(columns == 0, 1, 2)
    deviation = np.sqrt(square.sum(1)) / TILE**2
    out = np.zeros(len(products), np.float32)
    for start in range(0, len(products), 64):
        some = products[start : start + 64]
        whole = np.zeros((len(some), TILE, columns.max() + 1), np.complex64)
        whole[:, rows, columns] = some
        match = fft.irfft(fft.ifft(whole, axis=1), n=TILE, axis=2)
        out[start : start + 64] = match.reshape(len(some), -1).max(1)
    return np.asarray(out / np.maximum(deviation, 1e-12), np.float32)


def _deviation(detail: Floats) -> Floats:
    return np.asarray(np.sqrt(cv2.GaussianBlur(detail * detail, (0, 0), 6)), np.float32)


def _detail(image: Image) -> Floats:
    """(H, W): what is finer than the mark's longest period, divided by local contrast."""
    grey = image.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    band = cv2.GaussianBlur(grey, (0, 0), 0.8) - cv2.GaussianBlur(grey, (0, 0), 4)
    return np.asarray(np.clip(band / (_deviation(band) + 1.0), -2.5, 2.5), np.float32)


def _windows(detail: Floats) -> tuple[NDArray[np.complex64], list[tuple[int, int, int, int]]]:
    """Spectra (N, B) of the sums of each window's tiles, and the windows, (x0, y0, x1, y1)."""
    h, w = detail.shape
    half = TILE // 2
    ny, nx = -(-h // half), -(-w // half)
    whole = np.zeros((ny * half, nx * half), np.float32)
    whole[:h, :w] = detail
    cells = _spectrum(whole.reshape(ny, half, nx, half).transpose(0, 2, 1, 3))
    # Where a cell of half a tile stands in its tile: a shift by one half turns the odd frequencies.
    rows, columns = _band()
    cells[1::2] *= np.where(rows % 2, -1, 1).astype(np.float32)
    cells[:, 1::2] *= np.where(columns % 2, -1, 1).astype(np.float32)
    sums = np.zeros((ny + 1, nx + 1, len(rows)), np.complex128)
    sums[1:, 1:] = cells.cumsum(0, dtype=np.complex128).cumsum(1)
    spectra, boxes = [], []
    for r, c in sorted({(min(r, ny), min(c, nx)) for r, c in (*WINDOWS, (ny, nx))}):
        for i in range(0, ny - r + 1, max(1, r // 2)):
            for j in range(0, nx - c + 1, max(1, c // 2)):
                spectra.append(sums[i + r, j + c] - sums[i, j + c] - sums[i + r, j] + sums[i, j])
                boxes.append((j * half, i * half, min(w, (j + c) * half), min(h, (i + r) * half)))
    return np.stack(spectra).astype(np.complex64), boxes


class Watermarked:
    """A method whose replaced pixels carry the mark of a key.

    Args:
        method: what replaces people.
        key: see `embed`; never part of provenance.

    """

    def __init__(self, method: Anonymizer, key: str) -> None:
        self._method, self._key = method, check_key(key)
        self.meta: MethodMeta = replace(method.meta, arguments={**method.meta.arguments, "watermark": True})

    def anonymize(self, image: Image, people: People, *, seed: Seed) -> Anonymized:
        """See `Anonymizer.anonymize`."""
        return fill_alone(self.fill_requests(image, people, seed=seed))

    def fill_requests(self, image: Image, people: People, *, seed: Seed) -> FillRequests:
        """See `BatchedAnonymizer.fill_requests`."""
        done = yield from requests_of(self._method, image, people, seed)
        return done._replace(image=embed(done.image, done.changed, self._key))
