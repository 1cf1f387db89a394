"""What a training of the embedded detector is made of: a YAML file, checked before anything is computed."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from dp2bench.core.errors import Dp2benchError
from dp2bench.core.yaml_model import parse, read_text


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Data(_Strict):
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
    data: Data
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


def shipped() -> dict[str, str]:
    """Text of every recipe that comes with the package, by name."""
    folder = resources.files(__package__) / "recipes"
    return {p.name[:-5]: p.read_text("utf-8") for p in folder.iterdir() if p.name.endswith(".yaml")}


def load_recipe(source: str, overrides: Mapping[str, Any] | None = None) -> DetectorConfig:
    """The recipe of a YAML file or one that comes with the package, by name.

    Args:
        source: path or name.
        overrides: values in place of the file's, by key.

    Raises:
        Dp2benchError: no such file or name, no YAML, or an unknown key or bad value, which it names.

    """
    known = shipped()
    if source not in known and not Path(source).is_file():
        raise Dp2benchError(
            f"There is no recipe {source}.",
            f"Give the path of a YAML file or one of: {', '.join(sorted(known))}.",
        )
    text = known[source] if source in known else read_text(Path(source), Dp2benchError)
    recipe = parse(DetectorConfig, text, source, Dp2benchError)
    return DetectorConfig.model_validate({**recipe.model_dump(), **(overrides or {})})
