"""What trainers share, the attackers too: a checkpoint after each epoch, the same weights after a kill, and a stop where the loss is no number."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dp2bench.core.contracts import Progress
from dp2bench.core.errors import Dp2benchError
from dp2bench.core.seeds import derive_seed, generator
from dp2bench.core.tensors import write_tensors

CHECKPOINT = "checkpoint.pt"
Curve = list[tuple[Any, ...]]
"""Rows of the number of an epoch or iteration and what was measured until then."""
Loss = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Loss of a batch, given the indices of its examples, and how well it is solved, which is written down and not learned from."""


def fit(
    model: nn.Module,
    loss_of: Loss,
    examples: int,
    out: Path,
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    weight_decay: float,
    seed: int,
    progress: Progress,
    what: str,
    measure: str,
) -> None:
    """AdamW under one cosine with a warm-up over the first tenth; leaves ``model`` trained and ``curve.csv`` in ``out``.

    The curve has each epoch's mean loss and, under the name ``measure``, the mean of the other number of `Loss`.

    Every epoch draws from its own seed, so a training that goes on from ``checkpoint.pt`` ends in the same weights.

    Raises:
        Dp2benchError: the loss is not finite (named by ``what`` and epoch).

    """
    batch = min(batch_size, examples)
    steps = examples // batch
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=learning_rate, weight_decay=weight_decay)
    total = epochs * steps
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, learning_rate, total_steps=max(total, 2), pct_start=0.1, cycle_momentum=False
    )
    parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
    curve: Curve = load_checkpoint(out, parts)
    for epoch in range(len(curve), epochs):
        order = torch.from_numpy(generator(derive_seed(seed, "order", epoch)).permutation(examples))
        torch.manual_seed(derive_seed(seed, "epoch", epoch))
        model.train()
        summed = torch.zeros(2)
        for step in range(steps):
            loss, solved = loss_of(order[step * batch : (step + 1) * batch])
            if not torch.isfinite(loss):
                raise Dp2benchError(
                    f"The training of {what} diverged in epoch {epoch + 1} (loss {loss.item()}).",
                    "Lower learning_rate.",
                )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(trained, 10.0)
            optimizer.step()
            scheduler.step()
            summed += torch.stack([loss.detach(), solved.detach()]).cpu()
            progress(epoch * steps + step + 1, total)
        curve.append((epoch + 1, float(summed[0]) / steps, float(summed[1]) / steps))
        save_checkpoint(out, parts, curve)
    write_curve(out, ("epoch", "loss", measure), curve)


def load_checkpoint(out: Path, parts: Mapping[str, Any], device: str = "cpu") -> Curve:
    """Put ``parts`` (by name, with state dicts) back to where `keep` left them in ``out``; the curve up to there, empty where it never
    was called.
    """
    if not (out / CHECKPOINT).exists():
        return []
    state = torch.load(out / CHECKPOINT, weights_only=True, map_location=device)
    for name, part in parts.items():
        part.load_state_dict(state[name])
    return [tuple(row) for row in state["curve"]]


def save_checkpoint(out: Path, parts: Mapping[str, Any], curve: Curve) -> None:
    """Write the state of a training's ``parts``, and its curve up to here, over the last checkpoint."""
    partial = out / "checkpoint.partial"
    torch.save({name: part.state_dict() for name, part in parts.items()} | {"curve": curve}, partial)
    os.replace(partial, out / CHECKPOINT)


def write_curve(out: Path, columns: Sequence[str], curve: Curve) -> None:
    """Leave the curve as ``curve.csv``."""
    rows = (f"{at}," + ",".join(f"{value:.6f}" for value in values) for at, *values in curve)
    (out / "curve.csv").write_text("\n".join((",".join(columns), *rows)) + "\n", "utf-8")


def save(model: nn.Module, recipe: Any, out: Path, **more: str) -> None:
    """Leave a trained model and its recipe (a dataclass, with ``more`` beside its fields) as ``model.safetensors``, without the
    checkpoint.
    """
    told = json.dumps(more | asdict(recipe), sort_keys=True)
    write_tensors(model.state_dict(), out / "model.safetensors", {"recipe": told})
    (out / CHECKPOINT).unlink(missing_ok=True)
