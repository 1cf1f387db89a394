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

import torch
from torch import Tensor

from dp2bench.core import templates
from dp2bench.core.contracts import Progress, no_progress
from dp2bench.core.errors import Dp2benchError
from dp2bench.datasets.crops import Crops
from dp2bench.deepprivacy2.generators import files
from dp2bench.deepprivacy2.training.crops import Batch, Steps, to_batch
from dp2bench.deepprivacy2.training.gan import Gan
from dp2bench.deepprivacy2.training.measures import COLUMNS as MEASURES
from dp2bench.deepprivacy2.training.previews import Previews
from dp2bench.deepprivacy2.training.recipe import GanConfig
from dp2bench.deepprivacy2.training.step import AdversarialStep

if TYPE_CHECKING:
    from lightning_fabric import Fabric

COLUMNS = ("images", "d_loss", "g_loss", "real_score", "fake_score", "r1", "perceptual", "nats")
"""Of the curve; means over the crops since the row before."""
MAY_CHANGE = {"images", "log_every", "preview_every", "checkpoint_every", "description", "licence"}
"""Keys of a recipe that may differ when a training goes on."""


class GanTraining:
    """One training of a generator, its progress and its files.

    Args:
        recipe: what is trained and how.
        out: folder of the run: ``checkpoint.pt``, ``curve.csv``, ``previews/``, ``tensorboard/``, ``generator.safetensors``.
        crops: what is learned from.
        previews: crops to show on the way (none: no previews).
        fabric: Lightning Fabric, launched; its processes share the work.
        workers: processes that read crops, beside each training process.

    Raises:
        Dp2benchError: the batch cannot be shared by the processes, or the recipe and the crops do not go together.

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
        self.workers = workers
        _check_batch_size(recipe, fabric.world_size)
        self.gan = Gan(recipe, crops.template, fabric.device)
        self.table = (
            torch.from_numpy(templates.get(crops.template).embeddings).to(fabric.device)
            if self.gan.uses_surface and crops.template
            else None
        )
        self.previews = (
            None if previews is None else Previews(self.gan, previews, self.table, recipe.seed, fabric.device)
        )
        self._stepper = AdversarialStep(self.gan, recipe, fabric)
        self.step = 0
        self.curve: list[list[float]] = []
        self.measures: list[list[float]] = []

    @property
    def images(self) -> int:
        """Real crops shown so far."""
        return self.step * self.recipe.batch_size

    @property
    def checkpoint(self) -> Path:
        """Where the state is kept between starts."""
        return self.out / "checkpoint.pt"

    def save_checkpoint(self) -> None:
        """Replace the checkpoint; the old one stays until the new one is whole."""
        if self.fabric.is_global_zero:
            state = {
                "recipe": json.dumps(self.recipe.model_dump(mode="json")),
                "step": self.step,
                "curve": self.curve,
                "measures": self.measures,
                **self.gan.state(),
            }
            partial = self.checkpoint.with_suffix(".partial")
            torch.save(state, partial)
            os.replace(partial, self.checkpoint)
            self._write_curve()
        self.fabric.barrier()

    def load_checkpoint(self) -> bool:
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
        self.gan.load_state(state)
        self.step = int(state["step"])
        self.curve, self.measures = ([list(row) for row in state[k]] for k in ("curve", "measures"))
        return True

    def start_from(self, checkpoint: Path) -> None:
        """Begin with another training's networks, see `Gan.start_from`; a checkpoint in ``out`` goes before it."""
        self.gan.start_from(checkpoint)

    def advance(self, batch: Batch) -> dict[str, Tensor]:
        """One step on this process's share of the crops, see `AdversarialStep.advance`."""
        values = self._stepper.advance(batch, self.step)
        self.step += 1
        return values

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
        self.load_checkpoint()
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
                self._preview(writer)
            if done % save_steps == 0:
                self.save_checkpoint()
            progress(done * batch_size, recipe.steps * batch_size)
        if writer is not None:
            writer.close()
        self.save_checkpoint()
        return self.export(half=half) if self.fabric.is_global_zero else None

    def _batches(self) -> Iterable[dict[str, Tensor]]:
        steps = Steps(
            self.crops,
            self.gan.size,
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

        return SummaryWriter(str(self.out / "tensorboard"), purge_step=self.images)

    def _log(self, sums: Mapping[str, list[Tensor]], writer: Any) -> None:
        means = torch.stack(
            [
                torch.stack(sums[c]).mean() if sums.get(c) else torch.tensor(-1.0, device=self.fabric.device)
                for c in COLUMNS[1:]
            ]
        )
        if self.fabric.world_size > 1:
            means = self._stepper.mean(means)
        row = [float(self.images), *(float(v) for v in means.cpu())]
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

    def _preview(self, writer: Any) -> None:
        """Save a sheet of fillings and add a row to ``measures.csv``."""
        if self.previews is None or not self.fabric.is_global_zero:
            return
        self.previews.save_sheet(self.out / "previews" / f"{self.images:09d}.png")
        row = self.previews.measure()
        if row is None:
            return
        self.measures.append([float(self.images), *row])
        for name, value in zip(MEASURES, row, strict=True):
            writer.add_scalar(name, value, self.images)

    def _write_curve(self) -> None:
        for name, columns, rows in (
            ("curve", COLUMNS, self.curve),
            ("measures", ("images", *MEASURES), self.measures),
        ):
            with (self.out / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
                table = csv.writer(file)
                table.writerow(columns)
                table.writerows([int(r[0]), *(f"{v:.6g}" if v != -1 else "" for v in r[1:])] for r in rows)

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
            "images": self.images,
        }
        if self.measures:
            described["measures"] = dict(zip(("images", *MEASURES), self.measures[-1], strict=True))
        if self.gan.uses_surface:
            described["templates"] = [self.crops.template]
        if self.gan.is_modulated_by_surface:
            averaged: Any = self.gan.average.network.style_net
            averaged.E_map.estimate_average()
        files.save(self.gan.average.network, path, described, dtype=torch.float16 if half else torch.float32)
        return path


def _check_batch_size(recipe: GanConfig, processes: int) -> None:
    if recipe.batch_size % processes:
        raise Dp2benchError(
            f"A batch of {recipe.batch_size} crops cannot be shared by {processes} processes.",
            "Change batch_size or the number of processes.",
        )
    if recipe.reconstruction and recipe.batch_size % (2 * processes):
        # Gradients are averaged over processes as equals, so each must reconstruct as many crops.
        raise Dp2benchError(
            f"Half of each batch is learned by reconstruction, and half of {recipe.batch_size} crops cannot be shared evenly by "
            f"{processes} processes.",
            f"Take a batch_size that {2 * processes} divides, or another number of processes.",
        )
