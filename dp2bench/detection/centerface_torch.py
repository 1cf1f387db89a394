"""CenterFace in torch, for a GPU."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dp2bench.core.types import Image
from dp2bench.detection.centerface_network import PYRAMID, STAGES, TAPS, Maps, Parameters


class _InvertedResidual(nn.Module):
    """Expand, depthwise, project; the input is added where the shapes agree."""

    def __init__(self, inputs: int, expansion: int, outputs: int, stride: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.expand = nn.Conv2d(inputs, wide, 1) if expansion != 1 else None
        self.depthwise = nn.Conv2d(wide, wide, 3, stride, 1, groups=wide)
        self.project = nn.Conv2d(wide, outputs, 1)
        self.skip = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        wide = x if self.expand is None else F.relu(self.expand(x), inplace=True)
        y: Tensor = self.project(F.relu(self.depthwise(wide), inplace=True))
        return x + y if self.skip else y


class CenterFaceNetwork(nn.Module):
    """(B, 3, H, W) RGB in 0..255 with sides that are multiples of 32 -> the four maps of `Maps`."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, 2, 1)
        self.stages, inputs, widths = nn.ModuleList(), 32, []
        for expansion, outputs, blocks, stride in STAGES:
            stage = []
            for i in range(blocks):
                stage.append(_InvertedResidual(inputs, expansion, outputs, stride if i == 0 else 1))
                inputs = outputs
            self.stages.append(nn.Sequential(*stage))
            widths.append(outputs)
        # From coarse to fine: a lateral of the coarsest map, then a doubling of the pyramid and a lateral of the next map, thrice.
        self.laterals = nn.ModuleList(nn.Conv2d(widths[tap], PYRAMID, 1) for tap in reversed(TAPS))
        self.doublings = nn.ModuleList(nn.ConvTranspose2d(PYRAMID, PYRAMID, 2, 2) for _ in TAPS[1:])
        self.smooth = nn.Conv2d(PYRAMID, PYRAMID, 3, padding=1)
        self.heat = nn.Conv2d(PYRAMID, 1, 1)
        self.extent = nn.Conv2d(PYRAMID, 2, 1)
        self.offset = nn.Conv2d(PYRAMID, 2, 1)
        self.points = nn.Conv2d(PYRAMID, 10, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """All maps."""
        x, taps = F.relu(self.stem(x)), []
        for i, stage in enumerate(self.stages):
            x = stage(x)
            if i in TAPS:
                taps.append(x)
        x = F.relu(self.laterals[0](taps[-1]))
        for doubling, lateral, tap in zip(self.doublings, list(self.laterals)[1:], taps[-2::-1], strict=True):
            x = F.relu(doubling(x)) + F.relu(lateral(tap))
        x = F.relu(self.smooth(x))
        return self.heat(x).sigmoid(), self.extent(x), self.offset(x), self.points(x)


class TorchNetwork:
    """The network with its parameters on a device of torch; like `OpenCVNetwork`."""

    def __init__(self, parameters: Parameters, device: str) -> None:
        network = CenterFaceNetwork()
        network.load_state_dict({name: torch.from_numpy(values) for name, values in parameters.items()})
        self._device = torch.device(device)
        self._network = (
            network.eval().requires_grad_(False).to(self._device).to(memory_format=torch.channels_last)
        )

    @torch.inference_mode()
    def __call__(self, image: Image) -> Maps:
        """What it says of a picture (H, W, 3) whose sides are multiples of 32."""
        x = torch.from_numpy(image.astype(np.float32)).to(self._device).permute(2, 0, 1)[None]
        said = self._network(x.contiguous(memory_format=torch.channels_last))
        return Maps(*(each[0].cpu().numpy() for each in said))
