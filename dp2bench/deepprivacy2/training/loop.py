"""Adversarial training of a generator (DeepPrivacy2, section 3.3), on one or several processes; resumes to the same curve.

Everything random (order of crops, flips, latents) derives from the recipe's seed and the step, so a training that was killed
and goes on from its checkpoint computes what it would have computed. Processes share each step's crops and average their
gradients: the result does not depend on their number, up to rounding.
"""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image as Pillow
from torch import Tensor, nn

from dp2bench.core import templates
from dp2bench.core.contracts import Progress, no_progress
from dp2bench.core.errors import Dp2benchError
from dp2bench.core.seeds import derive_seed
from dp2bench.datasets.crops import Crops
from dp2bench.deepprivacy2.generators import build
from dp2bench.deepprivacy2.generators.mapping import sample_latents
from dp2bench.deepprivacy2.training import losses
from dp2bench.deepprivacy2.training.crops import Batch, Steps, collate, to_batch
from dp2bench.deepprivacy2.training.ema import MovingAverage, decay
from dp2bench.deepprivacy2.training.recipe import Recipe
from dp2bench.deepprivacy2.weights import files

if TYPE_CHECKING:
    from lightning_fabric import Fabric

COLUMNS = ("images", "d_loss", "g_loss", "real_score", "fake_score", "r1")
"""Of the curve; means over the crops since the row before."""
MAY_CHANGE = {"images", "log_every", "preview_every", "checkpoint_every", "description", "licence"}
"""Keys of a recipe that may differ when a training goes on."""


class Training:
    """Networks, optimisers and progress of one training.

    Args:
        recipe: what is trained and how.
        out: folder of the run: ``checkpoint.pt``, ``curve.csv``, ``previews/``, ``tensorboard/``, ``generator.safetensors``.
        crops: what is learned from.
        previews: crops to show on the way (none: no previews).
        fabric: Lightning Fabric, launched; its processes share the work.
        workers: processes that read crops, beside each training process.

    """

    def __init__(
        self,
        recipe: Recipe,
        out: Path,
        crops: Crops,
        fabric: Fabric,
        *,
        previews: Crops | None = None,
        workers: int = 0,
    ) -> None:
        self.recipe, self.out, self.crops, self.fabric = recipe, out, crops, fabric
        self.previews, self.workers = previews, workers
        if recipe.batch_size % fabric.world_size:
            raise Dp2benchError(
                f"A batch of {recipe.batch_size} crops cannot be shared by {fabric.world_size} processes.",
                "Change batch_size or the number of processes.",
            )
        network = recipe.network
        self.uses_surface = bool(network.get("input_cse"))
        if self.uses_surface and crops.template is None:
            raise Dp2benchError(
                f"The generator of {recipe.name} is guided by surfaces, and {recipe.data.dataset} has none.",
                "Choose another dataset or set input_cse: false.",
            )
        torch.manual_seed(derive_seed(recipe.seed, "networks"))
        size = (int(network["imsize"][0]), int(network["imsize"][1]))
        self.size = size
        self.generator: nn.Module = build(network)
        self.discriminator = _discriminator(recipe, size, network.get("cse_nc"))
        self.average = MovingAverage(self.generator)
        for module in (self.generator, self.discriminator, self.average.network):
            module.to(fabric.device)
        # Regularising every few steps only: the other steps' rate and memory are adapted (Karras et al. 2020, appendix B).
        lazy = recipe.r1.every / (recipe.r1.every + 1) if recipe.r1.weight else 1.0
        self.g_optimizer = torch.optim.Adam(
            self.generator.parameters(), lr=recipe.learning_rate, betas=recipe.betas
        )
        self.d_optimizer = torch.optim.Adam(
            self.discriminator.parameters(),
            lr=recipe.learning_rate * lazy,
            betas=(recipe.betas[0] ** lazy, recipe.betas[1] ** lazy),
        )
        half = recipe.precision == "16-mixed"
        self.scalers = {name: torch.amp.GradScaler(fabric.device.type, enabled=half) for name in "gd"}
        self.table = (
            torch.from_numpy(templates.get(crops.template).embeddings).to(fabric.device)
            if self.uses_surface and crops.template
            else None
        )
        self.step = 0
        self.curve: list[list[float]] = []
        self.z_channels = int(getattr(self.generator, "z_channels", 512))

    # -- state -------------------------------------------------------------------------------------------------------

    @property
    def checkpoint(self) -> Path:
        """Where the state is kept between starts."""
        return self.out / "checkpoint.pt"

    def _state(self) -> dict[str, Any]:
        return {
            "recipe": json.dumps(self.recipe.model_dump(mode="json")),
            "step": self.step,
            "curve": self.curve,
            "generator": self.generator.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "average": self.average.network.state_dict(),
            "g_optimizer": self.g_optimizer.state_dict(),
            "d_optimizer": self.d_optimizer.state_dict(),
            "scalers": {name: scaler.state_dict() for name, scaler in self.scalers.items()},
        }

    def save(self) -> None:
        """Replace the checkpoint; the old one stays until the new one is whole."""
        if self.fabric.is_global_zero:
            partial = self.checkpoint.with_suffix(".partial")
            torch.save(self._state(), partial)
            os.replace(partial, self.checkpoint)
            self._write_curve()
        self.fabric.barrier()

    def resume(self) -> bool:
        """Go on from the checkpoint in ``out``, if there is one.

        Raises:
            Dp2benchError: it is broken or belongs to another recipe.

        """
        if not self.checkpoint.exists():
            return False
        remedy = f"Choose another --out, or delete {self.checkpoint} to begin anew."
        try:
            state = torch.load(self.checkpoint, weights_only=True, map_location=self.fabric.device)
            theirs = json.loads(state["recipe"])
        except Exception as error:  # a damaged file fails in many ways
            raise Dp2benchError(f"{self.checkpoint} cannot be read: {error}.", remedy) from error
        mine = self.recipe.model_dump(mode="json")
        if changed := sorted(k for k in mine if k not in MAY_CHANGE and theirs.get(k) != mine[k]):
            raise Dp2benchError(
                f"{self.checkpoint} was trained by another recipe: {', '.join(changed)} differ.", remedy
            )
        self.generator.load_state_dict(state["generator"])
        self.discriminator.load_state_dict(state["discriminator"])
        self.average.network.load_state_dict(state["average"])
        self.g_optimizer.load_state_dict(state["g_optimizer"])
        self.d_optimizer.load_state_dict(state["d_optimizer"])
        for name, scaler in self.scalers.items():
            scaler.load_state_dict(state["scalers"][name])
        self.step, self.curve = int(state["step"]), [list(row) for row in state["curve"]]
        return True

    # -- one step ----------------------------------------------------------------------------------------------------

    def _latents(self, role: str) -> Tensor:
        fabric, batch = self.fabric, self.recipe.batch_size
        places = range(fabric.global_rank, batch, fabric.world_size)
        seeds = [derive_seed(self.recipe.seed, "latent", role, self.step, place) for place in places]
        return sample_latents(seeds, self.z_channels).to(fabric.device)

    def _fake(self, batch: Batch, role: str) -> Tensor:
        surface = batch.surface if self.uses_surface else {}
        out: Tensor = self.generator(
            batch.condition, batch.masks, self._latents(role), **surface, update_average=role == "d"
        )["img"]
        return out

    def _score(self, images: Tensor, batch: Batch) -> Tensor:
        surface = batch.surface if getattr(self.discriminator, "input_cse", False) else {}
        out: Tensor = self.discriminator(images, batch.condition, batch.masks, **surface)["score"]
        return out

    def _mean(self, values: Tensor) -> Tensor:
        """Over all processes."""
        out = self.fabric.all_reduce(values, reduce_op="mean")
        assert isinstance(out, Tensor)
        return out

    def _descend(self, name: str, network: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        """One step of an optimiser along the gradient, averaged over all processes."""
        scaler = self.scalers[name]
        optimizer.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        if self.fabric.world_size > 1:
            gradients = [p.grad for p in network.parameters() if p.grad is not None]
            flat = self._mean(torch.cat([g.flatten() for g in gradients]))
            for gradient, part in zip(
                gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True
            ):
                gradient.copy_(part.view_as(gradient))
        scaler.step(optimizer)
        scaler.update()

    def advance(self, batch: Batch) -> dict[str, Tensor]:
        """One step on this process's share of the crops: discriminator, generator, moving average.

        Returns:
            Scalars by the name of their column, not yet averaged over processes; r1 where it was computed.

        """
        recipe, fabric = self.recipe, self.fabric
        said: dict[str, Tensor] = {}
        self.discriminator.requires_grad_(True)
        with torch.no_grad(), fabric.autocast():
            fake = self._fake(batch, "d")
        with fabric.autocast():
            real_score, fake_score = self._score(batch.images, batch), self._score(fake.detach(), batch)
            d_loss = losses.discriminator_loss(real_score.float(), fake_score.float(), recipe.score_penalty)
        said["d_loss"], said["real_score"], said["fake_score"] = d_loss, real_score.mean(), fake_score.mean()
        if recipe.r1.weight and self.step % recipe.r1.every == 0:
            # In full precision: squared gradients of half-precision scores overflow.
            images = batch.images.clone().requires_grad_(True)
            penalty = losses.r1_penalty(self._score(images, batch), images)
            d_loss = d_loss + penalty * (recipe.r1.weight * recipe.r1.every / 2)
            said["r1"] = penalty
        self._descend("d", self.discriminator, self.d_optimizer, d_loss)

        self.discriminator.requires_grad_(False)
        with fabric.autocast():
            g_loss = losses.generator_loss(self._score(self._fake(batch, "g"), batch).float())
        said["g_loss"] = g_loss
        self._descend("g", self.generator, self.g_optimizer, g_loss)
        if fabric.world_size > 1:
            for name, buffer in self.generator.named_buffers():
                if name.endswith("w_avg"):
                    buffer.copy_(self._mean(buffer))
        seen = self.step * recipe.batch_size
        self.average.update(
            self.generator, decay(recipe.batch_size, seen, recipe.half_life, recipe.ema.rampup)
        )
        self.step += 1
        return {name: value.detach().float() for name, value in said.items()}

    # -- the whole ---------------------------------------------------------------------------------------------------

    def run(self, progress: Progress = no_progress) -> Path | None:
        """Train to the end, from the checkpoint where there is one.

        Returns:
            The generator's file in the first process, None in the others.

        Raises:
            Dp2benchError: scores, losses or weights are no longer finite; the checkpoint before it stays.

        """
        recipe, batch_size = self.recipe, self.recipe.batch_size
        self.out.mkdir(parents=True, exist_ok=True)
        self.resume()
        log_steps = max(1, round(recipe.log_every / batch_size))
        # Checkpoints lie on rows of the curve, so that no row is split by a resume.
        save_steps = log_steps * max(1, round(recipe.checkpoint_every / batch_size / log_steps))
        show_steps = max(1, round(recipe.preview_every / batch_size))
        writer = self._writer()
        sums: dict[str, list[Tensor]] = {}
        for arrays in self._batches():
            for name, value in self.advance(to_batch(arrays, self.table, self.fabric.device)).items():
                sums.setdefault(name, []).append(value)
            done = self.step
            if done % log_steps == 0 or done == recipe.steps:
                self._log(sums, writer)
                sums = {}
            if done % save_steps == 0:
                self.save()
            if done % show_steps == 0 or done == recipe.steps:
                self.show()
            progress(done * batch_size, recipe.steps * batch_size)
        if writer is not None:
            writer.close()
        self.save()
        return self.export() if self.fabric.is_global_zero else None

    def _batches(self) -> Iterable[dict[str, Tensor]]:
        steps = Steps(
            self.crops,
            self.size,
            batch_size=self.recipe.batch_size,
            seed=self.recipe.seed,
            flip=self.recipe.flip,
            rank=self.fabric.global_rank,
            world=self.fabric.world_size,
        )
        return torch.utils.data.DataLoader(
            steps,
            batch_size=None,
            sampler=range(self.step, self.recipe.steps),
            num_workers=self.workers,
            persistent_workers=False,
            pin_memory=self.fabric.device.type == "cuda",
        )

    def _writer(self) -> Any:
        if not self.fabric.is_global_zero:
            return None
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(str(self.out / "tensorboard"), purge_step=self.step * self.recipe.batch_size)

    def _log(self, sums: Mapping[str, list[Tensor]], writer: Any) -> None:
        means = torch.stack(
            [
                torch.stack(sums[c]).mean() if sums.get(c) else torch.tensor(-1.0, device=self.fabric.device)
                for c in COLUMNS[1:]
            ]
        )
        if self.fabric.world_size > 1:
            means = self._mean(means)
        row = [float(self.step * self.recipe.batch_size), *(float(v) for v in means.cpu())]
        if not all(math.isfinite(v) for v in row):
            raise Dp2benchError(
                f"The training diverged before {int(row[0])} crops: "
                + ", ".join(f"{name} {value:g}" for name, value in zip(COLUMNS[1:], row[1:], strict=True))
                + ".",
                "Lower learning_rate or raise r1.weight in the recipe and begin in a new folder; "
                f"the state before it is kept in {self.checkpoint}.",
            )
        self.curve.append(row)
        if writer is not None:
            for name, value in zip(COLUMNS[1:], row[1:], strict=True):
                if sums.get(name):
                    writer.add_scalar(name, value, int(row[0]))

    def _write_curve(self) -> None:
        with (self.out / "curve.csv").open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(COLUMNS)
            rows.writerows([int(r[0]), *(f"{v:.6g}" if v != -1 else "" for v in r[1:])] for r in self.curve)

    @torch.no_grad()
    def samples(self, indices: Iterable[int], seeds: int, crops: Crops) -> tuple[Batch, list[Tensor]]:
        """Fillings (B, 3, h, w) of the crops at ``indices`` by the moving average, one list entry a seed."""
        picked = [crops[i] for i in indices]
        arrays = collate(picked, [False] * len(picked), crops.template, self.size)
        batch = to_batch(arrays, self.table, self.fabric.device)
        surface = batch.surface if self.uses_surface else {}
        made = []
        for seed in range(seeds):
            z = sample_latents(
                [derive_seed(self.recipe.seed, "preview", seed, i) for i in range(len(picked))],
                self.z_channels,
            ).to(self.fabric.device)
            made.append(self.average.network(batch.condition, batch.masks, z, **surface)["img"])
        return batch, made

    def show(self, *, count: int = 12, seeds: int = 3) -> None:
        """Save a sheet of previews: a column a crop; original, what the network sees, and fillings by several seeds."""
        if self.previews is None or not self.fabric.is_global_zero or not len(self.previews):
            return
        count = min(count, len(self.previews))
        indices = np.linspace(0, len(self.previews) - 1, count).astype(int).tolist()
        batch, made = self.samples(indices, seeds, self.previews)
        rows = [batch.images, batch.condition, *made]
        sheet = torch.cat([torch.cat(list(row), dim=2) for row in rows], dim=1)
        pixels = ((sheet.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).cpu().numpy()
        folder = self.out / "previews"
        folder.mkdir(exist_ok=True)
        Pillow.fromarray(pixels).save(folder / f"{self.step * self.recipe.batch_size:09d}.png")

    def export(self) -> Path:
        """Write the moving average as ``generator.safetensors``, which ``--method deepprivacy2`` and `files.load` take."""
        path, recipe = self.out / "generator.safetensors", self.recipe
        described: dict[str, Any] = {
            "config": recipe.network,
            "trained_on": f"{recipe.data.dataset}, split {recipe.data.split}",
            "licence": recipe.licence,
            "recipe": recipe.model_dump(mode="json"),
            "images": self.step * recipe.batch_size,
        }
        if self.uses_surface:
            described["templates"] = [self.crops.template]
        files.save(self.average.network, path, described)
        return path


def _discriminator(recipe: Recipe, size: tuple[int, int], cse_nc: int | None) -> nn.Module:
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
