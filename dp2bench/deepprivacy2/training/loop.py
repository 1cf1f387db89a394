"""Adversarial training of a generator (DeepPrivacy2, section 3.3), on one or several processes; resumes to the same curve.

Everything random (order of crops, flips, latents) derives from the recipe's seed and the step, so a training that was killed
and goes on from its checkpoint computes what it would have computed. Processes share each step's crops and average their
gradients: the result does not depend on their number, up to rounding.
"""

from __future__ import annotations

import csv
import itertools
import json
import math
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow
from torch import Tensor, nn

from dp2bench.core import templates
from dp2bench.core.contracts import Progress, no_progress
from dp2bench.core.errors import Dp2benchError
from dp2bench.core.seeds import derive_seed
from dp2bench.datasets.crops import Crops
from dp2bench.deepprivacy2.generators import files
from dp2bench.deepprivacy2.generators.mapping import sample_latents
from dp2bench.deepprivacy2.generators.networks import build
from dp2bench.deepprivacy2.training import losses
from dp2bench.deepprivacy2.training.crops import Batch, Steps, collate, to_batch
from dp2bench.deepprivacy2.training.ema import MovingAverage, decay
from dp2bench.deepprivacy2.training.encoder import Encoder, divergence
from dp2bench.deepprivacy2.training.measures import COLUMNS as MEASURES
from dp2bench.deepprivacy2.training.measures import measure
from dp2bench.deepprivacy2.training.recipe import GanConfig

if TYPE_CHECKING:
    from lightning_fabric import Fabric

COLUMNS = ("images", "d_loss", "g_loss", "real_score", "fake_score", "r1", "perceptual", "nats")
"""Of the curve; means over the crops since the row before."""
ENCODER_LEARNING_RATE = 1e-3
FEWEST = 16
"""Crops of the validation split without which nothing is measured."""
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
        recipe: GanConfig,
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
        if recipe.reconstruction and recipe.batch_size % (2 * fabric.world_size):
            # Gradients are averaged over processes as equals, so each must reconstruct as many crops.
            raise Dp2benchError(
                f"Half of each batch is learned by reconstruction, and half of {recipe.batch_size} crops cannot be shared evenly by "
                f"{fabric.world_size} processes.",
                f"Take a batch_size that {2 * fabric.world_size} divides, or another number of processes.",
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
        self.z_channels = int(getattr(self.generator, "z_channels", 512))
        self.encoder = self._encoder(network)
        for module in (self.generator, self.discriminator, self.average.network, self.encoder):
            module.to(fabric.device)
        # Regularising every few steps only: the other steps' rate and memory are adapted (Karras et al. 2020, appendix B).
        lazy = recipe.r1.every / (recipe.r1.every + 1) if recipe.r1.weight else 1.0
        groups: list[dict[str, Any]] = [
            {"params": self.generator.parameters()},
            {"params": self.encoder.parameters(), "lr": ENCODER_LEARNING_RATE, "betas": (0.9, 0.99)},
        ]
        self.g_optimizer = torch.optim.Adam(
            groups,
            lr=recipe.learning_rate,
            betas=recipe.betas,
        )
        self.d_optimizer = torch.optim.Adam(
            self.discriminator.parameters(),
            lr=(recipe.d_learning_rate or recipe.learning_rate) * lazy,
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
        self.measures: list[list[float]] = []

    def _encoder(self, network: Mapping[str, Any]) -> nn.Module:
        """No layers where nothing is learned by reconstruction."""
        if self.recipe.reconstruction is None:
            return nn.Sequential()
        if self.recipe.discriminator.get("kind") != "projected":
            raise Dp2benchError(
                f"The recipe {self.recipe.name} learns by reconstruction, which compares what a projected discriminator sees.",
                "Set discriminator: {kind: projected}, or leave out reconstruction.",
            )
        return Encoder(self.z_channels, int(network.get("cse_nc") or 0) * self.uses_surface)

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
            "measures": self.measures,
            "generator": self.generator.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "average": self.average.network.state_dict(),
            "encoder": self.encoder.state_dict(),
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
        self.encoder.load_state_dict(state["encoder"])
        self.g_optimizer.load_state_dict(state["g_optimizer"])
        self.d_optimizer.load_state_dict(state["d_optimizer"])
        for name, scaler in self.scalers.items():
            scaler.load_state_dict(state["scalers"][name])
        self.step = int(state["step"])
        self.curve, self.measures = ([list(row) for row in state[k]] for k in ("curve", "measures"))
        return True

    def start(self, checkpoint: Path) -> None:
        """Begin with the networks of another training's checkpoint, of smaller crops perhaps; a checkpoint in ``out`` goes before it.

        Levels are counted from the innermost one, so that a generator of twice the size takes over all of the smaller one but
        its outermost layers, which are new (as in Karras et al., "Progressive growing of GANs", ICLR 2018).

        Raises:
            Dp2benchError: it is no checkpoint, or nothing of its generator fits.

        """
        try:
            state = torch.load(checkpoint, weights_only=True, map_location=self.fabric.device)
            before = {k: state[k] for k in ("generator", "average", "discriminator", "encoder")}
        except Exception as error:  # a damaged file fails in many ways
            raise Dp2benchError(
                f"{checkpoint} is no checkpoint of a generator's training: {error}.",
                "Give the checkpoint.pt of a run of `dp2bench train generator`.",
            ) from error
        modules = (self.generator, self.average.network, self.discriminator, self.encoder)
        taken = []
        for module, old in zip(modules, before.values(), strict=True):
            own = module.state_dict()
            shifted = _moved(old, _levels(own) - _levels(old))
            fits = {k: v for k, v in shifted.items() if k in own and own[k].shape == v.shape}
            module.load_state_dict({**own, **fits})
            taken.append(sum(v.numel() for v in fits.values()) / max(1, sum(v.numel() for v in own.values())))
        if taken[0] < 0.5:
            raise Dp2benchError(
                f"The generator of {checkpoint} is another network: {taken[0]:.0%} of its parameters fit.",
                "Give both recipes the same z_channels, w_dim and channels: halve cnum and double max_cnum_mul for crops of twice the size.",
            )

    # -- one step ----------------------------------------------------------------------------------------------------

    def _places(self) -> list[int]:
        """Of this process's crops in the batch."""
        return list(range(self.fabric.global_rank, self.recipe.batch_size, self.fabric.world_size))

    def _latents(self, role: str) -> Tensor:
        seeds = [derive_seed(self.recipe.seed, "latent", role, self.step, place) for place in self._places()]
        return sample_latents(seeds, self.z_channels).to(self.fabric.device)

    def _fake(self, batch: Batch, latents: Tensor, *, update_average: bool) -> Tensor:
        surface = batch.surface if self.uses_surface else {}
        out: Tensor = self.generator(
            batch.condition, batch.masks, latents, **surface, update_average=update_average
        )["img"]
        return out

    def _judge(self, images: Tensor, batch: Batch) -> dict[str, Any]:
        surface = batch.surface if getattr(self.discriminator, "input_cse", False) else {}
        out: dict[str, Any] = self.discriminator(images, batch.condition, batch.masks, **surface)
        return out

    def _mean(self, values: Tensor) -> Tensor:
        """Over all processes."""
        out = self.fabric.all_reduce(values, reduce_op="mean")
        assert isinstance(out, Tensor)
        return out

    def _descend(self, name: str, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        """One step of an optimiser along the gradient, averaged over all processes."""
        scaler = self.scalers[name]
        optimizer.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        if self.fabric.world_size > 1:
            parameters = itertools.chain.from_iterable(group["params"] for group in optimizer.param_groups)
            gradients = [p.grad for p in parameters if p.grad is not None]
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
            fake = self._fake(batch, self._latents("d"), update_average=True)
        with fabric.autocast():
            real = self._judge(batch.images, batch)
            real_score, fake_score = real["score"], self._judge(fake.detach(), batch)["score"]
            d_loss = losses.discriminator_loss(real_score.float(), fake_score.float(), recipe.score_penalty)
        said["d_loss"], said["real_score"], said["fake_score"] = d_loss, real_score.mean(), fake_score.mean()
        if recipe.r1.weight and self.step % recipe.r1.every == 0:
            # In full precision: squared gradients of half-precision scores overflow.
            images = batch.images.clone().requires_grad_(True)
            penalty = losses.r1_penalty(self._judge(images, batch)["score"], images)
            d_loss = d_loss + penalty * (recipe.r1.weight * recipe.r1.every / 2)
            said["r1"] = penalty
        self._descend("d", self.d_optimizer, d_loss)

        self.discriminator.requires_grad_(False)
        with fabric.autocast():
            latents, wanted = self._latents("g"), recipe.reconstruction
            # The first half of the batch is reconstructed; its random latents are the noise of the encoder's.
            half = sum(place < recipe.batch_size // 2 for place in self._places()) if wanted else 0
            if wanted:
                mean, log_variance = self.encoder(batch.part(half))
                described = mean + (log_variance / 2).exp() * latents[:half]
                latents = torch.cat((described, latents[half:]))
            fake = self._fake(batch, latents, update_average=False)
            judged = self._judge(fake, batch)
            g_loss = losses.generator_loss(judged["score"].float())
            said["g_loss"] = g_loss
            if wanted:
                near = losses.perceptual_distance(
                    *(
                        {stride: x[:half] for stride, x in maps.items()}
                        for maps in (judged["maps"], real["maps"])
                    )
                )
                pixels = (fake[:half] - batch.images[:half]).abs().sum() / (
                    3 * (1 - batch.masks[:half]).sum()
                )
                nats = divergence(mean, log_variance)
                g_loss = g_loss + wanted.weight * near + wanted.pixels * pixels + wanted.kl * nats
                said["perceptual"], said["nats"] = near, nats
        self._descend("g", self.g_optimizer, g_loss)
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

    def run(self, progress: Progress = no_progress, *, half: bool = False) -> Path | None:
        """Train to the end, from the checkpoint where there is one.

        Args:
            progress: called with crops.
            half: write the generator in float16.

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
            if done % show_steps == 0 or done == recipe.steps:
                self.show()
                self.measure(writer)
            if done % save_steps == 0:
                self.save()
            progress(done * batch_size, recipe.steps * batch_size)
        if writer is not None:
            writer.close()
        self.save()
        return self.export(half=half) if self.fabric.is_global_zero else None

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
        for name, columns, rows in (
            ("curve", COLUMNS, self.curve),
            ("measures", ("images", *MEASURES), self.measures),
        ):
            with (self.out / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
                table = csv.writer(file)
                table.writerow(columns)
                table.writerows([int(r[0]), *(f"{v:.6g}" if v != -1 else "" for v in r[1:])] for r in rows)

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
        batch, made = self.samples(_spread(len(self.previews), count), seeds, self.previews)
        rows = [batch.images, batch.condition, *made]
        sheet = torch.cat([torch.cat(list(row), dim=2) for row in rows], dim=1)
        folder = self.out / "previews"
        folder.mkdir(exist_ok=True)
        Pillow.fromarray(_pixels(sheet[None])[0]).save(
            folder / f"{self.step * self.recipe.batch_size:09d}.png"
        )

    def measure(self, writer: Any, *, count: int = 256) -> None:
        """Add a row to ``measures.csv``: see `measures`, on crops of the validation split."""
        if self.previews is None or not self.fabric.is_global_zero or len(self.previews) < FEWEST:
            return
        parts: list[list[NDArray[np.uint8]]] = []
        indices = _spread(len(self.previews), min(count, len(self.previews)))
        for start in range(0, len(indices), 32):
            batch, made = self.samples(indices[start : start + 32], 2, self.previews)
            parts.append([_pixels(x) for x in (batch.images, *made)])
        real, first, second = (np.concatenate(column) for column in zip(*parts, strict=True))
        images = self.step * self.recipe.batch_size
        row = measure(real, (first, second))
        self.measures.append([float(images), *row])
        for name, value in zip(MEASURES, row, strict=True):
            writer.add_scalar(name, value, images)

    def export(self, *, half: bool = False) -> Path:
        """Write the moving average as ``generator.safetensors``, which ``--method deepprivacy2`` and `files.load` take.

        Args:
            half: in float16, which halves the file; a generator is read back and run in float32 either way.

        """
        path, recipe = self.out / "generator.safetensors", self.recipe
        described: dict[str, Any] = {
            "config": recipe.network,
            "trained_on": f"{recipe.data.dataset}, split {recipe.data.split}",
            "licence": recipe.licence,
            "recipe": recipe.model_dump(mode="json"),
            "images": self.step * recipe.batch_size,
        }
        if self.measures:
            described["measures"] = dict(zip(("images", *MEASURES), self.measures[-1], strict=True))
        if self.uses_surface:
            described["templates"] = [self.crops.template]
        files.save(self.average.network, path, described, dtype=torch.float16 if half else torch.float32)
        return path


def _spread(n: int, count: int) -> list[int]:
    """``count`` of n indices, evenly spread."""
    return [int(i) for i in np.linspace(0, n - 1, count)]


def _pixels(images: Tensor) -> NDArray[np.uint8]:
    """(B, 3, h, w) in -1..1 to (B, h, w, 3)."""
    return ((images.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def _levels(state: Mapping[str, Tensor]) -> int:
    """Of a generator's encoder."""
    return len({k.split(".")[1] for k in state if k.startswith("encoder.")})


def _moved(state: Mapping[str, Tensor], deeper: int) -> dict[str, Tensor]:
    """A generator's state with the levels of its encoder, which are counted from outside, renumbered."""
    return {
        re.sub(r"^encoder\.(\d+)", lambda m: f"encoder.{int(m[1]) + deeper}", k): v for k, v in state.items()
    }


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
