"""The networks of an adversarial training with their optimisers, and how they begin with those of an earlier one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dp2bench.core import templates
from dp2bench.core.errors import Dp2benchError
from dp2bench.core.seeds import derive_seed
from dp2bench.deepprivacy2.generators.networks import build
from dp2bench.deepprivacy2.training.crops import Batch
from dp2bench.deepprivacy2.training.ema import MovingAverage
from dp2bench.deepprivacy2.training.encoder import Encoder
from dp2bench.deepprivacy2.training.recipe import GanConfig

ENCODER_LEARNING_RATE = 1e-3


class Gan:
    """Networks and optimisers, on one device.

    Args:
        recipe: which networks.
        template: surface template of the crops, None where they have no surfaces.
        device: of torch.

    Attributes:
        uses_surface: whether the generator is guided by surfaces.
        is_modulated_by_surface: whether its layers are modulated by vertices, as Surface Guided GANs are.
        size: height and width of the crops.
        generator, discriminator, average, encoder: the networks; the encoder has no layers where nothing is learned by reconstruction.
        g_optimizer, d_optimizer, scalers: their optimisers; gradient scalers by ``g`` and ``d``.

    Raises:
        Dp2benchError: the recipe asks for networks that do not exist or do not go together.

    """

    def __init__(self, recipe: GanConfig, template: str | None, device: torch.device) -> None:
        network = recipe.network
        self.uses_surface = bool(network.get("input_cse"))
        if self.uses_surface and template is None:
            raise Dp2benchError(
                f"The generator of {recipe.name} is guided by surfaces, and {recipe.data.dataset} has none.",
                "Choose another dataset or set input_cse: false.",
            )
        torch.manual_seed(derive_seed(recipe.seed, "networks"))
        self.size = int(network["imsize"][0]), int(network["imsize"][1])
        self.generator: nn.Module = build(network)
        self.is_modulated_by_surface = getattr(self.generator, "style_kind", "") == "surface"
        if self.is_modulated_by_surface:
            _set_vertices(self.generator, template, recipe.name)
        self.discriminator = _discriminator(recipe, self.size, network.get("cse_nc"))
        self.average = MovingAverage(self.generator)
        self.z_channels = int(getattr(self.generator, "z_channels", 512))
        self.encoder = _encoder(recipe, self.z_channels, int(network.get("cse_nc") or 0) * self.uses_surface)
        for module in (self.generator, self.discriminator, self.average.network, self.encoder):
            module.to(device)
        self._device = device
        self._make_optimizers(recipe)

    def _make_optimizers(self, recipe: GanConfig) -> None:
        # Regularising every few steps only: the other steps' rate and memory are adapted (Karras et al. 2020, appendix B).
        lazy = recipe.r1.every / (recipe.r1.every + 1) if recipe.r1.weight else 1.0
        groups: list[dict[str, Any]] = [
            {"params": self.generator.parameters()},
            {"params": self.encoder.parameters(), "lr": ENCODER_LEARNING_RATE, "betas": (0.9, 0.99)},
        ]
        self.g_optimizer = torch.optim.Adam(groups, lr=recipe.learning_rate, betas=recipe.betas)
        self.d_optimizer = torch.optim.Adam(
            self.discriminator.parameters(),
            lr=(recipe.d_learning_rate or recipe.learning_rate) * lazy,
            betas=(recipe.betas[0] ** lazy, recipe.betas[1] ** lazy),
        )
        half = recipe.precision == "16-mixed"
        self.scalers = {name: torch.amp.GradScaler(self._device.type, enabled=half) for name in "gd"}

    def conditions(self, batch: Batch) -> dict[str, Tensor]:
        """What guides the generator beside the known pixels, as keyword arguments."""
        if not self.uses_surface:
            return {}
        return batch.guidance if self.is_modulated_by_surface else batch.surface

    @property
    def _networks(self) -> dict[str, nn.Module]:
        return {
            "generator": self.generator,
            "average": self.average.network,
            "discriminator": self.discriminator,
            "encoder": self.encoder,
        }

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of them."""
        return {
            **{name: network.state_dict() for name, network in self._networks.items()},
            "g_optimizer": self.g_optimizer.state_dict(),
            "d_optimizer": self.d_optimizer.state_dict(),
            "scalers": {name: scaler.state_dict() for name, scaler in self.scalers.items()},
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take over a `state`."""
        for name, network in self._networks.items():
            network.load_state_dict(state[name])
        self.g_optimizer.load_state_dict(state["g_optimizer"])
        self.d_optimizer.load_state_dict(state["d_optimizer"])
        for name, scaler in self.scalers.items():
            scaler.load_state_dict(state["scalers"][name])

    def start_from(self, checkpoint: Path) -> None:
        """Begin with the networks of another training's checkpoint, of smaller crops perhaps.

        Levels are counted from the innermost one, so that a generator of twice the size takes over all of the smaller one but
        its outermost layers, which are new (as in Karras et al., "Progressive growing of GANs", ICLR 2018).

        Raises:
            Dp2benchError: it is no checkpoint, or nothing of its generator fits.

        """
        try:
            state = torch.load(checkpoint, weights_only=True, map_location=self._device)
            before = {name: state[name] for name in self._networks}
        except Exception as error:  # a damaged file fails in many ways
            raise Dp2benchError(
                f"{checkpoint} is no checkpoint of a generator's training: {error}.",
                "Give the checkpoint.pt of a run of `dp2bench train generator`.",
            ) from error
        taken = {name: _take_over(network, before[name]) for name, network in self._networks.items()}
        if taken["generator"] < 0.5:
            raise Dp2benchError(
                f"The generator of {checkpoint} is another network: {taken['generator']:.0%} of its parameters fit.",
                "Give both recipes the same z_channels, w_dim and channels: halve cnum and double max_cnum_mul for crops of twice the size.",
            )


def _take_over(network: nn.Module, state: Mapping[str, Tensor]) -> float:
    """Load what of a state fits a network; returns the share of its numbers."""
    own = network.state_dict()
    shifted = _renumber_levels(state, _levels(own) - _levels(state))
    fits = {k: v for k, v in shifted.items() if k in own and own[k].shape == v.shape}
    network.load_state_dict({**own, **fits})
    taken = sum(v.numel() for v in fits.values())
    return float(taken / max(1, sum(v.numel() for v in own.values())))


def _levels(state: Mapping[str, Tensor]) -> int:
    """Of a generator's encoder."""
    return len({k.split(".")[1] for k in state if k.startswith("encoder.")})


def _renumber_levels(state: Mapping[str, Tensor], deeper: int) -> dict[str, Tensor]:
    """A generator's state with the levels of its encoder, which are counted from outside, renumbered."""
    return {
        re.sub(r"^encoder\.(\d+)", lambda m: f"encoder.{int(m[1]) + deeper}", k): v for k, v in state.items()
    }


def _encoder(recipe: GanConfig, z_channels: int, surface_channels: int) -> nn.Module:
    """No layers where nothing is learned by reconstruction."""
    if recipe.reconstruction is None:
        return nn.Sequential()
    if recipe.discriminator.get("kind") != "projected":
        raise Dp2benchError(
            f"The recipe {recipe.name} learns by reconstruction, which compares what a projected discriminator sees.",
            "Set discriminator: {kind: projected}, or leave out reconstruction.",
        )
    return Encoder(z_channels, surface_channels)


def _discriminator(recipe: GanConfig, size: tuple[int, int], cse_nc: int | None) -> nn.Module:
    arguments = {"imsize": size, "cse_nc": cse_nc, **recipe.discriminator}
    kind = arguments.pop("kind", "stylegan2")
    try:
        if kind == "stylegan2":
            return build({"cnum": 80, "input_condition": True, **arguments})
        if kind == "projected":
            from dp2bench.deepprivacy2.training.projected import ProjectedDiscriminator

            return ProjectedDiscriminator(**arguments)
    except TypeError as error:
        raise Dp2benchError(
            f"The discriminator of {recipe.name}: {error}.",
            "Compare it with a recipe that comes with dp2bench.",
        ) from error
    raise Dp2benchError(
        f"The recipe {recipe.name} asks for a discriminator of kind {kind!r}.", "Take stylegan2 or projected."
    )


def _set_vertices(generator: Any, template: str | None, name: str) -> None:
    """Give a generator that is modulated by vertices its template's table of them."""
    table = templates.standardised(templates.get(str(template)).embeddings)
    vertices = generator.style_net.E_map.E
    if vertices.shape != table.shape:
        raise Dp2benchError(
            f"The generator of {name} has a table for {len(vertices)} vertices, and {template} has {len(table)}.",
            f"Set style.n_vertices: {len(table)} in the recipe.",
        )
    vertices.copy_(torch.from_numpy(table))
