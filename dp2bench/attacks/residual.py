"""What a mask leaves: colours at its rim, colours inside it, and the background."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from dp2bench.attacks.learning import Rows, normalized
from dp2bench.attacks.retrieval import ADAPTED, PERMUTATIONS, RetrievalAttack
from dp2bench.core.attacks import Attack, AttackMeta, Measurement, Scenario, Split, Version
from dp2bench.core.contracts import RunContext
from dp2bench.core.seeds import derive_seed

BAND = 3.0
"""Width of a band around the mask in pixels."""
ROWS, FAR = 12, 8.0
"""Parts of a band from head to foot; pixels from the mask from which everything is background."""


def signed_distance(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(H, W) pixels to the mask's rim, negative inside; large everywhere where the mask is empty."""
    if not mask.any():
        return np.full(mask.shape, 1e6, np.float32)
    outside = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)
    inside = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
    return np.asarray(outside - inside, np.float32)


def banded_colours(
    picture: NDArray[np.uint8], mask: NDArray[np.bool_], bands: tuple[tuple[float, float], ...]
) -> NDArray[np.float32]:
    """(bands * ROWS * 3,): mean colour of each band by height between head and foot; a part without pixels has the band's mean.

    Colours alone: how many pixels a part has, which is shape, is not in it.
    """
    rows = np.flatnonzero(mask.any(1))
    if not len(rows):
        return np.zeros(len(bands) * ROWS * 3, np.float32)
    distance = signed_distance(mask)
    part = np.clip((np.arange(len(mask)) - rows[0]) * ROWS // max(int(np.ptp(rows)) + 1, 1), 0, ROWS - 1)
    parts = np.broadcast_to(part[:, None], mask.shape)
    out = []
    for low, high in bands:
        here = (distance > low) & (distance <= high)
        colours = picture[here].astype(np.float32)
        if not len(colours):
            out.append(np.zeros((ROWS, 3), np.float32))
            continue
        count = np.bincount(parts[here], minlength=ROWS)[:, None]
        sums = np.stack([np.bincount(parts[here], c, minlength=ROWS) for c in colours.T], 1)
        out.append(np.where(count > 0, sums / np.maximum(count, 1), colours.mean(0)).astype(np.float32))
    return np.concatenate(out).ravel()


class _Colours(RetrievalAttack):
    """Mean colours of bands around the rim of the true mask."""

    bands: ClassVar[tuple[tuple[float, float], ...]]
    scenarios = (*ADAPTED, Scenario("both", "clear", "anonymized"))

    def describe(self, split: Split, version: Version) -> Rows:
        """See `RetrievalAttack.describe`."""
        masks = split.clear.masks
        assert masks is not None
        pictures = split.view(version).pictures
        rows: Rows = np.stack(
            [banded_colours(p, m, self.bands) for p, m in zip(pictures, masks, strict=True)]
        )
        return np.asarray(rows / np.float32(255), np.float32)


class Rim(_Colours):
    """Bands of three pixels at the rim of the person's mask, one inside and two outside: what a mask that is too small or a soft edge leaves."""

    meta: ClassVar[AttackMeta] = AttackMeta(
        name="rim",
        title="colours at the rim",
        claim="Colours of the person bleed past the mask.",
        needs=frozenset({"masks"}),
        positive="small-mask",
        negative="large-mask",
    )
    bands = ((-BAND, 0.0), (0.0, BAND), (BAND, 2 * BAND))


class Inside(_Colours):
    """The person's own pixels, as mean colours from head to foot: finds a fill that takes its colours from them."""

    meta: ClassVar[AttackMeta] = AttackMeta(
        name="inside",
        title="colours inside the mask",
        claim="Colours of the fill follow those of the person it replaced.",
        needs=frozenset({"masks"}),
        positive="colour-leak",
        negative="mask-out",
    )
    bands = ((-1e6, -BAND), (-BAND, 0.0))


class Tracing(Attack):
    """Whether an output's colours lead back to the very picture that it was made from, among all pictures of its camera.

    Nobody is found by it, and nothing is learned: it sees small leaks, as every picture is a test. The score is the share of other
    originals whose colours, head to foot, are less like the output's than its own original's are; 0.5 by chance. The floor deals out
    each camera's originals anew. Units of train people are named ``train/``, and their identities are negative.
    """

    meta: ClassVar[AttackMeta] = AttackMeta(
        name="tracing",
        title="outputs traced to their originals",
        claim="The fill keeps something of the picture that it replaced.",
        main_metric="traced",
        needs=frozenset({"masks"}),
        positive="colour-leak",
        negative="mask-out",
        identifies=False,
    )

    def fit(self, train: Split, context: RunContext) -> None:
        """The train split is looked at with the others."""
        self.train = train

    def score(self, query: Split, gallery: Split, context: RunContext) -> Sequence[Measurement]:
        """See `Attack.score`."""
        random = np.random.default_rng(derive_seed(context.seed, "tracing"))
        units: dict[str, float] = {}
        clusters: dict[str, int] = {}
        nulls: list[NDArray[np.float64]] = []
        clear: list[NDArray[np.float64]] = []
        for split, prefix in ((self.train, "train/"), (query, ""), (gallery, "")):
            view = split.clear
            assert view.masks is not None
            rows = {v: _inside(split, v) for v in ("clear", "anonymized")}
            for camera in np.unique(view.cameras):
                seen = (view.cameras == camera) & (view.identities > 0) & view.masks.any((1, 2))
                here = np.flatnonzero(seen)
                if len(here) < 2:
                    continue
                less = _less_alike(rows["anonymized"][here], rows["clear"][here])
                at = np.arange(len(here))
                names = [f"{prefix}{view.names[i]}" for i in here]
                people = -1 - view.identities[here] if prefix else view.identities[here]
                units |= dict(zip(names, less[at, at].tolist(), strict=True))
                clusters |= dict(zip(names, people.tolist(), strict=True))
                nulls.append(np.array([less[at, random.permutation(at)].sum() for _ in range(PERMUTATIONS)]))
                clear.append(np.diag(_less_alike(rows["clear"][here], rows["clear"][here])))
        return [
            Measurement(
                metric=self.meta.main_metric,
                value=float(np.mean(list(units.values()))),
                units=units,
                clusters=clusters,
                null=np.sum(nulls, 0) / len(units),
                chance=0.5,
                clear=float(np.concatenate(clear).mean()),
            )
        ]


def _inside(split: Split, version: Version) -> Rows:
    """As `Inside` sees them, which has looked at them already."""
    return split.view(version).rows(
        f"{Inside.meta.name} {version}", lambda: Inside().describe(split, version)
    )


def _less_alike(outputs: Rows, originals: Rows) -> NDArray[np.float64]:
    """(N, N): of the originals other than column j's, the share that is less like output i than that one; ties count half."""
    a, b = (normalized(rows - rows.mean(0)) for rows in (outputs, originals))
    alike = np.round(a.astype(np.float64) @ b.T.astype(np.float64), 9)
    ordered = np.sort(alike, 1)
    below = np.stack([np.searchsorted(o, x, "left") for o, x in zip(ordered, alike, strict=True)])
    above = np.stack([np.searchsorted(o, x, "right") for o, x in zip(ordered, alike, strict=True)])
    out: NDArray[np.float64] = (below + (above - below - 1) / 2) / (len(alike) - 1)
    return out


class Background(RetrievalAttack):
    """Mean colours of what lies far from the person, left and right, from top to bottom: the place links pictures where people keep to theirs."""

    meta: ClassVar[AttackMeta] = AttackMeta(
        name="background",
        title="background",
        claim="The background, which no method replaces, tells who was there.",
        needs=frozenset({"masks"}),
        positive="own-place",
        negative="shuffled-backgrounds",
    )

    def describe(self, split: Split, version: Version) -> Rows:
        """See `RetrievalAttack.describe`."""
        masks = split.clear.masks
        assert masks is not None
        pictures = split.view(version).pictures
        return np.stack([_sides(p, signed_distance(m) > FAR) for p, m in zip(pictures, masks, strict=True)])


def _sides(picture: NDArray[np.uint8], far: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(2 * ROWS * 3,): mean colour of the far pixels by side and height, 0..1; the mean of all where a part has none."""
    usual = picture[far].mean(0) if far.any() else np.zeros(3)
    middle = picture.shape[1] // 2
    out = []
    for side in (slice(None, middle), slice(middle, None)):
        for part in np.array_split(np.arange(len(picture)), ROWS):
            here = far[part, side]
            out.append(picture[part, side][here].mean(0) if here.any() else usual)
    return (np.concatenate(out) / 255).astype(np.float32)
