"""The schedule of torchreid's model zoo: what learns when, and from where."""

import pytest
import torch

from dp2bench.attacks import reid
from dp2bench.core.errors import Dp2benchError
from dp2bench.datasets.market1501 import Market1501


def learn(market, out, epochs=1, **given):
    out.mkdir()
    config = reid.recipe({"epochs": epochs, "batch_size": 8, "height": 64, "width": 32, **given})
    reid.train(Market1501(market, official=False).samples("train"), config, out, seed=0)
    return reid.load_network(out / "model.safetensors", config).state_dict()


def test_at_first_the_classifier_alone_learns(market, tmp_path):
    torch.manual_seed(0)
    start = reid.build(reid.ReidConfig(), 9).state_dict()
    torch.save({f"module.{k}": v for k, v in start.items()}, tmp_path / "imagenet.pth")
    given = {"start_weights": str(tmp_path / "imagenet.pth"), "fixbase_epochs": 1}
    after = learn(market, tmp_path / "fixed", **given)
    body = [k for k in start if not k.startswith("classifier")]
    assert all(torch.equal(after[k], start[k]) for k in body)  # statistics of batches too
    learned = learn(market, tmp_path / "open", epochs=2, **given)
    assert sum(not torch.equal(learned[k], start[k]) for k in body) > len(body) / 2
    assert not torch.equal(learned["classifier.weight"], after["classifier.weight"])


@pytest.mark.slow
def test_single_step_and_random_crops_change_the_outcome(market, tmp_path):
    plain = learn(market, tmp_path / "plain", epochs=3)
    step = learn(market, tmp_path / "step", epochs=3, schedule="single-step", step_epoch=1)
    crop = learn(market, tmp_path / "crop", epochs=3, random_crop=True)
    assert not torch.equal(plain["conv1.conv.weight"], step["conv1.conv.weight"])
    assert not torch.equal(plain["conv1.conv.weight"], crop["conv1.conv.weight"])


def test_what_cannot_be_is_said(tmp_path):
    with pytest.raises(Dp2benchError, match="no schedule 'often'"):
        reid.recipe({"schedule": "often"})
    with pytest.raises(Dp2benchError, match="no file"):
        reid.recipe({"start_weights": str(tmp_path / "none.pth")})
    torch.save({"x": torch.ones(1)}, tmp_path / "other.pth")
    with pytest.raises(Dp2benchError, match="another network"):
        reid.build(reid.recipe({"start_weights": str(tmp_path / "other.pth")}), 4)
