"""What really changed between a picture and its anonymized version: pixels, and people."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from dp2bench.core.types import Missed, People

PIXEL = 8
"""Grey levels of the most different channel beyond which a pixel changed; JPEG at quality 95 stays below but at edges."""
PERSON = 8.0
"""Mean grey levels beyond which a person may count as changed; JPEG at quality 50 stays below."""
EXPLAINED = 0.8
"""Share of a person's variance that an affine colour map of the output may explain before it counts as the same picture."""
DETAIL = 0.5
"""The same for what is finer than `FINE` pixels: blur and pixelation keep the coarse colours and lose this."""
FINE = 2.0
SHARE = 0.5
"""Share of a person's pixels that must have changed."""


def changed_pixels(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """(H, W): the region that was replaced, seen from outside: differing pixels, specks left out and pinholes filled.

    Args:
        before: (H, W, 3).
        after: the same picture, anonymized.

    """
    differs = (np.abs(before.astype(np.int16) - after).max(2) > PIXEL).astype(np.uint8)
    kernel = np.ones((3, 3), np.uint8)
    closed = cv2.morphologyEx(differs, cv2.MORPH_CLOSE, kernel)
    region: NDArray[np.bool_] = cv2.morphologyEx(closed, cv2.MORPH_OPEN, kernel).astype(np.bool_)
    return region


def unchanged_reason(before: NDArray[np.uint8], after: NDArray[np.uint8], mask: NDArray[np.bool_]) -> str:
    """Why the person in a mask counts as not anonymized, whatever the method says; empty where they do.

    Somebody is unchanged whose pixels differ by no more than re-encoding does, most of whose pixels are the same, or whose picture
    can be had back by an affine map of colours (a shift of brightness, contrast, white balance or hue).

    Args:
        before: (H, W, 3), a window around the person.
        after: the same window of the output.
        mask: (H, W) of the person, or of the face where faces are replaced.

    """
    if not mask.any():
        return "no pixel of them lies in the picture"
    x, y = before[mask].astype(np.float64), after[mask].astype(np.float64)
    difference = np.abs(x - y)
    if difference.mean() <= PERSON:
        return "looks unchanged"
    if (difference.max(1) > PIXEL).mean() < SHARE:
        return "most of them looks unchanged"
    if len(x) < 16 or _explained(x, y) < EXPLAINED:  # of fewer pixels anything is an affine map
        return ""
    fine = [_fine(picture, mask)[mask] for picture in (before, after)]
    return "only their colours were mapped" if _explained(*fine) >= DETAIL else ""


def unchanged_people(
    before: NDArray[np.uint8], after: NDArray[np.uint8], people: People, *, faces: bool = False
) -> list[Missed]:
    """Who of the people is still there, by looking; see `unchanged_reason`.

    Args:
        before: (H, W, 3).
        after: the output, of the same size.
        people: found in ``before``; a person without a mask is their box.
        faces: whether faces alone were to be replaced; a person without a face has nothing that could be compared.

    """
    boxes = people.faces if faces else people.boxes
    found: list[Missed] = []
    if boxes is None:
        return found
    size = np.array([before.shape[1], before.shape[0]] * 2)
    for i, box in enumerate(boxes):
        if not np.isfinite(box).all():
            continue
        x0, y0, x1, y1 = np.clip(np.round(box), 0, size).astype(int)
        window = np.s_[y0:y1, x0:x1]
        mask = np.ones(before[window].shape[:2], np.bool_)
        if people.masks is not None and not faces:
            mask = people.masks[i][window]
        if reason := unchanged_reason(before[window], after[window], mask):
            found.append(Missed(i, reason))
    return found


def _explained(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Share of the variance of x (N, 3) that the best affine map of y (N, 3) explains; 0 where x has none."""
    x, y = x - x.mean(0), y - y.mean(0)
    total = float((x**2).sum())
    if total <= 1e-6 * len(x):
        return 0.0
    gram = y.T @ y
    gram[np.diag_indices(3)] += 1e-3 * len(y)  # a constant output explains nothing
    solution = np.linalg.solve(gram, y.T @ x)
    return 1 - float(((x - y @ solution) ** 2).sum()) / total


def _fine(picture: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """A picture less its blurred version, inside the mask alone: the rim would be the strongest detail otherwise."""
    inside = mask.astype(np.float32)
    weight = np.maximum(cv2.GaussianBlur(inside, (0, 0), FINE), 1e-6)
    smooth = cv2.GaussianBlur(picture.astype(np.float32) * inside[..., None], (0, 0), FINE)
    detail: NDArray[np.float64] = picture.astype(np.float64) - smooth / weight[..., None]
    return detail
