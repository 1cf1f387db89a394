"""What kind of file weights lie in."""

from __future__ import annotations

import sys
import types

import pytest
import torch
from torch import nn

from dp2bench.deepprivacy2.text_search import Clip
from dp2bench.metrics.features import CLIPFeatures
from dp2bench.weights.reading import is_torchscript


@pytest.fixture
def files(tmp_path):
    """A network as OpenAI published CLIP, and as others save theirs."""
    network = nn.Linear(2, 2)
    torch.jit.trace(network, torch.zeros(1, 2)).save(str(tmp_path / "script.pt"))
    torch.save(network.state_dict(), tmp_path / "state.pt")
    (tmp_path / "text.pt").write_text("neither")
    return tmp_path


def test_torchscript_is_told_from_a_state(files):
    assert is_torchscript(files / "script.pt")
    assert not is_torchscript(files / "state.pt")
    assert not is_torchscript(files / "text.pt")


@pytest.mark.parametrize(("name", "quick"), [("script.pt", True), ("state.pt", False)])
@pytest.mark.parametrize(
    "reader", [lambda path: Clip(path, "ViT-B-32"), lambda path: CLIPFeatures(path, device="cpu")]
)
def test_published_clip_is_read_with_the_activation_that_it_learned_with(
    files, monkeypatch, name, quick, reader
):
    asked = []

    def create_model(model, **options):
        asked.append(options)
        raise RuntimeError("no more is asked of it here")

    package = types.ModuleType("open_clip")
    package.create_model = create_model
    monkeypatch.setitem(sys.modules, "open_clip", package)
    with pytest.raises(Exception, match="holds no weights of CLIP"):
        reader(files / name)
    assert [options["force_quick_gelu"] for options in asked] == [quick]
