from dataclasses import dataclass

import numpy as np
import pytest

from dp2bench.core.contracts import Inpainter, InpainterTraits, MethodMeta
from dp2bench.core.errors import Dp2benchError
from dp2bench.core.seeds import Seed, derive_seed, generator
from dp2bench.core.types import People, SurfaceMap
from dp2bench.inpainting import crops as cutting
from dp2bench.inpainting import stitching
from dp2bench.inpainting.anonymizer import InpaintingAnonymizer

SEED = Seed(7)


@dataclass
class Probe(Inpainter):
    """Fills with seeded noise plus the mean of what surrounds the mask, so that order and context show."""

    meta: MethodMeta
    crop_size: tuple[int, int] = (72, 40)

    def __post_init__(self):
        self.calls = []

    def inpaint(self, crops, *, seeds):
        self.calls.append((crops, list(seeds)))
        out = np.empty_like(crops.images)
        for i, seed in enumerate(seeds):
            mean = crops.images[i].mean(axis=(0, 1))
            out[i] = (mean + generator(seed).integers(0, 100, crops.images[i].shape)).clip(0, 255)
        return out


def probe(scope="body", uses_masked_pixels=False, **given):
    size = given.pop("crop_size", (72, 40))
    fill = Probe(
        MethodMeta("probe", scope=scope, deterministic=False, uses_masked_pixels=uses_masked_pixels), size
    )
    return fill, InpaintingAnonymizer(fill, **given)


def scene(n=6, size=(300, 400), seed=0):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (*size, 3), np.uint8)
    masks = np.zeros((n, *size), bool)
    boxes = []
    yy, xx = np.mgrid[: size[0], : size[1]]
    for i in range(n):
        cx, cy = rng.integers(0, size[1]), rng.integers(0, size[0])
        rx, ry = rng.integers(12, 30), rng.integers(25, 70)
        masks[i] = ((xx - cx) / rx) ** 2 + ((yy - cy) / ry) ** 2 < 1
        boxes.append([cx - rx, cy - ry, cx + rx, cy + ry])
    return image, People.of(boxes, masks=masks)


@pytest.mark.parametrize("pending", ["masked", "visible"])
@pytest.mark.parametrize("uses_masked_pixels", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_batches_equal_one_by_one(seed, uses_masked_pixels, pending, monkeypatch):
    image, people = scene(12, seed=seed)
    fill, many = probe(uses_masked_pixels=uses_masked_pixels, pending=pending)
    got = many.anonymize(image, people, seed=SEED)
    assert max(len(seeds) for _, seeds in fill.calls) > 1
    monkeypatch.setattr(stitching, "non_overlapping_batches", lambda regions: [[r] for r in regions])
    one = probe(uses_masked_pixels=uses_masked_pixels, pending=pending)[1].anonymize(image, people, seed=SEED)
    assert np.array_equal(got.image, one.image)
    assert np.array_equal(got.changed, one.changed)


def test_order_is_ascending_pixels_and_overlaps_keep_it():
    _, people = scene(12)
    regions = cutting.plan_crops(people, (300, 400), "body", (72, 40)).regions
    assert [r.pixels for r in regions] == sorted(people.masks[r.person].sum() for r in regions)
    layers = stitching.non_overlapping_batches(regions)
    place = {r.person: k for k, layer in enumerate(layers) for r in layer}
    for i, a in enumerate(regions):
        for b in regions[i + 1 :]:
            overlap = max(a.window[0], b.window[0]) < min(a.window[2], b.window[2]) and max(
                a.window[1], b.window[1]
            ) < min(a.window[3], b.window[3])
            assert not overlap or place[a.person] < place[b.person]


@pytest.mark.parametrize("scope", ["body", "face"])
@pytest.mark.parametrize("crop_size", [(72, 40), (288, 160), (24, 16)])
def test_nothing_under_a_mask_reaches_the_output(scope, crop_size):
    image, people = scene(8)
    people = People.of(people.boxes, masks=people.masks, faces=people.boxes * 0.9)
    got = probe(scope, crop_size=crop_size)[1].anonymize(image, people, seed=SEED)
    other = image.copy()
    other[got.changed] = np.random.default_rng(5).integers(0, 256, (got.changed.sum(), 3))
    again = probe(scope, crop_size=crop_size)[1].anonymize(other, people, seed=SEED)
    assert np.array_equal(got.image, again.image)
    assert np.array_equal(got.image[~got.changed], image[~got.changed])


def test_with_pending_visible_a_mask_hides_its_own_person():
    image, people = scene(1)
    run = lambda picture: probe(pending="visible")[1].anonymize(picture, people, seed=SEED)  # noqa: E731
    got = run(image)
    other = image.copy()
    other[got.changed] = 3
    assert np.array_equal(got.image, run(other).image)


def test_crops_are_grey_under_their_masks_and_masks_stay_out_of_the_padding():
    image, people = scene(8)
    fill, method = probe()
    method.anonymize(image, people, seed=SEED)
    for crops, _ in fill.calls:
        assert (crops.images[crops.masks] == 127).all()
        assert not (crops.masks & crops.outside).any()


@pytest.mark.parametrize("crop_size", [(288, 160), (72, 40), (24, 16)])
def test_every_masked_pixel_is_replaced(crop_size):
    image, people = scene(3)
    masks = people.masks.copy()
    masks[0, ::7, ::11] = True  # specks far apart
    got = probe(crop_size=crop_size)[1].anonymize(image, People.of(people.boxes, masks=masks), seed=SEED)
    assert got.changed[masks.any(axis=0)].all()


def test_dilation_follows_the_published_radius():
    masks = np.zeros((1, 288, 160), bool)
    masks[0, 60:230, 60:100] = True
    region = cutting.plan_crops(
        People.of([[60, 60, 100, 230]], masks=masks), (288, 160), "body", (288, 160)
    ).regions[0]
    assert cutting.dilation_radius((288, 160)) == 4
    _, _, w, h = cutting.bounds(region.mask)
    scale = (region.box[3] - region.box[1]) / 288
    assert abs(w - (40 + 8 * scale)) <= 2
    assert abs(h - (170 + 8 * scale)) <= 2


def test_small_people_are_painted_or_reported():
    image = np.full((100, 100, 3), 200, np.uint8)
    people = People.of([[50, 50, 54, 60]])
    got = probe()[1].anonymize(image, people, seed=SEED)
    assert got.missed == ()
    assert (got.image[50:60, 50:54] == 127).all()
    left = probe(fallback="none")[1].anonymize(image, people, seed=SEED)
    assert left.missed == ((0, "crop smaller than 32x32 pixels"),)
    assert not left.changed.any()
    assert np.array_equal(left.image, image)


def test_faces_are_the_mask_and_those_without_are_missed():
    image = scene()[0]
    faces = np.array([[50.5, 60, 70, 85], [np.nan] * 4, [500, 10, 520, 30]], np.float32)
    got = probe("face")[1].anonymize(image, People.of([[40, 50, 90, 200]] * 3, faces=faces), seed=SEED)
    assert got.missed == ((1, "no face found"), (2, "outside the picture"))
    expected = np.zeros(image.shape[:2], bool)
    expected[60:85, 50:70] = True
    assert np.array_equal(got.changed, expected)


def test_seed_is_of_the_person_or_the_track():
    image, people = scene(3)
    fill, method = probe()
    method.anonymize(image, people, seed=SEED)
    assert {s for _, seeds in fill.calls for s in seeds} == {derive_seed(SEED, i) for i in range(3)}
    fill.calls.clear()
    tracked = People.of(people.boxes, masks=people.masks, track_ids=np.array([9, 4, 5]))
    method.anonymize(image, tracked, seed=SEED)
    assert {s for _, seeds in fill.calls for s in seeds} == {derive_seed(SEED, i) for i in (9, 4, 5)}


def test_nobody_outside_empty_and_many():
    image, _ = scene()
    none = probe()[1].anonymize(image, People.none(), seed=SEED)
    assert np.array_equal(none.image, image)
    assert not none.changed.any()
    masks = np.zeros((2, 300, 400), bool)
    got = probe()[1].anonymize(
        image, People.of([[500, 0, 600, 90], [20, 20, 60, 120]], masks=masks), seed=SEED
    )
    assert got.missed == ((0, "outside the picture"),)
    assert got.changed[20:120, 20:60].all()  # an empty mask fails closed: the box
    rng = np.random.default_rng(1)
    corner = rng.integers(-20, 380, (130, 2))
    crowd = People.of(np.concatenate([corner, corner + rng.integers(5, 90, (130, 2))], axis=1))
    got = probe()[1].anonymize(image, crowd, seed=SEED)
    for i, (x0, y0, x1, y1) in enumerate(crowd.boxes.astype(int)):
        if i not in {m.person for m in got.missed}:
            assert got.changed[max(0, y0) : max(0, y1), max(0, x0) : max(0, x1)].all()


def test_odd_boxes_and_one_pixel_picture():
    image = np.zeros((1, 1, 3), np.uint8)
    got = probe()[1].anonymize(image, People.of([[0, 0, 1, 1], [np.nan, 0, 1, 1], [1, 1, 0, 0]]), seed=SEED)
    assert got.changed.all()
    assert [m.person for m in got.missed] == [1, 2]
    with pytest.raises(Dp2benchError, match="2x2 pixels do not belong to one of 1x1"):
        probe()[1].anonymize(image, People.of([[0, 0, 1, 1]], masks=np.ones((1, 2, 2), bool)), seed=SEED)


def test_conditions_travel_to_the_crop():
    masks = np.zeros((1, 120, 100), bool)
    masks[0, 20:100, 30:60] = True
    surface = SurfaceMap(
        "toy", np.array([30, 20, 60, 100], np.int32), np.arange(2400, dtype=np.int32).reshape(80, 30)
    )
    keypoints = np.zeros((1, 17, 3), np.float32)
    keypoints[0, 0] = 45, 60, 2
    keypoints[0, 1] = -50, 60, 2
    people = People.of([[30, 20, 60, 100]], masks=masks, surfaces=(surface,), keypoints=keypoints)
    fill, method = probe()
    method.anonymize(np.zeros((120, 100, 3), np.uint8), people, seed=SEED)
    crops = fill.calls[0][0]
    assert crops.templates == ("toy",)
    x, y, _ = crops.keypoints[0, 0]
    assert abs(crops.surfaces[0, int(y), int(x)] - ((60 - 20) * 30 + 15)) <= 62
    assert crops.keypoints[0, 1, 2] == 0
    assert (crops.surfaces[0][~crops.masks[0]] == -1).all()


def test_wrong_fill_is_refused():
    fill, method = probe()
    fill.inpaint = lambda crops, seeds: crops.images[..., :2]
    with pytest.raises(ValueError, match="expected uint8"):
        method.anonymize(*scene(2), seed=SEED)


@pytest.mark.parametrize("crop_size", [(288, 160), (72, 40)])
def test_only_the_masked_pixels_of_a_fill_are_used(crop_size):
    image, people = scene(5)
    pictures = []
    for outside in (0, 255):
        fill, method = probe(crop_size=crop_size)
        fill.inpaint = lambda crops, seeds, v=outside: np.where(
            crops.masks[..., None], np.uint8([90] * 3), np.uint8(v)
        )
        pictures.append(method.anonymize(image, people, seed=SEED).image)
    assert np.array_equal(*pictures)


def test_output_without_detail_is_resized_faster():
    image, people = scene(3)
    out = {}
    for low_frequency in (False, True):
        fill, method = probe(crop_size=(18, 10))
        fill.traits = InpainterTraits(low_frequency=low_frequency)
        out[low_frequency] = method.anonymize(image, people, seed=SEED).image
    assert not np.array_equal(out[False], out[True])
