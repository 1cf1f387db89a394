"""Which file of weights a generator takes, and what the file says of itself.

A generator's file is safetensors; how its network is built stands in the file's metadata under ``generator`` (JSON), or in a
file of the same name that ends in ``.json``. Nothing here imports torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dp2bench.core.contracts import Weights
from dp2bench.core.errors import Dp2benchError
from dp2bench.deepprivacy2.generators.networks import catalogue as networks
from dp2bench.weights import embedded as shipped
from dp2bench.weights.catalogue import MissingWeightsError, how_to_get, installed, names
from dp2bench.weights.digests import sha256

Role = Literal["body-cse", "body", "face", "face-keypoints", "surface-guided", "keypoint-guided"]
"""What a generator is for: people with a surface, people, faces, faces with keypoints; and two of another make, Surface Guided
GANs for people with a surface and TriA-GAN for people with keypoints.
"""
EMBEDDED: Mapping[Role, str] = {
    "body-cse": "mini-body-cse",
    "body": "mini-body",
    "face": "mini-face",
    "face-keypoints": "mini-face-keypoints",
    "surface-guided": "mini-surface-guided",
    "keypoint-guided": "mini-keypoint-guided",
}
"""Names of the embedded weights of each role, where the package has them."""
OFFICIAL: Mapping[Role, str] = {
    "body-cse": "fdh_styleganL",
    "body": "fdh_styleganL_nocse",
    "face": "fdf256_stylegan",
    "face-keypoints": "deep_privacy1",
    "surface-guided": "surface_guided_E",
    "keypoint-guided": "triagan_fdh_im288",
}


@dataclass(frozen=True)
class GeneratorFile:
    """A generator's weights.

    Attributes:
        path: of the safetensors.
        name: how messages and provenance call it.
        config: constructor arguments of the network.
        templates: surface templates it was trained with.
        face_crop: definition of the crop it was trained with, if it is for faces.
        licence: of the weights.
        trained_on: data.
        psi: how much of a person's own style is best left (truncation): 0, as published, or 1 for a generator that learned by
            reconstruction, whose fillings truncation makes worse and more alike (docs/model-cards.md).

    """

    path: Path
    name: str
    config: dict[str, Any] = field(hash=False)
    templates: tuple[str, ...] = ()
    face_crop: str = "fdf256"
    licence: str = "unknown"
    trained_on: str = "unknown"
    psi: float = 0.0

    @property
    def crop_size(self) -> tuple[int, int]:
        """Height and width of the crops, in pixels."""
        height, width = self.config.get("imsize", (128, 128))  # DeepPrivacy1 takes no arguments
        return int(height), int(width)

    @property
    def role(self) -> Role:
        """What it can fill, as far as the network shows: a square crop is a face."""
        if not self.config:
            return "face-keypoints"
        if "style" in self.config:
            return "surface-guided"
        if "dim_mults" in self.config:
            return "keypoint-guided"
        if self.config.get("input_cse"):
            return "body-cse"
        return "face" if self.crop_size[0] == self.crop_size[1] else "body"

    def weights(self) -> Weights:
        """For a method's meta."""
        return Weights(self.name, sha256(self.path), self.licence)


def embedded() -> dict[str, Path]:
    """Generators that came with the package, by name."""
    return {name: path for name, path in shipped.paths().items() if name in EMBEDDED.values()}


def resolve(weights: str | Path | None, role: Role) -> Path:
    """A generator's file: an explicit path; a name of the catalogue, in the user's folder; or what the package embeds.

    Args:
        weights: a path, a name of the catalogue, ``official`` for the published weights of this role, the name of embedded
            weights or ``mini`` for those of this role; None takes the embedded ones.
        role: what it is for.

    Raises:
        MissingWeightsError: published ones that are not there. Dp2benchError: no such weights.

    """
    own = embedded()
    wanted = (
        OFFICIAL[role] if weights == "official" else EMBEDDED[role] if weights in {None, "mini"} else weights
    )
    if str(wanted) in own:
        return own[str(wanted)]
    if str(wanted) in names("generator"):
        found = installed(str(wanted))
        if found is not None:
            return found
        raise MissingWeightsError([str(wanted)], f"The generator for {role!r}")
    if weights in {None, "mini"}:
        raise Dp2benchError(
            f"This dp2bench embeds no weights for {role!r}.",
            f"Take the published ones: {how_to_get(OFFICIAL[role])} Then set weights=official. Or name a file of yours.",
        )
    path = Path(wanted).expanduser()
    if not path.is_file():
        raise Dp2benchError(
            f"There is no file {path} with weights for {role!r}.",
            f"Give a path, `official`, or one of: {', '.join((*own, *names('generator')))}.",
        )
    return path


def describe(path: Path) -> GeneratorFile:
    """What a generator's file says of itself; reads the header only.

    Raises:
        Dp2benchError: no safetensors, truncated, or without the network's configuration.

    """
    if path.suffix != ".safetensors":
        raise Dp2benchError(
            f"{path} is not a generator in safetensors.",
            f"Convert it once: `dp2bench weights import {path} --as NAME`, with a NAME of `dp2bench weights list`.",
        )
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            metadata: dict[str, str] = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise Dp2benchError(
            f"{path} cannot be read as safetensors: {error}",
            "It is truncated or something else: download or export it again.",
        ) from error
    beside = path.with_suffix(".json")
    try:
        told = json.loads(metadata["generator"] if "generator" in metadata else beside.read_text("utf-8"))
        config = told.get("config")
        if config is None:
            config = networks()[told["network"]]
        return GeneratorFile(
            path=path,
            name=path.stem,
            config=dict(config),
            templates=tuple(told.get("templates", ())),
            face_crop=told.get("face_crop", "fdf256"),
            licence=told.get("licence", "unknown"),
            trained_on=told.get("trained_on", "unknown"),
            psi=1.0 if told.get("recipe", {}).get("reconstruction") else 0.0,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Dp2benchError(
            f"{path} does not say how its network is built.",
            f'Put {{"config": {{...}}}} into {beside.name} beside it, or convert an official checkpoint with `dp2bench weights import`.',
        ) from error
