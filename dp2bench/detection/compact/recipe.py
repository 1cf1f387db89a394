"""What a training of the embedded detector is made of: a YAML file, checked before anything is computed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from dp2bench.core import yaml_model


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SceneSource(_Strict):
    """Pictures to learn from.

    Attributes:
        dataset: name of a dataset whose people have masks, and surfaces of the template `networks.TEMPLATE`.
        arguments: of that dataset, e.g. its size.
        split: the split to learn from.
        limit: only the first so many pictures of it.

    """

    dataset: str
    arguments: dict[str, Any] = {}
    split: str = "train"
    limit: int | None = Field(default=None, ge=1)


class DetectorConfig(_Strict):
    """One training of the embedded detector.

    Attributes:
        name: names the run and the weights.
        licence: of the trained weights, written into their file.
        channels: of the decoders.
        region: pixels of the squares that people and faces are found in.
        zoom: from and to which factor pictures are scaled before.
        people: crops of people from each picture.
        epochs: how often each picture is seen, each time otherwise.
        batch_size: pictures of one step.
        precision: of the forward pass.

    """

    schema_version: Literal[1] = 1
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    description: str = ""
    licence: str = ""
    data: SceneSource
    channels: int = Field(96, ge=8)
    region: int = Field(384, ge=64, multiple_of=32)
    zoom: tuple[float, float] = (0.6, 2.0)
    people: int = Field(3, ge=1)
    epochs: int = Field(10, ge=1)
    batch_size: int = Field(8, ge=1)
    learning_rate: float = Field(2e-3, gt=0)
    weight_decay: float = Field(1e-2, ge=0)
    precision: Literal["32-true", "bf16-mixed"] = "bf16-mixed"
    seed: int = Field(0, ge=0)


def load_recipe(source: str | Path, overrides: Mapping[str, Any] | None = None) -> DetectorConfig:
    """The recipe of a YAML file or one that comes with the package, see `yaml_model.load_recipe`."""
    return yaml_model.load_recipe(DetectorConfig, source, __package__, overrides)
