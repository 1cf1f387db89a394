"""What an attack must find, and what it must not: pictures made for the purpose."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from dp2bench.core.attacks import Split

Control = Callable[[Split, np.random.Generator], Split]
"""A split whose anonymized pictures are the control's; row by row, from the clear ones."""
GREY = 127


def _masks(split: Split) -> NDArray[np.bool_]:
    masks = split.clear.masks
    if masks is None:
        raise ValueError("this control needs masks")
    return masks


def with_pictures(split: Split, pictures: NDArray[np.uint8]) -> Split:
    """The split, with other anonymized pictures."""
    view = replace(split.anonymized, pictures=pictures, _kept={}, _whole=None)
    return Split(split.clear, view)


def grown(masks: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    """(N, H, W) masks dilated by a disk, or eroded where ``pixels`` is negative."""
    size = 2 * abs(pixels) + 1
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    change = cv2.dilate if pixels > 0 else cv2.erode
    return np.stack([change(m.astype(np.uint8), disk) for m in masks]).astype(np.bool_)


def painted(split: Split, masks: NDArray[np.bool_]) -> Split:
    """Grey where ``masks`` are."""
    pictures = split.clear.pictures.copy()
    pictures[masks] = GREY
    return with_pictures(split, pictures)


def clear(split: Split, random: np.random.Generator) -> Split:
    """Nothing is anonymized."""
    return with_pictures(split, split.clear.pictures.copy())


def mask_out(split: Split, random: np.random.Generator) -> Split:
    """Grey over the true masks, which publishes the outline."""
    return painted(split, _masks(split))


def grey_box(split: Split, random: np.random.Generator) -> Split:
    """Grey over the box of each mask; its place and size are published."""
    boxes = np.zeros_like(_masks(split))
    for box, mask in zip(boxes, _masks(split), strict=True):
        if mask.any():
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            box[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
    return painted(split, boxes)


def grey_picture(split: Split, random: np.random.Generator) -> Split:
    """A box as large as the picture, with a little noise: nothing of anybody is left."""
    noise = random.integers(GREY - 4, GREY + 5, split.clear.pictures.shape)
    return with_pictures(split, noise.astype(np.uint8))


def small_mask(split: Split, random: np.random.Generator) -> Split:
    """Grey over masks that are three pixels too small."""
    return painted(split, grown(_masks(split), -3))


def large_mask(split: Split, random: np.random.Generator) -> Split:
    """Grey over masks that are six pixels too large."""
    return painted(split, grown(_masks(split), 6))


def colour_leak(split: Split, random: np.random.Generator, share: float = 0.6) -> Split:
    """Noise in the masks, with ``share`` of each person's true mean colour blended in."""
    pictures = split.clear.pictures.copy()
    for picture, mask in zip(pictures, _masks(split), strict=True):
        if mask.any():
            noise = random.integers(0, 256, (int(mask.sum()), 3))
            picture[mask] = ((1 - share) * noise + share * picture[mask].mean(0)).astype(np.uint8)
    return with_pictures(split, pictures)


def blurred(split: Split, random: np.random.Generator) -> Split:
    """Every picture, blurred (Gaussian, sigma 4)."""
    return with_pictures(split, np.stack([cv2.GaussianBlur(p, (0, 0), 4.0) for p in split.clear.pictures]))


def re_encoded(split: Split, random: np.random.Generator) -> Split:
    """Nothing is anonymized: clear pictures come from a JPEG file of quality 95, and were written as one again."""
    clear = replace(split.clear, pictures=_as_jpeg(split.clear.pictures), _kept={}, _whole=None)
    return with_pictures(Split(clear, split.anonymized), _as_jpeg(clear.pictures))


def _as_jpeg(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    written = (cv2.imencode(".jpg", p, [cv2.IMWRITE_JPEG_QUALITY, 95])[1] for p in pictures)
    return np.stack([np.asarray(cv2.imdecode(w, cv2.IMREAD_COLOR), np.uint8) for w in written])


def _looks(split: Split, looks: Iterable[np.random.Generator]) -> Split:
    """Every picture is a pattern of a dozen random colours, and noise."""
    pictures = np.empty_like(split.clear.pictures)
    for picture, look in zip(pictures, looks, strict=True):
        colours = look.integers(40, 216, (5, 3, 3)).astype(np.uint8)
        pattern = cv2.resize(colours, picture.shape[1::-1], interpolation=cv2.INTER_NEAREST)
        picture[...] = (pattern + look.normal(0, 8, picture.shape)).clip(0, 255)
    return with_pictures(split, pictures)


def own_look(split: Split, random: np.random.Generator) -> Split:
    """Everybody is given a random look that they keep in all pictures, as a generator does whose seed is the person's."""
    return _looks(split, (np.random.default_rng(int(who) + 20_000) for who in split.clear.identities))


def fresh_looks(split: Split, random: np.random.Generator) -> Split:
    """Every picture shows a random look of its own."""
    return _looks(split, (random for _ in split.clear.names))


def swap(split: Split, random: np.random.Generator) -> Split:
    """Every picture is another person's clear one."""
    order = random.permutation(len(split.clear))
    who = split.clear.identities
    for i in np.flatnonzero(who[order] == who):
        j = random.choice(np.flatnonzero((who[order] != who[i]) & (who != who[order[i]])))
        order[i], order[j] = order[j], order[i]
    return with_pictures(split, split.clear.pictures[order])


def own_place(split: Split, random: np.random.Generator) -> Split:
    """Everybody stands before a background of their own, and their pixels are grey."""
    pictures = np.empty_like(split.clear.pictures)
    for picture, person in zip(pictures, split.clear.identities, strict=True):
        place = np.random.default_rng(int(person) + 10_000).integers(0, 256, (4, 2, 3)).astype(np.uint8)
        picture[...] = cv2.resize(place, picture.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    pictures[_masks(split)] = GREY
    return with_pictures(split, pictures)


def shuffled_backgrounds(split: Split, random: np.random.Generator) -> Split:
    """Everybody, grey, stands before the blurred background of any other picture of the camera."""
    pictures = np.empty_like(split.clear.pictures)
    for camera in np.unique(split.clear.cameras):
        rows = np.flatnonzero(split.clear.cameras == camera)
        for row, other in zip(rows, random.permutation(rows), strict=True):
            source, mask = split.clear.pictures[other].copy(), _masks(split)[other]
            source[mask] = source[~mask].mean(0) if (~mask).any() else GREY
            pictures[row] = source
    pictures[_masks(split)] = GREY
    return with_pictures(split, pictures)


def one_skeleton(split: Split, random: np.random.Generator) -> Split:
    """Everybody has the same keypoints, but for a pixel of noise."""
    points = split.clear.keypoints
    if points is None:
        raise ValueError("this control needs keypoints")
    same = np.broadcast_to(points[:1], points.shape).copy()
    same[..., :2] += random.normal(0, 1, same[..., :2].shape)
    view = replace(split.clear, keypoints=same, _kept={}, _whole=None)
    return Split(view, replace(view))


CONTROLS: Mapping[str, Control] = {
    "blurred": blurred,
    "clear": clear,
    "colour-leak": colour_leak,
    "fresh-looks": fresh_looks,
    "grey-box": grey_box,
    "grey-picture": grey_picture,
    "large-mask": large_mask,
    "mask-out": mask_out,
    "one-skeleton": one_skeleton,
    "own-look": own_look,
    "own-place": own_place,
    "re-encoded": re_encoded,
    "shuffled-backgrounds": shuffled_backgrounds,
    "small-mask": small_mask,
    "swap": swap,
}


Splits = Mapping[str, Split]
"""``train``, ``query`` and ``gallery``."""


def overfitted(splits: Splits, random: np.random.Generator) -> dict[str, Split]:
    """A generator that gives back whom it learned from, a little blurred, and others a look of their own."""
    made = {name: fresh_looks(split, random) for name, split in splits.items()}
    blurred = np.stack([cv2.GaussianBlur(p, (0, 0), 1.0) for p in splits["train"].clear.pictures])
    return made | {"train": with_pictures(splits["train"], blurred)}


def memorized(splits: Splits, random: np.random.Generator) -> dict[str, Split]:
    """A generator that shows somebody of the train split, a little blurred, in place of everybody."""
    known = splits["train"].clear.pictures
    return {
        name: with_pictures(
            split,
            np.stack(
                [cv2.GaussianBlur(known[random.integers(len(known))], (0, 0), 1.0) for _ in split.clear.names]
            ),
        )
        for name, split in splits.items()
    }


def shuffled_labels(splits: Splits, random: np.random.Generator) -> dict[str, Split]:
    """A large part of everybody's colour is left, but the names of the train pictures are shuffled: nothing can be learned from them."""
    made = {name: colour_leak(split, random) for name, split in splits.items()}
    order = random.permutation(len(made["train"].clear))
    train = Split(*(replace(v, identities=v.identities[order], _kept={}, _whole=None) for v in made["train"]))
    return made | {"train": train}


CONTROLS_OF_ALL: Mapping[str, Callable[[Splits, np.random.Generator], dict[str, Split]]] = {
    "memorized": memorized,
    "overfitted": overfitted,
    "shuffled-labels": shuffled_labels,
}
"""Those in which the splits know of each other."""
NAMES = frozenset({*CONTROLS, *CONTROLS_OF_ALL})


def under(name: str, splits: Splits, random: np.random.Generator) -> dict[str, Split]:
    """All splits as a control makes them."""
    if name in CONTROLS_OF_ALL:
        return CONTROLS_OF_ALL[name](splits, random)
    return {part: CONTROLS[name](split, random) for part, split in splits.items()}
