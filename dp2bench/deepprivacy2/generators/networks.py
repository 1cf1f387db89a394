"""Networks of DeepPrivacy2 in plain PyTorch; official checkpoints load with their own keys.

`build` makes a network from a name of the catalogue or from a configuration.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from dp2bench.core.errors import PluginError

if TYPE_CHECKING:
    from dp2bench.deepprivacy2.generators.layers import InferenceMixin


@cache
def _catalogue_text() -> str:
    return resources.files(__package__).joinpath("catalogue.json").read_text(encoding="utf-8")


def catalogue() -> dict[str, dict[str, Any]]:
    """Configuration of every network by name."""
    loaded: dict[str, dict[str, Any]] = json.loads(_catalogue_text())
    return loaded


def build(config: str | Mapping[str, Any]) -> InferenceMixin:
    """Make a network with random weights.

    Args:
        config: a name of `catalogue`, or constructor arguments: those of `StyleUNet`, those of `Discriminator` (told by
            ``input_condition``), those of `SurfaceGuidedUNet` (told by ``style``), those of `SurfaceGuidedDiscriminator`
            (told by ``output_fpn``), those of `TriaGAN` (told by ``dim_mults``), or none at all for `DeepPrivacy1`.

    Raises:
        PluginError: the name is unknown, or the arguments belong to no network.
    """
    from dp2bench.deepprivacy2.generators.deep_privacy1 import DeepPrivacy1
    from dp2bench.deepprivacy2.generators.discriminator import Discriminator
    from dp2bench.deepprivacy2.generators.style_unet import StyleUNet
    from dp2bench.deepprivacy2.generators.surface_guided import (
        SurfaceGuidedDiscriminator,
        SurfaceGuidedUNet,
    )
    from dp2bench.deepprivacy2.generators.triagan import TriaGAN

    if isinstance(config, str):
        known = catalogue()
        if config not in known:
            raise PluginError(
                f"There is no network named {config!r}.", f"Take one of: {', '.join(sorted(known))}."
            )
        config = known[config]
    told_by = {
        "input_condition": Discriminator,
        "output_fpn": SurfaceGuidedDiscriminator,
        "style": SurfaceGuidedUNet,
        "dim_mults": TriaGAN,
    }
    kind: type[InferenceMixin] = DeepPrivacy1 if not config else StyleUNet
    kind = next((network for key, network in told_by.items() if key in config), kind)
    try:
        return kind(**config)
    except TypeError as error:
        raise PluginError(
            f"This is no configuration of {kind.__name__}: {error}.", "Compare it with catalogue()."
        ) from error
