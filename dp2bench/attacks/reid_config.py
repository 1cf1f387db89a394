"""How a re-identification attacker is trained, without the means to do it: what a plan of a run needs to know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from dp2bench.core.errors import Dp2benchError
from dp2bench.core.hashing import content_sha256
from dp2bench.weights import embedded
from dp2bench.weights.catalogue import find, names

EMBEDDED = "embedded"
"""As `ReidConfig.weights`: the attackers that come with the package."""
EMBEDDED_SEEDS = (0, 1)
"""Of the attackers that come with the package."""


@dataclass(frozen=True)
class ReidConfig:
    """How an attacker is trained; every field changes the outcome.

    ``weights`` spares the training: `EMBEDDED`, or the ``model.safetensors`` of an earlier one, which must be of this recipe.
    ``start_weights``: a file of ImageNet weights to start from, or its name in the catalogue of weights; ``pretrained`` has torchreid
    download one. ``schedule``: ``cosine``, or ``single-step``: a tenth of the rate from ``step_epoch`` on. In the first
    ``fixbase_epochs`` the classifier alone learns. ``random_crop``: half of the pictures are enlarged by an eighth and cut at a random place.
    """

    model: str = "osnet_x0_25"
    height: int = 128
    width: int = 64
    epochs: int = 30
    batch_size: int = 48
    learning_rate: float = 3e-3
    weight_decay: float = 5e-4
    label_smoothing: float = 0.1
    pretrained: bool = False
    weights: str = ""
    start_weights: str = ""
    schedule: str = "cosine"
    step_epoch: int = 60
    fixbase_epochs: int = 0
    random_crop: bool = False

    def effective(self) -> dict[str, Any]:
        """Its fields, with the file it starts from by its sha256."""
        path = Path(self.start_weights)
        return {**asdict(self), "start_weights": content_sha256(path) if self.start_weights else ""}


SCHEDULES = ("cosine", "single-step")


def recipe(arguments: Mapping[str, Any]) -> ReidConfig:
    """From what a suite or a command line gives; raises Dp2benchError naming what is unknown or of the wrong kind."""
    known: dict[str, Any] = {f.name: f.default for f in fields(ReidConfig)}
    if unknown := sorted(set(arguments) - set(known)):
        raise Dp2benchError(
            f"An attacker's training has no argument {', '.join(unknown)}.", f"It takes: {', '.join(known)}."
        )
    checked = {}
    for name, value in arguments.items():
        kind = type(known[name])
        try:
            checked[name] = kind(value)
            right = isinstance(value, kind) or (kind is float and not isinstance(value, bool))
        except (TypeError, ValueError):
            right = False
        lowest = 1 if kind is int and name != "fixbase_epochs" else 0
        if not right or (kind in (int, float) and not lowest <= checked[name] < float("inf")):
            raise Dp2benchError(
                f"{name}: {value!r} in an attacker's training is not right.",
                f"Give {f'a number from {lowest} up' if kind in (int, float) else 'true or false' if kind is bool else 'a name'}, "
                f"as in {name}: {known[name]}.",
            )
    if checked.get("schedule", SCHEDULES[0]) not in SCHEDULES:
        raise Dp2benchError(
            f"There is no schedule {checked['schedule']!r} for an attacker's training.",
            f"Choose of: {', '.join(SCHEDULES)}.",
        )
    if checked.get("start_weights"):
        checked |= find({"start_weights": checked["start_weights"]}, "The attacker of re-identification")
        if not Path(checked["start_weights"]).is_file():
            raise Dp2benchError(
                f"There is no file {checked['start_weights']} (start_weights of the attacker).",
                f"Give a file of ImageNet weights, or a name: {', '.join(names('network'))}.",
            )
    return ReidConfig(**checked)


def weights_sha256(recipe: ReidConfig) -> dict[str, str]:
    """By seed (or ``any``) the sha256 of the weights that spare the training; empty where there is a training."""
    if recipe.weights == EMBEDDED:
        return {
            str(seed): embedded.manifest()[name]["sha256"]
            for seed in EMBEDDED_SEEDS
            if (name := embedded_name(recipe, seed)) in embedded.manifest()
        }
    return {"any": content_sha256(given_weights(recipe, 0))} if recipe.weights else {}


def given_weights(recipe: ReidConfig, seed: int) -> Path:
    """The file that spares a seed's training; a Dp2benchError where there is none."""
    if recipe.weights != EMBEDDED:
        path = Path(recipe.weights)
        if not path.is_file():
            raise Dp2benchError(
                f"There is no file {path} (weights of the attacker).",
                f"Give the model.safetensors of a training, or `{EMBEDDED}`, or leave weights out.",
            )
        return path
    if seed not in EMBEDDED_SEEDS:
        raise Dp2benchError(
            f"No attacker of seed {seed} comes with dp2bench.",
            f"Use the seeds {', '.join(map(str, EMBEDDED_SEEDS))}, or leave `weights: {EMBEDDED}` out, so that it is trained.",
        )
    if embedded_name(recipe, seed) not in embedded.manifest():
        raise Dp2benchError(
            f"No attacker {recipe.model} comes with dp2bench.",
            f"Use {ReidConfig.model}, or leave `weights: {EMBEDDED}` out, so that it is trained.",
        )
    return embedded.path(embedded_name(recipe, seed))


def embedded_name(recipe: ReidConfig, seed: int) -> str:
    """Of an attacker that comes with the package."""
    return f"{recipe.model}-{seed}"
