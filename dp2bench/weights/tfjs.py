"""The constants of a TensorFlow.js model: a JSON manifest and the binary files that it names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dp2bench.core.errors import Dp2benchError


def read(manifest: Path) -> dict[str, NDArray[Any]]:
    """Arrays by name. Floats are float32; integers with a scale and a minimum are scaled back.

    Raises:
        Dp2benchError: a file is missing, or is not of the size that the manifest says.

    """
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
        groups = content if isinstance(content, list) else content["weightsManifest"]
        out: dict[str, NDArray[Any]] = {}
        for group in groups:
            data, at = b"".join((manifest.parent / name).read_bytes() for name in group["paths"]), 0
            for entry in group["weights"]:
                value, at = _value(entry, data, at)
                out[entry["name"]] = value
            if at != len(data):
                raise ValueError(f"{len(data) - at} bytes are left over")
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise Dp2benchError(
            f"{manifest} cannot be read as a TensorFlow.js model: {error}.", "Unpack the package again."
        ) from error
    return out


def _value(entry: dict[str, Any], data: bytes, at: int) -> tuple[NDArray[Any], int]:
    packed = entry.get("quantization")
    kind = np.dtype(packed["dtype"] if packed else entry["dtype"])
    value = np.frombuffer(data, kind, int(np.prod(entry["shape"])), at).reshape(entry["shape"])
    at += value.nbytes
    if packed:
        value = value.astype(np.float32)
        if "scale" in packed:
            value = value * np.float32(packed["scale"]) + np.float32(packed["min"])
    return value, at


def kernel(value: NDArray[Any], *, depthwise: bool = False) -> Tensor:
    """TensorFlow's (kh, kw, in, out) as (out, in, kh, kw); of a depthwise convolution (kh, kw, C, 1) as (C, 1, kh, kw)."""
    return torch.from_numpy(value.transpose((2, 3, 0, 1) if depthwise else (3, 2, 0, 1)).copy())
