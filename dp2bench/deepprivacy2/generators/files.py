"""Generators from files and into files; official checkpoints are read with ``weights_only=True`` and never otherwise."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from dp2bench.core.errors import Dp2benchError
from dp2bench.core.tensors import write_tensors
from dp2bench.deepprivacy2.generator_weights import GeneratorFile
from dp2bench.deepprivacy2.generators import networks
from dp2bench.deepprivacy2.generators.layers import InferenceMixin
from dp2bench.deepprivacy2.generators.triagan import TriaGAN, current_keys
from dp2bench.weights.catalogue import Entry, folder
from dp2bench.weights.digests import check_md5, check_sha256, sha256, write_record

CENTRES = "style_net.w_centers"
"""Key of cluster centres of styles, which are no part of a network's state dict."""
_AVERAGES = ("EMA_generator", "running_average_generator")


def save(
    network: torch.nn.Module,
    path: Path,
    described: Mapping[str, Any],
    *,
    centres: Tensor | None = None,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write a generator with what `generator_weights.describe` reads; the file appears whole.

    Args:
        network: its state dict is written.
        path: ending in ``.safetensors``.
        described: ``network`` (a name of the catalogue of networks) or ``config`` (constructor arguments), and optionally
            ``templates``, ``face_crop``, ``licence``, ``trained_on`` and anything else worth keeping.
        centres: (K, w_dim) cluster centres of styles.
        dtype: of the numbers in the file; float16 halves it, and a network is read back in float32 either way.

    """
    state = {key: value.to(dtype) for key, value in network.state_dict().items()}
    if centres is not None:
        state[CENTRES] = centres.to(dtype)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_tensors(state, path, {"generator": json.dumps(dict(described), sort_keys=True)})


def load(file: GeneratorFile) -> tuple[InferenceMixin, Tensor | None]:
    """The network with its weights on the CPU, not yet prepared for inference, and cluster centres if the file has any.

    Raises:
        Dp2benchError: the file is broken or does not belong to its configuration.

    """
    try:
        state = load_file(file.path)
    except (SafetensorError, OSError, ValueError) as error:
        raise Dp2benchError(
            f"{file.path} cannot be read as safetensors: {error}",
            "It is truncated or something else: download or export it again.",
        ) from error
    centres = state.pop(CENTRES, None)
    centres = None if centres is None else centres.float()
    network = networks.build(file.config)
    _fill(network, state, file.path)
    return network.eval(), centres


def install(raw: Path, known: Entry) -> Path:
    """Convert a downloaded checkpoint into the user's folder of weights.

    Raises:
        Dp2benchError: see `convert`.

    """
    target = folder() / f"{known.name}.safetensors"
    convert(raw, known, target)
    if raw.parent.resolve() == target.parent.resolve() and raw != target:
        raw.unlink()  # its sha256 is kept in the metadata of what was made of it
    return target


def convert(source: Path, known: Entry, target: Path) -> None:
    """An official checkpoint to safetensors.

    Raises:
        Dp2benchError: it holds anything but arrays, is broken, or belongs to another network.

    """
    check_md5(source, known)
    check_sha256(source, known)
    state, centres = _official(source)
    network = networks.build(known.network)
    if isinstance(network, TriaGAN):
        state = current_keys(state)
    _fill(network, state, source)
    described = {**known.described(), "source": source.name, "source_sha256": sha256(source)}
    save(network, target, described, centres=centres)
    write_record(target)


def _official(path: Path) -> tuple[dict[str, Tensor], Tensor | None]:
    """Averaged generator and cluster centres of a published checkpoint."""
    if path.suffix == ".safetensors":
        state: Any = load_file(path)
        return state, state.pop(CENTRES, None)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (
        pickle.UnpicklingError,
        EOFError,
        RuntimeError,
        ValueError,
        TypeError,
        KeyError,
        OSError,
    ) as error:
        raise Dp2benchError(
            f"{path} is refused: it is no checkpoint of arrays alone, or it is broken ({_reason(error)}).",
            "Download it again. If it comes from a training, export the averaged generator's state dict by itself.",
        ) from error
    if not isinstance(content, Mapping):
        raise Dp2benchError(f"{path} holds no state dict.", "Give a checkpoint of a generator.")
    state = next((content[key] for key in _AVERAGES if isinstance(content.get(key), Mapping)), content)
    state = state.get("parameters", state)
    state = {str(key): value for key, value in state.items() if isinstance(value, Tensor)}
    centres = content.get("w_centers", state.pop(CENTRES, None))
    return state, centres if isinstance(centres, Tensor) else None


def _reason(error: Exception) -> str:
    """One line of what torch says; of a refused pickle what it wanted, not how to let it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    said = next((line for line in lines if "WeightsUnpickler error:" in line), lines[0])
    return said.removeprefix("WeightsUnpickler error:").strip().partition(". ")[0][:160]


def _fill(network: InferenceMixin, state: Mapping[str, Tensor], path: Path) -> None:
    bad = [key for key, value in state.items() if value.is_floating_point() and not value.isfinite().all()]
    if bad:
        raise Dp2benchError(
            f"{path} holds numbers that are not finite, e.g. in {bad[0]}.", "Download or export it again."
        )
    try:
        network.load_state_dict(dict(state), strict=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:240]
        raise Dp2benchError(
            f"{path} is of another network: {reason}",
            "Give the name of the network it was trained as (`dp2bench weights list`).",
        ) from error
