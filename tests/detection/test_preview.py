"""Pictures to look at: nobody covered by words, who is left is seen, no panorama fills the memory."""

import os

import numpy as np

from dp2bench.core.types import People
from dp2bench.detection.preview import LONGEST, before_and_after, draw_frame, draw_people, preview_path


def _people(n, size, masks=False):
    h, w = size
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0, w * 0.95, n), rng.uniform(0, h * 0.8, n)
    boxes = np.stack([x, y, x + w * 0.04, y + h * 0.15], 1)
    drawn = None
    if masks:
        drawn = np.zeros((n, h, w), np.bool_)
        for m, (x0, y0, x1, y1) in zip(drawn, boxes.astype(int), strict=True):
            m[y0 + 3 : y1 - 3, x0 + 3 : x1 - 3] = True
    return People.of(boxes, masks=drawn, scores=np.linspace(0.3, 1, n))


def test_people_are_drawn_and_the_picture_is_left_alone():
    image = np.full((200, 150, 3), 90, np.uint8)
    mask = np.zeros((2, 200, 150), np.bool_)
    mask[0, 100:170, 30:80] = True
    people = People.of(
        [[20, 40, 90, 180], [-5, -5, 30, 20]],
        masks=mask,
        faces=np.array([[40, 45, 60, 70], [np.nan] * 4], np.float32),
        keypoints=np.full((2, 17, 3), 1.5, np.float32),
        track_ids=np.array([3, 8]),
    )
    out = draw_people(image, people)
    assert (image == 90).all()
    assert (out != 90).any(2).sum() > 300
    assert (out[45, 41:59] == 255).all()
    assert draw_frame(image, people).shape == image.shape


def test_a_crowd_is_still_seen():
    """Boxes and numbers of 80 people leave nine tenths of the picture as it was, and the legend lists them."""
    image = np.full((600, 900, 3), 90, np.uint8)
    out = draw_people(image, _people(80, (600, 900)))
    assert out.shape[0] > 600
    assert out.shape[1] == 900
    assert (out[:600] == 90).all(2).mean() > 0.85


def test_numbers_stand_outside_of_people():
    image = np.full((300, 300, 3), 90, np.uint8)
    out = draw_people(image, People.of([[100, 100, 200, 200]]))
    assert (out[101:199, 101:199] == 90).all()
    assert (out[80:100, 100:112] == 0).all(2).any()


def test_a_panorama_is_bounded():
    image = np.zeros((700, 30_000, 3), np.uint8)
    people = People.of([[15_000, 100, 16_000, 600]])
    out = draw_people(image, people)
    assert out.shape[1] == LONGEST
    both = before_and_after(image, people, image, {})
    assert both.shape[1] == LONGEST, "panoramas lie above each other"
    tall = before_and_after(image.swapaxes(0, 1), people, image.swapaxes(0, 1), {})
    assert max(tall.shape) < 2 * LONGEST


def test_who_was_not_replaced_is_drawn_in_the_after_picture():
    image = np.full((300, 400, 3), 90, np.uint8)
    people = People.of([[50, 50, 120, 250], [200, 50, 280, 250]])
    without = before_and_after(image, people, image, {})
    out = before_and_after(image, people, image, {1: "no face found"})
    words = out[300:].astype(int)
    assert ((words[..., 0] > 150) & (words[..., 1] < 90)).sum() > 20, "the reason is in the legend"
    red = (out[:300, 400:] == (255, 40, 40)).all(2)
    assert red[50:250, 200].all()
    assert not red[:, :150].any()
    assert (without[:300, 400:] == 90).all()


def test_names_of_previews_are_short_enough_and_differ(tmp_path):
    ids = ["a" * 250 + ".jpg", "a" * 250 + ".png", "sub/" + "ü" * 120 + ".jpg", "x.jpg"]
    paths = [preview_path(tmp_path, i) for i in ids]
    assert len(set(paths)) == len(ids)
    assert all(len(os.fsencode(p.name)) <= 255 for p in paths)
    assert paths[-1].name == "x.jpg.jpg"
    assert paths[2].parent.name == "sub"
