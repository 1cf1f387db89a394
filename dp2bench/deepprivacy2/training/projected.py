"""A discriminator on the features of a pretrained network (Sauer et al., "Projected GANs converge faster", NeurIPS 2021).

It learns from far fewer pictures than one on pixels, which makes training on a CPU or on little data possible. The features
are those of an ImageNet network that is never trained; fixed random 1 x 1 convolutions mix them across channels and scales;
a small network on each scale, which also sees the mask and the surface, tells real from synthesised.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from dp2bench.networks import efficientnet

STRIDES = (4, 8, 16, 32)


class _Head(nn.Module):
    """Scores of each place of a feature map; sees the conditions resized to it."""

    def __init__(self, channels: int, conditions: int, width: int) -> None:
        super().__init__()
        self.first = spectral_norm(nn.Conv2d(channels + conditions, width, 3, padding=1))
        self.second = spectral_norm(nn.Conv2d(width, width, 3, padding=1))
        self.out = spectral_norm(nn.Conv2d(width, 1, 1))

    def forward(self, features: Tensor, conditions: Tensor, places: tuple[int, int]) -> Tensor:
        seen = F.adaptive_avg_pool2d(conditions, (features.shape[2], features.shape[3]))
        x = F.leaky_relu(self.first(torch.cat((features, seen), 1)), 0.2)
        # Every scale scores as many places, so that none outvotes the others.
        x = F.leaky_relu(self.second(F.adaptive_avg_pool2d(x, places)), 0.2)
        out: Tensor = self.out(x)
        return out


class ProjectedDiscriminator(nn.Module):
    """Scores pictures by their ImageNet features.

    Args:
        imsize: height and width of the crops, in pixels.
        width: channels of the trained convolutions.
        mixed: channels of the mixed features at the finest scale; doubled at each coarser one.
        scale: the crop is enlarged by this factor before the features are computed.
        input_cse: sees the surface embedding.
        cse_nc: channels of the embedding.

    """

    def __init__(
        self,
        imsize: Sequence[int],
        *,
        width: int = 64,
        mixed: int = 32,
        scale: float = 1.0,
        input_cse: bool = False,
        cse_nc: int | None = None,
    ) -> None:
        super().__init__()
        self.imsize = (int(imsize[0]), int(imsize[1]))
        self.input_cse, self.scale = input_cse, scale
        self.features = efficientnet.pretrained().requires_grad_(False)
        conditions = 1 + (int(cse_nc or 0) + 1) * input_cse
        widths = [mixed * 2**i for i in range(len(STRIDES))]
        # Kaiming's scale keeps the size of the features; never trained (section 3.2 of the paper).
        self.channel_mix = nn.ModuleList(
            nn.Conv2d(efficientnet.CHANNELS[s], w, 1, bias=False)
            for s, w in zip(STRIDES, widths, strict=True)
        )
        self.scale_mix = nn.ModuleList(
            nn.Conv2d(coarse, fine, 1, bias=False) for fine, coarse in itertools.pairwise(widths)
        )
        for conv in (*self.channel_mix, *self.scale_mix):
            nn.init.kaiming_normal_(conv.weight, nonlinearity="linear")
            conv.requires_grad_(False)
        self.heads = nn.ModuleList(_Head(w, conditions, width) for w in widths)

    def requires_grad_(self, requires_grad: bool = True) -> ProjectedDiscriminator:
        """Only the heads are ever trained."""
        self.heads.requires_grad_(requires_grad)
        return self

    def train(self, mode: bool = True) -> ProjectedDiscriminator:
        """The pretrained network keeps its normalisation."""
        super().train(mode)
        self.features.eval()
        return self

    def forward(
        self,
        img: Tensor,
        condition: Tensor,
        mask: Tensor,
        *,
        embedding: Tensor | None = None,
        E_mask: Tensor | None = None,  # noqa: N803
    ) -> dict[str, Any]:
        """Score pictures.

        Args:
            img: (B, 3, H, W) in -1..1.
            condition: not used: the known pixels are part of ``img``.
            mask: (B, 1, H, W); 1 = known.
            embedding: (B, cse_nc, H, W), with CSE.
            E_mask: (B, 1, H, W), with CSE.

        Returns:
            {"score": (B, P)}, the scores of all places of all scales; "maps": the network's maps by stride, 2 to 32.

        """
        del condition
        pictures = (img + 1) * 127.5
        if self.scale != 1:
            pictures = F.interpolate(pictures, scale_factor=self.scale, mode="bilinear", align_corners=False)
        maps = self.features.maps(pictures)
        mixed: list[Tensor] = [
            conv(maps[stride]) for conv, stride in zip(self.channel_mix, STRIDES, strict=True)
        ]
        for i in reversed(range(len(mixed) - 1)):
            coarse = F.interpolate(mixed[i + 1], mixed[i].shape[2:], mode="bilinear", align_corners=False)
            mixed[i] = mixed[i] + self.scale_mix[i](coarse)
        conditions = mask
        if self.input_cse:
            if embedding is None or E_mask is None:
                raise ValueError(
                    "this discriminator needs embedding (B, cse_nc, H, W) and E_mask (B, 1, H, W)"
                )
            conditions = torch.cat((mask, embedding, E_mask), 1)
        coarse = mixed[STRIDES.index(16)]
        places = (coarse.shape[2], coarse.shape[3])
        scores = [head(x, conditions, places).flatten(1) for head, x in zip(self.heads, mixed, strict=True)]
        return {"score": torch.cat(scores, 1), "maps": maps}
