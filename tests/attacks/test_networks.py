"""The features that attackers share: kept by content, and outlines that are those of the people."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dp2bench.attacks.networks import OUTLINES, extractor
from dp2bench.attacks.silhouette import reduced
from dp2bench.core.errors import Dp2benchError
from dp2bench.datasets.passersby.reid import PassersbyReID


@pytest.fixture(scope="module")
def crops(rendered_cache):
    """Twelve rendered people, and their masks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DP2BENCH_CACHE", str(rendered_cache))
        torch.set_num_threads(1)
        dataset = PassersbyReID("smoke")
        samples = dataset.samples("gallery")[:12]
        return np.stack([dataset.read(s) for s in samples]), np.stack(
            [dataset.people(s).masks[0] for s in samples]
        )


def test_outlines_are_those_of_the_people_and_kept_by_content(crops, tmp_path):
    pictures, masks = crops
    extract = extractor(tmp_path, threads=1)
    seen = extract(OUTLINES, pictures)
    assert seen.shape == (12, 1152)
    truth = reduced(masks) > 0.5
    overlap = ((seen > 0.5) & truth).sum(1) / ((seen > 0.5) | truth).sum(1)
    assert np.median(overlap) > 0.6
    (kept,) = tmp_path.glob("features-*.npy")
    np.save(kept, seen + 1)  # what is kept is what is given
    np.testing.assert_array_equal(extract(OUTLINES, pictures), seen + 1)


def test_other_networks_are_named(tmp_path):
    with pytest.raises(Dp2benchError, match="no network 'vgg'"):
        extractor(tmp_path)("vgg", np.zeros((1, 8, 8, 3), np.uint8))
