"""Networks of attackers: trained once for equal work, and what they learn depends on what they are given."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from dp2bench.attacks import training
from dp2bench.attacks.restore import Restorer
from dp2bench.core.contracts import RunContext


def classifier(context, x, y, **changed):
    def loss_of(network):
        def loss(batch):
            logits = network(torch.from_numpy(x)[batch])
            own = torch.from_numpy(y)[batch]
            return nn.functional.cross_entropy(logits, own), (logits.argmax(1) == own).float().mean()

        return loss

    given = {"what": "a line", "epochs": 8, "batch_size": 8, "learning_rate": 0.1} | changed
    return training.trained(lambda: nn.Linear(4, 2), loss_of, (x, y), context, **given)


@pytest.fixture
def data():
    x = np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32)
    return x, (x[:, 0] > 0).astype(np.int64)


def test_equal_work_is_done_once(data, tmp_path, monkeypatch):
    context = RunContext(seed=0, trained={}, artefacts=tmp_path, cache=tmp_path / "cache")
    x, y = data
    before = torch.get_rng_state()
    first = classifier(context, x, y)
    assert torch.equal(before, torch.get_rng_state())
    assert (first(torch.from_numpy(x)).argmax(1).numpy() == y).mean() > 0.9
    asked = []
    monkeypatch.setattr(training, "fit", lambda *a, **k: asked.append(k["what"]))
    again = classifier(context, x, y)
    assert torch.equal(first.weight, again.weight)
    assert not asked
    classifier(context, x, 1 - y)
    classifier(context, x, y, epochs=9)
    assert len(asked) == 2


def test_a_restorer_starts_from_the_picture_as_it_is():
    pictures = np.random.default_rng(0).integers(0, 256, (3, 16, 8, 3)).astype(np.uint8)
    found = training.applied(Restorer(), pictures, "cpu")
    np.testing.assert_allclose(found.transpose(0, 2, 3, 1), pictures, atol=1e-3)
    assert training.applied(Restorer(), pictures[:0], "cpu").shape[0] == 0
