import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from dp2bench.core import templates
from dp2bench.core.errors import Dp2benchError
from dp2bench.detection.rcnn import template


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DP2BENCH_CACHE", str(tmp_path))
    monkeypatch.setattr(templates, "_loaded", {})


def test_an_absent_table_says_how_to_get_it():
    with pytest.raises(Dp2benchError) as error:
        templates.get("smpl-27554")
    assert "dp2bench data template smpl-27554 --weights" in error.value.remedy


def test_the_table_of_a_checkpoint_is_registered(tmp_path):
    key = "roi_heads.embedder.embedder_smpl_27554."
    torch.manual_seed(0)
    state = {f"{key}features": torch.randn(27554, 256), f"{key}embeddings": torch.randn(256, 16)}
    save_file(state, tmp_path / "cse.safetensors")
    template.register_smpl(tmp_path / "cse.safetensors")
    found = templates.get("smpl-27554")
    assert found.embeddings.shape == (27554, 16)
    table = torch.nn.functional.normalize(state[f"{key}features"] @ state[f"{key}embeddings"], dim=1)
    np.testing.assert_allclose(found.embeddings, table.numpy(), atol=1e-5)
    assert found.mirrored is None


def test_another_networks_checkpoint_is_refused(tmp_path):
    save_file({"backbone.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(Dp2benchError, match="holds no embeddings of smpl-27554"):
        template.register_smpl(tmp_path / "other.safetensors")
