"""The discriminator of the adversarial training (StyleGAN2's residual discriminator, DeepPrivacy2, section 3.3)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from dp2bench.deepprivacy2.generators.layers import (
    ConvPair,
    EqualConv2d,
    EqualLinear,
    InferenceMixin,
    ResidualBlock,
    fir_kernel,
)
from dp2bench.deepprivacy2.generators.style_unet import channels_at


def append_batch_deviation(x: Tensor, group: int = 4) -> Tensor:
    """(B, C, H, W) to (B, C + 1, H, W): appends the mean standard deviation within groups of pictures (Karras et al. 2018).

    Group i holds the pictures i, i + B/group, ...; B must be a multiple of the group unless it is smaller.
    """
    batch = x.shape[0]
    size = min(group, batch)
    if batch % size:
        raise ValueError(f"a batch of {batch} does not divide into groups of {size} pictures")
    grouped = x.reshape(size, -1, *x.shape[1:])
    deviation = (grouped - grouped.mean(0)).square().mean(0).add(1e-8).sqrt().mean((1, 2, 3))
    channel = deviation.repeat(size).view(-1, 1, 1, 1).expand(-1, 1, *x.shape[2:])
    return torch.cat((x, channel), dim=1)


class _Output(nn.Module):
    def __init__(self, channels: int, height: int, width: int, clamp: float | None) -> None:
        super().__init__()
        self.conv = EqualConv2d(channels + 1, channels, clamp=clamp)
        self.fc = EqualLinear(channels * height * width, channels, activate=True)
        self.out = EqualLinear(channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(append_batch_deviation(x))
        out: Tensor = self.out(self.fc(x.flatten(1)))
        return out


class Discriminator(InferenceMixin):
    """Scores pictures; higher means more like a real one. Arguments as in the official configurations.

    Args:
        imsize: height and width, in pixels.
        cnum: channels at full resolution.
        max_cnum_mul: limit on the channels, in multiples of cnum.
        min_fmap_resolution: longer side of the smallest feature map is at least this, in pixels.
        im_channels: channels of a picture.
        input_condition: sees the known pixels and the mask too.
        conv_clamp: limit on the magnitude of activations.
        input_cse: sees the surface embedding.
        cse_nc: channels of the embedding.
        fix_residual: no activation on the skips.
    """

    resample_filter: Tensor

    def __init__(
        self,
        imsize: Sequence[int],
        cnum: int,
        *,
        max_cnum_mul: int = 8,
        min_fmap_resolution: int = 4,
        im_channels: int = 3,
        input_condition: bool = True,
        conv_clamp: float | None = 256,
        input_cse: bool = False,
        cse_nc: int | None = None,
        fix_residual: bool = False,
    ) -> None:
        super().__init__()
        height, width, longest = int(imsize[0]), int(imsize[1]), int(max(imsize))
        self.imsize = (height, width)
        self.input_condition, self.input_cse = input_condition, input_cse
        inputs = im_channels + input_condition * (im_channels + 1) + input_cse * (int(cse_nc or 0) + 1)
        self.from_rgb = ConvPair(inputs, channels_at(longest, cnum, longest, max_cnum_mul), clamp=conv_clamp)
        levels = int(np.log2(longest) - np.log2(min_fmap_resolution)) + 1
        self.layers = nn.ModuleList()
        out = 0
        for i in range(levels):
            size = longest // 2**i
            out = channels_at(max(size // 2, min_fmap_resolution), cnum, longest, max_cnum_mul)
            block = ResidualBlock(
                channels_at(size, cnum, longest, max_cnum_mul),
                out,
                down=i > 0,
                clamp=conv_clamp,
                linear_skip=fix_residual,
            )
            self.layers.append(block)
        scale = 2 ** (levels - 1)
        self.output_layer = _Output(out, height // scale, width // scale, conv_clamp)
        # Unused: official checkpoints carry it.
        self.register_buffer("resample_filter", fir_kernel())

    def forward(
        self,
        img: Tensor,
        condition: Tensor,
        mask: Tensor,
        *,
        embedding: Tensor | None = None,
        E_mask: Tensor | None = None,  # noqa: N803
    ) -> dict[str, Tensor]:
        """Score pictures; a picture's score depends on its batch through the batch deviation.

        Args:
            img: pictures (B, 3, H, W) in -1..1.
            condition: the known pixels (B, 3, H, W), img * mask.
            mask: (B, 1, H, W); 1 = known.
            embedding: (B, cse_nc, H, W), with CSE.
            E_mask: (B, 1, H, W), with CSE.

        Returns:
            {"score": (B, 1)}.
        """
        inputs = [img]
        if self.input_condition:
            inputs += [condition, mask]
        if self.input_cse:
            if embedding is None or E_mask is None:
                raise ValueError("this network needs embedding (B, cse_nc, H, W) and E_mask (B, 1, H, W)")
            inputs += [embedding, E_mask]
        with self._precision(img):
            x: Tensor = self.from_rgb(self._arrange(torch.cat(inputs, dim=1)))
            for layer in self.layers:
                x = layer(x)
            return {"score": self.output_layer(x).to(img.dtype)}
