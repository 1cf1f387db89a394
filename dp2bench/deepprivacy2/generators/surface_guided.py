"""Surface Guided GANs: a U-Net whose decoder is modulated by the body's surface, pixel by pixel.

Hukkelas, Smebye, Mester and Lindseth, "Realistic full-body anonymization with surface-guided GANs" (WACV 2023). The styles
come from variational surface-adaptive modulation (V-SAM): every vertex of the surface is mapped, together with the latent
code, to a style of its own. A pixel takes the style of the vertex it shows, so only vertices that a crop shows are mapped;
the published code maps all of them for each person.

The paper's ablations are configurations of `SurfaceGuidedUNet`: ``style`` is ``none`` (A, B), ``surface`` (C, D, E),
``stylegan``, ``spade``, ``clade`` or ``inade``. State dicts have the published keys; outputs
equal the published ones but for ``inade``, whose formula was not found.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dp2bench.deepprivacy2.generators import winograd
from dp2bench.deepprivacy2.generators.discriminator import Discriminator
from dp2bench.deepprivacy2.generators.layers import (
    LEAK,
    SQRT_HALF,
    ConvPair,
    EqualConv2d,
    EqualLinear,
    InferenceMixin,
    ResidualBlock,
    fir_kernel,
    winograd_pays,
)
from dp2bench.deepprivacy2.generators.style_unet import channels_at, keep_known

StyleKind = Literal["none", "surface", "stylegan", "spade", "clade", "inade"]
DEVIATION_EPS = 1e-8
SURFACE_AVERAGE_DECAY = 0.995
"""Of the moving average of each vertex's style, a training step."""
SMPL_VERTICES = 27_554
FPN_CHANNELS = 128
"""Of the discriminator's feature pyramid, at any width."""


class StyleInputs(NamedTuple):
    """What styles are made of; B crops of (H, W) pixels.

    Attributes:
        z: latents (B, z_channels), or (B, classes, z_channels) for ``inade``; None where the styles take none.
        vertices: (B, 1, H, W) integer vertex ids, read where ``E_mask`` is 1.
        E_mask: (B, 1, H, W), 1 where the surface is known.
        mask: (B, 1, H, W), 1 where the pixel is known.
        semantic: (B, classes, H, W) one-hot classes.
        psi: how much of the own style is left, 0 to 1; None for all of it.

    """

    z: Tensor | None
    vertices: Tensor | None = None
    E_mask: Tensor | None = None
    mask: Tensor | None = None
    semantic: Tensor | None = None
    psi: float | None = None


class GuidedConv2d(EqualConv2d):
    """A convolution whose input is scaled pixel by pixel and whose output is divided by its deviation; the mean stays.

    Arguments as in `EqualConv2d`, without ``w_dim``.
    """

    def forward(self, x: Tensor, gamma: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """(B, in, H, W) and scales that broadcast to it, to (B, out, H', W')."""
        if gamma is not None:
            x = x * gamma.to(x.dtype)
        if not self.is_fused:
            weight = self.weight * self.weight_gain
            x = self._convolve(
                x, weight.transpose(0, 1) if self.up and self.kernel_size == 3 else weight, None
            )
            if self.norm:
                x = x * _inverse_deviation(x)
            if self.bias is not None:
                x = x + self.bias.view(-1, 1, 1)
            if self.activate:
                x = F.leaky_relu(x, LEAK)
            if self.gain != 1:
                x = x * self.gain
            return x if self.limit is None else x.clamp(-self.limit, self.limit)
        bias = None if self.norm else self.fused_bias
        if self.winograd and winograd_pays(x, self.fused_weight):
            x = winograd.convolve(x, self._kernels(self.fused_weight), bias=bias)
        elif not self.preconvolved:
            x = self._convolve(x, self.fused_weight, bias)
        elif self.up:
            x = F.conv_transpose2d(x, self.fused_weight, bias, stride=2, padding=2)
        else:
            x = F.conv2d(x, self.fused_weight, bias, stride=2, padding=2)
        if self.norm:
            scale = _inverse_deviation(x) * self.gain
            shift = 0 if self.fused_bias is None else self.fused_bias.view(-1, 1, 1)
            x = x * scale + shift
        if self.activate:
            x = F.leaky_relu_(x, LEAK)
        return x if self.limit is None else x.clamp_(-self.limit, self.limit)


def _inverse_deviation(x: Tensor) -> Tensor:
    """(B, C, 1, 1): 1 / deviation of each channel over its pixels."""
    variance = x.float().var((2, 3), unbiased=False, keepdim=True)
    return (variance + DEVIATION_EPS).rsqrt().to(x.dtype)


class GuidedBlock(nn.Module):
    """Two guided 3 x 3 convolutions beside an activated 1 x 1 skip; arguments as in `ResidualBlock`."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        up: bool = False,
        down: bool = False,
        norm: bool = True,
        clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.conv0 = GuidedConv2d(in_channels, out_channels, down=down, norm=norm, clamp=clamp)
        self.conv1 = GuidedConv2d(out_channels, out_channels, up=up, norm=norm, clamp=clamp, gain=SQRT_HALF)
        self.skip = GuidedConv2d(in_channels, out_channels, 1, up=up, down=down, bias=False, gain=SQRT_HALF)

    def forward(self, x: Tensor, gammas: Sequence[Tensor | None] = (None, None)) -> Tensor:
        """(B, in, H, W) and the scales of both convolutions, to (B, out, H', W')."""
        skip: Tensor = self.skip(x)
        out: Tensor = self.conv1(self.conv0(x, gammas[0]), gammas[1])
        return out + skip


# ---------------------------------------------------------------- styles


class VertexMapping(nn.Module):
    """The style of each vertex: its embedding and z through linear layers.

    Args:
        n_vertices: rows of the table.
        cse_nc: length of a vertex's embedding.
        z_channels: length of z.
        input_z: styles depend on z; otherwise everybody has the same.
        hidden_dim: width of the layers.
        out_dim: length of a style, where there are combined layers.
        n_layer_z: layers that z passes alone.
        n_layer_combined: layers that embedding and z pass together; 0: they stay side by side.

    """

    E: Tensor
    w_avg: Tensor

    def __init__(
        self,
        n_vertices: int,
        cse_nc: int,
        z_channels: int,
        *,
        input_z: bool = True,
        hidden_dim: int = 512,
        out_dim: int = 512,
        n_layer_z: int = 3,
        n_layer_combined: int = 6,
    ) -> None:
        super().__init__()
        self.input_z, self.n_layer_z, self.n_layer_combined = input_z, n_layer_z, n_layer_combined
        joint = hidden_dim + z_channels * input_z
        self.w_dim = out_dim if n_layer_combined else joint
        self.register_buffer("E", torch.zeros(n_vertices, cse_nc))
        self.register_buffer("w_avg", torch.zeros(n_vertices, self.w_dim))
        self.fromE0 = EqualLinear(cse_nc, hidden_dim, activate=True)
        self.fromE1 = EqualLinear(hidden_dim, hidden_dim, activate=True)
        if input_z:
            for i in range(n_layer_z):
                setattr(self, f"fromZ{i}", EqualLinear(z_channels, z_channels, activate=True))
        for i in range(n_layer_combined):
            before = joint if i == 0 else hidden_dim
            after = out_dim if i == n_layer_combined - 1 else hidden_dim
            setattr(self, f"fc{i}", EqualLinear(before, after, activate=True))
            if i % 2:
                skipped = joint if i == 1 else hidden_dim
                setattr(self, f"residual{i}", EqualLinear(skipped, after))

    def forward(self, z: Tensor | None, ids: Tensor | None = None) -> Tensor:
        """Styles (n, w_dim) of one person's vertices.

        Args:
            z: the person's latent (1, z_channels); None where styles take none.
            ids: vertices (n,); all where omitted.

        """
        with torch.autocast(self.E.device.type, enabled=False):
            x = self.fromE1(self.fromE0(self.E if ids is None else self.E[ids]))
            if self.input_z:
                if z is None:
                    raise ValueError("these styles need z (B, z_channels)")
                code = z.float()
                code = code * (code.square().mean(1, keepdim=True) + 1e-8).rsqrt()
                for i in range(self.n_layer_z):
                    code = getattr(self, f"fromZ{i}")(code)
                x = torch.cat((x, code.expand(len(x), -1)), dim=1)
            skipped = x
            for i in range(self.n_layer_combined):
                x = getattr(self, f"fc{i}")(x)
                if i % 2:
                    x = skipped = (x + getattr(self, f"residual{i}")(skipped)) * SQRT_HALF
            return torch.as_tensor(x)

    def truncate(self, w: Tensor, ids: Tensor, psi: float) -> Tensor:
        """Interpolate each vertex's style (n, w_dim) from its mean: psi 0 gives everybody the mean."""
        if not 0 <= psi <= 1:
            raise ValueError(f"truncation must lie in 0..1, not {psi}")
        return torch.lerp(self.w_avg[ids], w, psi)

    @torch.no_grad()
    def update_average(self, w: Tensor, ids: Tensor) -> None:
        """Move the mean styles of these vertices (n,) toward w (n, w_dim)."""
        self.w_avg[ids] = w.detach().float().lerp(self.w_avg[ids], SURFACE_AVERAGE_DECAY)

    @torch.no_grad()
    def estimate_average(self, *, n_samples: int = 200, seed: int = 0) -> Tensor:
        """Replace w_avg (n_vertices, w_dim) by each vertex's mean style over random z."""
        generator = np.random.Generator(np.random.PCG64(seed))
        first: Any = getattr(self, "fromZ0", None)
        z_channels = int(first.weight.shape[1]) if self.input_z else 1
        total = torch.zeros_like(self.w_avg, dtype=torch.float64)
        for _ in range(n_samples if self.input_z else 1):
            z = torch.from_numpy(generator.standard_normal((1, z_channels), dtype=np.float32))
            total += self(z.to(self.E.device))
        self.w_avg.copy_(total / (n_samples if self.input_z else 1))
        return self.w_avg


class _LinearScale(nn.Module):
    def __init__(self, w_dim: int, channels: int) -> None:
        super().__init__()
        self.mlp = EqualConv2d(w_dim, channels, 1, activate=False)
        nn.init.ones_(cast("Tensor", self.mlp.bias))


class SurfaceStyles(nn.Module):
    """V-SAM: the scales of every decoder layer from the surface.

    Args:
        layers: (channels, height, width) of each modulated layer's input.
        cse_nc, z_channels: see `VertexMapping`.
        n_vertices: rows of the table.
        conditional: also told the border and the known pixels, apart from what has no surface.
        mapping: see `VertexMapping`.

    """

    def __init__(
        self,
        layers: Sequence[tuple[int, int, int]],
        *,
        cse_nc: int,
        z_channels: int,
        n_vertices: int = SMPL_VERTICES,
        conditional: bool = True,
        **mapping: Any,
    ) -> None:
        super().__init__()
        self.layers, self.conditional = tuple(layers), conditional
        self.E_map = VertexMapping(n_vertices, cse_nc, z_channels, **mapping)
        w_dim = self.E_map.w_dim
        self.global_mask = EqualConv2d(w_dim + (3 if conditional else 2), w_dim, 1, bias=False)
        self.dec_layers = nn.ModuleList(_LinearScale(w_dim, channels) for channels, _, _ in layers)

    def forward(self, given: StyleInputs, *, update_average: bool = False) -> list[Tensor]:
        """Scales (B, channels, height, width) of each layer, in its order."""
        if given.vertices is None or given.E_mask is None or given.mask is None:
            raise ValueError("surface-guided styles need vertices and E_mask, both (B, 1, H, W)")
        tables, index = self._tables(given, update_average)
        size = index.shape[1:]
        full = _look_up(tables, index)
        maps = {tuple(size): full}
        out = []
        for (_, height, width), layer in zip(self.layers, self.dec_layers, strict=True):
            mlp = cast("_LinearScale", layer).mlp
            if (height, width) == tuple(size):
                # Linear, so the rows of the table can go through it in place of the pixels.
                out.append(_look_up([_rows_through(mlp, table) for table in tables], index))
                continue
            while (height, width) not in maps:
                smallest = min(maps)
                h, w = smallest[0] // 2, smallest[1] // 2
                if h < height:
                    raise ValueError(f"no halving of {tuple(size)} gives {(height, width)}")
                maps[h, w] = F.interpolate(maps[smallest], size=(h, w), mode="bilinear", align_corners=True)
            out.append(mlp(maps[height, width]))
        return out

    def _tables(self, given: StyleInputs, update_average: bool) -> tuple[list[Tensor], Tensor]:
        """Rows of styles for each person, and which row each pixel takes, (B, H, W).

        The last rows of a table are pixels without surface: known ones, and those to be synthesised.
        """
        assert given.vertices is not None
        assert given.E_mask is not None
        assert given.mask is not None
        known = given.mask[:, 0] > 0
        surface = (given.E_mask[:, 0] > 0) & ~known
        index = torch.empty(known.shape, dtype=torch.long, device=known.device)
        tables = []
        for i in range(len(known)):
            ids, rows = given.vertices[i, 0][surface[i]].long().unique(return_inverse=True)  # type: ignore[no-untyped-call]
            w = self.E_map(None if given.z is None else given.z[i : i + 1], ids)
            if update_average:
                self.E_map.update_average(w, ids)
            if given.psi is not None:
                w = self.E_map.truncate(w, ids, given.psi)
            n = len(ids)
            index[i][surface[i]] = rows
            index[i][known[i]] = n
            index[i][~(known[i] | surface[i])] = n + 1
            w = torch.cat((w, w.new_zeros(2, w.shape[1])))
            flags = w.new_zeros(n + 2, 3)  # known, to be synthesised without surface, with surface
            flags[:n, 2], flags[n, 0], flags[n + 1, 1] = 1, 1, 1
            if not self.conditional:
                flags = torch.stack((flags[:, 2], 1 - flags[:, 2]), dim=1)
            tables.append(_rows_through(self.global_mask, torch.cat((w, flags), dim=1)))
        return tables, index


def _rows_through(layer: EqualConv2d, rows: Tensor) -> Tensor:
    """(n, in) through a 1 x 1 convolution, to (n, out)."""
    out: Tensor = layer(rows.T[None, :, :, None])
    return out[0, :, :, 0].T


def _look_up(tables: Sequence[Tensor], index: Tensor) -> Tensor:
    """Rows of each person's table (n, C) at (B, H, W) indices, as (B, C, H, W) with channels last in memory."""
    picked = [table[places.flatten()] for table, places in zip(tables, index, strict=True)]
    return torch.stack(picked).view(*index.shape, -1).permute(0, 3, 1, 2)


class _LatentMapping(nn.Module):
    """z through activated linear layers."""

    def __init__(self, z_channels: int, layers: int = 2) -> None:
        super().__init__()
        self.layers = layers
        for i in range(layers):
            setattr(self, f"fromZ{i}", EqualLinear(z_channels, z_channels, activate=True))

    def forward(self, z: Tensor) -> Tensor:
        x = z * (z.square().mean(1, keepdim=True) + 1e-8).rsqrt()
        for i in range(self.layers):
            x = getattr(self, f"fromZ{i}")(x)
        return x


class LatentStyles(nn.Module):
    """StyleGAN's modulation: one scale a channel, from z alone."""

    def __init__(self, layers: Sequence[tuple[int, int, int]], *, z_channels: int) -> None:
        super().__init__()
        self.w_map = _LatentMapping(z_channels)
        self.dec_layers = nn.ModuleList(
            EqualLinear(z_channels, channels, bias_init=1) for channels, _, _ in layers
        )

    def forward(self, given: StyleInputs, *, update_average: bool = False) -> list[Tensor]:
        """Scales (B, channels, 1, 1) of each layer."""
        if given.z is None:
            raise ValueError("these styles need z (B, z_channels)")
        w = self.w_map(given.z)
        return [layer(w)[:, :, None, None] for layer in self.dec_layers]


class _Spade(nn.Module):
    """Scales from classes by two convolutions (Park et al., CVPR 2019)."""

    def __init__(self, channels: int, classes: int, hidden: int) -> None:
        super().__init__()
        self.mlp_shared = EqualConv2d(classes, hidden)
        self.mlp = EqualConv2d(hidden, channels, 1, activate=False)

    def forward(self, semantic: Tensor, z: Tensor | None) -> Tensor:
        out: Tensor = self.mlp(self.mlp_shared(semantic))
        return out


class _Clade(nn.Module):
    """One scale a class (Tan et al., TPAMI 2021)."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.gamma = EqualConv2d(classes, channels, 1, activate=False, bias=False)

    def forward(self, semantic: Tensor, z: Tensor | None) -> Tensor:
        out: Tensor = self.gamma(semantic)
        return out


class _Inade(nn.Module):
    """One scale a class and instance, from noise of its own (Tan et al., CVPR 2021)."""

    def __init__(self, channels: int, classes: int, z_channels: int) -> None:
        super().__init__()
        self.a = EqualConv2d(classes, channels, 1, activate=False, bias=False)
        self.b = EqualConv2d(classes, channels, 1, activate=False, bias=False)
        self.noise_affine = EqualConv2d(z_channels, channels, 1, activate=False)

    def forward(self, semantic: Tensor, z: Tensor | None) -> Tensor:
        if z is None or z.ndim != 3:
            raise ValueError("inade needs z of each class (B, classes, z_channels)")
        noise = self.noise_affine(z.transpose(1, 2)[..., None])[..., 0]  # (B, channels, classes)
        spread = torch.einsum("bck,bkhw->bchw", noise, semantic)
        out: Tensor = self.a(semantic) * spread + self.b(semantic)
        return out


class SemanticStyles(nn.Module):
    """Scales from a map of classes: ``spade``, ``clade`` or ``inade``."""

    def __init__(
        self,
        kind: Literal["spade", "clade", "inade"],
        layers: Sequence[tuple[int, int, int]],
        *,
        classes: int,
        z_channels: int,
        hidden: int = 128,
    ) -> None:
        super().__init__()
        self.layers = tuple(layers)
        made: list[nn.Module] = [
            _Spade(channels, classes, hidden)
            if kind == "spade"
            else _Clade(channels, classes)
            if kind == "clade"
            else _Inade(channels, classes, z_channels)
            for channels, _, _ in layers
        ]
        self.dec_layers = nn.ModuleList(made)

    def forward(self, given: StyleInputs, *, update_average: bool = False) -> list[Tensor]:
        """Scales (B, channels, height, width) of each layer."""
        if given.semantic is None:
            raise ValueError("these styles need semantic (B, classes, H, W)")
        out = []
        for (_, height, width), layer in zip(self.layers, self.dec_layers, strict=True):
            semantic = F.interpolate(given.semantic, size=(height, width), mode="nearest")
            out.append(1 + layer(semantic, given.z))
        return out


def _styles(
    style: Mapping[str, Any], layers: Sequence[tuple[int, int, int]], **common: Any
) -> nn.Module | None:
    arguments = dict(style)
    kind = arguments.pop("kind", "none")
    if kind == "none":
        return None
    if kind == "surface":
        return SurfaceStyles(layers, cse_nc=common["cse_nc"], z_channels=common["z_channels"], **arguments)
    if kind == "stylegan":
        return LatentStyles(layers, z_channels=common["z_channels"], **arguments)
    if kind in {"spade", "clade", "inade"}:
        return SemanticStyles(
            kind, layers, classes=common["classes"], z_channels=common["z_channels"], **arguments
        )
    raise TypeError(f"style kind {kind!r}; known: none, surface, stylegan, spade, clade, inade")


# ---------------------------------------------------------------- networks


class _LatentMap(nn.Module):
    """z as one map of the bottleneck's size."""

    def __init__(self, z_channels: int, height: int, width: int) -> None:
        super().__init__()
        self.size = (height, width)
        self.projector = nn.Linear(z_channels, height * width, bias=False)
        nn.init.normal_(self.projector.weight)

    def forward(self, z: Tensor) -> Tensor:
        out: Tensor = self.projector(z / math.sqrt(z.shape[1]))
        return out.view(-1, 1, *self.size)


class SurfaceGuidedUNet(InferenceMixin):
    """The generator of Surface Guided GANs and of the paper's ablations.

    Args:
        imsize: height and width of the crops, in pixels.
        cnum: channels at full resolution.
        max_cnum_mul: limit on the channels, in multiples of cnum.
        min_fmap_resolution: longer side of the smallest feature map is at least this, in pixels.
        im_channels: channels of a picture.
        z_channels: length of z.
        n_middle_blocks: blocks between encoder and decoder, not modulated.
        conv_clamp: limit on the magnitude of activations.
        scale_grad: see `keep_known`.
        input_cse: the encoder sees the embedding.
        cse_nc: channels of the embedding.
        embed_z: z is added to the bottleneck.
        semantic_nc: classes of a semantic map that the encoder sees; None for none.
        style: ``kind`` (see the module) and the arguments of its class.

    """

    def __init__(
        self,
        imsize: Sequence[int],
        cnum: int,
        *,
        style: Mapping[str, Any],
        max_cnum_mul: int = 16,
        min_fmap_resolution: int = 32,
        im_channels: int = 3,
        z_channels: int = 512,
        n_middle_blocks: int = 2,
        conv_clamp: float | None = 256,
        scale_grad: bool = True,
        input_cse: bool = True,
        cse_nc: int = 16,
        embed_z: bool = False,
        semantic_nc: int | None = None,
    ) -> None:
        super().__init__()
        self.imsize = (int(imsize[0]), int(imsize[1]))
        self.z_channels, self.cse_nc, self.input_cse = z_channels, cse_nc, input_cse
        self.scale_grad, self.semantic_nc = scale_grad, semantic_nc
        longest = max(self.imsize)
        levels = int(np.log2(longest) - np.log2(min_fmap_resolution)) + 1

        def width(level: int) -> int:
            return channels_at(longest // 2**level, cnum, longest, max_cnum_mul)

        if embed_z:
            scale = 2 ** (levels - 1)
            self.z_projector = _LatentMap(z_channels, self.imsize[0] // scale, self.imsize[1] // scale)
        self.embed_z = embed_z
        inputs = im_channels + 1 + input_cse * cse_nc + (semantic_nc or 0)
        self.from_rgb = GuidedConv2d(inputs, width(0), 1)
        self.encoder, self.decoder = nn.ModuleList(), nn.ModuleList()
        for i in range(levels):
            out = width(i) if i == levels - 1 else width(i + 1)
            self.encoder.append(GuidedBlock(width(i), out, down=i > 0, clamp=conv_clamp))
        inner = width(levels - 1)
        self.middle_blocks = nn.ModuleList(
            GuidedBlock(inner, inner, clamp=conv_clamp) for _ in range(n_middle_blocks)
        )
        layers = []
        for i in range(levels):
            level = levels - 1 - i
            before, after = width(level if i == 0 else level + 1), width(level)
            self.decoder.append(GuidedBlock(before, after, up=i < levels - 1, clamp=conv_clamp))
            size = (self.imsize[0] // 2**level, self.imsize[1] // 2**level)
            layers += [(before, *size), (after, *size)]
            if i > 0:
                block = GuidedConv2d(before, before, 1, clamp=conv_clamp, gain=SQRT_HALF)
                setattr(self, f"unet_block{i}", block)
        self.to_rgb = EqualConv2d(width(0), im_channels, 1, activate=False, clamp=conv_clamp)
        made = _styles(style, layers, cse_nc=cse_nc, z_channels=z_channels, classes=int(semantic_nc or 0))
        self.style_kind: str = style.get("kind", "none")
        if made is not None:
            self.style_net = made
        carry_filters(self, but=("to_rgb",))

    def encode(self, inputs: Sequence[Tensor], z: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        """Bottleneck features and those of the finer levels, finest first, of inputs (B, *, H, W)."""
        x: Tensor = self.from_rgb(self._arrange(torch.cat(list(inputs), dim=1)))
        features = []
        for block in self.encoder:
            x = block(x)
            features.append(x)
        for block in self.middle_blocks:
            x = block(x)
        if self.embed_z:
            if z is None:
                raise ValueError("this network needs z (B, z_channels)")
            x = x + self.z_projector(z).to(x.dtype)
        return x, features[:-1]

    def decode(self, x: Tensor, features: list[Tensor], gammas: Sequence[Tensor | None]) -> Tensor:
        """Bottleneck, finer features and the scales of each layer to a picture (B, im_channels, H, W), nothing pasted."""
        for i, block in enumerate(self.decoder):
            if i > 0:
                x = x + getattr(self, f"unet_block{i}")(features[-i])
            x = block(x, gammas[2 * i : 2 * i + 2])
        out: Tensor = self.to_rgb(x)
        return out

    def forward(
        self,
        condition: Tensor,
        mask: Tensor,
        z: Tensor | None = None,
        *,
        vertices: Tensor | None = None,
        embedding: Tensor | None = None,
        E_mask: Tensor | None = None,  # noqa: N803
        semantic: Tensor | None = None,
        psi: float | None = None,
        update_average: bool = False,
    ) -> dict[str, Tensor]:
        """Fill the hole of each crop.

        Args:
            condition: crops (B, 3, H, W) in -1..1. Pixels where the mask is 0 are zeroed before anything reads them.
            mask: (B, 1, H, W), 0 or 1; 1 = keep the pixel.
            z: latents (B, z_channels); (B, classes, z_channels) for ``inade``.
            vertices: (B, 1, H, W) vertex ids, read where ``E_mask`` is 1; for surface styles.
            embedding: surface embedding (B, cse_nc, H, W), 0 where unknown; for networks whose encoder sees it.
            E_mask: (B, 1, H, W), 0 or 1; 1 where the surface is known.
            semantic: (B, semantic_nc, H, W) one-hot classes, for networks that take them.
            psi: truncation: how much of each vertex's own style is left, 0 to 1; None for all.
            update_average: move the mean styles toward this batch, in training.

        Returns:
            {"img": (B, 3, H, W)}; nominally -1..1, not clipped.

        """
        if tuple(condition.shape[2:]) != self.imsize:
            raise ValueError(
                f"this network takes crops of {self.imsize} pixels, not {tuple(condition.shape[2:])}"
            )
        condition = condition.masked_fill(mask == 0, 0)
        inputs = [condition, mask]
        if self.input_cse:
            if embedding is None:
                raise ValueError("this network needs embedding (B, cse_nc, H, W)")
            inputs.append(embedding)
        if self.semantic_nc:
            if semantic is None:
                raise ValueError("this network needs semantic (B, classes, H, W)")
            inputs.append(semantic)
        with self._precision(condition):
            gammas: Sequence[Tensor | None] = (None,) * (2 * len(self.decoder))
            if self.style_kind != "none":
                given = StyleInputs(z, vertices, E_mask, mask, semantic, psi)
                gammas = self.style_net(given, update_average=update_average)
            x, features = self.encode(inputs, z)
            out = self.decode(x, features, gammas).to(condition.dtype)
        return {"img": keep_known(condition, out, mask, scale_grad=self.scale_grad)}


class SurfaceGuidedDecoder(InferenceMixin):
    """The paper's unconditional generator (DeepFashion): a learned constant through modulated layers.

    Arguments as in `SurfaceGuidedUNet`.
    """

    def __init__(
        self,
        imsize: Sequence[int],
        cnum: int,
        *,
        style: Mapping[str, Any],
        max_cnum_mul: int = 16,
        min_fmap_resolution: int = 8,
        im_channels: int = 3,
        z_channels: int = 512,
        conv_clamp: float | None = 256,
        cse_nc: int = 16,
    ) -> None:
        super().__init__()
        self.imsize = (int(imsize[0]), int(imsize[1]))
        self.z_channels, self.cse_nc = z_channels, cse_nc
        longest = max(self.imsize)
        levels = int(np.log2(longest) - np.log2(min_fmap_resolution)) + 1

        def width(level: int) -> int:
            return channels_at(longest // 2**level, cnum, longest, max_cnum_mul)

        inner = width(levels - 1)
        smallest = (self.imsize[0] // 2 ** (levels - 1), self.imsize[1] // 2 ** (levels - 1))
        self.x = nn.Parameter(torch.randn(1, inner, *smallest))
        self.first = GuidedConv2d(inner, inner, norm=True, clamp=conv_clamp)
        layers = [(inner, *smallest)]
        self.decoder = nn.ModuleList()
        for i in range(levels):
            level = levels - 1 - i
            before, after = width(level if i == 0 else level + 1), width(level)
            self.decoder.append(GuidedBlock(before, after, up=i < levels - 1, clamp=conv_clamp))
            size = (self.imsize[0] // 2**level, self.imsize[1] // 2**level)
            layers += [(before, *size), (after, *size)]
        self.to_rgb = EqualConv2d(width(0), im_channels, 1, activate=False, clamp=conv_clamp)
        # Published files count the layers from the finest.
        self.style_net = SurfaceStyles(
            layers[::-1], cse_nc=cse_nc, z_channels=z_channels, conditional=False,
            **{k: v for k, v in style.items() if k != "kind"},
        )  # fmt: skip
        carry_filters(self, but=("to_rgb",))

    def forward(
        self,
        z: Tensor,
        *,
        vertices: Tensor,
        E_mask: Tensor,  # noqa: N803
        psi: float | None = None,
    ) -> dict[str, Tensor]:
        """Synthesise people, {"img": (B, im_channels, H, W)}. Arguments as in `SurfaceGuidedUNet.forward`."""
        with self._precision(E_mask):
            given = StyleInputs(z, vertices, E_mask, torch.zeros_like(E_mask), None, psi)
            gammas = self.style_net(given)[::-1]
            x: Tensor = self.first(self.x.expand(len(z), -1, -1, -1), gammas[0])
            for i, block in enumerate(self.decoder):
                x = block(x, gammas[2 * i + 1 : 2 * i + 3])
            return {"img": self.to_rgb(x).float()}


class SurfaceGuidedDiscriminator(Discriminator):
    """Scores pictures; with ``output_fpn`` it also regresses the surface embedding (configurations B to E).

    Args:
        imsize: height and width, in pixels.
        cnum: channels at full resolution.
        output_fpn: has the feature pyramid that regresses the embedding.
        cse_nc: channels of the embedding.
        min_fmap_resolution: longer side of the smallest feature map is at least this, in pixels.
        other arguments: as in `Discriminator`.

    """

    def __init__(
        self,
        imsize: Sequence[int],
        cnum: int,
        *,
        output_fpn: bool,
        cse_nc: int = 16,
        max_cnum_mul: int = 8,
        min_fmap_resolution: int = 8,
        im_channels: int = 3,
        conv_clamp: float | None = 256,
    ) -> None:
        super().__init__(
            imsize,
            cnum,
            max_cnum_mul=max_cnum_mul,
            min_fmap_resolution=min_fmap_resolution,
            im_channels=im_channels,
            conv_clamp=conv_clamp,
        )
        self.output_fpn = output_fpn
        if output_fpn:
            longest = max(self.imsize)
            widths = [
                channels_at(longest // 2**i, cnum, longest, max_cnum_mul) for i in range(len(self.layers))
            ]

            def lateral(channels: int, *, up: bool = False, gain: float = SQRT_HALF) -> EqualConv2d:
                return EqualConv2d(
                    channels, FPN_CHANNELS, 1, up=up, activate=False, gain=gain, clamp=conv_clamp
                )

            levels = len(self.layers) - 1
            self.fpn_out = nn.ModuleList(
                lateral(widths[k], gain=SQRT_HALF if k else 1.0) for k in range(levels)
            )
            self.fpn_up = nn.ModuleList(
                lateral(widths[levels] if k == levels - 1 else FPN_CHANNELS, up=k > 0) for k in range(levels)
            )
            self.output_seg_layer = EqualConv2d(FPN_CHANNELS, cse_nc, 1, activate=False, clamp=conv_clamp)
        carry_filters(self)

    def forward(
        self,
        img: Tensor,
        condition: Tensor,
        mask: Tensor,
        *,
        embedding: Tensor | None = None,
        E_mask: Tensor | None = None,  # noqa: N803
    ) -> dict[str, Tensor]:
        """Score pictures. Arguments as in `Discriminator.forward`; the surface is not looked at.

        Returns:
            {"score": (B, 1)}, and "E", the regressed embedding (B, cse_nc, H, W), with ``output_fpn``.

        """
        with self._precision(img):
            x: Tensor = self.from_rgb(self._arrange(torch.cat((img, condition, mask), dim=1)))
            maps = [x]
            for layer in self.layers:
                x = layer(x)
                maps.append(x)
            out = {"score": self.output_layer(x).to(img.dtype)}
            if self.output_fpn:
                levels = len(self.fpn_up)
                e = maps[levels]
                for k in range(levels - 1, -1, -1):
                    e = self.fpn_up[k](e) + self.fpn_out[k](maps[k])
                out["E"] = self.output_seg_layer(e).to(img.dtype)
            return out


def carry_filters(network: nn.Module, but: Sequence[str] = ()) -> None:
    """Give every convolution and block the low-pass filter that published files carry, used or not."""
    for name, module in network.named_modules():
        kinds = (EqualConv2d, GuidedBlock, ResidualBlock, ConvPair)
        if isinstance(module, kinds) and name not in but and not hasattr(module, "resample_filter"):
            module.register_buffer("resample_filter", fir_kernel())
