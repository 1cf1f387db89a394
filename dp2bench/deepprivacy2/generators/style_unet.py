"""The style-based U-Net that fills the hole (DeepPrivacy2, section 3.3): bodies with and without CSE, and faces."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dp2bench.deepprivacy2.generators.layers import SQRT_HALF, EqualConv2d, InferenceMixin, ResidualBlock
from dp2bench.deepprivacy2.generators.mapping import MappingNetwork


def channels_at(size: int, cnum: int, max_size: int, max_cnum_mul: int) -> int:
    """Channels of a feature map whose longer side is ``size``: doubled with each halving, up to max_cnum_mul * cnum."""
    halvings = int(np.log2(max_size) - np.log2(size))
    return int(cnum * min(2**halvings, max_cnum_mul))


def keep_known(condition: Tensor, filled: Tensor, mask: Tensor, *, scale_grad: bool = True) -> Tensor:
    """Condition where mask is 1, ``filled`` where it is 0. Shapes (B, 3, H, W), (B, 3, H, W), (B, 1, H, W).

    Args:
        condition: the known picture.
        filled: the synthesised picture.
        mask: 1 = known pixel.
        scale_grad: divide the gradient of ``filled`` by each picture's share of hole pixels, so that small and large holes
            weigh the same in training.
    """
    if scale_grad and filled.requires_grad:
        hole = (1 - mask).flatten(1).mean(1).clamp_min(1e-8).view(-1, 1, 1, 1)
        filled.register_hook(lambda grad: grad / hole)  # type: ignore[no-untyped-call]
    return condition * mask + (1 - mask) * filled


def draw_keypoints(keypoints: Tensor, height: int, width: int) -> Tensor:
    """Keypoints (B, K, 3) with x and y in 0..1 of the picture and visibility 0 or 1, to one-hot maps (B, K, H, W)."""
    x, y, visible = keypoints.unbind(2)
    column = (x * width).round().long().clamp(0, width - 1)
    row = (y * height).round().long().clamp(0, height - 1)
    maps = torch.zeros(*keypoints.shape[:2], height * width, device=keypoints.device)
    maps.scatter_(2, (row * width + column)[..., None], visible.round()[..., None].float())
    return maps.view(*keypoints.shape[:2], height, width)


def table_of_styles(layers: Sequence[Any], w: Tensor) -> Tensor:
    """(B, L, C): ``layer.style(w)`` of L layers, each (B, 2 * in_channels), with zeros up to the longest."""
    rows = [layer.style(w) for layer in layers]
    longest = max(row.shape[1] for row in rows)
    return torch.stack([F.pad(row, (0, longest - row.shape[1])) for row in rows], dim=1)


def rows_of_styles(layers: Sequence[Any], styles: Tensor) -> list[Tensor]:
    """The rows of a table (B, L, C) of `table_of_styles`, each as long as its layer takes."""
    if styles.shape[1] != len(layers):
        raise ValueError(f"styles of {styles.shape[1]} layers, and this network has {len(layers)}")
    return [styles[:, i, : 2 * layer.weight.shape[1]] for i, layer in enumerate(layers)]


def _of_block(styles: Sequence[Tensor] | None, block: int) -> Sequence[Tensor | None]:
    return (None, None) if styles is None else styles[2 * block : 2 * block + 2]


class StyleUNet(InferenceMixin):
    """Style-based U-Net generator; the arguments are those of the official configurations.

    The encoder sees the known pixels and the mask, and with CSE also the surface embedding. Its features join the decoder
    through normalised 1 x 1 convolutions; styles w modulate every decoder layer.

    Args:
        imsize: height and width of the crops, in pixels.
        cnum: channels at full resolution.
        max_cnum_mul: limit on the channels, in multiples of cnum.
        min_fmap_resolution: longer side of the smallest feature map is at least this, in pixels.
        im_channels: channels of a picture.
        z_channels: length of z.
        w_dim: length of w.
        mask_output: paste the known pixels over the output.
        scale_grad: see `keep_known`.
        conv_clamp: limit on the magnitude of activations; keeps half precision finite.
        n_middle_blocks: modulated residual blocks between encoder and decoder.
        input_cse: takes a surface embedding.
        cse_nc: channels of the embedding.
        input_keypoints: takes keypoints.
        n_keypoints: keypoints per person.
        input_keypoint_indices: which of them the network sees.
        fix_errors: False for checkpoints trained with the activation on skips and another skip gain (the official
            ``fdh_styleganL_nocse``).
    """

    def __init__(
        self,
        imsize: Sequence[int],
        cnum: int,
        *,
        max_cnum_mul: int = 8,
        min_fmap_resolution: int = 8,
        im_channels: int = 3,
        z_channels: int = 512,
        w_dim: int = 512,
        mask_output: bool = True,
        scale_grad: bool = True,
        conv_clamp: float | None = 256,
        n_middle_blocks: int = 0,
        input_cse: bool = False,
        cse_nc: int | None = None,
        input_keypoints: bool = False,
        n_keypoints: int = 17,
        input_keypoint_indices: Sequence[int] = (),
        fix_errors: bool = True,
    ) -> None:
        super().__init__()
        if input_cse and input_keypoints:
            raise ValueError("a U-Net takes a surface embedding or keypoints, not both")
        self.imsize = (int(imsize[0]), int(imsize[1]))
        self.im_channels, self.z_channels, self.w_dim = im_channels, z_channels, w_dim
        self.mask_output, self.scale_grad = mask_output, scale_grad
        self.input_cse, self.cse_nc = input_cse, int(cse_nc or 0)
        self.n_keypoints = n_keypoints
        self.keypoint_indices = [int(i) for i in input_keypoint_indices] if input_keypoints else None
        longest = max(self.imsize)
        levels = int(np.log2(longest) - np.log2(min_fmap_resolution)) + 1
        third = math.sqrt(1 / 3)

        def width(size: int) -> int:
            return channels_at(size, cnum, longest, max_cnum_mul)

        extra = input_cse * (self.cse_nc + 1) + len(self.keypoint_indices or ())
        self.style_net = MappingNetwork(z_channels, w_dim)
        self.from_rgb = EqualConv2d(im_channels + 1 + extra, cnum, 1)
        self.encoder = nn.ModuleList()
        self.decoder = nn.ModuleList()
        for i in range(levels):
            size = longest // 2**i
            out = width(size) if i == levels - 1 else width(size // 2)
            self.encoder.append(
                ResidualBlock(width(size), out, down=i > 0, clamp=conv_clamp, linear_skip=fix_errors)
            )
        for i in range(levels):
            size = longest // 2 ** (levels - 1 - i)
            in_channels = width(size) if i == 0 else width(size // 2)
            block = ResidualBlock(
                in_channels, width(size), up=i < levels - 1, clamp=conv_clamp, gain=third, w_dim=w_dim, norm=True,
                linear_skip=fix_errors,
            )  # fmt: skip
            self.decoder.append(block)
            if i > 0:
                gain = third if fix_errors else SQRT_HALF
                setattr(
                    self,
                    f"unet_block{i}",
                    EqualConv2d(in_channels, in_channels, 1, clamp=conv_clamp, norm=True, gain=gain),
                )
        if n_middle_blocks:
            channels = width(min_fmap_resolution)
            gain = SQRT_HALF if fix_errors else third
            self.middle_blocks = nn.ModuleList(
                ResidualBlock(channels, channels, clamp=conv_clamp, gain=gain, w_dim=w_dim, norm=True)
                for _ in range(n_middle_blocks)
            )
        self.n_middle_blocks = n_middle_blocks
        self.to_rgb = EqualConv2d(cnum, im_channels, 1, activate=False, clamp=conv_clamp)

    def modulated_layers(self) -> list[EqualConv2d]:
        """The modulated layers in order of execution."""
        blocks = [*getattr(self, "middle_blocks", ()), *self.decoder]
        return [layer for block in blocks for layer in (block.conv0, block.conv1)]

    def styles(self, w: Tensor) -> Tensor:
        """(B, L, C): scale and shift of each of the L modulated layers that w (B, w_dim) gives, 0 up to the longest."""
        return table_of_styles(self.modulated_layers(), w)

    def encode(
        self,
        condition: Tensor,
        mask: Tensor,
        w: Tensor | None,
        *,
        embedding: Tensor | None = None,
        E_mask: Tensor | None = None,  # noqa: N803
        keypoints: Tensor | None = None,
        styles: Sequence[Tensor] | None = None,
    ) -> tuple[Tensor, list[Tensor]]:
        """Bottleneck features and the features of every finer level, finest first. Arguments as in `forward`."""
        inputs = [condition.masked_fill(mask == 0, 0), mask]
        if self.input_cse:
            if embedding is None or E_mask is None:
                raise ValueError("this network needs embedding (B, cse_nc, H, W) and E_mask (B, 1, H, W)")
            inputs += [embedding, E_mask]
        if self.keypoint_indices is not None:
            if keypoints is None:
                raise ValueError("this network needs keypoints (B, n_keypoints, 3)")
            inputs.append(draw_keypoints(keypoints[:, self.keypoint_indices], *self.imsize))
        x: Tensor = self.from_rgb(self._arrange(torch.cat(inputs, dim=1)))
        features = []
        for block in self.encoder:
            x = block(x)
            features.append(x)
        for i in range(self.n_middle_blocks):
            x = self.middle_blocks[i](x, w, styles=_of_block(styles, i))
        return x, features[:-1]

    def decode(
        self,
        x: Tensor,
        features: list[Tensor],
        w: Tensor | None,
        *,
        styles: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """Bottleneck, finer features and styles (B, w_dim) to a picture (B, im_channels, H, W), nothing pasted."""
        for i, block in enumerate(self.decoder):
            if i > 0:
                x = x + getattr(self, f"unet_block{i}")(features[-i])
            x = block(x, w, styles=_of_block(styles, self.n_middle_blocks + i))
        out: Tensor = self.to_rgb(x)
        return out

    def forward(
        self,
        condition: Tensor,
        mask: Tensor,
        z: Tensor | None = None,
        *,
        w: Tensor | None = None,
        styles: Tensor | None = None,
        embedding: Tensor | None = None,
        E_mask: Tensor | None = None,  # noqa: N803
        keypoints: Tensor | None = None,
        update_average: bool = False,
    ) -> dict[str, Tensor]:
        """Fill the hole of each crop.

        Args:
            condition: crops (B, 3, H, W) in -1..1. Pixels where the mask is 0 are zeroed before anything reads them.
            mask: (B, 1, H, W); 1 = keep the pixel, 0 = synthesise it.
            z: latents (B, z_channels), see `sample_latents`. Exactly one of z, w and styles.
            w: styles (B, w_dim), see `MappingNetwork`.
            styles: (B, L, C), see `styles`: what each layer is given, edited perhaps.
            embedding: surface embedding (B, cse_nc, H, W), for networks with CSE.
            E_mask: (B, 1, H, W); 1 where the embedding is known, for networks with CSE.
            keypoints: (B, n_keypoints, 3): x, y in 0..1, visibility; for networks with keypoints.
            update_average: move the mean style toward this batch, in training.

        Returns:
            {"img": (B, 3, H, W)}; nominally -1..1, not clipped.
        """
        if sum(given is not None for given in (z, w, styles)) != 1:
            raise ValueError("hand over exactly one of z (B, z_channels), w (B, w_dim) and styles (B, L, C)")
        if tuple(condition.shape[2:]) != self.imsize:
            raise ValueError(
                f"this network takes crops of {self.imsize} pixels, not {tuple(condition.shape[2:])}"
            )
        with self._precision(condition):
            if z is not None:
                w = self.style_net(z, update_average=update_average)
            rows = None if styles is None else rows_of_styles(self.modulated_layers(), styles)
            x, features = self.encode(
                condition, mask, w, embedding=embedding, E_mask=E_mask, keypoints=keypoints, styles=rows
            )
            out = self.decode(x, features, w, styles=rows).to(condition.dtype)
        if self.mask_output:
            out = keep_known(condition.masked_fill(mask == 0, 0), out, mask, scale_grad=self.scale_grad)
        return {"img": out}
