"""What trainers share: a checkpoint after each epoch, the same weights after a kill, and a stop where the loss is no number."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from dp2bench.core.contracts import Progress
from dp2bench.core.errors import Dp2benchError
from dp2bench.core.seeds import derive_seed, generator

Loss = Callable[[Tensor], Tensor]
"""Loss of a batch, given the indices of its examples."""


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
) -> None:
    """AdamW under one cosine with a warm-up over the first tenth; leaves ``model`` trained and ``curve.csv`` in ``out``.

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
    checkpoint = out / "checkpoint.pt"
    curve: list[float] = []
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        scheduler.load_state_dict(state["scheduler"])
        curve = list(state["curve"])
    for epoch in range(len(curve), epochs):
        order = torch.from_numpy(generator(derive_seed(seed, "order", epoch)).permutation(examples))
        torch.manual_seed(derive_seed(seed, "epoch", epoch))
        model.train()
        summed = 0.0
        for step in range(steps):
            loss = loss_of(order[step * batch : (step + 1) * batch])
            if not torch.isfinite(loss):
                raise Dp2benchError(
                    f"The training of {what} diverged in epoch {epoch + 1} (loss {loss.item()}).",
                    "Lower learning_rate in the task's arguments.",
                )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(trained, 10.0)
            optimizer.step()
            scheduler.step()
            summed += float(loss.detach())
            progress(epoch * steps + step + 1, total)
        curve.append(summed / steps)
        partial = out / "checkpoint.partial"
        torch.save(
            {
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "scheduler": scheduler.state_dict(),
                "curve": curve,
            },
            partial,
        )
        os.replace(partial, checkpoint)
    rows = "".join(f"{i},{loss:.6f}\n" for i, loss in enumerate(curve, 1))
    (out / "curve.csv").write_text("epoch,loss\n" + rows, "utf-8")
