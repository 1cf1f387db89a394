"""Layers of the style-based networks: equalised learning rate, FIR resampling, modulation of activations.

Every layer has two paths. The plain path is differentiable and scales its weights on each call, as training needs it
(equalised learning rate, Karras et al. 2018, section 4.1). The fused path, entered by `InferenceMixin.prepare_for_inference`,
reads weights, gains and style projections that were folded once.

Modulation here scales and shifts the *activations* and the normalisation is an instance norm of the result (DeepPrivacy2,
section 3.3), so people in a batch share one convolution; no weights are made per person.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dp2bench.deepprivacy2.generators import winograd

FIR = (1.0, 3.0, 3.0, 1.0)
"""Taps of the separable low-pass filter of every resampling layer."""
LEAK = 0.2
SQRT_HALF = math.sqrt(0.5)
NORM_EPS = 1e-5

_Self = TypeVar("_Self", bound="InferenceMixin")


def fir_kernel(taps: Sequence[float] = FIR) -> Tensor:
    """(k, k) outer product of the taps, normalised to sum 1."""
    line = torch.tensor(taps, dtype=torch.float32)
    kernel = torch.outer(line, line)
    return kernel / kernel.sum()


def fir_filter(x: Tensor, kernel: Tensor, *, padding: int, stride: int = 1) -> Tensor:
    """Filter each channel of (B, C, H, W) with a symmetric (k, k) kernel; ``padding`` zeros on every side."""
    channels = x.shape[1]
    weight = kernel.to(x.dtype).expand(channels, 1, *kernel.shape)
    return F.conv2d(x, weight, padding=padding, stride=stride, groups=channels)


def fir_upsample(x: Tensor, kernel: Tensor) -> Tensor:
    """(B, C, H, W) to (B, C, 2H, 2W): zeros between the pixels, then the symmetric kernel, brightness kept."""
    if x.dtype == torch.bfloat16 and x.device.type == "cpu":  # fourteen times slower in bfloat16, measured
        with torch.autocast("cpu", enabled=False):
            return fir_upsample(x.float(), kernel).to(x.dtype)
    channels = x.shape[1]
    weight = (kernel * 4).to(x.dtype).expand(channels, 1, *kernel.shape)
    return F.conv_transpose2d(x, weight, padding=kernel.shape[0] // 2 - 1, stride=2, groups=channels)


def instance_norm(x: Tensor, gain: Tensor | None = None, shift: Tensor | None = None) -> Tensor:
    """Normalise each channel of each picture of (B, C, H, W) over its pixels, then times gain (C,) plus shift (C,)."""
    if x.device.type == "cpu" and not torch.is_grad_enabled():
        # The CPU kernel of instance_norm copies channels-last input to another layout; batch_norm of one picture is the
        # same sum and keeps it.
        parts = [
            F.batch_norm(x[i : i + 1], None, None, gain, shift, training=True, eps=NORM_EPS)
            for i in range(len(x))
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts)
    return F.instance_norm(x, weight=gain, bias=shift, eps=NORM_EPS)


def winograd_pays(x: Tensor, weight: Tensor) -> bool:
    """Whether Winograd's convolution is faster for (B, I, H, W) and a weight (O, I, 3, 3), and possible: it has no gradient."""
    return (
        x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and not torch.is_grad_enabled()
        and min(weight.shape[:2]) >= 64
        and x.shape[2] * x.shape[3] >= 256
    )


class _Fusable(nn.Module):
    """A layer whose folded tensors live in non-persistent buffers, so that they follow ``.to()`` and never reach a state dict."""

    fused_kernels: Tensor | None

    def __init__(self) -> None:
        super().__init__()
        self.is_fused = False
        self.winograd = False
        self.register_buffer("fused_kernels", None, persistent=False)

    def fuse(self, *, channels_last: bool, preconvolve: bool, winograd: bool) -> None:
        """Fold what does not depend on the input."""
        raise NotImplementedError

    def unfuse(self) -> None:
        """Forget folded tensors."""
        self.is_fused = self.winograd = False
        self.fused_kernels = None

    def _kernels(self, weight: Tensor) -> Tensor:
        """What `winograd.convolve` takes, made at the first use: only layers of large maps pay with four times the memory."""
        if self.fused_kernels is None:
            self._keep("fused_kernels", winograd.transform(weight))
        return cast("Tensor", self.fused_kernels)

    def _keep(self, name: str, value: Tensor | None) -> None:
        self.register_buffer(name, None if value is None else value.detach().clone(), persistent=False)

    def train(self, mode: bool = True) -> _Fusable:
        if mode:
            self.unfuse()
        super().train(mode)
        return self

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self.unfuse()
        super()._load_from_state_dict(*args, **kwargs)


class EqualLinear(_Fusable):
    """Linear layer with equalised learning rate, (B, in) to (B, out).

    Args:
        in_features: length of the input.
        out_features: length of the output.
        activate: leaky ReLU of slope 0.2 with gain sqrt(2) after the bias.
        lr_multiplier: factor on the effective learning rate of weight and bias.
        bias_init: initial bias.
    """

    weight: nn.Parameter
    bias: nn.Parameter
    fused_weight: Tensor
    fused_bias: Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        activate: bool = False,
        lr_multiplier: float = 1.0,
        bias_init: float = 0.0,
    ) -> None:
        super().__init__()
        self.activate = activate
        self.weight_gain = lr_multiplier / math.sqrt(in_features)
        self.bias_gain = lr_multiplier
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / lr_multiplier)
        self.bias = nn.Parameter(torch.full((out_features,), float(bias_init)))

    def scaled(self) -> tuple[Tensor, Tensor]:
        """Effective weight and bias."""
        return self.weight * self.weight_gain, self.bias * self.bias_gain

    def fuse(self, *, channels_last: bool, preconvolve: bool, winograd: bool) -> None:
        weight, bias = self.scaled()
        gain = math.sqrt(2) if self.activate else 1.0
        self._keep("fused_weight", weight * gain)
        self._keep("fused_bias", bias * gain)
        self.is_fused = True

    def forward(self, x: Tensor) -> Tensor:
        """(B, in) to (B, out)."""
        if self.is_fused:
            x = F.linear(x, self.fused_weight, self.fused_bias)
            return F.leaky_relu(x, LEAK) if self.activate else x
        x = F.linear(x, *self.scaled())
        return F.leaky_relu(x, LEAK) * math.sqrt(2) if self.activate else x


class EqualConv2d(_Fusable):
    """Convolution with equalised learning rate, resampling, modulation, instance norm, bias, activation, gain and clamp.

    Order: modulate, convolve and resample, normalise, add the bias, activate, multiply by the gain, clamp.

    Args:
        in_channels: channels in.
        out_channels: channels out.
        kernel_size: 1 or 3.
        up: double height and width.
        down: halve height and width.
        activate: leaky ReLU of slope 0.2 with gain sqrt(2); otherwise linear.
        bias: has a bias.
        norm: instance norm after the convolution.
        w_dim: length of the style that modulates the input; None for no modulation.
        gain: factor on the output.
        clamp: limit on the magnitude of the output, before ``gain``; None for none.
    """

    resample_filter: Tensor
    bias: nn.Parameter | None
    fused_weight: Tensor
    fused_bias: Tensor | None
    fused_gain: Tensor | None
    fused_style_weight: Tensor
    fused_style_bias: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        *,
        up: bool = False,
        down: bool = False,
        activate: bool = True,
        bias: bool = True,
        norm: bool = False,
        w_dim: int | None = None,
        gain: float = 1.0,
        clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.kernel_size, self.up, self.down = kernel_size, up, down
        self.activate, self.norm = activate, norm
        self.gain = gain * (math.sqrt(2) if activate else 1.0)
        self.limit = None if clamp is None else clamp * gain
        self.weight_gain = 1 / math.sqrt(in_channels * kernel_size**2)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.register_parameter("bias", nn.Parameter(torch.zeros(out_channels)) if bias else None)
        if up or down:
            self.register_buffer("resample_filter", fir_kernel())
        self.modulated = w_dim is not None
        if w_dim is not None:
            self.affine = EqualLinear(w_dim, in_channels, bias_init=1)
            self.affine_beta = EqualLinear(w_dim, in_channels)
        self.preconvolved = False

    def fuse(self, *, channels_last: bool, preconvolve: bool, winograd: bool) -> None:
        # A leaky ReLU commutes with a positive factor, so the gain moves in front of it; behind a norm it becomes the norm's.
        gain = 1.0 if self.norm else self.gain
        weight = (self.weight * self.weight_gain * gain).detach()
        self.preconvolved = preconvolve and self.kernel_size == 3 and (self.up or self.down)
        if self.preconvolved:
            kernel = self.resample_filter * (4 if self.up else 1)
            weight = F.conv2d(weight.flatten(0, 1)[:, None], kernel[None, None], padding=3).view(
                *weight.shape[:2], 6, 6
            )
        if self.up and self.kernel_size == 3:
            weight = weight.transpose(0, 1)
        weight = weight.contiguous(
            memory_format=torch.channels_last if channels_last else torch.contiguous_format
        )
        self._keep("fused_weight", weight)
        self.fused_kernels = None
        self.winograd = winograd and self.kernel_size == 3 and not (self.up or self.down)
        self._keep("fused_bias", None if self.bias is None else self.bias * self.gain)
        self._keep(
            "fused_gain",
            torch.full_like(self.bias, self.gain) if self.norm and self.bias is not None else None,
        )
        if self.modulated:
            scale, shift = self.affine.scaled(), self.affine_beta.scaled()
            self._keep("fused_style_weight", torch.cat((scale[0], shift[0])))
            self._keep("fused_style_bias", torch.cat((scale[1], shift[1])))
        self.is_fused = True

    def _convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Convolve and resample; a ``weight`` for doubling with a 3 x 3 kernel has its two channel axes swapped."""
        if self.kernel_size == 1:
            if self.down:
                x = fir_filter(x, self.resample_filter, padding=1, stride=2)
            x = F.conv2d(x, weight, None if self.up else bias)
            if self.up:
                x = fir_upsample(x, self.resample_filter)
                x = x if bias is None else x + bias.view(-1, 1, 1)
            return x
        if self.down:
            return F.conv2d(fir_filter(x, self.resample_filter, padding=2), weight, bias, stride=2)
        if self.up:
            x = fir_filter(F.conv_transpose2d(x, weight, stride=2), self.resample_filter * 4, padding=1)
            return x if bias is None else x + bias.view(-1, 1, 1)
        return F.conv2d(x, weight, bias, padding=1)

    def style(self, w: Tensor) -> Tensor:
        """Scale and shift (B, 2 * in) that styles w (B, w_dim) give the input."""
        if self.is_fused:
            return F.linear(w, self.fused_style_weight, self.fused_style_bias)
        return torch.cat((self.affine(w), self.affine_beta(w)), dim=1)

    def forward(self, x: Tensor, w: Tensor | None = None, *, style: Tensor | None = None) -> Tensor:
        """(B, in, H, W) and, where modulated, styles (B, w_dim) or in their place `style`, to (B, out, H', W')."""
        if self.modulated and style is None:
            if w is None:
                raise ValueError("this layer is modulated: it needs styles w of shape (B, w_dim)")
            style = self.style(w)
        if self.is_fused:
            return self._forward_fused(x, style)
        if style is not None:
            scale, shift = style[:, :, None, None].chunk(2, dim=1)
            x = torch.addcmul(shift, x, scale)
        weight = self.weight * self.weight_gain
        x = self._convolve(x, weight.transpose(0, 1) if self.up and self.kernel_size == 3 else weight, None)
        if self.norm:
            x = F.instance_norm(x, eps=NORM_EPS)
        if self.bias is not None:
            x = x + self.bias.view(-1, 1, 1)
        if self.activate:
            x = F.leaky_relu(x, LEAK)
        if self.gain != 1:
            x = x * self.gain
        return x if self.limit is None else x.clamp(-self.limit, self.limit)

    def _forward_fused(self, x: Tensor, style: Tensor | None) -> Tensor:
        if self.winograd and winograd_pays(x, self.fused_weight):
            return self._forward_winograd(x, style)
        if style is not None:
            scale, shift = style.to(x.dtype)[:, :, None, None].chunk(2, dim=1)
            x = torch.addcmul(shift, x, scale)
        bias = None if self.norm else self.fused_bias
        if not self.preconvolved:
            x = self._convolve(x, self.fused_weight, bias)
        elif self.up:
            x = F.conv_transpose2d(x, self.fused_weight, bias, stride=2, padding=2)
        else:
            x = F.conv2d(x, self.fused_weight, bias, stride=2, padding=2)
        return self._finish(x)

    def _forward_winograd(self, x: Tensor, style: Tensor | None) -> Tensor:
        kernels = self._kernels(self.fused_weight)
        scale = shift = None
        if style is not None:
            scale, shift = style.chunk(2, dim=1)
        if self.norm:
            return self._finish(winograd.convolve(x, kernels, scale=scale, shift=shift))
        return winograd.convolve(
            x,
            kernels,
            scale=scale,
            shift=shift,
            bias=self.fused_bias,
            slope=LEAK if self.activate else 1.0,
            limit=math.inf if self.limit is None else self.limit,
        )

    def _finish(self, x: Tensor) -> Tensor:
        """Normalise, activate and clamp what was convolved, in place where possible."""
        if self.norm:
            x = instance_norm(x, self.fused_gain, self.fused_bias)
        if self.activate:
            x = F.leaky_relu_(x, LEAK)
        return x if self.limit is None else x.clamp_(-self.limit, self.limit)


class ConvPair(nn.Module):
    """Two 3 x 3 convolutions, (B, in, H, W) to (B, out, H, W)."""

    def __init__(self, in_channels: int, out_channels: int, *, clamp: float | None = None) -> None:
        super().__init__()
        self.conv0 = EqualConv2d(in_channels, out_channels, clamp=clamp)
        self.conv1 = EqualConv2d(out_channels, out_channels, clamp=clamp)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) to (B, out, H, W)."""
        out: Tensor = self.conv1(self.conv0(x))
        return out


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions beside a 1 x 1 skip; halving is in the first convolution, doubling in the second.

    Args:
        linear_skip: the skip has no activation. The first published networks had one there; they are marked
            ``fix_errors: false`` (generators) and ``fix_residual: false`` (discriminators).
        gain: factor on both branches before they are added.
        other arguments: as in `EqualConv2d`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        up: bool = False,
        down: bool = False,
        linear_skip: bool = False,
        gain: float = SQRT_HALF,
        norm: bool = False,
        w_dim: int | None = None,
        clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.conv0 = EqualConv2d(in_channels, out_channels, down=down, norm=norm, w_dim=w_dim, clamp=clamp)
        self.conv1 = EqualConv2d(
            out_channels, out_channels, up=up, norm=norm, w_dim=w_dim, clamp=clamp, gain=gain
        )
        self.skip = EqualConv2d(
            in_channels, out_channels, 1, up=up, down=down, bias=False, activate=not linear_skip, gain=gain
        )

    def forward(
        self, x: Tensor, w: Tensor | None = None, *, styles: Sequence[Tensor | None] = (None, None)
    ) -> Tensor:
        """(B, in, H, W) and, where modulated, styles (B, w_dim) or those of both convolutions, to (B, out, H', W')."""
        skip: Tensor = self.skip(x)
        x = self.conv1(self.conv0(x, w, style=styles[0]), w, style=styles[1])
        return x.add_(skip) if self.conv1.is_fused else x + skip


class InferenceMixin(nn.Module):
    """`prepare_for_inference` for a whole network."""

    _channels_last = False
    _autocast: torch.dtype | None = None

    def prepare_for_inference(
        self: _Self,
        *,
        channels_last: bool = True,
        preconvolve: bool = False,
        autocast: torch.dtype | None = None,
        compile: bool = False,  # noqa: A002
        fast_convolution: bool = True,
    ) -> _Self:
        """Fold scales, gains and style projections, and stop tracking gradients. ``train()`` and ``load_state_dict`` undo it.

        Args:
            channels_last: keep feature maps in the layout (B, H, W, C) in memory; faster on CPU and on tensor cores.
            preconvolve: merge the low-pass filter of a resampling layer into its 3 x 3 kernel, which becomes 6 x 6. One pass over
                memory instead of two, at four times the multiplications: slower on CPU, of use where memory is the limit.
            autocast: half-precision type: ``torch.float16`` or ``torch.bfloat16`` on CUDA, ``torch.bfloat16`` on a CPU, where it
                is faster if the processor multiplies it (AVX512-BF16, AMX). Outputs then differ from float32 by more than the
                1e-4 that holds otherwise.
            compile: compile with ``torch.compile``.
            fast_convolution: on a CPU, `winograd.convolve` for the 3 x 3 convolutions that do not resample: a quarter of their
                multiplications, for up to four times the memory of their weights. Not together with ``autocast`` or ``compile``.

        Raises:
            ValueError: float16 on a CPU.

        Returns:
            self.
        """
        self.eval().requires_grad_(False)
        on_cpu = next(self.parameters()).device.type == "cpu"
        if on_cpu and autocast not in {None, torch.bfloat16}:
            raise ValueError(f"on a CPU half precision is torch.bfloat16, not {autocast}")
        for module in self.modules():
            if isinstance(module, _Fusable):
                module.fuse(
                    channels_last=channels_last,
                    preconvolve=preconvolve,
                    winograd=fast_convolution and on_cpu and autocast is None and not compile,
                )
        self._channels_last, self._autocast = channels_last, autocast
        if compile:
            self.compile()
        return self

    def train(self: _Self, mode: bool = True) -> _Self:
        if mode and any(m.is_fused for m in self.modules() if isinstance(m, _Fusable)):
            self.requires_grad_(True)
            self._channels_last, self._autocast = False, None
        super().train(mode)
        return self

    def _arrange(self, x: Tensor) -> Tensor:
        return x.contiguous(memory_format=torch.channels_last) if self._channels_last else x

    def _precision(self, x: Tensor) -> AbstractContextManager[Any]:
        return (
            nullcontext() if self._autocast is None else torch.autocast(x.device.type, dtype=self._autocast)
        )
