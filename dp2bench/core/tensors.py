"""Tensors into safetensors files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from dp2bench.core.errors import writing


def write_tensors(state: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors of any device and layout; the file appears whole, with the permissions that new files have.

    `safetensors.torch.save_file` gives the same bytes, in a file that nobody but its owner can read, whatever the umask says.

    Args:
        state: by name.
        path: ending in ``.safetensors``.
        metadata: kept with them.

    Raises:
        Dp2benchError: the file cannot be written.

    """
    content = save(
        {name: tensor.detach().contiguous().cpu() for name, tensor in state.items()},
        None if metadata is None else dict(metadata),
    )
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    with writing(path):
        try:
            partial.write_bytes(content)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
