"""A version of Passersby is its pixels and labels: what was drawn when it was fixed is drawn on every machine.

After a change that is meant: raise ``VERSION`` and run ``python tests/datasets/test_passersby_version.py``, which writes the new file.
"""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from dp2bench.datasets.passersby import (
    cityscapes,
    coco,
    fdf_crops,
    fdh_crops,
    portraits,
    reid_pictures,
    street,
)
from dp2bench.datasets.passersby.making import VERSION

FIXED = Path(__file__).resolve().parents[1] / "data" / f"passersby-{VERSION}.npz"


def digest(*labels):
    whole = hashlib.sha256()
    for array in labels:
        whole.update(np.ascontiguousarray(array).tobytes())
    return np.array(whole.hexdigest())


def drawn():
    """Of each dataset a picture, of the large ones every 8th pixel, and a hash of its labels."""
    out = {}
    shot = reid_pictures.plan("mini")[3][5]
    picture, seen = reid_pictures.shoot(shot)
    out["reid"] = picture
    out["reid_labels"] = digest(
        *(a for s in seen for a in (s.box, s.surface, s.keypoints.astype(np.float32)))
    )
    crop = fdh_crops.shoot(portraits.plan(fdh_crops.SIZES["mini"])[4])
    out["fdh"] = crop.image
    out["fdh_labels"] = digest(crop.hole, crop.vertices, crop.person, crop.keypoints)
    crop = fdf_crops.shoot(portraits.plan(fdf_crops.SIZES["mini"])[0])
    out["fdf"] = crop.image[::2, ::2]
    out["fdf_labels"] = digest(crop.box, crop.keypoints)
    for name, module in (("coco", coco), ("cityscapes", cityscapes)):
        shot = module.Shot("val", 1, 0)
        view = module.shoot(shot, street.Cast(f"{name}-val", 0, module.CAST))[0]
        out[name] = view.picture[::8, ::8]
        points = [s.keypoints.astype(np.float32) for s in view.seen]
        out[f"{name}_labels"] = digest(view.labels, view.things, *(s.surface for s in view.seen), *points)
    return out


@pytest.fixture(scope="module")
def both():
    with np.load(FIXED, allow_pickle=False) as fixed:
        return drawn(), dict(fixed)


@pytest.mark.parametrize("name", ["reid", "fdh", "fdf", "coco", "cityscapes"])
def test_labels_are_the_same_bits_and_pictures_within_a_grey_level(both, name):
    now, fixed = both
    change = "pixels or labels changed: raise VERSION and write the file anew (see above)"
    assert str(now[f"{name}_labels"]) == str(fixed[f"{name}_labels"]), change
    assert np.abs(now[name].astype(int) - fixed[name]).max() <= 1, change


if __name__ == "__main__":
    FIXED.parent.mkdir(exist_ok=True)
    np.savez_compressed(FIXED, **drawn())
    print(FIXED, FIXED.stat().st_size)
