"""The mask of a person in the picture, from what the pose network saw in a region of it.

The network's own mask leaves parts out: the dark half of a suit, what a portrait cuts off, a second sleeve. So the body that the landmarks
span is added; where the mask stays short of the box, or the picture cuts the person off, GrabCut (Rother et al., 2004) looks for more of the
same colours near the body; and holes are closed. Below the shoulders of a close-up everything in the box is taken.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from dp2bench.core.types import Image
from dp2bench.detection.photo.blazepose import BODY, REGION
from dp2bench.detection.photo.networks import Pose

_ON = 0.3
"""Probability from which a pixel is the person's: rather too much than too little."""
_SIDE_MARGIN, _TOP_MARGIN = 0.15, 0.1
"""Shares of the box's width and height by which the mask may leave it, and two pixels more."""
_ABSENT, _LEAST = 0.3, 0.15
"""A person of a lower flag, or whose mask is a smaller share of the box, gets the box."""
_SEEN = 0.5
"""Flag from which the landmarks are taken for a body."""
_HEAD, _SHOULDERS, _HIPS = 11, (11, 12), (23, 24)
"""The head's landmarks are the first 11."""
_LIMBS = ((11, 13), (13, 15), (12, 14), (14, 16), (23, 25), (25, 27), (24, 26), (26, 28), (27, 31), (28, 32))
_LIMB, _HEIGHT_TO_WIDTH = 0.2, 0.6
"""Thickness of a limb as a share of the trunk's width, which is at least 0.6 of its height: shoulders seen from the side are narrow."""
_CLOSE_UP = 0.27
"""Shoulders lower in the box, as a share of its height, are of somebody who is cut off: they fill the box from there down, and dark clothes
before something dark have no outline. Of those who stand they are at 0.24 and higher."""
_VISIBLE = 0.5
"""Visibility and presence of both its ends from which a limb is drawn."""
_BORDER = 3
"""Pixels from the picture's lower border at which a box touches it."""
_SHORT = 0.12
"""Share of the box's width or height by which the mask may stay short of it before more is looked for."""
_REACH = 1.5
"""How far from the body more is looked for, in widths of the trunk."""
_HALF = 2
"""Pixels of the region to one of GrabCut's."""
_SURE = 0.85


def mask_of(
    image: Image, box: NDArray[np.float32], pose: Pose, *, whole_box: bool = False
) -> NDArray[np.bool_]:
    """(H, W) the pixels of a person; the whole box where the outline is not to be trusted, or ``whole_box`` is asked for."""
    size = (image.shape[0], image.shape[1])
    out = np.zeros(size, np.bool_)
    rows, columns = _window(box, size)
    mask = _warped(pose.mask, pose, rows, columns) > _ON
    if pose.flag > _SEEN:
        points, unit = _in_region(pose)
        body = _body(points, pose, unit)
        chance = np.maximum(pose.mask, body.astype(np.float32))
        mask = _warped(chance, pose, rows, columns) > _ON
        cut_off = box[3] >= size[0] - _BORDER
        if cut_off or _short(mask, box - np.tile([columns.start, rows.start], 2)) > _SHORT:
            mask |= (
                _warped(_more(image, box, pose, chance, body, _head(points), unit), pose, rows, columns) > _ON
            )
        mask = _without_holes(mask, open_below=not cut_off)
    out[rows, columns] = mask
    shoulders = float(pose.landmarks[list(_SHOULDERS), 1].mean())
    if pose.flag > _SEEN and shoulders - box[1] > _CLOSE_UP * (box[3] - box[1]):
        _cover_below(out, box, shoulders)
    area = float((box[2] - box[0]) * (box[3] - box[1]))
    if whole_box or pose.flag <= _ABSENT or np.count_nonzero(mask) < _LEAST * area:
        x0, y0 = np.floor(box[:2]).astype(np.int64)
        x1, y1 = np.ceil(box[2:]).astype(np.int64)
        out[y0:y1, x0:x1] = True
    return out


def _cover_below(mask: NDArray[np.bool_], box: NDArray[np.float32], y: float) -> None:
    """Cover the box from a height down."""
    mask[math.floor(y) : math.ceil(box[3]), math.floor(box[0]) : math.ceil(box[2])] = True


def _window(box: NDArray[np.float32], size: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns of the picture that a person's mask may touch."""
    x0, y0, x1, y1 = box
    dx, dy = _SIDE_MARGIN * (x1 - x0) + 2, _TOP_MARGIN * (y1 - y0) + 2
    rows = slice(max(int(y0 - dy), 0), min(int(y1 + dy) + 1, size[0]))
    return rows, slice(max(int(x0 - dx), 0), min(int(x1 + dx) + 1, size[1]))


def _warped(chance: NDArray[np.float32], pose: Pose, rows: slice, columns: slice) -> NDArray[np.float32]:
    """The region's probabilities in the pixels of the window."""
    matrix = pose.matrix - np.array([[0, 0, columns.start], [0, 0, rows.start]])
    size = (columns.stop - columns.start, rows.stop - rows.start)
    return np.asarray(cv2.warpAffine(chance, matrix, size, flags=cv2.INTER_LINEAR), np.float32)


def _in_region(pose: Pose) -> tuple[NDArray[np.float64], float]:
    """(33, 2) landmarks in pixels of the region, and the trunk's width there."""
    inverse = cv2.invertAffineTransform(pose.matrix)
    points = np.c_[pose.landmarks[:BODY, :2], np.ones(BODY)] @ inverse.T
    shoulders, hips = points[list(_SHOULDERS)], points[list(_HIPS)]
    width = np.hypot(*(shoulders[0] - shoulders[1]))
    height = np.hypot(*(shoulders.mean(0) - hips.mean(0)))
    return points, max(float(width), _HEIGHT_TO_WIDTH * float(height))


def _body(points: NDArray[np.float64], pose: Pose, unit: float) -> NDArray[np.bool_]:
    """(256, 256) the trunk between shoulders and hips, and the limbs that are seen as thick lines."""
    out = np.zeros((REGION, REGION), np.uint8)
    whole = np.clip(points, -4 * REGION, 4 * REGION).round().astype(np.int32)
    cv2.fillPoly(out, [whole[[11, 12, 24, 23]]], 1)
    thick = max(1, round(_LIMB * unit))
    seen = pose.landmarks[:BODY, 3:].min(1) > _VISIBLE
    for a, b in _LIMBS:
        if seen[a] and seen[b]:
            cv2.line(out, whole[a].tolist(), whole[b].tolist(), 1, thick)
    return out.astype(np.bool_)


def _head(points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(256, 256) what lies between the landmarks of the head."""
    out = np.zeros((REGION, REGION), np.uint8)
    whole = np.clip(points[:_HEAD], -4 * REGION, 4 * REGION).round().astype(np.int32)
    cv2.fillConvexPoly(out, cv2.convexHull(whole), 1)
    return out.astype(np.bool_)


def _distance(there: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(256, 256) pixels to the nearest that is there; very far where none is."""
    if not there.any():
        return np.full(there.shape, np.inf, np.float32)
    return np.asarray(cv2.distanceTransform((~there).astype(np.uint8), cv2.DIST_L2, 3), np.float32)


def _without_holes(mask: NDArray[np.bool_], *, open_below: bool) -> NDArray[np.bool_]:
    """The mask with what it encloses; the picture's lower border closes a hole where it cuts the person off."""
    border = np.pad(~mask, ((1, int(open_below)), (1, 1)), constant_values=True).astype(np.uint8)
    _, parts = cv2.connectedComponents(border, connectivity=4)
    outside = parts == parts[0, 0]
    return np.asarray(~outside[1 : 1 + mask.shape[0], 1:-1])


def _short(mask: NDArray[np.bool_], box: NDArray[np.floating]) -> float:
    """By what share of its width or height a mask stays short of its box, at the side where that is most."""
    x, y, w, h = cv2.boundingRect(mask.view(np.uint8))
    if not w:
        return 1.0
    (x0, y0, x1, y1), wide, high = box, box[2] - box[0], box[3] - box[1]
    return float(max((x - x0) / wide, (x1 - x - w) / wide, (y - y0) / high, (y1 - y - h) / high))


def _more(
    image: Image,
    box: NDArray[np.float32],
    pose: Pose,
    chance: NDArray[np.float32],
    body: NDArray[np.bool_],
    head: NDArray[np.bool_],
    unit: float,
) -> NDArray[np.float32]:
    """(256, 256) what GrabCut adds within the box: joined to the mask, and near the body."""
    how = cv2.WARP_INVERSE_MAP
    crop = cv2.warpAffine(image, pose.matrix, (REGION, REGION), flags=cv2.INTER_LINEAR | how)
    inverse = cv2.invertAffineTransform(pose.matrix)
    corners = [inverse @ np.array([x, y, 1.0]) for x, y in ((0, 0), image.shape[1::-1], box[:2], box[2:])]
    picture, inner = (
        tuple(
            slice(max(int(a[i]), 0) // _HALF, max(int(np.ceil(min(b[i], REGION))), 0) // _HALF)
            for i in (1, 0)
        )
        for a, b in (corners[:2], corners[2:])
    )
    small = chance[::_HALF, ::_HALF]
    labels = np.full(small.shape, cv2.GC_BGD, np.uint8)
    labels[inner] = np.where(small[inner] > _ON, cv2.GC_PR_FGD, cv2.GC_PR_BGD)
    labels[small > _SURE] = cv2.GC_FGD
    seen = np.ascontiguousarray(labels[picture])
    more = np.zeros(small.shape, np.uint8)
    kinds = np.unique(seen)
    if cv2.GC_FGD in kinds and {cv2.GC_BGD, cv2.GC_PR_BGD} & set(kinds.tolist()):
        cv2.setRNGSeed(0)  # its clusters begin at random
        pixels = np.ascontiguousarray(crop[::_HALF, ::_HALF][picture])
        models = np.zeros((1, 65)), np.zeros((1, 65))
        cv2.grabCut(pixels, seen, (0, 0, 1, 1), models[0], models[1], 1, cv2.GC_INIT_WITH_MASK)
        more[picture] = (seen == cv2.GC_FGD) | (seen == cv2.GC_PR_FGD)
    _, parts = cv2.connectedComponents(np.maximum(more, (small > _ON).astype(np.uint8)))
    joined = np.isin(parts, np.setdiff1d(parts[small > _ON], 0))
    near = _distance(body | (chance > _SURE)) < _REACH * unit
    near &= _distance(body) <= _distance(head)  # the network's own outline of heads is better
    more &= (joined & near[::_HALF, ::_HALF]).astype(np.uint8)
    return np.asarray(cv2.resize(more.astype(np.float32), (REGION, REGION), interpolation=cv2.INTER_LINEAR))
