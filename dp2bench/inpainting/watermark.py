"""An invisible, keyed watermark in what was synthesised, found again after JPEG, halving and cropping.

A tile of pseudo-random noise, drawn from the key and limited to periods of 6 to 20 pixels, is repeated over the picture's own
coordinates and added inside what was replaced, stronger where the picture is busy. Whoever has the key divides a picture's detail
by its local contrast, adds up cells of the tile's size over windows, and looks for the tile at every shift: the crop need not be
known. Several sizes are tried: the scale need not be known. Without the key the mark is noise.

Spread-spectrum watermarking: Cox et al., IEEE Trans. Image Processing 1997. Of the packages, `trustmark` needs weights
from the network, and `invisible-watermark` keeps its bits on a grid that cropping and resizing move; neither was measured beside this.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
THRESHOLD = 7.5
"""Deviations above the mean of all shifts from which a mark counts as found. Its false alarms were not measured."""
SCALES = (1.0, 0.5, 0.75, 2 / 3, 0.9, 0.8, 0.6, 1.25, 1.5, 2.0)
"""Sizes that are tried, as shares of the size in which the mark was made."""
WINDOWS = ((2, 1), (2, 2), (3, 2), (4, 2), (4, 3), (6, 4), (8, 8))
"""Rows and columns of half tiles that are added up, beside the whole picture."""
SHORTEST_KEY = 8


@dataclass(frozen=True)
class Finding:
    """What looking for a mark gave.

    Attributes:
        found: the score is above `THRESHOLD`.
        score: of the best window, shift and scale, in deviations.
        scale: the picture's size as a share of the one the mark was made in.
        box: (x0, y0, x1, y1) of the window, in pixels of the picture.

    """

    found: bool
    score: float
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
    spectrum = np.fft.fft2(r.standard_normal((TILE, TILE)))
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(TILE), np.fft.fftfreq(TILE)))
    spectrum[(frequency < 1 / PERIODS[1]) | (frequency > 1 / PERIODS[0])] = 0
    noise = np.fft.ifft2(spectrum).real
    return np.asarray((noise - noise.mean()) / noise.std(), np.float32)


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
    """`find` for several keys at once, at little more than the cost of one."""
    patterns = np.stack([_phases(tile(key)).conj() for key in keys])
    # Of a sum of that many unit vectors whose phases are independent, at any shift.
    deviation = np.sqrt(2 * np.count_nonzero(_band())) / TILE**2
    best = [Finding(False, 0.0, 1.0, (0, 0, image.shape[1], image.shape[0]))] * len(keys)
    for scale in scales:
        size = (round(image.shape[1] / scale), round(image.shape[0] / scale))
        if min(size) < 24 or max(size) > 8192:
            continue
        how = cv2.INTER_AREA if scale > 1 else cv2.INTER_CUBIC
        detail = _detail(image if scale == 1 else np.asarray(cv2.resize(image, size, interpolation=how)))
        for fold, (x0, y0, x1, y1) in _folds(detail):
            match = np.fft.irfft2(_phases(fold) * patterns, s=(TILE, TILE))
            scores = match.reshape(len(keys), -1).max(1) / deviation
            for k, score in enumerate(scores.tolist()):
                if score > best[k].score:
                    box = (int(x0 * scale), int(y0 * scale), int(x1 * scale), int(y1 * scale))
                    best[k] = Finding(score > THRESHOLD, score, scale, box)
    return best


@lru_cache(maxsize=1)
def _band() -> NDArray[np.bool_]:
    """(TILE, TILE // 2 + 1), the frequencies of the mark; those of the first column once, not with their mirror images."""
    frequency = np.hypot(*np.meshgrid(np.fft.rfftfreq(TILE), np.fft.fftfreq(TILE)))
    band: NDArray[np.bool_] = (frequency >= 1 / PERIODS[1]) & (frequency <= 1 / PERIODS[0])
    return band


def _phases(pattern: Floats) -> NDArray[np.complex128]:
    """Of the mark's frequencies, 0 elsewhere: what a picture's spectrum looks like has no influence on a key's chances."""
    spectrum = np.fft.rfft2(pattern)
    out: NDArray[np.complex128] = np.where(_band(), spectrum / (np.abs(spectrum) + 1e-12), 0)
    return out


def _deviation(detail: Floats) -> Floats:
    return np.asarray(np.sqrt(cv2.GaussianBlur(detail * detail, (0, 0), 6)), np.float32)


def _detail(image: Image) -> Floats:
    """(H, W): what is finer than the mark's longest period, divided by local contrast."""
    grey = image.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    band = cv2.GaussianBlur(grey, (0, 0), 0.8) - cv2.GaussianBlur(grey, (0, 0), 4)
    return np.asarray(np.clip(band / (_deviation(band) + 1.0), -2.5, 2.5), np.float32)


def _folds(detail: Floats) -> Iterator[tuple[Floats, tuple[int, int, int, int]]]:
    """Sums of the cells of each window, and the window."""
    h, w = detail.shape
    half = TILE // 2
    ny, nx = -(-h // half), -(-w // half)
    whole = np.zeros((ny * half, nx * half), np.float32)
    whole[:h, :w] = detail
    cells = whole.reshape(ny, half, nx, half).transpose(0, 2, 1, 3)
    for rows, columns in sorted({(min(r, ny), min(c, nx)) for r, c in (*WINDOWS, (ny, nx))}):
        for i in range(0, ny - rows + 1, max(1, rows // 4)):
            for j in range(0, nx - columns + 1, max(1, columns // 4)):
                fold = np.zeros((TILE, TILE), np.float32)
                for p, q in ((0, 0), (0, 1), (1, 0), (1, 1)):
                    y, x = (i + p) % 2 * half, (j + q) % 2 * half
                    some = cells[i + p : i + rows : 2, j + q : j + columns : 2]
                    fold[y : y + half, x : x + half] = some.sum((0, 1))
                yield fold, (j * half, i * half, min(w, (j + columns) * half), min(h, (i + rows) * half))


class Watermarked:
    """A method whose replaced pixels carry the mark of a key.

    Args:
        method: what replaces people.
        key: see `embed`; never part of provenance.

    """

    def __init__(self, method: Anonymizer, key: str) -> None:
        from dataclasses import replace

        self._method, self._key = method, check_key(key)
        self.meta: MethodMeta = replace(method.meta, arguments={**method.meta.arguments, "watermark": True})

    def anonymize(self, image: Image, people: People, *, seed: Seed) -> Anonymized:
        """See `Anonymizer.anonymize`."""
        return fill_alone(self.fill_requests(image, people, seed=seed))

    def fill_requests(self, image: Image, people: People, *, seed: Seed) -> FillRequests:
        """See `BatchedAnonymizer.fill_requests`."""
        done = yield from requests_of(self._method, image, people, seed)
        return done._replace(image=embed(done.image, done.changed, self._key))
