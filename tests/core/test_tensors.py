import os

import pytest
import torch
from safetensors.torch import save_file

from dp2bench.core.errors import Dp2benchError
from dp2bench.core.tensors import write_tensors


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_the_same_bytes_with_the_permissions_of_any_file(tmp_path, umask, mode):
    state = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.ones(2, dtype=torch.float16)}
    save_file(state, tmp_path / "theirs.safetensors", {"x": "1"})
    before = os.umask(umask)
    try:
        write_tensors(state, tmp_path / "ours.safetensors", {"x": "1"})
    finally:
        os.umask(before)
    ours = tmp_path / "ours.safetensors"
    assert ours.read_bytes() == (tmp_path / "theirs.safetensors").read_bytes()
    assert ours.stat().st_mode & 0o777 == mode
    assert len(list(tmp_path.iterdir())) == 2


def test_any_layout_and_a_folder_that_is_not_there(tmp_path):
    weight = torch.nn.Parameter(torch.arange(6.0).reshape(2, 3)).T
    write_tensors({"w": weight}, tmp_path / "w.safetensors")
    with pytest.raises(Dp2benchError, match=r"none/w\.safetensors cannot be written"):
        write_tensors({"w": weight}, tmp_path / "none" / "w.safetensors")
