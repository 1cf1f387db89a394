"""TriA-GAN: a keypoint-guided generator for bodies (deep_privacy2's ``triagan``).

Hukkelas and Lindseth, "Synthesizing anyone, anywhere, in any pose" (WACV 2024). Beside the known pixels it takes the person's
mask, the keypoints as one-hot maps, and the limbs between them as lines. State dicts have the published keys.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from dp2bench.deepprivacy2.generators.layers import (
    LEAK,
    SQRT_HALF,
    EqualConv2d,
    EqualLinear,
    InferenceMixin,
    fir_filter,
    fir_kernel,
    fir_upsample,
    instance_norm,
)
from dp2bench.deepprivacy2.generators.mapping import MappingNetwork
from dp2bench.deepprivacy2.generators.style_unet import (
    draw_keypoints,
    keep_known,
    rows_of_styles,
    table_of_styles,
)

SQRT_THIRD = math.sqrt(1 / 3)

NECK, PELVIS = 17, 18
"""Midpoints of shoulders and hips, known where both are."""
LIMBS = (
    (0, 1, 1), (0, 2, 1), (1, 2, 1), (1, 3, 1), (2, 4, 1),
    (5, 6, 4), (5, 7, 2), (5, 11, 4), (6, 8, 3), (6, 12, 4),
    (7, 9, 2), (8, 10, 3), (11, 12, 4), (11, 13, 5), (12, 14, 6),
    (13, 15, 5), (14, 16, 6), (0, NECK, 1), (NECK, PELVIS, 4),
)  # fmt: skip
"""First keypoint, second, and category: 1 head, 2 left arm, 3 right arm, 4 trunk, 5 left leg, 6 right leg; later ones lie on top."""
CATEGORIES = 6


def draw_limbs(keypoints: NDArray[np.floating[Any]], height: int, width: int) -> NDArray[np.uint8]:
    """(height, width) joint map of one person: the category of each limb along a line of one pixel, 0 elsewhere.

    Args:
        keypoints: (17, 3) in COCO order: x and y in 0..1 of the crop, beyond it too, and visible or not.
        height: of the crop, in pixels.
        width: of the crop, in pixels.

    """
    from PIL import Image, ImageDraw

    points = np.asarray(keypoints, np.float32)
    middle = [(points[a] + points[b]) / 2 for a, b in ((5, 6), (11, 12))]
    points = np.concatenate((points, np.stack(middle)))
    known = points[:, 2] > 0
    known[NECK], known[PELVIS] = known[5] and known[6], known[11] and known[12]
    places = np.rint(points[:, :2] * np.array([width, height], np.float32)).astype(int)
    sheet = Image.new("L", (width, height))
    pen = ImageDraw.Draw(sheet)
    for first, second, category in LIMBS:
        if known[first] and known[second]:
            pen.line([tuple(places[first].tolist()), tuple(places[second].tolist())], fill=category)
    return np.asarray(sheet, np.uint8)


def joint_maps(keypoints: Tensor, height: int, width: int) -> Tensor:
    """(B, 1, height, width) uint8 joint maps of keypoints (B, 17, 3), see `draw_limbs`."""
    drawn = [draw_limbs(one, height, width) for one in keypoints.cpu().numpy()]
    return torch.from_numpy(np.stack(drawn))[:, None].to(keypoints.device)


class _FromRGB(nn.Module):
    """A linear 7 x 7 convolution. As published its weights are scaled by the channels without keypoints, ``fan_in``."""

    def __init__(self, in_channels: int, out_channels: int, *, fan_in: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 7, 7))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.weight_gain = 1 / math.sqrt(fan_in * 49)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * self.weight_gain, self.bias, padding=3)


class PreActivatedConv2d(nn.Module):
    """Normalise, modulate, activate, convolve, and add the bias; then a constant noise map where ``noise`` gives its size.

    Args:
        in_channels: channels in.
        out_channels: channels out.
        w_dim: length of the style.
        norm: instance norm first.
        gain: factor on what is convolved and on the bias, not on the noise.
        noise: (height, width) of the noise.

    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        w_dim: int,
        *,
        norm: bool,
        gain: float = 1.0,
        noise: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.norm, self.gain = norm, gain
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.weight_gain = 1 / math.sqrt(in_channels * 9)
        self.affine = EqualLinear(w_dim, in_channels, bias_init=1)
        self.affine_beta = EqualLinear(w_dim, in_channels)
        self.has_noise = noise is not None
        if noise is not None:
            self.noise_strength = nn.Parameter(torch.zeros(()))
            self.register_buffer("noise_const", torch.randn(noise))

    def style(self, w: Tensor) -> Tensor:
        """Scale and shift (B, 2 * in_channels) that styles w (B, w_dim) give the input."""
        return torch.cat((self.affine(w), self.affine_beta(w)), dim=1)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """(B, in, H, W) and `style` to (B, out, H, W)."""
        if self.norm:
            x = instance_norm(x)
        scale, shift = style.to(x.dtype)[:, :, None, None].chunk(2, dim=1)
        x = F.leaky_relu(torch.addcmul(shift, x, scale), LEAK)
        x = F.conv2d(x, self.weight * (self.weight_gain * math.sqrt(2) * self.gain), padding=1)
        x = x + self.bias.view(-1, 1, 1) * self.gain
        if not self.has_noise:
            return x
        noise: Tensor = self.noise_const  # type: ignore[assignment]
        return x + noise * self.noise_strength


class PreActivatedBlock(nn.Module):
    """Two `PreActivatedConv2d` beside a 1 x 1 skip.

    Args:
        in_channels: channels in, and between the two.
        out_channels: channels out.
        w_dim: length of the style.
        norm: see `PreActivatedConv2d`.
        gain: factor on both branches.
        layer_scale: a factor a channel on the branch of the two, learned.
        noise: (height, width) of the noise.

    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        w_dim: int,
        *,
        norm: bool,
        gain: float = SQRT_HALF,
        layer_scale: bool = False,
        noise: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.conv0 = PreActivatedConv2d(in_channels, in_channels, w_dim, norm=norm, noise=noise)
        self.conv1 = PreActivatedConv2d(in_channels, out_channels, w_dim, norm=norm, gain=gain, noise=noise)
        self.skip = EqualConv2d(in_channels, out_channels, 1, bias=False, activate=False, gain=gain)
        if layer_scale:
            self.layer_scale = nn.Parameter(torch.full((1, out_channels, 1, 1), 1e-5))
        self.scaled = layer_scale

    def forward(self, x: Tensor, styles: Sequence[Tensor]) -> Tensor:
        """(B, in, H, W) and the styles of both convolutions, to (B, out, H, W)."""
        made: Tensor = self.conv1(self.conv0(x, styles[0]), styles[1])
        if self.scaled:
            made = made * self.layer_scale
        out: Tensor = self.skip(x) + made
        return out


class _Lateral(nn.Module):
    """Encoder features as a decoder takes them: normalise, activate, convolve."""

    def __init__(self, channels: int, gain: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels, channels, 1, 1))
        self.factor = math.sqrt(2) * gain / math.sqrt(channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(F.leaky_relu(instance_norm(x), LEAK), self.weight * self.factor)


class _Resample(nn.Module):
    """Holds the low-pass filter of published files."""

    resample_filter: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("resample_filter", fir_kernel())


class _Encoder(nn.Module):
    def __init__(self, layers: nn.ModuleList) -> None:
        super().__init__()
        self.layers, self.downsample = layers, _Resample()


class _Decoder(nn.Module):
    def __init__(
        self, layers: nn.ModuleList, middle: nn.ModuleList, unet: nn.ModuleDict, to_rgb: nn.Module
    ) -> None:
        super().__init__()
        self.layers, self.middle_blocks, self.unet_layers = layers, middle, unet
        self.upsample, self.to_rgb = _Resample(), to_rgb


class TriaGAN(InferenceMixin):
    """The keypoint-guided generator; the arguments are those of the published configurations.

    Args:
        imsize: height and width of the crops, in pixels.
        dim: channels at full resolution, before ``dim_mults``.
        dim_mults: channels of each resolution in multiples of ``dim``, finest first.
        im_channels: channels of a picture.
        num_resnet_blocks: blocks a resolution, in encoder and decoder.
        n_middle_blocks: blocks between them.
        z_channels: length of z.
        w_dim: length of w.
        norm_enc: instance norms in the encoder.
        norm_dec: instance norms in the decoder.
        use_maskrcnn_mask: takes the person's mask.
        input_keypoints: takes keypoints.
        input_keypoint_indices: which of them.
        input_joint: takes the limbs between them.
        n_keypoints: keypoints of a person.
        use_noise: noise in the decoder.
        layer_scale: see `PreActivatedBlock`.

    """

    def __init__(
        self,
        imsize: Sequence[int],
        dim: int,
        dim_mults: Sequence[int],
        *,
        im_channels: int = 3,
        num_resnet_blocks: int = 2,
        n_middle_blocks: int = 2,
        z_channels: int = 64,
        w_dim: int = 512,
        norm_enc: bool = True,
        norm_dec: bool = True,
        use_maskrcnn_mask: bool = True,
        input_keypoints: bool = True,
        input_keypoint_indices: Sequence[int] = tuple(range(17)),
        input_joint: bool = True,
        n_keypoints: int = 17,
        use_noise: bool = True,
        layer_scale: bool = True,
    ) -> None:
        super().__init__()
        self.imsize = (int(imsize[0]), int(imsize[1]))
        self.z_channels, self.w_dim, self.n_keypoints = z_channels, w_dim, n_keypoints
        self.use_maskrcnn_mask, self.input_joint = use_maskrcnn_mask, input_joint
        self.keypoint_indices = [int(i) for i in input_keypoint_indices] if input_keypoints else []
        self.style_net = MappingNetwork(z_channels, w_dim)
        pictured = im_channels + 2 + 2 * use_maskrcnn_mask
        inputs = pictured + len(self.keypoint_indices) + CATEGORIES * input_joint
        self.from_rgb = _FromRGB(inputs, dim * dim_mults[0], fan_in=pictured)
        widths = [dim * m for m in dim_mults]
        levels = len(widths)

        def size(level: int) -> tuple[int, int] | None:
            return (self.imsize[0] // 2**level, self.imsize[1] // 2**level) if use_noise else None

        encoder, decoder = [], []
        for level in range(levels):  # finest first
            after = widths[min(level + 1, levels - 1)]
            widths_of = [widths[level]] * num_resnet_blocks + [after]
            encoder.append(
                nn.ModuleList(
                    PreActivatedBlock(a, b, w_dim, norm=norm_enc, layer_scale=layer_scale)
                    for a, b in itertools.pairwise(widths_of)
                )
            )
        for level in reversed(range(levels)):
            before = widths[min(level + 1, levels - 1)]
            widths_of = [before] + [widths[level]] * num_resnet_blocks
            decoder.append(
                nn.ModuleList(
                    PreActivatedBlock(
                        a, b, w_dim, norm=norm_dec, layer_scale=layer_scale, noise=size(level),
                        # Three branches meet in front of the first block of a level with encoder features.
                        gain=SQRT_THIRD if i == 0 and level < levels - 1 else SQRT_HALF,
                    )
                    for i, (a, b) in enumerate(itertools.pairwise(widths_of))
                )
            )  # fmt: skip
        middle = nn.ModuleList(
            PreActivatedBlock(
                widths[-1], widths[-1], w_dim, norm=norm_dec, layer_scale=layer_scale, noise=size(levels - 1)
            )
            for _ in range(n_middle_blocks)
        )
        unet = nn.ModuleDict(
            {str(i): nn.Sequential(_Lateral(widths[levels - i], SQRT_THIRD)) for i in range(1, levels)}
        )
        to_rgb = EqualConv2d(widths[0], im_channels, 1, activate=False)
        # Published files count the levels from the coarsest.
        self.encoder = _Encoder(nn.ModuleList(encoder[::-1]))
        self.decoder = _Decoder(nn.ModuleList(decoder), middle, unet, to_rgb)

    def modulated_layers(self) -> list[PreActivatedConv2d]:
        """The modulated layers in order of execution."""
        levels: list[Any] = [
            *reversed(list(self.encoder.layers)),
            self.decoder.middle_blocks,
            *self.decoder.layers,
        ]
        blocks = [block for level in levels for block in level]
        return [layer for block in blocks for layer in (block.conv0, block.conv1)]

    def styles(self, w: Tensor) -> Tensor:
        """(B, L, C): scale and shift of each of the L modulated layers that w (B, w_dim) gives, 0 up to the longest."""
        return table_of_styles(self.modulated_layers(), w)

    def inputs(
        self, condition: Tensor, mask: Tensor, keypoints: Tensor | None, person: Tensor | None
    ) -> Tensor:
        """What the first layer reads, (B, *, H, W). Arguments as in `forward`."""
        parts = [condition, mask, 1 - mask]
        if self.use_maskrcnn_mask:
            if person is None:
                raise ValueError("this network needs person (B, 1, H, W), 0 where the person is")
            parts += [person, 1 - person]
        if self.keypoint_indices or self.input_joint:
            if keypoints is None:
                raise ValueError("this network needs keypoints (B, n_keypoints, 3)")
            parts.append(draw_keypoints(keypoints[:, self.keypoint_indices], *self.imsize))
        if self.input_joint and keypoints is not None:
            limbs = joint_maps(keypoints, *self.imsize)[:, 0].long()
            parts.append(F.one_hot(limbs, CATEGORIES + 1).permute(0, 3, 1, 2)[:, 1:].to(condition.dtype))
        return torch.cat(parts, dim=1)

    def forward(
        self,
        condition: Tensor,
        mask: Tensor,
        z: Tensor | None = None,
        *,
        w: Tensor | None = None,
        styles: Tensor | None = None,
        keypoints: Tensor | None = None,
        person: Tensor | None = None,
        update_average: bool = False,
    ) -> dict[str, Tensor]:
        """Fill the hole of each crop.

        Args:
            condition: crops (B, 3, H, W) in -1..1. Pixels where the mask is 0 are zeroed before anything reads them.
            mask: (B, 1, H, W); 1 = keep the pixel, 0 = synthesise it.
            z: latents (B, z_channels). Exactly one of z, w and styles.
            w: styles (B, w_dim).
            styles: (B, L, C), see `styles`.
            keypoints: (B, n_keypoints, 3): x and y in 0..1 of the crop, visible 0 or 1.
            person: (B, 1, H, W), 0 where the person is; for networks that take their mask.
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
        condition = condition.masked_fill(mask == 0, 0)
        with self._precision(condition):
            layers = self.modulated_layers()
            if z is not None:
                w = self.style_net(z, update_average=update_average)
            if styles is not None:
                rows = rows_of_styles(layers, styles)
            else:
                assert w is not None
                rows = [layer.style(w) for layer in layers]
            pairs = iter([rows[i : i + 2] for i in range(0, len(rows), 2)])
            x: Tensor = self.from_rgb(self._arrange(self.inputs(condition, mask, keypoints, person)))
            features: list[Tensor] = []
            kernel = self.encoder.downsample.resample_filter
            down: list[Any] = list(self.encoder.layers)
            up: list[Any] = list(self.decoder.layers)
            for level in reversed(down):
                x = x if not features else fir_filter(x, kernel, padding=1, stride=2)
                for block in level:
                    x = block(x, next(pairs))
                features.append(x)
            for block in self.decoder.middle_blocks:
                x = block(x, next(pairs))
            for i, level in enumerate(up):
                if i > 0:
                    x = fir_upsample(x, kernel) + self.decoder.unet_layers[str(i)](features[-1 - i])
                for block in level:
                    x = block(x, next(pairs))
            out = self.decoder.to_rgb(x).to(condition.dtype)
        return {"img": keep_known(condition, out, mask)}


def current_keys(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A published state dict, whose last layer has a number in its name, with our keys."""
    return {re.sub(r"^decoder\.to_rgb\.\d+\.", "decoder.to_rgb.", key): value for key, value in state.items()}
