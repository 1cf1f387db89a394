"""A version of a Passersby dataset is its pixels and labels: what was drawn when it was fixed is drawn on every machine.

After a change that is meant: raise the builder's ``version`` and run ``python tests/datasets/test_passersby_version.py``, which writes the
files of versions that have none. Delete the file of the version before.
"""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from dp2bench.datasets.passersby import (
    cityscapes_builder,
    coco_builder,
    crop_plan,
    fdf_builder,
    fdh_builder,
    reid_builder,
    scene_builder,
    video_builder,
)

DATA = Path(__file__).resolve().parents[1] / "data"


def digest(*labels):
    whole = hashlib.sha256()
    for array in labels:
        whole.update(np.ascontiguousarray(array).tobytes())
    return np.array(whole.hexdigest())


def people(seen):
    return [a for s in seen for a in (s.box, s.surface, s.keypoints.astype(np.float32))]


def reid():
    plan = reid_builder.ReidBuilder().plan("mini")
    specs = [plan[3][5], *(s for s in plan[0] if s.camera in reid_builder.jacket_off(s.stream, s.person))][:2]
    pictures, seen = zip(*map(reid_builder.render_sample, specs), strict=True)
    return np.stack(pictures), digest(*(a for some in seen for a in people(some)))


def fdh():
    crop = fdh_builder.render_sample(crop_plan.plan(fdh_builder.SIZES["mini"])[4])
    return crop.image, digest(crop.hole, crop.vertices, crop.person, crop.keypoints)


def fdf():
    crop = fdf_builder.render_sample(crop_plan.plan(fdf_builder.SIZES["mini"])[0])
    return crop.image[::2, ::2], digest(crop.box, crop.keypoints)


def scene(module, builder):
    spec = scene_builder.SampleSpec("val", 1, 0)
    view = module.render_sample(spec, builder.pool(spec))[0]
    points = [s.keypoints.astype(np.float32) for s in view.people]
    labels = digest(view.labels, view.things, *(s.surface for s in view.people), *points)
    return view.picture[::8, ::8], labels


def clip():
    view, chosen = video_builder.ClipScene(0, video_builder.SIZES["smoke"]).render_frame(7)
    numbers = np.array([chosen[s.index] for s in view.people])
    return view.picture[::4, ::4], digest(*people(view.people), numbers)


DRAWN = {
    reid_builder.ReidBuilder: reid,
    fdh_builder.FDHBuilder: fdh,
    fdf_builder.FDFBuilder: fdf,
    coco_builder.CocoBuilder: lambda: scene(coco_builder, coco_builder.CocoBuilder()),
    cityscapes_builder.CityscapesBuilder: lambda: scene(
        cityscapes_builder, cityscapes_builder.CityscapesBuilder()
    ),
    video_builder.VideoBuilder: clip,
}
"""Of each dataset a picture or two, of the large ones every 4th or 8th pixel, and a hash of the labels."""


def fixed(builder):
    return DATA / f"{builder.name}-{builder.version}.npz"


@pytest.mark.parametrize("builder", DRAWN, ids=lambda builder: builder.name)
def test_labels_are_the_same_bits_and_pictures_within_a_grey_level(builder):
    picture, labels = DRAWN[builder]()
    change = (
        f"pixels or labels of {builder.name} changed: raise its version and write the file anew (see above)"
    )
    with np.load(fixed(builder), allow_pickle=False) as file:
        assert str(labels) == str(file["labels"]), change
        assert np.abs(picture.astype(int) - file["picture"]).max() <= 1, change


if __name__ == "__main__":
    DATA.mkdir(exist_ok=True)
    for builder, draw in DRAWN.items():
        path = fixed(builder)
        if not path.exists():
            picture, labels = draw()
            np.savez_compressed(path, picture=picture, labels=labels)
            print(path, path.stat().st_size)
