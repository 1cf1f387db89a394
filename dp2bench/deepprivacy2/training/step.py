"""One step of adversarial training on a process's share of a batch: discriminator, generator, moving average."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dp2bench.core.seeds import derive_seed
from dp2bench.deepprivacy2.generators.mapping import sample_latents
from dp2bench.deepprivacy2.training import losses
from dp2bench.deepprivacy2.training.crops import Batch
from dp2bench.deepprivacy2.training.ema import decay
from dp2bench.deepprivacy2.training.encoder import divergence
from dp2bench.deepprivacy2.training.gan import Gan
from dp2bench.deepprivacy2.training.recipe import GanConfig

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class AdversarialStep:
    """Advances networks by one batch at a time.

    Args:
        gan: the networks.
        recipe: losses and their weights.
        fabric: Lightning Fabric, launched; its processes share each batch.

    """

    def __init__(self, gan: Gan, recipe: GanConfig, fabric: Fabric) -> None:
        self.gan, self.recipe, self.fabric = gan, recipe, fabric

    def advance(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """One step on this process's share of the crops.

        Args:
            batch: the share.
            step: its number, from 0.

        Returns:
            Scalars by the name of their column, not yet averaged over processes; r1 where it was computed.

        """
        recipe, gan = self.recipe, self.gan
        values: dict[str, Tensor] = {}
        gan.discriminator.requires_grad_(True)
        real = self._update_discriminator(batch, step, values)
        gan.discriminator.requires_grad_(False)
        self._update_generator(batch, step, real, values)
        if self.fabric.world_size > 1:
            for name, buffer in gan.generator.named_buffers():
                if name.endswith("w_avg"):
                    buffer.copy_(self.mean(buffer))
        seen = step * recipe.batch_size
        gan.average.update(gan.generator, decay(recipe.batch_size, seen, recipe.half_life, recipe.ema.rampup))
        return {name: value.detach().float() for name, value in values.items()}

    def mean(self, values: Tensor) -> Tensor:
        """Over all processes."""
        out = self.fabric.all_reduce(values, reduce_op="mean")
        assert isinstance(out, Tensor)
        return out

    def _update_discriminator(self, batch: Batch, step: int, values: dict[str, Tensor]) -> dict[str, Any]:
        """Returns what the discriminator says of the real crops."""
        recipe, gan = self.recipe, self.gan
        with torch.no_grad(), self.fabric.autocast():
            fake = self._fake(batch, self._latents("d", step), update_average=True)
        with self.fabric.autocast():
            real = self._judge(batch.images, batch)
            real_score, fake_score = real["score"], self._judge(fake.detach(), batch)["score"]
            loss = losses.discriminator_loss(real_score.float(), fake_score.float(), recipe.score_penalty)
        values["d_loss"], values["real_score"], values["fake_score"] = (
            loss,
            real_score.mean(),
            fake_score.mean(),
        )
        if recipe.r1.weight and step % recipe.r1.every == 0:
            # In full precision: squared gradients of half-precision scores overflow.
            images = batch.images.clone().requires_grad_(True)
            penalty = losses.r1_penalty(self._judge(images, batch)["score"], images)
            loss = loss + penalty * (recipe.r1.weight * recipe.r1.every / 2)
            values["r1"] = penalty
        self._descend("d", gan.d_optimizer, loss)
        return real

    def _update_generator(
        self, batch: Batch, step: int, real: dict[str, Any], values: dict[str, Tensor]
    ) -> None:
        wanted = self.recipe.reconstruction
        with self.fabric.autocast():
            latents = self._latents("g", step)
            # The first half of the batch is reconstructed; its random latents are the noise of the encoder's.
            half = sum(place < self.recipe.batch_size // 2 for place in self._places()) if wanted else 0
            if wanted:
                mean, log_variance = self.gan.encoder(batch.part(half))
                described = mean + (log_variance / 2).exp() * latents[:half]
                latents = torch.cat((described, latents[half:]))
            fake = self._fake(batch, latents, update_average=False)
            judged = self._judge(fake, batch)
            loss = losses.generator_loss(judged["score"].float())
            values["g_loss"] = loss
            if wanted:
                near = self._perceptual(judged["maps"], real["maps"], half)
                pixels = _pixel_difference(fake[:half], batch.images[:half], batch.masks[:half])
                nats = divergence(mean, log_variance)
                loss = loss + wanted.weight * near + wanted.pixels * pixels + wanted.kl * nats
                values["perceptual"], values["nats"] = near, nats
        self._descend("g", self.gan.g_optimizer, loss)

    @staticmethod
    def _perceptual(fake: dict[int, Tensor], real: dict[int, Tensor], half: int) -> Tensor:
        """Distance of the first ``half`` crops in the discriminator's features, by stride."""
        return losses.perceptual_distance(*({k: x[:half] for k, x in maps.items()} for maps in (fake, real)))

    def _places(self) -> list[int]:
        """Of this process's crops in the batch."""
        return list(range(self.fabric.global_rank, self.recipe.batch_size, self.fabric.world_size))

    def _latents(self, role: str, step: int) -> Tensor:
        seeds = [derive_seed(self.recipe.seed, "latent", role, step, place) for place in self._places()]
        return sample_latents(seeds, self.gan.z_channels).to(self.fabric.device)

    def _fake(self, batch: Batch, latents: Tensor, *, update_average: bool) -> Tensor:
        out: Tensor = self.gan.generator(
            batch.condition, batch.masks, latents, **self.gan.conditions(batch), update_average=update_average
        )["img"]
        return out

    def _judge(self, images: Tensor, batch: Batch) -> dict[str, Any]:
        surface = batch.surface if getattr(self.gan.discriminator, "input_cse", False) else {}
        out: dict[str, Any] = self.gan.discriminator(images, batch.condition, batch.masks, **surface)
        return out

    def _descend(self, name: str, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        """One step of an optimiser along the gradient, averaged over all processes."""
        scaler = self.gan.scalers[name]
        optimizer.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        if self.fabric.world_size > 1:
            parameters = itertools.chain.from_iterable(group["params"] for group in optimizer.param_groups)
            gradients = [p.grad for p in parameters if p.grad is not None]
            flat = self.mean(torch.cat([g.flatten() for g in gradients]))
            for gradient, part in zip(
                gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True
            ):
                gradient.copy_(part.view_as(gradient))
        scaler.step(optimizer)
        scaler.update()


def _pixel_difference(fake: Tensor, images: Tensor, masks: Tensor) -> Tensor:
    """Mean absolute difference of the values in the holes."""
    return (fake - images).abs().sum() / (3 * (1 - masks).sum())
