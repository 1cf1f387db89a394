"""Networks that attackers train on pictures in memory: once for equal work, kept by the content of what they learned from."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import nn

from dp2bench.core.contracts import RunContext
from dp2bench.core.seeds import derive_seed
from dp2bench.core.tensors import write_tensors
from dp2bench.networks.fitting import Loss, fit


def trained(
    build: Callable[[], nn.Module],
    loss_of: Callable[[nn.Module], Loss],
    learned_from: tuple[NDArray[np.generic], ...],
    context: RunContext,
    *,
    what: str,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    measure: str = "accuracy",
) -> nn.Module:
    """A network after its training, ready to be asked; from ``context.cache`` where the same training was done before.

    Args:
        build: makes the network; its random numbers are seeded.
        loss_of: the loss of a batch by the indices of its examples, see `dp2bench.networks.fitting.fit`.
        learned_from: arrays with one row an example, by whose content the training is known.
        context: its seed, device and cache.
        what: it is, with everything of ``build`` and ``loss_of`` that changes the outcome.
        epochs: as in `fit`, and so are the next two.
        batch_size: examples.
        learning_rate: the highest.
        measure: what the second number of a loss is.

    """
    seed = derive_seed(context.seed, what)
    digest = hashlib.sha256(
        f"{what} {epochs} {batch_size} {learning_rate} {seed} {context.device} 1\0".encode()
    )
    for array in learned_from:
        digest.update(f"{array.shape} {array.dtype}\0".encode() + np.ascontiguousarray(array).data)
    kept = context.cache / f"trained-{digest.hexdigest()}.safetensors" if context.cache is not None else None
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = build().to(context.device)
        if kept is not None and kept.is_file():
            network.load_state_dict(load_file(kept))
            return network.eval()
        with tempfile.TemporaryDirectory() as scratch:
            fit(
                network,
                loss_of(network),
                len(learned_from[0]),
                Path(scratch),
                epochs=epochs,
                batch_size=batch_size,
                learning_rate=learning_rate,
                weight_decay=5e-4,
                seed=seed,
                progress=context.progress,
                what=what,
                measure=measure,
            )
    network.eval()
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_tensors(network.state_dict(), kept, {})
    return network


@torch.inference_mode()
def applied(network: nn.Module, pictures: NDArray[np.uint8], device: str) -> NDArray[np.float32]:
    """What a network says of (N, H, W, 3) pictures, which it is given as (B, 3, H, W) of 0..255."""
    parts = []
    for start in range(0, len(pictures), 64):
        batch = torch.from_numpy(np.ascontiguousarray(pictures[start : start + 64])).permute(0, 3, 1, 2)
        parts.append(network(batch.to(device).float()).float().cpu().numpy())
    return np.concatenate(parts) if parts else np.zeros((0, 1), np.float32)
