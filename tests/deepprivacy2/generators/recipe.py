"""Weights and inputs by name, as the parity vectors define them."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def rng(name: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(name.encode()))


def normal(tag: str, *shape: int) -> Tensor:
    return torch.from_numpy(rng(tag).standard_normal(shape).astype(np.float32))


def uniform(tag: str, *shape: int) -> Tensor:
    return torch.from_numpy(rng(tag).uniform(-1, 1, shape).astype(np.float32))


def hole(batch: int, height: int, width: int) -> Tensor:
    mask = torch.ones(batch, 1, height, width)
    mask[..., height // 4 : 3 * height // 4, width // 4 : 3 * width // 4] = 0
    return mask


def weights(network: nn.Module) -> dict[str, Tensor]:
    out = {}
    for key, old in network.state_dict().items():
        if key.endswith("resample_filter"):
            out[key] = old
            continue
        value = normal(key, *old.shape)
        plain = key.endswith((".E", "noise_const", "layer_scale")) or key == "x"
        if not plain and (key.endswith(("bias", "w_avg")) or old.ndim == 0):
            value = value * 0.1
        if "style_net.fc" in key and key.endswith("weight"):
            value = value * 100
        if key.endswith(("affine.bias", "mlp.bias")):
            value = value + 1
        out[key] = value
    return out


def inner(batch: int, height: int, width: int) -> Tensor:
    mask = torch.zeros(batch, 1, height, width)
    mask[..., 3 * height // 8 : 5 * height // 8, 3 * width // 8 : 5 * width // 8] = 1
    return mask


def inputs(network: Any, batch: int = 2) -> dict[str, Tensor]:
    height, width = network.imsize
    mask, img = hole(batch, height, width), uniform("img", batch, 3, height, width)
    given = {"condition": img * mask, "mask": mask}
    if hasattr(network, "layers"):
        return {"img": img, **given}
    given["z"] = normal("z", batch, 512)
    if getattr(network, "input_cse", False):
        given |= {"embedding": normal("embedding", batch, network.cse_nc, height, width), "E_mask": 1 - mask}
    if hasattr(network, "n_keypoints") and not hasattr(network, "style_net"):
        given["keypoints"] = uniform("keypoints", batch, 7, 2)
    return given


def prepared(network: Any) -> Any:
    network.load_state_dict(weights(network), strict=True)
    return network.eval()
