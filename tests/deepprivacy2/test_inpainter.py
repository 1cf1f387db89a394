import numpy as np
import pytest
import torch

from dp2bench.core.contracts import MethodMeta
from dp2bench.core.types import CropBatch
from dp2bench.deepprivacy2 import generator_weights
from dp2bench.deepprivacy2.generators import files
from dp2bench.deepprivacy2.generators.mapping import sample_latents
from dp2bench.deepprivacy2.inpainter import GeneratorInpainter, style_centres


def crops(n, size, seed=0, surfaces=True):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (n, *size, 3), np.uint8)
    masks = np.zeros((n, *size), bool)
    masks[:, size[0] // 4 : -size[0] // 4, size[1] // 4 : -size[1] // 4] = True
    images[masks] = 127
    vertices = np.where(masks, rng.integers(-1, 13380, masks.shape), -1).astype(np.int32)
    keypoints = rng.random((n, 17, 3), np.float32) * np.array([size[1], size[0], 2], np.float32)
    return CropBatch(
        images,
        masks,
        np.zeros_like(masks),
        vertices if surfaces else None,
        ("passersby-13380",) * n if surfaces else (None,) * n,
        keypoints,
    )


def inpainter(path, **given):
    return GeneratorInpainter(
        generator_weights.describe(path), MethodMeta("test", uses_masked_pixels=False), **given
    )


@pytest.mark.parametrize("role", ["body-cse", "body", "face"])
def test_is_the_network_and_nothing_else(random_generators, role):
    one = inpainter(random_generators[role], truncation="none")
    given = crops(2, one.crop_size)
    got = one.inpaint(given, seeds=[5, 6])
    network, _ = files.load(one.file)
    mask = torch.from_numpy(~given.masks)[:, None].float()
    image = torch.from_numpy(given.images).permute(0, 3, 1, 2).float() / 127.5 - 1
    extra = {}
    if role == "body-cse":
        from dp2bench.core import templates

        known = torch.from_numpy(given.surfaces >= 0)[:, None].float()
        table = torch.from_numpy(templates.get("passersby-13380").embeddings)
        embedding = table[torch.from_numpy(given.surfaces).clamp_min(0).long()].permute(0, 3, 1, 2)
        extra = {"embedding": embedding * known, "E_mask": known}
    with torch.no_grad():
        img = network(image * mask, mask, sample_latents([5, 6]), **extra)["img"]
    expected = ((img + 1) / 2).clamp(0, 1) * 255
    difference = np.abs(expected.permute(0, 2, 3, 1).numpy() - got)
    assert difference.max() <= 0.51  # rounding, and the last bits of the prepared network
    assert np.array_equal(got[~given.masks], given.images[~given.masks])


@pytest.mark.parametrize("truncation", ["none", "mean", "multi-modal"])
def test_rows_depend_on_themselves_alone(random_generators, truncation):
    given = crops(5, (72, 40))
    seeds = [3, 1, 4, 1, 5]
    path = random_generators["body-cse"]
    settings = {"truncation": truncation, "psi": 0.5}
    together = inpainter(path, **settings, batch_size=1).inpaint(given, seeds=seeds)
    padded = inpainter(path, **settings, batch_size=3)
    one = padded.inpaint(take(given, [4]), seeds=[5])
    assert np.array_equal(padded.inpaint(given, seeds=seeds)[4], one[0])
    alone = inpainter(path, **settings).inpaint(take(given, [2]), seeds=[4])
    assert np.array_equal(together[2], alone[0])
    assert np.abs(together.astype(int) - padded.inpaint(given, seeds=seeds)).max() <= 1


def take(given, rows):
    return CropBatch(
        given.images[rows], given.masks[rows], given.outside[rows], given.surfaces[rows],
        tuple(given.templates[i] for i in rows), given.keypoints[rows],
    )  # fmt: skip


def test_truncation_decides_how_different_people_are(random_generators):
    given = take(crops(1, (72, 40)), [0] * 6)  # six times the same crop

    def different(**settings):
        filled = inpainter(random_generators["body"], **settings).inpaint(given, seeds=range(6))
        return len({f.tobytes() for f in filled})

    assert different(truncation="mean", psi=0) == 1, "the published default gives everybody the same"
    assert different(truncation="mean", psi=0.5) == 6
    assert different(truncation="none") == 6
    assert different(truncation="multi-modal", psi=0) > 3


def test_without_a_word_truncation_is_what_the_weights_recommend(random_generators):
    path = random_generators["body"]
    assert inpainter(path).psi == 0
    embedded = inpainter(generator_weights.resolve(None, "body"))
    assert (embedded.truncation, embedded.psi) == ("none", 1)
    assert inpainter(generator_weights.resolve(None, "body"), psi=0.0).truncation == "multi-modal"


def test_centres_are_kept_by_the_weights_digest(random_generators, monkeypatch):
    file = generator_weights.describe(random_generators["body"])
    first = style_centres(file, centres=4, samples=50)
    assert first.shape == (4, 512)
    monkeypatch.setattr(files, "load", lambda file: pytest.fail("computed twice"))
    assert torch.equal(style_centres(file, centres=4, samples=50), first)


def test_unknown_surfaces_are_unknown_not_wrong(random_generators):
    one = inpainter(random_generators["body-cse"])
    given = crops(1, one.crop_size)
    foreign = CropBatch(given.images, given.masks, given.outside, given.surfaces, ("smpl-27554",))
    without = CropBatch(given.images, given.masks, given.outside, None, (None,))
    a, b, c = (one.inpaint(g, seeds=[1]) for g in (given, foreign, without))
    assert np.array_equal(b, c)
    assert not np.array_equal(a, b)


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"truncation": "some"}, "truncation is"),
        ({"psi": 2}, "psi must lie"),
        ({"precision": "float8"}, "precision is"),
        ({"batch_size": 0}, "batch_size must"),
    ],
)
def test_settings_are_checked(random_generators, settings, word):
    with pytest.raises(ValueError, match=word):
        inpainter(random_generators["body"], **settings)


def test_bfloat16_on_a_cpu_differs_by_little_and_is_recorded(random_generators):
    given = crops(2, (72, 40))
    path = random_generators["body-cse"]
    full = inpainter(path, device="cpu")
    half = inpainter(path, device="cpu", precision="bfloat16")
    a, b = (one.inpaint(given, seeds=[1, 2]).astype(int) for one in (full, half))
    assert 0 < np.abs(a - b).mean() < 8
    assert (full.arguments()["precision"], half.arguments()["precision"]) == ("float32", "bfloat16")
    with pytest.raises(ValueError, match="float32 or bfloat16"):
        inpainter(path, device="cpu", precision="float16").arguments()


@pytest.mark.gpu
def test_rows_depend_on_themselves_alone_on_a_gpu(random_generators):
    given = crops(11, (72, 40))
    one = inpainter(random_generators["body-cse"], device="cuda")
    together = one.inpaint(given, seeds=range(11))
    for i in range(11):
        assert np.array_equal(one.inpaint(take(given, [i]), seeds=[i])[0], together[i])
