"""A version of a Passersby dataset is its pixels and labels: what was drawn when it was fixed is drawn on every machine.

After a change that is meant: raise the recipe's ``version`` and run ``python tests/datasets/test_passersby_version.py``, which writes the
files of versions that have none. Delete the file of the version before.
"""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from dp2bench.datasets.passersby import cityscapes, coco, video
from dp2bench.datasets.passersby import fdf_builder as fdf_crops
from dp2bench.datasets.passersby import fdh_builder as fdh_crops
from dp2bench.datasets.passersby import reid_builder as reid_pictures
from dp2bench.datasets.passersby.rendering import portraits, street

DATA = Path(__file__).resolve().parents[1] / "data"


def digest(*labels):
    whole = hashlib.sha256()
    for array in labels:
        whole.update(np.ascontiguousarray(array).tobytes())
    return np.array(whole.hexdigest())


def people(seen):
    return [a for s in seen for a in (s.box, s.surface, s.keypoints.astype(np.float32))]


def reid():
    plan = reid_pictures.plan("mini")
    shots = [plan[3][5], *(s for s in plan[0] if s.camera in reid_pictures.jacket_off(s.stream, s.person))][
        :2
    ]
    pictures, seen = zip(*map(reid_pictures.shoot, shots), strict=True)
    return np.stack(pictures), digest(*(a for some in seen for a in people(some)))


def fdh():
    crop = fdh_crops.shoot(portraits.plan(fdh_crops.SIZES["mini"])[4])
    return crop.image, digest(crop.hole, crop.vertices, crop.person, crop.keypoints)


def fdf():
    crop = fdf_crops.shoot(portraits.plan(fdf_crops.SIZES["mini"])[0])
    return crop.image[::2, ::2], digest(crop.box, crop.keypoints)


def scene(name, module):
    view = module.shoot(module.Shot("val", 1, 0), street.Cast(f"{name}-val", 0, module.CAST))[0]
    points = [s.keypoints.astype(np.float32) for s in view.seen]
    labels = digest(view.labels, view.things, *(s.surface for s in view.seen), *points)
    return view.picture[::8, ::8], labels


def clip():
    view, who = video.Set(0, video.SIZES["smoke"]).film(7)
    return view.picture[::4, ::4], digest(*people(view.seen), np.array([who[s.actor] for s in view.seen]))


DRAWN = {
    reid_pictures.ReID: reid,
    fdh_crops.FDHCropsRecipe: fdh,
    fdf_crops.FDFCropsRecipe: fdf,
    coco.CocoRecipe: lambda: scene("coco", coco),
    cityscapes.CityscapesRecipe: lambda: scene("cityscapes", cityscapes),
    video.VideoRecipe: clip,
}
"""Of each dataset a picture or two, of the large ones every 4th or 8th pixel, and a hash of the labels."""


def fixed(recipe):
    return DATA / f"{recipe.name}-{recipe.version}.npz"


@pytest.mark.parametrize("recipe", DRAWN, ids=lambda recipe: recipe.name)
def test_labels_are_the_same_bits_and_pictures_within_a_grey_level(recipe):
    picture, labels = DRAWN[recipe]()
    change = (
        f"pixels or labels of {recipe.name} changed: raise its version and write the file anew (see above)"
    )
    with np.load(fixed(recipe), allow_pickle=False) as file:
        assert str(labels) == str(file["labels"]), change
        assert np.abs(picture.astype(int) - file["picture"]).max() <= 1, change


if __name__ == "__main__":
    DATA.mkdir(exist_ok=True)
    for recipe, draw in DRAWN.items():
        path = fixed(recipe)
        if not path.exists():
            picture, labels = draw()
            np.savez_compressed(path, picture=picture, labels=labels)
            print(path, path.stat().st_size)
