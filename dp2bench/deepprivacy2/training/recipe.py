"""What a generator's training is made of: a YAML file, checked before anything is computed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from dp2bench.core import yaml_model
from dp2bench.core.errors import Dp2benchError

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CropSource(_Strict):
    """Where the crops come from.

    Attributes:
        dataset: name of a dataset that yields crops (``fdh``, ``fdf``, ``passersby-fdh``, ``passersby-fdf``).
        arguments: of that dataset, e.g. its size.
        split: the split to learn from.
        preview_split: the split that previews and scores are made on.

    """

    dataset: str
    arguments: dict[str, Any] = {}
    split: str = "train"
    preview_split: str = "val"


class R1(_Strict):
    """Lazy gradient penalty on real pictures (Mescheder et al. 2018; lazy as in Karras et al. 2020, appendix B)."""

    weight: float = Field(default=0.1, ge=0)
    every: int = Field(default=16, ge=1)


class EMA(_Strict):
    """Moving average of the generator's weights: half-life in pictures, shorter in the beginning (``rampup``).

    The half-life in pictures is ``half_life`` or ``rampup`` times the pictures seen, whichever is less.
    """

    half_life: float | None = Field(
        default=None, gt=0, description="pictures; 10,000 x batch_size / 32 where omitted, as published"
    )
    rampup: float | None = Field(default=0.05, gt=0)


class Reconstruction(_Strict):
    """Learning half of each batch by reconstruction, with a projected discriminator; see `encoder`.

    Attributes:
        weight: of the perceptual distance between the picture and its reconstruction, beside the adversary's loss.
        pixels: of the absolute difference of pixels in the hole, beside the perceptual distance.
        kl: of the divergence of latents from the normal distribution, a nat.

    """

    weight: float = Field(default=4.0, gt=0)
    pixels: float = Field(default=0.5, ge=0)
    kl: float = Field(default=0.01, gt=0)


class GanConfig(_Strict):
    """One training of a generator; defaults are those of the published body generator (``fdh/styleganL``).

    Attributes:
        name: names the run and the weights.
        licence: of the trained weights, written into their file.
        generator: a name of the catalogue of networks or constructor arguments of `StyleUNet`.
        discriminator: ``kind`` (``stylegan2``, the published one, or ``projected``) and constructor arguments of `Discriminator`
            or `ProjectedDiscriminator` beyond the size of the crops.
        images: real crops shown in all, over all processes.
        batch_size: crops of one step, over all processes.
        d_learning_rate: of the discriminator, where it is another.
        score_penalty: weight of the squared score of real crops, which keeps scores from drifting.
        reconstruction: what is learned by reconstruction beside the adversary; None for nothing, as published.
        flip: mirror each crop with probability one half; surfaces change sides with it.
        checkpoint_every, preview_every, log_every: in crops.
        start_sha256: of the checkpoint that the networks begin with; set by ``--start``.

    """

    schema_version: Literal[1] = 1
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    description: str = ""
    licence: str = ""
    generator: str | dict[str, Any]
    discriminator: dict[str, Any] = {}
    data: CropSource
    images: int = Field(50_000_000, gt=0)
    batch_size: int = Field(64, ge=2)
    learning_rate: float = Field(0.002, gt=0)
    d_learning_rate: float | None = Field(None, gt=0)
    betas: tuple[float, float] = (0.0, 0.99)
    r1: R1 = R1()
    score_penalty: float = Field(0.001, ge=0)
    ema: EMA = EMA()
    reconstruction: Reconstruction | None = None
    flip: bool = True
    precision: Precision = "32-true"
    seed: int = Field(0, ge=0)
    log_every: int = Field(1024, gt=0)
    preview_every: int = Field(50_000, gt=0)
    checkpoint_every: int = Field(10_000, gt=0)
    start_sha256: str | None = None

    @property
    def network(self) -> dict[str, Any]:
        """Constructor arguments of the generator, the catalogue looked up."""
        if isinstance(self.generator, dict):
            return dict(self.generator)
        from dp2bench.deepprivacy2.generators.networks import catalogue

        known = catalogue()
        if self.generator not in known:
            raise Dp2benchError(
                f"The recipe {self.name} names a generator {self.generator!r} that is not in the catalogue.",
                f"Take one of: {', '.join(n for n in sorted(known) if 'discriminator' not in n)}.",
            )
        return known[self.generator]

    @property
    def half_life(self) -> float:
        """Of the moving average, in pictures."""
        return self.ema.half_life or 10_000 * self.batch_size / 32

    @property
    def steps(self) -> int:
        """Steps in all; the last batch is never smaller."""
        return max(1, self.images // self.batch_size)


def load_recipe(source: str | Path, overrides: Mapping[str, Any] | None = None) -> GanConfig:
    """The recipe of a YAML file or one that comes with the package, see `yaml_model.load_recipe`."""
    return yaml_model.load_recipe(GanConfig, source, __package__, overrides)
