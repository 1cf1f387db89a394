"""Networks that a file fills need no random numbers."""

from __future__ import annotations

import torch
from torchvision.models import resnet18

from dp2bench.networks.uninitialized import uninitialized


def test_nothing_is_drawn_and_what_is_loaded_counts():
    torch.manual_seed(0)
    drawn = resnet18()
    before = torch.get_rng_state()
    with uninitialized():
        filled = resnet18()
    assert torch.equal(torch.get_rng_state(), before)
    filled.load_state_dict(drawn.state_dict(), strict=True)
    picture = torch.rand(1, 3, 64, 64)
    assert torch.equal(filled.eval()(picture), drawn.eval()(picture))
    first = torch.get_rng_state()
    resnet18()  # outside it draws as ever
    assert not torch.equal(torch.get_rng_state(), first)
