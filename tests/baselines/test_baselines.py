import cv2
import numpy as np
import pytest

from dp2bench.baselines.blur import BlurFill, blur_body, blur_face, blur_image, blur_window
from dp2bench.baselines.identity import Identity
from dp2bench.baselines.mask_out import mask_out_body, mask_out_face
from dp2bench.baselines.pixelate import (
    PixelateFill,
    bilinear,
    block_means,
    pixelate_8_body,
    pixelate_8_face,
    pixelate_8_image,
    pixelate_16_body,
)
from dp2bench.core.contracts import MethodMeta
from dp2bench.core.seeds import Seed
from dp2bench.core.types import CropBatch, People
from dp2bench.inpainting import stitching

META = MethodMeta("test")
SEED = Seed(0)


def crops(size, seed=0, n=2, rectangle=True):
    rng = np.random.default_rng(seed)
    masks = np.zeros((n, *size), bool)
    masks[0] = True
    masks[1:, size[0] // 3 : size[0] - 5, 4 : size[1] // 2] = True
    images = rng.integers(0, 256, (n, *size, 3), np.uint8)
    images[:, : size[0] // 2] //= 4
    return CropBatch(images, masks, np.zeros_like(masks))


def close_under_masks(got, expected, masks):
    worst = np.abs(got.astype(float) - expected)[masks].max()
    assert worst <= 1.0, worst


@pytest.mark.parametrize("size", [(288, 160), (256, 256), (40, 19)])
def test_blur_is_torchvisions(size):
    torch = pytest.importorskip("torch")
    from torchvision.transforms.functional import gaussian_blur

    batch = crops(size)
    got = BlurFill(META, size).inpaint(batch, seeds=[SEED, SEED])
    kernel = min(21, size[1])
    tensor = torch.from_numpy(batch.images).permute(0, 3, 1, 2).double()
    expected = gaussian_blur(tensor, [kernel, kernel], [7.0, 7.0]).permute(0, 2, 3, 1).numpy()
    close_under_masks(got, expected, batch.masks)


@pytest.mark.parametrize("blocks", [8, 16])
@pytest.mark.parametrize("size", [(288, 160), (256, 256), (8, 8), (12, 9)])
def test_pixelation_is_torchs(size, blocks):
    torch = pytest.importorskip("torch")
    interpolate = torch.nn.functional.interpolate
    batch = crops(size)
    got = PixelateFill(META, size, blocks).inpaint(batch, seeds=[SEED, SEED])
    tensor = torch.from_numpy(batch.images).permute(0, 3, 1, 2).float()
    small = interpolate(tensor, (blocks, blocks), mode="bilinear", align_corners=True)
    expected = interpolate(small, size, mode="bilinear", align_corners=True).permute(0, 2, 3, 1).numpy()
    close_under_masks(got, expected, batch.masks)


def test_bilinear_weights():
    assert np.allclose(bilinear(3, 5), [[1, 0, 0], [0.5, 0.5, 0], [0, 1, 0], [0, 0.5, 0.5], [0, 0, 1]])
    assert np.allclose(bilinear(1, 4), 1)
    assert bilinear(5, 1)[0, 0] == 1


def test_mask_out_is_grey_under_the_mask_only():
    image = np.random.default_rng(0).integers(0, 256, (128, 64, 3), np.uint8)
    people = People.of([[10, 20, 50, 110]], faces=np.array([[20, 22, 34, 40]], np.float32))
    got = mask_out_body().anonymize(image, people, seed=SEED)
    assert got.changed[20:110, 10:50].all()
    assert not got.changed.all()
    assert (got.image[got.changed] == 127).all()
    face = mask_out_face().anonymize(image, people, seed=SEED)
    assert face.changed.sum() == 14 * 18
    assert (face.image[22:40, 20:34] == 127).all()


def test_identity_says_that_everybody_is_left():
    image = np.zeros((9, 9, 3), np.uint8)
    got = Identity().anonymize(image, People.of([[0, 0, 4, 4]] * 2), seed=SEED)
    assert len(got.missed) == 2
    assert not got.changed.any()


@pytest.mark.parametrize("sigma", [2.0, 5.0, 9.0, 16.0, 33.0])
def test_fast_blur_is_the_full_filter(sigma):
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    image = cv2.resize(noise, (480, 360), interpolation=cv2.INTER_CUBIC)
    full = cv2.GaussianBlur(image.astype(np.float64), (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101)
    got = blur_window(image, (100, 60, 420, 300), sigma)
    assert np.abs(got - full[60:300, 100:420]).max() <= 3


def test_blur_picture_scales_with_the_person():
    image = np.zeros((400, 400, 3), np.uint8)
    image[:, ::2] = 255
    wide = blur_image().anonymize(image, People.of([[100, 100, 200, 300]]), seed=SEED)
    assert np.ptp(wide.image[150:250, 130:170].astype(int)) <= 2
    with pytest.raises(ValueError, match="positive"):
        blur_image(strength=0)


def test_block_means():
    image = np.arange(12 * 12 * 3, dtype=np.uint8).reshape(12, 12, 3) // 3
    got = block_means(image, (2, 1, 10, 9), 4)
    for y in (0, 4):
        for x in (0, 4):
            block = got[y : y + 4, x : x + 4].reshape(-1, 3)
            assert (block == block[0]).all()
            mean = image[1 + y : 5 + y, 2 + x : 6 + x].reshape(-1, 3).mean(axis=0)
            assert np.abs(block[0] - mean).max() <= 1
    assert block_means(image, (8, 8, 12, 12), 3).shape == (4, 4, 3)


def test_pixelate_picture_has_eight_blocks_across():
    image = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    masks = np.zeros((1, 300, 300), bool)
    masks[0, 40:260, 100:180] = True
    got = pixelate_8_image().anonymize(image, People.of([[100, 40, 180, 260]], masks=masks), seed=SEED)
    row = got.image[150, 100:180].astype(int)
    assert 7 <= (np.abs(np.diff(row, axis=0)).sum(axis=1) > 0).sum() <= 9


def test_small_people_fall_back_to_grey_and_large_do_not():
    image = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    got = pixelate_8_body().anonymize(image, People.of([[10, 10, 14, 20], [80, 50, 120, 150]]), seed=SEED)
    assert (got.image[10:20, 10:14] == 127).all()
    assert got.image[50:150, 80:120].std() > 1
    assert got.missed == ()


def test_face_blur_leaves_the_body():
    image = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    people = People.of([[20, 10, 120, 190]], faces=np.array([[50, 15, 90, 65]], np.float32))
    got = blur_face().anonymize(image, people, seed=SEED)
    assert got.changed.sum() == 40 * 50
    assert got.image[20:60, 55:85].std() < image[20:60, 55:85].std() / 2


@pytest.mark.parametrize("make", [blur_body, blur_face, pixelate_8_body, pixelate_8_face, pixelate_16_body])
@pytest.mark.parametrize("shift", [0, -25, 30])
def test_the_short_way_is_the_long_way(make, shift, monkeypatch):
    rng = np.random.default_rng(0)
    image = cv2.resize(rng.integers(0, 256, (32, 16, 3), np.uint8), (64, 128), interpolation=cv2.INTER_LINEAR)
    box = np.array([[15.0, 20, 50, 110]], np.float32) + shift
    people = People.of(box, faces=box * 0.5 + 3)
    method = make()
    assert method.inpainter.traits.linear_operator is not None
    a = method.anonymize(image, people, seed=SEED)
    monkeypatch.setattr("dp2bench.inpainting.anonymizer._fill_directly", lambda *given: False)
    b = method.anonymize(image, people, seed=SEED)
    assert np.array_equal(a.changed, b.changed)
    difference = np.abs(a.image.astype(int) - b.image)
    assert difference.max() <= 4
    assert difference[a.changed].mean() < 1


@pytest.mark.parametrize("make", [blur_body, pixelate_8_body])
def test_matrices_are_computed_once(make):
    image = np.full((128, 64, 3), 90, np.uint8)
    people = People.of([[15, 20, 50, 110]])
    method = make()
    method.anonymize(image, people, seed=SEED)
    before = stitching._through_crop.cache_info()
    method.anonymize(image, people, seed=SEED)
    after = stitching._through_crop.cache_info()
    assert (after.misses, after.hits) == (before.misses, before.hits + 2)
