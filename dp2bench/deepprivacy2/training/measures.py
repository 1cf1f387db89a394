"""How good a generator's fillings are while it is trained: close to pictures as a set, and different from each other."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from dp2bench.metrics.features import EfficientNetFeatures
from dp2bench.metrics.quality import kernel_inception_distance

COLUMNS = ("kd_efficientnet", "diversity")
LONGEST = 144
"""Crops are enlarged until their longer side has as many pixels: ImageNet's features say little about smaller pictures."""


def measure(real: NDArray[np.uint8], made: Sequence[NDArray[np.uint8]]) -> tuple[float, float]:
    """Kernel distance between real and synthesised crops, and how far two fillings of the same hole are apart.

    The kernel distance is KID's formula on EfficientNet-Lite0's features (0 is best; no KID, and lenient with generators whose
    discriminator looks through the same network). The diversity is the mean perceptual distance of `EfficientNetFeatures`
    between the first two fillings.

    Args:
        real: (N, h, w, 3) RGB.
        made: two or more of the same shape, by different seeds.

    """
    network = EfficientNetFeatures()
    scale = max(1, round(LONGEST / max(real.shape[1:3])))
    originals, first, second = (_enlarged(p, scale) for p in (real, made[0], made[1]))
    kernel = kernel_inception_distance(network.features(originals), network.features(first), subsets=1)
    return kernel, float(network.distances(first, second).mean())


def _enlarged(pictures: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    if scale == 1:
        return pictures
    h, w = pictures.shape[1:3]
    return np.stack(
        [cv2.resize(p, (w * scale, h * scale), interpolation=cv2.INTER_CUBIC) for p in pictures]
    ).astype(np.uint8)
