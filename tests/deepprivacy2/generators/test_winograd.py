from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from dp2bench.deepprivacy2.generators import winograd
from dp2bench.deepprivacy2.generators.layers import EqualConv2d
from dp2bench.deepprivacy2.generators.networks import build


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


def given(size, channels, out, height, width):
    x = torch.randn(size, channels, height, width).contiguous(memory_format=torch.channels_last)
    return x, torch.randn(out, channels, 3, 3) / (3 * channels**0.5)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("shape", [(1, 1), (4, 4), (5, 3), (18, 10), (33, 47)])
@torch.inference_mode()
def test_equals_the_direct_convolution(shape, threads):
    torch.set_num_threads(threads)
    x, weight = given(2, 19, 7, *shape)
    scale, shift, bias = torch.randn(2, 19), torch.randn(2, 19), torch.randn(7)
    expected = F.conv2d(x * scale[..., None, None] + shift[..., None, None], weight, bias, padding=1)
    expected = F.leaky_relu(expected, 0.2).clamp(-1.5, 1.5)
    made = winograd.convolve(
        x, winograd.transform(weight), scale=scale, shift=shift, bias=bias, slope=0.2, limit=1.5
    )
    assert made.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(made, expected, atol=3e-5, rtol=0)


@torch.inference_mode()
def test_the_matrices_are_exact_on_whole_numbers():
    x = torch.randint(-8, 9, (1, 4, 13, 22)).float().contiguous(memory_format=torch.channels_last)
    weight = (
        torch.randint(-4, 5, (5, 4, 3, 3)).float() * 15
    )  # the thirds and fifteenths of the transform become whole
    made = winograd.convolve(x, winograd.transform(weight))
    np.testing.assert_array_equal(made.round(), F.conv2d(x, weight, padding=1))


@pytest.mark.parametrize("threads", [1, 2])
@torch.inference_mode()
def test_a_row_does_not_depend_on_the_batch(threads):
    torch.set_num_threads(threads)
    x, weight = given(3, 32, 16, 30, 21)
    kernels = winograd.transform(weight)
    together = winograd.convolve(x, kernels)
    assert torch.equal(together[1:2], winograd.convolve(x[1:2], kernels))


@pytest.mark.parametrize("modulated", [True, False])
def test_layers_take_it_where_it_pays(modulated):
    layer = EqualConv2d(64, 80, norm=modulated, w_dim=8 if modulated else None, clamp=1.0)
    layer.bias.data.normal_()
    x, w = torch.randn(2, 64, 20, 17), torch.randn(2, 8)
    with torch.no_grad():
        plain = layer(x, w)
        layer.requires_grad_(False).fuse(channels_last=True, preconvolve=False, winograd=True)
        assert layer.fused_kernels is None
        small = layer(x[..., :8, :8], w)
        assert small.shape == (2, 80, 8, 8)
        assert layer.fused_kernels is None
        with torch.enable_grad():  # it has no gradient to give
            torch.testing.assert_close(layer(x, w), plain, atol=3e-5, rtol=0)
        assert layer.fused_kernels is None
        torch.testing.assert_close(layer(x, w), plain, atol=3e-5, rtol=0)
        assert layer.fused_kernels is not None
    assert "fused_kernels" not in layer.state_dict()
    layer.train()
    assert layer.fused_kernels is None


@torch.inference_mode()
def test_a_whole_network_stays_the_same():
    config = {"imsize": [72, 40], "cnum": 64, "max_cnum_mul": 1, "w_dim": 32, "fix_errors": True}
    network = build(config).eval()
    mask = torch.ones(2, 1, 72, 40)
    mask[..., 20:50, 10:30] = 0
    arguments = {"condition": torch.rand(2, 3, 72, 40) * 2 - 1, "mask": mask, "z": torch.randn(2, 512)}
    plain = network(**arguments)["img"]
    fast = network.prepare_for_inference()(**arguments)["img"]
    assert sum(m.fused_kernels is not None for m in network.modules() if isinstance(m, EqualConv2d)) == 6
    assert float((fast - plain).abs().max()) < 1e-4
    network.prepare_for_inference(fast_convolution=False)
    assert not any(m.winograd for m in network.modules() if isinstance(m, EqualConv2d))
    network.prepare_for_inference(autocast=torch.bfloat16)
    half = network(**arguments)["img"]
    assert half.dtype == torch.float32
    assert 1e-4 < float((half - plain).abs().mean()) < 0.05
    with pytest.raises(ValueError, match="bfloat16"):
        network.prepare_for_inference(autocast=torch.float16)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # Python 3.12 warns of threads
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_threads_are_not_looked_for_in_a_forked_process():
    work, seen = winograd._share, []
    work(lambda k, lo, hi: seen.append((k, lo, hi)), 5, 2)
    child = os.fork()
    if child == 0:
        done = []
        work(lambda k, lo, hi: done.append(hi - lo), 5, 2)
        os._exit(sum(done))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5
    assert sorted(seen) == [(0, 0, 2), (1, 2, 5)]
