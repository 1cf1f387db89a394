"""Whether box, mask, area and keypoints of a COCO annotation fit each other and the picture; masks from polygons and run lengths."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dp2bench.core.coco_schema import FARTHEST, AnnotationRow, Corners, RunLengths, corners
from dp2bench.core.errors import AnnotationError
from dp2bench.core.types import fill_boxes

_LONGEST_OUTLINE = 2000
"""Times the sum of the picture's sides: a polygon that is longer is no outline, and would fill the memory."""
_SAME_BOX = 0.8
"""Intersection over union from which on the box around a mask and the stated box are one: a single corner of a polygon that is wrong
can leave half of a person bare."""


def check_row(row: AnnotationRow, size: tuple[int, int], where: str) -> None:
    """Raises AnnotationError, beginning with ``where``, for an annotation of a picture of (H, W) pixels that cannot be right."""
    x, y, w, h = row.bbox
    if w < 0 or h < 0:
        raise AnnotationError(
            f"{where} has a box of negative size, {_numbers(row.bbox)}.",
            "Write `bbox` as x, y, width, height.",
        )
    if min(x, y) >= 0 and x + w <= 1 and y + h <= 1 and max(size) > 1 and row.bbox != (0, 0, 0, 0):
        raise AnnotationError(
            f"{where} has a box within the first pixel, {_numbers(row.bbox)}: these look like shares of the picture.",
            "Write `bbox` in pixels: multiply by the picture's width and height.",
        )
    if not row.segmentation and row.area is not None and row.area > 1.1 * w * h + 16:
        raise AnnotationError(
            f"{where} has an area of {row.area:g} pixels, more than its box {_numbers(row.bbox)} holds.",
            "Correct `bbox` (x, y, width, height in pixels) or `area`.",
        )
    _check_keypoints(row, where)
    if row.face is not None and not _meet(corners(row.face), row.corners, 2 + max(w, h) / 2):
        raise AnnotationError(
            f"{where} has a face outside its box.",
            "Correct `face` or `bbox`, both x, y, width, height in pixels.",
        )
    if isinstance(row.segmentation, RunLengths):
        lengths = row.segmentation
        if tuple(lengths.size) != size:
            raise AnnotationError(
                f"{where} has a mask of {lengths.size[1]}x{lengths.size[0]} pixels, and the picture has {size[1]}x{size[0]}.",
                "Use the annotations of these pictures.",
            )
        counts = _counts(lengths, where)
        if int(counts.sum()) != size[0] * size[1]:
            raise AnnotationError(
                f"{where} has run lengths of {int(counts.sum())} pixels in all, and the picture has {size[0] * size[1]}.",
                "Encode the mask again, or delete `segmentation`: the box then counts.",
            )
    elif row.segmentation and any(row.segmentation):
        _check_polygons(row, size, where)
    _check_mask_and_box(row, size, where)


def corner_format(rows: Sequence[AnnotationRow], size: tuple[int, int]) -> bool:
    """Whether the boxes of a picture are x0, y0, x1, y1: all would be valid so, and some reach out of it or deny their area otherwise."""
    rows = [row for row in rows if not row.segmentation]
    if not rows:
        return False
    x, y, w, h = np.array([row.bbox for row in rows]).T
    height, width = size
    valid = (w > x) & (h > y) & (w <= width + 2) & (h <= height + 2)
    beyond = (x + w > 1.02 * width + 2) | (y + h > 1.02 * height + 2)
    areas = np.array([np.nan if row.area is None else row.area for row in rows])
    as_sides = np.isclose(areas, w * h, rtol=0.01, atol=1)
    as_corners = np.isclose(areas, (w - x) * (h - y), rtol=0.01, atol=1) & ~as_sides
    return bool(valid.all() and (as_corners.any() or (beyond.any() and not as_sides.any())))


def mask_of(row: AnnotationRow, size: tuple[int, int], where: str) -> NDArray[np.bool_]:
    """(H, W): the mask; the box where there is none, and both where they or the stated area disagree."""
    box: NDArray[np.bool_] = fill_boxes(np.array([row.corners], np.float32), size)[0]
    if isinstance(row.segmentation, RunLengths):
        mask = _from_run_lengths(row.segmentation, where)
    elif row.polygons:
        mask = _from_polygons(row.polygons, size, where)
    else:
        return box
    extent = _extent(row, size, where)
    pixels = int(np.count_nonzero(mask))
    return mask if extent is not None and pixels and _agree(row, pixels, extent) else mask | box


def _check_polygons(row: AnnotationRow, size: tuple[int, int], where: str) -> None:
    assert isinstance(row.segmentation, list)
    remedy = "Draw the polygon again, or delete `segmentation`: the box then counts."
    if any(len(polygon) % 2 for polygon in row.segmentation):
        raise AnnotationError(f"{where} has a polygon with an odd number of coordinates.", remedy)
    if not row.polygons:
        count = max(map(len, row.segmentation)) // 2
        raise AnnotationError(f"{where} has a polygon of {count} point{'s' * (count != 1)}.", remedy)
    h, w = size
    for polygon in row.polygons:
        xs, ys = polygon[::2], polygon[1::2]
        if min(xs) < -w or max(xs) > 2 * w or min(ys) < -h or max(ys) > 2 * h:
            raise AnnotationError(f"{where} has a polygon far outside the {w}x{h} pixels.", remedy)
        # No side is longer than three pictures, so that few points need no measuring.
        if len(xs) > _LONGEST_OUTLINE / 3:
            length = np.abs(np.diff(xs)).sum() + np.abs(np.diff(ys)).sum()
            if length > _LONGEST_OUTLINE * (w + h):
                raise AnnotationError(f"{where} has a polygon that is no outline: it is too long.", remedy)


def _check_keypoints(row: AnnotationRow, where: str) -> None:
    points = row.keypoints
    if not points:
        return
    remedy = (
        "Keep COCO's 17 keypoints as x, y, visibility, or delete `keypoints`: mask and box then count alone."
    )
    if len(points) != 51:
        raise AnnotationError(f"{where} has {len(points) / 3:g} keypoints in place of 17.", remedy)
    seen = points[2::3]
    if min(seen) < 0 or max(seen) > 2:
        raise AnnotationError(f"{where} has a keypoint whose visibility is not 0, 1 or 2.", remedy)
    x0, y0, x1, y1 = row.corners
    slack = 2 + 0.25 * max(x1 - x0, y1 - y0)
    known = [(x, y) for x, y, v in zip(points[::3], points[1::3], seen, strict=True) if v > 0]
    if len(known) >= 3 and not any(
        x0 - slack <= x <= x1 + slack and y0 - slack <= y <= y1 + slack for x, y in known
    ):
        raise AnnotationError(
            f"{where} has {len(known)} keypoints, and none is in its box {_numbers(row.bbox)}.",
            "Correct `bbox` (x, y, width, height in pixels) or `keypoints`.",
        )


def _check_mask_and_box(row: AnnotationRow, size: tuple[int, int], where: str) -> None:
    """Raises AnnotationError where a mask and its box do not meet, or do so as x0, y0, x1, y1 alone."""
    extent = _extent(row, size, where)
    if extent is None:
        return
    if not _meet(extent, row.corners):
        raise AnnotationError(
            f"{where} has its box at {_numbers(row.bbox)} and its mask elsewhere.",
            "Correct the one that is wrong (`bbox` is x, y, width, height in pixels), or delete `segmentation`: the box then counts.",
        )
    x, y, w, h = row.bbox
    if w > x and h > y and _slack_iou(extent, row.corners) < 0.5 and _slack_iou(extent, row.bbox) > 0.9:
        raise AnnotationError(
            f"{where} has a box {_numbers(row.bbox)} that fits its mask as x0, y0, x1, y1 alone.",
            "Write `bbox` as x, y, width, height.",
        )


def _agree(row: AnnotationRow, pixels: int, extent: Corners) -> bool:
    """Whether box, mask and stated area say the same of a person whose mask has so many pixels."""
    if isinstance(row.segmentation, RunLengths) and row.area == pixels:
        return True  # the mask is as its writer meant it: detectors' boxes are of whole people, their masks of what is seen
    _, _, w, h = row.bbox
    # Some write the box's area, which says nothing of the mask.
    stated = None if row.area is None or abs(row.area - w * h) <= 0.01 * w * h + 1 else row.area
    same_area = stated is None or abs(stated - pixels) <= 0.25 * max(stated, pixels) + 16
    return same_area and _slack_iou(extent, row.corners) >= _SAME_BOX


def _extent(row: AnnotationRow, size: tuple[int, int], where: str) -> Corners | None:
    """x0, y0, x1, y1 around a mask, or None where there is none or it is empty."""
    if isinstance(row.segmentation, RunLengths):
        bounds = np.cumsum(_counts(row.segmentation, where))
        ends = bounds[1::2]
        starts = bounds[::2][: len(ends)]
        starts, ends = starts[ends > starts], ends[ends > starts]
        if not len(starts):
            return None
        h = size[0]
        first, last = starts // h, (ends - 1) // h
        one = first == last
        top = np.where(one, starts % h, 0).min()
        bottom = np.where(one, (ends - 1) % h + 1, h).max()
        return float(first.min()), float(top), float(last.max() + 1), float(bottom)
    if not row.polygons:
        return None
    xs = [x for polygon in row.polygons for x in polygon[::2]]
    ys = [y for polygon in row.polygons for y in polygon[1::2]]
    return min(xs), min(ys), max(xs), max(ys)


def _meet(a: Corners, b: Corners, slack: float = 1) -> bool:
    return all(min(a[k + 2], b[k + 2]) + slack >= max(a[k], b[k]) for k in (0, 1))


def _slack_iou(a: Corners, b: Corners) -> float:
    """Intersection over union of two boxes, each a pixel larger: boxes of thin people differ by their rounding."""
    width = min(a[2], b[2]) - max(a[0], b[0]) + 1
    height = min(a[3], b[3]) - max(a[1], b[1]) + 1
    common = max(width, 0.0) * max(height, 0.0)
    union = sum((box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (a, b)) - common
    return common / union if union > 0 else 0.0


def _counts(lengths: RunLengths, where: str) -> NDArray[np.int64]:
    """The run lengths as numbers. COCO packs each into signed groups of 5 bits, from the third on as a difference to the last but one."""
    if isinstance(lengths.counts, list):
        counts = lengths.counts
    else:
        counts = []
        value = shift = 0
        for letter in lengths.counts:
            code = ord(letter) - 48
            if not 0 <= code < 64 or shift > 30:
                raise _no_run_lengths(where)
            value |= (code & 31) << shift
            shift += 5
            if code & 32:
                continue
            if code & 16:
                value -= 1 << shift
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
        if shift or min(counts, default=0) < 0:
            raise _no_run_lengths(where)
    if max(counts, default=0) > FARTHEST**2 or len(counts) > 1 << 28:
        raise _no_run_lengths(where)
    return np.array(counts, np.int64)


def _no_run_lengths(where: str) -> AnnotationError:
    return AnnotationError(
        f"{where} has run lengths that cannot be read.",
        "Encode the mask again, or delete `segmentation`: the box then counts.",
    )


def _from_run_lengths(lengths: RunLengths, where: str) -> NDArray[np.bool_]:
    counts = _counts(lengths, where)
    values = np.arange(len(counts)) % 2 == 1
    h, w = lengths.size
    return np.ascontiguousarray(np.repeat(values, counts).reshape(w, h).T)


def _from_polygons(polygons: list[list[float]], size: tuple[int, int], where: str) -> NDArray[np.bool_]:
    from pycocotools import mask

    try:
        return np.asarray(mask.decode(mask.merge(mask.frPyObjects(polygons, *size))), np.bool_)
    except Exception as error:
        raise AnnotationError(
            f"{where} has a polygon that cannot be drawn: {error}.",
            "Draw the polygon again, or delete `segmentation`: the box then counts.",
        ) from error


def _numbers(values: Sequence[float]) -> str:
    return f"[{', '.join(f'{v:g}' for v in values)}]"
